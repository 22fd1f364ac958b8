"""What calibration sees of a graph: how far the values of its nodes reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm.calibrate import BLOCK, Progress, checked_calibration
from edge_lstm.errors import EdgeLstmError
from edge_lstm.graph.by_step import Binary, Input
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.masks import Differs
from edge_lstm.graph.over_time import Recurrent
from edge_lstm.ranges import Histogram, RangeChoice

Key = tuple[int, str]
"""A node and a part of it: ``""`` for all of its features, ``0`` a channel of the input, ``0.h`` a state."""


class Reach(NamedTuple):
    """Of values.

    Attributes:
        largest: Absolute, as it was chosen.
        lo, hi: Smallest and largest, within that.
    """

    largest: float
    lo: float
    hi: float

    def wider(self, lo: float, hi: float) -> Reach:
        """With values from ``lo`` to ``hi`` too."""
        return Reach(max(self.largest, -lo, hi), min(self.lo, lo), max(self.hi, hi))

    def known(self, largest: float) -> Reach:
        """As a file says it."""
        return Reach(largest, self.lo, self.hi)

    def at_most(self, largest: float) -> Reach:
        """Limited to absolute values."""
        return Reach(largest, max(self.lo, -largest), min(self.hi, largest))


def parts(graph: FloatGraph, k: int) -> Mapping[str, list[int]]:
    """The parts of a node's value, each of which gets one format: name to features."""
    node = graph.nodes[k]
    if isinstance(node, Input):
        return {str(j): [j] for j in range(node.width)}
    if isinstance(node, Recurrent):
        return {f"{j}.{state}": list(columns) for (j, state), columns in node.columns.items()}
    return {"": list(range(graph.shapes[k].width))}


def ranges(
    graph: FloatGraph,
    name: str,
    x: Any,
    choice: RangeChoice,
    bits: int,
    progress: Progress = lambda _done, _all: None,
) -> dict[Key, Reach]:
    """How far each part of each node reaches, over recordings that are looked at block by block.

    Samples that a mask leaves out count for nothing where nothing else reads them: such as -999 in the place of none.

    Args:
        graph: The graph.
        name: Of its input.
        x: (windows, steps, channels), perhaps memory-mapped.
        choice: How a range is chosen.
        bits: Of the integers that the values will be rounded to.
        progress: Told how many windows were seen.

    Raises:
        EdgeLstmError: A sample, or what is computed from it, is not finite; names the node.
    """
    x = checked_calibration(x)
    keys = [(k, part) for k in range(len(graph.nodes)) for part in parts(graph, k)]
    counts = {key: Histogram(1) for key in keys} if choice.method != "minmax" else {}
    found = dict.fromkeys(keys, Reach(0.0, math.inf, -math.inf))
    masks = _masks(graph)
    for start in range(0, len(x), BLOCK):
        values = graph.evaluate({name: np.asarray(x[start : start + BLOCK], np.float64)})
        for k, part in keys:
            value: NDArray[Any] = values[k][..., list(parts(graph, k)[part])]
            if not np.isfinite(value).all():
                what = type(graph.nodes[k]).__name__.lower()
                raise EdgeLstmError(f"node {k} ({what}) computes values that are not finite from the calibration")
            if k in masks:
                value = value[values[masks[k]][..., 0] != 0]
            if value.size:
                found[k, part] = found[k, part].wider(float(value.min()), float(value.max()))
            if counts:
                counts[k, part].add(value[..., None])
        progress(min(start + BLOCK, len(x)), len(x))
    return (
        {key: reach.at_most(float(counts[key].extremes(choice, bits)[0])) for key, reach in found.items()}
        if counts
        else found
    )


def _masks(graph: FloatGraph) -> dict[int, int]:
    """Inputs to the mask without which nothing reads them."""
    found = {node.source: k for k, node in enumerate(graph.nodes) if isinstance(node, Differs)}
    for k, node in enumerate(graph.nodes):
        for source in node.sources:
            mask = found.get(source)
            hidden = isinstance(node, Recurrent) and node.mask == mask and node.source == source
            hidden = hidden or (isinstance(node, Binary) and node.name == "mul" and mask in node.sources)
            if k != mask and not hidden:
                found.pop(source, None)
    return {source: mask for source, mask in found.items() if isinstance(graph.nodes[source], Input)}
