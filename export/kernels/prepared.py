"""Vectors in the form that kernels read: made once per step, and kept in slots of the scratch memory while needed.

A vector that is made of others and read by kernels alone is prepared from its parts, where that takes no more chunks,
and not put together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_lstm.export.c99_ops import Vector
from edge_lstm.export.kernels.groups import RowGroup, row_groups
from edge_lstm.export.kernels.kernel import Kernel, Words
from edge_lstm.export.kernels.selection import Operands
from edge_lstm.fixedpoint import Integers
from edge_lstm.program import Instruction, Program


@dataclass(frozen=True)
class Prepared:
    """A prepared vector.

    Attributes:
        operands: What it is made of.
        sources: Where each of these is.
        first: The statement of the body before which it is made.
        slot: Where it is kept.
    """

    operands: Operands
    sources: tuple[Vector, ...]
    first: int
    slot: int

    @property
    def segments(self) -> tuple[tuple[Kernel, int], ...]:
        """Kernels in order, each with the number of chunks."""
        found: list[tuple[Kernel, int]] = []
        for operand, source in zip(self.operands, self.sources, strict=True):
            kernel = operand.kernel
            before = found.pop()[1] if found and found[-1][0] is kernel and not kernel.end_words else 0
            found.append((kernel, before + kernel.chunks(source.length)))
        return tuple(found)

    @property
    def scale(self) -> int:
        """Of the accumulators."""
        return self.operands[0].kernel.scale

    @property
    def member(self) -> Vector:
        """Of the scratch structure."""
        words = [o.kernel.words(s.length) for o, s in zip(self.operands, self.sources, strict=True)]
        return Vector(f"prepared{self.slot}", sum(words), 32)

    def lines(self, prefix: str) -> list[str]:
        """C that makes it."""
        lines, at = [], 0
        for operand, source in zip(self.operands, self.sources, strict=True):
            to = f"scratch->{self.member.c}" + (f" + {at}" if at else "")
            lines.append(f"{prefix}_{operand.kernel.name}_s{source.bits}({source.c}, {to}, {source.length});")
            at += operand.kernel.words(source.length)
        return lines

    def packed(self, program: Program, weights: Integers) -> Words:
        """(units, k) weights to words."""
        ends = np.cumsum([s.length for s in self.sources])[:-1]
        columns = zip(self.operands, np.split(weights, ends, axis=1), strict=True)
        return np.concatenate([o.kernel.packed(o.weights(program, w)) for o, w in columns], axis=1)


class Preparation:
    """The prepared vectors of a Program.

    Args:
        program: The Program.
        statements: Its instructions in the groups in which they are written: a loop, or one instruction.
        places: Where values are in memory.
        plain: Values that must be computed in plain C.
        operands: How a group is computed; None where plain C has to.
        made: Makes a prepared vector.

    Attributes:
        unread: Values that need not be computed where the kernels are.
    """

    def __init__(
        self,
        program: Program,
        statements: Sequence[Sequence[Instruction]],
        places: Mapping[str, Vector],
        plain: Collection[str],
        operands: Callable[[Program, RowGroup], Operands | None],
        made: Callable[[Operands, tuple[Vector, ...], int, int], Prepared] = Prepared,
    ) -> None:
        self._found: dict[tuple[str, Operands], Prepared] = {}
        reads: dict[tuple[str, Operands], list[int]] = {}
        instead: Counter[str] = Counter()
        for k, statement in enumerate(statements):
            if {i.out for i in statement} & set(plain):
                continue
            for group in row_groups(statement):
                if (found := operands(program, group)) is not None:
                    reads.setdefault((group.vector, found), []).append(k)
                    if found[0].value != group.vector:
                        instead[group.vector] += len(group.products)
        read = {operand.value for _, found in reads for operand in found}
        self.unread = _unread(program, instead, read, plain)
        maker = {i.out: k for k, statement in enumerate(statements) for i in statement}
        free: list[int] = []  # the statement after which each slot is free
        wanted = [
            (_first(maker, vector, found) if found[0].value != vector else loops[0], loops[-1], n, vector, found)
            for n, ((vector, found), loops) in enumerate(reads.items())
        ]
        for first, last, _, vector, found in sorted(wanted, key=lambda w: w[:3]):
            slot = next((n for n, until in enumerate(free) if until < first), len(free))
            free[slot : slot + 1] = [last]
            sources = tuple(places[operand.value] for operand in found)
            self._found[vector, found] = made(found, sources, first, slot)

    def of(self, group: RowGroup, found: Operands) -> Prepared:
        """What the kernels read for a group."""
        return self._found[group.vector, found]

    def before(self, statement: int) -> list[Prepared]:
        """What is made before a statement."""
        return [p for p in self._found.values() if p.first == statement]

    @property
    def members(self) -> tuple[Vector, ...]:
        """Members of the scratch structure."""
        return largest([p.member for p in self._found.values()])


def _first(maker: Mapping[str, int], vector: str, found: Operands) -> int:
    """The statement before which the operands of a vector are there: that which makes it, unless it makes them too."""
    return max(maker[vector], *(1 + maker.get(operand.value, -1) for operand in found))


def largest(members: Sequence[Vector]) -> tuple[Vector, ...]:
    """Of members of one name, the longest."""
    found: dict[str, Vector] = {}
    for member in members:
        found[member.c] = max(found.get(member.c, member), member, key=lambda v: v.length)
    return tuple(found.values())


def _unread(
    program: Program, instead: Mapping[str, int], read: Collection[str], plain: Collection[str]
) -> frozenset[str]:
    """Vectors of which all reads are of their parts, and what is there for these alone."""
    kept = {*plain, *read, *program.outputs, *(s.next for s in program.states)}
    found: set[str] = set()
    for i in reversed(program.instructions):
        readers = [k for k in program.instructions if i.out in k.args]
        by_parts = len(readers) == instead.get(i.out, 0)
        if readers and i.out not in kept and (by_parts or all(k.out in found for k in readers)):
            found.add(i.out)
    return frozenset(found)
