"""Float evaluation of a ``FloatModel`` in NumPy: the check of the importer, and what calibration observes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.heads import EXP_RANGE, FloatAttention, FloatDecoder
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel
from edge_lstm.signature import checked_samples
from edge_lstm.timeline import Timeline, timeline
from edge_lstm.wiring import levels

FloatArray = NDArray[np.float64]


class FloatStep:
    """``cells.Machine`` on float arrays.

    Args:
        layer: Weights and modes.
        wx: Block name to W x + b of this step.
        h: Last h.
        values: Filled with what is computed, by name; a pre-activation is ``z_<block>``,
            and what R is multiplied with where that is not h, ``v_<block>``.
    """

    def __init__(self, layer: FloatLayer, wx: Mapping[str, FloatArray], h: FloatArray, values: dict[str, Any]) -> None:
        self._layer, self._wx, self._h, self._values = layer, wx, h, values

    def affine(self, block: str, operand: FloatArray | None = None) -> FloatArray:
        """See ``cells.Machine``."""
        if operand is not None:
            self._values[f"v_{block}"] = operand
        R = self._layer.R[cell(self._layer.cell).owner(block)]
        return self._wx[block] + (self._h if operand is None else operand) @ R.T

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
        return self._kept(name, luts.gate(self._layer.modes[name], luts.limited(z, self._layer.clip)))

    def squash(self, name: str, v: FloatArray) -> FloatArray:
        """See ``cells.Machine``."""
        if name in self._wx:
            self._values[f"z_{name}"] = v
            v = luts.limited(v, self._layer.clip)
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


def run_layer(
    layer: FloatLayer, x: FloatArray, when: Timeline | None = None, initial: Mapping[str, FloatArray] | None = None
) -> dict[str, FloatArray]:
    """All values of a layer.

    Args:
        layer: Weights and modes.
        x: (windows, steps, inputs).
        when: Of the windows; all of one length where None.
        initial: State name to (windows, length) before the first step, instead of the layer's own.

    Returns:
        Gate, intermediate and state names to (windows, steps, length), and ``z_<block>`` to pre-activations; in the
        order of time, and 0 beyond a window's end.
    """
    when = when or Timeline(x.shape[1])
    kind, states = cell(layer.cell), initial_states(layer, len(x)) if initial is None else dict(initial)
    x = when.backwards(x) if layer.reverse else x
    products = {k: x @ W.T for k, W in layer.W.items()}
    wx = {k: products[kind.owner(k)] + layer.b[k] for k in kind.blocks}
    trace: dict[str, list[FloatArray]] = {}
    for step in range(x.shape[1]):
        values: dict[str, FloatArray] = {}
        machine = FloatStep(layer, {k: v[:, step] for k, v in wx.items()}, states["h"], values)
        states = kind.step(machine, states)
        for name, value in values.items():
            trace.setdefault(name, []).append(value)
    stacked = {name: when.inside(np.stack(values, axis=1)) for name, values in trace.items()}
    return {name: when.backwards(v) if layer.reverse else v for name, v in stacked.items()}


def initial_states(layer: FloatLayer, windows: int) -> dict[str, FloatArray]:
    """The states before the first step, (windows, length)."""
    given = {s: layer.initial.get(s, np.zeros(n)) for s, n in layer.lengths.items()}
    return {s: np.broadcast_to(v, (windows, len(v))) for s, v in given.items()}


def final(layer: FloatLayer, values: FloatArray, when: Timeline) -> FloatArray:
    """What a layer computed last, (windows, length): at a window's end, of a reversed layer at its first step."""
    return values[:, 0] if layer.reverse else when.last(values)


def standardize(model: FloatModel, x: Any) -> FloatArray:
    """What the first layer is given, from samples in the channels' units. (..., channels)."""
    return np.clip((checked_samples(x, model.signature) - model.mean) / model.std, -model.clip, model.clip)


@dataclass(frozen=True)
class Evaluation:
    """What a float model computes.

    Attributes:
        layers: Of each layer, those of the decoder last, its values; see ``run_layer``.
        relu: Output of each dense layer with relu.
        scores: (windows, outputs), or (windows, steps, outputs) where there are some for each step.
        attention: (windows, steps) scores of the steps, of that pooling.
    """

    layers: tuple[Mapping[str, FloatArray], ...]
    relu: tuple[FloatArray, ...]
    scores: FloatArray
    attention: FloatArray | None = None


def evaluate(model: FloatModel, x: FloatArray, when: Timeline) -> Evaluation:
    """All values of a model.

    Args:
        model: The model.
        x: (windows, steps, channels) standardized.
        when: Of the windows.
    """
    traces: list[dict[str, FloatArray]] = []
    value = x
    for level in levels(model.layers):
        traces += [run_layer(model.layers[k], value, when) for k in level]
        value = np.concatenate([traces[k]["h"] for k in level], axis=-1)
    if model.decoder is not None:
        return _decoded(model, model.decoder, traces, when)
    relu, scores = _dense(model, pool(model, [traces[k]["h"] for k in level], when))
    attention = None if model.attention is None else attention_scores(model.attention, value)
    return Evaluation(tuple(traces), relu, when.inside(scores) if model.pooling == "each" else scores, attention)


