"""What a kernel of a row group is: its layout of the weights, and its machine code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lstm.fixedpoint import Integers

Words = NDArray[np.uint32]
COLUMNS = 4
"""Of a chunk, for most kernels."""
VECTOR = ("r2", "r3")
"""Registers of the vector's elements of a chunk."""
FREE = ("r4", "r5", "r6", "r8")
ACCUMULATORS = ("r9", "r10", "r11", "r12")
END = "lr"
"""Where the prepared vector ends. The compiler is left r0 and r1 to point with, and r7, which may be the frame's."""


@dataclass(frozen=True)
class Kernel:
    """A way to compute the rows of a group on a core with the DSP extension.

    Attributes:
        name: Of its macros and functions.
        scale: An accumulator holds its sum times ``2**scale``.
        pack: (units, 4 n) weights to (units, n) words, or to twice as many.
        products: Assembly that loads the words of a chunk, for so many rows, from where ``%[w]`` points, and what was
            prepared of the vector, from where ``%[v]`` does, and adds the products to the accumulators. It may use
            ``VECTOR`` and ``FREE``, and moves both pointers behind the chunk.
        columns: Of a chunk.
        vector_words: Of the prepared vector for a chunk.
        unrolled: Chunks in the body of a loop over them, at most.
        straight: Chunks up to which there is no loop.
        end: Assembly after the last chunk, for so many rows.
        end_words: Of the prepared vector that it reads.
    """

    name: str
    scale: int
    pack: Callable[[Integers], Words]
    products: Callable[[int], list[str]]
    columns: int = COLUMNS
    vector_words: int = 2
    unrolled: int = 3
    straight: int = 5
    end: Callable[[int], list[str]] = lambda _: []
    end_words: int = 0

    def chunks(self, length: int) -> int:
        """Of so many columns."""
        return -(-length // self.columns)

    def words(self, length: int) -> int:
        """Of a prepared vector."""
        return self.vector_words * self.chunks(length) + self.end_words

    def packed(self, weights: Integers) -> Words:
        """(units, k) weights to words; the last chunk is filled up with zeros."""
        return self.pack(np.pad(weights, [(0, 0), (0, -weights.shape[1] % self.columns)]))


def halves(low: NDArray[np.int64], high: NDArray[np.int64]) -> Words:
    """Words of two signed halfwords each."""
    return np.asarray((low & 0xFFFF) | (high & 0xFFFF) << 16, np.uint32)


def load(registers: Sequence[str], pointer: str) -> str:
    """Assembly that loads words in ascending registers, and moves the pointer behind them."""
    if len(registers) == 1:
        return f"ldr {registers[0]}, [{pointer}], #4"
    return f"ldmia {pointer}!, {{{', '.join(registers)}}}"


def load_pair() -> str:
    """Assembly that loads two words of the prepared vector."""
    return f"ldrd {VECTOR[0]}, {VECTOR[1]}, [%[v]], #8"
