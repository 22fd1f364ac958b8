"""Where each value stands in the integers that the harness exchanges with a compiled model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Trace, check_whole_window, traced, traced_at_each
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.stages import Lowered, Stage


class Layout:
    """Places in int32 arrays.

    Attributes:
        states: State name to (start, length) in the state array.
        outputs: Output name to (start, length) in a row of the outputs.
        record: Value name to (start, length) in a row of the record, which has what a step leaves.
        record_length: Of a row of the record.
        traced: What a trace has: value name to the stage that makes it at each of its steps, or None where the value
            is that at the end, in the first row.
    """

    def __init__(self, lowered: Lowered, trace: Trace) -> None:
        head = lowered.head
        self.states = _places({s.name: s.length for s in lowered.states})
        self.outputs = _places({name: head.length(name) for name in lowered.outputs})
        of_stages, of_head = traced(lowered, trace)
        self.traced: dict[str, Stage | None] = {}
        recorded = {name: length for places in (self.states, self.outputs) for name, (_, length) in places.items()}
        for stage, names in zip(lowered.stages, of_stages, strict=True):
            self.traced |= dict.fromkeys(names, stage)
            recorded |= {name: stage.program.length(name) for name in names}
        self.traced |= dict.fromkeys(of_head, lowered.stages[-1] if traced_at_each(lowered) else None)
        recorded |= {name: head.length(name) for name in of_head}
        self.record = _places(recorded)
        self.record_length = sum(recorded.values())


def _places(lengths: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Values one after the other."""
    starts = np.cumsum([0, *lengths.values()])
    return {name: (int(start), length) for (name, length), start in zip(lengths.items(), starts, strict=False)}


def check_steps(model: IntegerModel, steps: int) -> None:
    """Raise unless the generated C of a model takes windows of that many steps.

    Raises:
        EdgeLstmError: Naming the number.
    """
    if lower(model).streams:
        return
    most = model.signature.steps
    if model.fixed_mean and steps != most:
        raise EdgeLstmError(
            f"a window of {steps} steps; the C of {model.signature.name} takes {most}: its mean is fixed"
        )
    check_whole_window(model, steps)
