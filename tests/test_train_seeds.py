"""Several seeds, and cross-validation, as people run them: in an empty folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_lstm import cli, run_files
from edge_lstm.report import write_report
from edge_lstm.run_writer import best_run
from edge_lstm.storage import load

PROGRAM = Path(sys.executable).parent / "edge-lstm"
SMALL = ("--hidden", "4", "--epochs", "2", "--quantized-from", "0.5")


def program(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PROGRAM, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def test_seeds_are_trained_and_the_best_on_its_validation_windows_ships(tmp_path: Path) -> None:
    options = (*SMALL, "--seeds", "0,7", "--log-dir", "log", "--class-weights", "balanced", "--metric", "loss")
    found = json.loads(program("train", "basic-motions", "--out", "run", *options, "--json", cwd=tmp_path).stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "run"]
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == ["seed-0", "seed-7"]
    run = tmp_path / "run"
    results = json.loads((run / run_files.RESULTS).read_text())
    assert results["training"]["seeds"] == [0, 7]
    last = {curve["seed"]: curve["validation_loss"][-1] for curve in results["curves"]}
    shipped = min(last, key=lambda seed: last[seed])
    assert found["shipped_seed"] == results["shipped"]["seed"] == shipped
    for seed in (0, 7):
        assert {p.name for p in (run / f"seed-{seed}").iterdir()} == {run_files.MODEL, run_files.FLOAT, run_files.ONNX}
        load(run / f"seed-{seed}" / run_files.MODEL)
    assert (run / run_files.MODEL).read_bytes() == (run / f"seed-{shipped}" / run_files.MODEL).read_bytes()
    for form in ("float", "int8"):
        told = found["seeds"][form]["accuracy"]
        values = list(told["by_seed"].values())
        assert list(told["by_seed"]) == ["0", "7"]
        assert told["mean"] == pytest.approx(np.mean(values))
        assert told["spread"] == pytest.approx(np.std(values, ddof=1))
        assert found["accuracy"][form] == told["by_seed"][str(shipped)]
        assert found["macro_f1"][form] == found["seeds"][form]["macro_f1"]["by_seed"][str(shipped)]
        scores = found["by_class"][form]
        assert [one["name"] for one in scores] == results["dataset"]["classes"]
        confusion = np.array(found["confusion"][form])
        assert [one["support"] for one in scores] == confusion.sum(axis=1).tolist()
    write_report([run], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "macro F1" in page
    assert "Confusion matrix of model.elstm" in page
    assert "Confusion matrix of model.safetensors" in page


def test_cross_validation_is_a_table_or_json_and_writes_nothing(tmp_path: Path) -> None:
    done = program("cross-validate", "basic-motions", "--folds", "2", *SMALL, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["unit"] == "window"
    assert [fold["windows"] for fold in found["folds"]] == [20, 20]
    accuracies = [fold["scores"]["int8"]["accuracy"] for fold in found["folds"]]
    assert found["summary"]["int8"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert done.stderr == (
        "basic-motions does not say who was recorded: windows of a subject may be on both sides of a fold\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_table_names_subjects(capsys: pytest.CaptureFixture[str]) -> None:
    from edge_lstm.commands.cross_validate import _print
    from edge_lstm.cross_validation import CrossValidation, Fold

    scores = {"float": {"accuracy": 0.5}, "int8": {"accuracy": 0.25}}
    _print("toy", CrossValidation("subject", (Fold(8, (1, 2), 3, scores), Fold(9, tuple(range(9)), 3, scores))))
    text = capsys.readouterr().out
    assert "toy: windows that were held out of training, by subject" in text
    assert "0, 1, 2, 3, 4, 5 and 3 more" in text
    assert "0.2500" in text


def test_without_validation_the_first_ships() -> None:
    runs: list[Any] = [SimpleNamespace(trained=SimpleNamespace(measure=m)) for m in (None, 0.5, 0.75, 0.75)]
    assert best_run(runs) is runs[2]
    assert best_run(runs[:1] * 2) is runs[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", "0"), "--seeds is '0'; accepted are a number from 1 to 1000, or different seeds such as 0,7"),
        (("--seeds", "3,3"), "--seeds is '3,3'; accepted are a number from 1 to 1000, or different seeds such as 0,7"),
        (("--seeds", "a"), "--seeds is 'a'; accepted are a number from 1 to 1000, or different seeds such as 0,7"),
        (("--seeds", "-1"), "--seeds is '-1'; accepted are a number from 1 to 1000, or different seeds such as 0,7"),
        (("--seeds", "0,1", "--seed", "2"), "--seeds 0,1 and --seed 2 can't both be given"),
        (("--seeds", "0,4294967296"), "seed is 4294967296; accepted are 0 to 4294967295"),
        (("--metric", "r2"), "basic-motions is for classes, and metric is 'r2'; accepted are auto, accuracy, macro-f1"),
        (("--class-weights", "1"), "class_weights is '1'; accepted are none, balanced"),
    ],
)
def test_mistakes(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["edge-lstm", "train", "basic-motions", "--out", "run", *options])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"edge-lstm: {message}")
    assert list(tmp_path.iterdir()) == []
