"""Any int8 weights, a byte each: LDRB, MULS and ADD for a product, for cores with Thumb-1 alone.

A weight w is kept as the byte w + 128, for LDRB extends no sign. The products with these bytes sum up to 128 times the
sum of the vector's elements too much, which the accumulators start without: the prepared vector begins with that word.
The sums are those of the Program modulo 2^32, and of these it is proved that they fit 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_lstm.export.kernels.kernel import Words
from edge_lstm.export.kernels.v6m_rows import (
    ACCUMULATORS,
    ELEMENTS,
    RESULTS,
    VECTOR,
    WEIGHT,
    WORDS,
    RowKernel,
    byte_words,
    load,
)
from edge_lstm.fixedpoint import Integers

OFFSET = 128
WORD = 4


def _pack(weights: Sequence[Integers], biases: Sequence[Integers]) -> Words:
    """Columns one after the other, each the bytes of all rows, filled up to a word; then the biases."""
    columns = np.stack([w + OFFSET for w in weights], axis=2)
    return byte_words(columns.reshape(len(columns), -1), biases)


def _start(rows: int) -> list[str]:
    return [load(VECTOR, [WEIGHT]), *(f"mov {a}, {WEIGHT}" for a in ACCUMULATORS[:rows])]


def _products(rows: int, columns: int) -> list[str]:
    lines = []
    for first in range(0, columns, len(ELEMENTS)):
        elements = ELEMENTS[: columns - first]
        lines.append(load(VECTOR, elements))
        for k, element in enumerate(elements, first):
            for row, accumulator in enumerate(ACCUMULATORS[:rows]):
                lines += [f"ldrb {WEIGHT}, [{WORDS}, #{k * rows + row}]", f"muls {WEIGHT}, {element}, {WEIGHT}"]
                lines.append(f"add {accumulator}, {WEIGHT}")
    return [*lines, f"adds {WORDS}, #{-(-columns * rows // WORD) * WORD}"]


def _end(rows: int, constants: int) -> list[str]:
    biases = [f"add {r}, {a}" for r, a in zip(RESULTS[:rows], ACCUMULATORS, strict=False)]
    return [load(WORDS, RESULTS[: rows + constants]), *biases]


BYTES = RowKernel("bytes", _pack, _start, _products, _end)
