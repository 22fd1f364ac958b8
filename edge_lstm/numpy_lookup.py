"""Tables of a Program as NumPy reads them: for all that a value can be, so that nothing is limited before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN, Integers, half
from edge_lstm.ops import NUMPY, Op
from edge_lstm.program import Instruction, Program

LONGEST = 2**16
"""Entries of a table that also does the work of a ``SATURATE``: 256 KB, which a core's cache holds."""
TABLES = (Op.LUT, Op.LUT_INTERP)
_SHIFTS = (Op.SHIFT_RIGHT_HALF_UP, Op.SHIFT_RIGHT_FLOOR)


@dataclass(frozen=True)
class Lookup:
    """``table[(source + offset) >> shift]``: the index is in the table, and the sum in 32 bits, by the proved ranges.

    Attributes:
        source: Name of a value.
        offset: Added.
        shift: 0 to 30; rounds by ``floor``.
        table: int32; interpolation is a longer table.
    """

    source: str
    offset: int
    shift: int
    table: Integers


def lookups(program: Program) -> dict[str, Lookup]:
    """Of each instruction that reads a table, by its result: from as far back as the proved ranges allow."""
    made_by = {i.out: i for i in program.instructions}
    return {i.out: _lookup(program, made_by, i) for i in program.instructions if i.op in TABLES}


def _lookup(program: Program, made_by: dict[str, Instruction], instruction: Instruction) -> Lookup:
    source = instruction.args[0]
    lo, hi = _range(program, source)
    table = NUMPY[instruction.op](np.arange(lo, hi + 1, dtype=np.int32), **instruction.bind(program.constants))
    before = made_by.get(source)
    if before is not None and before.op is Op.SATURATE:
        low, high = _range(program, before.args[0])
        if high - low < LONGEST and _fits(program, before.args[0], -low):
            source = before.args[0]
            table = table[np.clip(np.arange(low, high + 1), lo, hi) - lo]
            lo = low
    before = made_by.get(source)
    if before is not None and before.op in _SHIFTS:
        n = int(before.attributes["n"])
        offset = (half(n) if before.op is Op.SHIFT_RIGHT_HALF_UP else 0) - (lo << n)
        if _fits(program, before.args[0], offset):
            return Lookup(before.args[0], offset, n, table)
    return Lookup(source, -lo, 0, table)


def _range(program: Program, name: str) -> tuple[int, int]:
    interval = program.intervals[name]
    return int(interval.lo.min()), int(interval.hi.max())


def _fits(program: Program, name: str, offset: int) -> bool:
    """Whether the offset, and the value and the offset, fit 32 bits."""
    lo, hi = _range(program, name)
    return abs(offset) <= INT32_MAX and lo + offset >= INT32_MIN and hi + offset <= INT32_MAX
