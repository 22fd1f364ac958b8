"""The generated C of a model, compiled, and the integers that its harness exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lstm.execution import Execution, States, Trace, initial_state, traced
from edge_lstm.export import c99
from edge_lstm.fixedpoint import Integers
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel

WORD = np.dtype("<i4")


class Exchange:
    """Packs states and samples for ``harness_window`` and unpacks what it leaves.

    Args:
        model: The model.
        trace: What is recorded at each step.
    """

    def __init__(self, model: QuantizedModel, trace: Trace) -> None:
        self._lowered = lower(model)
        self._layout = c99.Layout(self._lowered, trace)
        self._names = [name for names in traced(self._lowered, trace) for name in names]
        self.record_length = self._layout.record_length if self._names else 0
        self.state_length = sum(length for _, length in self._layout.states.values())
        self.output_length = sum(length for _, length in self._layout.outputs.values())

    def pack_states(self, windows: int, state: States | None) -> NDArray[np.int32]:
        """(windows, state_length), in the harness's order."""
        arrays = initial_state(self._lowered, windows, state)
        return np.concatenate([arrays[name] for name in self._layout.states], axis=1).astype(WORD)

    def unpack(self, record: Integers, final: Integers, states: Integers) -> Execution:
        """From (windows, steps, record_length), (windows, output_length) and (windows, state_length)."""
        return Execution(
            outputs=_slices(final, self._layout.outputs),
            state=_slices(states, self._layout.states),
            trace={name: _slices(record, self._layout.record)[name] for name in self._names},
        )


def _slices(values: Integers, places: Mapping[str, tuple[int, int]]) -> dict[str, Integers]:
    return {name: values[..., start : start + length] for name, (start, length) in places.items()}


def write_sources(model: QuantizedModel, trace: Trace, folder: Path) -> dict[str, Path]:
    """Write the model's C and the harness into a folder; file name to path."""
    texts = {**c99.sources(model, trace=trace), **c99.harness(model, trace=trace)}
    paths = {name: folder / name for name in texts}
    for name, text in texts.items():
        paths[name].write_text(text, encoding="utf-8")
    return paths
