"""What the kernels cost on an emulated Cortex-M4: figures that must not be passed, from two compilers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels import BEGIN, CMSIS_NN, GATES, PAGE, SHAPES, measured, random_model, random_windows, tables

from edge_lstm import cost
from edge_lstm.backends import backend
from edge_lstm.errors import EdgeLstmError
from edge_lstm.firmware_sim import toolchain
from edge_lstm.firmware_sim.cores import Core
from edge_lstm.runtime import execute

MOST = {
    "hard i, f, o": (6_700, 21_500, 1_850, 66_000, 4_600),
    "soft, interpolated": (7_500, 23_200, 2_250, 69_100, 5_100),
}
GCC = "arm-none-eabi-gcc"


@pytest.mark.parametrize("gates", MOST)
@pytest.mark.parametrize("k", range(len(SHAPES)), ids=[f"{i}-{h}" for i, h in SHAPES])
def test_instructions_per_step(gates: str, k: int) -> None:
    found = measured(SHAPES[k], GATES[gates], "cortex-m4")
    assert found.instructions_per_step_by_layer["lstm0"].max <= MOST[gates][k]
    assert found.instructions_per_step.max <= 1.05 * MOST[gates][k] + 150


def test_memory_of_the_hard_gates() -> None:
    found = measured((9, 32), GATES["hard i, f, o"], "cortex-m4")
    assert found.ram_bytes["total"] <= 450


def compile_with_gcc(
    core: Core,
    sources: Sequence[Path],
    out: Path,
    *,
    entry_points: Sequence[str],
    include_dirs: Sequence[Path],
    optimize: str,
) -> Path:
    flags = ["-mthumb", f"-mcpu={core.zig_cpu.replace('_', '-')}", "-ffreestanding", "-nostdlib", "-ffunction-sections"]
    flags += [
        "-std=c99",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-attributes",
        "-fno-tree-loop-distribute-patterns",
    ]
    flags += ["-fdata-sections", "-Wl,--gc-sections", "-Wl,-e,0", f"-Wl,-T,{toolchain._HERE / 'cortex_m.ld'}"]
    flags += [
        "-Wl,--no-warn-rwx-segments",
        *(f"-Wl,-u,{name}" for name in entry_points),
        *(f"-I{d}" for d in include_dirs),
    ]
    files = [*map(str, sources), str(toolchain._HERE / "memory.c")]
    done = subprocess.run([GCC, *flags, optimize, *files, "-o", str(out)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgeLstmError(done.stderr)
    return out


@pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")
@pytest.mark.parametrize("gates", MOST)
def test_another_compiler_gives_the_same_integers_at_the_same_cost(gates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [measured(shape, GATES[gates], "cortex-m4") for shape in SHAPES[:3]]
    monkeypatch.setattr(cost, "compile_device", compile_with_gcc)
    monkeypatch.setattr("edge_lstm.firmware_sim.device.compile_device", compile_with_gcc)
    for k, first in enumerate(ours):
        found = measured(SHAPES[k], GATES[gates], "cortex-m4").instructions_per_step_by_layer["lstm0"].max
        assert found <= MOST[gates][k]
        assert found == pytest.approx(first.instructions_per_step_by_layer["lstm0"].max, rel=0.1)
    model = random_model((9, 32), GATES[gates])
    x = model.quantize_input(random_windows(9, np.random.default_rng(2)))
    wanted, found = (run(model, x, trace="states") for run in (execute, backend("cortex-m4")))
    assert all(np.array_equal(found.trace[name], integers) for name, integers in wanted.trace.items())


def test_the_layers_of_a_step_are_told_apart(make_quantized: Any) -> None:
    model = make_quantized("soft", layers=2)
    for core in ("cortex-m0plus", "cortex-m4"):
        x = np.zeros((1, model.signature.steps, len(model.signature.channels)))
        found = cost.simulate(model, x, device=core)
        layers = found.instructions_per_step_by_layer
        assert list(layers) == ["lstm0", "lstm1"]
        rest = found.instructions_per_step.mean - sum(layer.mean for layer in layers.values())
        assert 0 <= rest < 30


@pytest.mark.slow
def test_the_tables_of_the_benchmark_are_in_the_documentation() -> None:
    found = {core: {name: [measured((3, 16), GATES[name], core)] * len(SHAPES) for name in GATES} for core in CMSIS_NN}
    lines = tables(found)
    page = PAGE.read_text().partition(BEGIN)[2]
    assert [line for line in lines if line.startswith(("|---", "| CMSIS-NN")) and line not in page] == []
