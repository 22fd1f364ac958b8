"""Row groups on cores with Thumb-1 alone (Armv6-M, Armv8-M Baseline): 8 registers that multiply, and no SMLAD.

A row group is computed in one piece of machine code: accumulators of all rows of a unit in r8 to r11, to which ADD can
add, a weight in r6, elements of the vector in r2 to r5. Of each unit it reads one stretch of words: what a kernel says,
and then constants that the rest of the loop needs. The vector is prepared once per step as words: -128 times the sum of
its elements, and then these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_lstm.export.kernels.kernel import Words
from edge_lstm.fixedpoint import Integers

WORDS, VECTOR = "r0", "r1"
"""Pointers. Both are moved."""
ELEMENTS = ("r2", "r3", "r4", "r5")
WEIGHT = "r6"
ACCUMULATORS = ("r8", "r9", "r10", "r11")
RESULTS = (*ELEMENTS, WEIGHT)
"""Registers of the sums, and then of constants. The compiler is left r7, which may be the frame's."""
UNROLLED = 8
"""Columns in the body of a loop: LDRB reaches 32 bytes."""


@dataclass(frozen=True)
class RowKernel:
    """A way to compute a row group.

    Attributes:
        name: Of its macros.
        pack: Rows of (units, k) weights, and rows of (units,) biases, to (units, n) words.
        start: Assembly for so many rows: sets the accumulators from the first words, and leaves ``VECTOR`` at the first
            element.
        products: Assembly for so many rows and columns, which moves both pointers.
        end: Assembly for so many rows and constants: sums and constants to ``RESULTS``.
    """

    name: str
    pack: Callable[[Sequence[Integers], Sequence[Integers]], Words]
    start: Callable[[int], list[str]]
    products: Callable[[int, int], list[str]]
    end: Callable[[int, int], list[str]]


@dataclass(frozen=True)
class RowCode:
    """Macro of the groups of one shape.

    Attributes:
        kernel: That computes them.
        rows: 1 to 4.
        columns: Of the vector.
        constants: Words after those of the kernel; with the rows, as many as ``RESULTS``.
    """

    kernel: RowKernel
    rows: int
    columns: int
    constants: int

    @property
    def macro(self) -> str:
        """Its name, without the model's."""
        return f"rows_{self.rows}_{self.kernel.name}_{self.columns}_{self.constants}".upper()

    @property
    def results(self) -> tuple[str, ...]:
        """Registers of the sums, and then of the constants."""
        return RESULTS[: self.rows + self.constants]

    @property
    def clobbered(self) -> tuple[str, ...]:
        """Registers that the code uses besides, less the pointers."""
        return (*RESULTS[self.rows + self.constants :], *ACCUMULATORS)

    @property
    def turned(self) -> int:
        """Columns that a loop takes; 0 where there is none."""
        turns = self.columns // UNROLLED
        return UNROLLED * turns if turns > 1 else 0

    @property
    def lines(self) -> list[str]:
        """Assembly. ``%[end]`` is the address of the first element that the loop does not take."""
        lines = self.kernel.start(self.rows)
        if self.turned:
            lines += ["1:", *self.kernel.products(self.rows, UNROLLED), f"cmp {VECTOR}, %[end]", "bne 1b"]
        left = self.columns - self.turned
        while left:
            columns = min(left, UNROLLED)
            lines += self.kernel.products(self.rows, columns)
            left -= columns
        return [*lines, *self.kernel.end(self.rows, self.constants)]


def byte_words(packed: Integers, biases: Sequence[Integers]) -> Words:
    """(units, n) bytes, filled up to words, and then the biases."""
    filled = np.pad(packed.astype(np.uint8), [(0, 0), (0, -packed.shape[1] % 4)])
    words = filled.view("<u4").astype(np.uint32)
    start = np.stack([b.astype(np.int64) & 0xFFFFFFFF for b in biases], axis=1)
    return np.concatenate([words, start.astype(np.uint32)], axis=1)


def load(pointer: str, registers: Sequence[str]) -> str:
    """Assembly that loads words in ascending registers, and moves the pointer behind them."""
    return f"ldmia {pointer}!, {{{', '.join(registers)}}}"
