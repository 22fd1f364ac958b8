"""Programs as C: random Programs with several states, where values live in scratch, in place or in a register."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.export import c99, c99_body
from edge_lstm.export.c99_body import BodyWriter
from edge_lstm.export.c99_ops import Vector, identifier
from edge_lstm.firmware_sim.toolchain import compile_host
from edge_lstm.ops import NUMPY, Op
from edge_lstm.program import Executor, Instruction, Port, Program, RangeError, State

STEPS, PROGRAMS = 6, 70
LENGTHS = (1, 3, 4)


def random_program(number: int) -> Program:
    """Random operations on vectors of three lengths; values are limited wherever a rule would refuse."""
    rng = random.Random(number)
    name = f"p{number}"
    x = Port(f"{name}.x", 3, -127, 127)
    ports = [Port(f"{name}.s{k}", rng.choice(LENGTHS), -1000, 1000) for k in range(rng.randint(1, 4))]
    lengths = {p.name: p.length for p in (x, *ports)}
    constants: dict[str, np.ndarray] = {}
    instructions: list[Instruction] = []

    def emit(op: Op, length: int, *arguments: str, **attributes: int | str) -> str:
        out = f"{name}.v{len(instructions)}"
        instructions.append(Instruction(op, out, arguments, attributes))
        lengths[out] = length
        return out

    def constant(values: list[int] | list[list[int]]) -> str:
        key = f"{name}.k{len(constants)}"
        constants[key] = np.array(values, np.int32)
        return key

    def limited(v: str, bound: int) -> str:
        return emit(Op.SATURATE, lengths[v], v, lo=-bound, hi=bound)

    def of_length(n: int) -> str:
        """An earlier value of this length; a product with a matrix where there is none."""
        found = [v for v, k in lengths.items() if k == n]
        return rng.choice(found) if found and rng.random() < 0.9 else product(rng.choice(list(lengths)), n)

    def product(v: str, n: int) -> str:
        bits = rng.choice((8, 4, 2))
        limit = 2 ** (bits - 1) - 1
        weights = constant([[rng.randint(-limit, limit) for _ in range(lengths[v])] for _ in range(n)])
        bias = constant([rng.randint(-99, 99) for _ in range(n)])
        return limited(emit(Op.MATVEC, n, v, weights=weights, bias=bias, bits=bits), 1000)

    for _ in range(rng.randint(4, 14)):
        kind = rng.choice(list(Op))
        v = rng.choice(list(lengths))
        n = lengths[v]
        if kind is Op.MATVEC:
            product(v, rng.choice(LENGTHS))
        elif kind is Op.CONCAT:
            parts = [rng.choice(list(lengths)) for _ in range(rng.randint(1, 3))]
            emit(kind, sum(lengths[p] for p in parts), *parts)
        elif kind in (Op.ADD, Op.SUB):
            limited(emit(kind, n, v, of_length(n)), rng.choice((1000, 127)))
        elif kind is Op.MUL:
            limited(emit(kind, n, limited(v, 1000), limited(of_length(n), 1000)), rng.choice((1000, 127)))
        elif kind in (Op.SELECT, Op.MAX):
            emit(kind, n, v, of_length(n))
        elif kind in (Op.SHIFT_RIGHT_FLOOR, Op.SHIFT_RIGHT_HALF_UP):
            emit(kind, n, v, n=rng.randint(0, 5))
        elif kind is Op.LUT:
            emit(kind, n, limited(v, 4), table=constant([rng.randint(-1000, 1000) for _ in range(9)]), lo=-4)
        elif kind is Op.LUT_INTERP:
            bits = rng.randint(1, 6)
            table = constant([rng.randint(-1000, 1000) for _ in range(9)])
            emit(kind, n, limited(v, 4 * 2**bits - 1), table=table, lo=-4, n=bits)
        elif kind is Op.CONST:
            emit(kind, n, value=constant([rng.randint(-1000, 1000) for _ in range(n)]))
        elif kind is Op.SATURATE:
            limited(v, rng.randint(0, 1000))
        elif kind is Op.THRESHOLD:
            emit(kind, n, v)
        else:
            emit(kind, 1, v)
    states = []
    for port in ports:  # an early value, which may be the next of several states, or one of their own
        early = [i.out for i in instructions if i.op is Op.SATURATE and lengths[i.out] == port.length]
        own = not early or rng.random() < 0.3
        states.append(State(port, limited(of_length(port.length), 1000) if own else rng.choice(early)))
    return Program(name, (x,), tuple(states), (states[0].next,), constants, tuple(instructions))


def c_source(programs: list[Program]) -> str:
    """Each Program as a function that takes STEPS steps and writes all of its values after each."""
    constants = [
        f"static const {k['type']} {k['name']}{k['shape']} = {{{k['text']}}};" for k in c99._constants("m", programs)
    ]
    functions, calls, lines = [], [], []
    for program in programs:
        name, made = program.name, [i.out for i in program.instructions]
        states = [s.port for s in program.states]
        places = {p.name: Vector(f"state->{identifier(p.name)}", p.length, p.bits) for p in states}
        places[program.inputs[0].name] = Vector("x", 3, 8)
        starts = np.cumsum([0, *(program.length(v) for v in made), *(p.length for p in states)]).tolist()
        positions = dict(zip(made, starts, strict=False))
        body = BodyWriter(program, "m", places, positions).write()
        lines += body.lines
        members = "".join(f"int{p.bits}_t {identifier(p.name)}[{p.length}]; " for p in states)
        scratch = "".join(f"int{v.bits}_t {v.c}[{v.length}]; " for v in body.scratch) or "int8_t unused[1]; "
        record = [
            f"for (j = 0; j < {p.length}; j++) trace[{start} + j] = state->{identifier(p.name)}[j];"
            for p, start in zip(states, starts[len(made) :], strict=False)
        ]
        functions.append(
            f"typedef struct {{ {members}}} {name}_state;\ntypedef struct {{ {scratch}}} {name}_scratch;\n"
            f"static void {name}({name}_state *state, {name}_scratch *scratch, const int8_t *x, int32_t *trace)\n"
            "{\n    int32_t j;\n    (void)scratch, (void)x;\n"
            + "".join(f"    {line}\n" for line in [*body.lines, *record])
            + "}\n"
        )
        calls.append(
            f"{{ static {name}_state state; static {name}_scratch scratch; static int32_t trace[{starts[-1]}];\n"
            f"for (t = 0; t < {STEPS}; t++) {{ if (fread(x, 3, 1, stdin) != 1) return 2;\n"
            f"{name}(&state, &scratch, x, trace);\nif (fwrite(trace, sizeof trace, 1, stdout) != 1) return 3; }} }}"
        )
    helpers = c99.render("helpers.c.j2", {"name": "m", "uses": lambda h: any(f"m_{h}(" in line for line in lines)})
    start = ["#include <stdint.h>\n#include <stdio.h>", *constants, helpers, *functions]
    return "\n".join([*start, "int main(void)\n{\n    int8_t x[3]; int t;", *calls, "return 0;\n}\n"])


def in_numpy(program: Program, x: np.ndarray) -> np.ndarray:
    """All values of each step, the states last."""
    executor, rows = Executor(program, NUMPY), []
    states = {s.port.name: np.zeros(s.port.length, np.int32) for s in program.states}
    for sample in x:
        values = executor({**states, program.inputs[0].name: sample})
        states = {s.port.name: values[s.next] for s in program.states}
        rows.append(np.concatenate([*(values[i.out] for i in program.instructions), *states.values()]))
    return np.stack(rows)


def differing(programs: list[Program], folder: Path, *, sanitize: bool) -> list[str]:
    """Names of the Programs of which the C computes another integer than NumPy."""
    x = np.random.default_rng(0).integers(-127, 128, (len(programs), STEPS, 3)).astype(np.int32)
    source = folder / "programs.c"
    source.write_text(c_source(programs))
    binary = compile_host([source], folder / "programs", sanitize=sanitize)
    done = subprocess.run([binary], input=x.astype(np.int8).tobytes(), capture_output=True, timeout=60, check=True)
    wanted = [in_numpy(program, samples) for program, samples in zip(programs, x, strict=True)]
    ends = np.cumsum([w.size for w in wanted])
    found = np.split(np.frombuffer(done.stdout, np.int32), ends[:-1])
    pairs = zip(programs, wanted, found, strict=True)
    return [p.name for p, w, f in pairs if not np.array_equal(f, w.ravel())]


@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
def test_random_programs_compute_in_c_what_they_compute_in_numpy(sanitize: bool, tmp_path: Path) -> None:
    programs = [random_program(number) for number in range(PROGRAMS)]
    assert differing(programs, tmp_path, sanitize=sanitize) == []


def test_a_state_overwritten_too_early_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c99_body, "_in_place", lambda *_: True)
    assert differing([random_program(number) for number in range(PROGRAMS)], tmp_path, sanitize=False)


def test_the_random_programs_use_every_operation_and_every_kind_of_place() -> None:
    programs = [random_program(number) for number in range(PROGRAMS)]
    assert {i.op for p in programs for i in p.instructions} == set(Op)
    in_place = late = scratch = 0
    for program in programs:
        places = {
            p.name: Vector(f"state->{identifier(p.name)}", p.length, p.bits) for p in (s.port for s in program.states)
        }
        body = BodyWriter(program, "m", {**places, program.inputs[0].name: Vector("x", 3, 8)}).write()
        scratch += bool(body.scratch)
        late += any(
            line.startswith("for (j") and "[j] = scratch->" in line and "state->" in line for line in body.lines
        )
        in_place += any("    state->" in line for line in body.lines)
    assert min(in_place, late, scratch) >= 10


def test_the_largest_element_may_have_a_narrower_type_than_the_others(tmp_path: Path) -> None:
    """The first element, -1000 and less, would be 24 and less in the 8 bits that hold the largest."""
    x, largest = Port("p.x", 3, -127, 127), Port("p.largest", 1, -127, 127)
    constants = {"p.low": np.array([-1000, 0, 0], np.int32)}
    instructions = (
        Instruction(Op.CONST, "p.k", (), {"value": "p.low"}),
        Instruction(Op.ADD, "p.v", ("p.x", "p.k")),
        Instruction(Op.MAX_ELEMENT, "p.max", ("p.v",)),
    )
    program = Program("p", (x,), (State(largest, "p.max"),), (), constants, instructions)
    assert (program.bits("p.v"), program.bits("p.max")) == (16, 8)
    assert differing([program], tmp_path, sanitize=True) == []


def test_a_program_that_could_overflow_has_no_c() -> None:
    x = Port("x", 1, -(2**31), 2**31 - 1)
    with pytest.raises(RangeError):
        Program("p", (x,), (), (), {}, (Instruction(Op.ADD, "y", ("x", "x")),))
