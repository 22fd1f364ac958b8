"""Bias correction: the mean of each pre-activation, over recordings, becomes what it is in the float model.

Rounding moves the mean of a pre-activation, by the rounding error of its weights times the mean of its inputs, and what
is fed back moves it further. A constant offset is what the bias can undo, at no cost (M. Nagel, M. van Baalen, T.
Blankevoort, M. Welling, "Data-free quantization through weight equalization and bias correction", ICCV 2019, section
4.2). Here the offset is measured in the integers themselves; since a changed bias changes what is fed back, it takes
several rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.calibrate import observed
from edge_lstm.cells import cell
from edge_lstm.lower import layer_name
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.runtime import execute, real_outputs

ROUNDS = 6
BLOCK = 64
"""Windows whose intermediates are in memory at a time."""
SCORES = (-1, "scores")
"""Stands for the scores where pre-activations are named by layer and block."""
Means = dict[tuple[int, str], NDArray[np.float64]]
"""A layer and a block to the mean (hidden,) of its pre-activation."""


def corrected(
    model: FloatModel,
    quantized: Callable[[FloatModel], QuantizedModel],
    x: NDArray[Any],
    lengths: NDArray[np.int64] | None = None,
    *,
    rounds: int = ROUNDS,
) -> FloatModel:
    """The model with biases for which its integers have its own mean pre-activations and mean scores.

    Args:
        model: The float model.
        quantized: Gives the integers of a model that differs from it in biases.
        x: (windows, steps, channels) recordings in the channels' units.
        lengths: (windows,) steps of each, of a model for windows of several lengths.
        rounds: How often to move the biases. A move after which the means are farther is taken back, and the next ones
            are half as long: what is fed back can be moved more than was asked.
    """
    wanted = float_means(model, x, lengths)

    def offsets(changed: FloatModel) -> tuple[Means, float]:
        found = integer_means(quantized(changed), x, lengths)
        wrong = {key: wanted[key] - mean for key, mean in found.items()}
        return wrong, float(sum((v**2).sum() for v in wrong.values()))

    wrong, least = offsets(model)
    share = 1.0
    for _ in range(rounds):
        tried = _moved(model, wrong, share)
        now, size = offsets(tried)
        if size < least:
            model, wrong, least = tried, now, size
        else:
            share *= 0.5
    return model


def float_means(model: FloatModel, x: NDArray[Any], lengths: NDArray[np.int64] | None) -> Means:
    """Of a float model, over all steps of all windows; what is beyond a window's end counts as 0."""
    sums = _Sums()
    for part in observed(model, x, lengths=lengths, block=BLOCK):
        for k, (layer, trace) in enumerate(zip(model.all_layers, part.values.layers, strict=True)):
            for block in cell(layer.cell).blocks:
                sums.add((k, block), trace[f"z_{block}"])
        sums.add(SCORES, part.values.scores)
    return sums.means


def integer_means(model: QuantizedModel, x: NDArray[Any], lengths: NDArray[np.int64] | None) -> Means:
    """As ``float_means``, in the same units."""
    sums = _Sums()
    for first in range(0, len(x), BLOCK):
        part = slice(first, first + BLOCK)
        found = execute(
            model, model.quantize_input(x[part]), trace="all", lengths=None if lengths is None else lengths[part]
        )
        for k, layer in enumerate(model.all_layers):
            for block, rows in layer.blocks.items():
                value = f"{layer_name(model, k)}.a_{block}"
                trace = found.trace.get(f"{value}_sum", found.trace.get(value))
                if trace is not None:
                    sums.add((k, block), trace * rows.scale)
        sums.add(SCORES, real_outputs(model, found.outputs)["scores"])
    return sums.means


class _Sums:
    """Sums of values, which are 0 beyond a window's end in float as in integers."""

    def __init__(self) -> None:
        self._sum: Means = {}
        self._count: dict[tuple[int, str], int] = {}

    def add(self, key: tuple[int, str], values: NDArray[np.float64]) -> None:
        rows = values.reshape(-1, values.shape[-1])
        self._sum[key] = self._sum.get(key, np.zeros(rows.shape[1])) + rows.sum(axis=0)
        self._count[key] = self._count.get(key, 0) + len(rows)

    @property
    def means(self) -> Means:
        return {key: total / self._count[key] for key, total in self._sum.items()}


def _moved(model: FloatModel, wrong: Means, share: float) -> FloatModel:
    """With a share of the offsets added to the biases."""
    layers = [
        replace(layer, b={block: b + share * wrong.get((k, block), 0.0) for block, b in layer.b.items()})
        for k, layer in enumerate(model.all_layers)
    ]
    encoder = len(model.layers)
    decoder = None if model.decoder is None else replace(model.decoder, layers=tuple(layers[encoder:]))
    dense_bias = model.dense_bias + share * wrong[SCORES]
    return replace(model, layers=tuple(layers[:encoder]), decoder=decoder, dense_bias=dense_bias)
