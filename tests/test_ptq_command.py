"""``edge-lstm quantize``: options, labels, memory-mapped recordings and white noise; and the table of the benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge_lstm.api import export_model
from edge_lstm.codec import digest
from edge_lstm.commands.quantize import command
from edge_lstm.errors import EdgeLstmError
from edge_lstm.importer import import_own
from edge_lstm.model import FloatModel
from edge_lstm.ptq import RANDOM_WARNING, quantize, random_normal
from edge_lstm.storage import load

MakeFloat = Callable[..., FloatModel]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, make_float_model: MakeFloat) -> Path:
    """``m.onnx``, and recordings of it with labels: ``x.npz``, ``x.npy``."""
    folder = tmp_path_factory.mktemp("quantize")
    model = make_float_model("soft", hidden=12, inputs=3)
    x = model.mean + model.std * np.random.default_rng(0).normal(0, 1, (50, 12, 3))
    (path,) = export_model(model, format="float-onnx", out=folder / "float")
    path.rename(folder / "m.onnx")
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", x=x, y=model.run(x)["class_index"])
    return folder


def called(home: Path, *arguments: str) -> Result:
    model, out = str(home / "m.onnx"), str(home / "m.elstm")
    placed = [str(home / a) if a.startswith("x.") else a for a in arguments]
    return CliRunner().invoke(command, [model, "--out", out, *placed])


def as_json(home: Path, *arguments: str) -> dict[str, Any]:
    result = called(home, "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_json_says_what_was_chosen(home: Path) -> None:
    found = as_json(home, "--calibration", "x.npz", "--weight-bits", "4", "--range", "percentile", "--percentile", "99")
    assert found["sha256"] == digest(load(home / "m.elstm"))
    assert (found["range"], found["percentile"], found["rounding"]) == ("percentile", 99.0, "reconstruct")
    assert (found["bias_correction"], found["equalization"], found["calibration"]) == (True, True, "recordings")
    assert found["layers"] == [
        {"layers": [0], "weight_bits": 4, "activation_bits": 8, "gates": "soft", "h": "Q0.7"},
    ]
    assert 0.5 < found["agreement"] <= 1
    assert found["accuracy"] is None


def test_the_same_is_written_as_in_python(home: Path) -> None:
    options = {"rounding": "nearest", "bias_correction": False, "range": "mse"}
    found = as_json(home, "--calibration", "x.npy", "--rounding", "nearest", "--no-bias-correction", "--range", "mse")
    quantized = quantize(import_own(home / "m.onnx"), calibration=np.load(home / "x.npy"), **options)
    assert found["sha256"] == digest(quantized)


def test_labels_of_the_recordings_decide_a_limit_of_points(home: Path) -> None:
    found = as_json(home, "--calibration", "x.npz", "--max-drop", "20")
    assert found["float_accuracy"] == 1.0
    assert found["accuracy"] >= 0.8
    assert found["layers"][0]["weight_bits"] < 8
    assert as_json(home, "--calibration", "x.npy", "--max-drop", "20")["accuracy"] is None


def test_what_was_done_is_said_to_people(home: Path) -> None:
    result = called(home, "--calibration", "x.npz", "--gates", "hard")
    assert result.exit_code == 0, result.output
    assert "calibrated on 50 windows" in result.stderr
    assert "36 gates became thresholds after training; training them hard does better" in result.stderr
    assert "bits of weights/activations: 8/8" in result.stderr


def test_white_noise_says_loudly_what_it_is(home: Path) -> None:
    result = called(home, "--calibration", "random-normal")
    assert result.exit_code == 0, result.output
    assert f"WARNING: {RANDOM_WARNING}" in result.stderr
    assert "calibrated on 64 windows of white noise" in result.stderr
    assert as_json(home, "--calibration", "random-normal")["calibration"] == "random-normal"
    assert load(home / "m.elstm").provenance["calibration"] == RANDOM_WARNING


def test_white_noise_warns_in_python_and_is_the_same_each_time(make_float_model: MakeFloat) -> None:
    model = make_float_model(inputs=3)
    with pytest.warns(UserWarning, match="^calibrated on white noise, not on recordings"):
        found = quantize(model, calibration="random-normal")
    x = random_normal(model, windows=2000)
    assert x.mean(axis=(0, 1)) == pytest.approx(model.mean, abs=0.05)
    assert x.std(axis=(0, 1)) == pytest.approx(model.std, rel=0.05)
    again = quantize(model, calibration=random_normal(model))
    assert np.array_equal(found.dense_weights, again.dense_weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--range", "all"), "range is 'all'; accepted are minmax, percentile, mse, entropy"),
        (("--rounding", "up"), "rounding is 'up'; accepted are reconstruct, nearest"),
        (("--percentile", "20"), "percentile is 20.0; accepted are above 50, to 100"),
        (("--max-bytes", "0"), "max_bytes is 0; accepted are positive numbers"),
        (("--max-drop", "101"), "max_drop is 101.0; accepted are 0 to 100 points"),
    ],
)
def test_an_option_that_is_not_there_is_refused(home: Path, arguments: tuple[str, ...], message: str) -> None:
    result = called(home, "--calibration", "x.npz", *arguments)
    assert result.exit_code != 0
    assert message in str(result.exception) + result.output


def test_a_npy_file_that_is_none_is_refused(home: Path, tmp_path: Path) -> None:
    flat, text = tmp_path / "flat.npy", tmp_path / "text.npy"
    np.save(flat, np.zeros((4, 3)))
    text.write_text("no array")
    for path, message in ((flat, "x has shape (4, 3)"), (text, "can't be read as a .npy file of a plain array")):
        result = called(home, "--calibration", str(path))
        assert result.exit_code != 0
        assert message in str(result.exception) + result.output


def test_recordings_by_an_unknown_name_are_refused_in_python(make_float_model: MakeFloat) -> None:
    with pytest.raises(EdgeLstmError) as error:
        quantize(make_float_model(), calibration="noise")
    assert str(error.value) == "calibration is 'noise'; accepted are recordings, or 'random-normal'"


def test_the_page_of_benchmarks_has_the_table() -> None:
    text = (Path(__file__).parent.parent / "docs" / "benchmarks.md").read_text()
    part = text.partition("<!-- ptq -->")[2].partition("<!-- end of ptq -->")[0]
    for row in ("**int8, h int8**", "**int8, h int16, interpolated**", "**int4, h int8**", "incumbent: int8, h int8"):
        assert f"| {row} |" in part
