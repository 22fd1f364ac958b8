"""Compiled for a core, the exported C calls its own functions and those that copy or fill memory, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from c_programs import write
from exported_models import MODELS, NAMES, entry_points, exported
from machine_code import GCC, INDIRECT, called, gcc_image

from edge_lstm.export import c99
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.elf import Image
from edge_lstm.firmware_sim.isa import forbidden_instructions
from edge_lstm.firmware_sim.toolchain import compile_device

OWN = re.compile(r"m_\w+|differs")  # with what a compiler appends to the name of a part or a copy
MEMORY = re.compile(r"mem(cpy|move|set)|__aeabi_mem(cpy|move|set|clr)[48]?")
TEMPLATES = Path(c99.__file__).parent / "templates"


def foreign(image: Image) -> set[str]:
    """Calls of what is neither the model's nor a memory function, as 'caller: called'."""
    return {
        f"{function}: {target}"
        for function, targets in called(image).items()
        for target in targets
        if not OWN.fullmatch(target.partition(".")[0]) and not (MEMORY.fullmatch(target) and image.symbol_size(target))
    }


def sources_of(name: str, folder: Path) -> list[Path]:
    return [path for path in write(exported(name), folder) if path.name != "m_example.c"]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NAMES)
def test_no_call_leaves_the_model(name: str, core: str, tmp_path: Path) -> None:
    sources, entries = sources_of(name, tmp_path), entry_points(MODELS[name]())
    for optimize in ("-O2", "-Os"):
        path = compile_device(
            CORES[core],
            sources,
            tmp_path / "m.elf",
            include_dirs=[tmp_path],
            entry_points=entries,
            optimize=optimize,
        )
        image = Image.read(path)
        assert set(entries) <= set(called(image))
        assert foreign(image) == set()
        assert forbidden_instructions(image, CORES[core]) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NAMES)
def test_no_call_leaves_the_model_in_code_of_gcc(name: str, core: str, tmp_path: Path) -> None:
    sources, entries = sources_of(name, tmp_path), entry_points(MODELS[name]())
    for optimize in ("-O0", "-O2", "-Os"):
        image = gcc_image(CORES[core], sources, tmp_path / "m.elf", optimize, entry_points=entries)
        assert foreign(image) == set()
        assert forbidden_instructions(image, CORES[core]) == []


def test_the_models_use_every_helper_and_macro() -> None:
    names = set(re.findall(r'uses\("(\w+)"\)', "".join(p.read_text() for p in TEMPLATES.glob("*.j2"))))
    texts = "".join(exported(name)["m.c"] for name in MODELS)
    assert len(names) > 10
    assert {name for name in names if not re.search(rf"\b[mM]_{name}\b", texts)} == set()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("int f(int a) { return a * a; }", set()),
        ("int f(int a) { return m_own(a) + 1; }", set()),
        ("int f(int a) { return other(a) + 1; }", {"f: other"}),
        ("int f(int a) { return other(a); }", {"f: other"}),  # a jump
        ("int f(int a) { return ((int (*)(int))a)(1) + 1; }", {f"f: {INDIRECT}"}),
    ],
    ids=["nothing", "own", "foreign", "jump", "indirect"],
)
def test_planted_calls_are_found(body: str, found: set[str], tmp_path: Path) -> None:
    source = tmp_path / "f.c"
    callees = (
        "__attribute__((noinline)) int m_own(int a) { return a ^ 5; }\n"
        "__attribute__((noinline)) int other(int a) { return a ^ 7; }\n"
    )
    source.write_text(f"int f(int a);\nint m_own(int a);\nint other(int a);\n{callees}{body}\n")
    for core in CORES.values():
        path = compile_device(core, [source], tmp_path / "f.elf", entry_points=["f", "m_own", "other"])
        assert foreign(Image.read(path)) == found
