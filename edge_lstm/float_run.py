"""Float evaluation of a ``FloatModel`` in NumPy: the check of the importer, and what calibration observes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import GateMode
from edge_lstm.luts import sigmoid
from edge_lstm.model import FloatLayer, FloatModel, checked_samples

FloatArray = NDArray[np.float64]


class Exact:
    """Exact gates and tanh, as ``cells.Activations``."""

    def __init__(self, modes: Mapping[str, GateMode]) -> None:
        self._modes = modes

    def gate(self, name: str, z: FloatArray) -> FloatArray:
        """Threshold or sigmoid of z."""
        return (z > 0).astype(np.float64) if self._modes[name] == "hard" else sigmoid(z)

    def tanh(self, v: FloatArray) -> FloatArray:
        """Hyperbolic tangent of v."""
        return np.asarray(np.tanh(v))


def run_layer(layer: FloatLayer, x: FloatArray) -> dict[str, FloatArray]:
    """All values of a layer from zero state.

    Args:
        layer: Weights and modes.
        x: (windows, steps, inputs).

    Returns:
        Gate, intermediate and state names to (windows, steps, hidden), and ``z_<block>`` to pre-activations.
    """
    kind = cell(layer.cell)
    activations = Exact(layer.modes)
    states = {s: np.zeros((len(x), layer.hidden)) for s in kind.states}
    inputs = {k: x @ layer.W[k].T + layer.b[k] for k in kind.blocks}
    trace: dict[str, list[FloatArray]] = {}
    for step in range(x.shape[1]):
        z = {k: inputs[k][:, step] + states["h"] @ layer.R[k].T for k in kind.blocks}
        values = kind.step(z, states, activations)
        states = {s: values[s] for s in kind.states}
        for name, value in {**values, **{f"z_{k}": v for k, v in z.items()}}.items():
            trace.setdefault(name, []).append(value)
    return {name: np.stack(values, axis=1) for name, values in trace.items()}


def standardize(model: FloatModel, x: Any) -> FloatArray:
    """What the first layer is given, from samples in the channels' units. (..., channels)."""
    return np.clip((checked_samples(x, model.signature) - model.mean) / model.std, -model.clip, model.clip)


def run_float(model: FloatModel, x: Any) -> dict[str, FloatArray]:
    """Float outputs.

    Args:
        model: The model.
        x: (windows, steps, channels) in the channels' units; any number of steps.

    Returns:
        ``scores`` (windows, classes): logits; ``class_index`` (windows,).

    Raises:
        EdgeLstmError: Wrong shape or a sample that is not finite.
    """
    value = standardize(model, x)
    if value.ndim != 3 or value.shape[1] == 0:
        raise EdgeLstmError(f"samples have shape {value.shape}; accepted is (windows, steps, channels)")
    for layer in model.layers:
        value = run_layer(layer, value)["h"]
    pooled = value[:, -1] if model.pooling == "last" else value.mean(axis=1)
    scores = pooled @ model.dense_weights.T + model.dense_bias
    return {"scores": scores, "class_index": scores.argmax(axis=1)}
