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
"""k of the surrogate derivative k s(kz) (1 - s(kz)) of a step, where nothing else is said."""

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
        surrogate_slope: k of the derivative k s(k z) (1 - s(k z)) of a step.
        noise: While they are annealed, the pre-activations of such gates get so much logistic noise (Gumbel-sigmoid).
    """

    def __init__(
        self,
        kind: Cell,
        modes: Mapping[str, GateMode],
        squash: Squashing = "exact",
        slope: float | None = None,
        *,
        surrogate_slope: float = SURROGATE_SLOPE,
        noise: float = 0.0,
    ) -> None:
        self._functions = {name: function for name, (function, _) in kind.functions.items()}
        self._modes, self.squash_mode, self.slope = modes, squash, slope
        self.surrogate_slope = surrogate_slope
        self._noise = 0.0 if slope is None else noise

    def disturb(self, block: str, z: Tensor) -> None:
        """Add noise to the part of a block's pre-activations that comes from inputs, where it is a gate of steps."""
        if self._noise and self._modes.get(block) in STEPS:
            uniform = torch.rand_like(z).clamp_(1e-6, 1 - 1e-6)
            z += self._noise * torch.logit(uniform)

    def mode(self, gate: str) -> GateMode:
        """Of a gate."""
        return self._modes[gate]

    def function(self, name: str) -> str:
        """What the cell calls ``name``."""
        return self._functions[name]

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
        if self.slope is not None:
            return _mean([torch.sigmoid(self.slope * (z - at)) for at in steps])
        value = _mean([(z > at).to(z.dtype) for at in steps])
        if not differentiable:
            return value
        surrogate = _mean([torch.sigmoid(self.surrogate_slope * (z - at)) for at in steps])
        return surrogate + (value - surrogate).detach()

    def squash(self, name: str, v: Tensor) -> Tensor:
        """Value of a squashing function of the cell."""
        function = self._functions[name]
        return hard(function, v) if self.squash_mode == "hard" else EXACT[function](v)


def _mean(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).mean(dim=0)
