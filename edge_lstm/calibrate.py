"""Calibration: which ranges the recordings need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import Evaluation, evaluate, standardize
from edge_lstm.model import FloatModel
from edge_lstm.ranges import Histogram, RangeChoice
from edge_lstm.timeline import Timeline, timeline

BLOCK = 256
"""Windows of a recording that are in memory at a time."""
CELL_BITS = 16
RELU_BITS = 8
"""Of the outputs of dense layers with relu."""
Progress = Callable[[int, int], None]
"""Told windows done, and all windows."""


@dataclass(frozen=True)
class Calibration:
    """Ranges; with min/max calibration those that were observed.

    Attributes:
        input_max: (channels,) largest absolute standardized input, at most the model's clip.
        cell_max: Largest absolute cell state of each layer, those of a decoder last; 0 for a cell without one.
        hidden_max: Largest absolute hidden state of each layer.
        relu_max: Largest output of each dense layer with relu.
        score_max: Largest absolute score.
        attention_max: Largest score of a step, of pooling by attention; not absolute.
    """

    input_max: NDArray[np.float64]
    cell_max: tuple[float, ...]
    hidden_max: tuple[float, ...]
    relu_max: tuple[float, ...] = ()
    score_max: float = 0.0
    attention_max: float = 0.0


class Observed(NamedTuple):
    """A block of recordings, and what the float model computes from it.

    Attributes:
        windows: Which of the recordings' windows.
        x: (windows, steps, channels) standardized.
        values: Of the float model.
        when: Of these windows.
    """

    windows: slice
    x: NDArray[np.float64]
    values: Evaluation
    when: Timeline


def observed(
    model: FloatModel, x: Any, *, lengths: Any = None, block: int = BLOCK, progress: Progress = lambda _done, _all: None
) -> Iterator[Observed]:
    """The float model over recordings, ``block`` windows at a time; see ``calibrate``."""
    x = checked_calibration(x)
    when = timeline(model.signature, len(x), np.shape(x)[1], lengths)
    for start in range(0, len(x), block):
        windows = slice(start, min(start + block, len(x)))
        part = when.part(windows)
        value = standardize(model, x[windows])
        yield Observed(windows, value, evaluate(model, value, part), part)
        progress(windows.stop, len(x))


def calibrate(
    model: FloatModel,
    x: Any,
    *,
    lengths: Any = None,
    block: int = BLOCK,
    choice: RangeChoice | None = None,
    bits: int = 8,
    progress: Progress = lambda _done, _all: None,
) -> Calibration:
    """Run the float model over recordings, ``block`` windows at a time, and choose ranges.

    Memory does not grow with the recordings, which may be a memory-mapped array. The largest score, and that of a step
    of attention, are kept whatever the choice.

    Args:
        model: The float model.
        x: (windows, steps, channels) in the channels' units.
        lengths: (windows,) steps of each window, of a model for windows of several lengths.
        block: Windows at a time.
        choice: How to choose ranges; the extremes (min/max calibration) where None.
        bits: Of inputs and hidden states.
        progress: Told of each block.

    Raises:
        EdgeLstmError: No window, wrong shape, or a sample that is not finite; or a state that is not.
    """
    choice = choice or RangeChoice()
    counted = _Counted(model, extremes_only=choice.method == "minmax")
    for part in observed(model, x, lengths=lengths, block=block, progress=progress):
        counted.add(part)
    return counted.calibration(choice, bits)


class _Extremes:
    """As a ``Histogram`` that only knows the largest value."""

    def __init__(self, channels: int) -> None:
        self.largest = np.zeros(channels)

    def add(self, values: NDArray[Any]) -> None:
        self.largest = np.maximum(self.largest, np.abs(values.reshape(-1, len(self.largest))).max(axis=0))

    def extremes(self, choice: RangeChoice, bits: int) -> NDArray[np.float64]:  # noqa: ARG002
        return self.largest


class _Counted:
    """What was observed so far; a tensor that gets one format is one channel.

    Args:
        model: The float model.
        extremes_only: No histograms: they take longer, and min/max calibration does without.
    """

    def __init__(self, model: FloatModel, *, extremes_only: bool) -> None:
        kind: Callable[[int], Histogram | _Extremes] = _Extremes if extremes_only else Histogram
        layers = len(model.all_layers)
        self._inputs = kind(len(model.signature.channels))
        self._cells, self._hidden = [kind(1) for _ in range(layers)], [kind(1) for _ in range(layers)]
        self._relu = [kind(1) for _ in model.relu_layers]
        self._score_max, self._attention_max = 0.0, -np.inf
        self._encoder = len(model.layers)

    def add(self, part: Observed) -> None:
        """Count a block."""
        valid: Any = slice(None) if part.when.lengths is None else part.when.valid
        self._inputs.add(part.x[valid])
        for k, trace in enumerate(part.values.layers):
            inside: Any = valid if k < self._encoder else slice(None)
            for name, counts in (("c", self._cells[k]), ("h", self._hidden[k])):
                if name in trace:
                    _check_finite(trace[name])
                    counts.add(trace[name][inside])
        for relu, output in zip(self._relu, part.values.relu, strict=True):
            relu.add(output)
        self._score_max = max(self._score_max, float(np.abs(part.values.scores).max()))
        if part.values.attention is not None:
            self._attention_max = max(self._attention_max, float(part.values.attention[valid].max()))

    def calibration(self, choice: RangeChoice, bits: int) -> Calibration:
        """The ranges."""

        def each(histograms: list[Histogram | _Extremes], bits: int) -> tuple[float, ...]:
            return tuple(float(h.extremes(choice, bits)[0]) for h in histograms)

        return Calibration(
            input_max=np.maximum(self._inputs.extremes(choice, bits), 1e-6),
            cell_max=each(self._cells, CELL_BITS),
            hidden_max=each(self._hidden, bits),
            relu_max=each(self._relu, RELU_BITS),
            score_max=self._score_max,
            attention_max=self._attention_max if np.isfinite(self._attention_max) else 0.0,
        )


def _check_finite(values: NDArray[np.float64]) -> None:
    if not np.isfinite(values).all():
        raise EdgeLstmError("a state of the float model grows without limit over the calibration samples")


def checked_calibration(x: Any) -> NDArray[Any]:
    """Samples of the right number of axes.

    Raises:
        EdgeLstmError: They have another one, or there are none.
    """
    array = np.asarray(x)
    if array.ndim != 3 or 0 in array.shape:
        raise EdgeLstmError(f"calibration samples have shape {array.shape}; accepted is (windows, steps, channels)")
    return array
