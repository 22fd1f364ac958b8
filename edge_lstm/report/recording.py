"""``recording.npz`` of a run folder: one window of sensor samples, shown in the gate raster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.npz import read_arrays
from edge_lstm.signature import Signature, checked_samples

MAX_RECORDING_BYTES = 64 * 2**20
MAX_SHOWN_STEPS = 2048
"""A page is no wider: of longer recordings the beginning is shown."""


@dataclass(frozen=True)
class Recording:
    """A recording.

    Attributes:
        x: (steps, channels), in the channels' units; at most ``MAX_SHOWN_STEPS`` steps.
        y: Index of its class.
        steps: Length before it was cut.
    """

    x: NDArray[np.float64]
    y: int
    steps: int


def read_recording(path: Path, signature: Signature) -> Recording:
    """Read ``x`` (steps, channels) and ``y``, the index of the class.

    Raises:
        EdgeLstmError: The file is missing, damaged, holds pickled objects, or does not fit the model.
    """
    arrays = read_arrays(path, at_most=MAX_RECORDING_BYTES)
    if not {"x", "y"} <= arrays.keys():
        raise EdgeLstmError(f"{path}: needed x and y, found {', '.join(sorted(arrays)) or 'nothing'}")
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 2 or len(x) == 0:
        raise EdgeLstmError(f"{path}: x must have shape (steps, {len(signature.channels)}), found {x.shape}")
    if y.shape != () or y.dtype.kind not in "iu" or not 0 <= int(y) < len(signature.classes):
        raise EdgeLstmError(
            f"{path}: y must be one integer from 0 to {len(signature.classes) - 1}, found {_short(y)} ({y.dtype})"
        )
    try:
        real = checked_samples(x, signature)
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{path}: {error}") from None
    return Recording(real[:MAX_SHOWN_STEPS], int(y), len(real))


def _short(array: NDArray[np.generic]) -> str:
    return str(array) if array.shape == () else f"an array {array.shape}"
