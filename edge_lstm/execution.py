"""What every backend is given and gives back: the one interface behind which all four stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import Integers
from edge_lstm.lower import Lowered
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import Op
from edge_lstm.program import Program

Trace = Literal["none", "states", "all"]
"""What to record at each step: nothing, the states and outputs, or every intermediate of both Programs."""

States = Mapping[str, Integers]
"""State name to (windows, length)."""


@dataclass(frozen=True)
class Execution:
    """Integers that a backend computed.

    Attributes:
        outputs: Output name to (windows, length) after the last step.
        state: State name to (windows, length) after the last step.
        trace: Value name to (windows, steps, length); empty unless asked for.
    """

    outputs: Mapping[str, Integers]
    state: States
    trace: Mapping[str, Integers] = field(default_factory=dict)


class Backend(Protocol):
    """Executes a model over windows of input integers."""

    def __call__(
        self, model: QuantizedModel, x: Integers, *, state: States | None = None, trace: Trace = "none"
    ) -> Execution:
        """Run.

        Args:
            model: The model.
            x: (windows, steps, channels) input integers, -127 to 127.
            state: Where to go on from; zero, as after a reset, where None.
            trace: What to record.
        """


def traced(lowered: Lowered, trace: Trace) -> tuple[list[str], list[str]]:
    """Names of the values of the step Program and of the head Program that a trace records, in order of computation."""
    if trace == "none":
        return [], []
    if trace == "states":
        return [s.name for s in lowered.states], list(lowered.outputs)
    return _computed(lowered.step) + [s.name for s in lowered.states], _computed(lowered.head)


def _computed(program: Program) -> list[str]:
    return [i.out for i in program.instructions if i.op is not Op.CONST]


def initial_state(lowered: Lowered, windows: int, state: States | None) -> dict[str, Integers]:
    """The given state, checked, or zeros.

    Raises:
        EdgeLstmError: A state is missing, unknown, of the wrong shape or out of its range.
    """
    if state is None:
        return {s.name: np.zeros((windows, s.length), np.int32) for s in lowered.states}
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


def checked_input(model: QuantizedModel, x: Integers) -> Integers:
    """Input integers as int32 (windows, steps, channels).

    Raises:
        EdgeLstmError: Wrong shape or type, or a value outside -127 to 127.
    """
    array, channels = np.asarray(x), len(model.signature.channels)
    if array.ndim != 3 or array.shape[2] != channels or 0 in array.shape or array.dtype.kind != "i":
        raise EdgeLstmError(
            f"input integers are {array.dtype} {array.shape}; {model.signature.name} takes integers "
            f"(windows, steps, {channels}), none 0"
        )
    limits = model.input_format
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise EdgeLstmError(
            f"input integers reach from {array.min()} to {array.max()}; accepted are {limits.min} to {limits.max}"
        )
    return array.astype(np.int32)
