"""Four int8 weights as four bytes, and a vector of any 16 bits: for what ``dsp_pairs`` can't prove.

The vector is prepared once per step as the pairs (v0, v2) and (v1, v3); SXTB16 takes the weights (w0, w2) and (w1, w3)
out of a word. The sums are those of the Program, of which every order of summation is proved to fit 32 bits.
"""

from __future__ import annotations

import numpy as np

from edge_lstm.export.kernels.kernel import ACCUMULATORS, COLUMNS, FREE, VECTOR, Kernel, Words, load, load_pair
from edge_lstm.fixedpoint import Integers


def _pack(weights: Integers) -> Words:
    w = weights.astype(np.int64).reshape(len(weights), -1, COLUMNS) & 0xFF
    return np.asarray(w[..., 0] | w[..., 1] << 8 | w[..., 2] << 16 | w[..., 3] << 24, np.uint32)


def _products(rows: int) -> list[str]:
    """Two rows at a time: there is no register for a third word and what is taken out of one."""
    *words, even = FREE[:3]
    lines = [load_pair()]
    for first in range(0, rows, 2):
        accumulators = ACCUMULATORS[first : min(first + 2, rows)]
        lines.append(load(words[: len(accumulators)], "%[w]"))
        for w, a in zip(words, accumulators, strict=False):
            lines += [
                f"sxtb16 {even}, {w}",
                f"sxtb16 {w}, {w}, ror #8",
                f"smlad {a}, {even}, {VECTOR[0]}, {a}",
                f"smlad {a}, {w}, {VECTOR[1]}, {a}",
            ]
    return lines


WIDE = Kernel("wide", 0, _pack, _products)
