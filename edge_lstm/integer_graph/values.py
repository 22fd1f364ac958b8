"""Values of a graph while it is lowered: where each is made, and what a stage must be given to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edge_lstm.program import Instruction, Port, Program, ProgramBuilder, State
from edge_lstm.stages import SAMPLES, Stage, Tap


@dataclass
class Writer:
    """A stage, or the head, while it is written.

    Attributes:
        place: Its number; the head comes after all stages.
        builder: Collects its Program.
        steps: Of it.
        reverse, states, starts, taps: As of a ``Stage``.
        inputs: By name.
    """

    place: int
    builder: ProgramBuilder
    steps: int
    reverse: bool = False
    states: list[State] = field(default_factory=list)
    starts: dict[str, str] = field(default_factory=dict)
    taps: dict[str, Tap] = field(default_factory=dict)
    inputs: dict[str, Port] = field(default_factory=dict)

    def port(self, name: str) -> Port:
        """The state that is a value after each step; made where there is none."""
        for state in self.states:
            if state.next == name:
                return state.port
        lo, hi = self.builder.interval(name)
        port = self.builder.port(Port(f"{name}.kept", self.builder.length(name), min(lo, 0), max(hi, 0)))
        self.states.append(State(port, name))
        return port

    def read(self, port: Port, tap: Tap, steps: int) -> str:
        """The name of an input that comes from there, a source of so many steps."""
        name, plain = port.name, tap.plain and steps == self.steps
        if not plain:
            step = "last" if tap.last else f"{tap.stride}_{tap.offset}"
            filled = "" if not tap.fill or not any(tap.fill) else f"_or_{tap.fill[0]}"
            name = f"{port.name}.at_{step}{filled}".replace("-", "m")
        if name not in self.inputs:
            self.inputs[name] = self.builder.port(replace(port, name=name))
            if not plain:
                self.taps[name] = tap
        return name

    def program(self, outputs: tuple[str, ...] = ()) -> Program:
        """The finished Program, without what neither a state nor an output is made of."""
        b, needed = self.builder, {*outputs, *(state.next for state in self.states)}
        instructions: list[Instruction] = []
        for instruction in reversed(b.instructions):
            if instruction.out in needed:
                needed.update(instruction.args)
                instructions.append(instruction)
        named = {v for i in instructions for v in i.attributes.values()} | {state.initial for state in self.states}
        constants = {name: value for name, value in b.constants.items() if name in named}
        inputs = tuple(port for port in self.inputs.values() if port.name in needed)
        return Program(b.name, inputs, tuple(self.states), outputs, constants, tuple(instructions[::-1]))

    def stage(self, window: int) -> Stage:
        """The finished stage, of windows of so many steps."""
        steps, program = None if self.steps == window else self.steps, self.program()
        taps = {port.name: self.taps[port.name] for port in program.inputs if port.name in self.taps}
        return Stage(program, self.reverse, steps, self.starts, taps)


@dataclass(frozen=True)
class Part:
    """Some features of a value, as a stage makes them; or the window's samples.

    Attributes:
        writer: The stage; None for the samples.
        name: Of the value in its Program.
        port: Of a state that it is, or of the samples; None where there is no state yet.
        stride, offset: Step t of the part is the step ``t * stride + offset`` of the stage.
        fill: Integer in the place of steps that the stage does not have.
        short: The stage has more steps.
        width: Features.
    """

    writer: Writer | None
    name: str
    width: int
    port: Port | None = None
    stride: int = 1
    offset: int = 0
    fill: int | None = None
    short: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is the value, step by step."""
        return (self.stride, self.offset, self.fill, self.short) == (1, 0, None, False)


@dataclass(frozen=True)
class Value:
    """What a node computes.

    Attributes:
        parts: One after the other.
        steps: Of it; a vector has 1.
        vector: It is no sequence.
    """

    parts: tuple[Part, ...]
    steps: int
    vector: bool = False

    @property
    def width(self) -> int:
        """Features."""
        return sum(part.width for part in self.parts)

    def moved(self, stride: int, offset: int, steps: int, fills: Sequence[int]) -> Value | None:
        """The steps ``t * stride + offset``; None where what it does not have is not what its stages don't have.

        Args:
            stride, offset: In steps.
            steps: Of the result.
            fills: Of each part the integer in the place of steps that there are not.
        """
        reach = (offset, offset + stride * (steps - 1))
        outside = min(reach) < 0 or max(reach) >= self.steps
        if any(part.fill is not None or (outside and not part.plain) for part in self.parts):
            return None
        moved = [
            replace(
                part,
                stride=part.stride * stride if steps > 1 else 1,
                offset=part.offset + part.stride * offset,
                fill=fill if outside else None,
                short=part.short or steps < self.steps,
            )
            for part, fill in zip(self.parts, fills, strict=True)
        ]
        return Value(tuple(moved), steps)


def tap_of(part: Part, port: Port, *, last: bool) -> Tap:
    """Where the input of a stage that reads a part comes from."""
    source = SAMPLES if part.writer is None else port.name
    fill = None if part.fill is None else (part.fill,) * port.length
    return Tap(source, part.stride, part.offset, fill, last)
