"""Which kernel computes a row group on a core with Thumb-1 alone, and the vector in the form that it reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lstm.export.c99_ops import Vector
from edge_lstm.export.kernels import v6m_nibbles
from edge_lstm.export.kernels.groups import RowGroup
from edge_lstm.export.kernels.kernel import Kernel
from edge_lstm.export.kernels.prepared import Prepared
from edge_lstm.export.kernels.proof import elements_within, sums_within, weights_within
from edge_lstm.export.kernels.selection import Operand, Operands, made_of
from edge_lstm.export.kernels.v6m_bytes import BYTES
from edge_lstm.export.kernels.v6m_nibbles import LANES, NIBBLES
from edge_lstm.export.kernels.v6m_rows import RowKernel
from edge_lstm.export.kernels.v6m_sums import SUM_END, SUMS
from edge_lstm.program import Program

WEIGHT_MIN, WEIGHT_MAX = -128, 127
BEFORE = 1
"""Words of a prepared vector before its elements."""


def bytes_refusal(program: Program, group: RowGroup) -> str | None:
    """Why a group can't be computed from bytes, or None."""
    return weights_within(program, group, WEIGHT_MIN, WEIGHT_MAX)


def sums_refusal(program: Program, group: RowGroup) -> str | None:
    """Why two rows of a group can't share a word, or None."""
    if len(group.products) < 2:
        return f"{group.products[0].out} is alone"
    return bytes_refusal(program, group) or sums_within(program, group, SUM_END)


def nibbles_refusal(program: Program, group: RowGroup) -> str | None:
    """Why a group can't be computed from weights of 4 bits, or None."""
    return weights_within(
        program, group, -v6m_nibbles.OFFSET, v6m_nibbles.OFFSET - 1, v6m_nibbles.WEIGHT_BITS
    ) or elements_within(program, group.vector, v6m_nibbles.VECTOR_SUM_END)


def kernel_of(program: Program, group: RowGroup) -> RowKernel | None:
    """The fastest that is proved; None where plain C has to compute a group."""
    if nibbles_refusal(program, group) is None:
        alone = len(group.products) < 2
        return NIBBLES if alone or sums_within(program, group, SUM_END) is not None else LANES
    if sums_refusal(program, group) is None:
        return SUMS
    return BYTES if bytes_refusal(program, group) is None else None


_COLUMNS = Kernel("columns", 0, lambda weights: weights.view(np.uint32), lambda _: [], columns=1, vector_words=1)


def columns(program: Program, group: RowGroup) -> Operands | None:
    """The parts of a group's vector; None where plain C has to compute it."""
    if kernel_of(program, group) is None:
        return None
    return tuple(Operand(part, _COLUMNS) for part in made_of(program, group.vector))


@dataclass(frozen=True)
class Columns(Prepared):
    """A vector as words: -128 times the sum of its elements, modulo 2^32, and then these."""

    @property
    def length(self) -> int:
        """Elements."""
        return sum(s.length for s in self.sources)

    @property
    def member(self) -> Vector:
        """Of the scratch structure."""
        return Vector(f"columns{self.slot}", BEFORE + self.length, 32)

    def lines(self, prefix: str) -> list[str]:
        """C that makes it."""
        array = f"scratch->{self.member.c}"
        lines, at, sum_before = [], BEFORE, "0"
        for source in self.sources:
            given = f"{source.c}, {array} + {at}, {source.length}, {sum_before}"
            lines.append(f"{array}[0] = {prefix}_columns_s{source.bits}({given});")
            at, sum_before = at + source.length, f"{array}[0]"
        return lines
