"""Every operator of strangers in integers: what its case computes, near to float and the same in onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_importing_operators import CASES, T, model

from edge_lstm.export.onnx_integer import execute as execute_onnx
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.graph_model import graph_model
from edge_lstm.importing.interpreter import interpret
from edge_lstm.integer_graph.quantize import quantize_graph
from edge_lstm.ptq_options import PtqOptions
from edge_lstm.runtime import execute, real_outputs

OPTIONS = PtqOptions(activation_bits=16, activations="lut-interp")
COMPARES = (
    "(compare) of the imported graph has no integer form: "
    "it compares; accepted is the mask of steps, in which some feature is not that of padding"
)
REFUSED = {
    "AveragePool": "node 1 (pool) of the imported graph has no integer form: "
    "a mean of neighbours whose steps at the ends are fewer (count_include_pad is 0)",
    "Equal": f"node 2 {COMPARES}",
} | dict.fromkeys(
    ("Greater", "Greater than a value", "Less", "Less than a value", "Not", "Where of a comparison"),
    f"node 1 {COMPARES}",
)
FARTHEST = 0.02
"""Root mean squared error of the outputs, of their standard deviation, with 8-bit weights. Found: up to 0.013."""


def made(name: str) -> tuple[Any, Any, Any]:
    """The float model, its integers and samples."""
    float_model = graph_model(interpret(model(CASES[name])), name="g", steps=T)
    shape = (32, T, len(float_model.signature.channels))
    x = 0.4 * np.random.default_rng(1).standard_normal(shape)  # exp of it is not too wide for a table of 1 / v
    return float_model, quantize_graph(float_model, OPTIONS, x), x


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_an_operator_has_an_integer_form(name: str) -> None:
    float_model, quantized, x = made(name)
    integers = quantized.quantize_input(x)
    found = execute(quantized, integers).outputs
    wanted = float_model.run(x)["scores"]
    assert np.sqrt(((real_outputs(quantized, found)["scores"] - wanted) ** 2).mean()) < FARTHEST * wanted.std()
    np.testing.assert_array_equal(execute_onnx(quantized, integers[:4]).outputs["scores"], found["scores"][:4])


@pytest.mark.parametrize("name", REFUSED)
def test_one_without_an_integer_form_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        made(name)
    assert str(caught.value) == REFUSED[name]
