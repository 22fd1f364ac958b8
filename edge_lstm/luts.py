"""The activations: exact, as look-up tables and as piecewise linear functions, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm.blocks import Linear, Table
from edge_lstm.fixedpoint import QFormat, half
from edge_lstm.gates import STEPS, GateMode

Array = NDArray[np.float64]


def sigmoid(v: Any) -> Array:
    """1 / (1 + exp(-v)), without overflow for any finite v."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(v, np.float64)))


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "squash1": lambda v: np.tanh(0.5 * np.asarray(v, np.float64)),
    "squash2": lambda v: 2.0 * np.tanh(0.5 * np.asarray(v, np.float64)),
    "relu": lambda v: np.maximum(v, 0.0),
}

INDEX_BITS: Mapping[str, int] = {"sigmoid": 4, "tanh": 5, "squash1": 4, "squash2": 4}
"""Table index -128 to 127 then covers -8 to 8 for sigmoid and -4 to 4 for tanh, whose slope is 4 times steeper."""
BETWEEN_BITS = 8
"""Of interpolated tables: their argument has 16 bits."""


class Hard(NamedTuple):
    """``min(max(v * 2**-slope_bits + offset, lo), hi)``."""

    slope_bits: int
    offset: float
    lo: float
    hi: float

    def __call__(self, v: Any) -> Array:
        return np.clip(np.asarray(v, np.float64) * 2.0**-self.slope_bits + self.offset, self.lo, self.hi)


HARD: Mapping[str, Hard] = {
    "sigmoid": Hard(2, 0.5, 0.0, 1.0),
    "tanh": Hard(0, 0.0, -1.0, 1.0),
    "squash1": Hard(1, 0.0, -1.0, 1.0),
    "squash2": Hard(0, 0.0, -2.0, 2.0),
    "relu": Hard(0, 0.0, 0.0, np.inf),
}
"""The tangent at 0, cut off at the function's limits."""


def hard(function: str) -> Callable[[Any], Array]:
    """The hard form of a function."""
    return HARD[function].__call__


def limited(v: Any, clip: float | None) -> Any:
    """An argument limited to [-clip, clip]."""
    return v if clip is None else np.clip(v, -clip, clip)


def exact(activation: Table | Linear) -> Callable[[Any], Any]:
    """The function that a table or a linear form stands for, with its limit of the argument."""
    return lambda v: FUNCTIONS[activation.function](limited(v, activation.clip))


def gate(mode: GateMode, z: Any) -> Array:
    """Exact value of a gate."""
    if mode == "soft":
        return sigmoid(z)
    if mode == "hard-sigmoid":
        return HARD["sigmoid"](z)
    return np.asarray(sum((np.asarray(z) > at).astype(np.float64) for at in STEPS[mode]) / len(STEPS[mode]))


def build(function: Any, output: QFormat, *, between_bits: int = 0, clip: float | None = None) -> Table:
    """The 256-entry table of a function, of an argument that is limited to [-clip, clip]."""
    bits = INDEX_BITS[function]
    index = limited(np.arange(-128, 128) / 2**bits, clip)
    values = output.quantize(FUNCTIONS[function](index)).astype(np.int16)
    return Table(function, bits, output, values, between_bits, clip)


def build_linear(function: Any, output: QFormat, *, clip: float | None = None) -> Linear:
    """The hard form of a function, in integers, of an argument that is limited to [-clip, clip]."""
    hard = HARD[function]
    ends = (hard.lo, hard.hi) if clip is None else (hard(-clip), hard(clip))
    offset, lo, hi = (int(output.quantize(np.clip(v, -1e9, 1e9))) for v in (hard.offset, *ends))
    return Linear(function, hard.slope_bits, output, offset, lo, hi, clip)


def evaluate(activation: Table | Linear, v: Any) -> Array:
    """What the integers give for a real argument that is rounded to the nearest one that they know."""
    asked = np.floor(np.asarray(v, np.float64) * 2.0**activation.input_bits + 0.5)
    if isinstance(activation, Linear):
        found = np.clip(asked + activation.offset, activation.lo, activation.hi)
        return np.asarray(found * activation.output.scale)
    n = activation.between_bits
    entries = activation.values.astype(np.int64)
    asked = np.clip(asked, -128 << n, ((127 << n) - 1) if n else 127).astype(np.int64)
    k, rest = (asked >> n) + 128, asked - ((asked >> n) << n)
    found = entries[k]
    if n:
        found = found + (((entries[k + 1] - found) * rest + half(n)) >> n)
    return activation.output.dequantize(found)


def largest_error(activation: Table | Linear) -> float:
    """Largest absolute error against the exact function over all reals, entries and indexing together.

    Of a table's nearest entries exactly: every function tabulated is monotonic, so within a cell the error is largest
    at one of its ends; beyond the table it is largest where the function has reached its limit. Otherwise from 2**18
    points and the steepest slope between them.
    """
    wanted = exact(activation)
    if isinstance(activation, Table) and activation.between_bits == 0:
        entries = activation.output.dequantize(activation.values)
        edges = (np.arange(-128, 127) + 0.5) / 2**activation.index_bits  # between neighbouring cells
        inner = np.maximum(np.abs(entries[:-1] - wanted(edges)), np.abs(entries[1:] - wanted(edges)))
        outer = np.abs(entries[[0, -1]] - wanted(np.array([-1e3, 1e3])))
        return float(max(inner.max(), outer.max()))
    v = _points(activation)
    between = 0.5 * (v[1] - v[0]) * STEEPEST[activation.function]
    if activation.function != "relu":  # which has no limit to be off at
        v = np.concatenate([v, [-1e3, 1e3]])
    return float(np.abs(evaluate(activation, v) - wanted(v)).max() + between)


def mean_error(activation: Table | Linear) -> float:
    """Mean absolute error against the exact function, over the arguments of a table: -128 to 128 index steps."""
    v = _points(activation)
    return float(np.abs(evaluate(activation, v) - exact(activation)(v)).mean())


def _points(activation: Table | Linear) -> Array:
    reach = 2.0 ** (7 - INDEX_BITS.get(activation.function, 4))
    if activation.function == "relu":
        reach = activation.hi * activation.output.scale if isinstance(activation, Linear) else reach
    return np.linspace(-reach, reach, 2**18 + 1)


STEEPEST: Mapping[str, float] = {"sigmoid": 0.25, "tanh": 1.0, "squash1": 0.5, "squash2": 1.0, "relu": 1.0}
"""Largest slope of each function."""
