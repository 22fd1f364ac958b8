"""What a data set asks of a training run: the model's inputs and outputs, how they scale, and what may vary."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data import Augmentation, Dataset, triads
from edge_lstm.errors import EdgeLstmError
from edge_lstm.evaluation import counted
from edge_lstm.signature import Signature
from edge_lstm.train_options import TrainOptions

FloatArray = NDArray[np.float64]
MIN_STD = 1e-6
_STRENGTHS = ("gain", "offset", "jitter", "magnitude", "shift", "warp", "mute")


def signature(dataset: Dataset, name: str | None = None, *, probabilities: bool = False) -> Signature:
    """Inputs and outputs of a model for a data set.

    Args:
        dataset: The data.
        name: Of the model; made from the data set's name where None.
        probabilities: A classifier also gives softmax of its scores.
    """
    plain = re.sub(r"\W+", "_", dataset.name.lower(), flags=re.ASCII).strip("_")[:48]
    return Signature(
        name=name or (plain if re.match(r"[a-z]", plain) else f"model_{plain}"[:48].rstrip("_")),
        channels=dataset.channels,
        units=dataset.units,
        rate_hz=dataset.rate_hz,
        steps=dataset.steps,
        classes=dataset.classes,
        task=dataset.task,
        variable=dataset.lengths is not None,
        probabilities=probabilities,
    )


def check_task(dataset: Dataset, options: TrainOptions) -> None:
    """Refuse a data set that does not fit the options.

    Raises:
        EdgeLstmError: Test windows are among it, its targets are for other steps than those for which the network
            gives outputs, or the options name what its task does not have.
    """
    if dataset.is_test is not None and dataset.is_test.any():
        raise EdgeLstmError(
            f"{dataset.name}: the official test windows are among the training windows; "
            "pass the first part of train_test(dataset)"
        )
    wanted = options.decoder or (dataset.steps if options.pooling == "each" else None)
    if dataset.target_steps != wanted:
        found, needed = (
            "one target" if n is None else f"targets for {n} steps" for n in (dataset.target_steps, wanted)
        )
        raise EdgeLstmError(
            f"{dataset.name}: y has {found} of a window; with pooling {options.pooling!r} and "
            f"{f'a decoder of {options.decoder} steps' if options.decoder else 'no decoder'} it must have {needed}"
        )
    _ = metric_of(dataset, options)
    if dataset.task == "regress" and options.class_weights != "none":
        raise EdgeLstmError(
            f"{dataset.name} is for a regression, which has no classes; accepted is class_weights 'none'"
        )


def metric_of(dataset: Dataset, options: TrainOptions) -> str:
    """The metric that chooses the best epoch: that of the options, or the first that the task has.

    Raises:
        EdgeLstmError: The task lacks it.
    """
    accepted = ("accuracy", "macro-f1", "loss") if dataset.task == "classify" else ("r2", "loss")
    if options.metric == "auto":
        return accepted[0]
    if options.metric not in accepted:
        kind = "classes" if dataset.task == "classify" else "a regression"
        raise EdgeLstmError(
            f"{dataset.name} is for {kind}, and metric is {options.metric!r}; accepted are auto, {', '.join(accepted)}"
        )
    return options.metric


def input_scale(dataset: Dataset) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation (channels,) of the samples that count."""
    x = dataset.x.astype(np.float64)
    if dataset.lengths is not None:
        x = x[dataset.inside][:, None]
    return x.mean(axis=(0, 1)), np.maximum(x.std(axis=(0, 1)), MIN_STD)


def target_scale(dataset: Dataset, *, each: bool) -> tuple[FloatArray | None, FloatArray | None]:
    """Mean and standard deviation (outputs,) of the targets of a regression; else None."""
    if dataset.task == "classify":
        return None, None
    y = dataset.y[counted(dataset, each=each)]
    return y.mean(axis=0), np.maximum(y.std(axis=0), MIN_STD)


def balanced_weights(dataset: Dataset, *, each: bool) -> FloatArray:
    """n / (k · n_c) for each class c, (classes,).

    n is the number of targets that count, k of the classes that occur among them, n_c of those of class c: all classes
    have the same weight together, and the mean weight of a target is 1. A class that does not occur has 1, which only
    smoothed labels and validation windows see.
    """
    counts = np.bincount(dataset.labels[counted(dataset, each=each)], minlength=len(dataset.classes))
    share = counts.sum() / max(1, np.count_nonzero(counts))
    weights: FloatArray = np.divide(share, counts, out=np.ones(len(counts)), where=counts > 0)
    return weights


def augmentation(dataset: Dataset, options: TrainOptions, mean: FloatArray, std: FloatArray) -> Augmentation:
    """What moves samples in time is left out where targets, or the ends of windows, would not move with them."""
    groups = triads(dataset.channels)
    strengths = {name: getattr(options, name) for name in _STRENGTHS}
    if dataset.target_steps is not None or dataset.lengths is not None:
        strengths |= {"shift": 0.0, "warp": 0.0}
    rotation = options.rotation if groups else 0.0
    still, scale = tuple(mean.tolist()), tuple(std.tolist())
    return Augmentation(**strengths, rotation=rotation, triads=groups, scale=scale, mean=still)
