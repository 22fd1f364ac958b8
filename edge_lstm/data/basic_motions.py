"""BasicMotions: standing, running, walking and badminton from a smart watch; 80 windows of 10 s at 10 Hz.

Four students did each activity five times (the archive does not say which window is whose). One of the 30 problems
of the UEA archive: A. Bagnall et al., "The UEA multivariate time series classification archive, 2018",
arXiv:1811.00075, http://www.timeseriesclassification.com/description.php?Dataset=BasicMotions. The wheel of `aeon`
carries the files, so no network is needed.

Units are not documented. The training windows say: the gyroscope is in rad/s (its largest value, 34.87, is just
inside the ±2000 deg/s = 34.91 rad/s of such sensors); the acceleration is in m/s² with gravity taken out (its mean
over a window of standing is about 0.2, not 9.8; its largest value, 29.36, is just inside 3 g = 29.42).

The files are read as text, without importing `aeon`, which takes seconds.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edge_lstm.data.dataset import Dataset, FloatArray, IntArray
from edge_lstm.errors import EdgeLstmError, MissingExtraError

CLASSES = ("standing", "running", "walking", "badminton")
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
STEPS = 100


def read_basic_motions(folder: Path | None = None) -> Dataset:
    """The 40 training and 40 test windows, in the files' order.

    `folder` holds BasicMotions_TRAIN.ts and BasicMotions_TEST.ts; without it they are taken from the installed
    `aeon`. Raises `MissingExtraError` without `aeon`, `EdgeLstmError` if a file is missing or is not what it was.
    """
    folder = _installed() if folder is None else folder
    (train, train_y), (test, test_y) = (_read_ts(folder / f"BasicMotions_{side}.ts") for side in ("TRAIN", "TEST"))
    return Dataset(
        name="basic-motions",
        x=np.concatenate([train, test]),
        y=np.concatenate([train_y, test_y]),
        classes=CLASSES,
        channels=CHANNELS,
        units=("m/s^2",) * 3 + ("rad/s",) * 3,
        rate_hz=10.0,
        is_test=np.arange(len(train) + len(test)) >= len(train),
        licence="none stated by the UEA archive; carried by aeon (BSD-3-Clause)",
        source="UEA archive, Bagnall et al. 2018, arXiv:1811.00075",
    )


def _installed() -> Path:
    spec = find_spec("aeon")  # locates a package at top level without importing it
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(package="aeon", extra="data", purpose="to read the basic-motions recordings")
    return Path(next(iter(spec.submodule_search_locations)), "datasets", "data", "BasicMotions")


def _read_ts(file: Path) -> tuple[FloatArray, IntArray]:
    """Samples (windows, time, 6) and labels (windows,) of a `.ts` file.

    Each line after `@data` is a window: the channels, each a comma-separated list of samples, and the class, all
    separated by colons.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeLstmError(f"{file}: can't be read: {error}") from error
    _, marker, body = text.partition("\n@data")
    rows = [(number, row) for number, row in enumerate(body.splitlines(), text.count("\n", 0, -len(body)) + 1) if row]
    if not marker or not rows:
        raise EdgeLstmError(f"{file}: needed windows after a line @data, found none")
    x = np.empty((len(rows), STEPS, len(CHANNELS)), dtype=np.float32)
    y = np.empty(len(rows), dtype=np.int64)
    for window, (number, row) in enumerate(rows):
        *series, label = row.split(":")
        lengths = [one.count(",") + 1 for one in series]
        if lengths != [STEPS] * len(CHANNELS):
            raise EdgeLstmError(f"{file}: line {number}: needed 6 channels of {STEPS} samples, found {lengths}")
        if label.strip().lower() not in CLASSES:
            raise EdgeLstmError(f"{file}: line {number}: class {label!r} is none of {', '.join(CLASSES)}")
        try:
            x[window] = np.array([one.split(",") for one in series], dtype=np.float32).T
        except ValueError as error:
            raise EdgeLstmError(f"{file}: line {number}: a sample is no number: {error}") from error
        y[window] = CLASSES.index(label.strip().lower())
    return x, y
