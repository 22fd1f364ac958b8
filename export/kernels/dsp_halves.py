"""Weights of 16 bits and a vector of 8: for inputs that are multiplied by a gain, of which the weights take the gain.

``w (g x)`` is ``(w g) x``, and while ``w g`` fits 16 bits, two products are one instruction, with nothing to unpack.
The vector is prepared once per step as the pairs (256 v0, 256 v1) and (256 v2, 256 v3), so that the sum is 256 times
that of the products, as that of ``dsp_pairs`` for the rest of the row.
"""

from __future__ import annotations

import numpy as np

from edge_lstm.export.kernels.dsp_pairs import SCALE
from edge_lstm.export.kernels.kernel import ACCUMULATORS, COLUMNS, FREE, VECTOR, Kernel, Words, halves, load, load_pair
from edge_lstm.fixedpoint import Integers


def _pack(weights: Integers) -> Words:
    w = weights.astype(np.int64).reshape(len(weights), -1, 2)
    assert w.shape[1] % (COLUMNS // 2) == 0
    return halves(w[..., 0], w[..., 1])


def _products(rows: int) -> list[str]:
    lines = [load_pair()]
    for elements in VECTOR:
        lines.append(load(FREE[:rows], "%[w]"))
        lines += [f"smlad {a}, {w}, {elements}, {a}" for w, a in zip(FREE[:rows], ACCUMULATORS[:rows], strict=True)]
    return lines


HALVES = Kernel("halves", SCALE, _pack, _products)
