"""The page on the quantization error: its figures are those of ``inspect --json``, its sentences follow from them."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from test_quantization_error import samples
from test_report import HOSTILE, Page, complete, run_folder
from test_report import model as toy_model

from edge_lstm import cli, storage
from edge_lstm.against_float import error_against
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export.onnx_float import write as write_onnx
from edge_lstm.float_run import evaluate, standardize
from edge_lstm.importing.load import ImportedModel, import_onnx
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel
from edge_lstm.npz import write_arrays
from edge_lstm.ptq import quantize
from edge_lstm.quantization_error import Drift, QuantizationError, quantization_error
from edge_lstm.report import error_sentences as sentences
from edge_lstm.report import write_error_report, write_report
from edge_lstm.report.comparison import Comparison
from edge_lstm.report.error_tables import level_table
from edge_lstm.report.formats import number, percent
from edge_lstm.samples import Samples
from edge_lstm.timeline import Timeline

Make = Callable[..., FloatModel]


def compared(model: FloatModel, x: Any = None, *, found: Any = None, command: str = "quantize", **options: Any) -> Any:
    """A model and its integers on the recordings of the calibration."""
    x = samples(model) if x is None else x
    quantized = quantize(model, calibration=samples(model), **options)
    found = found or quantization_error(model, quantized, x)
    return Comparison(quantized, found, len(x), x.shape[1], command)


def page_of(comparison: Comparison, folder: Path, **facts: str) -> Page:
    write_error_report(comparison, facts, folder / "error.html")
    return Page((folder / "error.html").read_text(encoding="utf-8"))


def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the program says, having succeeded."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["edge-lstm", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err
    return said.out


class Theirs(torch.nn.Module):
    """A stranger's classifier: two layers, the last h, class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = torch.nn.LSTM(3, 8, num_layers=2, batch_first=True)
        self.dense = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.recurrent(x)
        scores: torch.Tensor = self.dense(y[:, -1])
        return scores


