"""``recording.npz``: what fits is read, what does not is refused by name."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import Signature
from edge_lstm.report import recording
from edge_lstm.report.recording import read_recording

SIGNATURE = Signature("toy", ("a", "b"), ("g", "g"), 50.0, 4, ("x", "y"))


def write(folder: Path, **arrays: Any) -> Path:
    path = folder / "recording.npz"
    np.savez(path, **arrays)
    return path


def test_read(tmp_path: Path) -> None:
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = read_recording(write(tmp_path, x=x, y=np.int64(1)), SIGNATURE)
    assert (found.x.tolist(), found.y, found.steps) == (x.tolist(), 1, 4)


def test_long_recordings_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_SHOWN_STEPS", 3)
    found = read_recording(write(tmp_path, x=np.zeros((9, 2)), y=np.int64(0)), SIGNATURE)
    assert (found.x.shape, found.steps) == ((3, 2), 9)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 2))}, "needed x and y, found x"),
        ({"x": np.zeros(4), "y": np.int64(0)}, "x must have shape (steps, 2), found (4,)"),
        ({"x": np.zeros((0, 2)), "y": np.int64(0)}, "x must have shape (steps, 2), found (0, 2)"),
        ({"x": np.zeros((4, 3)), "y": np.int64(0)}, "samples have shape (4, 3); toy takes 2 channels last (a, b)"),
        (
            {"x": np.full((1, 2), np.nan), "y": np.int64(0)},
            "sample (0, 0) is nan (channel a); every sample must be finite",
        ),
        ({"x": np.array([["a", "b"]]), "y": np.int64(0)}, "samples are <U1; accepted are real numbers"),
        ({"x": np.zeros((4, 2)), "y": np.int64(2)}, "y must be one integer from 0 to 1, found 2 (int64)"),
        ({"x": np.zeros((4, 2)), "y": np.float64(1)}, "y must be one integer from 0 to 1, found 1.0 (float64)"),
        (
            {"x": np.zeros((4, 2)), "y": np.zeros(3, int)},
            "y must be one integer from 0 to 1, found an array (3,) (int64)",
        ),
        (
            {"x": np.array([[{}, {}]]), "y": np.int64(0)},
            "can't be read as an .npz file of plain arrays: Object arrays cannot be loaded when allow_pickle=False",
        ),
    ],
)
def test_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = write(tmp_path, **arrays)
    with pytest.raises(EdgeLstmError) as caught:
        read_recording(path, SIGNATURE)
    assert str(caught.value) == f"{path}: {message}"


def test_member_that_is_no_array(tmp_path: Path) -> None:
    path = tmp_path / "recording.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"no array")
        archive.writestr("y", b"no array")
    with pytest.raises(EdgeLstmError, match=r"recording\.npz"):
        read_recording(path, SIGNATURE)


def test_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_RECORDING_BYTES", 5000)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros((10000, 2)), y=np.int64(0))
    path = tmp_path / "recording.npz"
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 5000
    with pytest.raises(EdgeLstmError, match=r"unpacks to 160\d+ bytes; accepted are at most 5000$"):
        read_recording(path, SIGNATURE)
