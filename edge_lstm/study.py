"""Several trainings side by side, in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

from edge_lstm.data import Dataset
from edge_lstm.epoch import Epoch
from edge_lstm.model import FloatModel
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Trained, train

_POLL_S = 0.2
_events: Any = None
_stop: Any = None


@dataclass(frozen=True)
class Progress:
    """An epoch of one of the trainings.

    Attributes:
        job: Index of the training.
        epoch: What happened.
    """

    job: int
    epoch: Epoch


@dataclass(frozen=True)
class Job:
    """A training: the arguments of ``training.train``."""

    dataset: Dataset
    recipe: TrainOptions
    checkpoint: Path | None = None
    open_rates: bool = False
    teacher: FloatModel | None = None
    start: FloatModel | None = None


def train_all(
    dataset: Dataset,
    recipes: Sequence[TrainOptions],
    *,
    processes: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> list[Trained]:
    """``train_jobs`` of recipes, typically one per seed and gate mode, on the same data."""
    return train_jobs([Job(dataset, recipe) for recipe in recipes], processes=processes, on_progress=on_progress)


def train_jobs(
    jobs: Sequence[Job],
    *,
    processes: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> list[Trained]:
    """Do each training; each uses one thread. They end when this process ends, also when it is killed.

    Args:
        jobs: The trainings.
        processes: At most so many at a time; by default one for each processor.
        on_progress: Told of each epoch, in this process.

    Returns:
        In the order of the jobs.

    Raises:
        EdgeLstmError: As ``training.train``.
    """
    context = multiprocessing.get_context("spawn")
    events, stop = context.Queue(), context.Event()
    workers = min(len(jobs), processes or os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(events, stop)) as pool:
        futures = [pool.submit(_train_one, k, job) for k, job in enumerate(jobs)]
        ended = 0
        try:
            while ended < len(jobs) and not any(future.done() and future.exception() for future in futures):
                try:
                    event = events.get(timeout=_POLL_S)
                except Empty:
                    continue
                if event is None:
                    ended += 1
                else:
                    on_progress(event)
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _begin(events: Any, stop: Any) -> None:
    """In each process: Ctrl-C is the parent's to handle, which says ``stop``."""
    global _events, _stop
    _events, _stop = events, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed says nothing: nobody waits for the result, and a resumed run may write its files."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _train_one(number: int, job: Job) -> Trained:
    def report(epoch: Epoch) -> None:
        _events.put(Progress(number, epoch))
        if _stop.is_set():
            raise KeyboardInterrupt

    try:
        return train(
            job.dataset,
            job.recipe,
            report,
            teacher=job.teacher,
            start=job.start,
            checkpoint=job.checkpoint,
            open_rates=job.open_rates,
        )
    finally:
        _events.put(None)  # after all that was told
