"""Mean and covariance of what the rows of each layer are multiplied with, over recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from edge_lstm.calibrate import Observed
from edge_lstm.cells import cell
from edge_lstm.float_run import FloatArray, final
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel
from edge_lstm.rows import PROJECTION
from edge_lstm.timeline import Timeline
from edge_lstm.wiring import levels

COMMON = ""
"""Stands for all blocks of a layer that are multiplied with [x; h]."""
Key = tuple[int, str]
"""A layer, and a block, ``COMMON`` or ``rows.PROJECTION``."""


class Moments:
    """Of a vector, added up block by block.

    Args:
        length: Of the vector.
    """

    def __init__(self, length: int) -> None:
        self._count, self._sum, self._products = 0, np.zeros(length), np.zeros((length, length))

    def add(self, values: FloatArray) -> None:
        """Add values (any number, length)."""
        self._count += len(values)
        self._sum += values.sum(axis=0)
        self._products += values.T @ values

    @property
    def mean(self) -> FloatArray:
        """(length,)."""
        return self._sum / max(self._count, 1)

    @property
    def second(self) -> FloatArray:
        """(length, length) mean of the products of two elements."""
        return self._products / max(self._count, 1)

    @property
    def covariance(self) -> FloatArray:
        """(length, length)."""
        return np.asarray(self.second - np.outer(self.mean, self.mean))


def moments(model: FloatModel, parts: Iterable[Observed]) -> dict[Key, Moments]:
    """Of each operand of a float model over recordings."""
    found: dict[Key, Moments] = {}
    for part in parts:
        for key, values in operands(model, part):
            found.setdefault(key, Moments(values.shape[1])).add(values)
    return found


def operands(model: FloatModel, part: Observed) -> Iterator[tuple[Key, FloatArray]]:
    """What the rows of each layer are multiplied with, (all steps of all windows, length)."""
    traces, value = part.values.layers, part.x
    for level in levels(model.layers):
        for k in level:
            layer, trace = model.layers[k], traces[k]
            initial = np.broadcast_to(layer.initial.get("h", np.zeros(layer.outputs)), (len(value), layer.outputs))
            for block, operand in _of_layer(layer, value, trace, initial, part.when):
                yield (k, block), _valid(operand, part.when)
        value = np.concatenate([traces[k]["h"] for k in level], axis=-1)
    if model.decoder is not None:
        scores = part.values.scores
        value = np.concatenate([np.zeros_like(scores[:, :1]), scores[:, :-1]], axis=1)
        for j, layer in enumerate(model.decoder.layers):
            k = len(model.layers) + j
            initial = final(model.layers[j], traces[j]["h"], part.when)
            for block, operand in _of_layer(layer, value, traces[k], initial, Timeline(model.decoder.steps)):
                yield (k, block), operand.reshape(-1, operand.shape[-1])
            value = traces[k]["h"]


def _of_layer(
    layer: FloatLayer, x: FloatArray, trace: Mapping[str, FloatArray], initial: FloatArray, when: Timeline
) -> Iterator[tuple[str, FloatArray]]:
    h = when.backwards(trace["h"]) if layer.reverse else trace["h"]
    last = np.concatenate([initial[:, None], h[:, :-1]], axis=1)
    last = when.backwards(last) if layer.reverse else last
    yield COMMON, np.concatenate([x, last], axis=-1)
    for block in cell(layer.cell).blocks:
        if f"v_{block}" in trace:
            yield block, np.concatenate([x, trace[f"v_{block}"]], axis=-1)
    if layer.P is not None:
        yield PROJECTION, trace["m"]


def _valid(values: FloatArray, when: Timeline) -> FloatArray:
    return values.reshape(-1, values.shape[-1]) if when.lengths is None else values[when.valid]
