"""Every operation in every backend, against a statement of it in Python's integers.

Operands: all 65,536 pairs of 8-bit integers (all 256 integers for operations on one), and edge and random 32-bit
ones inside the range that the operation's rule allows. Each case is a Program of one instruction. The last tests
plant errors, to show that the comparison finds them.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.export import c99, onnx_ops
from edge_lstm.export.c99_body import BodyWriter
from edge_lstm.export.c99_ops import C99, Unit, Vector, Whole
from edge_lstm.export.onnx_ops import ONNX, NodeList
from edge_lstm.firmware_sim.toolchain import compile_host
from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN
from edge_lstm.nn.torch_ops import TORCH, tensor
from edge_lstm.ops import NUMPY, RANGES, Op
from edge_lstm.program import Executor, Instruction, Port, Program

TABLES: Mapping[str, Mapping[Op, Any]] = {"NUMPY": NUMPY, "RANGES": RANGES, "ONNX": ONNX, "C99": C99, "TORCH": TORCH}


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_exactly_the_operations(table: str) -> None:
    assert set(TABLES[table]) == set(Op)


# --- the operations, in Python's integers ----------------------------------------------------------


def dot(row: list[int], v: list[int], bias: int) -> int:
    return bias + sum(w * x for w, x in zip(row, v, strict=True))


def interpolated(a: int, table: list[int], lo: int, n: int) -> int:
    """Nearest to the point on the line between two neighbours, ties up."""
    k, r = divmod(a, 2**n)
    t0, t1 = table[k - lo], table[k - lo + 1]
    return (2 * (t0 * (2**n - r) + t1 * r) + 2**n) // 2 ** (n + 1)


PYTHON: Mapping[Op, Callable[..., list[int]]] = {
    Op.CONST: lambda *, value: value,
    Op.CONCAT: lambda *vs: list(itertools.chain.from_iterable(vs)),
    Op.MATVEC: lambda v, *, weights, bias, **_: [dot(row, v, b) for row, b in zip(weights, bias, strict=True)],
    Op.ADD: lambda v, w: [a + b for a, b in zip(v, w, strict=True)],
    Op.SUB: lambda v, w: [a - b for a, b in zip(v, w, strict=True)],
    Op.MAX: lambda v, w: [max(pair) for pair in zip(v, w, strict=True)],
    Op.MUL: lambda v, w: [a * b for a, b in zip(v, w, strict=True)],
    Op.SHIFT_RIGHT_FLOOR: lambda v, *, n: [a // 2**n for a in v],
    Op.SHIFT_RIGHT_HALF_UP: lambda v, *, n: [(2 * a + 2**n) // 2 ** (n + 1) for a in v],
    Op.SATURATE: lambda v, *, lo, hi: [sorted((lo, a, hi))[1] for a in v],
    Op.THRESHOLD: lambda v: [1 if a > 0 else 0 for a in v],
    Op.SELECT: lambda v, w: [b if a else 0 for a, b in zip(v, w, strict=True)],
    Op.LUT: lambda v, *, table, lo: [table[a - lo] for a in v],
    Op.LUT_INTERP: lambda v, *, table, lo, n: [interpolated(a, table, lo, n) for a in v],
    Op.MAX_ELEMENT: lambda v: [sorted(v)[-1]],
    Op.ARGMAX: lambda v: [v.index(max(v))],
}


# --- cases -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """One instruction, and what it is tried on: (batch, length) for each argument."""

    name: str
    op: Op
    values: Sequence[np.ndarray]
    attributes: Mapping[str, int | np.ndarray] = field(default_factory=dict)

    @property
    def program(self) -> Program:
        ports = tuple(
            Port(f"{self.name}.{k}", v.shape[1], int(v.min()), int(v.max())) for k, v in enumerate(self.values)
        )
        constants = {
            f"{self.name}.{k}": v.astype(np.int32) for k, v in self.attributes.items() if isinstance(v, np.ndarray)
        }
        attributes = {k: v if isinstance(v, int) else f"{self.name}.{k}" for k, v in self.attributes.items()}
        out = f"{self.name}.out"
        instruction = Instruction(self.op, out, tuple(p.name for p in ports), attributes)
        return Program(self.name, ports, (), (out,), constants, (instruction,))

    @property
    def batch(self) -> int:
        return len(self.values[0]) if self.values else 1

    @property
    def expected(self) -> np.ndarray:
        plain = {k: v if isinstance(v, int) else v.tolist() for k, v in self.attributes.items()}
        rows = [PYTHON[self.op](*(v[b].tolist() for v in self.values), **plain) for b in range(self.batch)]
        return np.array(rows, np.int64)


BYTES = np.arange(-128, 128, dtype=np.int32)
PAIRS = np.stack(np.meshgrid(BYTES, BYTES), -1).reshape(-1, 2)
EDGES = [
    INT32_MIN,
    INT32_MIN + 1,
    -(2**16),
    -129,
    -128,
    -127,
    -1,
    0,
    1,
    127,
    128,
    2**15,
    2**30,
    INT32_MAX - 1,
    INT32_MAX,
]
SHIFTS = (0, 1, 7, 15, 30)
rng = np.random.default_rng(2026)


def wide(lo: int = INT32_MIN, hi: int = INT32_MAX, count: int = 300) -> np.ndarray:
    """(1, n): both limits, the edges between them, and random integers of every magnitude."""
    magnitude = 2.0 ** rng.uniform(0, 31, count) * rng.choice([-1, 1], count)
    chosen = [lo, hi, *(e for e in EDGES if lo <= e <= hi), *(int(m) for m in magnitude if lo <= m <= hi)]
    return np.array([chosen], np.int32)


def paired(v: np.ndarray) -> np.ndarray:
    """As many values, in another order."""
    return rng.permutation(v[0])[None]


def interpolations(every: np.ndarray) -> list[Case]:
    """All 8-bit and all 16-bit operands, the ends of 32 bits, and the steepest tables that the range rule admits."""
    table = rng.integers(-32768, 32768, 256)
    words = np.arange(-(2**15), 127 * 2**8)[None]
    last = INT32_MAX >> 12
    found = [
        Case("interp_16", Op.LUT_INTERP, (words,), {"table": table, "lo": -128, "n": 8}),
        Case(
            "interp_low", Op.LUT_INTERP, (INT32_MIN + words - words.min(),), {"table": table, "lo": -last - 1, "n": 12}
        ),
        Case(
            "interp_high",
            Op.LUT_INTERP,
            (INT32_MAX + words - words.max(),),
            {"table": table, "lo": last - 254, "n": 12},
        ),
    ]
    for n in (1, 2, 7, 8, 11, 12):
        found.append(Case(f"interp_8_{n}", Op.LUT_INTERP, (every,), {"table": table, "lo": -128, "n": n}))
        up, down = (INT32_MAX - 2 ** (n - 1)) // (2**n - 1), 2**31 // (2**n - 1)
        steep = {"table": np.array([-up, 0, -down]), "lo": 0, "n": n}
        found.append(Case(f"interp_steep_{n}", Op.LUT_INTERP, (np.arange(2 ** (n + 1))[None],), steep))
    return found


def packed_products() -> list[Case]:
    """Every weight in every position of its byte with every 8-bit operand; and rows of many lengths, padded or not."""
    found = []
    for bits in (8, 4, 2):
        limit = 2 ** (bits - 1) - 1
        single = np.concatenate([w * np.eye(5) for w in range(-limit, limit + 1)])
        exhaustive = {"weights": single, "bias": rng.integers(-99, 99, len(single)), "bits": bits}
        found.append(Case(f"matvec_{bits}bit", Op.MATVEC, (np.tile(BYTES[:, None], 5),), exhaustive))
        for columns, low in itertools.product((1, 2, 3, 4, 6, 7, 33), (-128, -(2**15), -(2**17))):
            v = rng.integers(low, -low, (6, columns))
            v[:2] = [[low], [-low - 1]]
            weights = rng.integers(-limit, limit + 1, (5, columns))
            weights[:2] = [[-limit], [limit]]
            attributes = {"weights": weights, "bias": rng.integers(-(2**30), 2**30, 5), "bits": bits}
            found.append(Case(f"matvec_{bits}bit_{columns}_{-low}", Op.MATVEC, (v,), attributes))
    return found


def cases() -> list[Case]:
    every = BYTES[None]
    left, right = PAIRS[None, :, 0], PAIRS[None, :, 1]
    any32, half32, root32 = wide(), wide(-(2**30), 2**30 - 1), wide(-46340, 46340)
    table = rng.integers(-32768, 32768, 256)
    found = [
        Case("add_8", Op.ADD, (left, right)),
        Case("add_32", Op.ADD, (half32, paired(half32))),
        Case("add_zero", Op.ADD, (any32, np.zeros_like(any32))),
        Case("sub_8", Op.SUB, (left, right)),
        Case("sub_32", Op.SUB, (half32, paired(half32))),
        Case("sub_zero", Op.SUB, (any32, np.zeros_like(any32))),
        Case("max_8", Op.MAX, (left, right)),
        Case("max_32", Op.MAX, (any32, paired(any32))),
        Case("mul_8", Op.MUL, (left, right)),
        Case("mul_32", Op.MUL, (root32, paired(root32))),
        Case("mul_one", Op.MUL, (any32, np.ones_like(any32))),
        Case("select_8", Op.SELECT, (left, right)),
        Case("select_32", Op.SELECT, (any32, paired(any32))),
        Case("threshold_8", Op.THRESHOLD, (every,)),
        Case("threshold_32", Op.THRESHOLD, (any32,)),
        Case("lut_8", Op.LUT, (every,), {"table": table, "lo": -128}),
        Case("lut_up", Op.LUT, (np.array([[5, 11, 7]]),), {"table": table[:7], "lo": 5}),
        Case("lut_zero", Op.LUT, (np.array([[0, 2, 1, 1]]),), {"table": np.array(EDGES[:3]), "lo": 0}),
        Case("max_element_8", Op.MAX_ELEMENT, (PAIRS,)),
        Case("max_element_32", Op.MAX_ELEMENT, (rng.choice(np.array(EDGES, np.int32), (200, 5)),)),
        Case("max_element_one", Op.MAX_ELEMENT, (np.array([[-7]]),)),
        Case("argmax_8", Op.ARGMAX, (PAIRS,)),
        Case("argmax_ties", Op.ARGMAX, (rng.integers(-2, 3, (200, 9)).astype(np.int32),)),
        Case("argmax_32", Op.ARGMAX, (rng.choice(np.array(EDGES, np.int32), (200, 5)),)),
        Case("concat_2", Op.CONCAT, (every, any32)),
        Case("concat_3", Op.CONCAT, (wide(-32768, 32767), every, np.array([[7]]))),
        Case("const_8", Op.CONST, (), {"value": BYTES}),
        Case("const_32", Op.CONST, (), {"value": np.array(EDGES)}),
        Case("matvec_8", Op.MATVEC, (BYTES[:, None],), {"weights": BYTES[:, None], "bias": np.zeros(256)}),
        Case(
            "matvec_bias",
            Op.MATVEC,
            (np.zeros((1, 1)),),
            {"weights": np.ones((2, 1)), "bias": np.array([-INT32_MAX, 9])},
        ),
    ]
    found += interpolations(every) + packed_products()
    for bits, low, high in ((8, -128, 127), (16, -32768, 32767), (32, -(2**17), 2**17)):
        v = rng.integers(low, high + 1, (20, 33))
        v[:2, :] = [[low], [high]]
        attributes = {"weights": rng.integers(-128, 128, (7, 33)), "bias": rng.integers(-(2**30), 2**30, 7)}
        found.append(Case(f"matvec_{bits}_wide", Op.MATVEC, (v,), attributes))
    for n in SHIFTS:
        found += [
            Case(f"floor_8_{n}", Op.SHIFT_RIGHT_FLOOR, (every,), {"n": n}),
            Case(f"floor_32_{n}", Op.SHIFT_RIGHT_FLOOR, (any32,), {"n": n}),
            Case(f"half_up_8_{n}", Op.SHIFT_RIGHT_HALF_UP, (every,), {"n": n}),
            Case(f"half_up_32_{n}", Op.SHIFT_RIGHT_HALF_UP, (wide(hi=INT32_MAX - (2**n >> 1)),), {"n": n}),
        ]
    for k, (lo, hi) in enumerate([(-127, 127), (-128, 100), (3, 5), (-9, -9), (INT32_MIN, INT32_MAX), (INT32_MIN, -1)]):
        found.append(Case(f"saturate_8_{k}", Op.SATURATE, (every,), {"lo": lo, "hi": hi}))
        found.append(Case(f"saturate_32_{k}", Op.SATURATE, (any32,), {"lo": lo, "hi": hi}))
    return [
        Case(
            c.name,
            c.op,
            [v.astype(np.int32) for v in c.values],
            {k: v if isinstance(v, int) else v.astype(np.int32) for k, v in c.attributes.items()},
        )
        for c in found
    ]


CASES = cases()
EXPECTED = {c.name: c.expected for c in CASES}


# --- the backends, on Programs of one instruction --------------------------------------------------

Results = dict[str, np.ndarray]


def run_numpy(chosen: Sequence[Case]) -> Results:
    return {c.name: executed(Executor(c.program, NUMPY), c, np.asarray) for c in chosen}


def run_torch(chosen: Sequence[Case]) -> Results:
    return {c.name: np.asarray(executed(Executor(c.program, TORCH, tensor), c, tensor)) for c in chosen}


def executed(executor: Executor, case: Case, convert: Callable[[Any], Any]) -> Any:
    result = executor({f"{case.name}.{k}": convert(v) for k, v in enumerate(case.values)})[f"{case.name}.out"]
    return result if case.values else result[None]


def run_onnxruntime(chosen: Sequence[Case]) -> Results:
    import onnx
    import onnxruntime

    helper, int32 = onnx.helper, onnx.TensorProto.INT32
    graph_inputs, graph_outputs, nodes, initializers, feed = [], [], [], dict[str, Any](), dict[str, Any]()
    for c in chosen:
        part = NodeList(initializers)
        part.add(c.program)
        nodes += part.nodes
        graph_outputs.append(
            helper.make_tensor_value_info(f"{c.name}.out", int32, list(EXPECTED[c.name].shape)[-1 - bool(c.values) :])
        )
        for k, v in enumerate(c.values):
            graph_inputs.append(helper.make_tensor_value_info(f"{c.name}.{k}", int32, list(v.shape)))
            feed[f"{c.name}.{k}"] = v
    given = [onnx.numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in initializers.items()]
    graph = helper.make_graph(nodes, "operations", graph_inputs, graph_outputs, given)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [c.name for c in chosen]
    results = dict(zip(names, session.run([f"{n}.out" for n in names], feed), strict=True))
    return {c.name: results[c.name] if c.values else results[c.name][None] for c in chosen}


def run_c(chosen: Sequence[Case], folder: Path, *, sanitize: bool = False) -> Results:
    source = folder / "operations.c"
    source.write_text(c_source(chosen))
    program = compile_host([source], folder / "operations", sanitize=sanitize)
    feed = b"".join(
        v[b].astype(f"i{port.bits // 8}").tobytes()
        for c in chosen
        for b in range(c.batch)
        for v, port in zip(c.values, c.program.inputs, strict=True)
    )
    done = subprocess.run([program], input=feed, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    shapes = [EXPECTED[c.name].shape for c in chosen]
    ends = np.cumsum([a * b for a, b in shapes])
    values = np.split(np.frombuffer(done.stdout, np.int32), ends[:-1])
    assert values[-1].size == shapes[-1][0] * shapes[-1][1]
    return {c.name: v.reshape(shape) for c, v, shape in zip(chosen, values, shapes, strict=True)}


def c_source(chosen: Sequence[Case]) -> str:
    programs = [c.program for c in chosen]
    parts = ["#include <stdint.h>\n#include <stdio.h>\n"]
    parts += [
        f"static const {k['type']} {k['name']}{k['shape']} = {{{k['text']}}};" for k in c99._constants("m", programs)
    ]
    calls, written = [], []
    for c, program in zip(chosen, programs, strict=True):
        places = {p.name: Vector(f"v{k}", p.length, p.bits) for k, p in enumerate(program.inputs)}
        length = program.length(program.outputs[0])
        places[program.outputs[0]] = Vector("result", length, 32)
        body = BodyWriter(program, "m", places).write()
        assert not body.scratch
        written += body.lines
        parameters = "".join(f"const int{v.bits}_t *{v.c}, " for v in places.values() if v.c != "result")
        parts.append(f"static void {c.name}({parameters}int32_t *result)\n{{\n    int32_t j;")
        parts += [f"    {line}" for line in body.lines] + ["}"]
        reads = [f"static int{p.bits}_t v{k}[{p.length}];" for k, p in enumerate(program.inputs)]
        reads += [f"if (fread(v{k}, sizeof v{k}, 1, stdin) != 1) return 2;" for k in range(len(program.inputs))]
        arguments = "".join(f"v{k}, " for k in range(len(program.inputs)))
        put = "if (fwrite(result, sizeof result, 1, stdout) != 1) return 3;"
        calls.append(
            f"for (b = 0; b < {c.batch}; b++) {{ static int32_t result[{length}]; {' '.join(reads)} "
            f"{c.name}({arguments}result); {put} }}"
        )
    uses = lambda helper: any(f"m_{helper}(" in line for line in written)  # noqa: E731
    parts.insert(1, c99.render("helpers.c.j2", {"name": "m", "uses": uses}))
    return "\n".join([*parts, "int main(void)\n{\n    int b;", *calls, "return 0;\n}", ""])


def different(results: Results) -> set[str]:
    """Names of the cases in which at least one integer, the shape or the type differs."""
    return {
        name for name, found in results.items() if found.dtype != np.int32 or not np.array_equal(found, EXPECTED[name])
    }


def test_the_cases_are_exhaustive_on_8_bits_and_reach_the_limits_of_32() -> None:
    assert {c.op for c in CASES} == set(Op)
    pairs = {
        c.name: {*zip(*(v.ravel().tolist() for v in c.values), strict=True)} for c in CASES if c.name.endswith("_8")
    }
    for name in ("add_8", "sub_8", "max_8", "mul_8", "select_8"):
        assert len(pairs[name]) == 65_536
    reaching = (Op.SUB, Op.MAX, Op.SELECT, Op.THRESHOLD, Op.SATURATE, Op.SHIFT_RIGHT_FLOOR, Op.LUT_INTERP)
    for op in (*reaching, Op.MAX_ELEMENT, Op.ARGMAX, Op.CONST):
        reached = [
            c.expected if op is Op.CONST else np.concatenate([v.ravel() for v in c.values]) for c in CASES if c.op is op
        ]
        assert (min(map(np.min, reached)), max(map(np.max, reached))) == (INT32_MIN, INT32_MAX), op


def test_numpy() -> None:
    assert different(run_numpy(CASES)) == set()


def test_torch() -> None:
    assert different(run_torch(CASES)) == set()


def test_onnxruntime() -> None:
    assert different(run_onnxruntime(CASES)) == set()


@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
def test_c(sanitize: bool, tmp_path: Path) -> None:
    assert different(run_c(CASES, tmp_path, sanitize=sanitize)) == set()


# --- planted errors are found ----------------------------------------------------------------------


def clip_below_127(g: Any, out: str, v: str, *, lo: int, hi: int) -> str:
    return g.node("Clip", out, v, g.scalar(lo), g.scalar(min(hi, 126)))


def gather_without_offset(g: Any, out: str, v: str, *, table: str, **_: int) -> str:
    return g.node("Gather", out, g.given(table), v)


def interpolate_down(g: Any, out: str, v: str, **attributes: Any) -> str:
    """Rounds the rise down: a table entry too low at half a unit and above."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_ops, "_half_up", lambda g, out, v, *, n: onnx_ops._shift(g, out, v, n))
        return LUT_INTERP_ONNX(g, out, v, **attributes)


