"""Kernels of the C export for cores with Thumb-1 alone, on an emulated Cortex-M0+: what they refuse, give and cost."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_programs import body_of, extremes, on_device, unit_program
from kernels import GATES, SHAPES, measured, quantized, random_model, random_network, random_windows
from test_kernels_cost import GCC, compile_with_gcc

from edge_lstm.backends import backend
from edge_lstm.cost import simulate
from edge_lstm.export.c99_kernels import branch
from edge_lstm.export.kernels import v6m_loop
from edge_lstm.export.kernels.groups import MOST_ROWS, row_groups
from edge_lstm.export.kernels.v6m_bytes import BYTES
from edge_lstm.export.kernels.v6m_nibbles import LANES, NIBBLES
from edge_lstm.export.kernels.v6m_rows import RESULTS, UNROLLED, RowCode, RowKernel
from edge_lstm.export.kernels.v6m_selection import bytes_refusal, kernel_of, nibbles_refusal, sums_refusal
from edge_lstm.export.kernels.v6m_sums import SUMS
from edge_lstm.lower import lower
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Port, Program, State
from edge_lstm.runtime import execute

CORE = "cortex-m0plus"
KERNELS = (BYTES, SUMS, NIBBLES, LANES)
MOST = {
    "hard i, f, o": (22_000, 72_000, 5_800, 215_000, 15_000),
    "hard i, f, o, weights of 4 bits": (14_274, 48_000, 4_000, 148_000, 10_500),
    "soft, interpolated": (25_000, 78_000, 7_300, 228_000, 17_000),
}
MOST_WHERE_SUMS_FIT = (10_900, 33_800, 3_200, 99_100, 7_400)
UNITS = 3


def rows_of(
    rows: int, columns: int, *, bits: int = 8, most: int = 127, lo: int = -127, hi: int = 127, seed: int = 0
) -> Program:
    """So many products of one vector, each of which is a state."""
    rng, name = np.random.default_rng(seed), f"p{rows}_{columns}_{bits}_{most}"
    x = Port(f"{name}.x", columns, lo, hi)
    constants, made, states = dict[str, np.ndarray](), list[Instruction](), list[State]()
    for k in range(rows):
        weights = rng.integers(-most, most + 1, (UNITS, columns))
        weights[0] = rng.choice([-most, most], columns)
        constants |= {f"{name}.W{k}": weights.astype(np.int32), f"{name}.b{k}": rng.integers(-99, 99, UNITS, np.int32)}
        attributes = {"weights": f"{name}.W{k}", "bias": f"{name}.b{k}"} | ({"bits": bits} if bits != 8 else {})
        made.append(Instruction(Op.MATVEC, f"{name}.a{k}", (x.name,), attributes))
        states.append(State(Port(f"{name}.s{k}", UNITS, -(2**31), 2**31 - 1), made[-1].out))
    return Program(name, (x,), tuple(states), (), constants, tuple(made))


def kernels_of(program: Program) -> list[RowKernel | None]:
    return [kernel_of(program, group) for group in row_groups(program.instructions)]


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 8, 9, 15, 16, 17, 23, 41])
def test_products_of_every_kernel_for_all_numbers_of_rows(columns: int, tmp_path: Path) -> None:
    all_rows = range(1, MOST_ROWS + 1)
    programs = [
        *(rows_of(r, columns) for r in all_rows),
        *(rows_of(r, columns, most=6) for r in all_rows),
        *(rows_of(r, columns, bits=4, most=5) for r in all_rows),
        *(rows_of(r, columns, bits=4, most=7) for r in all_rows),
    ]
    assert {k for p in programs for k in kernels_of(p)} >= {BYTES, SUMS, NIBBLES, LANES} or columns < 3
    assert all(on_device(programs, [extremes(p, 6) for p in programs], tmp_path, core=CORE))


def test_what_does_not_fit_is_computed_otherwise(tmp_path: Path) -> None:
    programs = [
        rows_of(4, 33, bits=4, most=7, hi=32767),
        rows_of(2, 3, lo=-(2**20), hi=2**20),
        rows_of(3, 9, bits=2, most=1),
    ]
    assert [kernels_of(p) for p in programs] == [[NIBBLES], [BYTES], [None]]
    assert all(on_device(programs, [extremes(p, 6) for p in programs], tmp_path, core=CORE))


@pytest.mark.parametrize(
    ("program", "refusals"),
    [
        (rows_of(2, 8, most=6), (None, None, r"^\S+ has weights of 8 bits; the kernel takes 4$")),
        (rows_of(1, 8, most=6), (None, r"^\S+.a0 is alone$", "8 bits")),
        (rows_of(2, 41), (None, r"^\S+ reaches \[-\d+, \d+\]; the kernel takes less than 32768 either way$", "8 bits")),
        (
            rows_of(2, 8, most=200),
            (*[r"^\S+ has weights from -\d+ to 200; a kernel takes -128 to 127$"] * 2, "8 bits"),
        ),
        (rows_of(2, 8, most=7, bits=4), (*[r"^\S+ has weights of 4 bits; the kernel takes 8$"] * 2, None)),
        (
            rows_of(2, 513, most=7, bits=4, hi=32767),
            ("4 bits", "4 bits", r"^\S+.x has elements of up to 16809471 in sum; the kernel takes less than 16777216$"),
        ),
    ],
    ids=["fits", "alone", "sums", "weights", "4 bits", "long"],
)
def test_a_kernel_refuses_what_it_cannot_compute(program: Program, refusals: tuple[str | None, ...]) -> None:
    (group,) = row_groups(program.instructions)
    found = [refusal(program, group) for refusal in (bytes_refusal, sums_refusal, nibbles_refusal)]
    for sentence, pattern in zip(found, refusals, strict=True):
        assert (sentence is None) == (pattern is None), sentence
        assert pattern is None or re.search(pattern, sentence or "")


def test_the_limit_of_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """258 times 127 and 1 are 32767, which fits; one more column of 1 passes it, and gives what is wrong."""
    largest, passed = (equal_rows(columns) for columns in (258, 259))
    x = [{p.inputs[0].name: np.full((1, p.inputs[0].length), 127, np.int32)} for p in (largest, passed)]
    assert [kernels_of(p) for p in (largest, passed)] == [[SUMS], [BYTES]]
    assert on_device([largest, passed], x, tmp_path, core=CORE) == [True, True]
    monkeypatch.setattr(v6m_loop, "kernel_of", lambda *_: SUMS)
    assert on_device([largest, passed], x, tmp_path, core=CORE) == [True, False]


def equal_rows(columns: int) -> Program:
    """Two rows of weights 1, and bias 1."""
    program = rows_of(2, columns, most=1)
    constants = {name: np.ones_like(values) for name, values in program.constants.items()}
    return replace(program, constants=constants)


@pytest.mark.parametrize("defines", [(), ("M_PLAIN_C",)], ids=["kernels", "plain"])
def test_random_programs_on_the_core_are_those_in_numpy(defines: tuple[str, ...], tmp_path: Path) -> None:
    programs = [unit_program(number) for number in range(12 if defines else 60)]
    assert all(on_device(programs, [extremes(p, 6) for p in programs], tmp_path, *defines, core=CORE))


def test_the_comparison_finds_a_wrong_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backwards = replace(BYTES, pack=lambda weights, biases: BYTES.pack([w[:, ::-1] for w in weights], biases))
    monkeypatch.setattr(v6m_loop, "kernel_of", lambda *_: backwards)
    program = rows_of(4, 9)
    assert on_device([program], [extremes(program, 6)], tmp_path, core=CORE) == [False]


def test_the_random_programs_use_every_helper() -> None:
    programs = [unit_program(number) for number in range(60)]
    text = "\n".join(line for p in programs for line in branch(body_of(p).lines, "m", "V6M"))
    for helper in ("narrow_16", "index", "interpolate", "columns_s8", "columns_s16"):
        assert f"m_{helper}(" in text, helper
    assert "if (" in text
    assert "m_dot_s" not in text


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_machine_code_reads_each_column_once_and_reaches_its_branches(kernel: RowKernel) -> None:
    for rows in range(1, MOST_ROWS + 1):
        for columns in (1, UNROLLED, 2 * UNROLLED - 1, 2 * UNROLLED, 5 * UNROLLED + 3):
            code = RowCode(kernel, rows, columns, len(RESULTS) - rows)
            loop = code.lines.index("bne 1b") - code.lines.index("1:") if "1:" in code.lines else 0
            turns = code.turned // UNROLLED
            products = sum(line.startswith("muls") for line in code.lines)
            inside = sum(line.startswith("muls") for line in code.lines[: code.lines.index("bne 1b")]) if turns else 0
            lanes = kernel in (SUMS, LANES)
            assert products + inside * (turns - 1 if turns else 0) == columns * (-(-rows // 2) if lanes else rows)
            assert loop < 128, "BNE reaches 256 bytes back, two for an instruction"


@pytest.mark.parametrize("gates", MOST)
@pytest.mark.parametrize("k", range(len(SHAPES)), ids=[f"{i}-{h}" for i, h in SHAPES])
def test_instructions_per_step(gates: str, k: int) -> None:
    found = measured(SHAPES[k], GATES[gates], CORE)
    assert found.instructions_per_step_by_layer["lstm0"].max <= MOST[gates][k]
    assert found.instructions_per_step.max <= 1.05 * MOST[gates][k] + 150


@pytest.mark.parametrize("k", range(len(SHAPES)), ids=[f"{i}-{h}" for i, h in SHAPES])
def test_instructions_per_step_where_sums_fit_16_bits(k: int) -> None:
    """One weight of a row is 127, and the others are small."""
    inputs, hidden = SHAPES[k]
    network = random_network(SHAPES[k], GATES["hard i, f, o"])
    weights = dict(network.named_parameters())
    with torch.no_grad():
        w, r = weights["recurrent.0.W"], weights["recurrent.0.R"]
        largest = w.abs() == w.abs().max(dim=1, keepdim=True).values
        w.copy_(torch.where(largest, w.sign(), w * 0.2 / inputs))
        r.copy_(r.sign() * 0.5 / hidden)
        weights["recurrent.0.b"].mul_(0.1)
    model = quantized(network, 0)
    assert SUMS in kernels_of(lower(model).step)
    found = simulate(model, random_windows(inputs, np.random.default_rng(1)), device=CORE)
    assert found.instructions_per_step_by_layer["lstm0"].max <= MOST_WHERE_SUMS_FIT[k]


def test_memory_of_the_hard_gates() -> None:
    found = measured((9, 32), GATES["hard i, f, o"], CORE)
    assert found.ram_bytes["total"] <= 450
    assert found.flash_bytes["code"] + found.flash_bytes["tables"] <= 2_000


@pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")
def test_another_compiler_gives_the_same_integers_at_the_same_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gates = GATES["hard i, f, o"]
    ours = measured((9, 32), gates, CORE).instructions_per_step_by_layer["lstm0"].max
    for module in ("cost", "firmware_sim.device"):
        monkeypatch.setattr(f"edge_lstm.{module}.compile_device", compile_with_gcc)
    found = measured((9, 32), gates, CORE).instructions_per_step_by_layer["lstm0"].max
    assert found <= MOST["hard i, f, o"][0]
    assert found == pytest.approx(ours, rel=0.1)
    model = random_model((9, 32), GATES["soft, interpolated"])
    x = model.quantize_input(random_windows(9, np.random.default_rng(2)))
    wanted, given = (run(model, x, trace="states") for run in (execute, backend(CORE)))
    assert all(np.array_equal(given.trace[name], integers) for name, integers in wanted.trace.items())
