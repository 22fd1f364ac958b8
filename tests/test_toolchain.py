"""The compilers: what they accept, what they refuse, and where they keep their files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edge_lstm import compiler
from edge_lstm.errors import EdgeLstmError, MissingExtraError
from edge_lstm.firmware_sim.cores import CORES, core
from edge_lstm.firmware_sim.elf import Image
from edge_lstm.firmware_sim.toolchain import cache_dir, compile_device, compile_host, compiler_version

MAIN = """
#include <stdint.h>
#include <stdio.h>
int main(int argc, char **argv) {
  (void)argv;
  int32_t x = INT32_MAX;
  x += argc;
  printf("%d\\n", x == INT32_MAX);
  return 0;
}
"""
ADD = """
int add(int a, int b);
int unused(void);
int add(int a, int b) { return a + b + OFFSET; }
int unused(void) { return 1; }
"""
PRODUCT = (
    "long long product(long long a, long long b);\nlong long product(long long a, long long b) { return a * b; }\n"
)


@pytest.fixture
def without_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    assert importlib.util.find_spec("ziglang") is None


def source(folder: Path, text: str) -> Path:
    path = folder / "source.c"
    path.write_text(text)
    return path


def test_the_cores_are_these_four() -> None:
    assert list(CORES) == ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7"]
    assert all(core(name) is entry and entry.name == name for name, entry in CORES.items())


def test_an_unknown_core_is_refused_by_name() -> None:
    message = r"^unknown core 'cortex-m5'; known are cortex-m0plus, cortex-m3, cortex-m4, cortex-m7$"
    with pytest.raises(EdgeLstmError, match=message):
        core("cortex-m5")


def test_host_program_runs(tmp_path: Path) -> None:
    program = compile_host([source(tmp_path, MAIN)], tmp_path / "program")
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def has_system_compiler() -> bool:
    return any(map(shutil.which, ("cc", "gcc", "clang")))


@pytest.mark.parametrize("system", [True, False])
def test_sanitized_program_aborts_on_overflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: bool) -> None:
    if not system:
        monkeypatch.setenv("PATH", str(tmp_path))
    elif not has_system_compiler():
        pytest.skip("no system compiler")
    program = compile_host([source(tmp_path, MAIN)], tmp_path / "program", sanitize=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert ("signed integer overflow" in done.stderr) == system


def test_sanitized_program_aborts_on_a_read_behind_an_array(tmp_path: Path) -> None:
    if not has_system_compiler():
        pytest.skip("no system compiler")
    text = """
