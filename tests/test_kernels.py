"""Kernels of the C export: what they refuse, how they lay weights out, and where the text has them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_programs import body_of, extremes, on_device, unit_program

from edge_lstm.export import c99
from edge_lstm.export.c99_kernels import branch
from edge_lstm.export.kernels import selection
from edge_lstm.export.kernels.dsp_halves import HALVES
from edge_lstm.export.kernels.dsp_nibbles import NIBBLES
from edge_lstm.export.kernels.dsp_pairs import PAIRS
from edge_lstm.export.kernels.dsp_rows import RowCode
from edge_lstm.export.kernels.dsp_wide import WIDE
from edge_lstm.export.kernels.groups import MOST_ROWS, RowGroup, row_groups
from edge_lstm.export.kernels.kernel import Kernel
from edge_lstm.export.kernels.selection import Operand, Operands, pairs_refusal, wide_refusal
from edge_lstm.export.kernels.targets import TARGETS
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Port, Program, State

Make = Callable[..., QuantizedModel]


def product(lo: int = -127, hi: int = 127, weight: int = 127, columns: int = 8, **attributes: int) -> Program:
    """One row of equal weights, with bias 1 in each of two units; the sum becomes the state."""
    x, s = Port("p.x", columns, lo, hi), Port("p.s", 2, -(2**31), 2**31 - 1)
    constants = {"p.W": np.full((2, columns), weight, np.int32), "p.b": np.ones(2, np.int32)}
    made = Instruction(Op.MATVEC, "p.a", ("p.x",), {"weights": "p.W", "bias": "p.b", **attributes})
    return Program("p", (x,), (State(s, "p.a"),), (), constants, (made,))


LARGEST = 520
"""Columns of 127 times 127, of which the sum and 1 are less than 2^23; one more passes it."""


@pytest.mark.parametrize(
    ("program", "pairs", "wide"),
    [
        (product(), None, None),
        (product(lo=-128), r"^p.x reaches \[-128, 127\]; the kernel takes \[-127, 127\]$", None),
        (product(columns=LARGEST), None, None),
        (product(columns=LARGEST + 1), r"^p.a reaches \[-8403208, 8403210\]; .* less than 8388608 either way$", None),
        (product(hi=32767), r"^p.x reaches \[-127, 32767\]", None),
        (product(hi=32768, weight=1), r"^p.x reaches \[-127, 32768\]", r"^p.x has 32 bits; the kernel takes 16$"),
        (product(weight=128), *[r"^p.a has weights from 128 to 128; a kernel takes -127 to 127$"] * 2),
        (product(weight=1, bits=2), *[r"^p.a has weights of 2 bits; the kernel takes 8$"] * 2),
        (product(weight=1, columns=1021), *[r"^p.x has 1021 elements; a kernel takes 1020$"] * 2),
    ],
    ids=["fits", "-128", "just below 2^23", "2^23", "a gain", "17 bits", "128", "ternary", "long"],
)
def test_a_kernel_refuses_what_it_cannot_compute(program: Program, pairs: str | None, wide: str | None) -> None:
    (group,) = row_groups(program.instructions)
    for refusal, pattern in ((pairs_refusal, pairs), (wide_refusal, wide)):
        found = refusal(program, group)
        assert (found is None) == (pattern is None), found
        assert pattern is None or re.search(pattern, found or "")
    assert kernels_of(program) == [[PAIRS] if pairs is None else [WIDE] if wide is None else []]


def kernels_of(program: Program) -> list[list[Kernel]]:
    """Of each group, those of its operands."""
    found = [selection.operands(program, g) for g in row_groups(program.instructions)]
    return [[] if of is None else list(dict.fromkeys(operand.kernel for operand in of)) for of in found]


def compute_in(monkeypatch: pytest.MonkeyPatch, chosen: Callable[[Program, RowGroup], Operands | None]) -> None:
    dsp, *others = TARGETS
    monkeypatch.setattr("edge_lstm.export.c99_body.TARGETS", (replace(dsp, operands=chosen), *others))
    monkeypatch.setattr("edge_lstm.export.kernels.dsp_loop.operands", chosen)


@pytest.mark.parametrize(("lo", "columns"), [(-128, 8), (-127, LARGEST + 1)], ids=["-128", "2^23"])
def test_what_is_refused_would_be_wrong_and_is_right_in_the_other_kernel(
    lo: int, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = product(lo=lo, columns=columns)
    x = np.array([[lo, 127] * (columns // 2) + [127] * (columns % 2), [127] * columns], np.int32)
    assert on_device([program], [{"p.x": x}], tmp_path) == [True]
    compute_in(monkeypatch, lambda _, group: (Operand(group.vector, PAIRS),))
    assert on_device([program], [{"p.x": x}], tmp_path) == [False]


def test_the_largest_sum_that_is_accepted_is_right(tmp_path: Path) -> None:
    program = product(columns=LARGEST)
    x = np.array([[127] * LARGEST, [-127] * LARGEST], np.int32)
    assert on_device([program], [{"p.x": x}], tmp_path) == [True]


def test_a_word_of_pairs_and_one_of_bytes() -> None:
    weights = np.array([[1, -2, 3, 127], [-1, 0, -127, -127]], np.int32)
    low, high = 256 * weights[:, 1] + weights[:, 0], 256 * weights[:, 3] + weights[:, 2]
    assert PAIRS.packed(weights).astype("<u4").view("<i2").tolist() == np.stack([low, high], axis=1).tolist()
    assert WIDE.packed(weights).astype("<u4").view("i1").tolist() == weights.tolist()
    assert WIDE.packed(weights[:, :3]).astype("<u4").view("i1").tolist() == [[*row[:3], 0] for row in weights.tolist()]


def gained(gain: int, largest: int = 127) -> Program:
    """A row whose vector is an input times a gain, and a small one."""
    x, y, s = Port("p.x", 1, -largest, largest), Port("p.y", 7, -127, 127), Port("p.s", 1, -(2**31), 2**31 - 1)
    constants = {"p.g": np.full(1, gain), "p.W": np.full((1, 8), -127), "p.b": np.zeros(1, np.int64)}
    made = (
        Instruction(Op.CONST, "p.k", (), {"value": "p.g"}),
        Instruction(Op.MUL, "p.gx", ("p.x", "p.k")),
        Instruction(Op.CONCAT, "p.v", ("p.gx", "p.y")),
        Instruction(Op.MATVEC, "p.a", ("p.v",), {"weights": "p.W", "bias": "p.b"}),
    )
    return Program("p", (x, y), (State(s, "p.a"),), (), {k: v.astype(np.int32) for k, v in constants.items()}, made)


@pytest.mark.parametrize(
    ("program", "kernels"),
    [
        (product(weight=7, bits=4), [NIBBLES]),
        (product(lo=-1927, hi=1927, weight=-7, columns=13, bits=4), [NIBBLES]),
        (product(lo=-1928, weight=7, bits=4), []),
        (product(lo=-1927, hi=1927, weight=7, columns=1020, bits=4), [NIBBLES]),
    ],
    ids=["8 bits", "largest", "a pair of 17 bits", "many"],
)
def test_weights_of_four_bits(program: Program, kernels: list[Kernel], tmp_path: Path) -> None:
    assert kernels_of(program) == [kernels]
    assert on_device([program], [extremes(program, 5)], tmp_path) == [True]


@pytest.mark.parametrize(
    ("program", "kernels"),
    [(gained(7), [HALVES, PAIRS]), (gained(258), [HALVES, PAIRS]), (gained(259), []), (gained(2, 128), [WIDE])],
    ids=["7", "largest product of 16 bits", "17 bits", "input of -128"],
)
def test_weights_take_a_gain_while_they_fit(program: Program, kernels: list[Kernel], tmp_path: Path) -> None:
    assert kernels_of(program) == [kernels]
    assert on_device([program], [extremes(program, 5)], tmp_path) == [True]


def test_groups_are_of_one_vector_and_no_larger_than_the_registers() -> None:
    for program in map(unit_program, range(20)):
        groups = row_groups(program.instructions)
        assert all({i.args[0] for i in g.products} == {g.vector} and len(g.products) <= MOST_ROWS for g in groups)
        products = [i.out for i in program.instructions if i.op is Op.MATVEC]
        assert sorted(i.out for g in groups for i in g.products) == sorted(products)


@pytest.mark.parametrize("kernel", [PAIRS, HALVES, WIDE, NIBBLES], ids=lambda k: k.name)
@pytest.mark.parametrize("chunks", [1, 5, 6, 11, 32, 33])
def test_a_loop_over_chunks_takes_each_once(kernel: Kernel, chunks: int) -> None:
    lines = RowCode(1, ((kernel, chunks),), 2).lines
    each = [k for k, line in enumerate(lines) if line == kernel.products(1)[0]]
    if "1:" not in lines:
        assert len(each) == chunks <= kernel.straight
        return
    begin = lines.index("2:") if "b 2f" in lines else lines.index("1:")
    at_first, of_turn = sum(k > begin for k in each), len(each)
    assert (chunks - at_first) % of_turn == 0


def test_random_programs_on_the_core_are_those_in_numpy(tmp_path: Path) -> None:
    programs = [unit_program(number) for number in range(40)]
    assert all(on_device(programs, [extremes(p, 6) for p in programs], tmp_path))


def test_random_programs_in_plain_c_on_the_core_are_those_in_numpy(tmp_path: Path) -> None:
    programs = [unit_program(number) for number in range(12)]
    assert all(on_device(programs, [extremes(p, 6) for p in programs], tmp_path, "M_PLAIN_C"))


def test_the_comparison_finds_a_wrong_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [unit_program(number) for number in range(12)]
    backwards = replace(PAIRS, pack=lambda weights: PAIRS.pack(weights[:, ::-1]))

    def chosen(program: Program, group: RowGroup) -> Operands | None:
        found = selection.operands(program, group)
        return found and tuple(replace(o, kernel=backwards) if o.kernel is PAIRS else o for o in found)

    compute_in(monkeypatch, chosen)
    assert not all(on_device(programs, [extremes(p, 6) for p in programs], tmp_path))


def test_the_random_programs_use_every_macro_both_kernels_and_plain_c() -> None:
    programs = [unit_program(number) for number in range(40)]
    kernels = {tuple(k.name for k in of) for p in programs for of in kernels_of(p)}
    assert {("pairs",), ("wide",), ("halves",), ("halves", "pairs"), ("nibbles",), ()} <= kernels
    text = "\n".join(line for p in programs for line in branch(body_of(p).lines, "m", "DSP"))
    macros = ("SATURATE", "SATURATE_SHIFTED", "SATURATE_LOW", "SATURATE_LOW_SHIFTED", "UNLESS_NEGATIVE", "IF_NEGATIVE")
    for macro in (*macros, "SCALE", "SCALE_CLEARED", "SLOPE", "HOLD"):
        assert f"M_{macro}(" in text, macro


@pytest.mark.parametrize("gates", ["hard", "soft"])
def test_code_that_traces_is_plain(gates: str, make_quantized: Make) -> None:
    model = make_quantized(gates)
    assert "M_PLAIN_C" in c99.sources(model)["m.c"]
    assert "M_PLAIN_C" not in c99.sources(model, trace="all")["m.c"]


def compiled(text: str, **values: int) -> str:
    """The text that is left by the ``#if`` of these macros, which are not nested in one another."""
    lines, kept = list[str](), True
    for line in text.splitlines():
        if line.startswith("#if ") and all(word in values for word in re.findall(r"[A-Z_][A-Z0-9_]+", line)):
            either = [[term.strip() for term in all_of.split("&&")] for all_of in line[4:].split("||")]
            kept = any(all(values[t.strip("!")] != t.startswith("!") for t in terms) for terms in either)
        elif not kept and line == "#endif":
            kept = True
        elif kept:
            lines.append(line)
    return "\n".join(lines)


@pytest.mark.parametrize(("dsp", "v6m"), [(1, 0), (0, 1), (0, 0)], ids=["DSP", "V6M", "plain"])
def test_weights_are_in_flash_once(dsp: int, v6m: int, make_quantized: Make) -> None:
    arrays = compiled(c99.sources(make_quantized("hard"))["m.c"], M_DSP=dsp, M_V6M=v6m).partition("void m_step(")[0]
    declared = re.findall(r"^static const \w+ (\w+)\[", arrays, flags=re.MULTILINE)
    kinds = ("m_lstm0_W_i", "m_lstm0_a_i_stream", "m_lstm0_a_i_rows")
    assert [declared.count(array) for array in kinds] == [not (dsp or v6m), dsp, v6m]
    assert len(declared) == len(set(declared))
    assert "m_lstm0_tanh_c" in declared
