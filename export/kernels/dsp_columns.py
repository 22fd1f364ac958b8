"""Row groups column by column, for cores with SMLAL: a column whose element is 0 is skipped.

A word holds weights of two rows, ``low + 2^24 high``, and SMLAL adds two products to 64 bits that hold two sums,
``low + 2^24 high``: exact while the low one, with 2^23 added, has 24 bits. Two bytes for a weight.

Units are computed in passes of four words for a column: two units of three or four rows, or four of one or two. Of each
pass there are 64-bit biases, with 2^23 in the low sums; the columns of a vector that is read as it is; and those of
vectors that are listed: of each element that is not 0 there is an entry of (bytes from the first of these columns,
element), and a last one of less than 0 bytes. A dense column takes 6 to 7 instructions for its eight products, a listed
one 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lstm.export.c99_ops import identifier
from edge_lstm.export.kernels.dsp_units import accumulator
from edge_lstm.export.kernels.groups import RowGroup
from edge_lstm.fixedpoint import Integers
from edge_lstm.program import Program

HIGH = 24
"""Bits below the high sum."""
SUM_END = 1 << (HIGH - 1)
"""What a sum stays below, either way."""
LOW_SCALE = 32 - HIGH
"""Of the low sum, as a word's uppermost bits."""
PASS_WORDS = 4
"""For a column."""
COLUMN_BYTES = 4 * PASS_WORDS
BLOCK_WORDS = 32
"""Of the sums of a block of units, which are computed by one call."""
STRAIGHT = 12
"""Dense columns up to which there is no loop."""
_SUMS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
_WEIGHTS = ("r0", "r1", "r3")
_LOAD = {8: "ldrsb", 16: "ldrsh"}


@dataclass(frozen=True)
class Row:
    """Where a row's sum is.

    Attributes:
        word: Of the unit's words of a column; its sums are word ``2 * word`` and the next.
        high: Whether it is the high one.
        sign_only: Nothing but whether the sum is above 0 is asked for: the sign of ``c`` says it.
    """

    word: int
    high: bool
    sign_only: bool

    @property
    def scale(self) -> int:
        """``c`` is the sum times two to the power of it, where it is not a sign alone."""
        return 0 if self.high else LOW_SCALE

    def c(self, sums: str) -> str:
        """From a pointer to the sums of the unit."""
        low, high = f"{sums}[{2 * self.word}]", f"{sums}[{2 * self.word + 1}]"
        if self.sign_only:
            return f"(int32_t){high}" if self.high else f"(int32_t)({low} << {LOW_SCALE})"
        if self.high:
            return f"(int32_t)({high} << {LOW_SCALE} | {low} >> {HIGH})"
        return f"(int32_t)(({low} << {LOW_SCALE}) ^ 0x80000000u)"


