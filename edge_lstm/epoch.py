"""The phases of a training run, and what happens in an epoch of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge_lstm.train_options import TrainOptions

Phase = Literal["annealed", "hard", "float", "quantized"]


@dataclass(frozen=True)
class Validated:
    """How the weights that would ship do on the validation windows, in the forward pass of a phase.

    Attributes:
        loss: As in training, without dropout.
        accuracy: Share classified correctly; None of a regression.
        macro_f1: See ``metrics.macro_f1``; None of a regression.
        r2: Of a regression: 1 less the mean squared error in units of the variance of the training targets, the mean
            over the outputs; else None.
    """

    loss: float
    accuracy: float | None = None
    macro_f1: float | None = None
    r2: float | None = None

    def measure(self, metric: str) -> float:
        """What is to be large, of ``TrainOptions.metric``."""
        chosen = {"accuracy": self.accuracy, "macro-f1": self.macro_f1, "r2": self.r2, "loss": -self.loss}
        found = chosen[metric]
        assert found is not None  # the metric was chosen for the task
        return found


@dataclass(frozen=True)
class Epoch:
    """What happened in one epoch.

    Attributes:
        number: From 1.
        phase: Of its forward passes.
        loss: Mean training loss.
        accuracy, r2, macro_f1: Of the validation windows, see ``Validated``; None without validation.
        validation_loss: The same of the loss.
        learning_rate: To which the schedule came at its end.
        open_rates: Gate, as ``"0.i"`` for gate i of the first layer, to its mean value on training windows; empty
            where nobody asked for it.
    """

    number: int
    phase: Phase
    loss: float
    accuracy: float | None
    r2: float | None = None
    macro_f1: float | None = None
    validation_loss: float | None = None
    learning_rate: float = 0.0
    open_rates: Mapping[str, float] = field(default_factory=dict)


def phase_of(options: TrainOptions, share: float) -> Phase:
    """Phase of the epoch that begins after this share of all epochs; at 1, the last phase."""
    if share >= options.quantized_from and options.quantized_from < 1:
        return "quantized"
    if not options.anneals:
        return "float"
    return "hard" if share >= options.hard_from else "annealed"


def slope_of(options: TrainOptions, step: int, steps: int) -> float:
    """k of the annealed gates s(k z) in a step of so many steps of a run; it grows geometrically."""
    first, last = options.slope_first, options.slope_last
    progress = min(1.0, step / max(1.0, options.hard_from * steps))
    return float(first * (last / first) ** progress)
