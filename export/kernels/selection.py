"""Which kernels compute a row group: its vector as operands, each with the kernel that multiplies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_lstm.export.kernels import dsp_nibbles
from edge_lstm.export.kernels.dsp_halves import HALVES
from edge_lstm.export.kernels.dsp_nibbles import NIBBLES
from edge_lstm.export.kernels.dsp_pairs import PAIRS, SUM_END, VECTOR_MAX
from edge_lstm.export.kernels.dsp_wide import WIDE
from edge_lstm.export.kernels.groups import RowGroup
from edge_lstm.export.kernels.kernel import Kernel
from edge_lstm.export.kernels.proof import fits_registers, sums_within, vector_within
from edge_lstm.fixedpoint import Integers
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program

HALFWORD_MAX = 2**15 - 1


@dataclass(frozen=True)
class Operand:
    """A part of a group's vector; it begins with a chunk of its own.

    Attributes:
        value: Its name.
        kernel: That multiplies it. The kernels of a group's operands have one scale.
        factors: Name of the constant by which the value was to be multiplied, and the columns of the weights are.
    """

    value: str
    kernel: Kernel
    factors: str | None = None

    def weights(self, program: Program, columns: Integers) -> Integers:
        """(units, k) weights of the value, from those of the vector."""
        return columns if self.factors is None else columns * program.constants[self.factors]


Operands = tuple[Operand, ...]


def operands(program: Program, group: RowGroup) -> Operands | None:
    """How a group is computed, in the first way that is proved; None where plain C has to."""
    if nibbles_refusal(program, group) is None:
        return _parts(program, group.vector, NIBBLES)
    if pairs_refusal(program, group) is None:
        return _parts(program, group.vector, PAIRS)
    gained = _gained(program, group)
    if gained is not None:
        return gained
    return _parts(program, group.vector, WIDE) if wide_refusal(program, group) is None else None


def pairs_refusal(program: Program, group: RowGroup) -> str | None:
    """Why a group can't be computed in pairs, or None."""
    return (
        fits_registers(program, group)
        or vector_within(program, group.vector, VECTOR_MAX)
        or sums_within(program, group, SUM_END)
    )


def nibbles_refusal(program: Program, group: RowGroup) -> str | None:
    """Why a group can't be computed from weights of 4 bits, or None."""
    return (
        fits_registers(program, group, dsp_nibbles.WEIGHT_BITS)
        or vector_within(program, group.vector, dsp_nibbles.VECTOR_MAX)
        or sums_within(program, group, dsp_nibbles.SUM_END)
    )


def wide_refusal(program: Program, group: RowGroup) -> str | None:
    """Why a group can't be computed from halfwords of the vector, or None."""
    if (bits := program.bits(group.vector)) > 16:
        return f"{group.vector} has {bits} bits; the kernel takes 16"
    return fits_registers(program, group)


def made_of(program: Program, value: str) -> tuple[str, ...]:
    """The values that a vector puts together; itself where it does not."""
    made = _maker(program, value, Op.CONCAT)
    return (value,) if made is None else made.args


def _parts(program: Program, value: str, kernel: Kernel) -> Operands:
    """The values that a vector is made of, where they take no more chunks; else the vector."""
    parts = made_of(program, value)
    split = sum(kernel.words(program.length(part)) for part in parts) == kernel.words(program.length(value))
    return tuple(Operand(part, kernel) for part in (parts if split else (value,)))


def _gained(program: Program, group: RowGroup) -> Operands | None:
    """Parts in pairs, but one that is multiplied by a gain with the gain in its weights."""
    if (fits_registers(program, group) or sums_within(program, group, SUM_END)) is not None:
        return None
    found, first = list[Operand](), 0
    for part in made_of(program, group.vector):
        end = first + program.length(part)
        columns = [w[:, first:end] for w in group.weights(program)]
        operand = Operand(part, PAIRS)
        if vector_within(program, part, VECTOR_MAX) is not None:
            gain = _gain(program, part)
            if gain is None or not _fits(program, gain, columns):
                return None
            operand = gain
        found.append(operand)
        first = end
    return tuple(found)


def _gain(program: Program, value: str) -> Operand | None:
    """A product with a constant as its other factor, with the constant to go into the weights."""
    made = _maker(program, value, Op.MUL)
    constant = None if made is None else _maker(program, made.args[1], Op.CONST)
    if made is None or constant is None or vector_within(program, made.args[0], VECTOR_MAX) is not None:
        return None
    return Operand(made.args[0], HALVES, str(constant.attributes["value"]))


def _fits(program: Program, gain: Operand, columns: Sequence[Integers]) -> bool:
    return all(np.abs(gain.weights(program, c.astype(np.int64))).max(initial=0) <= HALFWORD_MAX for c in columns)


def _maker(program: Program, value: str, op: Op) -> Instruction | None:
    return next((i for i in program.instructions if i.out == value and i.op is op), None)
