"""The LSTM, GRU and RNN cases of onnx's own backend tests, as models of which the samples are the only input."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
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


def imported(case: Any) -> tuple[Imported, np.ndarray]:
    """A case's model, with constants in the place of the weights that are inputs; and its samples, as it has them."""
    (inputs, _) = case.data_sets[0]
    given = {i.name: v for i, v in zip(case.model.graph.input, inputs, strict=True)}
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    proto.graph.ClearField("input")
    proto.graph.input.append(helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, given["X"].shape))
    proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in given.items() if k != "X")
    return interpret(proto), given["X"]
