"""Several trainings side by side, in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from queue import Empty
from typing import Any

from edge_lstm.data import Dataset
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Epoch, Trained, train

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


def train_all(
    dataset: Dataset,
    recipes: Sequence[TrainOptions],
    *,
    processes: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> list[Trained]:
    """Train each recipe on the same data; each training uses one thread.

    Args:
        dataset: Training windows.
        recipes: Typically one per seed and gate mode.
        processes: At most so many at a time; by default one for each processor.
        on_progress: Told of each epoch, in this process.

    Raises:
        EdgeLstmError: As ``training.train``.
    """
    context = multiprocessing.get_context("spawn")
    events, stop = context.Queue(), context.Event()
    workers = min(len(recipes), processes or os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(events, stop)) as pool:
        futures = [pool.submit(_train_one, k, dataset, recipe) for k, recipe in enumerate(recipes)]
        try:
            while not all(future.done() for future in futures):
                try:
                    on_progress(events.get(timeout=_POLL_S))
                except Empty:
                    continue
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _begin(events: Any, stop: Any) -> None:
    """In each process: Ctrl-C is the parent's to handle, which says ``stop``."""
    global _events, _stop
    _events, _stop = events, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _train_one(job: int, dataset: Dataset, recipe: TrainOptions) -> Trained:
    def report(epoch: Epoch) -> None:
        _events.put(Progress(job, epoch))
        if _stop.is_set():
            raise KeyboardInterrupt

    return train(dataset, recipe, report)
