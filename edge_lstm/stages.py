"""What every backend executes: Programs that go through windows one after the other, and one for the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_lstm.program import Port, Program

SAMPLES = "x"
"""The source that is the window itself."""


@dataclass(frozen=True)
class Tap:
    """Where an input of a stage comes from: at step t of the stage, the source's step ``t * stride + offset``.

    Attributes:
        source: ``x``, or a state of an earlier stage: then it is what that state is after the step.
        stride, offset: In steps of the source.
        fill: (length,) integers in the place of steps that the source does not have; None where none of these is asked.
        last: At every step, the state as it is after the last step of its stage.
    """

    source: str
    stride: int = 1
    offset: int = 0
    fill: tuple[int, ...] | None = None
    last: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is the source, step by step."""
        return (self.stride, self.offset, self.last) == (1, 0, False)

    def steps(self, count: int) -> list[int]:
        """The source's step at each of so many steps."""
        return [t * self.stride + self.offset for t in range(count)]


@dataclass(frozen=True)
class Stage:
    """A Program that runs through a window.

    Attributes:
        program: One time step.
        reverse: From the last step to the first.
        steps: Of the stage, where it is not the window's that it goes through.
        starts: State to the state of an earlier stage with whose last value it begins.
        taps: Input to where it comes from; one that is not here is called as its source, and taken step by step.
    """

    program: Program
    reverse: bool = False
    steps: int | None = None
    starts: Mapping[str, str] = field(default_factory=dict)
    taps: Mapping[str, Tap] = field(default_factory=dict)

    @property
    def states(self) -> tuple[Port, ...]:
        """The state vectors."""
        return tuple(s.port for s in self.program.states)

    def tap(self, name: str) -> Tap:
        """Where an input comes from."""
        return self.taps.get(name) or Tap(name)


@dataclass(frozen=True)
class Lowered:
    """A model as Programs.

    Attributes:
        stages: In the order in which they go through a window.
        head: From states to the outputs ``scores`` (classes,), of a classifier ``class_index`` (1,) and perhaps
            ``probabilities`` (classes,); keeps nothing.
        each: There are outputs for each step of the last stage, from the states after it, and not only at the end.
    """

    stages: tuple[Stage, ...]
    head: Program
    each: bool

    @property
    def states(self) -> tuple[Port, ...]:
        """The state vectors, in the order in which they are saved."""
        return tuple(port for stage in self.stages for port in stage.states)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.head.outputs

    @property
    def streams(self) -> bool:
        """Whether samples can be taken one by one: no stage goes backwards, comes after another or looks aside."""
        stage = self.stages[0]
        return len(self.stages) == 1 and not stage.reverse and stage.steps is None and not stage.taps

    @property
    def step(self) -> Program:
        """The Program of a time step, of a model that streams."""
        (stage,) = self.stages
        return stage.program

    @property
    def programs(self) -> tuple[Program, ...]:
        """Those of the stages, and the head."""
        return (*(stage.program for stage in self.stages), self.head)

    @property
    def kept(self) -> tuple[str, ...]:
        """States whose value after each step of the window another stage, or the head, reads."""
        taps = [stage.tap(port.name) for stage in self.stages for port in stage.program.inputs]
        read = {tap.source for tap in taps if not tap.last}
        if self.each:
            read |= {port.name for port in self.head.inputs}
        return tuple(p.name for p in self.states if p.name in read)

    def stage_of(self, state: str) -> Stage:
        """The stage that has a state."""
        return next(stage for stage in self.stages if any(port.name == state for port in stage.states))
