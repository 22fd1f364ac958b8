"""How to quantize after training, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edge_lstm.bits import Choice
from edge_lstm.errors import EdgeLstmError
from edge_lstm.format_search import Budget
from edge_lstm.ranges import RangeChoice, RangeMethod

Rounding = Literal["reconstruct", "nearest"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)

FITTED_WINDOWS = 512
"""Ranges are of all recordings; what is fitted beyond them is fitted on so many windows, evenly spread."""
RANDOM_NORMAL: Literal["random-normal"] = "random-normal"
RANDOM_WINDOWS = 64
RANDOM_WARNING = (
    "calibrated on white noise, not on recordings: ranges, rounding and biases fit no signal, "
    "and the accuracy on real data is unknown; calibrate on recordings before you rely on this model"
)


@dataclass(frozen=True, kw_only=True)
class PtqOptions:
    """How to quantize after training. The defaults were chosen on validation subjects (``benchmarks/ptq.py``).

    Args:
        gates: Gate modes, such as ``"hard"``; as trained where None. Gates that were trained soft get thresholds by a
            search (``harden``), and still cost several points of accuracy: train them hard instead.
        weight_bits: 8, 4 or 2 (ternary); of all layers, or of each; a bidirectional one counts once.
        activation_bits: Of inputs and hidden states, 8 or 16; of all layers, or of each.
        activations: Tables of 256 entries: ``"lut"``, the nearest entry, or ``"lut-interp"``, linear between two.
        range: How the ranges of inputs and states are chosen: ``"minmax"``, ``"percentile"``, ``"mse"`` or
            ``"entropy"``; see ``ranges.RangeMethod``.
        percentile: Of that range, above 50 to 100.
        rounding: Of recurrent weights: ``"reconstruct"`` (``reconstruct``) or ``"nearest"``.
        bias_correction: Whether biases are moved so that mean pre-activations are the float model's
            (``bias_correction``).
        equalization: Whether units without a bound are scaled to one range (``equalize``).
        max_drop: Narrow the weights, level by level, as long as no more points than these are lost: of accuracy where
            there are labels, else of agreement with the float model.
        max_bytes: Narrow the weights until weights, biases and tables have no more bytes than these.
    """

    gates: str | None = None
    weight_bits: Choice = 8
    activation_bits: Choice = 8
    activations: str = "lut"
    range: RangeMethod = "minmax"
    percentile: float = 99.99
    rounding: Rounding = "reconstruct"
    bias_correction: bool = True
    equalization: bool = True
    max_drop: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        _ = self.range_choice, self.budget
        if self.rounding not in ROUNDINGS:
            raise EdgeLstmError(f"rounding is {self.rounding!r}; accepted are {', '.join(ROUNDINGS)}")

    @property
    def range_choice(self) -> RangeChoice:
        """How ranges are chosen."""
        return RangeChoice(self.range, self.percentile)

    @property
    def budget(self) -> Budget:
        """What may be spent."""
        return Budget(self.max_drop, self.max_bytes)
