"""N / D in integers without a division: both are doubled until D fills its bits, then N is multiplied by 1 / D."""

from __future__ import annotations

import numpy as np

from edge_lstm.ops import Op
from edge_lstm.program import ProgramBuilder

FIRST, LAST, FRACTION = 64, 128, 8
"""The reciprocal is tabulated at 64/128 to 128/128, with 8 bits between two entries."""
RECIPROCAL_BITS = 14
FACTOR_BITS = 15


def reciprocals() -> np.ndarray:
    """round(2**14 * 128 / k) for k from 64 to 129: what lies behind the last entry is never reached."""
    k = np.arange(FIRST, LAST + 2)
    return np.asarray((2**RECIPROCAL_BITS * LAST * 2 + k) // (2 * k), np.int32)


def ratio(builder: ProgramBuilder, name: str, n: str, d: str, *, least: int, most: int, bound: int, shift: int) -> str:
    """Emit ``n[j] * 2**shift / d``, nearly; 0 where d is 0.

    With most <= 2**top, top as small as it can be, the error has three parts, whose sum it stays below:

    - 0.63 * 2**-13 of the result, from the reciprocal; where top > 15, whose lowest bits the reciprocal does not see,
      1.13 * 2**-13.
    - Half a unit.
    - Where ``bound << top`` takes more than 15 bits, a bits more: 2**(a + shift - top) units. One unit for a mean, two
      for probabilities and attention (more where a window of attention is so long that the bound is coarse).

    The result can therefore exceed ``bound << shift``: saturate it.

    Args:
        builder: Of the Program.
        name: Of the result; those of intermediates begin with it.
        n: Numerators; of any length.
        d: Denominator, of length 1.
        least, most: Of d, where it is not 0; n is then 0 too.
        bound: ``|n[j]| <= bound * d``.
        shift: Of the result.
    """
    width = builder.length(n)
    top = (most - 1).bit_length()  # d is doubled until it lies in (2**top / 2, 2**top]
    limit = bound << top
    needed = max(0, top - (least.bit_length() - 1))

    def spread(out: str, scalar: str) -> str:
        ones = builder.constant(f"{name}.ones", np.ones((width, 1), np.int32))
        zeros = builder.constant(f"{name}.zeros", np.zeros(width, np.int32))
        return builder.emit(Op.MATVEC, out, scalar, weights=ones, bias=zeros)

    def full(value: int, length: int) -> str:
        return builder.full(f"{name}.all_{value}_{length}", value, length)

    def doubled(v: str, out: str, where: str, k: int, length: int, highest: int) -> str:
        """v * 2**k where ``where`` is 1, else v."""
        small = builder.emit(Op.SATURATE, f"{out}_small", v, lo=-(highest >> k), hi=highest >> k)
        more = builder.emit(Op.MUL, f"{out}_more", small, full((1 << k) - 1, length))
        chosen = builder.emit(Op.SELECT, f"{out}_chosen", where, more)
        total = builder.emit(Op.ADD, f"{out}_sum", v, chosen)
        return builder.emit(Op.SATURATE, out, total, lo=-highest, hi=highest)

    for k in (16, 8, 4, 2, 1):
        if k <= needed:
            room = builder.emit(Op.SUB, f"{name}.room{k}", full((1 << top >> k) + 1, 1), d)
            fits = builder.emit(Op.THRESHOLD, f"{name}.fits{k}", room)
            wide = fits if width == 1 else spread(f"{name}.wide{k}", fits)
            n = doubled(n, f"{name}.n{k}", wide, k, width, limit)
            d = doubled(d, f"{name}.d{k}", fits, k, 1, 1 << top)
    argument_bits = 7 + FRACTION
    if top > argument_bits:
        d = builder.emit(Op.SHIFT_RIGHT_FLOOR, f"{name}.d_short", d, n=top - argument_bits)
    elif top < argument_bits:
        d = builder.emit(Op.MUL, f"{name}.d_long", d, full(1 << (argument_bits - top), 1))
    index = builder.emit(Op.SATURATE, f"{name}.index", d, lo=FIRST << FRACTION, hi=LAST << FRACTION)
    table = builder.constant(f"{name}.reciprocals", reciprocals())
    factor = builder.emit(Op.LUT_INTERP, f"{name}.reciprocal", index, table=table, lo=FIRST, n=FRACTION)
    factor = factor if width == 1 else spread(f"{name}.factor", factor)
    narrow = max(0, limit.bit_length() - FACTOR_BITS)
    if narrow:
        n = builder.emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}.n_short", n, n=narrow)
    product = builder.emit(Op.MUL, f"{name}.product", n, factor)
    lost = RECIPROCAL_BITS + top - narrow - shift
    return builder.emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}.ratio", product, n=lost)
