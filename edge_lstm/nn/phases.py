"""What the forward pass of a module computes while a model is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, get_args

from torch import nn

from edge_lstm.errors import EdgeLstmError

if TYPE_CHECKING:
    from edge_lstm.nn.chain import Place

Phase = Literal["float", "hard", "quantized"]
"""``float``: gates of steps are sigmoids s(k z), with the slope k; ``hard``: they are steps, whose gradient is that of
a sigmoid; ``quantized``: the runtime's integers, with straight-through gradients. Other gates are the same in the first
two."""
PHASES: tuple[Phase, ...] = get_args(Phase)


class Phased(nn.Module, ABC):
    """A module that has phases, and observes ranges.

    Attributes:
        phase: Of its forward pass.
        slope: Of the gates' sigmoids in the phase ``float``.
        place: In the model that it is a part of, where ``calibrate`` found that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase: Phase = "hard"
        self.slope = 1.0
        self.place: Place | None = None

    @abstractmethod
    def observe(self) -> None:
        """Forget all ranges, and observe until ``observed`` what the forward passes need."""

    @abstractmethod
    def observed(self) -> None:
        """Keep the ranges that were observed."""


def set_phase(model: nn.Module, phase: Phase, slope: float = 1.0) -> None:
    """Set the phase of all modules of edge-lstm in a model.

    Args:
        model: Any.
        phase: See ``Phase``; ``quantized`` needs a ``calibrate`` before.
        slope: Of the gates' sigmoids in the phase ``float``, positive.

    Raises:
        EdgeLstmError: No such phase, or slope.
    """
    if phase not in PHASES:
        raise EdgeLstmError(f"phase is {phase!r}; accepted are {', '.join(PHASES)}")
    if not 0 < slope < float("inf"):
        raise EdgeLstmError(f"slope is {slope}; accepted are positive numbers")
    for module in phased(model):
        module.phase, module.slope = phase, slope


def phased(model: nn.Module) -> list[Phased]:
    """The modules of edge-lstm in a model, each once."""
    return [module for module in model.modules() if isinstance(module, Phased)]
