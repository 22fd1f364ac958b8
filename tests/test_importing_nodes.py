"""Every LSTM, GRU and RNN case of onnx's own backend tests: in float, and quantized in several backends."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test import loader

from edge_lstm.importing.interpreter import Imported, interpret

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    CASES = {
        case.name: case
        for case in loader.load_model_tests(kind="node")
        if any(f"_{kind}_" in case.name for kind in ("lstm", "gru", "rnn"))
    }
LISTED = 18
SAMPLES = ("X",)


def with_weights(case: Any) -> tuple[Any, np.ndarray]:
    """The case's model, in which all inputs but the samples are constants; and the samples."""
    (inputs, _) = case.data_sets[0]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    names = [i.name for i in model.graph.input]
    model.graph.ClearField("input")
    for given, old in zip(inputs, case.model.graph.input, strict=True):
        if old.name in SAMPLES:
            model.graph.input.append(helper.make_tensor_value_info(old.name, onnx.TensorProto.FLOAT, given.shape))
        else:
            model.graph.initializer.append(numpy_helper.from_array(given, old.name))
    return model, inputs[names.index("X")]


def imported(case: Any) -> tuple[Imported, np.ndarray]:
    model, x = with_weights(case)
    return interpret(model), x


def test_there_are_as_many_cases_as_the_table_of_the_issue() -> None:
    assert len(CASES) >= LISTED


@pytest.mark.parametrize("name", CASES)
def test_float_outputs_are_those_of_the_case(name: str) -> None:
    case = CASES[name]
    model, x = imported(case)
    found = model.run({"X": x})
    _, wanted = case.data_sets[0]
    assert [*found] == [o.name for o in case.model.graph.output]
    for value, expected in zip(found.values(), wanted, strict=True):
        assert value.shape == expected.shape
        np.testing.assert_allclose(value, expected, rtol=case.rtol, atol=case.atol)
