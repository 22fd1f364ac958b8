"""``recording.npz``: what fits is read, what does not is refused by name."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import QuantizedModel
from edge_lstm.report import recording
from edge_lstm.report.recording import read_recording
from edge_lstm.signature import Signature

SIGNATURE = Signature("toy", ("a", "b"), ("g", "g"), 50.0, 4, ("x", "y"))


@pytest.fixture
def toy(make_quantized: Callable[..., QuantizedModel]) -> QuantizedModel:
    return replace(make_quantized(inputs=2, classes=2), signature=SIGNATURE)


def write(folder: Path, **arrays: Any) -> Path:
    path = folder / "recording.npz"
    np.savez(path, **arrays)
    return path


def test_read(tmp_path: Path, toy: QuantizedModel) -> None:
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = read_recording(write(tmp_path, x=x, y=np.int64(1)), toy)
    assert (found.x.tolist(), found.y, found.steps) == (x.tolist(), 1, 4)


def test_long_recordings_are_cut(tmp_path: Path, toy: QuantizedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_SHOWN_STEPS", 3)
    found = read_recording(write(tmp_path, x=np.zeros((9, 2)), y=np.int64(0)), toy)
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
        ({"x": np.full((1, 2), 1e300), "y": np.int64(0)}, "x holds 1e+300; accepted are numbers from -1e+30 to 1e+30"),
        ({"x": np.array([["a", "b"]]), "y": np.int64(0)}, "samples are <U1; accepted are real numbers"),
        ({"x": np.zeros((4, 2)), "y": np.int64(2)}, "y must be one integer from 0 to 1, found 2 (int64)"),
        ({"x": np.zeros((4, 2)), "y": np.float64(1)}, "y must be one integer from 0 to 1, found 1.0 (float64)"),
        (
            {"x": np.zeros((4, 2)), "y": np.zeros(3, int)},
            "y must be one integer from 0 to 1, found an array (3,) from 0 to 0 (int64)",
        ),
        (
            {"x": np.array([[{}, {}]]), "y": np.int64(0)},
            "can't be read as an .npz file of plain arrays: Object arrays cannot be loaded when allow_pickle=False",
        ),
    ],
)
def test_refused(tmp_path: Path, toy: QuantizedModel, arrays: dict[str, Any], message: str) -> None:
    path = write(tmp_path, **arrays)
    with pytest.raises(EdgeLstmError) as caught:
        read_recording(path, toy)
    assert str(caught.value) == f"{path}: {message}"


def test_member_that_is_no_array(tmp_path: Path, toy: QuantizedModel) -> None:
    path = tmp_path / "recording.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"no array")
        archive.writestr("y", b"no array")
    with pytest.raises(EdgeLstmError, match=r"recording\.npz"):
        read_recording(path, toy)


def test_archive_that_unpacks_to_too_much(tmp_path: Path, toy: QuantizedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_RECORDING_BYTES", 5000)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros((10000, 2)), y=np.int64(0))
    path = tmp_path / "recording.npz"
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 5000
    with pytest.raises(EdgeLstmError, match=r"unpacks to 160\d+ bytes; accepted are at most 5000$"):
        read_recording(path, toy)


def form(make_quantized_form: Callable[..., QuantizedModel], name: str, task: Literal["classify", "regress"]) -> Any:
    """A model of 3 channels, 12 steps and 4 classes or outputs."""
    made = make_quantized_form(name)
    return replace(made, signature=replace(made.signature, task=task))


@pytest.mark.parametrize(
    ("name", "task", "y"),
    [
        ("each", "classify", np.arange(12, dtype=np.uint8) % 4),
        ("variable each", "classify", np.arange(12) % 4),
        ("decoder", "classify", np.arange(7) % 4),
        ("attention", "regress", np.arange(4, dtype=np.int16)),
        ("bidirectional", "regress", np.linspace(-1, 1, 4, dtype=np.float32)),
        ("each", "regress", np.zeros((12, 4))),
        ("decoder", "regress", np.zeros((7, 4))),
    ],
)
def test_read_of_other_forms(
    tmp_path: Path, make_quantized_form: Callable[..., QuantizedModel], name: str, task: Any, y: Any
) -> None:
    found = read_recording(write(tmp_path, x=np.zeros((12, 3)), y=y), form(make_quantized_form, name, task))
    assert found.y.dtype == ("int64" if task == "classify" else "float64")
    assert found.y.tolist() == y.tolist()


def test_labels_are_cut_with_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_quantized_form: Callable[..., QuantizedModel]
) -> None:
    monkeypatch.setattr(recording, "MAX_SHOWN_STEPS", 5)
    path = write(tmp_path, x=np.zeros((12, 3)), y=np.arange(12) % 4)
    found = read_recording(path, make_quantized_form("bidirectional each"))
    assert (found.x.shape, found.y.tolist(), found.steps) == ((5, 3), [0, 1, 2, 3, 0], 12)


@pytest.mark.parametrize(
    ("name", "task", "steps", "y", "message"),
    [
        ("each", "classify", 12, np.int64(1), "y must be integers (12,) from 0 to 3, found 1 (int64)"),
        ("each", "classify", 12, np.full(12, 4), "{} (12,) from 0 to 3, found an array (12,) from 4 to 4 (int64)"),
        ("each", "classify", 12, np.full(12, -1), "{} (12,) from 0 to 3, found an array (12,) from -1 to -1 (int64)"),
        ("each", "classify", 12, np.zeros(12), "{} (12,) from 0 to 3, found an array (12,) (float64)"),
        ("each", "classify", 12, np.zeros(0, int), "{} (12,) from 0 to 3, found an array (0,) (int64)"),
        ("decoder", "classify", 12, np.zeros(12, int), "{} (7,) from 0 to 3, found an array (12,) from 0 to 0 (int64)"),
        (
            "each",
            "classify",
            12,
            np.full(12, 2**64 - 1, np.uint64),
            "{} (12,) from 0 to 3, found an array (12,) from 18446744073709551615 to 18446744073709551615 (uint64)",
        ),
        ("attention", "regress", 12, np.zeros(3), "y must be real numbers (4,), found an array (3,) (float64)"),
        ("attention", "regress", 12, np.float64(0), "y must be real numbers (4,), found 0.0 (float64)"),
        ("decoder", "regress", 12, np.zeros(4), "y must be real numbers (7, 4), found an array (4,) (float64)"),
        (
            "attention",
            "regress",
            12,
            np.zeros(4, complex),
            "y must be real numbers (4,), found an array (4,) (complex128)",
        ),
        ("attention", "regress", 12, np.full(4, np.nan), "y holds nan; accepted are numbers from -1e+30 to 1e+30"),
        ("attention", "regress", 12, np.full(4, -np.inf), "y holds -inf; accepted are numbers from -1e+30 to 1e+30"),
        ("each", "regress", 12, np.full((12, 4), 1e300), "y holds 1e+300; accepted are numbers from -1e+30 to 1e+30"),
        ("bidirectional", "classify", 13, np.int64(0), "x has 13 steps; m takes at most 12"),
        ("variable", "classify", 13, np.int64(0), "x has 13 steps; m takes at most 12"),
    ],
)
def test_refused_of_other_forms(
    tmp_path: Path,
    make_quantized_form: Callable[..., QuantizedModel],
    name: str,
    task: Any,
    steps: int,
    y: Any,
    message: str,
) -> None:
    path = write(tmp_path, x=np.zeros((steps, 3)), y=y)
    with pytest.raises(EdgeLstmError) as caught:
        read_recording(path, form(make_quantized_form, name, task))
    assert str(caught.value) == f"{path}: {message.format('y must be integers')}"
