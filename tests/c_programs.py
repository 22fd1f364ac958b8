"""Generated C as files, compiled and run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ZIG = [sys.executable, "-m", "ziglang"]
WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-Wcast-align"]
C_COMPILERS = {"zig": [*ZIG, "cc"], "gcc": ["gcc"]}
CPP_COMPILERS = {"zig": [*ZIG, "c++"], "g++": ["g++"]}


def write(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files; the paths of the C sources among them."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts if name.endswith(".c")]


def compiler_run(command: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a compiler; skip where it is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    line = [*command, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


def compiled(command: list[str], *arguments: str | Path) -> None:
    """Compile, which must succeed."""
    done = compiler_run(command, *arguments)
    assert done.returncode == 0, done.stderr


def run(program: Path, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a program with something on standard input."""
    return subprocess.run([program], input=feed, capture_output=True, timeout=60, check=False)
