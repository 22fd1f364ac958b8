"""Mistakes in a call of ``edge-lstm report`` about a file: one line each, and nothing is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_lstm import cli
from edge_lstm.export.onnx_float import write as write_onnx
from edge_lstm.model import FloatModel
from edge_lstm.npz import write_arrays
from edge_lstm.ptq import quantize

X = np.random.default_rng(0).normal(0, 1, (6, 12, 3))
ERROR = ("report", "m.elstm", "--out", "r.html", "--input")
NOWHERE = "No such file or directory"


@pytest.fixture
def fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_float_model: Callable[..., FloatModel],
) -> Callable[..., str]:
    """Call the program in a folder with ``m.elstm``, ``m.onnx``, ``x.npz`` and others; give the line that it says."""
    monkeypatch.chdir(tmp_path)
    floating = make_float_model("hard", classes=3)
    quantize(floating, calibration=X).save("m.elstm")
    write_onnx(floating, Path("m.onnx"))
    write_onnx(make_float_model(classes=5), Path("classes.onnx"))
    write_onnx(make_float_model(classes=3, hidden=7), Path("layers.onnx"))
    write_onnx(make_float_model(classes=3, pooling="mean"), Path("mean.onnx"))
    write_arrays(Path("x.npz"), x=X)
    write_arrays(Path("two.npz"), x=X[..., :2])
    Path("text").write_text("hello\n")
    Path("folder").mkdir()
    before = sorted(tmp_path.rglob("*"))

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["edge-lstm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        assert (stop.value.code, said.out) == (2, "")
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = said.err.splitlines()
        return line.removeprefix("edge-lstm: ")

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("report", "m.elstm", "--out", "r.html", "--float", "m.onnx"),
            "m.elstm is compared with its float model on recordings: give --float MODEL.onnx and --input X.npz",
        ),
        (
            (*ERROR, "x.npz"),
            "m.elstm is compared with its float model on recordings: give --float MODEL.onnx and --input X.npz",
        ),
        (
            ("report", "folder", "m.elstm", "--out", "r.html"),
            "m.elstm is a file, and not alone; accepted are run folders, or one M.elstm",
        ),
        (
            ("report", "folder", "--out", "r.html", "--float", "m.onnx"),
            "--float m.onnx goes with a file M.elstm; a run's folder has its own",
        ),
        (
            ("report", "folder", "--out", "r.html", "--input", "x.npz"),
            "--input x.npz goes with a file M.elstm; a run's folder has its own",
        ),
        ((*ERROR, "x.npz", "--float", "text"), "text is not an ONNX file, or is truncated"),
        ((*ERROR, "x.npz", "--float", "missing.onnx"), f"can't read missing.onnx: {NOWHERE}"),
        ((*ERROR, "x.npz", "--float", "folder"), f"can't read folder/model.safetensors: {NOWHERE}"),
        (
            (*ERROR, "two.npz", "--float", "m.onnx"),
            "two.npz: samples have shape (6, 12, 2); m takes 3 channels last (channel0, channel1, channel2)",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line(fails: Callable[..., str], arguments: tuple[str, ...], message: str) -> None:
    assert fails(*arguments) == message


@pytest.mark.parametrize("command", [ERROR, ("inspect", "m.elstm", "--input")], ids=["report", "inspect"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("classes", "number of outputs: 5 in the float model, and 3 in the quantized one"),
        ("layers", "the float model has the layers [('lstm', 7, 3)], and the quantized one [('lstm', 8, 3)]"),
        ("mean", "pooling: mean in the float model, and last in the quantized one"),
    ],
)
def test_another_float_model_is_refused(
    fails: Callable[..., str], command: tuple[str, ...], name: str, message: str
) -> None:
    assert fails(*command, "x.npz", "--float", f"{name}.onnx") == f"{name}.onnx: {message}"
