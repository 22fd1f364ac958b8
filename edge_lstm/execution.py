"""What every backend is given and gives back: the one interface behind which all four stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_model import IntegerModel
from edge_lstm.ops import Op
from edge_lstm.program import Program
from edge_lstm.stages import Lowered

Trace = Literal["none", "states", "all"]
"""What to record at each step: nothing, the states and outputs, or every intermediate of both Programs."""

States = Mapping[str, Integers]
"""State name to (windows, length)."""


@dataclass(frozen=True)
class Execution:
    """Integers that a backend computed.

    Attributes:
        outputs: Output name to (windows, length); to (windows, steps, length) of a model with outputs for each step.
        state: State name to (windows, length) after the last step that the state's stage took.
        trace: Value name to (windows, steps, length), in the order of time; empty unless asked for. Values of the head
            of a model that does not stream, and has no outputs for each step, have one step.

    What is beyond a window's end is 0.
    """

    outputs: Mapping[str, Integers]
    state: States
    trace: Mapping[str, Integers] = field(default_factory=dict)


class Backend(Protocol):
    """Executes a model over windows of input integers."""

    def __call__(
        self,
        model: IntegerModel,
        x: Integers,
        *,
        state: States | None = None,
        trace: Trace = "none",
        lengths: Any = None,
    ) -> Execution:
        """Run.

        Args:
            model: The model.
            x: (windows, steps, channels) input integers, -127 to 127.
            state: Where to go on from, of a model that streams; as after a reset where None.
            trace: What to record.
            lengths: (windows,) steps of each window, of a model for windows of several lengths.
        """


def traced(lowered: Lowered, trace: Trace) -> tuple[list[list[str]], list[str]]:
    """Values that a trace records, in order of computation: of each stage, and of the head."""
    if trace == "none":
        return [[] for _ in lowered.stages], []
    if trace == "states":
        return [[s.name for s in stage.states] for stage in lowered.stages], list(lowered.outputs)
    return [_computed(s.program) + [port.name for port in s.states] for s in lowered.stages], _computed(lowered.head)


def _computed(program: Program) -> list[str]:
    return [i.out for i in program.instructions if i.op is not Op.CONST]


def traced_at_each(lowered: Lowered) -> bool:
    """Whether a trace has the head's values of each step, and not only of the end."""
    return lowered.each or lowered.streams


def initial_state(lowered: Lowered, windows: int, state: States | None) -> dict[str, Integers]:
    """The given state, checked, or that after a reset; without what begins with a state of an earlier stage.

    Raises:
        EdgeLstmError: A state is missing, unknown, of the wrong shape or out of its range; or the model does not
            stream.
    """
    if state is None:
        return {
            s.port.name: np.tile(stage.program.initial(s), (windows, 1))
            for stage in lowered.stages
            for s in stage.program.states
            if s.port.name not in stage.starts
        }
    if not lowered.streams:
        raise EdgeLstmError("a state is given, and the model looks at whole windows; it begins each anew")
    wanted = {s.name for s in lowered.states}
    if set(state) != wanted:
        raise EdgeLstmError(f"the state has {', '.join(sorted(state))}; it must have {', '.join(sorted(wanted))}")
    for port in lowered.states:
        array = np.asarray(state[port.name])
        if array.shape != (windows, port.length) or array.dtype.kind != "i":
            raise EdgeLstmError(
                f"state {port.name} is {array.dtype} {array.shape}, and must be integers ({windows}, {port.length})"
            )
        if array.size and (array.min() < port.lo or array.max() > port.hi):
            raise EdgeLstmError(
                f"state {port.name} holds values from {array.min()} to {array.max()}; "
                f"accepted are {port.lo} to {port.hi}"
            )
    return {name: np.asarray(state[name], np.int32) for name in (s.name for s in lowered.states)}


def check_whole_window(model: IntegerModel, steps: int) -> None:
    """Raise unless a model takes windows of so many steps.

    Raises:
        EdgeLstmError: Naming both numbers.
    """
    if model.exact_windows and steps != model.signature.steps:
        raise EdgeLstmError(
            f"windows of {steps} steps; {model.signature.name} takes windows of exactly {model.signature.steps}"
        )
    if model.looks_ahead and steps > model.signature.steps:
        raise EdgeLstmError(
            f"windows of {steps} steps; {model.signature.name}, which looks at whole windows, takes at most "
            f"{model.signature.steps}"
        )


def checked_input(model: IntegerModel, x: Integers) -> Integers:
    """Input integers as int32 (windows, steps, channels).

    Raises:
        EdgeLstmError: Wrong shape or type, more steps than a model that looks at whole windows takes, or a value out of
            range.
    """
    array, channels = np.asarray(x), len(model.signature.channels)
    if array.ndim != 3 or array.shape[2] != channels or 0 in array.shape or array.dtype.kind != "i":
        raise EdgeLstmError(
            f"input integers are {array.dtype} {array.shape}; {model.signature.name} takes integers "
            f"(windows, steps, {channels}), none 0"
        )
    check_whole_window(model, array.shape[1])
    limits = model.input_format
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise EdgeLstmError(
            f"input integers reach from {array.min()} to {array.max()}; accepted are {limits.min} to {limits.max}"
        )
    return array.astype(np.int32)
