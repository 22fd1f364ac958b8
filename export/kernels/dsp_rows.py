"""The machine code of a row group: accumulators of all rows of a unit, then the unit's constants.

Of each unit a loop reads one stretch of words, in order: for each group the biases of its rows, the weights chunk by
chunk with those of the rows side by side, and then constants that the rest of the loop needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_lstm.export.kernels.kernel import ACCUMULATORS, END, FREE, VECTOR, Kernel, load

MOST_CONSTANTS = len(VECTOR) + len(FREE)
WORD_BYTES = 4


@dataclass(frozen=True)
class RowCode:
    """Macro of the groups of one shape.

    Attributes:
        rows: 1 to 4.
        segments: Kernels in order, each with its number of chunks.
        constants: Words after the weights, 0 to ``MOST_CONSTANTS``.
    """

    rows: int
    segments: tuple[tuple[Kernel, int], ...]
    constants: int

    @property
    def macro(self) -> str:
        """Its name, without the model's."""
        of = "_".join(f"{kernel.name}_{n}" for kernel, n in self.segments)
        return f"rows_{self.rows}_{of}_{self.constants}".upper()

    @property
    def accumulators(self) -> tuple[str, ...]:
        """Registers of the results."""
        return ACCUMULATORS[: self.rows]

    @property
    def loaded(self) -> tuple[str, ...]:
        """Registers of the constants."""
        return (*VECTOR, *FREE)[: self.constants]

    @property
    def clobbered(self) -> tuple[str, ...]:
        """Registers that the code uses besides."""
        return tuple(r for r in (*VECTOR, *FREE, END) if r not in self.loaded)

    @property
    def lines(self) -> list[str]:
        """Assembly. ``%[w]`` points to the words, and is moved behind them; ``%[v]`` points to the vector."""
        lines = [load(self.accumulators, "%[w]")]
        moved = 0
        for kernel, chunks in self.segments:
            if chunks > kernel.straight:
                lines += self._loop(kernel, chunks)
            else:
                lines += kernel.products(self.rows) * chunks
            lines += kernel.end(self.rows)
            moved += WORD_BYTES * (kernel.vector_words * chunks + kernel.end_words)
        return [*lines, f"sub %[v], %[v], #{moved}", *([load(self.loaded, "%[w]")] if self.constants else [])]

    def _loop(self, kernel: Kernel, chunks: int) -> list[str]:
        """The body has several chunks, and is entered where the rest of its first turn is what is left over."""
        unrolled = min(range(1, kernel.unrolled + 1), key=lambda n: 2 * -(-chunks // n) + (chunks % n > 0))
        first = -chunks % unrolled
        nbytes = WORD_BYTES * kernel.vector_words * chunks
        lines = [f"add {END}, %[v], #{nbytes}", *(["b 2f"] if first else []), "1:"]
        for k in range(unrolled):
            lines += ["2:"] if k == first and first else []
            lines += kernel.products(self.rows)
        return [*lines, f"cmp %[v], {END}", "bne 1b"]
