"""How far a tensor's range reaches, from a histogram of its absolute values that is filled block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError

RangeMethod = Literal["minmax", "percentile", "mse", "entropy"]
"""``minmax``: all that was seen; of h without a bound, ``Histogram.power_of_two``. ``percentile``: all but the largest
few. ``mse``: least mean squared error of rounding and of clipping together. ``entropy``: least Kullback-Leibler
divergence of the quantized distribution (S. Migacz, "8-bit inference with TensorRT", GTC 2017)."""
RANGE_METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)
BINS = 2048
HEADROOM = 1.25
"""A calibrated format holds the extreme times this, so that a stream livelier than the calibration fits."""
_SMALLEST = 2.0**-20
"""First reach of a histogram; it doubles as values ask for it."""
_HALVINGS = 6
"""Powers of two that are compared."""
_ENTROPY_EVERY = 16
"""Bins between two ranges that ``entropy`` compares."""


@dataclass(frozen=True)
class RangeChoice:
    """How a range is chosen.

    Args:
        method: One of ``RANGE_METHODS``.
        percentile: Of the absolute values, above 50 to 100; used by that method.
    """

    method: RangeMethod = "minmax"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        if self.method not in RANGE_METHODS:
            raise EdgeLstmError(f"range is {self.method!r}; accepted are {', '.join(RANGE_METHODS)}")
        if not 50 < self.percentile <= 100:
            raise EdgeLstmError(f"percentile is {self.percentile}; accepted are above 50, to 100")


def exactly(reach: float) -> float:
    """The range whose format, with headroom, reaches to ``reach``, and not to the next power of two where it is one."""
    return reach / HEADROOM * (1 - 2.0**-20)


class Histogram:
    """Counts of absolute values of several channels, in bounded memory.

    Each channel has ``BINS`` bins of equal width from 0. Where a value lies beyond, pairs of bins are merged and the
    width doubles, so that counts stay exact whatever the order of the values.

    Args:
        channels: Number of channels.
    """

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, BINS), np.int64)
        self.reach = np.full(channels, _SMALLEST)
        self.largest = np.zeros(channels)

    def add(self, values: NDArray[Any]) -> None:
        """Count values (..., channels), finite."""
        size = np.abs(values.reshape(-1, len(self.reach)))
        if not len(size):
            return
        self.largest = np.maximum(self.largest, size.max(axis=0))
        for k, largest in enumerate(self.largest):
            while self.reach[k] < largest:
                self.counts[k, : BINS // 2] = self.counts[k].reshape(-1, 2).sum(axis=1)
                self.counts[k, BINS // 2 :] = 0
                self.reach[k] *= 2
            bins = np.minimum(size[:, k] * (BINS / self.reach[k]), BINS - 1).astype(np.int64)
            self.counts[k] += np.bincount(bins, minlength=BINS)

    def extremes(self, choice: RangeChoice, bits: int) -> NDArray[np.float64]:
        """(channels,) how far the range of each channel reaches; at most its largest value.

        Args:
            choice: How to choose.
            bits: Of the integers that the values will be rounded to.
        """
        if choice.method == "minmax":
            return self.largest.copy()
        levels = 2 ** (bits - 1) - 1
        found = np.zeros(len(self.reach))
        for k, counts in enumerate(self.counts):
            if self.largest[k] > 0:
                bins = _bins(counts, choice, levels)
                found[k] = min(bins * self.reach[k] / BINS, self.largest[k])
        return found

    def power_of_two(self, bits: int) -> NDArray[np.float64]:
        """(channels,) how far the format of so many bits reaches that has the least squared error.

        For values without a bound, such as h of a cell with relu, whose largest ones are rare: a power of two beyond
        them all would double or quadruple the unit of all others.
        """
        found = np.zeros(len(self.reach))
        for k, counts in enumerate(self.counts):
            if self.largest[k] > 0:
                centre = (np.arange(BINS) + 0.5) * self.reach[k] / BINS
                reaches = 2.0 ** (np.ceil(np.log2(self.largest[k])) - np.arange(_HALVINGS))
                units = reaches[:, None] / 2 ** (bits - 1)
                rounded = np.where(centre < units / 2, centre**2, units**2 / 12)
                clipped = np.maximum(centre - reaches[:, None], 0.0) ** 2
                errors = np.where(centre < reaches[:, None], rounded, clipped) @ counts
                found[k] = reaches[int(np.argmin(errors))]
        return found


def _bins(counts: NDArray[np.int64], choice: RangeChoice, levels: int) -> int:
    """Number of bins inside the range."""
    if choice.method == "percentile":
        inside = np.cumsum(counts)
        return int(np.searchsorted(inside, choice.percentile / 100 * inside[-1])) + 1
    return _least_error(counts, levels) if choice.method == "mse" else _least_divergence(counts, levels)


def _least_error(counts: NDArray[np.int64], levels: int) -> int:
    """Of least squared error, in which rounding is even in a step, of ``levels`` steps in the range."""
    centre = np.arange(BINS) + 0.5
    reach = np.arange(1, BINS + 1, dtype=np.float64)
    moments = [np.cumsum((counts * centre**n)[::-1])[::-1] for n in range(3)]  # of what is in bin k or later
    beyond = [np.append(m[1:], 0.0) for m in moments]
    clipped = beyond[2] - 2 * reach * beyond[1] + reach**2 * beyond[0]
    rounded = (counts.sum() - beyond[0]) * (reach / levels) ** 2 / 12
    return int(np.argmin(clipped + rounded)) + 1


def _least_divergence(counts: NDArray[np.int64], levels: int) -> int:
    """Of least divergence of what is clipped from what is clipped and rounded to ``levels`` levels."""
    last = int(np.flatnonzero(counts)[-1]) + 1
    if last <= levels:
        return last
    candidates = [*range(levels + 1, last, _ENTROPY_EVERY), last]
    divergences = [_divergence(counts, bins, levels) for bins in candidates]
    return int(candidates[int(np.argmin(divergences))])


def _divergence(counts: NDArray[np.int64], bins: int, levels: int) -> float:
    inside = counts[:bins].astype(np.float64)
    level = np.arange(bins) * levels // bins
    filled = inside > 0
    total, occupied = np.bincount(level, inside, levels), np.bincount(level, filled, levels)
    rounded = np.where(filled, (total / np.maximum(occupied, 1))[level], 0.0)
    clipped = inside.copy()
    clipped[-1] += counts[bins:].sum()
    p, q = clipped / clipped.sum(), rounded / max(rounded.sum(), 1.0)
    some = p > 0
    return float((p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))).sum())
