"""Weights of 4 bits, two in a byte, for cores with the DSP extension: eight weights of a row are a word.

A byte is ``16 w1 + u0``, where ``u0 = w0 + 8`` is not negative, so that it is the byte's lower half as it stands. The
vector is prepared once per step, for each eight elements as (a1, a5), (16 a0 - a1, 16 a4 - a5), (a3, a7) and
(16 a2 - a3, 16 a6 - a7). Then

    SXTB16 of the word, and SMLAD of it and (a1, a5)         adds 16 w1 a1 + u0 a1 + 16 w5 a5 + u4 a5
    AND with 0x000f000f, SMLAD and (16 a0 - a1, 16 a4 - a5)  adds 16 u0 a0 - u0 a1 + 16 u4 a4 - u4 a5

and the word's other bytes add the rest. The sum is 16 times that of the products, and 128 times the elements with even
numbers too much, which are subtracted at the end: the prepared vector ends with that integer. Exact while a pair fits
16 bits and every sum, with its bias, stays below 2^27.
"""

from __future__ import annotations

import numpy as np

from edge_lstm.export.kernels.kernel import ACCUMULATORS, FREE, VECTOR, Kernel, Words, load
from edge_lstm.fixedpoint import Integers

SCALE = 4
VECTOR_MAX = (2**15 - 1) // 17
SUM_END = 1 << (31 - SCALE)
WEIGHT_BITS = 4
BYTES = 4


def _pack(weights: Integers) -> Words:
    w = weights.astype(np.int64).reshape(len(weights), -1, BYTES, 2)
    fields = (16 * w[..., 1] + w[..., 0] + 8) & 0xFF
    return np.asarray(sum(fields[..., k] << (8 * k) for k in range(BYTES)), np.uint32)


def _products(rows: int) -> list[str]:
    """Two rows at a time; the vector's words of a chunk are loaded again for each two."""
    words, (pairs, low) = FREE[:2], FREE[2:]
    lines = []
    for first in range(0, rows, 2):
        mine = list(zip(words, ACCUMULATORS[first : min(first + 2, rows)], strict=False))
        lines.append(load([w for w, _ in mine], "%[w]"))
        for half in (0, 1):
            lines.append(f"ldrd {VECTOR[0]}, {VECTOR[1]}, [%[v], #{8 * half}]")
            for w, a in mine:
                lines += [f"lsr {w}, {w}, #8"] if half else []
                lines += [f"sxtb16 {pairs}, {w}", f"and {low}, {w}, #0x000f000f"]
                lines += [f"smlad {a}, {pairs}, {VECTOR[0]}, {a}", f"smlad {a}, {low}, {VECTOR[1]}, {a}"]
    return [*lines, "add %[v], %[v], #16"]


def _end(rows: int) -> list[str]:
    correction = VECTOR[0]
    return [f"ldr {correction}, [%[v]], #4", *(f"sub {a}, {a}, {correction}" for a in ACCUMULATORS[:rows])]


NIBBLES = Kernel(
    "nibbles",
    SCALE,
    _pack,
    _products,
    columns=2 * BYTES,
    vector_words=4,
    unrolled=1,
    straight=1,
    end=_end,
    end_words=1,
)
