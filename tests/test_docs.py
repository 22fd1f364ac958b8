"""The documents agree with the code: what they generate from it is up to date, and their programs run as they stand.

``python tests/test_docs.py`` writes the generated parts of docs/ARITHMETIC.md anew.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edge_lstm import lower as lowering
from edge_lstm import luts, ops, step_error
from edge_lstm.backends import backend
from edge_lstm.blocks import GATE, WEIGHT_MAX
from edge_lstm.cells import CELLS, Cell
from edge_lstm.fixedpoint import QFormat, shift_right_floor, shift_right_half_up
from edge_lstm.gates import STEPS, parse_gates
from edge_lstm.integer_graph import lowering as graph_lowering
from edge_lstm.integer_model import ACTIVATION_BITS
from edge_lstm.layers import FloatLayer
from edge_lstm.lower import lower
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ops import NUMPY, RANGES, Interval, Op
from edge_lstm.program import Executor, Port, Program, ProgramBuilder
from edge_lstm.ptq import quantize
from edge_lstm.ratio import ratio
from edge_lstm.requantize import Requantize
from edge_lstm.rows import BIAS_MAX
from edge_lstm.signature import Signature

ROOT = Path(__file__).parent.parent
ARITHMETIC = ROOT / "docs" / "ARITHMETIC.md"
ADD_A_CELL = ROOT / "docs" / "add-a-cell.md"
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
PART = re.compile(r"(?<=<!-- generated: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def fenced(text: str) -> str:
    return f"```\n{text.rstrip()}\n```\n"


def power(v: int) -> str:
    """An integer by its powers of two where it is large: -4294967297 is -2^32 - 1."""
    terms = ""
    while abs(v) >= 2**20:
        exponent = round(math.log2(abs(v)))
        terms += f" {'-' if v < 0 else '+'} 2^{exponent}"
        v += 2**exponent if v < 0 else -(2**exponent)
    if v or not terms:
        terms += f" {'-' if v < 0 else '+'} {abs(v)}"
    sign, _, rest = terms.strip().partition(" ")
    return f"-{rest}" if sign == "-" else rest


# --- the generated parts ---------------------------------------------------------------------------


def rounding() -> str:
    values, shifts = np.arange(-7, 8), (1, 2, 3)
    head = ["v", *(f"floor, n = {n}" for n in shifts), *(f"half_up, n = {n}" for n in shifts)]
    columns = [shift(values, n) for shift in (shift_right_floor, shift_right_half_up) for n in shifts]
    return table(head, zip(values, *columns, strict=True))


def requantization() -> str:
    factor, largest = 0.00271828, 60_000
    found = Requantize.from_real(np.array([factor]), largest)
    p, q, m = found.pre_shift, found.post_shift, int(found.multiplier[0])
    rows = []
    for a in (60_000, 12_345, 1_000, 184, 183, -183, -184, -1_000, -60_000):
        narrow = a >> p
        result = (narrow * m + ((1 << q) >> 1)) >> q
        bound = 0.5 + abs(narrow) / 2 ** (q + 1) + factor * (2**p - 1)
        assert abs(result - a * factor) <= bound
        rows.append((a, narrow, narrow * m, result, f"{a * factor:.3f}", f"{bound:.3f}"))
    parameters = f"F = {factor}, largest accumulator {largest}: p = {p}, m = {m}, q = {q}.\n\n"
    head = ("a", "a >> p", "(a >> p) m", "result", "exact a F", "bound (A16)")
    return parameters + table(head, rows)


def widths() -> str:
    def columns(weight_bits: int, activation_bits: int) -> str:
        each = WEIGHT_MAX[weight_bits] * (2 ** (activation_bits - 1) - 1)
        return f"{(2**31 - 1 - BIAS_MAX) // each:,}"

    rows = [(f"{w} bits", *(columns(w, a) for a in ACTIVATION_BITS)) for w in WEIGHT_MAX]
    return table(("weights", *(f"{a}-bit activations" for a in ACTIVATION_BITS)), rows)


def quotients() -> str:
    """Of sums of h, in Q0.7, by the number of steps: the mean in Q0.15."""
    rows, steps = [], 100
    for v, w in ((127, 1), (-127, 3), (50, 7), (1000, 33), (4321, 64), (-6350, 99), (12700, 100)):
        builder = ProgramBuilder("mean")
        ports = [builder.port(Port(n, 1, -127 * steps, 127 * steps)) for n in ("v", "w")]
        ratio(builder, "q", "v", "w", least=1, most=steps, bound=127, shift=8)
        program = Program("mean", tuple(ports), (), ("q.ratio",), builder.constants, tuple(builder.instructions))
        values = Executor(program, NUMPY)({"v": np.array([v], np.int32), "w": np.array([w], np.int32)})
        found = {name: int(values[f"q.{name}"][0]) for name in ("index", "reciprocal", "ratio")}
        rows.append((v, w, found["index"], found["reciprocal"], found["ratio"], f"{v * 256 / w:.3f}"))
    text = "A sum v of h in Q0.7 over w steps, of at most 100, so B = 7; its mean in Q0.15:\n\n"
    head = ("v", "w", "w, doubled, in 15 bits", "r", "(14)", "exact")
    return text + table(head, rows)


def activations() -> str:
    rows = []

    def add(what: object, form: str, fmt: object, largest: float, mean: float) -> None:
        rows.append((what, form, fmt, f"{largest:.2g}", f"{mean:.2g}"))

    for function, output in (
        ("sigmoid", GATE),
        ("tanh", GATE),
        ("tanh", QFormat(8, 7, symmetric=True)),
        ("squash1", GATE),
        ("squash2", QFormat(16, 13)),
    ):
        for form, bits in (("nearest", 0), ("interpolated", luts.BETWEEN_BITS)):
            made = luts.build(function, output, between_bits=bits)
            add(function, form, output, luts.largest_error(made), luts.mean_error(made))
        made = luts.build_linear(function, output)
        add(function, "linear", output, luts.largest_error(made), luts.mean_error(made))
    relu = luts.build_linear("relu", QFormat(8, 4, symmetric=True))
    add("relu", "linear", relu.output, luts.largest_error(relu), luts.mean_error(relu))
    z = np.linspace(-8, 8, 2**16)  # an even number of points: none of them at a step
    for mode in STEPS:
        error = np.abs(luts.gate(mode, z) - luts.sigmoid(z))
        add("sigmoid", f"{len(STEPS[mode])} step{'s' if len(STEPS[mode]) > 1 else ''} ({mode})", "", *_summary(error))
    return table(("function", "form", "format", "largest error", "mean error"), rows)


def _summary(error: np.ndarray) -> tuple[float, float]:
    return float(error.max()), float(error.mean())


class Sample(NamedTuple):
    """Operands and attributes for which an operation is shown."""

    lows: tuple[int, ...]
    highs: tuple[int, ...]
    attributes: Mapping[str, Any] = {}


V, VW = Sample((-100,), (50,)), Sample((-100, -3), (50, 7))
SQUARES = np.arange(16, dtype=np.int32) ** 2
SAMPLES: Mapping[Op, Sample] = {
    Op.CONST: Sample((), (), {"value": np.array([5], np.int32)}),
    Op.CONCAT: VW,
    Op.MATVEC: V._replace(attributes={"weights": np.array([[-3]], np.int8), "bias": np.array([5], np.int32)}),
    Op.ADD: VW,
    Op.SUB: VW,
    Op.MAX: VW,
    Op.MUL: VW,
    Op.SHIFT_RIGHT_FLOOR: V._replace(attributes={"n": 3}),
    Op.SHIFT_RIGHT_HALF_UP: V._replace(attributes={"n": 3}),
    Op.SATURATE: V._replace(attributes={"lo": -8, "hi": 127}),
    Op.THRESHOLD: V,
    Op.SELECT: VW,
    Op.LUT: Sample((0,), (15,), {"table": SQUARES, "lo": 0}),
    Op.LUT_INTERP: Sample((0,), (59,), {"table": SQUARES, "lo": 0, "n": 2}),
    Op.MAX_ELEMENT: V,
    Op.ARGMAX: V,
}


def _meanings() -> dict[str, str]:
    """Member name to its docstring, the line or lines below it."""
    (body,) = (
        node.body
        for node in ast.parse(Path(ops.__file__).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Op"
    )
    return {
        member.targets[0].id: " ".join(text.value.value.split()).replace("``", "`")
        for member, text in itertools.pairwise(body)
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr)
    }


def _range(op: Op, sample: Sample, *, full: bool) -> str:
    lows, highs = ((-(2**31),), (2**31 - 1,)) if full else (sample.lows, sample.highs)
    count = len(sample.lows)
    operands = [Interval.of(lows[k % len(lows)], highs[k % len(highs)], 1) for k in range(count)]
    try:
        found = RANGES[op](*operands, **sample.attributes)
    except OverflowError as error:
        lo, hi = re.findall(r"\[([^\[\],]+), ([^\[\],]+)\]", str(error))[0]
        words = str(error).partition(" can reach")[0]
        return f"refused: {words} can reach {power(int(float(lo)))} to {power(int(float(hi)))}"
    return f"{power(int(found.lo.min()))} to {power(int(found.hi.max()))}"


def operations() -> str:
    rows, meanings = [], _meanings()
    for op in Op:
        sample = SAMPLES[op]
        arguments = " and ".join(f"{lo} to {hi}" for lo, hi in zip(sample.lows, sample.highs, strict=True)) or "none"
        given = ", ".join(f"{k} = {_short(k, v)}" for k, v in sample.attributes.items())
        example = f"{arguments}{'; ' + given if given else ''}"
        rows.append((f"`{op.value}`", meanings[op.name], example, _range(op, sample, full=False)))
        rows[-1] += (_range(op, sample, full=True) if sample.lows else "",)
    return table(("operation", "meaning", "sample operands", "range then", "with operands of any 32 bits"), rows)


def _short(name: str, value: Any) -> str:
    return "0, 1, 4, ... 225" if name == "table" else str(np.squeeze(value))


def _numbered(docstring: str | None) -> list[str]:
    """The lines of a docstring from its first numbered equation to the end of the last one's paragraph."""
    lines = (docstring or "").splitlines()
    numbered = [k for k, line in enumerate(lines) if re.match(r"\(\d+\)", line)]
    last = next(k for k in range(numbered[-1], len(lines) + 1) if k == len(lines) or not lines[k].strip())
    return lines[numbered[0] : last]


