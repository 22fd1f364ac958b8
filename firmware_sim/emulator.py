"""Run functions of an ELF file on an emulated Cortex-M (unicorn).

``UC_MODE_MCLASS`` is not used: it forces a Cortex-M33 and ignores the chosen model.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import struct
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError, require

from .cores import Core
from .counting import Counter, PythonCounter, instruction_count
from .elf import Image
from .memory_map import BUFFERS, FLASH, KIB, REGIONS, RETURN_ADDRESS, STACK, Region
from .native_counter import NativeCounter

_PAINT = 0xA5  # fills the stack before a call
# Exception numbers of QEMU's target/arm/cpu.h.
_EXCEPTIONS = {2: "supervisor call", 4: "unaligned access", 7: "breakpoint"}

logger = logging.getLogger(__name__)


class Machine:
    """A Cortex-M with a program in its flash. Variables keep their values from call to call.

    Args:
        core: The processor.
        image_path: The ELF file, from :func:`edge_lstm.firmware_sim.toolchain.compile_device`.
        max_instructions: What one call may execute.
        native_counter: Count in compiled code where possible; otherwise in Python, 10 to 50 times slower.

    Attributes:
        core: The processor.
        image: The program.
        counter: Counts all that this machine executes.
        instructions: Instructions executed by the latest call.
        visits: Each time the latest call entered a function that is watched: its name, and the instructions executed
            before.

    Raises:
        MissingExtraError: ``unicorn`` or ``pyelftools`` is not installed.
        EdgeLstmError: The file is no program for this memory map.
    """

    def __init__(
        self, core: Core, image_path: Path, *, max_instructions: int = 10**9, native_counter: bool = True
    ) -> None:
        unicorn = require("unicorn", extra="sim", purpose="to emulate a Cortex-M")
        arm = require("unicorn.arm_const", extra="sim", purpose="to emulate a Cortex-M")
        self.core = core
        self.image = Image.read(image_path)
        self.instructions = 0
        self.visits: list[tuple[str, int]] = []
        self._entered_at = 0
        self._on_block = unicorn.UC_HOOK_BLOCK
        self._max_instructions = max_instructions
        self._error: type[Exception] = unicorn.UcError
        self._verbs = {
            unicorn.UC_MEM_READ_UNMAPPED: "read",
            unicorn.UC_MEM_WRITE_UNMAPPED: "write",
            unicorn.UC_MEM_FETCH_UNMAPPED: "execution",
            unicorn.UC_MEM_WRITE_PROT: "write",
            unicorn.UC_MEM_FETCH_PROT: "execution",
        }
        self._sp, self._lr, self._pc = arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR, arm.UC_ARM_REG_PC
        self._arguments = (arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1, arm.UC_ARM_REG_R2, arm.UC_ARM_REG_R3)
        self._uc: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        self._uc.ctl_set_cpu_model(getattr(arm, core.unicorn_model))
        self._memory: dict[Region, mmap.mmap] = {}
        for region in REGIONS:
            access = unicorn.UC_PROT_EXEC if region is FLASH else unicorn.UC_PROT_WRITE
            self._memory[region] = memory = mmap.mmap(-1, region.size)
            host_address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            self._uc.mem_map_ptr(region.address, region.size, unicorn.UC_PROT_READ | access, host_address)
        for section in self.image.sections:
            memory, start = self._locate(section.address, section.size, "load")
            memory[start : start + len(section.data)] = section.data
        self._stack = np.frombuffer(self._memory[STACK], np.uint8)
        self._stack[:] = _PAINT
        self._next_buffer = BUFFERS.address
        self._fault = ""
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_bad_access)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self.counter = self._count(native=native_counter)

    def call(self, symbol: str, *args: int) -> int:
        """Call a function by Arm's procedure call standard: four arguments in registers, the others on the stack.

        Args:
            symbol: Name of the function.
            args: Integers and addresses, each of 32 bits, signed or unsigned.

        Returns:
            Register r0 as a signed 32-bit integer.

        Raises:
            EdgeLstmError: There is no such function, an argument has more than 32 bits, the program faulted, or it
                executed more than ``max_instructions``.
        """
        entry = self.image.symbol(symbol).address
        words = [_word(value) for value in args]
        on_stack = words[len(self._arguments) :]
        stack_pointer = STACK.end - (4 * len(on_stack) + 7) // 8 * 8
        self._stack[:] = _PAINT
        self.write(stack_pointer, struct.pack(f"<{len(on_stack)}I", *on_stack))
        for register, word in zip(self._arguments, words, strict=False):
            self._uc.reg_write(register, word)
        self._uc.reg_write(self._sp, stack_pointer)
        self._uc.reg_write(self._lr, RETURN_ADDRESS | 1)
        before = self._entered_at = self.counter.instructions
        self.visits = []
        self.counter.stop_at(before + self._max_instructions)
        self._fault = ""
        try:
            self._uc.emu_start(entry | 1, RETURN_ADDRESS)
        except self._error as error:
            self._fault = self._fault or str(error)
        self.instructions = self.counter.instructions - before
        stopped_at = self._uc.reg_read(self._pc)
        if self._fault or stopped_at != RETURN_ADDRESS:
            raise EdgeLstmError(self._explain(symbol, stopped_at))
        return ctypes.c_int32(self._uc.reg_read(self._arguments[0])).value

    def watch(self, symbol: str) -> None:
        """Note each entry of a function in ``visits``; a jump to its first instruction is one.

        Raises:
            EdgeLstmError: There is no such function.
        """
        address = self.image.symbol(symbol).address
        self._uc.hook_add(self._on_block, self._on_visit, symbol, address, address)

    @property
    def stack_used(self) -> int:
        """Bytes of stack that the latest call wrote, from the top down, arguments passed on it included."""
        written = self._stack != _PAINT
        return STACK.size - int(written.argmax()) if written.any() else 0

    def alloc(self, nbytes: int, align: int = 8) -> int:
        """Set aside memory for the caller's data, zeroed, outside the modelled device.

        Args:
            nbytes: How much.
            align: The address is a multiple of it.

        Returns:
            Its address.

        Raises:
            EdgeLstmError: No more is left.
        """
        start = -(-self._next_buffer // align) * align
        if start + nbytes > BUFFERS.end:
            left = BUFFERS.end - self._next_buffer
            raise EdgeLstmError(f"no room for a buffer of {nbytes} bytes: {left} of {BUFFERS.size} are left")
        self._next_buffer = start + nbytes
        return start

    def write(self, where: int | str, data: bytes) -> None:
        """Store ``data`` in RAM, at an address or at a variable.

        Raises:
            EdgeLstmError: There is no such symbol, or not so much RAM there.
        """
        address = self._address(where)
        if FLASH.contains(address):
            raise EdgeLstmError(f"cannot write to {address:#010x}: flash is read-only")
        memory, start = self._locate(address, len(data), "write")
        memory[start : start + len(data)] = data

    def read(self, where: int | str, nbytes: int) -> bytes:
        """Fetch ``nbytes`` bytes from an address or a variable.

        Raises:
            EdgeLstmError: There is no such symbol, or not so much memory there.
        """
        memory, start = self._locate(self._address(where), nbytes, "read")
        return memory[start : start + nbytes]

    def _address(self, where: int | str) -> int:
        return self.image.symbol(where).address if isinstance(where, str) else where

    def _locate(self, address: int, nbytes: int, verb: str) -> tuple[mmap.mmap, int]:
        for region, memory in self._memory.items():
            if region.contains(address, nbytes):
                return memory, address - region.address
        known = ", ".join(f"{region.name} {region.address:#010x} to {region.end - 1:#010x}" for region in REGIONS)
        raise EdgeLstmError(f"cannot {verb} {nbytes} bytes at {address:#010x}; there is {known}")

    def _count(self, *, native: bool) -> Counter:
        if native:
            try:
                return NativeCounter(self._uc, self.image)
            except (AttributeError, EdgeLstmError, OSError) as error:
                logger.warning("instructions are counted in Python, 10 to 50 times slower: %s", error)
        return PythonCounter(self._uc, self.image)

    def _on_visit(self, _uc: Any, address: int, size: int, symbol: str) -> None:
        """Called after the counter, which was there first and has counted the block."""
        start = address - self.image.code.address
        block = instruction_count(self.image.code.data[start : start + size])
        self.visits.append((symbol, self.counter.instructions - block - self._entered_at))

    def _on_bad_access(self, _uc: Any, access: int, address: int, size: int, _value: int, _data: object) -> bool:
        self._fault = f"{self._verbs[access]} of {size} bytes at {address:#010x}, {_place(address)}"
        return False

    def _on_exception(self, uc: Any, number: int, _data: object) -> None:
        self._fault = _EXCEPTIONS.get(number, f"exception {number}")
        uc.emu_stop()

    def _explain(self, symbol: str, stopped_at: int) -> str:
        what = self._fault
        if not what and self.instructions >= self._max_instructions:
            what = f"more than {self._max_instructions} instructions executed"
        what = what or "execution stopped"
        function = self.image.function_at(stopped_at)
        return f"{self.core.title}, call of {symbol}: {what} (in {function}, pc {stopped_at:#010x})"


def _word(value: int) -> int:
    if not -(2**31) <= value < 2**32:
        raise EdgeLstmError(f"argument {value} does not fit in 32 bits")
    return index(value) & 0xFFFF_FFFF


def _place(address: int) -> str:
    for region in REGIONS:
        if region.contains(address):
            return f"in {region.name}, which does not allow it"
    if STACK.address - STACK.size <= address < STACK.address:
        return f"below the stack of {STACK.size // KIB} KiB, which overflowed"
    return "where there is no memory"
