"""What writers of the statements of a loop over units have in common, whatever the core."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_lstm.export.c99_ops import C99, Unit, Vector, bound
from edge_lstm.export.kernels.choices import Choices
from edge_lstm.export.kernels.uses import Uses
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program


@dataclass
class UnitWriter(ABC):
    """Writes the statements of one loop over units, less what a kernel computes.

    Args:
        program: The loop is of.
        prefix: Of the model's names.
        instructions: Of the loop.
        uses: Of its values.
        choices: Of the loop.
        places: Values in memory.
        element: C of element j of a value that is in memory.
    """

    program: Program
    prefix: str
    instructions: Sequence[Instruction]
    uses: Uses
    choices: Choices
    places: Mapping[str, Vector]
    element: Callable[[str], str]

    @abstractmethod
    def _value(self, name: str) -> str:
        """C of a unit's element of a value."""

    def _literals(self) -> list[str]:
        """Constants of one integer, which is written where they are read."""
        constants = [i.out for i in self.instructions if i.op is Op.CONST and not self.uses.stored(i.out)]
        return [c for c in constants if self.uses.constant(c) is not None]

    def _limits(self, name: str) -> tuple[int, int]:
        """The least and the most that a value can be."""
        found = self.program.intervals[name]
        return int(found.lo.min()), int(found.hi.max())

    def _expression(self, i: Instruction) -> str:
        """Plain C of an instruction."""
        rule = C99[i.op]
        assert isinstance(rule, Unit)
        arguments = [self.places[a] if rule.whole else self._value(a) for a in i.args]
        return rule.expression(self.prefix, *arguments, **bound(i.attributes, self.prefix))