def equations() -> str:
    return fenced("\n".join(_numbered(lowering.__doc__)))


def graphs() -> str:
    return fenced("\n".join(_numbered(graph_lowering.__doc__)))


def errors() -> str:
    return fenced("\n".join(_numbered(step_error.__doc__)))


def tiny(cell: str, gates: str) -> QuantizedModel:
    """A model of 2 channels and 3 units."""
    kind, rng = CELLS[cell], np.random.default_rng(0)
    layer = FloatLayer(
        cell,
        {k: rng.normal(0, 0.8, (3, 2)) for k in kind.matrices},
        {k: rng.normal(0, 0.4, (3, 3)) for k in kind.matrices},
        {k: rng.normal(0, 0.3, 3) for k in kind.blocks},
        parse_gates(gates, kind.gates),
    )
    model = FloatModel(
        signature=Signature("tiny", ("x", "y"), ("g", "g"), 10.0, 12, ("still", "moving")),
        mean=np.zeros(2),
        std=np.ones(2),
        clip=4.0,
        layers=(layer,),
        pooling="last",
        dense_weights=rng.normal(0, 1, (2, 3)),
        dense_bias=np.zeros(2),
    )
    return quantize(model, calibration=rng.normal(0, 1, (8, 12, 2)), rounding="nearest", bias_correction=False)


