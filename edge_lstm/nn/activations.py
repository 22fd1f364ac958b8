"""Gates and squashing functions of a layer on tensors, with derivatives to train by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from edge_lstm.cells import Cell
from edge_lstm.gates import STEPS, GateMode
from edge_lstm.layers import Squashing
from edge_lstm.luts import HARD

SURROGATE_SLOPE = 2.0
"""k of the surrogate derivative k s(kz) (1 - s(kz)) of a step."""

EXACT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "squash1": lambda v: torch.tanh(0.5 * v),
    "squash2": lambda v: 2.0 * torch.tanh(0.5 * v),
    "relu": torch.relu,
}


def hard(function: str, v: Tensor) -> Tensor:
    """The piecewise linear form of a function (``luts.HARD``)."""
    form = HARD[function]
    return torch.clamp(v * 2.0**-form.slope_bits + form.offset, form.lo, form.hi)


class Activations:
    """Values of the gates and functions in a forward pass, and their derivatives.

    Args:
        kind: The cell.
        modes: Gate name to mode.
        squash: Exact functions or their hard forms.
        slope: While a gate of steps is annealed, each step is the sigmoid s(slope z); None: it is a step.
    """

    def __init__(
        self, kind: Cell, modes: Mapping[str, GateMode], squash: Squashing = "exact", slope: float | None = None
    ) -> None:
        self._functions = {name: function for name, (function, _) in kind.functions.items()}
        self._modes, self._squash, self._slope = modes, squash, slope

    def gate(self, name: str, z: Tensor, *, differentiable: bool = False) -> Tensor:
        """Value of a gate.

        Args:
            name: Of the gate.
            z: Pre-activation.
            differentiable: Automatic differentiation gives the derivative, of a step its surrogate.
        """
        mode = self._modes[name]
        if mode == "soft":
            return torch.sigmoid(z)
        if mode == "hard-sigmoid":
            return hard("sigmoid", z)
        steps = STEPS[mode]
        if self._slope is not None:
            return _mean([torch.sigmoid(self._slope * (z - at)) for at in steps])
        value = _mean([(z > at).to(z.dtype) for at in steps])
        if not differentiable:
            return value
        surrogate = _mean([torch.sigmoid(SURROGATE_SLOPE * (z - at)) for at in steps])
        return surrogate + (value - surrogate).detach()

    def squash(self, name: str, v: Tensor) -> Tensor:
        """Value of a squashing function of the cell."""
        function = self._functions[name]
        return hard(function, v) if self._squash == "hard" else EXACT[function](v)


def _mean(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).mean(dim=0)
