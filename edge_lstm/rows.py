"""Rows of weights to integers with one scale per row (rule R2)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lstm.blocks import WEIGHT_MAX
from edge_lstm.layers import GAINED_MAX

BIAS_MAX = 2**22
"""A row whose bias dwarfs its weights gets a coarser scale, so that its accumulator stays short."""
SUM_MAX = 2**30
"""Of the products of inputs that have a gain."""
PROJECTION = "P"
"""Stands for the rows of a projection where blocks are named."""


class Rows(NamedTuple):
    """Quantized rows: ``weights * scale[:, None] ~ real * column_scale`` and ``bias * scale ~ real bias``."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float64]


def quantize_rows(
    weights: NDArray[Any],
    bias: NDArray[Any],
    column_scale: NDArray[np.float64],
    *,
    shared: bool = False,
    bits: int = 8,
    other_bias: NDArray[Any] | float = 0.0,
) -> Rows:
    """Symmetric integer rows with one accumulator scale per row (rule R2).

    Args:
        weights: (rows, columns) real.
        bias: (rows,) real.
        column_scale: (columns,) real value of one unit of each column's integer input.
        shared: One scale for all rows, so that the accumulators of different rows compare.
        bits: 8, 4, or 2 (ternary).
        other_bias: (rows,) of another bias at the same scale.
    """
    real = weights.astype(np.float64) * column_scale
    largest = WEIGHT_MAX[bits]
    extreme = np.abs(real).max(axis=1) / largest
    if bits == 2:
        extreme = _ternary_scale(real)
    scale = np.maximum(extreme, np.maximum(np.abs(bias), np.abs(other_bias)) / BIAS_MAX)
    scale = np.maximum(np.full_like(scale, scale.max()) if shared else scale, 1e-12)
    integers = np.clip(np.rint(real / scale[:, None]), -largest, largest).astype(np.int8)
    return Rows(integers, np.rint(bias.astype(np.float64) / scale).astype(np.int32), scale)


def _ternary_scale(real: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale of each row: of Li and Liu, "Ternary weight networks", 2016, equations 4 and 6."""
    size = np.abs(real)
    kept = size > 0.7 * size.mean(axis=1, keepdims=True)
    return np.asarray((size * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1))


def input_gain(of_x: NDArray[np.float64], of_h: float, input_max: int) -> NDArray[np.int32] | None:
    """(inputs,) by which to multiply the integers of each input (rule R2).

    A row has one scale, which its largest weight sets. With a gain the weights of an input become as large as those of
    h, and no larger, so that both use all integers of the row.

    Args:
        of_x: (inputs,) largest absolute weight of each input, times the real value of one unit of it.
        of_h: The same of h, over all its elements.
        input_max: Largest integer input; with its gain it has 16 bits, and all inputs together leave room in 32.

    Returns:
        None where no gain is more than 1.
    """
    most = max(1, min(GAINED_MAX, SUM_MAX // (WEIGHT_MAX[8] * len(of_x))) // input_max)
    found = np.ones(len(of_x), np.int32) if of_h == 0 else np.rint(of_x / of_h).clip(1, most).astype(np.int32)
    return found if found.max() > 1 else None


def accumulator_max(rows: Rows, inputs_max: NDArray[np.int64]) -> int:
    """Largest absolute accumulator for inputs of at most ``inputs_max`` (columns,)."""
    return int((np.abs(rows.bias.astype(np.int64)) + np.abs(rows.weights.astype(np.int64)) @ inputs_max).max())


class RowChoice(Protocol):
    """Chooses the integers of a layer's rows."""

    def __call__(
        self,
        layer: int,
        block: str,
        weights: NDArray[Any],
        bias: NDArray[Any],
        column_scale: NDArray[np.float64],
        bits: int,
        other_bias: NDArray[Any] | float,
    ) -> Rows:
        """Rows of a block.

        Args:
            layer: Index among all layers, those of a decoder last.
            block: Name of the block, or ``PROJECTION``.
            weights, bias, column_scale, bits, other_bias: As of ``quantize_rows``.
        """


def nearest(
    layer: int,  # noqa: ARG001
    block: str,  # noqa: ARG001
    weights: NDArray[Any],
    bias: NDArray[Any],
    column_scale: NDArray[np.float64],
    bits: int,
    other_bias: NDArray[Any] | float,
) -> Rows:
    """A ``RowChoice``: every weight to the nearest integer."""
    return quantize_rows(weights, bias, column_scale, bits=bits, other_bias=other_bias)