def with_ranges(program: Program) -> str:
    """The Program as it prints, and behind each instruction the range that is proved for its result."""
    lines = str(program).splitlines()
    width = max(len(line) for line in lines) + 2
    for k, line in enumerate(lines):
        name = line.strip().partition(" = ")[0]
        if " = " in line and name in program.intervals:
            found = program.intervals[name]
            lines[k] = f"{line:<{width}}{int(found.lo.min()):>11} to {int(found.hi.max())}"
    return "\n".join(lines)


PARTS: Mapping[str, Callable[[], str]] = {
    "equations": equations,
    "rounding": rounding,
    "widths": widths,
    "requantization": requantization,
    "activations": activations,
    "operations": operations,
    "errors": errors,
    "graphs": graphs,
    "lstm": lambda: fenced(with_ranges(lower(tiny("lstm", "hard")).step)),
    "ratio": quotients,
    "gru": lambda: fenced(with_ranges(lower(tiny("gru", "soft")).step)),
}


def regenerated(text: str) -> str:
    return PART.sub(lambda part: part[1] + part[2] + PARTS[part[1]](), text)


# --- the tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PARTS)
def test_the_generated_parts_are_what_the_code_gives(name: str) -> None:
    (part,) = (found[0] for found in PART.finditer(ARITHMETIC.read_text()) if found[1] == name)
    assert part == f"{name} -->\n{PARTS[name]()}", "run `python tests/test_docs.py`"


