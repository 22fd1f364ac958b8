"""d / sqrt(q) in integers without a division: q is multiplied by 4 until it fills its bits, and d by 2 as often."""

from __future__ import annotations

import numpy as np

from edge_lstm.ops import Op
from edge_lstm.program import ProgramBuilder

TOP = 30
"""q is below 2**30 and is made at least 2**28."""
FIRST, LAST, FRACTION = 32, 128, 8
"""1 / sqrt is tabulated at 32/128 to 128/128, with 8 bits between two entries."""
ROOT_BITS = 13
OUTPUT_BITS = 14


def inverse_roots() -> np.ndarray:
    """round(2**13 / sqrt(k / 128)) for k from 32 to 129; what lies behind the last entry is never reached."""
    k = np.arange(FIRST, LAST + 2)
    return np.rint(2.0**ROOT_BITS / np.sqrt(k / LAST)).astype(np.int32)


def over_root(builder: ProgramBuilder, name: str, d: str, q: str) -> str:
    """Emit ``d[j] / sqrt(q)`` in Q0.14, nearly: within 3.5 * 2**-14 of the result and half a unit, so within 2**-12.

    Both are doubled without an error. With u = 128 q / 2**30, from 32 on, 1 / sqrt(u) has three errors, whose sum is
    largest at u = 32:

    - The lowest bits of q, which the table does not see: below 2**-9 / u, there 2**-14 of the result.
    - The line between two entries: at most 3 / (32 u**2), there 1.5 * 2**-14.
    - An entry's rounding and that between two entries: half a unit each, of 2**14 units there.

    Args:
        builder: Of the Program.
        name: Of the result; those of intermediates begin with it.
        d: Of any length, ``d[j] ** 2 <= q``.
        q: Of length 1, from 1 to 2**30 - 1.
    """
    width = builder.length(d)

    def spread(out: str, scalar: str) -> str:
        if width == 1:
            return scalar
        ones = builder.constant(f"{name}.ones", np.ones((width, 1), np.int32))
        zeros = builder.constant(f"{name}.zeros", np.zeros(width, np.int32))
        return builder.emit(Op.MATVEC, out, scalar, weights=ones, bias=zeros)

    def times(v: str, out: str, where: str, k: int, length: int, highest: int) -> str:
        """v * 2**k where ``where`` is 1, else v."""
        small = builder.emit(Op.SATURATE, f"{out}_small", v, lo=-(highest >> k), hi=highest >> k)
        factor = builder.full(f"{name}.all_{(1 << k) - 1}_{length}", (1 << k) - 1, length)
        more = builder.emit(Op.MUL, f"{out}_more", small, factor)
        chosen = builder.emit(Op.SELECT, f"{out}_chosen", where, more)
        total = builder.emit(Op.ADD, f"{out}_sum", v, chosen)
        return builder.emit(Op.SATURATE, out, total, lo=-highest, hi=highest)

    for k in (16, 8, 4, 2):
        limit = builder.full(f"{name}.limit{k}", 1 << (TOP - k), 1)
        fits = builder.emit(Op.THRESHOLD, f"{name}.fits{k}", builder.emit(Op.SUB, f"{name}.room{k}", limit, q))
        d = times(d, f"{name}.d{k}", spread(f"{name}.wide{k}", fits), k // 2, width, 1 << TOP // 2)
        q = times(q, f"{name}.q{k}", fits, k, 1, (1 << TOP) - 1)
    short = builder.emit(Op.SHIFT_RIGHT_FLOOR, f"{name}.q_short", q, n=TOP - 7 - FRACTION)
    index = builder.emit(Op.SATURATE, f"{name}.index", short, lo=FIRST << FRACTION, hi=LAST << FRACTION)
    table = builder.constant(f"{name}.inverse_roots", inverse_roots())
    factor = builder.emit(Op.LUT_INTERP, f"{name}.inverse_root", index, table=table, lo=FIRST, n=FRACTION)
    product = builder.emit(Op.MUL, f"{name}.product", d, spread(f"{name}.factor", factor))
    return builder.emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}.over_root", product, n=TOP // 2 + ROOT_BITS - OUTPUT_BITS)
