"""Compile C99, for this computer and for a Cortex-M.

The compiler is ``ziglang``, clang as a pip package; a system compiler can stand in for it on this computer. Code for
a Cortex-M has no libc and no compiler run-time library, so a 64-bit product on a core without one fails to link.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from edge_lstm.compiler import STRICT, cache_dir, has_zig, host_compiler, run_compiler, zig
from edge_lstm.errors import require

from .cores import Core

_HERE = Path(__file__).parent
_BARE = (
    *("-target", "thumb-freestanding-eabi", "-ffreestanding", "-nostdlib", "-g1", "-fomit-frame-pointer"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections"),
    "-fno-sanitize=undefined",  # zig adds this at -O0 and -Os, and strips all names at -Os where there is no -g
    *("-Wl,--gc-sections", f"-Wl,-T,{_HERE / 'cortex_m.ld'}", "-Wl,-e,0"),
)
__all__ = ["cache_dir", "compile_device", "compile_host", "compile_shared", "compiler_version"]


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
    compiler = host_compiler(prefer_system=sanitize)
    flags = [*STRICT, *_options(include_dirs, defines), optimize]
    if sanitize and compiler == zig():
        flags += ["-fsanitize=undefined", "-fsanitize-trap=undefined"]
    elif sanitize:
        flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return _compile(compiler, flags, sources, out, "this computer")


def compile_shared(source: Path, out: Path) -> Path:
    """Build a shared library for this computer from one C file; errors as :func:`compile_host`."""
    return _compile(host_compiler(), [*STRICT, "-O2", "-shared", "-fPIC"], [source], out, "this computer")


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
    flags = [*STRICT, *_BARE, f"-mcpu={core.zig_cpu}", *keep, *_options(include_dirs, defines), optimize]
    return _compile(zig(), flags, [*sources, _HERE / "memory.c"], out, core.title)


def compiler_version() -> str:
    """Name and version of the compiler of :func:`compile_host`.

    Raises:
        MissingExtraError: There is none.
    """
    first_line = run_compiler([*host_compiler(), "--version"], "this computer").splitlines()[0]
    return f"ziglang {version('ziglang')}, {first_line}" if has_zig() else first_line


def _options(include_dirs: Sequence[Path], defines: Sequence[str]) -> list[str]:
    return [*(f"-I{folder}" for folder in include_dirs), *(f"-D{define}" for define in defines)]


def _compile(compiler: list[str], flags: list[str], sources: Sequence[Path], out: Path, target: str) -> Path:
    run_compiler([*compiler, *flags, *map(str, sources), "-o", str(out)], target)
    return out
