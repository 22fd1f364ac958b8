"""Hard gates as masks: ``SELECT`` by a ``THRESHOLD`` needs the sign of one word, and no 0 or 1."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edge_lstm.export.kernels.uses import Uses
from edge_lstm.fixedpoint import INT32_MIN
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program


@dataclass(frozen=True)
class Sign:
    """A value z of which ``z - 1`` is negative where a choice is 0; or is 1, if inverted."""

    z: str
    inverted: bool


class Choices:
    """Thresholds of one loop, and what is 1 less one of them.

    Args:
        program: The loop is of.
        instructions: Of the loop.
        uses: Of its values.

    Attributes:
        unread: Choices that are asked for their sign alone.
    """

    def __init__(self, program: Program, instructions: Sequence[Instruction], uses: Uses) -> None:
        self._program, self._uses = program, uses
        self.unread: set[str] = set()
        for i in reversed(instructions):
            if self.sign(i.out) is not None and self._only_asked_for_its_sign(i.out):
                self.unread.add(i.out)

    def sign(self, choice: str) -> Sign | None:
        """Of a choice; None where it is no threshold, or there is no integer below z."""
        inverse = self._uses.made_by(choice, Op.SUB)
        if inverse is not None and self._uses.constant(inverse.args[0]) == 1:
            found = self.sign(inverse.args[1])
            return None if found is None else Sign(found.z, not found.inverted)
        threshold = self._uses.made_by(choice, Op.THRESHOLD)
        if threshold is None or self._program.intervals[threshold.args[0]].lo.min() <= INT32_MIN:
            return None
        return Sign(threshold.args[0], False)

    def only_signs(self, values: Collection[str]) -> frozenset[str]:
        """Of these values, those that nothing but unread thresholds reads."""
        return frozenset(
            v
            for v in values
            if self._uses.readers(v)
            and not self._uses.stored(v)
            and all(i.op is Op.THRESHOLD and i.out in self.unread for i in self._uses.readers(v))
        )

    def _only_asked_for_its_sign(self, choice: str) -> bool:
        readers = self._uses.readers(choice)
        selects = all(
            i.out in self.unread or (i.op is Op.SELECT and i.args[0] == choice and i.args[1] != choice) for i in readers
        )
        return bool(readers) and selects and not self._uses.stored(choice)
