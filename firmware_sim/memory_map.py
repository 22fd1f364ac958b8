"""Where the emulated board has memory. ``cortex_m.ld`` states FLASH and RAM with the same numbers.

Nothing lies at address 0, so following a null pointer is a fault, and nothing lies below the stack, so overflowing it
is one too.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Region:
    """``size`` bytes from ``address``."""

    name: str
    address: int
    size: int

    @property
    def end(self) -> int:
        """The first address behind the region."""
        return self.address + self.size

    def contains(self, address: int, nbytes: int = 1) -> bool:
        """Whether ``nbytes`` bytes from ``address`` lie inside."""
        return self.address <= address and address + nbytes <= self.end


FLASH = Region("flash", 0x0800_0000, 16 * MIB)  # code and constants: read and execute
RAM = Region("RAM", 0x2000_0000, 1 * MIB)  # .data and .bss
STACK = Region("stack", 0x2020_0000, 64 * KIB)
BUFFERS = Region("buffers", 0x6000_0000, 16 * MIB)  # the caller's inputs and outputs, no part of the modelled device
REGIONS = (FLASH, RAM, STACK, BUFFERS)
RETURN_ADDRESS = FLASH.end - 16  # a called function returns here, where emulation ends
