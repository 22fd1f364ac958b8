"""The C compiler of this computer, the folder for what it makes, and libraries that are built once and loaded.

The compiler is ``ziglang``, clang as a pip package; a system compiler stands in for it where there is none.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from edge_lstm.errors import EdgeLstmError, MissingExtraError, require

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
_NATIVE = ("-std=gnu99", "-O3", "-march=native", "-fno-math-errno", "-fno-sanitize=undefined", "-shared", "-fPIC")
_TIMEOUT_S = 300  # the first use of a zig installation builds its C start-up code
_SHOWN_LINES = 12


def native_library(source: str) -> ctypes.CDLL:
    """A library of C text for the very processor that this is, built once per user, text, compiler and processor.

    Raises:
        EdgeLstmError: There is no compiler, it refuses, or what it made does not load.
    """
    flags = " ".join(_NATIVE)
    key = hashlib.sha256("\0".join((source, flags, _compiler_name(), _processor())).encode()).hexdigest()[:24]
    library = cache_dir() / f"native-{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            text = Path(folder) / "source.c"
            text.write_text(source)
            run_compiler([*host_compiler(), *_NATIVE, str(text), "-o", str(text.with_suffix(".so"))], "this computer")
            text.with_suffix(".so").replace(library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise EdgeLstmError(f"the library {library.name} does not load: {error}") from None


def cache_dir() -> Path:
    """A folder of our own that outlives the process: the user's cache or, where that is read-only, a temporary one."""
    platformdirs = require("platformdirs", extra="sim", purpose="to find the cache folder")
    user_id = os.getuid() if hasattr(os, "getuid") else 0
    shared_temporary = Path(tempfile.gettempdir()) / f"edge-lstm-{user_id}"
    for folder in (Path(platformdirs.user_cache_dir("edge-lstm")), shared_temporary):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = folder.lstat().st_uid
        except OSError:
            continue
        if os.access(folder, os.W_OK) and owner == user_id:  # code is loaded from here: never from a stranger's
            return folder
    return Path(tempfile.mkdtemp(prefix="edge-lstm-"))


def has_zig() -> bool:
    """Whether ``ziglang`` is installed."""
    return importlib.util.find_spec("ziglang") is not None


def zig() -> list[str]:
    """The command that runs its C compiler."""
    return [sys.executable, "-m", "ziglang", "cc"]


def host_compiler(*, prefer_system: bool = False) -> list[str]:
    """The command that runs the C compiler for this computer.

    Raises:
        MissingExtraError: There is none.
    """
    system = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if system and (prefer_system or not has_zig()):
        return [system]
    if has_zig():
        return zig()
    raise MissingExtraError("ziglang", extra="sim", purpose="to compile C (found no cc, gcc or clang)")


def run_compiler(command: Sequence[str], target: str) -> str:
    """What the compiler prints.

    Raises:
        EdgeLstmError: It refused, or took too long.
    """
    environment = dict(os.environ)
    if has_zig():
        zig_cache = str(cache_dir() / "zig")
        environment = {"ZIG_GLOBAL_CACHE_DIR": zig_cache, "ZIG_LOCAL_CACHE_DIR": zig_cache} | environment
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise EdgeLstmError(f"compiling for {target} took more than {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        shown = "\n".join((done.stderr or done.stdout).splitlines()[:_SHOWN_LINES])
        raise EdgeLstmError(f"compiling for {target} failed:\n{shown}")
    return done.stdout


def _compiler_name() -> str:
    """Without running it, which would take longer than what is saved."""
    return f"ziglang {version('ziglang')}" if has_zig() else " ".join(host_compiler())


def _processor() -> str:
    """What tells processors apart: a library for one may hold instructions that another has not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.platform()} {platform.processor()}"
    told = ("vendor_id", "cpu family", "model", "model name", "flags", "Features", "CPU part")
    return "\n".join([platform.machine(), *sorted({x for x in lines if x.partition(":")[0].strip() in told})])
