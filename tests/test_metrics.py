"""Metrics of classifiers and regressions, against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.data import Dataset
from edge_lstm.data.dataset import BLOCK
from edge_lstm.errors import EdgeLstmError
from edge_lstm.evaluation import accuracy, confusion, errors, outputs, predictions, quality
from edge_lstm.float_run import run_float
from edge_lstm.metrics import accuracy_of, class_scores, confusion_matrix, macro_f1
from edge_lstm.model import FloatModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute, real_outputs

sklearn = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("occurring", [5, 3])
def test_as_scikit_learn(seed: int, occurring: int) -> None:
    """Also where classes never occur, or are never found."""
    rng = np.random.default_rng(seed)
    labels, found = rng.integers(0, occurring, 40), rng.choice(occurring, 40, p=rng.dirichlet([0.5] * occurring))
    counts = confusion_matrix(labels, found, 5)
    every = np.arange(5)
    assert np.array_equal(counts, sklearn.confusion_matrix(labels, found, labels=every))
    wanted = sklearn.precision_recall_fscore_support(labels, found, labels=every, zero_division=0)
    scores = class_scores(counts)
    for mine, theirs in zip((scores.precision, scores.recall, scores.f1, scores.support), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-15)
    assert macro_f1(counts) == pytest.approx(sklearn.f1_score(labels, found, average="macro", zero_division=0), 1e-14)
    assert accuracy_of(counts) == sklearn.accuracy_score(labels, found)


def test_always_the_same_class_is_accurate_where_it_is_common_and_has_a_low_macro_f1() -> None:
    counts = confusion_matrix(np.array([0] * 90 + [1] * 10), np.zeros(100, int), 2)
    assert accuracy_of(counts) == 0.9
    assert macro_f1(counts) == pytest.approx(0.5 * 180 / 190)


def data_for(model: FloatModel, y: Any, **changes: Any) -> Dataset:
    s = model.signature
    x = np.random.default_rng(1).normal(0, 1, (len(y), s.steps, len(s.channels)))
    names = {"name": "toy", "classes": s.classes, "channels": s.channels, "units": s.units}
    return Dataset(x=x, y=y, **{**names, **changes})


def test_of_models(make_form: Callable[..., FloatModel]) -> None:
    model = make_form("each")
    data = data_for(model, np.random.default_rng(0).integers(0, 4, (6, 12)))
    counts = confusion(model, data)
    assert np.array_equal(counts, confusion_matrix(data.labels, predictions(model, data), 4))
    assert quality(model, data) == {"accuracy": accuracy(model, data), "macro_f1": macro_f1(counts)}


@pytest.mark.parametrize("kind", ["attention", "variable each"])
def test_blocks_of_windows_are_as_all_at_once(make_form: Callable[..., FloatModel], kind: str) -> None:
    """Bit for bit: how many windows are in memory at a time is no matter of the result."""
    model = make_form(kind)
    steps, windows = model.signature.steps, BLOCK + 3
    y = np.zeros((windows, steps) if model.pooling == "each" else windows, np.int64)
    lengths = np.arange(windows) % steps + 1 if model.signature.variable else None
    data = data_for(model, y, lengths=lengths)
    assert np.array_equal(outputs(model, data), run_float(model, data.x, lengths=lengths)["scores"])
    integers = quantize(model, calibration=data.x, lengths=lengths)
    at_once = execute(integers, integers.quantize_input(data.x), lengths=lengths).outputs
    assert np.array_equal(predictions(integers, data), at_once["class_index"][..., 0])
    assert np.array_equal(outputs(integers, data), real_outputs(integers, at_once)["scores"])


def test_padding_does_not_count(make_form: Callable[..., FloatModel]) -> None:
    model = make_form("variable each")
    lengths = np.array([12, 1, 5])
    data = data_for(model, np.zeros((3, 12), int), lengths=lengths)
    assert confusion(model, data).sum() == 18


def test_of_regressions(make_form: Callable[..., FloatModel]) -> None:
    model = make_form("reversed")
    model = replace(model, signature=replace(model.signature, task="regress"))
    data = data_for(model, np.random.default_rng(0).normal(0, 1, (20, 4)))
    found = errors(model, data)
    given = outputs(model, data)
    assert found.mse == pytest.approx(sklearn.mean_squared_error(data.y, given))
    assert found.mae == pytest.approx(sklearn.mean_absolute_error(data.y, given))
    assert found.r2 == pytest.approx(sklearn.r2_score(data.y, given))
    assert quality(model, data) == {"r2": found.r2, "mae": found.mae, "mse": found.mse}
    with pytest.raises(EdgeLstmError, match="is a regression and finds no classes"):
        confusion(model, replace(data, y=np.zeros(20, int)))