#include <stdlib.h>
int main(int argc, char **argv) {
  (void)argv;
  int *volatile values = calloc(2, sizeof(int));
  const int value = values[1 + argc];
  free(values);
  return value == 3;
}
"""
    program = compile_host([source(tmp_path, text)], tmp_path / "program", sanitize=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def test_defines_and_include_folders_reach_the_compiler(tmp_path: Path) -> None:
    headers = tmp_path / "headers"
    headers.mkdir()
    (headers / "answer.h").write_text("#define ANSWER (TENS * 10 + 2)\n")
    text = '#include "answer.h"\nint main(void) { return ANSWER; }\n'
    program = compile_host([source(tmp_path, text)], tmp_path / "p", include_dirs=[headers], defines=["TENS=4"])
    assert subprocess.run([program], check=False).returncode == 42


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("int main(void) { int unused; return 0; }", "unused"),  # -Wall
        ("int f(int a);\nint f(int a) { return 0; }\nint main(void) { return f(1); }", "unused parameter"),  # -Wextra
        ("int main(void) { return ({ 0; }); }", "GNU"),  # -pedantic
        ('_Static_assert(1, "");\nint main(void) { return 0; }', "C11"),  # -std=c99
    ],
)
def test_strictness(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(EdgeLstmError, match=rf"(?s)^compiling for this computer failed:\n.*{complaint}"):
        compile_host([source(tmp_path, text + "\n")], tmp_path / "program")


def test_a_long_complaint_is_cut(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError) as caught:
        compile_host([source(tmp_path, "nonsense;\n" * 15)], tmp_path / "program")
    assert len(str(caught.value).splitlines()) == 13


def test_a_compiler_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_TIMEOUT_S", 0.001)
    with pytest.raises(EdgeLstmError, match=r"^compiling for this computer took more than 0\.001 s$"):
        compile_host([source(tmp_path, MAIN)], tmp_path / "program")


@pytest.mark.parametrize("name", CORES)
def test_device_code_keeps_only_what_is_reached(tmp_path: Path, name: str) -> None:
    out = tmp_path / "add.elf"
    elf = compile_device(CORES[name], [source(tmp_path, ADD)], out, entry_points=["add"], defines=["OFFSET=1"])
    assert elf == out
    assert [symbol.name for symbol in Image.read(elf).symbols] == ["add"]


def test_a_64_bit_product_does_not_link_on_a_core_without_one(tmp_path: Path) -> None:
    product = source(tmp_path, PRODUCT)
    compile_device(CORES["cortex-m3"], [product], tmp_path / "m3.elf", entry_points=["product"])
    with pytest.raises(
        EdgeLstmError, match=r"(?s)^compiling for Cortex-M0\+ failed:\n.*undefined symbol: __aeabi_lmul"
    ):
        compile_device(CORES["cortex-m0plus"], [product], tmp_path / "m0.elf", entry_points=["product"])


@pytest.mark.usefixtures("without_zig")
def test_without_zig_the_system_compiler_serves(tmp_path: Path) -> None:
    if not has_system_compiler():
        pytest.skip("no system compiler")
    program = compile_host([source(tmp_path, MAIN)], tmp_path / "program")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "0\n"
    assert "ziglang" not in compiler_version()


@pytest.mark.usefixtures("without_zig")
def test_without_any_compiler_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = r"^ziglang is needed to compile C \(found no cc, gcc or clang\): pip install 'edge-lstm\[sim\]'$"
    with pytest.raises(MissingExtraError, match=message):
        compile_host([source(tmp_path, MAIN)], tmp_path / "program")


@pytest.mark.usefixtures("without_zig")
def test_a_cortex_m_needs_zig(tmp_path: Path) -> None:
    message = r"^ziglang is needed to compile for a Cortex-M4: pip install 'edge-lstm\[sim\]'$"
    with pytest.raises(MissingExtraError, match=message):
        compile_device(CORES["cortex-m4"], [source(tmp_path, ADD)], tmp_path / "add.elf", entry_points=["add"])


def test_compiler_version_names_zig_and_clang() -> None:
    assert compiler_version().startswith("ziglang ")
    assert "clang version" in compiler_version()


def test_nothing_is_left_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    compile_host([source(tmp_path, MAIN)], tmp_path / "program")
    compile_device(
        CORES["cortex-m4"],
        [source(tmp_path, ADD)],
        tmp_path / "add.elf",
        entry_points=["add"],
        defines=["OFFSET=0"],
    )
    assert list(here.iterdir()) == []


def test_the_compilers_own_cache_variables_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = source(tmp_path, ADD)
    for variable in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "zig"))
    compile_device(CORES["cortex-m4"], [add], tmp_path / "add.elf", entry_points=["add"], defines=["OFFSET=0"])
    assert (tmp_path / "zig").is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="moves the cache folder by XDG_CACHE_HOME")
def test_cache_folder_falls_back_to_temporary_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / "edge-lstm"

    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made there
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first = cache_dir()
    assert first.parent == tmp_path
    assert first == cache_dir()
    assert first.stat().st_mode & 0o777 == 0o700

    first.rmdir()
    first.touch()  # another user took the name
    private = cache_dir()
    assert private.is_dir()
    assert private.parent == tmp_path
    assert private != first


@pytest.mark.skipif(sys.platform != "linux", reason="moves the cache folder by XDG_CACHE_HOME")
def test_a_strangers_cache_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stranger = os.getuid() + 1
    assert cache_dir() == tmp_path / "home" / "edge-lstm"
    monkeypatch.setattr(os, "getuid", lambda: stranger)  # now ours belongs to somebody else
    private = cache_dir()
    assert private.parent == tmp_path
    assert private.name not in ("home", f"edge-lstm-{stranger}")
