"""Requantization (R4) with one product: ``((acc >> p) * m + half(n)) >> n`` as SMMULR.

SMMULR gives ``(a * b + 2^31) >> 32``, which rounds half up at bit 32. An accumulator that holds ``sum << s``, with its
lowest ``s + p`` bits cleared, is ``(sum >> p) << (s + p)``; with ``b = m << (32 - n - s - p)`` the result is R4's.
It takes ``n + s + p <= 32``, and multipliers that fit 32 bits when they are shifted so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_lstm.export.kernels.uses import Uses
from edge_lstm.fixedpoint import INT32_MAX, Integers
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program


@dataclass(frozen=True)
class Scale:
    """One requantization.

    Attributes:
        accumulator: The value that is requantized.
        constant: The ``CONST`` with the multipliers.
        cleared: Lowest bits of the accumulator that are cleared first; 0 where none of them could be set.
        words: (units,) multipliers, shifted.
        consumed: Instructions that are computed with the last one, the shift.
    """

    accumulator: str
    constant: str
    cleared: int
    words: Integers
    consumed: tuple[str, ...]


def scales(
    program: Program, instructions: Sequence[Instruction], uses: Uses, accumulators: Mapping[str, int]
) -> dict[str, Scale]:
    """What SMMULR can compute in a loop, by the value that the shift gives.

    Args:
        program: The loop is of.
        instructions: Of the loop.
        uses: Of its values.
        accumulators: Each with its scale.
    """
    found = {}
    for i in instructions:
        if i.op is Op.SHIFT_RIGHT_HALF_UP:
            scale = _scale(program, i, uses, accumulators)
            if scale is not None:
                found[i.out] = scale
    return found


def _scale(program: Program, i: Instruction, uses: Uses, accumulators: Mapping[str, int]) -> Scale | None:
    product = uses.only_for(i.args[0], Op.MUL)
    if product is None:
        return None
    value, factor = product.args
    constant = uses.only_for(factor, Op.CONST)
    if constant is None or uses.constant(factor) is not None:
        return None
    narrow = uses.only_for(value, Op.SHIFT_RIGHT_FLOOR)
    accumulator, narrowed = (value, 0) if narrow is None else (narrow.args[0], int(narrow.attributes["n"]))
    if accumulator not in accumulators:
        return None
    scaled = accumulators[accumulator] + narrowed
    left = 32 - int(i.attributes["n"]) - scaled
    multiplier = program.constants[str(constant.attributes["value"])].astype(np.int64)
    if left < 0 or np.abs(multiplier).max() << left > INT32_MAX:
        return None
    consumed = (product.out, *([narrow.out] if narrow is not None else []))
    words = (multiplier << left).astype(np.int32)
    return Scale(accumulator, factor, scaled if narrowed else 0, words, consumed)
