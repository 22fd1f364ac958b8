"""Float evaluation of a ``FloatModel`` in NumPy: the check of the importer, and what calibration observes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import FloatLayer, FloatModel, Pooling
from edge_lstm.signature import checked_samples

FloatArray = NDArray[np.float64]


class FloatStep:
    """``cells.Machine`` on float arrays.

    Args:
        layer: Weights and modes.
        wx: Block name to W x + b of this step.
        h: Last h.
        values: Filled with what is computed, by name; a pre-activation is ``z_<block>``.
    """

    def __init__(self, layer: FloatLayer, wx: Mapping[str, FloatArray], h: FloatArray, values: dict[str, Any]) -> None:
        self._layer, self._wx, self._h, self._values = layer, wx, h, values

    def affine(self, block: str, operand: FloatArray | None = None) -> FloatArray:
        """See ``cells.Machine``."""
        return self._wx[block] + (self._h if operand is None else operand) @ self._layer.R[block].T

    def inputs(self, block: str) -> FloatArray:
        """See ``cells.Machine``."""
        return self._wx[block]

    def recurrent(self, block: str) -> FloatArray:
        """See ``cells.Machine``."""
        return self._h @ self._layer.R[block].T + self._layer.rb[block]

    def peephole(self, block: str, c: FloatArray) -> FloatArray:
        """See ``cells.Machine``."""
        return c * self._layer.p[block]

    def gate(self, name: str, z: FloatArray) -> FloatArray:
        """See ``cells.Machine``."""
        self._values[f"z_{name}"] = z
        return self._kept(name, luts.gate(self._layer.modes[name], z))

    def squash(self, name: str, v: FloatArray) -> FloatArray:
        """See ``cells.Machine``."""
        if name in self._wx:
            self._values[f"z_{name}"] = v
        return self._kept(name, squashing(self._layer, name)(v))

    def state(self, name: str, v: FloatArray) -> FloatArray:
        """See ``cells.Machine``."""
        return self._kept(name, v)

    def project(self, v: FloatArray) -> FloatArray:
        """See ``cells.Machine``."""
        assert self._layer.P is not None
        return self._kept("m", v) @ self._layer.P.T

    def _kept(self, name: str, value: FloatArray) -> FloatArray:
        self._values[name] = value
        return value


def squashing(layer: FloatLayer, name: str) -> Callable[[Any], FloatArray]:
    """A squashing function of a layer, exact or in its hard form."""
    function = cell(layer.cell).functions[name][0]
    return luts.hard(function) if layer.squash == "hard" else luts.FUNCTIONS[function]


def run_layer(layer: FloatLayer, x: FloatArray) -> dict[str, FloatArray]:
    """All values of a layer from zero state.

    Args:
        layer: Weights and modes.
        x: (windows, steps, inputs).

    Returns:
        Gate, intermediate and state names to (windows, steps, length), and ``z_<block>`` to pre-activations.
    """
    kind = cell(layer.cell)
    lengths = {"h": layer.outputs, "c": layer.hidden}
    states = {s: np.zeros((len(x), lengths[s])) for s in kind.states}
    wx = {k: x @ layer.W[k].T + layer.b[k] for k in kind.blocks}
    trace: dict[str, list[FloatArray]] = {}
    for step in range(x.shape[1]):
        values: dict[str, FloatArray] = {}
        machine = FloatStep(layer, {k: v[:, step] for k, v in wx.items()}, states["h"], values)
        states = kind.step(machine, states)
        for name, value in values.items():
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
        ``scores`` (windows, classes): logits, or the outputs of a regression; ``class_index`` (windows,) of a
        classifier.

    Raises:
        EdgeLstmError: Wrong shape or a sample that is not finite.
    """
    value = standardize(model, x)
    if value.ndim != 3 or value.shape[1] == 0:
        raise EdgeLstmError(f"samples have shape {value.shape}; accepted is (windows, steps, channels)")
    for layer in model.layers:
        value = run_layer(layer, value)["h"]
    return run_head(model, value)


def run_head(model: FloatModel, h: FloatArray) -> dict[str, FloatArray]:
    """Outputs from all h of the last layer (windows, steps, hidden)."""
    pooled = pool(model.pooling, h)
    *_, last = (pooled, *relu_outputs(model, pooled))
    scores = last @ model.dense_weights.T + model.dense_bias
    if model.signature.task == "regress":
        return {"scores": scores}
    return {"scores": scores, "class_index": scores.argmax(axis=1)}


def pool(pooling: Pooling, h: FloatArray) -> FloatArray:
    """(windows, steps, hidden) to (windows, hidden)."""
    if pooling == "last":
        return h[:, -1]
    return np.asarray(h.mean(axis=1) if pooling == "mean" else h.max(axis=1))


def relu_outputs(model: FloatModel, pooled: FloatArray) -> Iterator[FloatArray]:
    """Outputs of the dense layers with relu, one after the other."""
    for layer in model.relu_layers:
        pooled = np.maximum(pooled @ layer.weights.T + layer.bias, 0.0)
        yield pooled
