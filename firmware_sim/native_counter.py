"""The counter of ``counting`` as a compiled callback, ``block_hook.c``: it costs little more than not counting."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError, require

from .counting import Counter
from .elf import Image
from .toolchain import cache_dir, compile_shared

_SOURCE = Path(__file__).parent / "block_hook.c"


class _State(ctypes.Structure):
    """``struct counter`` of ``block_hook.c``."""

    _fields_ = (
        ("instructions", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("code_address", ctypes.c_uint64),
        ("halfwords", ctypes.c_uint64),
        ("code", ctypes.c_char_p),
        ("block_size", ctypes.c_void_p),
        ("block_length", ctypes.c_void_p),
        ("executed", ctypes.c_void_p),
        ("stop", ctypes.c_void_p),
    )


class NativeCounter(Counter):
    """Counts in C.

    Raises:
        EdgeLstmError: The callback does not compile, or this unicorn does not take it.
        OSError: The compiled callback does not load.
    """

    def __init__(self, machine: Any, image: Image) -> None:
        super().__init__(image)
        unicorn = require("unicorn", extra="sim", purpose="to emulate a Cortex-M")
        api = require("unicorn.unicorn_py3.unicorn", extra="sim", purpose="to emulate a Cortex-M").uclib
        self._library = hook_library()
        halfwords = image.code.size // 2
        self._block_size = np.zeros(halfwords, np.uint32)
        self._block_length = np.zeros(halfwords, np.uint32)
        self._totals = np.zeros(halfwords, np.uint64)
        self._state = _State(
            code_address=image.code.address,
            halfwords=halfwords,
            code=image.code.data,
            block_size=self._block_size.ctypes.data,
            block_length=self._block_length.ctypes.data,
            executed=self._totals.ctypes.data,
            stop=ctypes.cast(api.uc_emu_stop, ctypes.c_void_p).value,
        )
        handle = ctypes.c_size_t()
        status = api.uc_hook_add(
            machine._uch,
            ctypes.byref(handle),
            unicorn.UC_HOOK_BLOCK,
            ctypes.cast(self._library.count_block, ctypes.c_void_p),
            ctypes.cast(ctypes.pointer(self._state), ctypes.c_void_p),
            ctypes.c_uint64(1),  # a first address behind the last one: everywhere
            ctypes.c_uint64(0),
        )
        if status != unicorn.UC_ERR_OK:
            raise EdgeLstmError(f"unicorn {unicorn.__version__} refuses the compiled block hook: error {status}")

    @property
    def instructions(self) -> int:
        return int(self._state.instructions)

    def stop_at(self, instructions: int) -> None:
        self._state.limit = instructions

    def reset(self) -> None:
        self._state.instructions = 0
        self._totals[:] = 0

    def _executed(self) -> Iterable[tuple[int, int]]:
        touched = np.flatnonzero(self._totals)
        addresses = self._image.code.address + 2 * touched
        return zip(addresses.tolist(), self._totals[touched].tolist(), strict=True)


@functools.cache
def hook_library() -> ctypes.CDLL:
    """The compiled callback, built once per user, source and kind of computer.

    Raises:
        EdgeLstmError: It does not compile.
        OSError: It does not load.
    """
    key = hashlib.sha256(_SOURCE.read_bytes() + sysconfig.get_platform().encode()).hexdigest()[:16]
    library = cache_dir() / f"block_hook-{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            compile_shared(_SOURCE, Path(folder) / library.name).replace(library)
    return ctypes.CDLL(str(library))
