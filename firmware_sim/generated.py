"""The generated C of a model, compiled, and the integers that its harness exchanges."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.execution import Execution, States, Trace, initial_state
from edge_lstm.export import c99
from edge_lstm.export.c99_layout import Layout, check_steps
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.stages import Stage
from edge_lstm.timeline import timeline

WORD = np.dtype("<i4")


class Exchange:
    """Packs states and samples for ``harness_window`` and unpacks what it leaves.

    Args:
        model: The model.
        trace: What is recorded at each step.
        steps: Of the longest window.

    Attributes:
        state_length: Of the array of states.
        record_shape: (rows, length) of a window's record; the length is 0 where nothing is recorded.
        output_shape: (rows, length) of a window's outputs.

    Raises:
        EdgeLstmError: The model's C does not take windows of that many steps.
    """

    def __init__(self, model: IntegerModel, trace: Trace, steps: int) -> None:
        check_steps(model, steps)
        self._model, self._lowered, self._steps = model, lower(model), steps
        layout = self._layout = Layout(self._lowered, trace)
        self.state_length = sum(length for _, length in layout.states.values())
        rows = max(self._rows(stage) for stage in self._lowered.stages)
        self.record_shape = (rows, layout.record_length if layout.traced else 0)
        rows = self._rows(self._lowered.stages[-1]) if self._lowered.each else 1
        self.output_shape = (rows, sum(length for _, length in layout.outputs.values()))

    def pack_steps(self, windows: int, lengths: Any) -> NDArray[np.int32]:
        """(windows,) steps of each window."""
        when = timeline(self._model.signature, windows, self._steps, lengths)
        return np.full(windows, self._steps, WORD) if when.lengths is None else when.lengths.astype(WORD)

    def pack_states(self, windows: int, state: States | None) -> NDArray[np.int32]:
        """(windows, state_length), in the harness's order; zeros where the model begins each window itself."""
        arrays = initial_state(self._lowered, windows, state)
        if not self._lowered.streams:
            return np.zeros((windows, self.state_length), WORD)
        return np.concatenate([arrays[name] for name in self._layout.states], axis=1).astype(WORD)

    def unpack(self, record: Integers, outputs: Integers, states: Integers) -> Execution:
        """From (windows, *record_shape), (windows, *output_shape) and (windows, state_length)."""
        final = outputs if self._lowered.each else outputs[:, 0]
        recorded = _slices(record, self._layout.record)
        return Execution(
            outputs=_slices(final, self._layout.outputs),
            state=_slices(states, self._layout.states),
            trace={n: recorded[n][:, : self._rows(stage)] for n, stage in self._layout.traced.items()},
        )

    def _rows(self, stage: Stage | None) -> int:
        """Steps of a stage; 1 of what is made once."""
        if stage is None:
            return 1
        return self._steps if stage.steps is None else stage.steps


def _slices(values: Integers, places: Mapping[str, tuple[int, int]]) -> dict[str, Integers]:
    return {name: values[..., start : start + length] for name, (start, length) in places.items()}


def write_sources(model: IntegerModel, trace: Trace, folder: Path, skip: Collection[str] = ()) -> dict[str, Path]:
    """Write the model's C, see ``c99.sources``, and the harness into a folder; file name to path."""
    texts = {**c99.sources(model, trace=trace, skip=skip), **c99.harness(model, trace=trace)}
    paths = {name: folder / name for name in texts}
    for name, text in texts.items():
        paths[name].write_text(text, encoding="utf-8")
    return paths
