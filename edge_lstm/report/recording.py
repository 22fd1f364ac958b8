"""``recording.npz`` of a run folder: one window of sensor samples, shown in the gate raster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import QuantizedModel
from edge_lstm.npz import read_arrays
from edge_lstm.signature import checked_samples

MAX_RECORDING_BYTES = 64 * 2**20
MAX_SHOWN_STEPS = 2048
"""A page is no wider: of longer recordings the beginning is shown."""
MAX_VALUE = 1e30
"""Largest size of a sample, and of a true value of a regression: an axis can't reach much farther."""


@dataclass(frozen=True)
class Recording:
    """A recording.

    Attributes:
        x: (steps, channels), in the channels' units; at most ``MAX_SHOWN_STEPS`` steps.
        y: What is true of it. Of a classifier the index of its class, (), or of one at each step, (steps,); of a
            regression (outputs,) or (steps, outputs). Steps are those of ``x``, or of the decoder.
        steps: Length before it was cut.
    """

    x: NDArray[np.float64]
    y: NDArray[Any]
    steps: int


def read_recording(path: Path, model: QuantizedModel) -> Recording:
    """Read ``x`` (steps, channels) and ``y``.

    Raises:
        EdgeLstmError: The file is missing, damaged, holds pickled objects, or does not fit the model.
    """
    arrays = read_arrays(path, at_most=MAX_RECORDING_BYTES)
    if not {"x", "y"} <= arrays.keys():
        raise EdgeLstmError(f"{path}: needed x and y, found {', '.join(sorted(arrays)) or 'nothing'}")
    x, y, signature = arrays["x"], arrays["y"], model.signature
    if x.ndim != 2 or len(x) == 0:
        raise EdgeLstmError(f"{path}: x must have shape (steps, {len(signature.channels)}), found {x.shape}")
    if (model.looks_ahead or signature.variable) and len(x) > signature.steps:
        raise EdgeLstmError(f"{path}: x has {len(x)} steps; {signature.name} takes at most {signature.steps}")
    try:
        real = checked_samples(x, signature)
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{path}: {error}") from None
    _check_size(path, "x", real)
    y = _classes(path, y, model, len(x)) if signature.task == "classify" else _targets(path, y, model, len(x))
    if model.decoder is not None or model.pooling == "each":
        y = y[:MAX_SHOWN_STEPS]
    return Recording(real[:MAX_SHOWN_STEPS], y, len(real))


def output_steps(model: QuantizedModel, steps: int) -> int | None:
    """How often a model gives its outputs in a window of ``steps`` steps; None: once, for all of it."""
    if model.decoder is not None:
        return model.decoder.steps
    return steps if model.pooling == "each" else None


def _classes(path: Path, y: NDArray[Any], model: QuantizedModel, steps: int) -> NDArray[Any]:
    classes, outputs = len(model.signature.classes), output_steps(model, steps)
    shape = () if outputs is None else (outputs,)
    if y.shape != shape or y.dtype.kind not in "iu" or int(y.min()) < 0 or int(y.max()) >= classes:
        wanted = "one integer" if outputs is None else f"integers ({outputs},)"
        raise EdgeLstmError(f"{path}: y must be {wanted} from 0 to {classes - 1}, found {_short(y)} ({y.dtype})")
    return y.astype(np.int64)


def _targets(path: Path, y: NDArray[Any], model: QuantizedModel, steps: int) -> NDArray[Any]:
    width, outputs = len(model.signature.classes), output_steps(model, steps)
    shape = (width,) if outputs is None else (outputs, width)
    if y.shape != shape or y.dtype.kind not in "fiu":
        raise EdgeLstmError(f"{path}: y must be real numbers {shape}, found {_short(y)} ({y.dtype})")
    real = y.astype(np.float64)
    _check_size(path, "y", real)
    return real


def _check_size(path: Path, name: str, values: NDArray[np.float64]) -> None:
    fits = np.abs(values) <= MAX_VALUE  # not so of NaN
    if not fits.all():
        raise EdgeLstmError(
            f"{path}: {name} holds {values[~fits][0]}; accepted are numbers from {-MAX_VALUE:g} to {MAX_VALUE:g}"
        )


def _short(array: NDArray[np.generic]) -> str:
    if array.shape == ():
        return str(array)
    if array.dtype.kind in "iu" and array.size:
        return f"an array {array.shape} from {array.min()} to {array.max()}"
    return f"an array {array.shape}"
