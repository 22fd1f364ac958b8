"""Calibration: which ranges the recordings need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm.attention_limit import attention_limit
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import Evaluation, evaluate, standardize
from edge_lstm.model import FloatModel
from edge_lstm.ranges import Histogram, RangeChoice, exactly
from edge_lstm.timeline import Timeline, timeline

BLOCK = 256
"""Windows of a recording that are in memory at a time."""
LIMIT_WINDOWS = 256
"""On which the limits of attention are compared, evenly spread over the recordings."""
CELL_BITS = 16
NARROW_BITS = 8
"""With more, rounding is finer than what wide ranges cost."""
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
        hidden_max: Largest absolute hidden state of each layer; of 8 bits without a bound, see
            ``ranges.Histogram.power_of_two``.
        relu_max: Largest output of each dense layer with relu.
        score_max: Largest absolute score.
        attention_max: Score of a step from which on all weigh alike, of pooling by attention; not absolute.
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

    Memory does not grow with the recordings, which may be a memory-mapped array. The largest score is kept whatever the
    choice; so is the limit of attention, which ``attention_limit`` finds.

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
    found = counted.calibration(choice, bits)
    if model.attention is None or model.attention.bounded:
        return found
    x = checked_calibration(x)
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), LIMIT_WINDOWS)).astype(int))
    some = observed(model, x[chosen], lengths=None if lengths is None else np.asarray(lengths)[chosen], block=block)
    limit = attention_limit(model, ((part.values, part.when) for part in some), found.attention_max)
    return replace(found, attention_max=limit)


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
        self._cells = [kind(1) for _ in range(layers)]
        self._bounded = [cell(layer.cell).unit_hidden for layer in model.all_layers]
        self._hidden = [kind(1) if bounded else Histogram(1) for bounded in self._bounded]
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
            hidden_max=tuple(
                _hidden_max(h, choice, bits, bounded=bounded)
                for h, bounded in zip(self._hidden, self._bounded, strict=True)
            ),
            relu_max=each(self._relu, RELU_BITS),
            score_max=self._score_max,
            attention_max=self._attention_max if np.isfinite(self._attention_max) else 0.0,
        )


def _hidden_max(h: Histogram | _Extremes, choice: RangeChoice, bits: int, *, bounded: bool) -> float:
    """The range of h; one of 8 bits without a bound is not wider than pays."""
    if isinstance(h, Histogram) and not bounded and bits <= NARROW_BITS and choice.method in ("minmax", "mse"):
        return exactly(float(h.power_of_two(bits)[0]))
    return float(h.extremes(choice, bits)[0])


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
