"""Find instructions that a core does not have, and calls of run-time helpers the arithmetic must not need.

The emulator enforces a core's instruction set with two gaps: its M0 executes IT, its M3 executes SMLAD. What a program
may not contain is therefore looked for in all of its code, executed or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from edge_lstm.errors import require

from .cores import Core
from .elf import Image

# 64-bit, division and float helpers of Arm's run-time ABI (IHI0043) and of libgcc; copying memory is no arithmetic.
_HELPER = re.compile(r"__aeabi_(?!mem)\w+|__\w+[sdt][if]\d?")


class Forbidden(NamedTuple):
    """An instruction of ``function`` that must not be there."""

    function: str
    address: int
    mnemonic: str


def forbidden_instructions(image: Image, core: Core) -> list[Forbidden]:
    """All instructions that ``core`` lacks, float ones, what is no known instruction, and calls of helpers.

    Returns:
        One entry for each, by address; the mnemonic of a call is followed by the helper's name.

    Raises:
        MissingExtraError: ``capstone`` is not installed.
    """
    capstone = require("capstone", extra="sim", purpose="to decode instructions")
    arm = require("capstone.arm_const", extra="sim", purpose="to decode instructions")
    lacking = {arm.ARM_GRP_VFP2, arm.ARM_GRP_VFP3, arm.ARM_GRP_VFP4, arm.ARM_GRP_FPARMV8, arm.ARM_GRP_NEON}
    lacking |= set() if core.has_dsp else {arm.ARM_GRP_THUMB2DSP, arm.ARM_GRP_T2EXTRACTPACK}
    lacking |= set() if core.has_thumb2 else {arm.ARM_GRP_THUMB2}
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    decoder.detail = decoder.skipdata = True
    found = []
    for instruction in _instructions(image, decoder):
        function = image.function_at(instruction.address)
        if instruction.id == 0 or lacking & set(instruction.groups):  # 0: not decodable
            found.append(Forbidden(function, instruction.address, instruction.mnemonic))
        elif arm.ARM_GRP_BRANCH_RELATIVE in instruction.groups:
            target = image.function_at(int(instruction.operands[-1].imm))
            if target != function and _HELPER.fullmatch(target):
                found.append(Forbidden(function, instruction.address, f"{instruction.mnemonic} {target}"))
    return found


def _instructions(image: Image, decoder: Any) -> Iterator[Any]:
    for start, end in image.thumb_ranges:
        offset = start - image.code.address
        yield from decoder.disasm(image.code.data[offset : end - start + offset], start)