def write_theirs(path: Path) -> None:
    torch.manual_seed(0)
    axes = {"x": {0: "n", 1: "t"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Theirs().eval(), (torch.zeros(1, 12, 3),), path, dynamo=False, input_names=["x"], dynamic_axes=axes
        )


@pytest.fixture(params=["own", "theirs"])
def files(request: pytest.FixtureRequest, tmp_path: Path, make_float_model: Make) -> Path:
    """A folder with ``m.onnx``, by edge-lstm or by PyTorch, ``m.elstm`` and ``x.npz``."""
    model = make_float_model(layers=2)
    if request.param == "own":
        write_onnx(model, tmp_path / "m.onnx")
    else:
        write_theirs(tmp_path / "m.onnx")
    imported = import_onnx(tmp_path / "m.onnx")
    assert isinstance(imported, ImportedModel) == (request.param == "theirs")
    x = samples(model)
    quantize(imported, calibration=x / 4).save(tmp_path / "m.elstm")
    write_arrays(tmp_path / "x.npz", x=x)
    return tmp_path


def test_the_figures_are_those_of_inspect(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on = (files / "m.elstm", "--float", files / "m.onnx", "--input", files / "x.npz")
    found = json.loads(program(monkeypatch, capsys, "inspect", *on, "--json"))["quantization_error"]
    said = json.loads(program(monkeypatch, capsys, "report", *on, "--out", files / "e.html", "--json"))
    assert said == {"out": str(files / "e.html"), "bytes": (files / "e.html").stat().st_size}
    page = Page((files / "e.html").read_text(encoding="utf-8"))
    values, levels, formats = page.tables
    assert values[1] == [
        "inputs",
        "8 bits",
        "–",
        "–",
        *(percent(found[f"inputs_{k}"]) for k in ("clipped", "beyond")),
        "–",
    ]
    shown = [row[1:] for row in values[2:-2] if len(row) > 1]
    assert shown == [
        [
            t["stored"],
            sentences.decibel(t["sqnr_db"]),
            number(t["rms"]),
            percent(t["clipped"]),
            percent(t["beyond"]),
            "–" if t["table_error"] is None else number(t["table_error"]),
        ]
        for t in found["tensors"]
    ]
    assert [row[0] for row in values if len(row) == 1] == ["lstm0", "lstm1", "all layers"]
    assert values[-1][:4] == [
        "scores",
        "–",
        sentences.decibel(found["scores_sqnr_db"]),
        number(found["scores_rms"]),
    ]
    assert [row[1:3] for row in levels[1:-1]] == [
        [number(v["alone_rms"]), number(v["without_rms"])] for v in found["levels"]
    ]
    assert levels[-1][2] == number(found["scores_rms"])
    assert [row[0] for row in formats[1:]] == ["lstm0", "lstm1"]
    assert found["onnxruntime"]["agreement"] == pytest.approx(found["agreement"])
    assert f"In integers, {percent(found['agreement'])} of the windows get the class" in page.text
    assert "in NumPy and on onnxruntime alike" in page.text
    assert found["inputs_beyond"] > 0.1
    assert f"{percent(found['inputs_beyond'])} of the input samples" in page.text
    assert "--range minmax" in page.text
    for d in found["drift"]:
        assert f"{d['layer']}.{d['state']} from {number(d['rms'][0])} to {number(d['rms'][-1])}" in str(page.tags)


def test_without_onnxruntime_the_rest_is_there(
    tmp_path: Path, make_float_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_float_model()
    x = samples(model)
    write_onnx(model, tmp_path / "m.onnx")
    monkeypatch.setattr("edge_lstm.against_float.is_installed", lambda *_: False)
    found = error_against(tmp_path / "m.onnx", quantize(model, calibration=x), Samples(x))
    assert found.onnxruntime is None
    assert found.agreement is not None


def test_a_coarse_layer_is_named(make_float_model: Make, tmp_path: Path) -> None:
    model = make_float_model(layers=3, hidden=6)
    for k in range(3):
        bits = ",".join("2" if k == j else "8" for j in range(3))
        c = compared(model, weight_bits=bits, activation_bits=16, rounding="nearest", bias_correction=False)
        said = f"Most of the error comes from lstm{k}: {percent(c.explained(c.found.levels[k]))} of the mean square"
        assert said in sentences.headline(c)
        assert f"weights of 2 bits, those of lstm{k}: `--weight-bits 8,8,8`" in sentences.advice(c)[0]
    page = page_of(c, tmp_path)
    assert said in page.text
    assert "--weight-bits 8,8,8" in page.text
    (bold,) = [a for tag, a in page.tags if tag == "tr" and a.get("class") == "shipped"]
    assert bold
    labels = [a["aria-label"] for tag, a in page.tags if tag == "svg"]
    assert [label.split()[0] for label in labels] == ["Bars", "Lines"]


def test_every_form_has_a_page(form: str, make_form: Make, make_lengths: Any, tmp_path: Path) -> None:
    model = make_form(form)
    x = samples(model)
    lengths = make_lengths(model, len(x), x.shape[1])
    quantized = quantize(model, calibration=x, lengths=lengths)
    found = quantization_error(model, quantized, x, lengths=lengths)
    page = page_of(Comparison(quantized, found, len(x), x.shape[1], "quantize"), tmp_path)
    c = Comparison(quantized, found, len(x), x.shape[1], "quantize")
    assert sentences.headline(c) in page.text
    assert ("is not measured for a model with a decoder" in page.text) == (model.decoder is not None)
    assert ("the outputs of the integers are" in page.text) == (model.signature.task == "regress")
    assert all(name in page.text for name in {t.layer for t in found.tensors})
    assert "{{" not in page.text
    if model.decoder is None:
        table = level_table(c)
        assert table is not None
        assert len(table.rows) == len(found.levels) + 1


def test_a_model_of_other_parts_is_refused(make_float_model: Make, tmp_path: Path) -> None:
    graph = create_autospec(IntegerModel, instance=True)
    graph.signature, graph.title = make_float_model().signature, "conv, lstm of 8 units"
    with pytest.raises(
        EdgeLstmError, match=r"^m is conv, lstm of 8 units; errors are looked for in recurrent layers, "
    ):
        error_against(tmp_path, graph, Samples(np.zeros((1, 12, 3))))


def test_equalization_is_no_error(make_float_model: Make) -> None:
    """Which gives h of other units than the float model's."""
    for cell in ("lstmp", "rnn-relu"):
        model = make_float_model(cell=cell, layers=2, hidden=6)
        layer = model.layers[0]
        uneven = 2.0 ** -np.arange(layer.outputs)
        if layer.P is not None:
            layer = replace(layer, P=layer.P * uneven[:, None])
        else:
            layer = replace(
                layer,
                W={k: W * uneven[:, None] for k, W in layer.W.items()},
                b={k: b * uneven for k, b in layer.b.items()},
                R={k: R * 0.1 for k, R in layer.R.items()},
            )
        model = replace(model, layers=(layer, *model.layers[1:]))
        x = samples(model)
        options = {"activation_bits": 16, "activations": "lut-interp", "calibration": x}
        for on in (True, False):
            found = quantization_error(model, quantize(model, equalization=on, **options), x)
            assert all(t.sqnr_db > 15 for t in found.tensors), (cell, on)
            assert all(level.without_rms < 2 * found.scores_rms for level in found.levels)


def test_what_is_beyond_a_format_is_counted(make_float_model: Make) -> None:
    model = make_float_model(cell="rnn-relu", hidden=6)
    x = samples(model)
    quantized = quantize(model, calibration=x / 20, equalization=False)
    f = quantized.layers[0].h
    h = evaluate(model, standardize(model, x), Timeline(x.shape[1])).layers[0]["h"] / f.scale
    wanted = float((h > f.max + 1).mean())
    found = quantization_error(model, quantized, x)
    assert {t.value: t.beyond for t in found.tensors}["h"] == pytest.approx(wanted)
    assert wanted > 0.01
    said = Comparison(quantized, found, len(x), x.shape[1], "quantize")
    assert f"{percent(wanted)} of h of rnn_relu0" in sentences.clipping(said)
    assert any("--range minmax" in text for text in sentences.advice(said))


def test_the_limits_of_tanh_are_not_beyond_the_format(make_float_model: Make) -> None:
    model = make_float_model("hard")
    (h,) = [t for t in compared(model, 5 * samples(model)).found.tensors if t.value == "h"]
    assert h.clipped > 0.01
    assert h.beyond == 0


def test_nothing_stands_out_of_a_fine_model(make_float_model: Make, tmp_path: Path) -> None:
    c = compared(make_float_model(), activation_bits=16, activations="lut-interp")
    c = replace(c, found=replace(c.found, inputs_beyond=0.0))
    assert sentences.advice(c) == []
    page = page_of(c, tmp_path)
    assert "Nothing stands out" in page.text
    assert "Here no value loses more than 0.1 %" in page.text


def with_growth(c: Comparison, h: float, state: float) -> Comparison:
    course = (0, 5, 11), (0.1, 0.2, 0.3)
    return replace(
        c, found=replace(c.found, drift=(Drift("lstm0", "h", *course, h), Drift("lstm0", "c", *course, state)))
    )


def test_drift_in_words(make_float_model: Make) -> None:
    c = compared(make_float_model())
    assert sentences.drift(with_growth(c, 1.5, 2.0)) == (
        "Errors grow with time: the error of h of lstm0 in the last quarter of 12 steps is 1.50 times that of the "
        "second quarter."
    )
    assert sentences.drift(with_growth(c, 0.5, 2.0)).startswith("The error of c of lstm0 in the last quarter")
    assert "but no error of h grows" in sentences.drift(with_growth(c, 0.5, 2.0))
    assert sentences.drift(with_growth(c, 0.5, 1.1)).startswith("Errors do not build up over time: the error of c of")
    short = replace(c.found, drift=(Drift("lstm0", "h", (0, 1), (0.1, 0.2), 1.0),))
    assert "too short" in sentences.drift(replace(c, found=short))


def test_a_reverse_layer_drifts_towards_the_beginning(make_form: Make) -> None:
    model = make_form("reversed", cells=("lstm-1997",), steps=200)
    x = samples(model, 8)
    growth = {d.state: d.growth for d in quantization_error(model, quantize(model, calibration=x), x).drift}
    assert growth["c"] > 1.5


def test_contributions_in_words(make_float_model: Make) -> None:
    c = compared(make_float_model(layers=2))
    a, b = c.found.levels
    total = c.found.scores_rms

    def of(*without: float) -> str:
        levels = tuple(replace(k, without_rms=w * total) for k, w in zip((a, b), without, strict=False))
        return sentences.contributions(replace(c, found=replace(c.found, levels=levels)))

    error = "of the mean square error of the scores goes"
    assert of(0.5, 0.9) == f"Most of the error comes from lstm0: 75.0 % {error} where it computes in float."
    assert of(0.9, 0.8) == (
        f"The largest part of the error comes from lstm1: 36.0 % {error} where it computes in float."
    )
    assert of(0.5, 0.55).endswith("where it computes in float; with lstm1, 69.8 %.")
    assert of(1.1, 1.2).startswith("No layer alone is to blame")
    assert of(0.1).startswith(f"99.0 % {error} where lstm0 computes in float; what is left is that of rounding")


def test_hostile_texts_stay_texts(make_float_model: Make, tmp_path: Path) -> None:
    c = compared(make_float_model())
    facts = {f"{k}{name}": name for k, name in enumerate(HOSTILE)}
    page = page_of(c, tmp_path, **facts)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(text in page.text for text in HOSTILE)
    assert page.attributes("src") == []


def test_the_same_bytes_every_time(make_float_model: Make, tmp_path: Path) -> None:
    c = compared(make_float_model(layers=2))
    for name in ("a.html", "b.html"):
        write_error_report(c, {}, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


# --- in the page of a run ------------------------------------------------------------------------------


def run_with_float(folder: Path, make_float_model: Make, **changes: Any) -> tuple[Path, QuantizationError]:
    """A run folder with everything, and the error of its model."""
    model = make_float_model("hard", inputs=2, classes=2, layers=2)
    signature = replace(toy_model().signature, name="m")
    model = replace(model, signature=signature)
    x = samples(model)
    quantized = quantize(model, calibration=x)
    run_folder(folder, complete(**changes), quantized)
    storage.save(model, folder / "model.safetensors")
    write_onnx(model, folder / "model.onnx")
    write_arrays(folder / "test.npz", x=x, y=np.zeros(len(x), np.int64))
    return folder, error_against(folder, quantized, Samples(x))


def test_a_run_has_it_too(tmp_path: Path, make_float_model: Make) -> None:
    one, found = run_with_float(tmp_path / "one", make_float_model)
    write_report([one], tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "run1-error" in page.attributes("id")
    assert f"the scores are {sentences.decibel(found.scores_sqnr_db)} above their error" in page.text
    assert found.onnxruntime is not None
    assert "trained with its integers in the forward pass" not in page.text
    labels = [a["aria-label"].split()[0] for tag, a in page.tags if tag == "svg"]
    assert labels == ["Dot", "Learning", "Gate", "Bars", "Lines", "Stacked"]
    write_report([one, one], tmp_path / "two.html")
    ids = Page((tmp_path / "two.html").read_text(encoding="utf-8")).attributes("id")
    assert len(ids) == len(set(ids))


def test_a_run_that_trained_its_integers_says_so(tmp_path: Path, make_float_model: Make) -> None:
    content = complete()["training"] | {"options": {"quantized_from": 0.7}}
    one, _ = run_with_float(tmp_path / "one", make_float_model, training=content)
    write_report([one], tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "From epoch 210 of 300 on, this model was trained with its integers in the forward pass" in text
    assert "Options of edge-lstm train" in text


def test_a_run_without_its_float_model_says_how_to_get_it(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", complete())
    write_report([run], tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert f"edge-lstm report {run}/model.elstm --float model.onnx --input x.npz --out error.html" in text


def test_a_float_model_of_another_run_is_refused(tmp_path: Path, make_float_model: Make) -> None:
    one, _ = run_with_float(tmp_path / "one", make_float_model)
    storage.save(make_float_model(inputs=2, hidden=5), one / "model.safetensors")
    with pytest.raises(EdgeLstmError, match=r"^\S*one: the float model has the layers "):
        write_report([one], tmp_path / "r.html")
