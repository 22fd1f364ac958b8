"""Row groups: the products of one loop over units that read the same vector.

Unit j of a loop needs row j of each of its matrices. A kernel computes the rows of a group at once, from weights that
are interleaved for it, so that an element of the vector is loaded once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_lstm.fixedpoint import Integers
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program

MOST_ROWS = 4
"""Accumulators for which a core has registers."""


@dataclass(frozen=True)
class RowGroup:
    """Products of one vector in one loop.

    Attributes:
        vector: The value that all read.
        products: ``MATVEC`` instructions, 1 to ``MOST_ROWS``.
    """

    vector: str
    products: tuple[Instruction, ...]

    def weights(self, program: Program) -> list[Integers]:
        """Of each product, (units, k)."""
        return [program.constants[str(p.attributes["weights"])] for p in self.products]

    def biases(self, program: Program) -> list[Integers]:
        """Of each product, (units,)."""
        return [program.constants[str(p.attributes["bias"])] for p in self.products]


def weight_bits(product: Instruction) -> int:
    """Of a ``MATVEC``."""
    return int(product.attributes.get("bits", 8))


def row_groups(instructions: Sequence[Instruction]) -> list[RowGroup]:
    """The groups of a loop, in the order in which their vectors are first read; each has weights of one width."""
    of_vector: dict[tuple[str, int], list[Instruction]] = {}
    for i in instructions:
        if i.op is Op.MATVEC:
            of_vector.setdefault((i.args[0], weight_bits(i)), []).append(i)
    return [
        RowGroup(vector, tuple(products[first : first + MOST_ROWS]))
        for (vector, _), products in of_vector.items()
        for first in range(0, len(products), MOST_ROWS)
    ]
