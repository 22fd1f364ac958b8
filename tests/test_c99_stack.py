"""The stack that a call takes: what gcc says of each function, and what the emulated core wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from c_programs import write
from exported_models import MODELS, NAMES, entry_points, exported
from machine_code import GCC, called, deepest, frames, gcc_image

from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.emulator import Machine

UNWRITTEN = 8
"""Bytes that a function may reserve, to keep the stack aligned, and not write."""


@pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_the_compiler_says(name: str, core: str, tmp_path: Path) -> None:
    sources = [path for path in write(exported(name), tmp_path) if path.name != "m_example.c"]
    entries = entry_points(MODELS[name]())
    image = gcc_image(CORES[core], sources, tmp_path / "m.elf", "-O2", "-fstack-usage", entry_points=entries)
    own = {function.partition(".")[0]: size for function, size in frames(tmp_path).items()}
    calls = {f.partition(".")[0]: frozenset(t.partition(".")[0] for t in to) for f, to in called(image).items()}
    machine = Machine(CORES[core], image.path)
    assert machine.call("m_selftest") == 0
    bound = deepest("m_selftest", calls, own)
    assert bound - UNWRITTEN <= machine.stack_used <= bound