LUT_INTERP_ONNX = ONNX[Op.LUT_INTERP]


def concat_on_top(out: Vector, vs: Sequence[Vector]) -> list[str]:
    return [f"for (j = 0; j < {v.length}; j++) {out.c}[j] = {v.c}[j];" for v in vs]


MUTATIONS: list[tuple[str, dict[Any, Any], Op, Any]] = [
    ("numpy", NUMPY, Op.SHIFT_RIGHT_HALF_UP, lambda v, *, n: v >> n),
    ("numpy", NUMPY, Op.THRESHOLD, lambda v: (v >= 0).astype(np.int32)),
    ("numpy", NUMPY, Op.SATURATE, lambda v, *, lo, hi: np.clip(v, lo, hi - 1 if hi > lo else hi)),
    ("numpy", NUMPY, Op.ARGMAX, lambda v: (v.shape[-1] - 1 - v[..., ::-1].argmax(-1, keepdims=True)).astype(np.int32)),
    ("torch", TORCH, Op.SHIFT_RIGHT_FLOOR, lambda v, *, n: (v / 2**n).int()),
    ("numpy", NUMPY, Op.LUT_INTERP, lambda v, *, table, lo, n: table.take((v >> n) - lo)),
    ("numpy", NUMPY, Op.MAX_ELEMENT, lambda v: v[..., :1]),
    ("torch", TORCH, Op.MAX_ELEMENT, lambda v: v.abs().amax(-1, keepdim=True)),
    ("onnxruntime", ONNX, Op.MAX_ELEMENT, lambda g, out, v: g.node("ReduceMin", out, v, axes=[-1], keepdims=1)),
    ("c", C99, Op.MAX_ELEMENT, Whole(lambda out, vs: [f"for (j = 0; j < 1; j++) {out.c}[j] = {vs[0].c}[j];"])),
    ("torch", TORCH, Op.SUB, lambda v, w: w - v),
    ("torch", TORCH, Op.MAX, lambda v, w: v * (v >= w)),
    ("torch", TORCH, Op.SELECT, lambda v, w: w * (v > 0)),
    ("torch", TORCH, Op.MATVEC, lambda v, *, weights, bias, **_: (v.float() @ weights.float().T + bias).int()),
    ("onnxruntime", ONNX, Op.SHIFT_RIGHT_FLOOR, lambda g, out, v, *, n: g.node("Div", out, v, g.scalar(1 << n))),
    ("onnxruntime", ONNX, Op.SATURATE, clip_below_127),
    ("onnxruntime", ONNX, Op.LUT, gather_without_offset),
    ("onnxruntime", ONNX, Op.LUT_INTERP, interpolate_down),
    ("onnxruntime", ONNX, Op.MAX, lambda g, out, v, w: g.node("Min", out, v, w)),
    ("c", C99, Op.SUB, Unit(lambda _, v, w: f"{w} - {v}")),
    ("c", C99, Op.MAX, Unit(lambda _, v, w: f"{v} < {w} ? {v} : {w}")),
    ("c", C99, Op.LUT_INTERP, Unit(lambda _, v, *, table, lo, n: f"{table}[({v} >> {n}) + {-lo}]")),
    ("c", C99, Op.SHIFT_RIGHT_HALF_UP, Unit(lambda _, v, *, n: f"{v} >> {n}")),
    ("c", C99, Op.THRESHOLD, Unit(lambda _, v: f"{v} >= 0")),
    ("c", C99, Op.SATURATE, Unit(lambda p, v, *, lo, hi: f"{p}_saturate({v}, {lo + 1}, {hi})")),
    ("c", C99, Op.CONCAT, Whole(concat_on_top)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "table", "op", "wrong"), MUTATIONS, ids=[f"{backend}-{op.value}" for backend, _, op, _ in MUTATIONS]
)
def test_a_planted_error_is_found(
    backend: str, table: dict[Op, Any], op: Op, wrong: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [c for c in CASES if c.op is op and c.name != "lut_up"]  # the wrong Gather leaves that table
    run = {"numpy": run_numpy, "torch": run_torch, "onnxruntime": run_onnxruntime, "c": lambda c: run_c(c, tmp_path)}[
        backend
    ]
    assert different(run(chosen)) == set()
    monkeypatch.setitem(table, op, wrong)
    assert different(run(chosen)) != set()
