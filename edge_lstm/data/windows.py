"""Cutting a continuous recording into windows."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError

Scalar = TypeVar("Scalar", bound=np.generic)


def windows(signal: NDArray[Scalar], length: int, hop: int) -> NDArray[Scalar]:
    """Cut `signal` (samples, channels) into windows (n, length, channels), n = 1 + (samples - length) // hop.

    Window k holds the samples k·hop to k·hop + length - 1, in a copy of the signal's type; samples after the last
    whole window are left out.

    Raises `EdgeLstmError` if the signal is not two-dimensional or shorter than one window, or if `length` or `hop`
    is below 1.

    >>> import numpy as np
    >>> windows(np.arange(5).reshape(5, 1), length=3, hop=2)[:, :, 0]
    array([[0, 1, 2],
           [2, 3, 4]])
    """
    if signal.ndim != 2:
        raise EdgeLstmError(f"signal must have shape (samples, channels), found {signal.shape}")
    if length < 1 or hop < 1:
        raise EdgeLstmError(f"length and hop must be 1 or more, found length {length} and hop {hop}")
    if len(signal) < length:
        raise EdgeLstmError(f"signal must hold a window of {length} samples, found {len(signal)}")
    cut = np.lib.stride_tricks.sliding_window_view(signal, length, axis=0)[::hop]  # (n, channels, length)
    return np.ascontiguousarray(cut.transpose(0, 2, 1))
