"""A stage's Program as a kernel: the forward pass of quantization-aware training, in the integers of the runtime."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import half
from edge_lstm.nn.kernel_code import Code, Number, Operand, Table, Value
from edge_lstm.nn.kernel_run import kernel, stream, streamed, usable
from edge_lstm.numpy_plan import exact_float
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program

ELEMENTS: Mapping[Op, str] = {
    Op.CONST: "{value}",
    Op.ADD: "{0} + {1}",
    Op.SUB: "{0} - {1}",
    Op.MAX: "({0} > {1} ? {0} : {1})",
    Op.MUL: "{0} * {1}",
    Op.SHIFT_RIGHT_FLOOR: "{0} >> {n}",
    Op.SHIFT_RIGHT_HALF_UP: "({0} + {half}) >> {n}",
    Op.SATURATE: "({0} < {lo} ? {lo} : {0} > {hi} ? {hi} : {0})",
    Op.THRESHOLD: "({0} > 0 ? 1 : 0)",
    Op.SELECT: "({0} != 0 ? {1} : 0)",
    Op.LUT: "{table}[{0} - {lo}]",
    Op.LUT_INTERP: "{table}[({0} >> {n}) - {lo}] + ((({table}[({0} >> {n}) - {lo} + 1] - {table}[({0} >> {n}) - {lo}]) "
    "* ({0} & ((1 << {n}) - 1)) + {half}) >> {n})",
}
"""C of each operation that works element by element; others are statements, and those of heads alone have none."""


class _Stage:
    """``Code`` of a Program.

    Args:
        program: Any of a stage.
        kept: Values that are recorded, of states what they are after the step.
        real: Values that are recorded in real units, float32.
    """

    def __init__(self, program: Program, kept: Sequence[str], real: Sequence[str]) -> None:
        self.code = Code()
        self._program, self._lengths = program, _numbered(program)
        self._values: dict[str, Value] = {}
        for port in program.inputs:
            self._values[port.name] = self.code.source(port.name, self._length(port.name), "integer", "stream")
        for state in program.states:
            name = state.port.name
            self._values[name] = self.code.source(name, self._length(name), "integer", "carried")
        for instruction in program.instructions:
            self._values[instruction.out] = self._made(instruction)
        after = {s.port.name: self._values[s.next] for s in program.states}
        for name, value in after.items():
            self.code.carry(self._values[name], value)
        for name in kept:
            self.code.stored[name] = after.get(name) or self._values[name]
        for name in real:
            value = after.get(name) or self._values[name]
            unit = self.code.source(f"unit {name}", value.length, "real", "vector")
            self.code.stored[f"real {name}"] = self.code.elements(value.length, "real", "(real){0} * {1}", value, unit)

    def _length(self, name: str) -> str:
        return self._lengths[name]

    def _made(self, i: Instruction) -> Value:
        arguments = [self._values[a] for a in i.args]
        length = self._length(i.out)
        if i.op is Op.CONCAT:
            return self.code.concat(length, arguments)
        if i.op is Op.MATVEC:
            bias = self._constant(str(i.attributes["bias"]), length)
            return self.code.product(length, str(i.attributes["weights"]), arguments[0], bias)
        if i.op not in ELEMENTS:
            raise EdgeLstmError(f"{i.out} ({i.op.value}) of {self._program.name} can't be compiled")
        if i.op is Op.CONST:
            return self._constant(str(i.attributes["value"]), length)
        named: dict[str, Operand] = {k: Number(f"{i.out} {k}", "integer") for k in i.attributes if k != "table"}
        if i.op in (Op.SHIFT_RIGHT_HALF_UP, Op.LUT_INTERP):
            named["half"] = Number(f"{i.out} half", "integer")
        if "table" in i.attributes:
            named["table"] = Table(str(i.attributes["table"]))
        text = ELEMENTS[i.op]
        for k, name in enumerate(named, len(arguments)):
            text = text.replace(f"{{{name}}}", f"{{{k}}}")
        return self.code.elements(length, "integer", text, *arguments, *named.values())

    def _constant(self, name: str, length: str) -> Value:
        value = Value(name, length, "integer")
        return value if value in self.code.sources else self.code.source(name, length, "integer", "vector")


def run(
    program: Program,
    inputs: Mapping[str, Tensor],
    states: Mapping[str, Tensor],
    kept: Sequence[str],
    units: Mapping[str, Tensor],
    steps: int,
    lengths: Tensor | None,
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]] | None:
    """Take windows through all steps; None without a kernel.

    Args:
        program: Of a stage.
        inputs: Name to (steps, windows, length), in the order in which the stage goes through them.
        states: Name to (windows, length) before the first step.
        kept: Values to record in integers.
        units: Values to record in real units, and the real value of one unit of each element (length,), float32.
        steps: Of the longest window.
        lengths: (windows,) steps of each window; None: all have all.

    Returns:
        What is recorded in integers and in real units, (steps, windows, length), in the order of the stage; and each
        state after its window's last step.
    """
    if not usable() or not all(p.lo <= 0 <= p.hi for p in (*program.inputs, *(s.port for s in program.states))):
        return None
    named = tuple(kept), tuple(units)
    made = kernel((_key(program), named), lambda: _Stage(program, *named).code, torch.float32)
    if made is None:
        return None
    windows = next(iter({**inputs, **states}.values())).shape[-2]
    sizes = {"steps": steps, "windows": windows, **_lengths(program)}
    every, real = (
        {name: stream(program.length(name), steps, windows, dtype) for name in names}
        for names, dtype in zip(named, (torch.int32, torch.float32), strict=True)
    )
    final = {s.port.name: torch.empty(s.port.length, windows, dtype=torch.int32) for s in program.states}
    arrays: dict[str, Tensor | None] = {name: torch.from_numpy(v) for name, v in program.constants.items()}
    arrays |= {name: streamed(v) for name, v in inputs.items()}
    arrays |= {name: v.T.contiguous() for name, v in states.items()}
    arrays |= {f"final {name}": v for name, v in final.items()}
    arrays |= {f"to {name}": v for name, v in every.items()} | {f"to real {name}": v for name, v in real.items()}
    arrays |= {f"unit {name}": unit for name, unit in units.items()}
    arrays |= _exact(program)
    made(sizes, arrays, _numbers(program), lengths)
    in_steps = ({name: v.permute(1, 2, 0) for name, v in found.items()} for found in (every, real))
    in_integers, in_units = in_steps
    return in_integers, in_units, {name: v.T for name, v in final.items()}


def _key(program: Program) -> Hashable:
    """What the code depends on: no size, weight, shift or limit."""
    instructions = tuple(
        (i.op, i.out, i.args, tuple(sorted((k, v) for k, v in i.attributes.items() if isinstance(v, str))))
        for i in program.instructions
    )
    ports = tuple((p.name, "input") for p in program.inputs) + tuple((s.port.name, s.next) for s in program.states)
    return instructions, ports, tuple(_numbered(program).values())


def _numbered(program: Program) -> dict[str, str]:
    """Names of the lengths of all values: these are numbered, so that the code is that of every size."""
    names: dict[int, str] = {}
    return {v: names.setdefault(len(r.lo), f"size{len(names)}") for v, r in program.intervals.items()}


def _lengths(program: Program) -> dict[str, int]:
    return {name: program.length(value) for value, name in _numbered(program).items()}


def _numbers(program: Program) -> dict[str, int]:
    """Attributes that are numbers, and the halves of shifts."""
    found: dict[str, int] = {}
    for i in program.instructions:
        for k, v in i.attributes.items():
            if isinstance(v, int):
                found[f"{i.out} {k}"] = v
                if k == "n":
                    found[f"{i.out} half"] = half(v)
    return found


def _exact(program: Program) -> dict[str, Tensor | None]:
    """Weights as float32 of the products that are exact in it."""
    found: dict[str, Tensor | None] = {}
    for i in program.instructions:
        if i.op is Op.MATVEC:
            weights = program.constants[str(i.attributes["weights"])]
            exact = exact_float(program.intervals[i.args[0]], weights, np.zeros(len(weights), np.int32))
            if exact == np.float32:
                found[f"exact {i.attributes['weights']}"] = torch.from_numpy(weights.astype(np.float32))
    return found
