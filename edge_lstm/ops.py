"""The integer operations: the only place where their arithmetic is stated (docs/ARITHMETIC.md).

An operation works on vectors; in NumPy the vectors are the last axis and all leading axes are batch.
``NUMPY`` gives each operation's meaning, ``RANGES`` its value-range rule. The other backends
(``export.onnx_ops``, ``export.c99_ops``, ``nn.torch_ops``) have one entry each for the same keys.

Ranges are tracked per element, as a pair of int64 vectors (lowest, highest). A rule raises
``OverflowError`` when a result *or an intermediate* of the operation could leave 32 bits, so no
backend ever wraps around, and ``ValueError`` for operands that the operation does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN, half, saturate, shift_right_floor, shift_right_half_up


class Op(str, Enum):
    """Operation, with its attributes. ``v[j]`` is element j of the first argument, ``w[j]`` of the second."""

    CONST = "const"
    """``value[j]``. Attribute ``value`` (n,)."""
    CONCAT = "concat"
    """All arguments, one after the other."""
    MATVEC = "matvec"
    """``bias[j] + sum_k weights[j, k] * v[k]``. Attributes ``weights`` (n, k), ``bias`` (n,).

    Optional attribute ``bits``, 8, 4 or 2: the weights lie in [-127, 127], [-7, 7] or [-1, 1], and the generated C
    packs those of 4 and 2 bits. It changes no value. Where it is absent, weights are stored by their range.
    """
    ADD = "add"
    """``v[j] + w[j]``."""
    SUB = "sub"
    """``v[j] - w[j]``."""
    MAX = "max"
    """``max(v[j], w[j])``."""
    MUL = "mul"
    """``v[j] * w[j]``."""
    SHIFT_RIGHT_FLOOR = "shift_right_floor"
    """``v[j] >> n``. Attribute ``n``, 0 to 30."""
    SHIFT_RIGHT_HALF_UP = "shift_right_half_up"
    """``(v[j] + half(n)) >> n``. Attribute ``n``, 0 to 30."""
    SATURATE = "saturate"
    """``min(max(v[j], lo), hi)``. Attributes ``lo``, ``hi``."""
    THRESHOLD = "threshold"
    """1 where ``v[j] > 0``, else 0: a hard gate (rule R3)."""
    SELECT = "select"
    """``w[j]`` where ``v[j] != 0``, else 0: what a hard gate does to a value."""
    LUT = "lut"
    """``table[v[j] - lo]``, where ``lo <= v[j] < lo + len(table)``. Attributes ``table``, ``lo``."""
    LUT_INTERP = "lut_interp"
    """``t0 + (((t1 - t0) * r + half(n)) >> n)``: linear interpolation between the entries of a table.

    ``t0 = table[k - lo]``, ``t1 = table[k + 1 - lo]``, ``k = v[j] >> n``, ``r = v[j] - (k << n)``, where
    ``lo <= k < lo + len(table) - 1``. Attributes ``table``, ``lo`` and ``n``, the index's fraction bits, 1 to 12.
    """
    MAX_ELEMENT = "max_element"
    """The largest element. Result of length 1."""
    ARGMAX = "argmax"
    """Index of the largest element, the first where several are equal. Result of length 1."""


class Interval(NamedTuple):
    """Per-element value range: int64 vectors, ``lo[j] <= v[j] <= hi[j]``."""

    lo: NDArray[np.int64]
    hi: NDArray[np.int64]

    @staticmethod
    def of(lo: int, hi: int, length: int) -> Interval:
        """The same range for each of ``length`` elements."""
        return Interval(np.full(length, lo, np.int64), np.full(length, hi, np.int64))


# --- meaning ---------------------------------------------------------------------------------------


def _matvec(v: Any, *, weights: Any, bias: Any, **_storage: int) -> Any:
    # Float64 products use BLAS and are exact: rule _range_matvec bounds every partial sum by 2**31 < 2**53.
    product = v.astype(np.float64) @ weights.astype(np.float64).T
    return product.astype(np.int32) + bias


def _lut_interp(v: Any, *, table: Any, lo: int, n: int) -> Any:
    entry = shift_right_floor(v, n) - lo
    t0, t1, r = table.take(entry), table.take(entry + 1), v & ((1 << n) - 1)
    return t0 + shift_right_half_up((t1 - t0) * r, n)


NUMPY: Mapping[Op, Callable[..., Any]] = {
    Op.CONST: lambda *, value: value,
    Op.CONCAT: lambda *vs: np.concatenate(vs, axis=-1),
    Op.MATVEC: _matvec,
    Op.ADD: lambda v, w: v + w,
    Op.SUB: lambda v, w: v - w,
    Op.MAX: np.maximum,
    Op.MUL: lambda v, w: v * w,
    Op.SHIFT_RIGHT_FLOOR: lambda v, *, n: shift_right_floor(v, n),
    Op.SHIFT_RIGHT_HALF_UP: lambda v, *, n: shift_right_half_up(v, n),
    Op.SATURATE: lambda v, *, lo, hi: saturate(v, lo, hi),
    Op.THRESHOLD: lambda v: (v > 0).astype(np.int32),
    Op.SELECT: lambda v, w: np.where(v != 0, w, 0),
    Op.LUT: lambda v, *, table, lo: table.take(v - lo),
    Op.LUT_INTERP: _lut_interp,
    Op.MAX_ELEMENT: lambda v: np.max(v, axis=-1, keepdims=True),
    Op.ARGMAX: lambda v: np.argmax(v, axis=-1, keepdims=True).astype(np.int32),
}


# --- value ranges ----------------------------------------------------------------------------------


def _checked(lo: NDArray[Any], hi: NDArray[Any], what: str = "result") -> Interval:
    low, high = int(lo.min()), int(hi.max())
    if low < INT32_MIN or high > INT32_MAX:
        raise OverflowError(f"its {what} can reach [{low}, {high}], and 32 bits hold [{INT32_MIN}, {INT32_MAX}]")
    return Interval(lo, hi)


def _check_lengths(v: Interval, w: Interval) -> None:
    if len(v.lo) != len(w.lo):
        raise ValueError(f"its arguments have {len(v.lo)} and {len(w.lo)} elements, and must have equally many")


def _check_shift(n: int) -> None:
    if not 0 <= n <= 30:
        raise ValueError(f"it shifts by {n}; accepted are 0 to 30")


def _range_const(*, value: Any) -> Interval:
    wide = value.astype(np.int64)
    return _checked(wide, wide)


def _range_concat(*vs: Interval) -> Interval:
    return Interval(np.concatenate([v.lo for v in vs]), np.concatenate([v.hi for v in vs]))


def _check_weights(weights: Any, bits: int) -> None:
    if bits not in (8, 4, 2):
        raise ValueError(f"its weights have {bits} bits; accepted are 8, 4 and 2")
    limit = 2 ** (bits - 1) - 1
    low, high = int(weights.min(initial=0)), int(weights.max(initial=0))
    if low < -limit or high > limit:
        raise ValueError(f"its weights lie in [{low}, {high}], and {bits} bits hold [-{limit}, {limit}]")


def _range_matvec(v: Interval, *, weights: Any, bias: Any, bits: int | None = None) -> Interval:
    """Bounds every partial sum in any order of summation, not only the total."""
    if weights.shape != (len(bias), len(v.lo)):
        raise ValueError(f"its weights are {weights.shape}, and must be ({len(bias)}, {len(v.lo)})")
    if bits is not None:
        _check_weights(weights, bits)
    w, b = weights.astype(np.int64), bias.astype(np.int64)
    # In float64, which int32 weights can't wrap around; exact wherever the sum fits 32 bits.
    reach = np.abs(b) + np.abs(w).astype(np.float64) @ np.maximum(np.abs(v.lo), np.abs(v.hi)).astype(np.float64)
    _checked(-reach, reach, "accumulator")
    positive, negative = np.maximum(w, 0), np.minimum(w, 0)
    return Interval(b + positive @ v.lo + negative @ v.hi, b + positive @ v.hi + negative @ v.lo)


def _range_add(v: Interval, w: Interval) -> Interval:
    _check_lengths(v, w)
    return _checked(v.lo + w.lo, v.hi + w.hi)


def _range_sub(v: Interval, w: Interval) -> Interval:
    _check_lengths(v, w)
    return _checked(v.lo - w.hi, v.hi - w.lo)


def _range_max(v: Interval, w: Interval) -> Interval:
    _check_lengths(v, w)
    return Interval(np.maximum(v.lo, w.lo), np.maximum(v.hi, w.hi))


def _range_mul(v: Interval, w: Interval) -> Interval:
    _check_lengths(v, w)
    corners = np.stack([v.lo * w.lo, v.lo * w.hi, v.hi * w.lo, v.hi * w.hi])
    return _checked(corners.min(0), corners.max(0))


def _range_shift_right_floor(v: Interval, *, n: int) -> Interval:
    _check_shift(n)
    return Interval(v.lo >> n, v.hi >> n)


def _range_shift_right_half_up(v: Interval, *, n: int) -> Interval:
    _check_shift(n)
    _checked(v.lo + half(n), v.hi + half(n), "sum before the shift")
    return Interval((v.lo + half(n)) >> n, (v.hi + half(n)) >> n)


def _range_select(v: Interval, w: Interval) -> Interval:
    _check_lengths(v, w)
    return Interval(np.minimum(w.lo, 0), np.maximum(w.hi, 0))


def _reachable(table: Any, lo: int, low: int, high: int) -> Any:
    """The entries that the indices ``low`` to ``high`` read, of a table whose first index is ``lo``."""
    if low < lo or high >= lo + len(table):
        raise OverflowError(f"its index can reach [{low}, {high}], and the table holds [{lo}, {lo + len(table) - 1}]")
    return table[low - lo : high - lo + 1]


def _range_lut(v: Interval, *, table: Any, lo: int) -> Interval:
    entries = _reachable(table, lo, int(v.lo.min()), int(v.hi.max()))
    return Interval.of(int(entries.min()), int(entries.max()), len(v.lo))


def _range_lut_interp(v: Interval, *, table: Any, lo: int, n: int) -> Interval:
    """Bounds each step between neighbours times the largest fraction; the result never leaves their interval."""
    if not 1 <= n <= 12:
        raise ValueError(f"its index has {n} fraction bits; accepted are 1 to 12")
    entries = _reachable(table, lo, int(v.lo.min()) >> n, (int(v.hi.max()) >> n) + 1).astype(np.int64)
    product = np.diff(entries) * ((1 << n) - 1)
    _checked(np.minimum(product, 0), np.maximum(product, 0) + half(n), "interpolation")
    return Interval.of(int(entries.min()), int(entries.max()), len(v.lo))


RANGES: Mapping[Op, Callable[..., Interval]] = {
    Op.CONST: _range_const,
    Op.CONCAT: _range_concat,
    Op.MATVEC: _range_matvec,
    Op.ADD: _range_add,
    Op.SUB: _range_sub,
    Op.MAX: _range_max,
    Op.MUL: _range_mul,
    Op.SHIFT_RIGHT_FLOOR: _range_shift_right_floor,
    Op.SHIFT_RIGHT_HALF_UP: _range_shift_right_half_up,
    Op.SATURATE: lambda v, *, lo, hi: Interval(np.clip(v.lo, lo, hi), np.clip(v.hi, lo, hi)),
    Op.THRESHOLD: lambda v: Interval((v.lo > 0).astype(np.int64), (v.hi > 0).astype(np.int64)),
    Op.SELECT: _range_select,
    Op.LUT: _range_lut,
    Op.LUT_INTERP: _range_lut_interp,
    Op.MAX_ELEMENT: lambda v: Interval(v.lo.max(keepdims=True), v.hi.max(keepdims=True)),
    Op.ARGMAX: lambda v: Interval.of(0, len(v.lo) - 1, 1),
}
