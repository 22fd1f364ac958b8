"""The emulated processor cores.

An FPU is optional on the Cortex-M4 and M7 and the arithmetic needs none, so all code is compiled for soft float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edge_lstm.errors import EdgeLstmError


@dataclass(frozen=True, slots=True)
class Core:
    """One processor core.

    Attributes:
        name: Our name for it, as on the command line.
        title: The name to print.
        architecture: Arm's name of its instruction set.
        zig_cpu: The compiler's ``-mcpu``.
        unicorn_model: The emulator's constant. It has no M0+; the M0 has the same instruction set.
        has_thumb2: IT blocks, CBZ, wide immediates, division (ARMv7-M).
        has_dsp: SMLAD, SXTAB, SSAT16, ... (ARMv7E-M).
    """

    name: str
    title: str
    architecture: str
    zig_cpu: str
    unicorn_model: str
    has_thumb2: bool
    has_dsp: bool

    @property
    def kernels(self) -> str | None:
        """Name of the kernels that the C export has for it; None where it is plain C."""
        return "DSP" if self.has_dsp else None if self.has_thumb2 else "V6M"


CORES: Mapping[str, Core] = MappingProxyType(
    {
        core.name: core
        for core in (
            Core("cortex-m0plus", "Cortex-M0+", "ARMv6-M", "cortex_m0plus", "UC_CPU_ARM_CORTEX_M0", False, False),
            Core("cortex-m3", "Cortex-M3", "ARMv7-M", "cortex_m3", "UC_CPU_ARM_CORTEX_M3", True, False),
            Core("cortex-m4", "Cortex-M4", "ARMv7E-M", "cortex_m4", "UC_CPU_ARM_CORTEX_M4", True, True),
            Core("cortex-m7", "Cortex-M7", "ARMv7E-M", "cortex_m7", "UC_CPU_ARM_CORTEX_M7", True, True),
        )
    }
)


def core(name: str) -> Core:
    """Look up a core.

    Raises:
        EdgeLstmError: There is no core of that name.
    """
    try:
        return CORES[name]
    except KeyError:
        raise EdgeLstmError(f"unknown core {name!r}; known are {', '.join(CORES)}") from None
