"""Rounding of weights by reconstruction: the integers whose products, over recordings, come nearest to the float ones.

For a row w with the integer inputs u the mean squared error of the product, after the bias took up its mean, is
e^T C e, where e = w - s q, C is the covariance of u, s the row's scale and q its integers. It is lowered

1. column by column: q_j is rounded, and the columns to come take up its error as far as C lets them (E. Frantar, S.
   Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate post-training quantization for generative pre-trained
   transformers", ICLR 2023, algorithm 1), for several s;
2. by steps of one unit of one weight, the best first, as long as one lowers it; s then follows by least squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.blocks import WEIGHT_MAX
from edge_lstm.moments import COMMON, Key, Moments
from edge_lstm.rows import BIAS_MAX, PROJECTION, Rows, quantize_rows

Array = NDArray[np.float64]
DAMPING = 0.01
"""Of the mean variance, added to each, so that what the recordings never showed is kept near the float weights."""
SHARES: Mapping[int, Array] = {
    8: np.array([1.0]),
    4: np.linspace(0.5, 1.0, 11),
    2: np.linspace(0.6, 1.5, 10),
}
"""Scales that are tried by weight bits, in units of that of ``quantize_rows``."""
ROUNDS = 3
"""Of single steps and scale."""


class Reconstruction:
    """A ``rows.RowChoice``.

    Args:
        moments: Of the float model's operands.
    """

    def __init__(self, moments: Mapping[Key, Moments]) -> None:
        self._moments = moments
        self._known: dict[Key, tuple[Any, ...]] = {}

    def __call__(
        self,
        layer: int,
        block: str,
        weights: NDArray[Any],
        bias: NDArray[Any],
        column_scale: Array,
        bits: int,
        other_bias: NDArray[Any] | float,
    ) -> Rows:
        """See ``rows.RowChoice``; the weights are found once for each block, format of its inputs and bits.

        The bias takes up the mean of the error, but of a projection, which has none, and of a split block, whose parts
        are used apart.
        """
        plain = quantize_rows(weights, bias, column_scale, bits=bits, other_bias=other_bias)
        key, asked = (layer, block), (bits, column_scale.tobytes())
        if key not in self._known or self._known[key][0] != asked:
            alone = block != PROJECTION and np.ndim(other_bias) == 0
            self._known[key] = (asked, *self._found(key, weights, column_scale, plain.scale, bits, alone=alone))
        _, integers, scale, offset = self._known[key]
        if (scale * BIAS_MAX < np.maximum(np.abs(bias + offset), np.abs(other_bias))).any():
            return plain
        return Rows(integers, np.rint((bias + offset) / scale).astype(np.int32), scale)

    def _found(
        self, key: Key, weights: NDArray[Any], column_scale: Array, scale: Array, bits: int, *, alone: bool
    ) -> tuple[NDArray[np.int8], Array, Array]:
        """Integers, scale and what to add to the bias, which is none where the rows are not ``alone`` with it."""
        known = self._moments.get(key, self._moments.get((key[0], COMMON)))
        assert known is not None
        real = weights * column_scale
        spread = (known.covariance if alone else known.second) / np.outer(column_scale, column_scale)
        integers, scale = reconstruct(real, spread, scale, bits)
        offset = (real - scale[:, None] * integers) @ (known.mean / column_scale)
        return integers, scale, offset if alone else np.zeros(len(real))


def reconstruct(real: Array, covariance: Array, scale: Array, bits: int) -> tuple[NDArray[np.int8], Array]:
    """Integers and scales.

    Args:
        real: (rows, columns) in units of the integer inputs.
        covariance: (columns, columns) of the integer inputs; with that of a product without bias, their second moment.
        scale: (rows,) to begin with.
        bits: 8, 4 or 2.

    Returns:
        (rows, columns) int8, and (rows,).
    """
    largest, rows = WEIGHT_MAX[bits], len(real)
    damped = covariance + (DAMPING * np.trace(covariance) / len(covariance) + 1e-12) * np.eye(len(covariance))
    tried = np.concatenate([share * scale for share in SHARES[bits]])
    integers = column_by_column(np.tile(real, (len(SHARES[bits]), 1)), damped, tried, largest)
    error = _error(np.tile(real, (len(SHARES[bits]), 1)) - tried[:, None] * integers, damped)
    best = error.reshape(-1, rows).argmin(axis=0) * rows + np.arange(rows)
    integers, scale = integers[best], tried[best]
    for _ in range(ROUNDS):
        integers = single_steps(real, damped, scale, integers, largest)
        product = integers @ damped
        norm = (product * integers).sum(axis=1)
        scale = np.where(norm > 0, (product * real).sum(axis=1) / np.maximum(norm, 1e-300), scale)
        scale = np.maximum(scale, 1e-12)
    return integers.astype(np.int8), scale


def column_by_column(real: Array, covariance: Array, scale: Array, largest: int) -> Array:
    """Integers (rows, columns) as floats, the columns of largest variance first.

    Args:
        real: (rows, columns).
        covariance: Positive definite.
        scale: (rows,).
        largest: Largest absolute integer.
    """
    order = np.argsort(-np.diag(covariance), kind="stable")
    left = real[:, order].copy()
    factor = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
    integers = np.zeros_like(left)
    for j in range(left.shape[1]):
        integers[:, j] = np.clip(np.rint(left[:, j] / scale), -largest, largest)
        error = (left[:, j] - scale * integers[:, j]) / factor[j, j]
        left[:, j:] -= np.outer(error, factor[j, j:])
    found = np.zeros_like(integers)
    found[:, order] = integers
    return found


def single_steps(real: Array, covariance: Array, scale: Array, integers: Array, largest: int) -> Array:
    """Steps of one unit in one column of each row, as long as one lowers its error; see ``column_by_column``."""
    integers = integers.copy()
    rows, columns = np.arange(len(real)), real.shape[1]
    slope = (real - scale[:, None] * integers) @ covariance
    curvature = scale[:, None] ** 2 * np.diag(covariance)
    for _ in range(4 * columns):
        direction = np.sign(slope)
        gain = 2 * scale[:, None] * np.abs(slope) - curvature
        gain[np.abs(integers + direction) > largest] = -np.inf
        best = gain.argmax(axis=1)
        moves = (gain[rows, best] > 1e-9 * curvature[rows, best]) * direction[rows, best]
        if not moves.any():
            break
        integers[rows, best] += moves
        slope -= (scale * moves)[:, None] * covariance[best]
    return integers


def _error(wrong: Array, covariance: Array) -> Array:
    return np.asarray(((wrong @ covariance) * wrong).sum(axis=1))
