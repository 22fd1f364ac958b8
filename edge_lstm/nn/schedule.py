"""The phases of training over its epochs, in a loop of one's own."""

from __future__ import annotations

from typing import Any

from torch import nn

from edge_lstm.errors import EdgeLstmError
from edge_lstm.nn.converting import calibrate
from edge_lstm.nn.modules import Recurrent
from edge_lstm.nn.phases import Phase, phased, set_phase

SLOPES = (1.0, 5.0)
"""k of the annealed gates s(k z), first and last; it grows geometrically."""


class Schedule:
    """Sets the phase at the beginning of each epoch, as the trainer does (``TrainOptions``).

    Gates of steps are sigmoids that grow steeper, then steps; last, the forward pass computes integers, with ranges
    that are found when that begins. Models without such gates skip the first.

    Args:
        model: Prepared.
        epochs: Of the training.
        calibration: (windows, steps, channels) recordings, such as the training windows.
        lengths, batch_first: As of ``calibrate``.
        hard_from: Share of the epochs after which gates are steps.
        quantized_from: Share of the epochs after which integers are computed, and in the last one; 1: never.

    Example:
        >>> schedule = Schedule(model, epochs, x)                             # doctest: +SKIP
        >>> for epoch in range(epochs): schedule.step(epoch); train(model)    # doctest: +SKIP

    Raises:
        EdgeLstmError: The model is not prepared, or a value that is not accepted.
    """

    def __init__(
        self,
        model: nn.Module,
        epochs: int,
        calibration: Any,
        *,
        lengths: Any = None,
        batch_first: bool = True,
        hard_from: float = 0.5,
        quantized_from: float = 0.7,
    ) -> None:
        if epochs < 1:
            raise EdgeLstmError(f"epochs is {epochs}; accepted are positive numbers")
        for name, value in (("hard_from", hard_from), ("quantized_from", quantized_from)):
            if not 0 <= value <= 1:
                raise EdgeLstmError(f"{name} is {value}; accepted are 0 to 1")
        modules = [module for module in phased(model) if isinstance(module, Recurrent)]
        if not modules:
            raise EdgeLstmError("the model has no recurrent module of edge-lstm: prepare it first")
        self._model, self._epochs = model, epochs
        self._calibration: dict[str, Any] = {
            "calibration": calibration,
            "lengths": lengths,
            "batch_first": batch_first,
        }
        self._hard_from = hard_from if any(module.anneals for module in modules) else 0.0
        self._quantized_from, self._ready = quantized_from, False

    def step(self, epoch: int) -> Phase:
        """Set the phase of an epoch, and give it.

        Args:
            epoch: From 0.
        """
        phase = self.phase(epoch)
        if phase == "quantized" and not self._ready:
            calibrate(self._model, **self._calibration)
            self._ready = True
        set_phase(self._model, phase, self.slope(epoch))
        return phase

    def phase(self, epoch: int) -> Phase:
        """The phase of an epoch, from 0."""
        share = epoch / self._epochs
        if self._quantized_from < 1 and (share >= self._quantized_from or epoch == self._epochs - 1):
            return "quantized"
        return "hard" if share >= self._hard_from else "float"

    def slope(self, epoch: int) -> float:
        """Slope of the annealed gates in an epoch, from 0."""
        first, last = SLOPES
        return float(first * (last / first) ** min(1.0, epoch / max(1.0, self._hard_from * self._epochs)))
