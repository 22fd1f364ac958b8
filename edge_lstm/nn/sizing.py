"""The widest network whose integers fit into so many bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_lstm.calibrate import calibrate
from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError
from edge_lstm.format_search import model_bytes
from edge_lstm.nn.building import network_of
from edge_lstm.train_options import TrainOptions

WIDEST = 1024
"""Units of a layer, at most."""
WINDOWS = 32
"""On which ranges are found."""


def bytes_of(dataset: Dataset, options: TrainOptions) -> int:
    """Weights, biases, multipliers and tables of the integers of a network with its initial weights.

    A byte more is counted for each bias of the layers, which training may make grow. What is trained may still differ
    by the length of a table, which depends on ranges.
    """
    part = dataset.take(np.arange(min(len(dataset), WINDOWS)))
    network = network_of(part, options)
    network.calibration = calibrate(network.float_model(), part.x, lengths=part.lengths)
    return model_bytes(network.quantized()) + sum(len(layer.b) for layer in network.layers)


def widest(dataset: Dataset, options: TrainOptions, max_bytes: int) -> TrainOptions:
    """The options with as many units as fit.

    Args:
        dataset: Training windows.
        options: All but ``hidden``; ``outputs`` is kept.
        max_bytes: Of the model, as ``inspect`` counts them.

    Raises:
        EdgeLstmError: Not even one unit fits, or the options can't be.
    """

    def fits(hidden: int) -> bool:
        return bytes_of(dataset, replace(options, hidden=hidden)) <= max_bytes

    first = max(1, options.outputs)
    if not fits(first):
        least = bytes_of(dataset, replace(options, hidden=first))
        raise EdgeLstmError(f"max_bytes is {max_bytes}; accepted are {least}, for {first} units, and more")
    low, high = first, first + 1
    while high <= WIDEST and fits(high):
        low, high = high, 2 * high
    high = min(high, WIDEST + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return replace(options, hidden=low)
