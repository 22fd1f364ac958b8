"""The steps of a batch of windows on tensors, whose first axis is time: ``timeline.Timeline`` for PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_lstm.timeline import Timeline


class Steps:
    """How many steps each window has. Values are (steps, windows, ...), in the order of time.

    Args:
        when: Of the windows.
        device: Of the values.

    Attributes:
        lengths: (windows,) steps of each; None where all have the same.
    """

    def __init__(self, when: Timeline, device: torch.device | str = "cpu") -> None:
        self.when = when
        self.lengths: Tensor | None = None
        if when.lengths is not None:
            self.lengths = torch.from_numpy(when.lengths).to(device)
            self._windows = torch.arange(len(when.lengths), device=device)
            self._order = torch.from_numpy(when.order.T.copy()).to(device)
            self.valid = torch.from_numpy(when.valid.T.copy()).to(device)

    def backwards(self, values: Tensor) -> Tensor:
        """Each window's steps in the opposite order; what is beyond a window's end stays where it is."""
        return values.flip(0) if self.when.lengths is None else values[self._order, self._windows]

    def inside(self, values: Tensor, beyond: float = 0) -> Tensor:
        """The values, and ``beyond`` (without a gradient) after a window's end."""
        if self.when.lengths is None:
            return values
        valid = self.valid.reshape(*self.valid.shape, *[1] * (values.ndim - 2))
        return torch.where(valid, values, torch.full((), beyond, dtype=values.dtype, device=values.device))

    def last(self, values: Tensor) -> Tensor:
        """Of each window's last step, (windows, ...)."""
        return values[-1] if self.lengths is None else values[self.lengths - 1, self._windows]

    def mean(self, values: Tensor) -> Tensor:
        """Over each window's steps, (windows, ...)."""
        if self.lengths is None:
            return values.mean(dim=0)
        steps = self.lengths.to(values.dtype).reshape(-1, *[1] * (values.ndim - 2))
        return self.inside(values).sum(dim=0) / steps
