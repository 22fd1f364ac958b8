"""Fewer steps in a window: each is the mean of several samples.

What a device saves is a step of the network for each sample that is left out; what it must do is add up samples. Before
it a sensor's own filter must have removed what is faster than half the new rate, or the mean of `every` samples must do
for a filter, as it does for activities that are sampled at 50 Hz.
"""

from __future__ import annotations

from dataclasses import replace

from edge_lstm.data.dataset import Dataset
from edge_lstm.errors import EdgeLstmError


def averaged(dataset: Dataset, every: int) -> Dataset:
    """The data set with the mean of each `every` successive samples in their place, at a lower rate.

    Samples at the end of a window that do not make `every` are left out. Of windows with several lengths only whole
    means count.

    Args:
        dataset: Its targets are one a window.
        every: 1 leaves it as it is.

    Raises:
        EdgeLstmError: `every` is no positive number or longer than a window, or there are targets for each step.
    """
    if not 1 <= every <= dataset.steps:
        raise EdgeLstmError(f"{dataset.name}: the mean of {every} samples; accepted are 1 to {dataset.steps}")
    if every == 1:
        return dataset
    if dataset.target_steps is not None:
        raise EdgeLstmError(f"{dataset.name}: y has targets for {dataset.target_steps} steps, which can't be averaged")
    if dataset.lengths is not None and dataset.lengths.min() < every:
        shortest = dataset.lengths.min()
        raise EdgeLstmError(f"{dataset.name}: the mean of {every} samples; the shortest window has {shortest}")
    steps = dataset.steps // every
    x = dataset.x[:, : steps * every].reshape(len(dataset), steps, every, -1).mean(axis=2)
    return replace(
        dataset,
        x=x,
        rate_hz=None if dataset.rate_hz is None else dataset.rate_hz / every,
        lengths=None if dataset.lengths is None else dataset.lengths // every,
    )