def test_every_sample_of_an_operation_stays_in_the_range_that_is_shown() -> None:
    assert set(SAMPLES) == set(Op)
    for op, sample in SAMPLES.items():
        operands = [Interval.of(lo, hi, 1) for lo, hi in zip(sample.lows, sample.highs, strict=True)]
        bound = RANGES[op](*operands, **sample.attributes)
        for ends in (sample.lows, sample.highs):
            found = NUMPY[op](*(np.array([v], np.int32) for v in ends), **sample.attributes)
            assert (bound.lo <= found).all(), op
            assert (found <= bound.hi).all(), op


def test_the_page_explains_every_equation_of_the_code_under_its_number() -> None:
    prose = PART.sub("", ARITHMETIC.read_text())
    for module in (lowering, step_error):
        numbers = re.findall(r"^\((\d+)\)", "\n".join(_numbered(module.__doc__)), re.MULTILINE)
        assert [n for n in numbers if f"({n})" not in prose] == []


def test_the_page_numbers_its_own_equations_in_order_and_refers_to_none_that_is_missing() -> None:
    text = ARITHMETIC.read_text()
    defined = [int(n) for n in re.findall(r"^\(A(\d+)\)", text, re.MULTILINE)]
    assert defined == list(range(1, len(defined) + 1))
    assert {int(n) for n in re.findall(r"\(A(\d+)\)", text)} == set(defined)


def test_every_rule_that_the_code_refers_to_is_stated() -> None:
    text = ARITHMETIC.read_text()
    stated = set(re.findall(r"^\| (R\d) \|", text, re.MULTILINE))
    sources = [p for folder in ("edge_lstm", "export", "firmware_sim") for p in (ROOT / folder).rglob("*.py")]
    used = {rule for path in sources for rule in re.findall(r"\b(?:rule )?(R[1-9])\b(?=[):]| and)", path.read_text())}
    assert used
    assert used <= stated


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        assert not file or (page.parent / file).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (page.parent / file if file else page).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_a_cell_in_one_file_runs_in_every_backend(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", ADD_A_CELL.read_text(), re.MULTILINE | re.DOTALL)
    assert len(program.splitlines()) < 80
    (tmp_path / "mgu.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "mgu.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^numpy, onnxruntime, c, cortex-m4, torch: all [\d,]+ integers equal$", done.stdout, re.MULTILINE)
    assert {p.name for p in (tmp_path / "firmware").iterdir()} >= {"basic_motions.c", "basic_motions.h"}


@pytest.mark.parametrize("gates", ["soft", "hard"])
def test_a_cell_needs_no_c_and_no_output_gate(gates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def equations(m: Any, last: Any) -> dict[str, Any]:
        f = m.gate("f", m.affine("f"))
        n = m.squash("n", m.affine("n", f * last["h"]))
        return {"h": m.state("h", (1 - f) * last["h"] + f * n)}

    monkeypatch.setitem(CELLS, "plain", Cell("plain", ("f", "n"), ("f",), ("h",), {"n": ("tanh", "h")}, equations))
    model = tiny("plain", gates)
    x = np.random.default_rng(1).integers(-127, 128, (4, 20, 2)).astype(np.int32)
    expected = backend("numpy")(model, x, trace="all").trace
    for name in ("onnxruntime", "c", "torch"):
        found = backend(name)(model, x, trace="all").trace
        assert [value for value in expected if not np.array_equal(found[value], expected[value])] == [], name
    assert all(e.within for e in step_error.step_errors(model, x))


if __name__ == "__main__":
    ARITHMETIC.write_text(regenerated(ARITHMETIC.read_text()))
