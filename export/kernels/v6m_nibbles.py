"""Weights of 4 bits for cores with Thumb-1 alone: two in a byte, or eight in a word where sums fit 16 bits.

A weight w is kept as u = w + 8, from 0 to 15, so that sums are 8 times the sum of the vector's elements too much, which
the accumulators start without.

``NIBBLES`` has a byte ``u0 + 16 u1`` for two rows. One accumulator adds up its products as it stands, another those of
u1; 16 times the latter is what the former has too much, modulo 2^32. A row with no other beside it has two columns in a
byte.

``LANES`` has a word for four columns of two rows or two of four: fields of two rows each, four bits of either half. A
field is a word ``u0 + 65536 u1``, and gives two products as in ``v6m_sums``.
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
from edge_lstm.export.kernels.v6m_sums import SUMS, joined
from edge_lstm.fixedpoint import Integers

WEIGHT_BITS = 4
OFFSET = 8
VECTOR_SUM_END = 1 << 24
"""What the sum of a vector's elements stays below, either way, so that 128 times it has a sign."""
FIELDS = 4
MASK = 0x000F000F
_PAIR, _UPPER = ELEMENTS[:2], ELEMENTS[3]
_WORD = ELEMENTS[2]


def _pack_bytes(weights: Sequence[Integers], biases: Sequence[Integers]) -> Words:
    """By two columns: a byte for each two rows of the first, of the second, and one for both of a row alone."""
    u = np.stack([w + OFFSET for w in weights], axis=2)
    paired = u.shape[2] // 2 * 2
    packed = []
    for k in range(0, u.shape[1], 2):
        both = u[:, k : k + 2]
        packed += [both[:, c, r] + 16 * both[:, c, r + 1] for c in range(both.shape[1]) for r in range(0, paired, 2)]
        if paired < u.shape[2]:
            packed.append(both[:, 0, paired] + (16 * both[:, 1, paired] if both.shape[1] == 2 else 0))
    return byte_words(np.stack(packed, axis=1), biases)


def _start_bytes(rows: int) -> list[str]:
    """Eight times the sum of the elements less, and 136 times where the other row is in it."""
    fields, both = ELEMENTS[:2]
    lines = [load(VECTOR, [both]), f"asrs {fields}, {both}, #4", f"adds {both}, {both}, {fields}"]
    for row, accumulator in enumerate(ACCUMULATORS[:rows]):
        lines.append(f"mov {accumulator}, {both if row % 2 == 0 and row + 1 < rows else fields}")
    return lines


def _products_bytes(rows: int, columns: int) -> list[str]:
    lines, at = list[str](), 0
    for first in range(0, columns, 2):
        elements = _PAIR[: columns - first]
        lines.append(load(VECTOR, elements))
        for element in elements:
            for row in range(0, rows - 1, 2):
                lines += [f"ldrb {WEIGHT}, [{WORDS}, #{at}]", f"lsrs {_UPPER}, {WEIGHT}, #4"]
                lines += _added(_UPPER, element, ACCUMULATORS[row + 1]) + _added(WEIGHT, element, ACCUMULATORS[row])
                at += 1
        if rows % 2:
            lines.append(f"ldrb {WEIGHT}, [{WORDS}, #{at}]")
            if len(elements) == 2:
                lines += [f"lsrs {_UPPER}, {WEIGHT}, #4", *_added(_UPPER, elements[1], ACCUMULATORS[rows - 1])]
                lines += [f"lsls {WEIGHT}, {WEIGHT}, #28", f"lsrs {WEIGHT}, {WEIGHT}, #28"]
            lines += _added(WEIGHT, elements[0], ACCUMULATORS[rows - 1])
            at += 1
    return [*lines, f"adds {WORDS}, #{-(-at // 4) * 4}"]


def _end_bytes(rows: int, constants: int) -> list[str]:
    lines = []
    for row in range(0, rows - 1, 2):
        other, both = ELEMENTS[:2]
        lines += [f"mov {other}, {ACCUMULATORS[row + 1]}", f"lsls {other}, {other}, #4"]
        lines += [
            f"mov {both}, {ACCUMULATORS[row]}",
            f"subs {both}, {both}, {other}",
            f"mov {ACCUMULATORS[row]}, {both}",
        ]
    biases = [f"add {r}, {a}" for r, a in zip(RESULTS[:rows], ACCUMULATORS, strict=False)]
    return [*lines, load(WORDS, RESULTS[: rows + constants]), *biases]


def _added(weight: str, element: str, accumulator: str) -> list[str]:
    return [f"muls {weight}, {element}, {weight}", f"add {accumulator}, {weight}"]


def _lanes(rows: int) -> tuple[str, ...]:
    return ACCUMULATORS[: -(-rows // 2)]


def _pack_lanes(weights: Sequence[Integers], biases: Sequence[Integers]) -> Words:
    """Biases as the accumulators have them, the mask, and the words."""
    rows = [w + OFFSET for w in weights]
    alone = [np.full_like(rows[0], OFFSET)] if len(rows) % 2 else []
    columns = np.stack(joined([*rows, *alone]), axis=2).reshape(len(rows[0]), -1)
    fields = np.pad(columns, [(0, 0), (0, -columns.shape[1] % FIELDS)]).reshape(len(columns), -1, FIELDS)
    words = (fields << (WEIGHT_BITS * np.arange(FIELDS))).sum(axis=2)
    start = np.stack([*joined(biases), np.full(len(fields), MASK)], axis=1)
    return np.asarray(np.concatenate([start, words], axis=1), np.uint32)


def _start_lanes(rows: int) -> list[str]:
    both, upper, *start = ELEMENTS
    loaded = start[: len(_lanes(rows))]
    lines = [load(VECTOR, [both]), f"asrs {both}, {both}, #4", f"lsls {upper}, {both}, #16"]
    lines += [f"adds {both}, {both}, {upper}", load(WORDS, [*loaded, WEIGHT])]
    for register, accumulator in zip(loaded, ACCUMULATORS, strict=False):
        lines += [f"adds {register}, {register}, {both}", f"mov {accumulator}, {register}"]
    return lines


def _products_lanes(rows: int, columns: int) -> list[str]:
    """The mask is where other kernels have a weight."""
    left = [(k, a) for k in range(columns) for a in _lanes(rows)]
    lines, loaded = list[str](), 0
    while left:
        mine, left = left[:FIELDS], left[FIELDS:]
        lines.append(load(WORDS, [_WORD]))
        for n, (k, accumulator) in enumerate(mine):
            if k == loaded:
                elements = _PAIR[: columns - loaded]
                lines.append(load(VECTOR, elements))
                loaded += len(elements)
            field = _WORD if n == len(mine) - 1 else _UPPER
            if n or field is _UPPER:
                lines.append(f"lsrs {field}, {_WORD}, #{WEIGHT_BITS * n}" if n else f"movs {field}, {_WORD}")
            lines += [f"ands {field}, {WEIGHT}", *_added(field, _PAIR[k % len(_PAIR)], accumulator)]
    return lines


NIBBLES = RowKernel("nibbles", _pack_bytes, _start_bytes, _products_bytes, _end_bytes)
LANES = RowKernel("lanes", _pack_lanes, _start_lanes, _products_lanes, SUMS.end)
