"""How well a recipe does on subjects that it was not trained on, without a look at the test windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from edge_lstm.data import Dataset, folds
from edge_lstm.evaluation import quality
from edge_lstm.model import FloatModel
from edge_lstm.report.formats import mean_and_spread
from edge_lstm.study import Job, Progress, train_jobs
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Trained


@dataclass(frozen=True)
class Fold:
    """One training, and what it gives on the windows that it was not shown.

    Attributes:
        windows: That were held out.
        subjects: Whose windows these are; None where subjects are unknown.
        epochs: Of the training.
        scores: ``evaluation.quality`` on them of the ``float`` and the ``int8`` model.
    """

    windows: int
    subjects: tuple[int, ...] | None
    epochs: int
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class CrossValidation:
    """All folds.

    Attributes:
        unit: What was not divided between folds: a ``subject``; or a ``window`` where subjects are unknown, each class
            having been divided by itself.
        folds: In order.
    """

    unit: Literal["subject", "window"]
    folds: tuple[Fold, ...]

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """``mean`` and ``spread`` over the folds (standard deviation of the sample), by form and metric."""
        return {form: _mean_and_spread([fold.scores[form] for fold in self.folds]) for form in self.folds[0].scores}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "summary": self.summary()}


def _mean_and_spread(found: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Of each metric of several models: ``mean``, and ``spread``, the standard deviation of the sample; 0 of one."""
    told = {}
    for name in found[0]:
        mean, spread = mean_and_spread([one[name] for one in found])
        told[name] = {"mean": mean, "spread": spread or 0.0}
    return told


def cross_validate(
    dataset: Dataset,
    options: TrainOptions,
    count: int,
    *,
    teacher: FloatModel | None = None,
    processes: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> CrossValidation:
    """Train once for each fold, side by side, on all windows but those of the fold.

    What is held out of a fold has no part in its training, which may hold out further windows to stop early.

    Args:
        dataset: Training windows.
        options: The recipe, whose seed also makes the folds.
        count: Of folds; see ``data.folds``.
        teacher: As of ``training.train``. One that was trained on all windows has seen those that are held out.
        processes, on_progress: As of ``study.train_jobs``.

    Raises:
        EdgeLstmError: Fewer subjects, or windows, than folds; or as ``training.train``.
    """
    parts = list(folds(dataset, count, options.seed))
    jobs = [Job(training, options, teacher=teacher) for training, _ in parts]
    trained = train_jobs(jobs, processes=processes, on_progress=on_progress)
    found = tuple(_fold(one, held_out) for one, (_, held_out) in zip(trained, parts, strict=True))
    return CrossValidation("window" if dataset.groups is None else "subject", found)


def _fold(trained: Trained, held_out: Dataset) -> Fold:
    groups = held_out.groups
    return Fold(
        windows=len(held_out),
        subjects=None if groups is None else tuple(np.unique(groups).tolist()),
        epochs=len(trained.epochs),
        scores={
            "float": quality(trained.float_model, held_out),
            "int8": quality(trained.quantized, held_out),
        },
    )
