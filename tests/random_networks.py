"""Random networks of every form, for tests that compare what training computes with the runtime."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from edge_lstm.bits import Bits
from edge_lstm.calibrate import calibrate
from edge_lstm.cells import CELLS
from edge_lstm.gates import MODES
from edge_lstm.nn.network import Network
from edge_lstm.signature import Signature

POOLINGS = ("last", "mean", "max", "attention", "newest", "each")
DIRECTIONS = ("forward", "reverse", "bidirectional")


def random_network(number: int) -> tuple[Network, np.ndarray, np.ndarray | None]:
    """A calibrated network, samples of which some are far livelier than those of the calibration, and their lengths.

    Cell, gate modes, squashing, sizes, layers and directions, storage of weights (int8, int4, ternary), of activations
    (8 and 16 bits) and tables (nearest entries, interpolated), pooling, dense layers, decoder, lengths: all are drawn.
    """
    draw, rng = random.Random(number), np.random.default_rng(number)
    kind = list(CELLS.values())[number % len(CELLS)]
    channels, steps, windows = draw.choice((1, 2, 5)), draw.randint(1, 12), draw.choice((1, 7, 16, 19))
    variable, levels = draw.random() < 0.3, draw.choice((1, 1, 2))
    hidden = draw.choice((1, 3, 8, 17))
    signature = Signature(
        "m",
        tuple(f"channel{k}" for k in range(channels)),
        ("",) * channels,
        None,
        steps,
        tuple(f"k{k}" for k in range(draw.randint(2, 5))),
        variable=variable,
        probabilities=draw.random() < 0.3,
    )
    options: dict[str, Any] = {
        "pooling": draw.choice(POOLINGS),
        "directions": [draw.choice(DIRECTIONS) for _ in range(levels)],
    }
    if draw.random() < 0.15:
        options = {"pooling": "last", "decoder": draw.randint(1, 5)}
    if draw.random() < 0.3:
        options["relu"] = [draw.choice((2, 6))]
    mean, std = rng.normal(0, 5, channels), rng.uniform(0.1, 9, channels)
    made = Network(
        signature,
        mean,
        std,
        4.0,
        cell_name=kind.name,
        modes={gate: draw.choice(MODES) for gate in kind.gates},
        hidden=hidden,
        outputs=min(hidden, draw.choice((1, 2, 5))),
        layers=levels,
        squash=draw.choice(("exact", "exact", "hard")),
        bits=[Bits(draw.choice((8, 4, 2)), draw.choice((8, 16)), draw.choice((0, 8))) for _ in range(levels)],
        seed=number,
        **options,
    )
    with torch.no_grad():
        for parameter in made.recurrent.parameters():
            parameter.mul_(draw.choice((0.5, 1.0, 3.0) if made.squash == "exact" else (0.5, 1.0)))
        for layer in made.layers:
            for vector in (layer.p, layer.rb):
                if vector is not None:
                    vector.copy_(torch.from_numpy(rng.normal(0, 0.5, len(vector))))
    x = mean + std * rng.normal(0, 1, (windows, steps, channels))
    lengths = rng.integers(1, steps + 1, windows) if variable else None
    made.calibration = calibrate(made.float_model(), x, lengths=lengths)
    half = windows // 2
    x[half:] = mean + std * rng.normal(0, 20, x[half:].shape)
    return made, x, lengths
