"""The LSTM, GRU and RNN cases of onnx's own backend tests in integers: equal in the backends, and near float."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from node_cases import CASES, imported

from edge_lstm.graph.over_time import Recurrent
from edge_lstm.importing.interpreter import canonical
from edge_lstm.model import FloatModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute
from edge_lstm.signature import Signature
from edge_lstm.verification import verify

BACKENDS = ("numpy", "onnxruntime", "c")
BOUND = {8: 0.004, 16: 0.0003}
"""Largest difference of h from float, by its bits, for each unit that a pre-activation can reach: a rounded weight of 8
bits is off by 1/254 of its row's largest, and in 8 bits h and the inputs are off by as much of theirs; the tables are
interpolated, within 0.002 of their functions. Cases have 1 to 4 steps."""


def reach(model: FloatModel, x: np.ndarray) -> float:
    """How large a pre-activation can be: at least 1."""
    largest = np.abs(x).max(axis=(0, 1))
    rows = [np.abs(k.W[b]) @ largest + np.abs(k.R[b]).sum(axis=1) for k in model.layers for b in k.W]
    return max(1.0, float(max(v.max() for v in rows)))


def float_model(case: Any) -> tuple[FloatModel, np.ndarray]:
    """The case's layers with h of every step as outputs; and its samples, (windows, steps, features)."""
    model, samples = imported(case)
    x = canonical(model.inputs["X"], samples, "X")
    (level,) = (node for node in model.graph.nodes if isinstance(node, Recurrent))
    width = sum(layer.outputs for layer in level.layers)
    names = tuple(f"h{k}" for k in range(width))
    channels = tuple(f"x{k}" for k in range(x.shape[-1]))
    signature = Signature("case", channels, ("",) * len(channels), None, x.shape[1], names, "regress")
    made = FloatModel(
        signature,
        np.zeros(len(channels)),
        np.ones(len(channels)),
        1e6,
        level.layers,
        "each",
        np.eye(width),
        np.zeros(width),
    )
    return made, x


@pytest.mark.parametrize("bits", BOUND)
@pytest.mark.parametrize("name", CASES)
def test_the_case_in_integers(name: str, bits: int) -> None:
    model, x = float_model(CASES[name])
    quantized = quantize(model, calibration=x, activation_bits=bits, activations="lut-interp")
    found = verify(quantized, x, backends=BACKENDS, trace="all")
    assert found.mismatches == 0
    assert found.compared > 0
    assert found.within_bound
    trace = execute(quantized, quantized.quantize_input(x), trace="states").trace
    states = [value for key, value in trace.items() if key.endswith(".h")]
    real = [value * layer.h.scale for value, layer in zip(states, quantized.layers, strict=True)]
    difference = np.abs(np.concatenate(real, axis=-1) - model.run(x)["scores"]).max()
    assert difference < BOUND[bits] * reach(model, x)
