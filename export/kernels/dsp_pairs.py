"""Two int8 weights as one halfword, for cores with the DSP extension: 12 instructions add 16 products.

Four weights of a row are a word of two halfwords, ``256 w1 + w0`` and ``256 w3 + w2``. The vector is prepared once per
step as the pairs (a1, a3) and (256 a0 - a1, 256 a2 - a3). Then

    SMLAD  of the word as it is and (a1, a3)           adds 256 w1 a1 + w0 a1 + 256 w3 a3 + w2 a3
    SXTB16 of the word                                 leaves (w0, w2)
    SMLAD  of these and (256 a0 - a1, 256 a2 - a3)     adds 256 w0 a0 - w0 a1 + 256 w2 a2 - w2 a3

and the sum is 256 times that of the four products. Exact while every |a| is at most 127 (a pair fits 16 bits) and every
sum, with its bias, stays below 2^23: the accumulator's arithmetic is modulo 2^32, so only the result needs to fit.
"""

from __future__ import annotations

import numpy as np

from edge_lstm.export.kernels.kernel import ACCUMULATORS, COLUMNS, FREE, VECTOR, Kernel, Words, halves, load, load_pair
from edge_lstm.fixedpoint import Integers

SCALE = 8
VECTOR_MAX = 127
SUM_END = 1 << (31 - SCALE)
"""What a sum stays below, either way."""


def _pack(weights: Integers) -> Words:
    w = weights.astype(np.int64).reshape(len(weights), -1, COLUMNS)
    return halves(256 * w[..., 1] + w[..., 0], 256 * w[..., 3] + w[..., 2])


def _products(rows: int) -> list[str]:
    weights, accumulators = FREE[:rows], ACCUMULATORS[:rows]
    pairs = list(zip(weights, accumulators, strict=True))
    return [
        load_pair(),
        load(weights, "%[w]"),
        *(f"smlad {a}, {w}, {VECTOR[0]}, {a}" for w, a in pairs),
        *(f"sxtb16 {w}, {w}" for w in weights),
        *(f"smlad {a}, {w}, {VECTOR[1]}, {a}" for w, a in pairs),
    ]


PAIRS = Kernel("pairs", SCALE, _pack, _products)
