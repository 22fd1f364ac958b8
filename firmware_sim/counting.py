"""Count executed instructions, exactly.

The emulator reports each basic block as it enters it. A block's instructions are counted from its halfwords, so an
instruction that an IT block skips counts as one, as it does on the device. A block of which a fault ends the execution
is counted whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Any

from edge_lstm.errors import require

from .elf import Image


def instruction_count(code: bytes) -> int:
    """Number of Thumb instructions in ``code``.

    A halfword that begins with 0b11101, 0b11110 or 0b11111 is the first of two (ARMv7-M ARM, A5.1).
    """
    at = count = 0
    while at < len(code):
        at += 4 if code[at + 1] >= 0xE8 else 2
        count += 1
    return count


class Counter(ABC):
    """Counts what an emulated machine executes, from its construction on."""

    def __init__(self, image: Image) -> None:
        self._image = image

    @property
    @abstractmethod
    def instructions(self) -> int:
        """Instructions executed so far."""

    @abstractmethod
    def stop_at(self, instructions: int) -> None:
        """Stop the machine before the first block it enters with so many instructions executed, or more."""

    @abstractmethod
    def reset(self) -> None:
        """Start again from zero."""

    @abstractmethod
    def _executed(self) -> Iterable[tuple[int, int]]:
        """Pairs of a block's address and the instructions executed in blocks from there."""

    def by_function(self) -> dict[str, int]:
        """Instructions executed in each function that ran, its callees not included."""
        totals: Tally[str] = Tally()
        for address, instructions in self._executed():
            totals[self._image.function_at(address)] += instructions
        return dict(totals)


class PythonCounter(Counter):
    """Counts in Python: 10 to 50 times slower than ``NativeCounter``, and needs no compiler."""

    def __init__(self, machine: Any, image: Image) -> None:
        super().__init__(image)
        unicorn = require("unicorn", extra="sim", purpose="to emulate a Cortex-M")
        self._lengths: dict[tuple[int, int], int] = {}
        self._limit = 0
        self.reset()
        machine.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)

    @property
    def instructions(self) -> int:
        return self._instructions

    def stop_at(self, instructions: int) -> None:
        self._limit = instructions

    def reset(self) -> None:
        self._instructions = 0
        self._totals: Tally[int] = Tally()

    def _executed(self) -> Iterable[tuple[int, int]]:
        return self._totals.items()

    def _on_block(self, machine: Any, address: int, size: int, _: object) -> None:
        code = self._image.code
        start = address - code.address
        if self._instructions >= self._limit or not 0 <= start <= start + size <= code.size:
            machine.emu_stop()
            return
        length = self._lengths.get((address, size))
        if length is None:
            length = self._lengths[address, size] = instruction_count(code.data[start : start + size])
        self._totals[address] += length
        self._instructions += length
