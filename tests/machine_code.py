"""What compiled functions call, and how much stack each takes: read from ELF files."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import capstone
from capstone import arm_const
from elftools.elf.elffile import ELFFile

from edge_lstm.firmware_sim import toolchain
from edge_lstm.firmware_sim.cores import Core
from edge_lstm.firmware_sim.elf import UNKNOWN, Image
from edge_lstm.firmware_sim.isa import _instructions

GCC = "arm-none-eabi-gcc"
_FLAGS = (
    *("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-mthumb", "-ffreestanding", "-nostdlib"),
    *("-ffunction-sections", "-fdata-sections", "-fno-tree-loop-distribute-patterns", "-Wno-attributes"),
    *("-Wl,--gc-sections", "-Wl,-e,0", "-Wl,--no-warn-rwx-segments", f"-Wl,-T,{toolchain._HERE / 'cortex_m.ld'}"),
)
INDIRECT = "an address in a register"
CalledBy = Mapping[str, frozenset[str]]


def gcc_image(core: Core, sources: Sequence[Path], out: Path, *flags: str, entry_points: Sequence[str]) -> Image:
    """Build with Debian's compiler what ``toolchain.compile_device`` builds with clang; headers are beside sources."""
    of_core = f"-mcpu={core.zig_cpu.replace('_', '-')}"
    keep = [f"-Wl,-u,{name}" for name in entry_points]
    files = [*map(str, sources), str(toolchain._HERE / "memory.c")]
    command = [GCC, *_FLAGS, of_core, *keep, *flags, *files, "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return Image.read(out)


def called(image: Image) -> CalledBy:
    """Of each function, those that it calls or jumps to the begin of, and ``INDIRECT``.

    A jump through a register that holds the return address, or through a table of the function itself, is no call.
    """
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    decoder.detail = True
    found: dict[str, set[str]] = {symbol.name: set() for symbol in image.symbols if symbol.is_function}
    for instruction in _instructions(image, decoder):
        function = image.function_at(instruction.address)
        if function == UNKNOWN:  # what fills the gap to the next function
            continue
        if arm_const.ARM_GRP_BRANCH_RELATIVE in instruction.groups:
            target = int(instruction.operands[-1].imm)
            if image.function_at(target) != function:
                found[function].add(image.function_at(target))
        elif instruction.id in (arm_const.ARM_INS_BLX, arm_const.ARM_INS_BX) and instruction.op_str != "lr":
            found[function].add(INDIRECT)
    return {function: frozenset(targets) for function, targets in found.items()}


def frames(folder: Path) -> dict[str, int]:
    """Bytes of stack that each function takes itself, from gcc's -fstack-usage files.

    Raises:
        ValueError: One takes an amount that is not known before it runs.
    """
    found = {}
    for file in folder.glob("*.su"):
        for line in file.read_text().splitlines():
            where, size, kind = line.split("\t")
            if kind != "static":
                raise ValueError(f"{where}: {size} bytes, {kind}")
            found[where.rpartition(":")[2]] = int(size)
    return found


def deepest(function: str, calls: CalledBy, own: Mapping[str, int]) -> int:
    """Bytes of stack of a function with what it calls, at most.

    Raises:
        RecursionError: A function calls itself.
    """
    return own[function] + max((deepest(target, calls, own) for target in calls[function]), default=0)


def undefined_symbols(path: Path) -> set[str]:
    """What an object file needs from elsewhere."""
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return {s.name for s in table.iter_symbols() if s["st_shndx"] == "SHN_UNDEF" and s.name}
