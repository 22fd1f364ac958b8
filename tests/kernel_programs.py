"""Random Programs like cells, and their C on an emulated Cortex-M4 next to NumPy."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from edge_lstm.export.c99 import _constants
from edge_lstm.export.c99_body import Body, BodyWriter
from edge_lstm.export.c99_kernels import branch, kernel_context
from edge_lstm.export.c99_ops import Vector, identifier
from edge_lstm.export.c99_text import render
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.toolchain import compile_device
from edge_lstm.ops import NUMPY, Op
from edge_lstm.program import Executor, Instruction, Port, Program, State

LIMITS = ((-127, 127), (-128, 127), (-127, 127), (-32768, 32767))
"""Of an input."""


def unit_program(number: int) -> Program:
    """Products of a vector or two, and what gates, tables, requantization and states do with them."""
    rng = random.Random(number)
    name, units = f"p{number}", rng.choice((1, 2, 5, 8))
    inputs = (
        Port(f"{name}.x", rng.choice((1, 3, 4, 9, 26)), *rng.choice(LIMITS)),
        Port(f"{name}.y", rng.choice((1, 4, 5)), *rng.choice(LIMITS)),
    )
    constants: dict[str, np.ndarray] = {}
    made: list[Instruction] = []
    extreme = rng.random() < 0.3

    def emit(op: Op, *arguments: str, **attributes: int | str) -> str:
        made.append(Instruction(op, f"{name}.v{len(made)}", arguments, attributes))
        return made[-1].out

    def constant(values: object) -> str:
        key = f"{name}.k{len(constants)}"
        constants[key] = np.array(values, np.int32)
        return key

    def row(vector: str, columns: int) -> str:
        weights = rng.choices((-127, 127) if extreme else range(-127, 128), k=units * columns)
        bias = [rng.randint(-2000, 2000) for _ in range(units)]
        matrix = np.array(weights).reshape(units, columns)
        packed = {"bits": 4} if rng.random() < 0.1 else {}
        matrix = np.clip(matrix, -7, 7) if packed else matrix
        return emit(Op.MATVEC, vector, weights=constant(matrix), bias=constant(bias), **packed)

    def reach(acc: str) -> int:
        of = next(i for i in made if i.out == acc).attributes
        largest = max(32767, *(abs(limit) for p in inputs for limit in (p.lo, p.hi)))
        return int(np.abs(constants[str(of["weights"])]).sum(axis=1).max() * largest + 2000)

    def requantized(acc: str) -> str:
        narrow = rng.choice((0, 3, 6))
        value = emit(Op.SHIFT_RIGHT_FLOOR, acc, n=narrow) if narrow else acc
        value = emit(Op.SATURATE, value, lo=-60000, hi=60000) if rng.random() < 0.2 else value
        most = 2**31 // (1 + reach(acc) >> narrow)
        factors = emit(Op.CONST, value=constant([rng.randint(1, min(2047, most // 2)) for _ in range(units)]))
        return emit(Op.SHIFT_RIGHT_HALF_UP, emit(Op.MUL, value, factors), n=rng.choice((7, 12, 19)))

    def limited(value: str, limits: tuple[tuple[int, int], ...]) -> str:
        lo, hi = rng.choice(limits)
        return emit(Op.SATURATE, value, lo=lo, hi=hi)

    def value(acc: str) -> str:
        kind = rng.choice(("lut", "interpolated", "limited"))
        if kind == "limited":
            return limited(requantized(acc), ((-127, 127), (-100, 300), (0, 32767), (-32768, 32767)))
        n = rng.choice((1, 4, 8)) if kind == "interpolated" else 0
        index = emit(Op.SATURATE, requantized(acc), lo=-128 << n, hi=((127 << n) - 1) if n else 127)
        entries = rng.choices(range(-32767, 32768) if n else range(-128, 128), k=256)
        table = constant(sorted(entries))
        if n:
            return emit(Op.LUT_INTERP, index, table=table, lo=-128, n=n)
        return emit(Op.LUT, index, table=table, lo=-128)

    state = Port(f"{name}.s", units, -32768, 32767)
    small = Port(f"{name}.h", units, -127, 127)
    first = inputs[0].name
    if inputs[0].hi == 127 and rng.random() < 0.4:
        gain = [rng.randint(1, 7 if rng.random() < 0.8 else 300) for _ in range(inputs[0].length)]
        first = emit(Op.MUL, first, emit(Op.CONST, value=constant(gain)))
    parts = [first, *([small.name] if rng.random() < 0.7 else [])]
    vector = emit(Op.CONCAT, *parts) if len(parts) > 1 or rng.random() < 0.3 else first
    columns = inputs[0].length + (units if len(parts) > 1 else 0)
    rows = [row(vector, columns) for _ in range(rng.randint(1, 6))]
    rows += [row(inputs[1].name, inputs[1].length) for _ in range(rng.randint(0, 2))]
    total = limited(emit(Op.SHIFT_RIGHT_HALF_UP, state.name, n=rng.choice((0, 1))), ((-32768, 32767), (-127, 127)))
    for acc in rows:
        gate = emit(Op.THRESHOLD, rng.choice(rows))
        if rng.random() < 0.4:
            ones = emit(Op.CONST, value=constant(np.ones(units)))
            gate = emit(Op.SUB, ones, gate)
        term = value(acc) if rng.random() < 0.8 else limited(acc, ((-127, 127), (-32768, 32767)))
        term = emit(Op.SELECT, gate, term) if rng.random() < 0.7 else emit(Op.MUL, gate, term)
        total = limited(emit(Op.ADD, total, term), ((-32768, 32767), (-127, 127), (-32768, 32767)))
    states = [State(state, total), State(small, emit(Op.SATURATE, total, lo=-127, hi=127))]
    return Program(name, inputs, tuple(states), (), constants, tuple(made))


def on_device(
    programs: list[Program],
    steps: list[dict[str, np.ndarray]],
    folder: Path,
    *defines: str,
    core: str = "cortex-m4",
    skip: bool = False,
) -> list[bool]:
    """Whether each Program's states are those of NumPy after every step, on an emulated core.

    Args:
        programs: Programs.
        steps: Of each Program, name of an input to (steps, length) integers.
        folder: For the C and the ELF file.
        defines: Macros.
        core: Its name.
        skip: Whether columns whose element is 0 are skipped.
    """
    bodies = {p.name: body_of(p, skip=skip) for p in programs}
    source = folder / "programs.c"
    functions = map(_function, programs, bodies.values())
    source.write_text("\n".join(["#include <stdint.h>", _shared(programs, list(bodies.values())), *functions]))
    options = {"entry_points": list(bodies), "defines": defines, "include_dirs": [folder]}
    image = compile_device(CORES[core], [source], folder / "programs.elf", **options)
    return [_equal(Machine(CORES[core], image), p, x) for p, x in zip(programs, steps, strict=True)]


def extremes(program: Program, steps: int) -> dict[str, np.ndarray]:
    """Random integers, and the outermost ones, of each input."""
    rng = np.random.default_rng(0)
    found = {}
    for p in program.inputs:
        x = rng.integers(p.lo, p.hi + 1, (steps, p.length))
        x[::3] = rng.choice([p.lo, p.hi], x[::3].shape)
        x[1], x[2] = p.hi, p.lo
        found[p.name] = x.astype(np.int32)
    return found


def body_of(program: Program, *, skip: bool = False) -> Body:
    states = [s.port for s in program.states]
    places = {p.name: Vector(f"state->{identifier(p.name)}", p.length, p.bits) for p in states}
    places |= {p.name: Vector(identifier(p.name), p.length, p.bits) for p in program.inputs}
    return BodyWriter(program, "m", places, kernels=True, skip={program.name} if skip else ()).write()


def _shared(programs: list[Program], bodies: list[Body]) -> str:
    context = {"name": "m", "NAME": "M", **kernel_context("m", bodies, _constants("m", programs), [])}
    constants = [f"static const {k['type']} {k['name']}{k['shape']} = {{{k['text']}}};" for k in context["constants"]]
    return "\n".join([*constants, render("helpers.c.j2", context), render("kernels.c.j2", context)])


def _function(program: Program, body: Body) -> str:
    name = program.name
    members = [f"int{s.port.bits}_t {identifier(s.port.name)}[{s.port.length}];" for s in program.states]
    scratch = [f"int{v.bits}_t {v.c}[{v.length}];" for v in body.scratch]
    scratch += [f"uint32_t {v.c}[{v.length}];" for members in body.kernel_scratch.values() for v in members]
    scratch += [] if scratch else ["int8_t unused;"]
    inputs = "".join(f", const int{p.bits}_t *{identifier(p.name)}" for p in program.inputs)
    unread = "".join(f" (void){identifier(p.name)};" for p in program.inputs)
    assert any("for (j" in line for line in branch(body.lines, "m", "DSP"))
    lines = "\n".join(body.lines)
    return (
        f"typedef struct {{ {' '.join(members)} }} {name}_state;\n"
        f"typedef struct {{ {' '.join(scratch)} }} {name}_scratch;\n"
        f"void {name}({name}_state *state, {name}_scratch *scratch{inputs});\n"
        f"void {name}({name}_state *state, {name}_scratch *scratch{inputs})\n"
        f"{{\nint32_t j; (void)scratch;{unread}\n{lines}\n}}\n"
    )


def _equal(machine: Machine, program: Program, x: dict[str, np.ndarray]) -> bool:
    executor = Executor(program, NUMPY)
    ports = [s.port for s in program.states]
    at = machine.alloc(sum(p.length * p.bits // 8 + 4 for p in ports))
    scratch = machine.alloc(16384)
    inputs = [machine.alloc(p.length * p.bits // 8, align=p.bits // 8) for p in program.inputs]
    values = {p.name: np.zeros(p.length, np.int32) for p in ports}
    for t in range(len(x[program.inputs[0].name])):
        for p, address in zip(program.inputs, inputs, strict=True):
            machine.write(address, x[p.name][t].astype(f"<i{p.bits // 8}").tobytes())
        machine.call(program.name, at, scratch, *inputs)
        found = executor({**values, **{n: v[t] for n, v in x.items()}})
        values = {s.port.name: found[s.next] for s in program.states}
        end = at
        for p in ports:
            size = p.bits // 8
            end = -(-end // size) * size
            if not np.array_equal(np.frombuffer(machine.read(end, size * p.length), f"<i{size}"), values[p.name]):
                return False
            end += size * p.length
    return True
