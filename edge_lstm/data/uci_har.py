"""The UCI HAR task: six activities from a smartphone at the waist, 30 volunteers, windows of 128 samples at 50 Hz.

Two sources of the same task:

* the archive's own folder, `UCI HAR Dataset`: D. Anguita, A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz, "A Public
  Domain Dataset for Human Activity Recognition Using Smartphones", ESANN 2013, https://doi.org/10.24432/C54S4K;
* `hapt_windows.npz`: the same volunteers, windows and split, rebuilt from the raw recordings of J.-L. Reyes-Ortiz,
  L. Oneto, A. Samà, X. Parra, D. Anguita, "Transition-Aware Human Activity Recognition Using Smartphones",
  Neurocomputing 171 (2016), https://doi.org/10.24432/C54G7M. Its gyroscope lacks the slow offset the former has.
  Say "HAPT windows, UCI HAR split" when reporting.

Six activities make the six classes. Two classes make the task HAR-2 of A. Kusupati et al., "FastGRNN: a fast, accurate,
stable and tiny kilobyte sized gated recurrent neural network", NeurIPS 2018, arXiv:1901.02358: sitting, laying and
walking upstairs against the others.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.dataset import Dataset, FloatArray
from edge_lstm.data.npz import read_npz
from edge_lstm.errors import EdgeLstmError

FOLDER = "UCI HAR Dataset"
HAPT_FILE = "hapt_windows.npz"
CLASSES = ("walking", "walking_upstairs", "walking_downstairs", "sitting", "standing", "laying")
CHANNELS = tuple(f"{sensor}_{axis}" for sensor in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
UNITS = ("g", "g", "g", "rad/s", "rad/s", "rad/s", "g", "g", "g")
RATE_HZ = 50.0
TWO_CLASSES = ("sitting_laying_upstairs", "standing_walking_downstairs")
_FIRST_OF_TWO = ("sitting", "laying", "walking_upstairs")


def is_uci_har(path: Path) -> bool:
    """Whether `path` is the archive's folder, or holds it."""
    return any((root / "train" / "Inertial Signals").is_dir() for root in (path, path / FOLDER))


def read_uci_har(path: Path) -> Dataset:
    """Read the archive's folder; `path` is that folder or the one that holds it.

    Takes the raw signals of `train` and `test`, not the 561 features. Raises `EdgeLstmError`, naming the file, if
    one is missing, is not numbers, or has another number of windows than its neighbours.
    """
    if not is_uci_har(path):
        raise EdgeLstmError(f"{path}: is no UCI HAR folder, needed train/Inertial Signals in it or in its {FOLDER!r}")
    root = path if (path / "train").is_dir() else path / FOLDER
    sides = [_read_side(root / side, side) for side in ("train", "test")]
    steps = {x.shape[1] for x, _, _ in sides}
    if len(steps) > 1:
        raise EdgeLstmError(f"{root}: train and test windows must be of one length, found {sorted(steps)} samples")
    x, y, subject = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    return Dataset(
        name="uci-har",
        x=x,
        y=y,
        classes=CLASSES,
        channels=CHANNELS,
        units=UNITS,
        rate_hz=RATE_HZ,
        groups=subject,
        is_test=np.arange(len(x)) >= len(sides[0][0]),
        licence="CC BY 4.0 (UCI's page; the README of the archive itself forbids commercial use)",
        source="UCI HAR, Anguita et al. 2013, https://doi.org/10.24432/C54S4K",
    )


def read_hapt(path: Path) -> Dataset:
    """Read `hapt_windows.npz`: `x_q` int16 (10278, 128, 9) times `scale` (9,), `y`, `subject`, `is_test`."""
    plain = read_npz(path)
    if plain.x.shape[2] != len(CHANNELS) or len(plain.classes) != len(CLASSES):
        raise EdgeLstmError(
            f"{path}: HAPT has {len(CHANNELS)} channels and {len(CLASSES)} classes, "
            f"found {plain.x.shape[2]} and {len(plain.classes)}"
        )
    return replace(
        plain,
        name="hapt",
        classes=CLASSES,
        channels=CHANNELS,
        units=UNITS,
        rate_hz=RATE_HZ,
        licence="CC BY 4.0",
        source="HAPT windows, UCI HAR split; Reyes-Ortiz et al. 2016, https://doi.org/10.24432/C54G7M",
    )


def of_two_classes(dataset: Dataset) -> Dataset:
    """The same windows for the task HAR-2; named as they are, with -2 behind."""
    first = np.isin(dataset.labels, [CLASSES.index(name) for name in _FIRST_OF_TWO])
    return replace(dataset, name=f"{dataset.name}-2", y=np.where(first, 0, 1), classes=TWO_CLASSES)


def _read_side(folder: Path, side: str) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """Samples (windows, time, 9), labels (windows,) from 0, subjects (windows,) of `train` or `test`."""
    y = _numbers(folder / f"y_{side}.txt", np.int64).ravel() - 1
    subject = _numbers(folder / f"subject_{side}.txt", np.int64).ravel()
    outside = (y < 0) | (y >= len(CLASSES))
    if outside.any():
        line = int(outside.argmax())
        raise EdgeLstmError(f"{folder}/y_{side}.txt: activities are 1 to 6, found {y[line] + 1} in line {line + 1}")
    if len(subject) != len(y):
        raise EdgeLstmError(f"{folder}/subject_{side}.txt: has {len(subject)} lines, y_{side}.txt has {len(y)}")
    signals: list[FloatArray] = []
    for channel in CHANNELS:
        file = folder / "Inertial Signals" / f"{channel}_{side}.txt"
        signal = _numbers(file, np.float32)  # (windows, time)
        wanted = (len(y), signals[0].shape[1] if signals else signal.shape[1])
        if signal.shape != wanted:
            raise EdgeLstmError(f"{file}: must have shape {wanted} (windows, time), found {signal.shape}")
        signals.append(signal)
    return np.stack(signals, axis=2), y, subject


def _numbers(file: Path, dtype: type[np.generic]) -> NDArray[Any]:
    """The whitespace-separated numbers of a text file, shape (lines, columns)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns of an empty file
            return np.loadtxt(file, dtype=dtype, ndmin=2)
    except FileNotFoundError as error:
        raise EdgeLstmError(f"{file}: is missing") from error
    except (OSError, ValueError, UserWarning) as error:
        raise EdgeLstmError(f"{file}: can't be read as lines of numbers: {error}") from error
