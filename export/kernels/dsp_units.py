"""What a unit does with its accumulators, in few instructions of a core with the DSP extension.

Instructions are selected from the last to the first, so that each finds what makes its operands not yet written, and
may compute it along: a shift with a saturation, a comparison with a selection. All else is plain C.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edge_lstm.export.c99_ops import identifier
from edge_lstm.export.kernels.dsp_scales import Scale
from edge_lstm.export.kernels.units import UnitWriter
from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN, Integers, half
from edge_lstm.ops import NUMPY, Op
from edge_lstm.program import Instruction, constant_bits

MOST_SATURATED_BITS = 31
HALFWORD_MAX = 2**15 - 1


@dataclass(frozen=True)
class Held:
    """A table's element of index 0, to which a pointer is kept over a loop.

    Attributes:
        c: Name of the pointer.
        table: Name of the array.
        bits: Of an element.
        offset: Of index 0 in the array.
    """

    c: str
    table: str
    bits: int
    offset: int


@dataclass
class Units(UnitWriter):
    """A ``UnitWriter``.

    Args:
        accumulators: Value to its scale, of those that a kernel computes.
        lessened: Accumulators that are one less in the last place, so that the sign says whether they are above 0.
        scales: What SMMULR computes.
        loaded: Constants that are in variables already.

    Attributes:
        tables: Tables that are made for the loop, by name of the array: slope and entry of each interval.
        held: Pointers that the statements need.
    """

    accumulators: Mapping[str, int]
    lessened: frozenset[str]
    scales: Mapping[str, Scale]
    loaded: frozenset[str]
    tables: dict[str, Integers] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    _consumed: set[str] = field(default_factory=set)

    def lines(self) -> list[str]:
        """The statements."""
        found: list[list[str]] = []
        accumulators = {a for a in self.accumulators if not self.uses.stored(a)}
        given = {*accumulators, *self.loaded, *self.choices.unread, *self._literals()}
        for i in reversed(self.instructions):
            found.append([] if i.out in given or i.out in self._consumed else self._statement(i))
        return [line for lines in reversed(found) for line in lines]

    def _statement(self, i: Instruction) -> list[str]:
        if i.out in self.accumulators:
            return [f"const int32_t {identifier(i.out)} = {self._value(i.out)};"]
        special = {
            Op.SELECT: self._select,
            Op.SATURATE: self._saturate,
            Op.SHIFT_RIGHT_HALF_UP: self._shift,
            Op.LUT: self._lut,
            Op.LUT_INTERP: self._interpolate,
        }.get(i.op)
        return (special and special(i)) or self._plain(i)

    def _plain(self, i: Instruction) -> list[str]:
        if i.op is Op.THRESHOLD and i.args[0] in self.accumulators:
            return [f"const int32_t {identifier(i.out)} = {accumulator(i.args[0])} > 0;"]
        return [f"const int32_t {identifier(i.out)} = {self._expression(i)};"]

    def _value(self, name: str) -> str:
        if (integer := self.uses.constant(name)) is not None:
            return str(integer)
        if name in self.accumulators:
            scale = self.accumulators[name]
            return f"({accumulator(name)} >> {scale})" if scale else accumulator(name)
        return self.element(name)

    def _macro(self, name: str, out: str, *arguments: str | int) -> list[str]:
        """A macro that writes its first argument."""
        given = ", ".join(map(str, (identifier(out), *arguments)))
        return [f"int32_t {identifier(out)};", f"{self.prefix.upper()}_{name}({given});"]

    def _select(self, i: Instruction) -> list[str]:
        """A threshold's sign, spread over a word, masks what is selected."""
        choice, value = i.args
        sign = self.choices.sign(choice)
        if sign is None:
            return []
        word = accumulator(sign.z) if sign.z in self.accumulators else self._value(sign.z)
        below = word if sign.z in self.lessened else f"{word} - 1"
        return self._macro("UNLESS_NEGATIVE" if not sign.inverted else "IF_NEGATIVE", i.out, self._value(value), below)

    def _shift(self, i: Instruction) -> list[str]:
        scale = self.scales.get(i.out)
        if scale is None:
            return []
        self._consumed.update((*scale.consumed, scale.constant))
        z = accumulator(scale.accumulator)
        if scale.cleared:
            return self._macro("SCALE_CLEARED", i.out, z, identifier(scale.constant), scale.cleared)
        return self._macro("SCALE", i.out, z, identifier(scale.constant))

    def _saturate(self, i: Instruction) -> list[str]:
        return self._saturated(i.out, i.args[0], int(i.attributes["lo"]), int(i.attributes["hi"]))

    def _saturated(self, out: str, value: str, lo: int, hi: int) -> list[str]:
        """SSAT between powers of two; twice where the limits are symmetric; USAT where only the lower can be passed."""
        least, most = self._limits(value)
        if lo <= least and most <= hi:
            return [f"const int32_t {identifier(out)} = {self._value(value)};"]
        shift = None if value in self.scales else self.uses.only_for(value, Op.SHIFT_RIGHT_HALF_UP)
        source, n = (value, 0) if shift is None else (shift.args[0], int(shift.attributes["n"]))
        if lo == -hi - 1 and hi & (hi + 1) == 0:
            name, bits, low = "SATURATE", hi.bit_length() + 1, 0
        elif most <= hi:
            name, bits, low = "SATURATE_LOW", (most - lo).bit_length(), lo
        elif lo == -hi and hi & (hi + 1) == 0:
            name, bits, low = "SATURATE", hi.bit_length() + 1, 1  # -hi is the least of what is one less
        else:
            return []
        added = half(n) - (low << n)
        least, most = self._limits(source)
        if least + added < INT32_MIN or most + added > INT32_MAX or bits > MOST_SATURATED_BITS:
            return []
        if shift is not None:
            self._consumed.add(value)
        name += "_SHIFTED" if n else ""
        arguments: list[str | int] = [_plus(self._value(source), added), bits, *([n] if n else [])]
        if not low:
            return self._macro(name, out, *arguments)
        first = self._macro(name, f"{out}_above", *arguments)
        above = _plus(f"{identifier(out)}_above", low)
        if low > 0 and lo == -hi:
            return [*first, *self._macro("SATURATE", out, above, bits)]
        return [*first, f"const int32_t {identifier(out)} = {above};"]

    def _lut(self, i: Instruction) -> list[str]:
        table, lo = str(i.attributes["table"]), int(i.attributes["lo"])
        bits = constant_bits(self.program, table)
        pointer = self._hold(f"{self.prefix}_{identifier(table)}", bits, -lo)
        return [f"const int32_t {identifier(i.out)} = {pointer}[{self._value(i.args[0])}];"]

    def _hold(self, table: str, bits: int, offset: int) -> str:
        """Name of a pointer to a table's element."""
        from_ = f"minus_{-offset}" if offset < 0 else str(offset)
        c = f"{table.removeprefix(f'{self.prefix}_')}_from_{from_}"
        self.held[c] = Held(c, table, bits, offset)
        return c

    def _interpolate(self, i: Instruction) -> list[str]:
        """A word for each interval of the table: its slope above, its first entry below."""
        table, lo, n = str(i.attributes["table"]), int(i.attributes["lo"]), int(i.attributes["n"])
        entries = self.program.constants[table].astype(np.int64)
        slopes = np.diff(entries)
        if max(np.abs(entries).max(), np.abs(slopes).max()) > HALFWORD_MAX:
            return []
        # One more interval, in which nothing changes: the saturation of an index may then end at a power of two.
        top = ((lo + len(slopes)) << n) - 1
        last = NUMPY[Op.LUT_INTERP](np.array([top]), table=entries, lo=lo, n=n)
        words = (np.append(slopes, 0) << 16) | (np.append(entries[:-1], last) & 0xFFFF)
        name = f"{self.prefix}_{identifier(table)}_slopes_{n}"
        self.tables[name] = words.astype(np.int32)
        pointer, index, c = self._hold(name, 32, -lo), i.args[0], identifier(i.out)
        limited, lines = self.uses.only_for(index, Op.SATURATE), list[str]()
        if limited is not None and limited.attributes["hi"] == top:
            lines = self._saturated(index, limited.args[0], int(limited.attributes["lo"]), top + (1 << n))
        if lines:
            self._consumed.add(index)
        at = self._value(index)
        return [
            *lines,
            f"const int32_t {c}_word = {pointer}[{at} >> {n}];",
            *self._macro("SLOPE", f"{c}_step", f"{c}_word", f"{at} & {(1 << n) - 1}", half(n)),
            # The lower half is the result, whatever the slope above becomes; a product takes halves as they are.
            f"const int16_t {c} = (int16_t)((uint32_t){c}_word + (uint32_t)({c}_step >> {n}));",
        ]


def accumulator(value: str) -> str:
    """C name of the register of a product; it may hold more than the value, see ``Units``."""
    return f"{identifier(value)}_acc"


def _plus(value: str, integer: int) -> str:
    return f"{value} + {integer}" if integer > 0 else f"{value} - {-integer}" if integer else value
