"""From a name or a path to a `Dataset`.

======================= ===================================================================================
argument                data
======================= ===================================================================================
basic-motions           carried by the `aeon` wheel (extra `data`), see `edge_lstm.data.basic_motions`
ecg                     mitbih_beats_125hz.npz under $EDGE_LSTM_DATA, see `edge_lstm.data.heartbeats`
fsdd, fsdd-official     fsdd_8khz.npz under $EDGE_LSTM_DATA, see `edge_lstm.data.spoken_digits`
hapt, hapt-2            hapt_windows.npz under $EDGE_LSTM_DATA, see `edge_lstm.data.uci_har`
uci-har                 the folder "UCI HAR Dataset": $EDGE_LSTM_DATA itself, or inside it
a path to an .npz file  see `edge_lstm.data.npz`
a path to a folder      the folder "UCI HAR Dataset", or the one that holds it
======================= ===================================================================================

A name wins over a file of the same name; `./hapt` is always a path.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edge_lstm.data.basic_motions import read_basic_motions
from edge_lstm.data.dataset import Dataset
from edge_lstm.data.heartbeats import FILE as ECG_FILE
from edge_lstm.data.heartbeats import read_heartbeats
from edge_lstm.data.npz import read_npz
from edge_lstm.data.spoken_digits import FILE as FSDD_FILE
from edge_lstm.data.spoken_digits import read_spoken_digits
from edge_lstm.data.uci_har import FOLDER, HAPT_FILE, is_uci_har, of_two_classes, read_hapt, read_uci_har
from edge_lstm.errors import EdgeLstmError

DATA_VARIABLE = "EDGE_LSTM_DATA"  # environment variable: the folder of data sets that no wheel carries


def load(name_or_path: str | os.PathLike[str]) -> Dataset:
    """The data set of that name, or in that file or folder.

    Raises `EdgeLstmError` if there is none, listing the known names, or if it can't be read, naming the file.
    """
    reader = _BY_NAME.get(os.fspath(name_or_path))
    if reader is not None:
        return reader()
    path = Path(name_or_path)
    if path.is_dir():
        return read_uci_har(path)
    if path.is_file():
        return read_npz(path)
    raise EdgeLstmError(
        f"unknown data set {os.fspath(name_or_path)!r}: neither a known name ({', '.join(names())}) "
        "nor an .npz file or a UCI HAR folder"
    )


def names() -> tuple[str, ...]:
    """The names `load` knows."""
    return tuple(_BY_NAME)


def _file(name: str, file: str) -> Path:
    path = _data_folder(name, file) / file
    if not path.is_file():
        raise EdgeLstmError(f"{name}: no {file} in {DATA_VARIABLE}={path.parent}")
    return path


def _uci_har() -> Dataset:
    folder = _data_folder("uci-har", f"the folder {FOLDER!r}")
    if not is_uci_har(folder):
        raise EdgeLstmError(f"uci-har: no folder {FOLDER!r} with the raw signals in {DATA_VARIABLE}={folder}")
    return read_uci_har(folder)


def _data_folder(name: str, content: str) -> Path:
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        raise EdgeLstmError(f"{name}: set the environment variable {DATA_VARIABLE} to the folder that holds {content}")
    return Path(value)


_BY_NAME: dict[str, Callable[[], Dataset]] = {
    "basic-motions": read_basic_motions,
    "ecg": lambda: read_heartbeats(_file("ecg", ECG_FILE)),
    "fsdd": lambda: read_spoken_digits(_file("fsdd", FSDD_FILE)),
    "fsdd-official": lambda: read_spoken_digits(_file("fsdd-official", FSDD_FILE), official=True),
    "hapt": lambda: read_hapt(_file("hapt", HAPT_FILE)),
    "hapt-2": lambda: of_two_classes(read_hapt(_file("hapt-2", HAPT_FILE))),
    "uci-har": _uci_har,
}
