"""The network that options ask for."""

from __future__ import annotations

from edge_lstm.data import Dataset
from edge_lstm.learning_task import input_scale, signature, target_scale
from edge_lstm.nn.network import Network
from edge_lstm.train_options import TrainOptions


def network_of(dataset: Dataset, options: TrainOptions) -> Network:
    """A network with initial weights, which standardizes as the training windows of a data set need it."""
    mean, std = input_scale(dataset)
    to_mean, to_std = target_scale(dataset, each=options.pooling == "each")
    return Network(
        signature(dataset, probabilities=options.probabilities),
        mean,
        std,
        options.clip,
        cell_name=options.cell,
        modes=options.modes,
        hidden=options.hidden,
        layers=options.layers,
        pooling=options.pooling,
        outputs=options.projection,
        relu=options.relu_widths,
        squash=options.squash,
        bits=options.bits,
        dropout=options.dropout,
        directions=options.directions,
        decoder=options.decoder,
        output_mean=to_mean,
        output_std=to_std,
        surrogate_slope=options.surrogate_slope,
        gate_noise=options.gate_noise,
        gains=options.input_gain,
        seed=options.seed,
    )
