"""Equalization: units whose ranges differ are scaled to one range, which the weights that read them undo.

A tensor has one format, and a unit of small range in it few of its integers. Where a unit can be multiplied by a
positive factor and its readers' columns be divided by it, the float model stays what it is (M. Nagel et al., "Data-free
quantization through weight equalization and bias correction", ICCV 2019, section 4.1). That is so for

* the outputs of a dense layer with relu,
* h of a cell with projection: rows of P; read by R and by the next level's W,
* h of a plain recurrent layer with relu: rows of W, R and b; read by R and by the next level's W.

The h of the other cells is bounded by tanh, and fills its format as it is; the scale of a block's rows needs no
equalization, since each row has its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_lstm.calibrate import Observed
from edge_lstm.cells import cell
from edge_lstm.float_run import FloatArray
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel
from edge_lstm.wiring import levels

MOST = 64.0
"""A unit that is nearly dead is not scaled by more."""


def equalized(model: FloatModel, parts: Iterable[Observed]) -> FloatModel:
    """The same function of the samples, with units of one range where that can be.

    Args:
        model: The float model; one with a decoder is left as it is, since it shares states among its layers.
        parts: What it computes from recordings.
    """
    scaled = [k for k, layer in enumerate(model.layers) if can_be_scaled(layer)]
    if model.decoder is not None or not (scaled or model.relu_layers):
        return model
    hidden = {k: np.zeros(model.layers[k].outputs) for k in scaled}
    relu = [np.zeros(len(layer.weights)) for layer in model.relu_layers]
    for part in parts:
        for k in scaled:
            hidden[k] = np.maximum(hidden[k], _largest(part.values.layers[k]["h"]))
        relu = [np.maximum(r, _largest(output)) for r, output in zip(relu, part.values.relu, strict=True)]
    for k in scaled:
        model = scale_hidden(model, k, _factors(hidden[k]))
    for k, ranges in enumerate(relu):
        model = _scale_relu(model, k, _factors(ranges))
    return model


def can_be_scaled(layer: FloatLayer) -> bool:
    """Whether units of its h can be; a limit of the pre-activation would not scale with a relu."""
    kind = cell(layer.cell)
    relu = {function for function, _ in kind.functions.values()} == {"relu"} and not kind.gates and layer.clip is None
    return kind.projected or (relu and kind.states == ("h",))


def _largest(values: FloatArray) -> FloatArray:
    return np.asarray(np.abs(values).reshape(-1, values.shape[-1]).max(axis=0))


def _factors(ranges: FloatArray) -> FloatArray:
    """Powers of two, which are exact in float, that bring every range to above half of the largest."""
    largest = ranges.max(initial=0.0)
    if largest == 0:
        return np.ones_like(ranges)
    return np.asarray(2.0 ** np.floor(np.log2(largest / np.maximum(ranges, largest / MOST))))


def scale_hidden(model: FloatModel, k: int, factors: FloatArray) -> FloatModel:
    """Multiply the units of h of layer k."""
    layer = model.layers[k]
    read = {block: R / factors for block, R in layer.R.items()}
    initial = {s: v * factors if s == "h" else v for s, v in layer.initial.items()}
    if layer.P is not None:
        changed = replace(layer, R=read, P=layer.P * factors[:, None], initial=initial)
    else:
        rows = {block: W * factors[:, None] for block, W in layer.W.items()}
        read = {block: R * factors[:, None] for block, R in read.items()}
        changed = replace(layer, W=rows, R=read, b={n: b * factors for n, b in layer.b.items()}, initial=initial)
    layers = list(model.layers)
    layers[k] = changed
    grouped = levels(model.layers)
    at = next(j for j, level in enumerate(grouped) if k in level)
    columns = np.concatenate([factors if j == k else np.ones(model.layers[j].outputs) for j in grouped[at]])
    if at + 1 < len(grouped):
        for j in grouped[at + 1]:
            layers[j] = replace(layers[j], W={block: W / columns for block, W in layers[j].W.items()})
        return replace(model, layers=tuple(layers))
    model = replace(model, layers=tuple(layers))
    if model.attention is not None:
        model = replace(model, attention=replace(model.attention, weights=model.attention.weights / columns))
    return _divide_dense(model, 0, columns)


def _scale_relu(model: FloatModel, k: int, factors: FloatArray) -> FloatModel:
    """Multiply the outputs of dense layer k with relu."""
    relu = list(model.relu_layers)
    relu[k] = replace(relu[k], weights=relu[k].weights * factors[:, None], bias=relu[k].bias * factors)
    return _divide_dense(replace(model, relu_layers=tuple(relu)), k + 1, factors)


def _divide_dense(model: FloatModel, k: int, columns: NDArray[np.float64]) -> FloatModel:
    """Divide the columns of dense layer k, of which the last gives the scores."""
    if k == len(model.relu_layers):
        return replace(model, dense_weights=model.dense_weights / columns)
    relu = list(model.relu_layers)
    relu[k] = replace(relu[k], weights=relu[k].weights / columns)
    return replace(model, relu_layers=tuple(relu))