def _decoded(
    model: FloatModel, decoder: FloatDecoder, encoded: list[dict[str, FloatArray]], when: Timeline
) -> Evaluation:
    """A decoder from the encoder's last states, fed with its own last output."""
    states = [
        {s: final(layer, trace[s], when) for s in layer.lengths}
        for layer, trace in zip(model.layers, encoded, strict=True)
    ]
    y = np.zeros((len(states[0]["h"]), len(model.signature.classes)))
    found: list[list[dict[str, FloatArray]]] = [[] for _ in decoder.layers]
    dense = []
    for _ in range(decoder.steps):
        value = y
        for k, layer in enumerate(decoder.layers):
            trace = run_layer(layer, value[:, None], initial=states[k])
            found[k].append(trace)
            states[k] = {s: trace[s][:, 0] for s in states[k]}
            value = states[k]["h"]
        dense.append(_dense(model, value))
        y = dense[-1][1]
    decoded = [{n: np.concatenate([t[n] for t in steps], axis=1) for n in steps[0]} for steps in found]
    relu = tuple(np.stack(outputs, axis=1) for outputs in zip(*(r for r, _ in dense), strict=True))
    return Evaluation((*encoded, *decoded), relu, np.stack([scores for _, scores in dense], axis=1))


def run_float(model: FloatModel, x: Any, *, lengths: Any = None) -> dict[str, FloatArray]:
    """Float outputs.

    Args:
        model: The model.
        x: (windows, steps, channels) in the channels' units; any number of steps.
        lengths: (windows,) steps of each window, of a model for windows of several lengths.

    Returns:
        ``scores`` (windows, classes): logits, or the outputs of a regression; of a classifier ``class_index``
        (windows,), and ``probabilities`` (windows, classes) where the signature says so. A model that gives outputs
        for each step has an axis of steps after that of the windows.

    Raises:
        EdgeLstmError: Wrong shape or a sample that is not finite.
    """
    value = standardize(model, x)
    if value.ndim != 3 or value.shape[1] == 0:
        raise EdgeLstmError(f"samples have shape {value.shape}; accepted is (windows, steps, channels)")
    when = timeline(model.signature, len(value), value.shape[1], lengths)
    scores = evaluate(model, value, when).scores
    outputs = {"scores": scores}
    if model.signature.task == "classify":
        outputs["class_index"] = scores.argmax(axis=-1)
    if model.signature.probabilities:
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        probabilities = e / e.sum(axis=-1, keepdims=True)
        outputs["probabilities"] = when.inside(probabilities) if model.pooling == "each" else probabilities
    return outputs


def pool(model: FloatModel, h: Sequence[FloatArray], when: Timeline) -> FloatArray:
    """(windows, width), or (windows, steps, width) where there is no pooling.

    Args:
        model: Whose pooling.
        h: Of each layer of the last level, (windows, steps, length).
        when: Of the windows.
    """
    if model.pooling == "last":
        last = levels(model.layers)[-1]
        return np.concatenate([final(model.layers[k], v, when) for k, v in zip(last, h, strict=True)], axis=-1)
    every = np.concatenate(h, axis=-1)
    if model.pooling == "each":
        return every
    if model.pooling == "newest":
        return when.last(every)
    inside = np.ones(every.shape[:2], bool) if when.lengths is None else when.valid
    if model.pooling == "max":
        return np.asarray(np.where(inside[..., None], every, -np.inf).max(axis=1))
    weights = inside.astype(np.float64)
    if model.attention is not None:
        score = attention_scores(model.attention, every)
        if not model.attention.bounded:
            score = score - np.where(inside, score, -np.inf).max(axis=1, keepdims=True)
        weights = weights * np.exp(np.clip(score, -EXP_RANGE if model.attention.bounded else None, 0.0))
    return np.asarray((weights[..., None] * every).sum(axis=1) / weights.sum(axis=1)[:, None])


def head(model: FloatModel, h: Sequence[FloatArray], when: Timeline) -> FloatArray:
    """Scores from the h of each layer of the last level, (windows, steps, length)."""
    scores = _dense(model, pool(model, h, when))[1]
    return when.inside(scores) if model.pooling == "each" else scores


def attention_scores(attention: FloatAttention, h: FloatArray) -> FloatArray:
    """u h + b of each step, (windows, steps)."""
    return np.asarray(h @ attention.weights + attention.bias)


def _dense(model: FloatModel, value: FloatArray) -> tuple[tuple[FloatArray, ...], FloatArray]:
    """Outputs of the dense layers with relu, one after the other, and the scores."""
    relu = []
    for layer in model.relu_layers:
        value = np.maximum(value @ layer.weights.T + layer.bias, 0.0)
        relu.append(value)
    return tuple(relu), value @ model.dense_weights.T + model.dense_bias
