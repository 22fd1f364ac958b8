"""What training weighs and chooses by: classes that are rare, the metric of the best epoch; and open rates."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edge_lstm import training
from edge_lstm.data import Dataset, split
from edge_lstm.epoch import Epoch, Validated
from edge_lstm.errors import EdgeLstmError
from edge_lstm.evaluation import quality
from edge_lstm.learning_task import balanced_weights
from edge_lstm.nn.loss import Loss
from edge_lstm.runtime import execute
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import train

OPTIONS = TrainOptions(
    hidden=4, epochs=4, epoch_windows=16, batch=8, validation=0.25, hard_from=0.0, quantized_from=0.25
)


def imbalanced(common: int = 90, rare: int = 10, seed: int = 0) -> Dataset:
    """Two classes of overlapping levels, one of them rare."""
    y = np.repeat([0, 1], [common, rare])
    x = np.random.default_rng(seed).normal(0, 1, (len(y), 8, 1)) + 0.6 * y[:, None, None]
    return Dataset(name="toy", x=x, y=y, classes=("common", "rare"), channels=("a",), units=("",))


def test_balanced_weights_make_all_classes_weigh_alike() -> None:
    weights = balanced_weights(imbalanced(), each=False)
    assert weights.tolist() == [100 / (2 * 90), 100 / (2 * 10)]
    assert weights @ [90, 10] == pytest.approx(100)
    absent = replace(imbalanced(), classes=("common", "rare", "never"))
    assert balanced_weights(absent, each=False).tolist() == [*weights, 1.0]


def test_balanced_weights_count_steps_that_are_no_padding() -> None:
    y = np.array([[0, 0, 1], [0, 1, 1]])
    data = Dataset(
        name="t", x=np.zeros((2, 3, 1)), y=y, classes=("p", "q"), channels=("a",), units=("",), lengths=np.array([3, 1])
    )
    assert balanced_weights(data, each=True).tolist() == [4 / (2 * 3), 4 / (2 * 1)]


def test_the_loss_is_the_mean_weighted_by_the_targets() -> None:
    rng = np.random.default_rng(0)
    scores, y, weights = rng.normal(0, 1, (6, 3)).astype(np.float32), rng.integers(0, 3, 6), np.array([0.5, 1.0, 4.0])
    each = -torch.log_softmax(torch.from_numpy(scores), 1).numpy()[np.arange(6), y]
    found = Loss(0.0, None, weights)(torch.from_numpy(scores), y, np.ones(6, bool))
    assert float(found) == pytest.approx((weights[y] * each).sum() / weights[y].sum(), rel=1e-6)
    plain = Loss(0.0, None)(torch.from_numpy(scores), y, np.ones(6, bool))
    assert float(plain) == pytest.approx(each.mean(), rel=1e-6)


def test_a_rare_class_is_found_more_often_with_balanced_weights() -> None:
    options = replace(OPTIONS, epochs=8, epoch_windows=200, batch=25, validation=0.0, gates="soft", quantized_from=0.75)
    test = imbalanced(100, 100, seed=1)
    plain = quality(train(imbalanced(), options).quantized, test)
    balanced = quality(train(imbalanced(), replace(options, class_weights="balanced")).quantized, test)
    assert balanced["macro_f1"] > plain["macro_f1"] + 0.1


@pytest.mark.parametrize(
    ("metric", "wanted"), [("auto", 2), ("accuracy", 2), ("macro-f1", 3), ("loss", 4)], ids=lambda v: str(v)
)
def test_the_metric_chooses_the_best_epoch(monkeypatch: pytest.MonkeyPatch, metric: str, wanted: int) -> None:
    scripted = [
        Validated(0.1, 1.0, 1.0),  # of a phase before the last
        Validated(0.9, 0.9, 0.5),
        Validated(0.8, 0.8, 0.8),
        Validated(0.3, 0.8, 0.6),
    ]
    monkeypatch.setattr(training._Run, "_validate", lambda *_: scripted.pop(0))
    trained = train(imbalanced(), replace(OPTIONS, metric=metric))
    assert trained.best_epoch == wanted
    best = trained.epochs[wanted - 1]
    assert trained.measure == {"macro-f1": best.macro_f1, "loss": -0.3}.get(metric, best.accuracy)


def test_what_is_validated_is_what_ships() -> None:
    data = imbalanced()
    trained = train(data, OPTIONS)
    _, held_out = split(data, OPTIONS.validation, OPTIONS.seed)
    best = trained.epochs[trained.best_epoch - 1]
    assert quality(trained.quantized, held_out) == {"accuracy": best.accuracy, "macro_f1": best.macro_f1}
    assert all(e.validation_loss is not None and math.isfinite(e.validation_loss) for e in trained.epochs)
    assert max(e.learning_rate for e in trained.epochs) <= OPTIONS.learning_rate
    assert train(data, replace(OPTIONS, validation=0.0)).measure is None


def test_open_rates_are_measured_where_asked_for_and_change_nothing() -> None:
    plain, told = train(imbalanced(), OPTIONS), list[Epoch]()
    measured = train(imbalanced(), replace(OPTIONS, layers=1), told.append, open_rates=True)
    assert [replace(e, open_rates={}) for e in measured.epochs] == list(plain.epochs)
    for epoch in told:
        assert set(epoch.open_rates) == {"0.i", "0.f", "0.o"}
        assert all(0 <= rate <= 1 for rate in epoch.open_rates.values())
    assert len({e.open_rates["0.i"] for e in told}) > 1


def test_a_penalty_on_changes_makes_h_change_less() -> None:
    data, changes = imbalanced(), []
    for penalty in (0.0, 3.0):
        model = train(data, replace(OPTIONS, epochs=20, change_penalty=penalty)).quantized
        h = execute(model, model.quantize_input(data.x), trace="states").trace["lstm0.h"]
        changes.append(float(np.abs(np.diff(h, axis=1)).mean()))
    assert changes[1] < 0.7 * changes[0]


def refusal(data: Dataset, **changes: Any) -> str:
    with pytest.raises(EdgeLstmError) as error:
        train(data, replace(OPTIONS, **changes))
    return str(error.value)


def test_what_a_task_does_not_have_is_refused() -> None:
    regression = replace(imbalanced(), y=np.zeros((100, 2)))
    assert refusal(imbalanced(), metric="r2") == (
        "toy is for classes, and metric is 'r2'; accepted are auto, accuracy, macro-f1, loss"
    )
    assert refusal(regression, metric="macro-f1") == (
        "toy is for a regression, and metric is 'macro-f1'; accepted are auto, r2, loss"
    )
    assert refusal(regression, class_weights="balanced") == (
        "toy is for a regression, which has no classes; accepted is class_weights 'none'"
    )
    assert refusal(imbalanced(), metric="f1") == "metric is 'f1'; accepted are auto, accuracy, macro-f1, r2, loss"
    assert refusal(imbalanced(), class_weights="all") == "class_weights is 'all'; accepted are none, balanced"
