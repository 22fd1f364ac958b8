"""Columns of zeros that are skipped on an emulated Cortex-M4: where it is refused, and what it gives and costs."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_programs import body_of, extremes, on_device
from kernels import GATES, SHAPES, random_model, random_windows, skipping, sparse_model
from test_kernels_cost import GCC, compile_with_gcc

from edge_lstm import cost
from edge_lstm.api import export_model
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import c99
from edge_lstm.export.kernels.dsp_columns import ColumnPart
from edge_lstm.export.kernels.dsp_skipping import skipping_refusal
from edge_lstm.export.kernels.groups import row_groups
from edge_lstm.export.skipping import refusals, skipped_layers
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.device import execute as on_core
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.toolchain import compile_device
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Port, Program, State
from edge_lstm.runtime import execute

CORE = CORES["cortex-m4"]
HARD, ONLY_O = GATES["hard i, f, o"], GATES["only o hard, interpolated"]
MOST = {
    0.2: (3_200, 8_200, 1_050, 22_000, 3_300),
    0.12: (2_800, 6_700, 950, 16_700, 3_150),
}
PROGRAMS = 40


def gated(number: int) -> Program:
    """One to four products of an input and of a state that a threshold selects, or of the state alone."""
    rng = random.Random(number)
    name, units, rows = f"s{number}", rng.choice((1, 2, 3, 5, 8, 9, 17)), rng.randint(1, 4)
    limits = rng.choice(((-127, 127), (-128, 127), (-9000, 9000)))
    x = Port(f"{name}.x", rng.choice((1, 3, 4, 12, 13, 26)), *limits)
    most_h = rng.choice((127, 2000))
    h, s = Port(f"{name}.h", units, -most_h, most_h), Port(f"{name}.s", units, -32768, 32767)
    constants, made = dict[str, np.ndarray](), list[Instruction]()

    def emit(op: Op, *arguments: str, **attributes: int | str) -> str:
        made.append(Instruction(op, f"{name}.v{len(made)}", arguments, attributes))
        return made[-1].out

    def constant(values: Any) -> str:
        constants[key := f"{name}.k{len(constants)}"] = np.array(values, np.int32)
        return key

    parts = rng.choice(((x, h), (h, x), (h,)))
    vector = emit(Op.CONCAT, *(p.name for p in parts)) if len(parts) > 1 or rng.random() < 0.5 else h.name
    most = 127 if most_h == 127 else 20
    sums = list[str]()
    for _ in range(rows):
        bias = constant([rng.choice((-9000, 0, 9000)) + rng.randint(-2000, 2000) for _ in range(units)])
        columns = sum(p.length for p in parts)
        weights = constant([[rng.choice((-most, most, rng.randint(-most, most))) for _ in range(columns)]] * units)
        sums.append(emit(Op.MATVEC, vector, weights=weights, bias=bias))
    gate = emit(Op.THRESHOLD, rng.choice(sums))
    if rng.random() < 0.3:
        gate = emit(Op.SUB, emit(Op.CONST, value=constant(np.ones(units))), gate)
    total = s.name
    for z in sums:
        term = emit(Op.SATURATE, emit(Op.SHIFT_RIGHT_HALF_UP, z, n=5), lo=-32768, hi=32767)
        if rng.random() < 0.5:
            term = emit(Op.SELECT, emit(Op.THRESHOLD, rng.choice(sums)), term)
        total = emit(Op.SATURATE, emit(Op.ADD, total, term), lo=-32768, hi=32767)
    following = emit(Op.SELECT, gate, emit(Op.SATURATE, total, lo=-most_h, hi=most_h))
    return Program(name, (x,), (State(h, following), State(s, total)), (), constants, tuple(made))


def refusal(program: Program) -> str | None:
    (group,) = row_groups(program.instructions)
    return skipping_refusal(program, group)


@pytest.fixture(scope="module")
def programs() -> list[Program]:
    return [gated(number) for number in range(PROGRAMS)]


@pytest.mark.parametrize("defines", [(), ("M_CONSTANT_TIME",), ("M_PLAIN_C",)], ids=str)
def test_random_programs_are_those_in_numpy(defines: tuple[str, ...], programs: list[Program], tmp_path: Path) -> None:
    assert all(on_device(programs, [extremes(p, 8) for p in programs], tmp_path, *defines, skip=True))


def test_most_random_programs_skip_and_some_are_refused(programs: list[Program]) -> None:
    skipped = [p for p in programs if refusal(p) is None]
    assert PROGRAMS / 2 < len(skipped) < PROGRAMS
    for program in programs:
        assert any("_sparse_" in line for line in body_of(program, skip=True).lines) == (program in skipped)
        assert not any("_sparse_" in line for line in body_of(program).lines)
    for part in ("sparse_0_s8_", r"sparse_\d+_s8_", r"sparse_\d+_s16_", "nonzero_s8", "nonzero_s16"):
        assert any(re.search(part, line) for p in skipped for line in body_of(p, skip=True).lines), part


def test_the_comparison_finds_a_wrong_kernel(
    programs: list[Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ColumnPart.words
    monkeypatch.setattr(ColumnPart, "words", lambda self, program: right(self, program) + 1)
    found = on_device(programs, [extremes(p, 8) for p in programs], tmp_path, skip=True)
    same = [equal for equal, program in zip(found, programs, strict=True) if refusal(program) is None]
    assert sum(same) < len(same) / 4


def test_what_is_refused() -> None:
    of = {"x": Port("p.x", 3, -127, 127), "h": Port("p.h", 2, -127, 127)}

    def program(weight: int = 1, gate: Op = Op.SELECT, bits: int = 8, **ports: Port) -> Program:
        x, h = {**of, **ports}.values()
        columns = x.length + h.length
        constants = {"p.W": np.full((2, columns), weight, np.int32), "p.b": np.ones(2, np.int32)}
        made = (
            Instruction(Op.CONCAT, "p.v", ("p.x", "p.h"), {}),
            Instruction(Op.MATVEC, "p.a", ("p.v",), {"weights": "p.W", "bias": "p.b", "bits": bits}),
            Instruction(Op.THRESHOLD, "p.o", ("p.a",), {}),
            Instruction(Op.SATURATE, "p.l", ("p.a",), {"lo": -127, "hi": 127}),
            Instruction(gate, "p.n", ("p.o", "p.l"), {}),
        )
        return Program("p", (x,), (State(h, "p.n"),), (), constants, made)

    assert refusal(program()) is None
    assert refusal(program(gate=Op.MUL)) == "no hard gate makes elements of p.v 0"
    assert "weights of 4 bits; the kernel takes 8" in str(refusal(program(weight=7, bits=4)))
    assert refusal(program(x=Port("p.x", 3, 0, 40000))) == "p.x has 32 bits; the kernel takes 8 or 16"
    assert "less than 8388608 either way" in str(refusal(program(weight=127, x=Port("p.x", 3, -32000, 32000))))
    assert refusal(program(weight=127, x=Port("p.x", 518, -127, 127))) is None
    assert "less than 8388608 either way" in str(refusal(program(weight=127, x=Port("p.x", 519, -127, 127))))
    assert "has 1021 elements; a kernel takes 1020" in str(refusal(program(x=Port("p.x", 1019, -127, 127))))


def with_bias_of_o(model: QuantizedModel, added: int) -> QuantizedModel:
    (layer,) = model.layers
    o = layer.blocks["o"]
    blocks = {**layer.blocks, "o": replace(o, bias=(o.bias + added).astype(np.int32))}
    return replace(model, layers=(replace(layer, blocks=blocks),))


def equal_on_the_core(model: QuantizedModel, x: np.ndarray, layers: set[str]) -> bool:
    wanted, found = execute(model, x, trace="states"), on_core(CORE, model, x, trace="states", skip=layers)
    pairs = [(wanted.trace, found.trace), (wanted.state, found.state), (wanted.outputs, found.outputs)]
    return all(np.array_equal(found[name], values) for wanted, found in pairs for name, values in wanted.items())


@pytest.mark.parametrize(
    ("shape", "gates"), [((9, 32), HARD), ((9, 32), ONLY_O), ((13, 7), HARD), ((1, 1), HARD)], ids=str
)
def test_models_of_which_all_some_or_no_hidden_values_are_zero(shape: tuple[int, int], gates: Any) -> None:
    model = random_model(shape, gates, seed=2)
    x = model.quantize_input(random_windows(shape[0], np.random.default_rng(1)))
    x = np.concatenate([x, np.where(x > 0, 127, -127)]).astype(np.int32)
    for added in (-9000, 10**6, -(10**6)):
        assert equal_on_the_core(with_bias_of_o(model, added), x, {"lstm0"})


@pytest.mark.parametrize("options", [{"layers": 2}, {"cell": "cifg"}, {"cell": "peephole"}], ids=str)
def test_other_models(options: dict[str, Any], make_quantized: Callable[..., QuantizedModel]) -> None:
    model = make_quantized("hard", **options)
    layers = skipped_layers(model, True)
    assert layers == set(refusals(model))
    x = np.random.default_rng(0).integers(-127, 128, (3, model.signature.steps, len(model.signature.channels)))
    assert equal_on_the_core(model, x.astype(np.int32), set(layers))


@pytest.mark.parametrize("kind", ["clip", "bidirectional stack", "decoder"])
@pytest.mark.parametrize("skip", [None, True], ids=["dense", "skipping"])
def test_forms(kind: str, skip: bool | None, make_quantized_form: Callable[..., QuantizedModel]) -> None:
    model = make_quantized_form(kind, "hard")
    shape = (3, model.signature.steps, len(model.signature.channels))
    x = np.random.default_rng(0).integers(-127, 128, shape).astype(np.int32)
    wanted, found = execute(model, x), on_core(CORE, model, x, skip=skipped_layers(model, skip))
    assert all(np.array_equal(found.outputs[name], values) for name, values in wanted.outputs.items())


@pytest.mark.parametrize("share", MOST)
@pytest.mark.parametrize("k", range(len(SHAPES)), ids=[f"{i}-{h}" for i, h in SHAPES])
def test_instructions_per_step(share: float, k: int) -> None:
    found = skipping(SHAPES[k], HARD, share)
    assert share - 0.01 < found.nonzero_hidden <= share
    assert found.instructions_per_step_by_layer["lstm0"].mean <= MOST[share][k]


def test_instructions_where_only_o_is_hard_and_memory() -> None:
    assert skipping((9, 32), ONLY_O, 0.2).instructions_per_step_by_layer["lstm0"].mean <= 4_300
    assert skipping((9, 32), HARD, 0.2).ram_bytes["total"] <= 650


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")
def test_another_compiler_gives_the_same_integers_at_the_same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [skipping(shape, HARD, 0.2) for shape in SHAPES[:3]]
    monkeypatch.setattr(cost, "compile_device", compile_with_gcc)
    monkeypatch.setattr("edge_lstm.firmware_sim.device.compile_device", compile_with_gcc)
    for shape, first in zip(SHAPES, ours, strict=False):
        found = skipping(shape, HARD, 0.2).instructions_per_step_by_layer["lstm0"].mean
        assert found == pytest.approx(first.instructions_per_step_by_layer["lstm0"].mean, rel=0.1)
    model = sparse_model((9, 32), HARD, 0.2)
    assert equal_on_the_core(model, model.quantize_input(random_windows(9, np.random.default_rng(1))), {"lstm0"})


def test_constant_time_takes_as_many_instructions_at_each_step(tmp_path: Path) -> None:
    model = random_model((9, 32), HARD)
    for name, text in c99.sources(model, skip={"lstm0"}).items():
        (tmp_path / name).write_text(text)
    x = model.quantize_input(random_windows(9, np.random.default_rng(1)))[0].astype(np.int8)
    counts = {}
    for defines in ((), ("M_CONSTANT_TIME",)):
        options: dict[str, Any] = {"include_dirs": [tmp_path], "defines": defines}
        image = compile_device(CORE, [tmp_path / "m.c"], tmp_path / "m.elf", entry_points=["m_step"], **options)
        machine = Machine(CORE, image)
        sizes = c99.memory(model, CORE.kernels, {"lstm0"})
        state, scratch, samples = (machine.alloc(n) for n in (sizes["state"], sizes["scratch"], x.nbytes))
        machine.write(samples, x.tobytes())
        machine.write(state, bytes(sizes["state"]))
        counts[defines] = []
        for t in range(len(x)):
            machine.call("m_step", state, scratch, samples + t * x[0].nbytes)
            counts[defines].append(machine.instructions)
    first, constant = counts.values()
    assert len(set(first)) > 1
    assert len(set(constant)) == 1


def test_what_is_saved_of_a_state_does_not_depend_on_the_strategy() -> None:
    model = random_model((3, 16), HARD)
    headers = [c99.sources(model, skip=skip)["m.h"] for skip in ((), {"lstm0"})]
    sizes = [re.findall(r"#define M_(?:STATE|SAVED)_BYTES \d+", header) for header in headers]
    assert sizes[0] == sizes[1]
    assert len(sizes[0]) == 2


def test_layers_are_chosen_by_what_is_asked_for_or_by_recordings() -> None:
    x = random_windows(3, np.random.default_rng(1))
    sparse, soft = sparse_model((3, 16), HARD, 0.12), random_model((3, 16), GATES["soft, interpolated"])
    dense = with_bias_of_o(random_model((3, 16), ONLY_O), 10**6)
    assert skipped_layers(sparse) == skipped_layers(sparse, False, x=x) == skipped_layers(dense, x=x) == set()
    assert skipped_layers(sparse, x=x) == skipped_layers(sparse, True) == skipped_layers(dense, True) == {"lstm0"}
    assert skipped_layers(soft, x=x) == set()
    with pytest.raises(EdgeLstmError, match=r"^no layer of m can skip columns: lstm0: no hard gate makes elements of"):
        skipped_layers(soft, True)


def test_an_exported_model_skips_or_says_why_not(tmp_path: Path, make_quantized: Callable[..., Any]) -> None:
    sparse = sparse_model((3, 16), HARD, 0.12)
    window = random_windows(3, np.random.default_rng(1))[0]
    for skip, given, skips in ((None, window, True), (None, None, False), (False, window, False), (True, None, True)):
        export_model(sparse, format="c99", out=tmp_path / "out", window=given, skip=skip)
        assert ("m_sparse_3_s8_16(" in (tmp_path / "out" / "m.c").read_text()) is skips
    export_model(sparse, format="c99", out=tmp_path / "out", window=window, flash=10**6)
    assert "m_sparse_" not in (tmp_path / "out" / "m.c").read_text()
    with pytest.raises(EdgeLstmError, match="skip are of C; format integer-onnx has none"):
        export_model(sparse, format="integer-onnx", out=tmp_path / "onnx", skip=True)
    text = c99.sources(make_quantized("hard"), skip={"other"})["m.c"]
    assert "skips no columns" not in text
    soft = c99.sources(make_quantized("soft"), skip={"lstm0"})["m.c"]
    assert " * lstm0 skips no columns: no hard gate makes elements of lstm0.v 0." in soft
