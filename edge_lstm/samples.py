"""Samples for a model: read from a file or a data set, or made up where none are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data import load as load_dataset
from edge_lstm.data import names as dataset_names
from edge_lstm.data import train_test
from edge_lstm.errors import EdgeLstmError
from edge_lstm.integer_model import IntegerModel
from edge_lstm.npz import read_arrays
from edge_lstm.signature import Signature, checked_samples
from edge_lstm.timeline import timeline

if TYPE_CHECKING:
    from edge_lstm.importing.load import ImportedModel


class Samples(NamedTuple):
    """Windows of samples.

    Attributes:
        x: (windows, steps, channels) in the channels' units.
        lengths: (windows,) steps of each window; None where all have as many.
    """

    x: NDArray[np.float64]
    lengths: NDArray[np.int64] | None = None


def read_samples(source: str, signature: Signature, *, part: str = "test") -> Samples:
    """Samples of a model.

    Args:
        source: An ``.npz`` file with an array ``x``, and perhaps ``lengths``, or the name of a data set.
        signature: Of the model that will take them.
        part: ``train`` or ``test`` windows of a data set.

    Raises:
        EdgeLstmError: Unreadable, without ``x``, of the wrong shape, or not finite; or lengths that don't fit.
    """
    lengths: NDArray[Any] | None = None
    if source in dataset_names():
        train, test = train_test(load_dataset(source))
        x: NDArray[Any] = (train if part == "train" else test).x
    else:
        x, lengths = _read_x(Path(source))
    if x.ndim != 3 or 0 in x.shape:
        raise EdgeLstmError(f"{source}: x has shape {x.shape}; accepted is (windows, steps, channels)")
    try:
        when = timeline(signature, len(x), x.shape[1], lengths)
        return Samples(checked_samples(x, signature), when.lengths)
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{source}: {error}") from None


def window_steps(source: str, *, part: str = "test") -> int:
    """Steps of the longest window of samples; see ``read_samples``."""
    if source in dataset_names():
        train, test = train_test(load_dataset(source))
        return int((train if part == "train" else test).x.shape[1])
    x, _ = _read_x(Path(source))
    if x.ndim != 3 or 0 in x.shape:
        raise EdgeLstmError(f"{source}: x has shape {x.shape}; accepted is (windows, steps, channels)")
    return int(x.shape[1])


def _read_x(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if not path.exists():
        raise EdgeLstmError(f"{path}: no such file, and no data set of that name ({', '.join(dataset_names())})")
    arrays = read_arrays(path)
    if "x" not in arrays:
        raise EdgeLstmError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; an array x (windows, steps, channels) is needed"
        )
    return arrays["x"], arrays.get("lengths")


def file_inputs(model: ImportedModel, path: Path) -> dict[str, NDArray[Any]]:
    """The inputs of a model of strangers, laid out as in its file: one array for each, or ``x`` for a single one.

    Raises:
        EdgeLstmError: Unreadable, or an array is missing.
    """
    arrays, names = read_arrays(path), list(model.imported.inputs)
    if len(names) == 1 and "x" in arrays and names[0] not in arrays:
        return {names[0]: arrays["x"]}
    missing = [name for name in names if name not in arrays]
    if missing:
        held = ", ".join(arrays) or "nothing"
        raise EdgeLstmError(f"{path} holds {held}; an array {missing[0]} is needed, laid out as in the model's file")
    return {name: arrays[name] for name in names}


def example_samples(model: IntegerModel, windows: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Reproducible pseudo-random samples that use the model's whole input range.

    Slow random walks of normal steps, so that gates open and close; (windows, steps, channels).
    """
    rng = np.random.default_rng(seed)
    shape = (windows, model.signature.steps, len(model.signature.channels))
    walk = 0.5 * rng.standard_normal(shape) + np.cumsum(0.2 * rng.standard_normal(shape), axis=1)
    return np.asarray(model.input_offset + model.input_scale * 127 * np.tanh(walk))
