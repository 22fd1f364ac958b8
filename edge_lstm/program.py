"""``Program``: a straight-line list of integer operations for one time step, and its range analysis."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import Integers
from edge_lstm.ops import RANGES, Interval, Op


def storage_bits(lo: int, hi: int) -> int:
    """Narrowest of 8, 16 and 32 bits, signed, that holds [lo, hi]."""
    return next(b for b in (8, 16, 32) if lo >= -(2 ** (b - 1)) and hi < 2 ** (b - 1))


@dataclass(frozen=True, slots=True)
class Port:
    """A vector that a Program is given: an input or a state. Values lie in [lo, hi]."""

    name: str
    length: int
    lo: int
    hi: int

    @property
    def interval(self) -> Interval:
        """The declared range, per element."""
        return Interval.of(self.lo, self.hi, self.length)

    @property
    def bits(self) -> int:
        """Narrowest of 8, 16 and 32 bits that holds the range."""
        return storage_bits(self.lo, self.hi)


@dataclass(frozen=True, slots=True)
class State:
    """A vector kept from step to step: read as ``port.name``, replaced by ``next``.

    After a reset it is zero, or the constant of the Program that ``initial`` names.
    """

    port: Port
    next: str
    initial: str | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """``out = op(*args)``. An attribute is an integer, or the name of one of the Program's constants."""

    op: Op
    out: str
    args: tuple[str, ...] = ()
    attributes: Mapping[str, int | str] = field(default_factory=dict)

    def bind(self, constants: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes with constants in the place of their names."""
        return {k: constants[v] if isinstance(v, str) else v for k, v in self.attributes.items()}

    def __str__(self) -> str:
        attributes = [f"{k}={v}" for k, v in self.attributes.items()]
        return f"{self.out} = {self.op.value}({', '.join([*self.args, *attributes])})"


class RangeError(EdgeLstmError):
    """A Program for which absence of overflow can't be proved (rule R6)."""


@dataclass(frozen=True)
class Program:
    """Typed, single-assignment and proved free of overflow: construction fails where the proof does.

    Args:
        name: What error messages call it.
        inputs: Vectors given at each step.
        states: Vectors kept between steps.
        outputs: Values that the caller is given.
        constants: Integer arrays by name.
        instructions: In order of execution; each names only what is known before it.

    Attributes:
        intervals: The proved range of each value.
        packed: Bits of each element of the constants that are stored in fewer than 8, by name.

    Raises:
        RangeError: A value could leave 32 bits, or a state its declared range; or the instructions don't fit together.
    """

    name: str
    inputs: tuple[Port, ...]
    states: tuple[State, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Integers]
    instructions: tuple[Instruction, ...]
    intervals: Mapping[str, Interval] = field(init=False, repr=False)
    packed: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        known = {p.name: p.interval for p in (*self.inputs, *(s.port for s in self.states))}
        for instruction in self.instructions:
            if instruction.out in known:
                raise RangeError(f"{self.name}: {instruction.out} is assigned twice")
            for argument in instruction.args:
                if argument not in known:
                    raise RangeError(f"{self.name}: {instruction.out} needs {argument}, which nothing before it makes")
            arguments = [known[a] for a in instruction.args]
            try:
                result = RANGES[instruction.op](*arguments, **instruction.bind(self.constants))
            except (OverflowError, ValueError) as error:
                raise RangeError(f"{self.name}: {instruction.out} ({instruction.op.value}): {error}") from None
            known[instruction.out] = result
        made = {i.out for i in self.instructions}
        for name in (*self.outputs, *(s.next for s in self.states)):
            if name not in made:
                raise RangeError(f"{self.name}: {name} is an output or the next value of a state, and nothing makes it")
        for state in self.states:
            result, port = known[state.next], state.port
            if len(result.lo) != port.length or result.lo.min() < port.lo or result.hi.max() > port.hi:
                raise RangeError(
                    f"{self.name}: {state.next} can reach [{result.lo.min()}, {result.hi.max()}] in {len(result.lo)} "
                    f"elements, and state {port.name} holds [{port.lo}, {port.hi}] in {port.length}"
                )
            first = self.initial(state)
            if first.shape != (port.length,) or first.min() < port.lo or first.max() > port.hi:
                raise RangeError(f"{self.name}: state {port.name} begins outside of its length or its range")
        object.__setattr__(self, "intervals", known)
        object.__setattr__(self, "packed", self._packed())

    def initial(self, state: State) -> Integers:
        """A state after a reset, (length,)."""
        return np.zeros(state.port.length, np.int32) if state.initial is None else self.constants[state.initial]

    def _packed(self) -> dict[str, int]:
        """A constant is stored once, so all who use it must agree on its packing."""
        declared: dict[str, int] = {}
        for instruction in self.instructions:
            for key, name in instruction.attributes.items():
                if isinstance(name, str):
                    bits = int(instruction.attributes.get("bits", 8)) if key == "weights" else 8
                    if declared.setdefault(name, bits) != bits:
                        raise RangeError(
                            f"{self.name}: {instruction.out} needs {name} in {bits} bits, and another use of it in "
                            f"{declared[name]}"
                        )
        return {name: bits for name, bits in declared.items() if bits < 8}

    def length(self, value: str) -> int:
        """Number of elements of a value."""
        return len(self.intervals[value].lo)

    def bits(self, value: str) -> int:
        """Narrowest of 8, 16 and 32 bits that holds a value."""
        return storage_bits(int(self.intervals[value].lo.min()), int(self.intervals[value].hi.max()))

    def __str__(self) -> str:
        lines = [f"{p.name}: input ({p.length},) in [{p.lo}, {p.hi}]" for p in self.inputs]
        lines += [f"{s.port.name}: state ({s.port.length},) in [{s.port.lo}, {s.port.hi}]" for s in self.states]
        lines += [str(i) for i in self.instructions]
        lines += [f"{s.port.name} <- {s.next}" for s in self.states]
        return "\n".join([f"program {self.name}", *(f"  {line}" for line in lines)])


def constant_bits(program: Program, name: str) -> int:
    """Width of each element of a constant in the C export: 2 or 4 where it is packed, else 8, 16 or 32."""
    value = program.constants[name]
    return program.packed.get(name) or storage_bits(int(value.min()), int(value.max()))


def constant_bytes(program: Program, name: str) -> int:
    """Flash that the C export takes for a constant. Rows of packed weights are padded to whole bytes."""
    *rows, columns = program.constants[name].shape
    return int(math.prod(rows)) * -(-int(columns) * constant_bits(program, name) // 8)


class Executor:
    """Runs a Program with a table of operations, on whatever arrays the table works with.

    Args:
        table: One callable per operation, called with the arguments and the bound attributes.
        convert: Makes the table's kind of array from a constant.
    """

    def __init__(
        self, program: Program, table: Mapping[Op, Callable[..., Any]], convert: Callable[[Integers], Any] = np.asarray
    ) -> None:
        constants = {name: convert(value) for name, value in program.constants.items()}
        self.program = program
        self._calls = [(table[i.op], i.out, i.args, i.bind(constants)) for i in program.instructions]

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Add every intermediate to ``values``, which holds inputs and states, each (..., length)."""
        for function, out, args, attributes in self._calls:
            values[out] = function(*[values[a] for a in args], **attributes)
        return values


class ProgramBuilder:
    """Collects instructions; a cell's description is a function that calls these methods."""

    def __init__(self, name: str = "program") -> None:
        self.name = name
        self.constants: dict[str, Integers] = {}
        self.instructions: list[Instruction] = []
        self._intervals: dict[str, Interval] = {}
        self._vectors: set[str] = set()

    def port(self, port: Port) -> Port:
        """Make an input or a state known to ``interval``."""
        self._intervals[port.name] = port.interval
        return port

    def interval(self, name: str) -> tuple[int, int]:
        """Smallest and largest integer of a value, over all its elements.

        Raises:
            RangeError: A result before it could overflow.
        """
        found = self._interval(name)
        return int(found.lo.min()), int(found.hi.max())

    def length(self, name: str) -> int:
        """Number of elements of a value."""
        return len(self._interval(name).lo)

    def _interval(self, name: str) -> Interval:
        known = self._intervals
        for i in self.instructions:
            if i.out not in known:
                try:
                    known[i.out] = RANGES[i.op](*[known[a] for a in i.args], **i.bind(self.constants))
                except (OverflowError, ValueError) as error:
                    raise RangeError(f"{self.name}: {i.out} ({i.op.value}): {error}") from None
        return known[name]

    def constant(self, name: str, value: Any) -> str:
        """Register a constant; several instructions may share an equal one.

        Raises:
            EdgeLstmError: Another value has this name.
        """
        array = np.asarray(value, np.int32)
        if not np.array_equal(self.constants.setdefault(name, array), array):
            raise EdgeLstmError(f"two different constants are called {name}")
        return name

    def full(self, name: str, value: int, length: int) -> str:
        """A vector of one value; a name has one value."""
        out = f"{name}_v"
        constant = self.constant(name, np.full(length, value, np.int32))
        if out not in self._vectors:
            self._vectors.add(self.emit(Op.CONST, out, value=constant))
        return out

    def emit(self, op: Op, out: str, *args: str, **attributes: int | str) -> str:
        """Append ``out = op(*args)`` and return ``out``."""
        self.instructions.append(Instruction(op, out, args, attributes))
        return out
