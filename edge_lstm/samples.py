"""Samples for a model: read from a file or a data set, or made up where none are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data import load as load_dataset
from edge_lstm.data import names as dataset_names
from edge_lstm.data import train_test
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import QuantizedModel
from edge_lstm.npz import read_arrays
from edge_lstm.signature import Signature, checked_samples


def read_samples(source: str, signature: Signature, *, part: str = "test") -> NDArray[np.float64]:
    """(windows, steps, channels) samples in the channels' units.

    Args:
        source: An ``.npz`` file with an array ``x``, or the name of a data set.
        signature: Of the model that will take them.
        part: ``train`` or ``test`` windows of a data set.

    Raises:
        EdgeLstmError: Unreadable, without ``x``, of the wrong shape, or not finite.
    """
    if source in dataset_names():
        train, test = train_test(load_dataset(source))
        x: NDArray[Any] = (train if part == "train" else test).x
    else:
        x = _read_x(Path(source))
    if x.ndim != 3 or 0 in x.shape:
        raise EdgeLstmError(f"{source}: x has shape {x.shape}; accepted is (windows, steps, channels)")
    try:
        return checked_samples(x, signature)
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{source}: {error}") from None


def _read_x(path: Path) -> NDArray[Any]:
    if not path.exists():
        raise EdgeLstmError(f"{path}: no such file, and no data set of that name ({', '.join(dataset_names())})")
    arrays = read_arrays(path)
    if "x" not in arrays:
        raise EdgeLstmError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; an array x (windows, steps, channels) is needed"
        )
    return arrays["x"]


def example_samples(model: QuantizedModel, windows: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Reproducible pseudo-random samples that use the model's whole input range.

    Slow random walks of normal steps, so that gates open and close; (windows, steps, channels).
    """
    rng = np.random.default_rng(seed)
    shape = (windows, model.signature.steps, len(model.signature.channels))
    walk = 0.5 * rng.standard_normal(shape) + np.cumsum(0.2 * rng.standard_normal(shape), axis=1)
    return np.asarray(model.input_offset + model.input_scale * 127 * np.tanh(walk))
