"""Cross-validation: every window is held out once, by subject; what is measured had no part in the training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm import cross_validation
from edge_lstm.cross_validation import cross_validate
from edge_lstm.data import Dataset, folds
from edge_lstm.errors import EdgeLstmError
from edge_lstm.evaluation import quality
from edge_lstm.study import Job
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Trained, train

OPTIONS = TrainOptions(hidden=2, epochs=2, epoch_windows=8, batch=8, validation=0.0, quantized_from=0.5)


def dataset(**changes: Any) -> Dataset:
    y = np.arange(24) % 2
    x = np.random.default_rng(0).normal(0, 1, (24, 6, 2)) + y[:, None, None]
    made: dict[str, Any] = {"name": "toy", "x": x, "y": y, "classes": ("a", "b"), "channels": ("p", "q")}
    return Dataset(**{**made, "units": ("", ""), "groups": np.arange(24) // 4 + 10, **changes})


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Trains in this process; gives the jobs."""
    jobs: list[Job] = []

    def train_jobs(given: list[Job], **_: Any) -> list[Trained]:
        jobs.extend(given)
        return [train(job.dataset, job.recipe) for job in given]

    monkeypatch.setattr(cross_validation, "train_jobs", train_jobs)
    return jobs


def test_each_subject_is_held_out_once(here: list[Job]) -> None:
    found = cross_validate(dataset(), OPTIONS, 3)
    assert found.unit == "subject"
    subjects = [fold.subjects for fold in found.folds]
    assert sorted(s for of in subjects for s in of or ()) == [10, 11, 12, 13, 14, 15]
    assert [fold.windows for fold in found.folds] == [8, 8, 8]
    for job, of in zip(here, subjects, strict=True):
        assert job.dataset.groups is not None
        assert not set(job.dataset.groups.tolist()) & set(of or ())
    parts = folds(dataset(), 3, OPTIONS.seed)
    for fold, (training, held_out) in zip(found.folds, parts, strict=True):
        trained = train(training, OPTIONS)
        assert fold.scores == {
            "float": quality(trained.float_model, held_out),
            "int8": quality(trained.quantized, held_out),
        }
        assert fold.epochs == 2
    accuracies = [fold.scores["int8"]["accuracy"] for fold in found.folds]
    summary = found.to_json()["summary"]["int8"]["accuracy"]
    assert summary == {"mean": pytest.approx(np.mean(accuracies)), "spread": pytest.approx(np.std(accuracies, ddof=1))}


@pytest.mark.usefixtures("here")
def test_where_subjects_are_unknown_each_class_is_divided() -> None:
    found = cross_validate(dataset(groups=None), OPTIONS, 4)
    assert found.unit == "window"
    assert [(fold.windows, fold.subjects) for fold in found.folds] == [(6, None)] * 4


@pytest.mark.usefixtures("here")
def test_of_a_regression() -> None:
    data = dataset(y=np.random.default_rng(1).normal(0, 1, (24, 2)))
    found = cross_validate(data, OPTIONS, 2)
    assert [set(fold.scores["float"]) for fold in found.folds] == [{"r2", "mae", "mse"}] * 2


def test_fewer_subjects_than_folds_are_refused() -> None:
    with pytest.raises(EdgeLstmError, match=r"^toy: k must be 2 to 6, the number of subjects, found 7$"):
        cross_validate(dataset(), OPTIONS, 7)
    with pytest.raises(EdgeLstmError, match=r"^toy: folds would mix the official test windows into training"):
        cross_validate(replace(dataset(), is_test=np.arange(24) > 20), OPTIONS, 2)
