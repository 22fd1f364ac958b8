"""The page of runs that are no plain classifiers: regressions, outputs at each step, sequences, whole windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm import storage
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import QuantizedModel
from edge_lstm.report import write_report

Make = Callable[..., QuantizedModel]
STEPS = 12


def of_task(model: QuantizedModel, task: Any) -> QuantizedModel:
    return replace(model, signature=replace(model.signature, task=task))


def results(model: QuantizedModel, **changes: Any) -> dict[str, Any]:
    """Of a training with two seeds."""
    s = model.signature
    regression = s.task == "regress"
    measured: dict[str, Any]
    rows = [{"model": f"soft gates, {form}", "gates": "soft", "form": form} for form in ("float", "int8")]
    curve: dict[str, Any] = {"model": "soft gates", "seed": 0, "epoch": [1, 2], "loss": [0.9, 0.5]}
    if regression:
        errors = {"0": {"mse": 4.0, "mae": 1.5, "r2": 0.7}, "1": {"mse": 16.0, "mae": 2.5, "r2": 0.8}}
        measured = {
            "errors": [row | {"by_seed": errors} for row in rows],
            "curves": [curve | {"accuracy": [], "accuracy_on": "", "r2": [-3.0, 0.7]}],
        }
    else:
        measured = {
            "accuracy": [row | {"by_seed": {"0": 0.75, "1": 0.5}} for row in rows],
            "curves": [curve | {"accuracy": [0.5, 0.7], "accuracy_on": "validation windows"}],
            "confusion": np.arange(len(s.classes) ** 2).reshape(len(s.classes), -1).tolist(),
        }
    return {
        "title": "toy",
        "dataset": {
            "name": "toy data",
            "train_windows": 100,
            "test_windows": 40,
            "steps": s.steps,
            "rate_hz": 10.0,
            "channels": list(s.channels),
            "units": list(s.units),
            "classes": list(s.classes),
            "task": s.task,
        },
        "training": {
            "cell": "lstm",
            "hidden": 6,
            "layers": 1,
            "pooling": model.pooling,
            "parameters": 500,
            "epochs": 2,
            "seeds": [0, 1],
        },
        "shipped": {"gates": "soft", "seed": 0},
        **measured,
    } | changes


def true_values(model: QuantizedModel) -> np.ndarray:
    """Of one window."""
    outputs = model.decoder.steps if model.decoder else STEPS if model.pooling == "each" else None
    width = len(model.signature.classes)
    if model.signature.task == "classify":
        return np.array(2) if outputs is None else np.arange(outputs) // 3 % width
    return np.linspace(-1, 1, width) if outputs is None else np.linspace(-1, 1, outputs * width).reshape(-1, width)


def run_folder(folder: Path, model: QuantizedModel, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results(model, **changes)))
    storage.save(model, folder / "model.elstm")
    x = np.random.default_rng(1).normal(0, 1, (STEPS, len(model.signature.channels)))
    np.savez(folder / "recording.npz", x=x, y=true_values(model))
    return folder


class Page(HTMLParser):
    """A page's text, with that of its figures apart, and their labels."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words: dict[bool, list[str]] = {False: [], True: []}
        self.labels: list[str] = []
        self._in_figure = False
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words[False]).split())
        self.figures = " ".join(" ".join(self.words[True]).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "svg":
            self._in_figure = True
            self.labels.append(dict(attrs)["aria-label"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "svg":
            self._in_figure = False

    def handle_data(self, data: str) -> None:
        self.words[self._in_figure].append(data)


def page(tmp_path: Path, *models: QuantizedModel, **changes: Any) -> Page:
    out = tmp_path / "report.html"
    write_report([run_folder(tmp_path / f"run{k}", model, **changes) for k, model in enumerate(models)], out)
    return Page(out)


def test_regression_that_streams(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, of_task(make_quantized_form("attention"), "regress"))
    for shown in (
        "An LSTM of 6 units with soft gates estimates 4 outputs of toy data with R² 0.750, a mean absolute error of 2 "
        "and a root mean square error of 3 (int8, mean of 2 seeds).",
        "outputs class0, class1, class2, class3",
        "pooling: attention (a mean of h over time, its weights learned)",
        "gives 4 real numbers, of what was seen so far",
        "Errors on 40 test windows: mean over 2 seeds, ± their standard deviation, and R² of every seed.",
        "soft gates, int8 0.750 ± 0.071 2 ± 0.707 3 ± 1.41 0.700 0.800",
        "from reset. At the end it gives what the table below says.",
        "Outputs for this recording. output model true difference class0",
    ):
        assert shown in html.text
    for title in ("R² on the test windows", "R² on the validation windows", "loss [mean squared error, standardized]"):
        assert title in html.figures
    assert "output class3, from what was seen so far" in html.figures
    assert [label.split()[0] for label in html.labels] == ["Dot", "Learning", "Gate"]
    for absent in ("accuracy", "Accuracy", "Confusion", "true class", "predict"):
        assert absent not in html.text + html.figures + " ".join(html.labels)


def test_regression_of_whole_windows(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, of_task(make_quantized_form("bidirectional"), "regress"))
    assert "A bidirectional LSTM of 6 units with soft gates estimates 4 outputs" in html.text
    assert "lstm, 1 bidirectional layer of 6 units in each direction, pooling: last, 500 parameters" in html.text
    assert "gives 4 real numbers, once the whole window is there" in html.text
    assert "After the whole window it gives what the table below says." in html.text
    assert "−1 " in html.text.partition("Outputs for this recording")[2]
    assert "Reverse layers go through the window from right to left." in html.text
    assert "lstm0 (reverse): input gate i, soft" in html.figures
    assert "lstm1 (forward): hidden state h" in html.figures
    assert "from what was seen so far" not in html.figures
    assert "time [s]" in html.figures


def test_a_few_outputs_are_named(tmp_path: Path, make_quantized: Make) -> None:
    html = page(tmp_path, of_task(make_quantized("soft", classes=2, steps=STEPS), "regress"))
    assert "At the end it gives class0 = " in html.text
    assert "(true: −1) and class1 = " in html.text


def test_classifier_of_whole_windows(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, make_quantized_form("reversed"))
    assert "A reverse LSTM of 6 units with soft gates tells the 4 classes of toy data apart with 62.5 %" in html.text
    assert "true class class2. After the whole window it predicts class" in html.text
    assert "Class scores for this recording; in bold: the true class. class score [logit] class0" in html.text
    assert "lstm0 (reverse): input gate i, soft" in html.figures
    assert "class scores" not in html.figures
    assert html.labels[-1].endswith("and the hidden units that are not zero, over a common time axis.")


def test_probabilities(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, make_quantized_form("softmax"))
    assert "gives a class and its scores, and the probability of each class, of what was seen so far" in html.text
    assert ", with a probability of " in html.text
    assert "class scores [logit]; bold: the true class, class2" in html.figures


def test_classes_at_each_step(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, make_quantized_form("bidirectional each"))
    for shown in (
        "tells the 4 classes of toy data apart at each step with 62.5 % accuracy (int8, mean of 2 seeds)",
        "no pooling: outputs at each step",
        "gives a class and its scores, at each step of the window, for which it needs the whole window",
        "Accuracy on steps of 40 test windows: mean over 2 seeds",
        "Steps of the test windows by true class (rows)",
        "class3 steps recall",
        "It gives the right class at ",
        " of 12 steps.",
    ):
        assert shown in html.text
    for title in ("accuracy on steps of validation windows [%]", "accuracy on the steps of test windows [%]"):
        assert title in html.figures
    assert "One window is" not in html.text
    assert html.labels[-1].endswith("the predicted class and the true class, over a common time axis.")
    assert 0 < html.figures.index("predicted class") < html.figures.index("true class")


def test_outputs_at_each_step(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, of_task(make_quantized_form("each"), "regress"))
    assert "estimates 4 outputs of toy data at each step with R² 0.750" in html.text
    assert "from reset. Its outputs differ from the true values by " in html.text
    assert "output class0 " in html.figures
    assert "so far" not in html.figures
    assert html.labels[-1].endswith("the outputs and their true values, over a common time axis.")


def test_sequence_of_outputs(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, make_quantized_form("decoder stack"))
    for shown in (
        "An LSTM encoder and decoder of 6 units with soft gates estimates 5 steps of 4 outputs of toy data",
        "encoder of 2 layers of 6 units, decoder of the same size, no pooling: the decoder begins with",
        "gives 4 real numbers, for each of 5 steps of the decoder",
        "Its outputs differ from the true values by ",
        "Layers of the decoder have an axis of their own",
        "gru3 (decoder): hidden state h",
    ):
        assert shown in html.text
    for title in ("lstm0 (encoder)", "gru1 (encoder)", "lstm2 (decoder)", "time [s]", "number of the output"):
        assert title in html.figures
    rows = html.text.partition("lstm2 (decoder): input gate i, soft")[2].partition("hidden state h")[0]
    assert "steps" in rows
    assert " s " not in rows  # a step of a decoder has no duration


def test_sequence_of_classes(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, make_quantized_form("decoder"))
    assert "predicts sequences of the 4 classes of toy data with 62.5 % accuracy" in html.text
    assert "Outputs of the test windows by true class (rows)" in html.text
    assert " of 7 outputs." in html.text
    assert html.labels[-1].endswith("the predicted class and the true class, over axes of time of encoder and decoder.")


def test_windows_of_several_lengths(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, make_quantized_form("variable mean"))
    assert "window up to 12 steps at 10 Hz = 1.20 s" in html.text
    assert "they start near" not in html.text  # a mean over the steps so far


def test_many_outputs(tmp_path: Path, make_quantized_form: Make) -> None:
    made = of_task(make_quantized_form("each", classes=50), "regress")
    html = page(tmp_path, made)
    assert "output class5; 44 more outputs not shown" in html.figures
    whole = of_task(make_quantized_form("bidirectional", classes=50), "regress")
    (tmp_path / "other").mkdir()
    assert "Outputs for this recording. Shown are the first 40 of 50." in page(tmp_path / "other", whole).text


def test_verified_regression(tmp_path: Path, make_quantized_form: Make) -> None:
    found = {"max_abs": 0.1, "rms": 0.02, "agreement": None}
    verify = {"equal": True, "compared": 9, "mismatches": 0, "backends": ["numpy", "c"], "float": found}
    html = page(tmp_path, of_task(make_quantized_form("attention"), "regress"), verify=verify)
    assert "Against the float model: the outputs differ by at most 0.1, and by 0.02 rms." in html.text


def test_verified_steps(tmp_path: Path, make_quantized_form: Make) -> None:
    found = {"max_abs": 0.1, "rms": 0.02, "agreement": 0.9}
    verify = {"equal": True, "compared": 9, "mismatches": 0, "backends": ["numpy", "c"], "float": found}
    html = page(tmp_path, make_quantized_form("each"), verify=verify)
    assert "90.0 % of the steps get the same class; the scores differ by at most 0.1 logits" in html.text


def test_comparison_of_a_classifier_and_a_regression(tmp_path: Path, make_quantized_form: Make) -> None:
    html = page(tmp_path, make_quantized_form("bidirectional each"), make_quantized_form("decoder stack"))
    for shown in (
        "Accuracy is the mean over the seeds, ± their standard deviation in percentage points. R² and errors are means",
        "form bidirectional, outputs at each step decoder of 5 steps",
        "test accuracy, int8 62.5 % ± 17.7 –",
        "test R², int8 – 0.750 ± 0.071",
        "root mean square error, int8 – 3 ± 1.41",
    ):
        assert shown in html.text


def test_another_task(tmp_path: Path, make_quantized_form: Make) -> None:
    folder = run_folder(tmp_path / "run", make_quantized_form("attention"))
    storage.save(of_task(make_quantized_form("attention"), "regress"), folder / "model.elstm")
    with pytest.raises(EdgeLstmError, match=r"results\.json: task is classify, and that of model\.elstm regress$"):
        write_report([folder], tmp_path / "report.html")
