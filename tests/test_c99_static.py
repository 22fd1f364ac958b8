"""No compiler warns about the exported C, of what many projects ask for, and MISRA's deviations are those we state."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from c_programs import WARNINGS, ZIG, compiled, write
from exported_models import NAMES, exported

PAGE = Path(__file__).parent.parent / "docs" / "misra.md"
MORE_WARNINGS = (
    *("-Wsign-conversion", "-Wundef", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wcast-qual", "-Wwrite-strings"),
    *("-Wpointer-arith", "-Wswitch-default", "-Wformat=2", "-Wvla", "-Wdouble-promotion", "-Wold-style-definition"),
)
COMPILERS: Mapping[str, list[str]] = {
    "gcc": ["gcc"],
    "clang": [*ZIG, "cc"],
    **{f"clang {core}": [*ZIG, "cc", "-target", "thumb-freestanding-eabi", f"-mcpu={core}"] for core in ("cortex_m4",)},
    **{f"gcc {core}": ["arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb"] for core in ("cortex-m4", "cortex-m0plus")},
}


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", NAMES)
def test_no_warning(name: str, compiler: str, tmp_path: Path) -> None:
    for source in write(exported(name), tmp_path):
        if source.name == "m_example.c" and "cortex" in compiler:
            continue  # it prints
        flags = ["-std=c99", "-O2", *WARNINGS, *MORE_WARNINGS]
        compiled([*COMPILERS[compiler], *flags], "-c", source, "-o", tmp_path / "m.o")


CPPCHECK = ["cppcheck", "--addon=misra", "--std=c99", "--enable=warning,portability,performance", "--quiet"]
CONFIGURATIONS: Mapping[str, list[str]] = {
    "plain C99": ["-DM_PLAIN_C", "-U__GNUC__"],
    "DSP": [f"-D{m}=1" for m in ("__GNUC__", "__OPTIMIZE__", "__thumb__", "__thumb2__", "__ARM_FEATURE_DSP")]
    + ["-D__ARM_FEATURE_UNALIGNED=1"],
    "ARMv6-M": [f"-D{m}=1" for m in ("__GNUC__", "__OPTIMIZE__", "__thumb__", "__ARM_ARCH_6M__")],
}


def deviations() -> dict[str, str]:
    """Rule to the reason that the page gives."""
    return dict(re.findall(r"^\| (\d+\.\d+) \| (.+?) \|", PAGE.read_text(), re.MULTILINE))


def reported(folder: Path, files: list[Path], options: list[str]) -> dict[str, str]:
    """Identifier of each kind of message to the first of it."""
    template = "--template={file}:{line}: [{id}]"
    line = [*CPPCHECK, *options, template, f"-I{folder}", *map(str, files)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False, cwd=folder)
    found = re.findall(r"^(.*\[([\w.-]+)\])$", done.stderr, re.MULTILINE)
    return {kind: message for message, kind in reversed(found)}


CHECKED = ("peephole ternary", "two layers", "gru int4 16 bits", "bidirectional", "decoder")


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="cppcheck is not installed")
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("name", [CHECKED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in CHECKED[1:])])
def test_every_deviation_from_misra_is_stated(name: str, configuration: str, tmp_path: Path) -> None:
    files = [path for path in write(exported(name), tmp_path) if path.name != "m_example.c"]
    found = reported(tmp_path, files, CONFIGURATIONS[configuration])
    assert any(kind.startswith("misra") for kind in found)  # the add-on ran
    stated = {f"misra-c2012-{rule}" for rule in deviations()}
    assert {kind: message for kind, message in found.items() if kind not in stated} == {}


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="cppcheck is not installed")
def test_a_planted_deviation_is_found(tmp_path: Path) -> None:
    (tmp_path / "f.c").write_text("int f(int a);\nint f(int a)\n{\n    return a + 077;\n}\n")
    assert "misra-c2012-7.1" in reported(tmp_path, [tmp_path / "f.c"], [])


def test_each_deviation_has_a_reason() -> None:
    assert len(deviations()) > 10
    assert all(len(reason) > 20 for reason in deviations().values())
