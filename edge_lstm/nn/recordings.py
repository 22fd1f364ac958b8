"""Recordings that a user's model is run on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_lstm.calibrate import BLOCK, checked_calibration
from edge_lstm.errors import EdgeLstmError


@dataclass(frozen=True)
class Recordings:
    """Windows, and how a model takes them.

    Args:
        x: (windows, steps, channels).
        lengths: (windows,) steps of each window, the model's second argument, on the CPU; None: it has none.
        batch_first: The model takes (windows, steps, channels), else (steps, windows, channels).
    """

    x: NDArray[Any]
    lengths: NDArray[np.int64] | None
    batch_first: bool

    def given(self, model: nn.Module, windows: slice) -> tuple[Tensor, ...]:
        """Arguments of the model for some of the windows; the longest first where they have lengths."""
        x, lengths = np.asarray(self.x[windows]), self.lengths
        if lengths is not None:
            order = np.argsort(-lengths[windows], kind="stable")
            x, lengths = x[order], lengths[windows][order]
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
        values = torch.from_numpy(np.ascontiguousarray(x)).to(like)
        values = values if self.batch_first else values.transpose(0, 1)
        return (values,) if lengths is None else (values, torch.from_numpy(lengths))

    def blocks(self, model: nn.Module) -> Iterator[tuple[Tensor, ...]]:
        """Arguments for all windows, ``BLOCK`` at a time."""
        for start in range(0, len(self.x), BLOCK):
            yield self.given(model, slice(start, start + BLOCK))


def recordings(x: Any, lengths: Any = None, *, batch_first: bool = True) -> Recordings:
    """Checked.

    Raises:
        EdgeLstmError: Another shape, a sample that is not finite, or lengths that don't fit.
    """
    array = checked_calibration(x.detach().cpu().numpy() if isinstance(x, Tensor) else x)
    if not np.isfinite(array).all():
        raise EdgeLstmError("calibration samples are not all finite")
    if lengths is None:
        return Recordings(array, None, batch_first)
    steps = np.asarray(lengths.cpu() if isinstance(lengths, Tensor) else lengths)
    if steps.shape != (len(array),) or steps.dtype.kind not in "iu":
        raise EdgeLstmError(f"lengths are {steps.dtype} {steps.shape}; accepted are integers ({len(array)},)")
    if steps.min() < 1 or steps.max() > array.shape[1]:
        raise EdgeLstmError(f"lengths reach from {steps.min()} to {steps.max()}; accepted are 1 to {array.shape[1]}")
    return Recordings(array, steps.astype(np.int64), batch_first)
