"""C99 of a model that looks at whole windows: one function for each stage and one for the head, and what calls them.

What a stage keeps of every step for a later one stands in the scratch structure, as ``STATE_steps``. The head of a
model with outputs for each step runs right after each step of the last stage, whose states are not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edge_lstm.export.c99_body import Body, BodyWriter
from edge_lstm.export.c99_ops import Vector, identifier
from edge_lstm.program import Port, Program
from edge_lstm.stages import SAMPLES, Lowered, Stage, Tap


@dataclass(frozen=True)
class Windows:
    """The functions of a model.

    Args:
        lowered: Its Programs.
        prefix: Of constants and functions.
        positions: Of each value in a row of the record; empty in code that ships.
        skip: As of ``BodyWriter``.
    """

    lowered: Lowered
    prefix: str
    positions: Mapping[str, int]
    skip: Collection[str] = ()

    @property
    def kept(self) -> list[Port]:
        """States of which the value after each step of the window is kept."""
        at_once = self.lowered.stages[-1].states if self.lowered.each else ()
        return [p for p in self.lowered.states if p.name in self.lowered.kept and p not in at_once]

    def bodies(self) -> tuple[list[Body], Body]:
        """Of the stages, and of the head."""
        stages = [self._body(stage) for stage in self.lowered.stages]
        states = {p.name: _member(p) for p in self.lowered.states}
        inputs = {p.name: _parameter(p) for p in self._given_to_head()}
        head = self.lowered.head
        outputs = {name: Vector(f"output_{identifier(name)}", head.length(name), 32) for name in head.outputs}
        return stages, self._write(head, states | inputs | outputs)

    def context(self) -> dict[str, Any]:
        """What the templates need beside the bodies."""
        return {
            "kept": [
                {**_described(p), "bits": p.bits, "steps": self.lowered.stage_of(p.name).steps} for p in self.kept
            ],
            "stages": [self._stage(k, stage) for k, stage in enumerate(self.lowered.stages)],
            "head_inputs": [self._source(p, Tap(p.name)) for p in self._given_to_head()],
            "output_steps": self.lowered.stages[-1].steps,
        }

    def _given_to_head(self) -> list[Port]:
        """What the head reads of the step, and not of the scratch structure: kept states."""
        kept = {p.name for p in self.kept}
        return [p for p in self.lowered.head.inputs if self.lowered.each and p.name in kept]

    def _body(self, stage: Stage) -> Body:
        places = {p.name: _member(p) for p in stage.states} | {p.name: _parameter(p) for p in stage.program.inputs}
        return self._write(stage.program, places)

    def _write(self, program: Program, places: dict[str, Vector]) -> Body:
        return BodyWriter(program, self.prefix, places, dict(self.positions), kernels=True, skip=self.skip).write()

    def _stage(self, k: int, stage: Stage) -> dict[str, Any]:
        kept = {p.name for p in self.kept}
        inputs = [self._source(p, stage.tap(p.name), f"{self.prefix}_fill{k}") for p in stage.program.inputs]
        return {
            "inputs": inputs,
            "fills": [v for v in inputs if v["fill"]],
            "reverse": stage.reverse,
            "steps": stage.steps,
            "begins": [
                {**_described(s.port), "value": self._first(stage, s.port, s.initial)} for s in stage.program.states
            ],
            "keeps": [_described(p) for p in stage.states if p.name in kept],
            "records": [{**_described(p), "at": self.positions.get(p.name)} for p in stage.states],
        }

    def _first(self, stage: Stage, port: Port, initial: str | None) -> str:
        """C of element j of a state before the first step."""
        if port.name in stage.starts:
            return f"scratch->{identifier(stage.starts[port.name])}[j]"
        return "0" if initial is None else f"{self.prefix}_{identifier(initial)}[j]"

    def _source(self, port: Port, tap: Tap, fill: str = "") -> dict[str, Any]:
        """A parameter, what it is given at step t, and the integers in the place of steps that there are not."""
        found = {**_described(port), "bits": port.bits, "fill": ""}
        if tap.last:
            return {**found, "given": f"scratch->{identifier(tap.source)}"}
        array = SAMPLES if tap.source == SAMPLES else f"scratch->{identifier(tap.source)}_steps"
        step = "t" if tap.stride == 1 else f"{tap.stride} * t"
        if tap.offset:
            step = f"({step} {'-' if tap.offset < 0 else '+'} {abs(tap.offset)})"
        given = f"{array} + {step} * {port.length}"
        if tap.fill is None:
            return {**found, "given": given}
        name = f"{fill}_{identifier(port.name)}"
        of_source = None if tap.source == SAMPLES else self.lowered.stage_of(tap.source).steps
        count = str(of_source or f"{self.prefix.upper()}_STEPS")
        inside = f"{step} >= 0 && {step} < {count}"
        values = ", ".join(map(str, tap.fill))
        return {**found, "given": f"{inside} ? {given} : {name}", "fill": name, "values": values}


def _described(port: Port) -> dict[str, Any]:
    return {"c": identifier(port.name), "length": port.length}


def _member(port: Port) -> Vector:
    return Vector(f"scratch->{identifier(port.name)}", port.length, port.bits)


def _parameter(port: Port) -> Vector:
    return Vector(identifier(port.name), port.length, port.bits)
