"""Compile C99, for this computer and for a Cortex-M.

The compiler is ``ziglang``, clang as a pip package; a system compiler can stand in for it on this computer. Code for
a Cortex-M has no libc and no compiler run-time library, so a 64-bit product on a core without one fails to link.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from edge_lstm.errors import EdgeLstmError, MissingExtraError, require

from .cores import Core

_HERE = Path(__file__).parent
_STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
_BARE = (
    *("-target", "thumb-freestanding-eabi", "-ffreestanding", "-nostdlib", "-g1", "-fomit-frame-pointer"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections"),
    "-fno-sanitize=undefined",  # zig adds this at -O0 and -Os, and strips all names at -Os where there is no -g
    *("-Wl,--gc-sections", f"-Wl,-T,{_HERE / 'cortex_m.ld'}", "-Wl,-e,0"),
)
_TIMEOUT_S = 300  # the first use of a zig installation builds its C start-up code
_SHOWN_LINES = 12


def compile_host(
    sources: Sequence[Path],
    out: Path,
    *,
    include_dirs: Sequence[Path] = (),
    defines: Sequence[str] = (),
    optimize: str = "-O2",
    sanitize: bool = False,
) -> Path:
    """Build an executable for this computer.

    Args:
        sources: C files.
        out: The executable to write.
        include_dirs: Folders to search for headers.
        defines: Macros, each ``NAME`` or ``NAME=VALUE``.
        optimize: ``"-O0"`` to ``"-O3"`` or ``"-Os"``.
        sanitize: Abort on undefined behaviour and on memory errors. A system compiler is preferred for this: zig
            brings no AddressSanitizer, and its programs abort on undefined behaviour only and without a message.

    Returns:
        ``out``.

    Raises:
        MissingExtraError: There is no compiler.
        EdgeLstmError: The compiler refused.
    """
    compiler = _host_compiler(prefer_system=sanitize)
    flags = [*_STRICT, *_options(include_dirs, defines), optimize]
    if sanitize and compiler == _zig():
        flags += ["-fsanitize=undefined", "-fsanitize-trap=undefined"]
    elif sanitize:
        flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return _compile(compiler, flags, sources, out, "this computer")


def compile_shared(source: Path, out: Path) -> Path:
    """Build a shared library for this computer from one C file; errors as :func:`compile_host`."""
    return _compile(_host_compiler(), [*_STRICT, "-O2", "-shared", "-fPIC"], [source], out, "this computer")


def compile_device(
    core: Core,
    sources: Sequence[Path],
    out: Path,
    *,
    entry_points: Sequence[str],
    include_dirs: Sequence[Path] = (),
    defines: Sequence[str] = (),
    optimize: str = "-O2",
) -> Path:
    """Build an ELF file of freestanding code for a Cortex-M, laid out by ``cortex_m.ld``.

    Args:
        core: What to compile for.
        sources: C files.
        out: The ELF file to write.
        entry_points: The functions to keep, with all that they use; the rest is dropped.
        include_dirs: Folders to search for headers.
        defines: Macros, each ``NAME`` or ``NAME=VALUE``.
        optimize: ``"-O0"`` to ``"-O3"`` or ``"-Os"``.

    Returns:
        ``out``.

    Raises:
        MissingExtraError: ``ziglang`` is not installed.
        EdgeLstmError: The compiler or the linker refused.
    """
    require("ziglang", extra="sim", purpose=f"to compile for a {core.title}")
    keep = [f"-Wl,-u,{name}" for name in entry_points]
    flags = [*_STRICT, *_BARE, f"-mcpu={core.zig_cpu}", *keep, *_options(include_dirs, defines), optimize]
    return _compile(_zig(), flags, [*sources, _HERE / "memory.c"], out, core.title)


def compiler_version() -> str:
    """Name and version of the compiler of :func:`compile_host`.

    Raises:
        MissingExtraError: There is none.
    """
    first_line = _run([*_host_compiler(), "--version"], "this computer").splitlines()[0]
    return f"ziglang {version('ziglang')}, {first_line}" if _has_zig() else first_line


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


def _has_zig() -> bool:
    return importlib.util.find_spec("ziglang") is not None


def _zig() -> list[str]:
    return [sys.executable, "-m", "ziglang", "cc"]


def _host_compiler(*, prefer_system: bool = False) -> list[str]:
    system = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if system and (prefer_system or not _has_zig()):
        return [system]
    if _has_zig():
        return _zig()
    raise MissingExtraError("ziglang", extra="sim", purpose="to compile C (found no cc, gcc or clang)")


def _options(include_dirs: Sequence[Path], defines: Sequence[str]) -> list[str]:
    return [*(f"-I{folder}" for folder in include_dirs), *(f"-D{define}" for define in defines)]


def _compile(compiler: list[str], flags: list[str], sources: Sequence[Path], out: Path, target: str) -> Path:
    _run([*compiler, *flags, *map(str, sources), "-o", str(out)], target)
    return out


def _run(command: list[str], target: str) -> str:
    environment = dict(os.environ)
    if _has_zig():
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
