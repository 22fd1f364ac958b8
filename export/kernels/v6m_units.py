"""What a unit does with its sums, in few instructions of a core with Thumb-1 alone; it is C all the same.

What a hard gate selects is computed only where it is selected. An index of a table is limited from the table's first
entry on, for which one comparison in unsigned integers will do; a saturation to 8 or 16 bits extends a sign.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from edge_lstm.export.c99_ops import identifier
from edge_lstm.export.kernels.choices import Sign
from edge_lstm.export.kernels.units import UnitWriter
from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN, half
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, constant_bits

NARROW = (8, 16)
"""Bits of integers of which a core extends the sign."""


@dataclass
class Units(UnitWriter):
    """A ``UnitWriter``."""

    _consumed: set[str] = field(default_factory=set)

    def lines(self, given: Collection[str]) -> list[str]:
        """The statements, of which these values are in variables already."""
        unneeded = {*given, *self.choices.unread, *self._literals()}
        selects = {i.out: i for i in self.instructions if i.op is Op.SELECT and self._sign(i) is not None}
        # The innermost selection comes last, and takes what is its own from those around it.
        inside = {value: out for out, i in reversed(selects.items()) for value in self._only_for(i.args[1])}
        statements, of = dict[str, list[str]](), dict[str | None, list[str]]()
        for i in reversed(self.instructions):
            if i.out not in unneeded and i.out not in self._consumed:
                of.setdefault(inside.get(i.out), []).append(i.out)
                statements[i.out] = [] if i.out in selects else self._statement(i)

        def written(around: str | None) -> list[str]:
            """What is computed where one selection selects, or anyway."""
            lines = list[str]()
            for out in reversed(of.get(around, [])):
                lines += self._selected(selects[out], written(out)) if out in selects else statements[out]
            return lines

        return written(None)

    def _sign(self, i: Instruction) -> Sign | None:
        return self.choices.sign(i.args[0])

    def _only_for(self, value: str) -> list[str]:
        """What is computed in the loop for nothing but this value, which is read once; with it."""
        made = self.uses.only_for(value, *Op)
        if made is None or made.op in (Op.MATVEC, Op.CONST, Op.THRESHOLD):
            return []
        return [value, *(v for argument in made.args for v in self._only_for(argument))]

    def _selected(self, i: Instruction, inside: list[str]) -> list[str]:
        sign, out = self._sign(i), identifier(i.out)
        assert sign is not None
        condition = f"{self._value(sign.z)} {'<=' if sign.inverted else '>'} 0"
        body = [*inside, f"{out} = {self._value(i.args[1])};"]
        return [f"int32_t {out} = 0;", f"if ({condition}) {{", *(f"    {line}" for line in body), "}"]

    def _statement(self, i: Instruction) -> list[str]:
        found = {
            Op.SATURATE: self._saturate,
            Op.LUT: self._lut,
            Op.LUT_INTERP: self._interpolate,
        }.get(i.op, self._plain)(i)
        return [f"const int32_t {identifier(i.out)} = {found[-1]};"] if len(found) == 1 else found

    def _plain(self, i: Instruction) -> list[str]:
        return [self._expression(i)]

    def _value(self, name: str) -> str:
        integer = self.uses.constant(name)
        return self.element(name) if integer is None else str(integer) if integer >= 0 else f"({integer})"

    def _saturate(self, i: Instruction) -> list[str]:
        (value,), lo, hi = i.args, int(i.attributes["lo"]), int(i.attributes["hi"])
        least, most = self._limits(value)
        c = self._value(value)
        if lo <= least and most <= hi:
            return [c]
        for bits in NARROW:
            if (lo, hi) == (-(1 << (bits - 1)), (1 << (bits - 1)) - 1):
                return [f"{self.prefix}_narrow_{bits}({c})"]
        return self._plain(i)

    def _lut(self, i: Instruction) -> list[str]:
        at = self._from_first(i.args[0], int(i.attributes["lo"]))
        return self._plain(i) if at is None else [f"{self._table(i)}[{at}]"]

    def _interpolate(self, i: Instruction) -> list[str]:
        lo, n = int(i.attributes["lo"]), int(i.attributes["n"])
        at = self._from_first(i.args[0], lo << n)
        if at is None:
            return self._plain(i)
        c, bits = identifier(i.out), constant_bits(self.program, str(i.attributes["table"]))
        between = f"{c}_entry[0], {c}_entry[1], {c}_at & {(1 << n) - 1}, {n}"
        return [
            f"const int32_t {c}_at = {at};",
            f"const int{bits}_t *const {c}_entry = {self._table(i)} + ({c}_at >> {n});",
            f"const int32_t {c} = {self.prefix}_interpolate({between});",
        ]

    def _table(self, i: Instruction) -> str:
        return f"{self.prefix}_{identifier(str(i.attributes['table']))}"

    def _from_first(self, index: str, lo: int) -> str | None:
        """A limited index less its lowest value; None where it is not limited for one table alone."""
        limited = self.uses.only_for(index, Op.SATURATE)
        if limited is None or limited.attributes["lo"] != lo:
            return None
        value, top = limited.args[0], int(limited.attributes["hi"]) - lo
        shifted = self.uses.only_for(value, Op.SHIFT_RIGHT_HALF_UP)
        if shifted is not None and (n := int(shifted.attributes["n"])):
            added = half(n) - (lo << n)
            least, most = self._limits(shifted.args[0])
            if least + added >= INT32_MIN and most + added <= INT32_MAX:
                self._consumed.update((index, value))
                return f"{self.prefix}_index(({self._value(shifted.args[0])} + {added}) >> {n}, {top})"
        least, most = self._limits(value)
        if least - lo < INT32_MIN or most - lo > INT32_MAX:
            return None
        self._consumed.add(index)
        return f"{self.prefix}_index({self._value(value)} + {-lo}, {top})"
