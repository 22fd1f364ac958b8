"""Which instruction of a loop makes a value, and which read it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program


class Uses:
    """Values of one loop.

    Args:
        program: It is of.
        instructions: Of the loop.
        stored: Values that are wanted in memory, for others to read.
    """

    def __init__(self, program: Program, instructions: Sequence[Instruction], stored: Collection[str]) -> None:
        self._stored = stored
        self._constants = {
            i.out: program.constants[str(i.attributes["value"])] for i in program.instructions if i.op is Op.CONST
        }
        self._made = {i.out: i for i in instructions}
        self._readers: dict[str, list[Instruction]] = {}
        for i in instructions:
            for argument in i.args:
                self._readers.setdefault(argument, []).append(i)

    def readers(self, value: str) -> list[Instruction]:
        """Instructions of the loop that read a value, one twice where it reads it twice."""
        return self._readers.get(value, [])

    def made_by(self, value: str, *ops: Op) -> Instruction | None:
        """What makes a value in this loop, if it is one of these operations."""
        i = self._made.get(value)
        return i if i is not None and i.op in ops else None

    def only_for(self, value: str, *ops: Op) -> Instruction | None:
        """As ``made_by``, but None where the value is stored or read more than once."""
        alone = value not in self._stored and len(self.readers(value)) == 1
        return self.made_by(value, *ops) if alone else None

    def stored(self, value: str) -> bool:
        """Whether it is wanted in memory."""
        return value in self._stored

    def constant(self, value: str) -> int | None:
        """The integer that a ``CONST`` is in every element, wherever it was made; None for all else."""
        values = self._constants.get(value)
        return None if values is None or (values != values[0]).any() else int(values[0])
