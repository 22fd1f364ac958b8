"""``results.json``: written and read back unchanged, refused with its file and key where it is not as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.report.results import DatasetInfo, Results, SimulateInfo, TrainingInfo, read_results


def content(**changes: Any) -> dict[str, Any]:
    minimal: dict[str, Any] = {
        "title": "t",
        "dataset": {
            "name": "d",
            "train_windows": 1,
            "test_windows": 1,
            "steps": 2,
            "channels": ["a"],
            "units": ["g"],
            "classes": ["x", "y"],
        },
        "training": {
            "cell": "lstm",
            "hidden": 2,
            "layers": 1,
            "pooling": "last",
            "parameters": 3,
            "epochs": 4,
            "seeds": [0],
        },
    }
    return minimal | changes


def write(folder: Path, value: Any) -> Path:
    path = folder / "results.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_absent_parts(tmp_path: Path) -> None:
    found = read_results(write(tmp_path, content()))
    assert (found.accuracy, found.curves, found.simulate) == ([], [], [])
    assert (found.confusion, found.verify, found.shipped, found.dataset.rate_hz) == (None, None, None, None)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = Results(
        title="t",
        dataset=DatasetInfo.model_validate(content()["dataset"]),
        training=TrainingInfo.model_validate(content()["training"]),
        accuracy=[{"model": "m", "gates": "hard", "form": "int8", "by_seed": {10: 0.1, 2: 1 / 3}}],  # type: ignore[list-item]
    )
    assert json.loads(made.to_json())["accuracy"][0]["by_seed"] == {"10": 0.1, "2": 1 / 3}
    assert read_results(write(tmp_path, made.to_json())) == made


def test_new_keys_of_simulate_are_kept() -> None:
    sizes = {"code": 1, "tables": 2, "weights": 3, "total": 6, "padding": 0}
    ram = {"state": 1, "scratch": 2, "stack": 3, "total": 6}
    spread = {"mean": 1.5, "p95": 2, "max": 3}
    cost = {"core": "c", "steps": 1, "instructions_per_step": spread, "flash_bytes": sizes, "ram_bytes": ram}
    assert SimulateInfo.model_validate(cost | {"device": "d"}).model_dump(exclude_unset=True) == cost | {"device": "d"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "Input should be an object"),
        (content(titel="t"), "titel: Extra inputs are not permitted"),
        ({k: v for k, v in content().items() if k != "training"}, "training: Field required"),
        (content(dataset=content()["dataset"] | {"steps": 0}), "dataset.steps: Input should be greater than 0"),
        (
            content(dataset=content()["dataset"] | {"units": []}),
            "dataset: Value error, 0 units for 1 channels; accepted is one unit each",
        ),
        (
            content(accuracy=[{"model": "m", "gates": "hard", "form": "int8", "by_seed": {"0": 1.5}}]),
            "accuracy.0.by_seed.0: Input should be less than or equal to 1",
        ),
        (
            content(accuracy=[{"model": "m", "gates": "hard", "form": "int4", "by_seed": {"0": 1}}]),
            "accuracy.0.form: Input should be 'float' or 'int8'",
        ),
        (
            content(curves=[{"model": "m", "seed": 0, "epoch": [1], "loss": []}]),
            "curves.0: Value error, 1 epochs with 0 losses and 0 accuracies; accepted is one each, or no accuracies",
        ),
        (
            json.dumps(content(curves=[{"model": "m", "seed": 0, "epoch": [1], "loss": [float("nan")]}])),
            "curves.0.loss.0: Input should be a finite number",
        ),
        (
            content(curves=[{"model": "m", "seed": 0, "epoch": [1, 2], "loss": [1, 1], "r2": [0.5]}]),
            "curves.0: Value error, 2 epochs with 1 r2; accepted is one each, or none",
        ),
        (
            content(errors=[{"model": "m", "gates": "hard", "form": "int8", "by_seed": {"0": {"mse": -1, "mae": 0}}}]),
            "errors.0.by_seed.0.mse: Input should be greater than or equal to 0",
        ),
        (content(confusion=[[1, 0]]), "Value error, confusion must have 2 rows of 2 counts, one per class"),
    ],
)
def test_refused(tmp_path: Path, value: Any, message: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(EdgeLstmError) as caught:
        read_results(path)
    assert str(caught.value) == f"{path}: {message}"


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lstm.report.results.MAX_RESULTS_BYTES", 10)
    path = write(tmp_path, "x" * 11)
    with pytest.raises(EdgeLstmError, match=r"has more than 10 bytes, which is the most accepted$"):
        read_results(path)
