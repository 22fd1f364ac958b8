"""Microcontrollers whose memory is known, and what a model may take of it.

Sizes are those of PlatformIO's board files (platform-ststm32, -nordicnrf52, -atmelsam, -raspberrypi; read in November
2026), and of the data sheet DS10668 for the STM32L031; 1 KB = 1024 bytes. The RAM of the STM32F746 is that without its
64 KB of tightly coupled memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edge_lstm.errors import EdgeLstmError
from edge_lstm.firmware_sim.cores import CORES

DEFAULT_CORE = "cortex-m4"


@dataclass(frozen=True, slots=True)
class Part:
    """A microcontroller.

    Attributes:
        name: As on the command line.
        core: Name of its core.
        flash, ram: Bytes.
    """

    name: str
    core: str
    flash: int
    ram: int


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        name: Part(name, core, flash * 1024, ram * 1024)
        for name, core, flash, ram in (
            ("stm32l031k6", "cortex-m0plus", 32, 8),
            ("stm32l053r8", "cortex-m0plus", 64, 8),
            ("stm32g071rb", "cortex-m0plus", 128, 36),
            ("samd21g18", "cortex-m0plus", 256, 32),
            ("rp2040", "cortex-m0plus", 2048, 264),
            ("stm32f103c8", "cortex-m3", 64, 20),
            ("stm32l152re", "cortex-m3", 512, 80),
            ("stm32l432kc", "cortex-m4", 256, 64),
            ("stm32f401re", "cortex-m4", 512, 96),
            ("nrf52832", "cortex-m4", 512, 64),
            ("nrf52840", "cortex-m4", 1024, 256),
            ("stm32f746zg", "cortex-m7", 1024, 256),
        )
    }
)
"""Name to part. The RP2040 has no flash of its own: it is given that of the Raspberry Pi Pico."""


@dataclass(frozen=True)
class Target:
    """What an export is for.

    Attributes:
        name: To print.
        core: Name of the core.
        flash, ram: Bytes that a model may take; None for no limit.
    """

    name: str
    core: str
    flash: int | None = None
    ram: int | None = None

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.flash is not None or self.ram is not None


def target(device: str | None = None, *, flash: int | None = None, ram: int | None = None) -> Target:
    """Find what an export is for.

    Args:
        device: Name of a part or of a core, which has no limits of its own; a Cortex-M4 where None.
        flash, ram: Bytes, instead of the part's.

    Raises:
        EdgeLstmError: An unknown name, or a limit below 1.
    """
    for what, size in (("flash", flash), ("ram", ram)):
        if size is not None and size < 1:
            raise EdgeLstmError(f"{what} is {size} bytes; accepted are 1 and more")
    name = DEFAULT_CORE if device is None else device
    if name in PARTS:
        part = PARTS[name]
        return Target(name, part.core, part.flash if flash is None else flash, part.ram if ram is None else ram)
    if name in CORES:
        return Target(name, name, flash, ram)
    raise EdgeLstmError(f"unknown device {name!r}; known are the cores {', '.join(CORES)}, and {', '.join(PARTS)}")
