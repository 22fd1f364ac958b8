"""Trainings in processes of their own: the same results, in order; errors and Ctrl-C come through."""

from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.codec import digest
from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError, MissingExtraError
from edge_lstm.study import Job, Progress, train_all, train_jobs
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import train

RECIPE = TrainOptions(hidden=2, epochs=3, epoch_windows=8, batch=8, validation=0.0, quantized_from=0.5)


def dataset(*, with_test: bool = False) -> Dataset:
    x = np.random.default_rng(0).normal(0, 1, (12, 6, 2))
    is_test = np.arange(12) > 8 if with_test else None
    y, classes, channels = np.arange(12) % 2, ("a", "b"), ("p", "q")
    return Dataset(name="toy", x=x, y=y, classes=classes, channels=channels, units=("", ""), is_test=is_test)


def test_processes_give_what_this_process_gives_in_the_order_of_the_recipes() -> None:
    recipes = [RECIPE, replace(RECIPE, gates="soft", seed=1, epochs=2), replace(RECIPE, seed=2)]
    told: list[Progress] = []
    trained = train_all(dataset(), recipes, processes=2, on_progress=told.append)
    for recipe, found in zip(recipes, trained, strict=True):
        wanted = train(dataset(), recipe)
        assert digest(found.quantized) == digest(wanted.quantized)
        assert digest(found.float_model) == digest(wanted.float_model)
        assert found.epochs == wanted.epochs
    for event in told:
        assert event.epoch == trained[event.job].epochs[event.epoch.number - 1]
    assert len({(event.job, event.epoch.number) for event in told}) == len(told) == 8  # all of them


@pytest.mark.slow
def test_jobs_have_their_own_data_and_checkpoints(tmp_path: Path) -> None:
    other = replace(dataset(), x=dataset().x + 1)
    jobs = [Job(dataset(), RECIPE, tmp_path / "a"), Job(other, RECIPE, tmp_path / "b", open_rates=True)]
    found = train_jobs(jobs, processes=2)
    assert [bool(k.epochs[0].open_rates) for k in found] == [False, True]
    for job, one in zip(jobs, found, strict=True):
        assert digest(one.quantized) == digest(train(job.dataset, job.recipe).quantized)
        again = train(job.dataset, job.recipe, checkpoint=job.checkpoint)  # there is nothing left to do
        assert (digest(again.quantized), again.epochs) == (digest(one.quantized), one.epochs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_error_comes_through_as_it_is() -> None:
    with pytest.raises(EdgeLstmError, match=r"^toy: the official test windows are among the training windows; "):
        train_all(dataset(with_test=True), [RECIPE], processes=1)
    assert multiprocessing.active_children() == []


def test_ctrl_c_ends_the_trainings_early() -> None:
    """With a million epochs it would not end otherwise."""

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(dataset(), [replace(RECIPE, epochs=10**6)] * 2, processes=1, on_progress=interrupt)
    assert multiprocessing.active_children() == []


def test_a_missing_extra_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(MissingExtraError("torch", "train", "to train")))  # noqa: S301
    assert type(error) is MissingExtraError
    assert str(error) == "torch is needed to train: pip install 'edge-lstm[train]'"