def rows_of(signs: list[bool]) -> list[Row]:
    """Places of a group's rows, of which some are asked for their sign alone; high ones of these cost least."""
    count = len(signs)
    order = sorted(range(count), key=lambda k: not signs[k])
    high = set(order[: count // 2])
    found, words = dict[int, Row](), {True: 0, False: 0}
    for k in order:
        found[k] = Row(words[k in high], k in high, signs[k])
        words[k in high] += 1
    return [found[k] for k in range(count)]


@dataclass(frozen=True)
class ColumnCode:
    """A function that computes the sums of a block of units.

    Attributes:
        dense: Columns of the vector that is read as it is.
        bits: Of its elements.
        listed: Columns of which a list is read.
    """

    dense: int
    bits: int
    listed: int

    @property
    def function(self) -> str:
        """Its name, without the model's."""
        return f"sparse_{self.dense}_s{self.bits}_{self.listed}"

    @property
    def lines(self) -> list[str]:
        """Assembly: r0 points to the words of the first pass, r1 to the sums of the block, behind which is the list,
        r2 to the end of those sums that are wanted, r3 to the vector that is read as it is."""
        return [
            "push {r4-r11, lr}",
            f"add r4, r1, #{4 * BLOCK_WORDS}",
            "push {r1, r2, r3, r4}",
            "mov lr, r0",
            "0:",
            f"ldmia lr!, {{{_SUMS[0]}-{_SUMS[-1]}}}",
            *(self._dense() if self.dense else []),
            "ldr r12, [sp, #12]",
            "ldrd r0, r1, [r12], #8",
            "cmp r0, #0",
            "blt 2f",
            "1:",
            "add r0, r0, lr",
            "ldrd r2, r3, [r0]",
            "smlal r4, r5, r2, r1",
            "smlal r6, r7, r3, r1",
            "ldrd r2, r3, [r0, #8]",
            "smlal r8, r9, r2, r1",
            "smlal r10, r11, r3, r1",
            "ldrd r0, r1, [r12], #8",
            "cmp r0, #0",
            "bge 1b",
            "2:",
            "ldrd r0, r1, [sp]",
            f"stmia r0!, {{{_SUMS[0]}-{_SUMS[-1]}}}",
            *_advance(COLUMN_BYTES * self.listed),
            "str r0, [sp]",
            "cmp r0, r1",
            "bne 0b",
            "add sp, sp, #16",
            "mov r0, lr",
            "pop {r4-r11, lr}",
        ]

    def _dense(self) -> list[str]:
        start = ["ldr r12, [sp, #8]"]
        if self.dense <= STRAIGHT:
            return start + self._columns(self.dense, "[r12, #{}]")
        turn = min(range(STRAIGHT // 2, STRAIGHT + 1), key=lambda n: (self.dense % n > 0, -n))
        moved = f"[r12], #{self.bits // 8}"
        end = self.dense // turn * turn * self.bits // 8
        return [
            *start,
            "3:",
            *self._columns(turn, moved),
            "ldr r0, [sp, #8]",
            f"add r0, r0, #{end}",
            "cmp r12, r0",
            "bne 3b",
            *self._columns(self.dense % turn, moved),
        ]

    def _columns(self, count: int, address: str) -> list[str]:
        """Weights are loaded by threes, elements as they are needed."""
        lines = []
        for k in range(PASS_WORDS * count):
            column, word = divmod(k, PASS_WORDS)
            if k % len(_WEIGHTS) == 0:
                registers = _WEIGHTS[: PASS_WORDS * count - k]
                lines.append(f"ldmia lr!, {{{', '.join(registers)}}}")
            if word == 0:
                lines.append(f"{_LOAD[self.bits]} r2, {address.format(column * self.bits // 8)}")
            low, high = _SUMS[2 * word : 2 * word + 2]
            lines.append(f"smlal {low}, {high}, {_WEIGHTS[k % len(_WEIGHTS)]}, r2")
        return lines


def _advance(nbytes: int) -> list[str]:
    if nbytes < 2**12:
        return [f"add lr, lr, #{nbytes}"] if nbytes < 2**8 or nbytes % 16 == 0 else [f"addw lr, lr, #{nbytes}"]
    return [f"movw r2, #{nbytes}", "add lr, lr, r2"]


@dataclass(frozen=True)
class ColumnPart:
    """A group that is computed column by column.

    Attributes:
        group: Its products.
        units: Of the loop.
        code: What computes them.
        rows: Where their sums are.
        order: Columns of the vector, those that are read as they are first.
        memory: C of the sums, and the list behind them.
        vector: C of the vector that is read as it is.
    """

    group: RowGroup
    units: int
    code: ColumnCode
    rows: tuple[Row, ...]
    order: tuple[int, ...]
    memory: str
    vector: str

    @property
    def columns(self) -> str:
        """C name of the words, less the model's."""
        return f"{identifier(self.group.products[0].out)}_sparse"

    @property
    def _sums(self) -> str:
        return f"{identifier(self.group.products[0].out)}_sums"

    @property
    def _unit_words(self) -> int:
        """For a column."""
        return -(-len(self.rows) // 2)

    @property
    def _pass_units(self) -> int:
        return PASS_WORDS // self._unit_words

    def words(self, program: Program) -> Integers:
        """All passes, the last filled up with units of zeros."""
        start = np.zeros((self.units, self._unit_words), np.int64)
        columns = np.zeros((self.units, len(self.order), self._unit_words), np.int64)
        biases, weights = self.group.biases(program), self.group.weights(program)
        for row, bias, weight in zip(self.rows, biases, weights, strict=True):
            # Of a low sum the sign is that of its complement; a high one is 1 less, to be negative where it is 0.
            factor = -1 if row.sign_only and not row.high else 1
            shift = HIGH if row.high else 0
            added = -1 if row.sign_only and row.high else 0 if row.high else SUM_END
            start[:, row.word] += (factor * bias.astype(np.int64) + added) << shift
            columns[:, :, row.word] += (factor * weight[:, self.order].astype(np.int64)) << shift
        more = -self.units % self._pass_units
        start = np.pad(start, ((0, more), (0, 0))).reshape(-1, PASS_WORDS)
        columns = np.pad(columns, ((0, more), (0, 0), (0, 0)))
        columns = columns.reshape(len(start), self._pass_units, len(self.order), self._unit_words).swapaxes(1, 2)
        sums = np.stack([_signed_word(start), start >> 32], axis=2)
        passes = np.concatenate([sums.reshape(len(start), -1), columns.reshape(len(start), -1)], axis=1)
        return np.asarray(passes, np.int32).ravel()

    def head(self, prefix: str) -> list[str]:
        """C before the loop."""
        return [
            f"const int32_t *{self.columns} = {prefix}_{self.columns};",
            f"const uint32_t *{self._sums} = {self.memory};",
        ]

    def lines(self, prefix: str) -> list[str]:
        """C at the begin of a unit: the sums of its block, where it is the first of one, and then its own."""
        each = 2 * self._unit_words
        block, padded = BLOCK_WORDS // each, -(-self.units // self._pass_units) * self._pass_units
        end = str(min(BLOCK_WORDS, each * padded))
        if padded > block and padded % block:
            end = f"({padded} - j < {block} ? {each} * ({padded} - j) : {BLOCK_WORDS})"
        given = f"{self.columns}, {self.memory}, {self.memory} + {end}, {self.vector}"
        return [
            f"if (j % {block} == 0) {{",
            f"    {self.columns} = {prefix}_{self.code.function}({given});",
            f"    {self._sums} = {self.memory};",
            "}",
            *(
                f"const int32_t {accumulator(product.out)} = {row.c(self._sums)};"
                for product, row in zip(self.group.products, self.rows, strict=True)
            ),
            f"{self._sums} += {each};",
        ]


def _signed_word(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lower words."""
    return ((sums & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
