"""Weights of two rows in one word, where sums fit 16 bits: MULS gives two products, for cores with Thumb-1 alone.

The word is ``w0 + 65536 w1``, and so is the sum ``z0 + 65536 z1`` of its products, modulo 2^32: where z0 fits 16 bits
it is the lower half, and what is left is z1. A row with no other beside it is alone in its words. Two bytes for a
weight, four for one alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_lstm.export.kernels.kernel import Words
from edge_lstm.export.kernels.v6m_rows import ACCUMULATORS, ELEMENTS, RESULTS, VECTOR, WORDS, RowKernel, load
from edge_lstm.fixedpoint import Integers

SUM_END = 1 << 15
"""What a sum stays below, either way."""
_ELEMENTS, _PRODUCTS = ELEMENTS[:2], (*ELEMENTS[2:], RESULTS[-1])
ELEMENT_BYTES = 4


def joined(rows: Sequence[Integers]) -> list[NDArray[np.int64]]:
    """Two rows in a word each."""
    wide = [row.astype(np.int64) for row in rows]
    pairs = [wide[k : k + 2] for k in range(0, len(wide), 2)]
    return [(pair[0] + (pair[1] << 16) if len(pair) == 2 else pair[0]) & 0xFFFFFFFF for pair in pairs]


def _pack(weights: Sequence[Integers], biases: Sequence[Integers]) -> Words:
    """The biases, and then column by column a word for each two rows."""
    columns = np.stack(joined(weights), axis=2).astype(np.uint32)
    start = np.stack(joined(biases), axis=1).astype(np.uint32)
    return np.concatenate([start, columns.reshape(len(columns), -1)], axis=1)


def _accumulators(rows: int) -> tuple[str, ...]:
    return ACCUMULATORS[: -(-rows // 2)]


def _start(rows: int) -> list[str]:
    found = list(zip(_accumulators(rows), ELEMENTS, strict=False))
    moves = [f"mov {a}, {r}" for a, r in found]
    return [load(WORDS, [r for _, r in found]), *moves, f"adds {VECTOR}, #{ELEMENT_BYTES}"]


def _products(rows: int, columns: int) -> list[str]:
    """The products of each column in turn; elements are loaded by twos, weights by threes."""
    left = [(k, a) for k in range(columns) for a in _accumulators(rows)]
    lines, loaded = [], 0
    while left:
        mine, left = left[: len(_PRODUCTS)], left[len(_PRODUCTS) :]
        lines.append(load(WORDS, _PRODUCTS[: len(mine)]))
        for (k, accumulator), product in zip(mine, _PRODUCTS, strict=False):
            if k == loaded:
                elements = _ELEMENTS[: columns - loaded]
                lines.append(load(VECTOR, elements))
                loaded += len(elements)
            element = _ELEMENTS[k % len(_ELEMENTS)]
            lines += [f"muls {product}, {element}, {product}", f"add {accumulator}, {product}"]
    return lines


def _end(rows: int, constants: int) -> list[str]:
    lines = []
    for k, accumulator in enumerate(_accumulators(rows)):
        low, high = RESULTS[2 * k], RESULTS[2 * k + 1]
        if 2 * k + 1 == rows:
            lines.append(f"mov {low}, {accumulator}")
            continue
        lines += [f"mov {high}, {accumulator}", f"sxth {low}, {high}", f"subs {high}, {high}, {low}"]
        lines.append(f"asrs {high}, {high}, #16")
    return [*lines, *([load(WORDS, RESULTS[rows : rows + constants])] if constants else [])]


SUMS = RowKernel("sums", _pack, _start, _products, _end)
