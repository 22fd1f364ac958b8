"""The layers of a recurrent module in integers, and the format of what the first one reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.bits import Bits
from edge_lstm.calibrate import Calibration
from edge_lstm.fixedpoint import Integers, QFormat
from edge_lstm.layers import FloatLayer, QuantizedLayer
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.signature import Signature
from edge_lstm.to_integers import quantize_model
from edge_lstm.wiring import width


@dataclass(frozen=True)
class Stack:
    """Layers in integers.

    Attributes:
        layers: Level by level.
        unit: (channels,) real value of one unit of each input.
        bits: Of the inputs, 8 or 16.
    """

    layers: tuple[QuantizedLayer, ...]
    unit: NDArray[np.float64]
    bits: int

    def quantize(self, x: Any) -> Integers:
        """Input integers, from real values (..., channels); as ``IntegerModel.quantize_input``."""
        return QFormat(self.bits, 0, symmetric=True).quantize(np.asarray(x, np.float64) / self.unit)


def part_of(model: QuantizedModel, std: NDArray[np.float64], first: int, layers: int) -> Stack:
    """Some of the layers of a model, one level after the other.

    Args:
        model: In integers.
        std: (channels,) by which samples are divided before the first layer is given them.
        first: Index of the first layer, with which a level begins.
        layers: Their number.
    """
    chosen = model.layers[first : first + layers]
    if not first:
        return Stack(chosen, model.input_scale / std, model.input_bits)
    h = model.layers[first - 1].h
    return Stack(chosen, np.full(chosen[0].inputs, h.scale), h.bits)


def stack_alone(layers: tuple[FloatLayer, ...], calibration: Calibration, bits: Sequence[Bits]) -> Stack:
    """Layers that no other model's layer feeds.

    Args:
        layers: In float.
        calibration: Their ranges.
        bits: Of each level.
    """
    channels = layers[0].inputs
    signature = Signature(
        "layers", tuple(f"x{k}" for k in range(channels)), ("",) * channels, None, 1, ("y",), "regress"
    )
    model = FloatModel(
        signature=signature,
        mean=np.zeros(channels),
        std=np.ones(channels),
        clip=1.0,
        layers=layers,
        pooling="last",
        dense_weights=np.zeros((1, width(layers))),
        dense_bias=np.zeros(1),
    )
    return part_of(quantize_model(model, calibration, bits), model.std, 0, len(layers))
