"""Samples for a model: read from a file or a data set, or made up where none are at hand."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data import load as load_dataset
from edge_lstm.data import names as dataset_names
from edge_lstm.data import train_test
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import write_bytes
from edge_lstm.model import QuantizedModel, Signature, checked_samples

MAX_SAMPLES = 2**28
"""Largest number of values that is read from a file."""


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
    try:
        # Opened here: given a path, np.load leaves the file of a damaged archive open.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # NumPy warns of odd headers; what they hold is checked by the caller
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise EdgeLstmError(f"{path} is a single array (.npy); an .npz file with an array x is needed")
            if "x" not in archive.files:
                found = ", ".join(archive.files) or "nothing"
                raise EdgeLstmError(f"{path} holds {found}; an array x (windows, steps, channels) is needed")
            _check_size(path)
            return np.asarray(archive["x"])
    except EdgeLstmError:
        raise
    except FileNotFoundError:
        known = ", ".join(dataset_names())
        raise EdgeLstmError(f"{path}: no such file, and no data set of that name ({known})") from None
    except Exception as error:  # damaged and hostile files make NumPy's parsers raise anything, up to MemoryError
        raise EdgeLstmError(f"{path} is no .npz file that can be read ({' '.join(str(error).split())})") from None


def _check_size(path: Path) -> None:
    """An entry says its size before it is unpacked: refuse a small file that claims gigabytes."""
    with zipfile.ZipFile(path) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > 8 * MAX_SAMPLES:
        raise EdgeLstmError(f"{path} unpacks to {claimed} bytes; accepted are at most {8 * MAX_SAMPLES}")


def write_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write an ``.npz`` file; it appears whole or not at all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:  # savez of NumPy < 2.1 may write pickles
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def example_samples(model: QuantizedModel, windows: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Reproducible pseudo-random samples that use the model's whole input range.

    Slow random walks of normal steps, so that gates open and close; (windows, steps, channels).
    """
    rng = np.random.default_rng(seed)
    shape = (windows, model.signature.steps, len(model.signature.channels))
    walk = 0.5 * rng.standard_normal(shape) + np.cumsum(0.2 * rng.standard_normal(shape), axis=1)
    return np.asarray(model.input_offset + model.input_scale * 127 * np.tanh(walk))
