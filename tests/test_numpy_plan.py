"""The plan of the NumPy runtime computes what the table of operations means, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from edge_lstm import numpy_plan, runtime
from edge_lstm.cells import CELLS
from edge_lstm.errors import EdgeLstmError
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.numpy_plan import FLOAT32_EXACT, Plan, exact_float
from edge_lstm.ops import NUMPY, RANGES, Interval, Op
from edge_lstm.program import Executor, Instruction, Port, Program, State
from edge_lstm.runtime import execute, execute_table

Make = Callable[..., QuantizedModel]
MODES = {
    "soft, nearest": ("soft", "exact", "lut"),
    "soft, interpolated": ("soft", "exact", "lut-interp"),
    "hard sigmoid": ("hard-sigmoid", "hard", "lut"),
    "three-level": ("three-level", "exact", "lut"),
    "hard": ("hard", "exact", "lut"),
}
"""Gate mode, squashing functions, activations."""
INT32 = (-(2**31), 2**31 - 1)


# --- models --------------------------------------------------------------------------------------


def extreme_states(model: QuantizedModel, windows: int) -> dict[str, np.ndarray]:
    """Largest, smallest, and random values of each state."""
    rng = np.random.default_rng(0)
    states = {}
    for port in lower(model).states:
        value = rng.integers(port.lo, port.hi + 1, (windows, port.length))
        value[0], value[1] = port.lo, port.hi
        states[port.name] = value.astype(np.int32)
    return states


def assert_equal(model: QuantizedModel, x: np.ndarray, state: Mapping[str, np.ndarray] | None = None) -> int:
    """All states and outputs of all steps; gives how many integers were compared."""
    compared = 0
    found, wanted = (run(model, x, state=state, trace="states") for run in (execute, execute_table))
    for name in ("outputs", "state", "trace"):
        of_plan, of_table = getattr(found, name), getattr(wanted, name)
        assert list(of_plan) == list(of_table)
        for key, value in of_table.items():
            assert of_plan[key].dtype == value.dtype
            np.testing.assert_array_equal(of_plan[key], value, err_msg=key)
            compared += value.size
    quiet = execute(model, x, state=state)
    assert quiet.trace == {}
    for name, value in (*wanted.outputs.items(), *wanted.state.items()):
        np.testing.assert_array_equal({**quiet.outputs, **quiet.state}[name], value)
    return compared


@pytest.mark.parametrize(
    ("cell", "mode"),
    [(c, m) for c, kind in CELLS.items() for m in MODES if kind.gates or MODES[m][0] not in ("hard", "three-level")],
)
def test_a_plan_computes_what_the_table_means(
    cell: str, mode: str, make_quantized: Make, make_windows: Callable[..., np.ndarray]
) -> None:
    gates, squash, activations = MODES[mode]
    compared = 0
    for weight_bits in (8, 4, 2):
        for activation_bits in (8, 16):
            try:
                model = make_quantized(
                    gates,
                    cell=cell,
                    squash=squash,
                    activations=activations,
                    weight_bits=weight_bits,
                    activation_bits=activation_bits,
                    layers=2,
                    pooling="mean",
                    seed=weight_bits + activation_bits,
                )
            except EdgeLstmError:
                continue  # refused, and so are tests elsewhere
            x = make_windows(model, 20)
            compared += assert_equal(model, x)
            compared += assert_equal(model, x, extreme_states(model, len(x)))
    assert compared > 10_000


@pytest.mark.parametrize("gates", ["hard", "soft"])
@pytest.mark.parametrize("windows", [1, 7, 8, 9, 23])
def test_windows_are_computed_in_blocks_of_nearly_equal_size(
    windows: int, gates: str, make_quantized: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_quantized(gates)
    x = np.random.default_rng(0).integers(-127, 128, (windows, 5, 3)).astype(np.int32)
    monkeypatch.setattr(runtime, "BLOCK", 8)
    sizes = [part.stop - part.start for part in runtime._blocks(windows, lower(model).states)]
    assert sum(sizes) == windows
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1
    state = extreme_states(model, windows) if windows > 1 else None
    found, wanted = execute(model, x, state=state), execute_table(model, x, state=state)
    for name, value in (*wanted.outputs.items(), *wanted.state.items()):
        np.testing.assert_array_equal({**found.outputs, **found.state}[name], value)


def test_wide_layers_are_exact_in_float64(make_quantized: Make, make_windows: Callable[..., np.ndarray]) -> None:
    model = make_quantized("soft", hidden=24, activation_bits=16)
    dtypes = {
        exact_float(program.intervals[i.args[0]], **{k: v for k, v in i.bind(program.constants).items() if k != "bits"})
        for program in (lower(model).step,)
        for i in program.instructions
        if i.op is Op.MATVEC
    }
    assert np.dtype(np.float64) in dtypes
    assert assert_equal(model, make_windows(model, 30)) > 1000


# --- products ------------------------------------------------------------------------------------


def product(weights: list[list[int]], bias: list[int], limit: int) -> Program:
    """A product of a vector whose elements lie in [-limit, limit]."""
    return Program(
        "p",
        (Port("x", len(weights[0]), -limit, limit),),
        (),
        ("y",),
        {"w": np.array(weights, np.int32), "b": np.array(bias, np.int32)},
        (Instruction(Op.MATVEC, "y", ("x",), {"weights": "w", "bias": "b"}),),
    )


def row_that_reaches(total: int, limit: int, columns: int) -> tuple[list[int], int]:
    """Weights and a bias with ``|b| + sum |w| limit = total``, of different sizes and signs."""
    rng = np.random.default_rng(total)
    weights = rng.integers(1, 2 * total // limit // columns // 2, columns)
    rest = total - int(weights.sum()) * limit
    assert rest > 0
    signs = rng.choice([-1, 1], columns)
    return (weights * signs).tolist(), rest


@pytest.mark.parametrize("over", [-1, 0, 1, 2])
def test_float32_is_taken_up_to_its_last_exact_integer_and_is_exact_there(over: int) -> None:
    limit, columns = 127, 40
    weights, bias = row_that_reaches(FLOAT32_EXACT + over, limit, columns)
    program = product([weights, weights, [1] * columns], [bias, -bias, 0], limit)
    dtype = exact_float(program.intervals["x"], program.constants["w"], program.constants["b"])
    assert dtype == (np.float32 if over <= 0 else np.float64)

    extreme = [limit if w > 0 else -limit for w in weights]
    rows = [[s * v for v in extreme] for s in (1, -1)]
    rows += [
        [v - (k == j) * (1 if v > 0 else -1) for j, v in enumerate(rows[0])] for k in range(columns)
    ]  # next to the bound
    rows += np.random.default_rng(0).integers(-limit, limit + 1, (500, columns)).tolist()
    plan = Plan(program, len(rows))
    plan.ports["x"][:] = np.array(rows).T
    plan.step()
    wanted = [
        [b + sum(w * v for w, v in zip(row, x, strict=True)) for x in rows]
        for row, b in zip([weights, weights, [1] * columns], [bias, -bias, 0], strict=True)
    ]
    assert max(abs(v) for row in wanted for v in row) == FLOAT32_EXACT + over
    assert plan.output("y").tolist() == wanted


def test_one_more_than_the_bound_is_wrong_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_plan, "FLOAT32_EXACT", 2**31)
    program = product([[2**17]], [1], 128)
    plan = Plan(program, 1)
    plan.ports["x"][:] = 128
    plan.step()
    assert plan.output("y").tolist() == [[2**24]]  # and it is 2**24 + 1


def test_products_that_reach_32_bits_are_exact() -> None:
    program = product([[2**15, 2**15 - 1], [1, -1]], [2**15 - 1, 0], 2**15 - 1)
    rows = np.array([[a, b] for a in (-32767, -1, 0, 32767) for b in (-32767, 1, 32766, 32767)])
    plan = Plan(program, len(rows))
    plan.ports["x"][:] = rows.T
    plan.step()
    assert plan.output("y").tolist() == [
        [2**15 * a + (2**15 - 1) * b + 2**15 - 1 for a, b in rows.tolist()],
        [a - b for a, b in rows.tolist()],
    ]


def test_int8_models_compute_in_float32(make_quantized: Make) -> None:
    for hidden in (8, 32, 128):
        step = lower(make_quantized("hard", hidden=hidden, inputs=9)).step
        for i in step.instructions:
            if i.op is Op.MATVEC:
                assert exact_float(step.intervals[i.args[0]], **i.bind(step.constants)) == np.float32


# --- any Program ---------------------------------------------------------------------------------


def random_program(rng: np.random.Generator) -> Program:
    """Random instructions over vectors of one length and concatenations of them, of which any may be a result."""
    n = int(rng.integers(1, 5))
    ports = [Port("x", n, -127, 127), Port("s", n, -500, 499), Port("t", n, 0, 1), Port("wide", n, *INT32)]
    known = {p.name: p.interval for p in ports}
    constants: dict[str, np.ndarray] = {}
    instructions: list[Instruction] = []

    def constant(value: Any) -> str:
        name = f"k{len(constants)}"
        constants[name] = np.asarray(value, np.int32)
        return name

    def add(op: Op, *args: str, **attributes: Any) -> str | None:
        instruction = Instruction(op, f"v{len(instructions)}", args, attributes)
        try:
            known[instruction.out] = RANGES[op](*[known[a] for a in args], **instruction.bind(constants))
        except (OverflowError, ValueError):
            return None
        instructions.append(instruction)
        return instruction.out

    def pick(length: int | None = n) -> str:
        names = [name for name, i in known.items() if length is None or len(i.lo) == length]
        return names[int(rng.integers(max(0, len(names) - 8), len(names)))] if rng.random() < 0.7 else rng.choice(names)

    def attempt(op: Op) -> None:
        v = pick()
        if op is Op.CONST:
            add(op, value=constant(rng.integers(-50, 50, n)))
        elif op is Op.CONCAT:
            add(op, *[pick(None) for _ in range(rng.integers(1, 4))])
        elif op is Op.MATVEC:
            v = pick(None)
            largest = int(rng.choice([1, 127, 2**12, 2**20]))
            weights = rng.integers(-largest, largest + 1, (n, len(known[v].lo)))
            add(op, v, weights=constant(weights), bias=constant(rng.integers(-1000, 1000, n)))
        elif op in (Op.SHIFT_RIGHT_FLOOR, Op.SHIFT_RIGHT_HALF_UP):
            add(op, v, n=int(rng.integers(0, 31)))
        elif op is Op.SATURATE:
            lo, hi = sorted(rng.integers(-300, 300, 2).tolist())
            add(op, v, lo=lo, hi=hi)
        elif op in (Op.LUT, Op.LUT_INTERP):
            bits = int(rng.integers(1, 5)) if op is Op.LUT_INTERP else 0
            more = {"n": bits} if bits else {}
            if rng.random() < 0.8:  # as a table is read: shifted and limited
                shifted = add(Op.SHIFT_RIGHT_HALF_UP, v, n=int(rng.integers(0, 24))) or v
                v = add(Op.SATURATE, shifted, lo=-16 << bits, hi=(15 << bits) - (bits > 0)) or v
            add(op, v, table=constant(rng.integers(-(2**15), 2**15, 32)), lo=-16, **more)
        elif op in (Op.THRESHOLD, Op.ARGMAX, Op.MAX_ELEMENT):
            add(op, v)
        else:
            add(op, v, pick())

    names = list(Op)
    for _ in range(60):
        attempt(names[int(rng.integers(len(names)))])
    states = []
    for port in ports[1:3]:
        following = pick()
        lo, hi = int(known[following].lo.min()), int(known[following].hi.max())
        if following in {p.name for p in ports} or lo < port.lo or hi > port.hi or rng.random() < 0.3:
            following = add(Op.SATURATE, following, lo=port.lo, hi=port.hi) or ""
        states.append(State(port, following))
    made = [i.out for i in instructions]
    outputs = tuple(dict.fromkeys(rng.choice(made, 4).tolist()))
    return Program("random", (ports[0], ports[3]), tuple(states), outputs, constants, tuple(instructions))


def wanted_steps(program: Program, steps: list[dict[str, np.ndarray]]) -> list[dict[str, list[Any]]]:
    """Results of each step, (length, windows): one window after the other, by the table."""
    executor, windows = Executor(program, NUMPY), len(steps[0]["x"])
    found: list[dict[str, list[Any]]] = [{} for _ in steps]
    for window in range(windows):
        states = {s.port.name: np.zeros(s.port.length, np.int32) for s in program.states}
        for given, results in zip(steps, found, strict=True):
            values = executor({**states, **{name: v[window] for name, v in given.items()}})
            states = {s.port.name: values[s.next] for s in program.states}
            for name, value in ({name: values[name] for name in program.outputs} | states).items():
                results.setdefault(name, []).append(value.tolist())
    return [{name: np.transpose(rows).tolist() for name, rows in results.items()} for results in found]


@pytest.mark.parametrize("seed", range(150))
def test_any_program_gives_the_same_integers_at_every_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program, windows = random_program(rng), 6
    steps = []
    for _ in range(4):
        given = {p.name: rng.integers(p.lo, p.hi + 1, (windows, p.length)) for p in program.inputs}
        for p in program.inputs:
            given[p.name][0], given[p.name][1] = p.lo, p.hi
        steps.append({name: value.astype(np.int32) for name, value in given.items()})
    plan = Plan(program, windows)
    for number, (given, wanted) in enumerate(zip(steps, wanted_steps(program, steps), strict=True)):
        for name, value in given.items():
            plan.ports[name][:] = value.T
        plan.step()
        results = {name: plan.output(name) for name in program.outputs}
        results |= {s.port.name: plan.ports[s.port.name] for s in program.states}
        assert {name: v.tolist() for name, v in results.items()} == wanted, number


def test_random_programs_hold_every_operation() -> None:
    programs = [random_program(np.random.default_rng(seed)) for seed in range(150)]
    needed = {program.instructions[k].op for program in programs for k in range(len(program.instructions))}
    assert needed == set(Op)
    assert set(numpy_plan._EMIT) | {Op.CONCAT} == set(Op)


@pytest.mark.parametrize("broken", ["offset", "shift"])
def test_a_wrong_plan_is_seen(broken: str, make_quantized: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    right = numpy_plan._Compiler._shifted

    def wrong(self: Any, v: Any, add: int, n: int, out: Any) -> None:
        right(self, v, add + (broken == "offset"), n + (broken == "shift"), out)

    monkeypatch.setattr(numpy_plan._Compiler, "_shifted", wrong)
    model = make_quantized("soft")
    x = np.random.default_rng(0).integers(-127, 128, (50, 20, 3)).astype(np.int32)
    with pytest.raises((AssertionError, IndexError)):
        assert_equal(model, x)


def test_interval_of_a_vector_bounds_each_column_by_itself() -> None:
    v = Interval(np.array([0, -(2**20)]), np.array([127, 5]))
    weights, bias = np.array([[2**16, 8]], np.int32), np.array([0], np.int32)
    assert exact_float(v, weights, bias) == np.float32  # 127 * 2**16 + 8 * 2**20
    assert exact_float(v, weights * 2, bias) == np.float64


def test_a_state_is_kept_until_its_last_reader() -> None:
    last = Port("s", 1, -8, 7)
    instructions = (
        Instruction(Op.ADD, "sum", ("s", "x")),
        Instruction(Op.SATURATE, "next", ("sum",), {"lo": -8, "hi": 7}),
        Instruction(Op.SUB, "change", ("next", "s")),
    )
    program = Program("p", (Port("x", 1, -9, 9),), (State(last, "next"),), ("change",), {}, instructions)
    plan, found = Plan(program, 1), []
    for x in (5, 5, -1, -9, -9, 9):
        plan.ports["x"][:] = x
        plan.step()
        found.append((plan.ports["s"].item(), plan.output("change").item()))
    assert found == [(5, 5), (7, 2), (6, -1), (-3, -9), (-8, -5), (1, 9)]
