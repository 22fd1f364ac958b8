"""The steps of a batch of windows, of which some may be shorter than the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.signature import Signature


@dataclass(frozen=True)
class Timeline:
    """How many steps each window has. Arrays of values are (windows, steps, ...), in the order of time.

    Attributes:
        steps: Of the longest window.
        lengths: (windows,) steps of each; None where all have ``steps``.
    """

    steps: int
    lengths: NDArray[np.int64] | None = None

    def backwards(self, values: NDArray[Any]) -> NDArray[Any]:
        """Each window's steps in the opposite order; what is beyond a window's end stays where it is."""
        return self.pick(values, self.order) if self.lengths is not None else values[:, ::-1]

    def inside(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values, and 0 beyond a window's end."""
        if self.lengths is None:
            return values
        shape = (*self.valid.shape, *[1] * (values.ndim - 2))
        return np.where(self.valid.reshape(shape), values, values.dtype.type(0))

    def last(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of each window's last step, (windows, ...)."""
        return values[:, -1] if self.lengths is None else values[np.arange(len(values)), self.lengths - 1]

    def ends(self, t: int) -> Any:
        """Index of the windows whose last step is ``t``: an array, or a slice of all or none."""
        if self.lengths is None:
            return slice(None) if t == self.steps - 1 else slice(0)
        return np.flatnonzero(self.lengths == t + 1)

    def part(self, windows: slice) -> Timeline:
        """Of some of the windows; no longer than these need."""
        if self.lengths is None:
            return self
        return Timeline(self.steps, self.lengths[windows])

    @property
    def order(self) -> NDArray[np.int64]:
        """(windows, steps) the step that is visited at each step of a backward pass; only where there are lengths."""
        assert self.lengths is not None
        t = np.arange(self.steps)
        back = self.lengths[:, None] - 1 - t
        return np.where(back >= 0, back, t)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(windows, steps) which steps a window has; only where there are lengths."""
        assert self.lengths is not None
        return np.asarray(np.arange(self.steps) < self.lengths[:, None])

    @staticmethod
    def pick(values: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
        """Steps by their index (windows, steps)."""
        return np.asarray(values[np.arange(len(values))[:, None], order])


def timeline(signature: Signature, windows: int, steps: int, lengths: Any) -> Timeline:
    """Of a batch.

    Args:
        signature: Of the model.
        windows, steps: Of the samples.
        lengths: (windows,) integers, or None.

    Raises:
        EdgeLstmError: The model takes windows of one length only, or the lengths don't fit the samples.
    """
    if signature.variable and steps > signature.steps:
        raise EdgeLstmError(f"windows of {steps} steps; {signature.name} takes at most {signature.steps}")
    if lengths is None:
        return Timeline(steps)
    if not signature.variable:
        raise EdgeLstmError(
            f"lengths are given, and {signature.name} takes windows of one length; "
            "a model whose signature is variable takes shorter ones"
        )
    array = np.asarray(lengths)
    if array.shape != (windows,) or array.dtype.kind not in "iu":
        raise EdgeLstmError(f"lengths are {array.dtype} {array.shape}; accepted are integers ({windows},)")
    if array.min(initial=1) < 1 or array.max(initial=1) > steps:
        raise EdgeLstmError(f"lengths reach from {array.min()} to {array.max()}; accepted are 1 to {steps}")
    return Timeline(steps, array.astype(np.int64))
