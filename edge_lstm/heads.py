"""What may follow the recurrent layers beside pooling and dense layers: attention, a decoder, probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lstm.arrays import Float64Tensor, Int8Tensor, Int16Tensor, Int32Tensor, expect
from edge_lstm.blocks import check_weights
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.layers import FloatLayer, QuantizedLayer
from edge_lstm.requantize import Requantize
from edge_lstm.signature import MAX_STEPS

EXP_RANGE = 8.0
"""exp is tabulated from -8 to 0."""
EXP_INDEX_BITS, EXP_BETWEEN_BITS = 4, 8
EXP_OUTPUT = QFormat(16, 14)
PROBABILITY = QFormat(16, 15)
"""Of ``probabilities``; 1 is its largest value, 32767."""


@dataclass(frozen=True)
class FloatAttention:
    """Pooling by attention: the mean of h over the window, each step with the weight exp(clip(u h + b, -8, 0)).

    Where u h + b stays inside these limits this is softmax over time, of which b does not change the result. The
    limits let a device add up numerator and denominator step by step, without a second pass for the largest score.

    Args:
        weights: u, (width,) of the last level.
        bias: b, (1,).
        bounded: With the limits; without them, as other tools have it, the weights are softmax over time. Quantization
            then sets the limits, with the b that serves the calibration best (``attention_limit``).
    """

    weights: Float64Tensor
    bias: Float64Tensor
    bounded: bool = True

    def __post_init__(self) -> None:
        if self.weights.ndim != 1:
            raise EdgeLstmError(f"the weights of attention have {self.weights.ndim} axes, and must have 1")
        expect("the bias of attention", self.bias, (1,))


@dataclass(frozen=True)
class FloatDecoder:
    """Layers that begin with the states of the encoder's and are given the model's own last output, at first zero.

    Args:
        layers: One for each layer of the encoder, of its cell and its size.
        steps: Outputs that it gives.
    """

    layers: tuple[FloatLayer, ...]
    steps: int

    def __post_init__(self) -> None:
        _check_steps(self.steps)


@dataclass(frozen=True)
class Attention:
    """``FloatAttention`` in integers.

    Args:
        weights: (1, width), -127 to 127.
        bias: (1,) at the scale of the accumulator.
        requantize: Accumulator to the argument of ``table``.
        table: (129,) exp of -8 to 0 in Q1.14.
        narrow: Bits that the product of a weight and h loses, so that a window's sum fits 32 bits; rounds by
            ``half_up``.
    """

    weights: Int8Tensor
    bias: Int32Tensor
    requantize: Requantize
    table: Int16Tensor
    narrow: int

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or len(self.weights) != 1:
            raise EdgeLstmError(f"the weights of attention are {self.weights.shape}, and must be one row")
        check_weights("attention", self.weights, 8)
        expect("the bias of attention", self.bias, (1,), "int32")
        expect("the multipliers of attention", self.requantize.multiplier, (1,), "int32")
        check_exp(self.table)
        if not 0 <= self.narrow <= 30:
            raise EdgeLstmError(f"attention narrows by {self.narrow} bits; accepted are 0 to 30")


@dataclass(frozen=True)
class Decoder:
    """``FloatDecoder`` in integers.

    Args:
        layers, steps: As of a ``FloatDecoder``.
        feedback: Scores to the first layer's inputs, (outputs,).
        fed: Format of these.
    """

    layers: tuple[QuantizedLayer, ...]
    steps: int
    feedback: Requantize
    fed: QFormat

    def __post_init__(self) -> None:
        _check_steps(self.steps)


@dataclass(frozen=True)
class Softmax:
    """Probabilities from scores.

    Args:
        requantize: A score, less the largest one, to the argument of ``table``; (classes,).
        table: (129,) exp of -8 to 0 in Q1.14.
    """

    requantize: Requantize
    table: Int16Tensor

    def __post_init__(self) -> None:
        check_exp(self.table)


def exp_table() -> np.ndarray:
    """exp of -8 to 0, (129,) int16."""
    return EXP_OUTPUT.quantize(np.exp(np.arange(-128, 1) / 2**EXP_INDEX_BITS)).astype(np.int16)


def check_decoder(
    encoder: tuple[FloatLayer, ...] | tuple[QuantizedLayer, ...],
    decoder: FloatDecoder | Decoder,
    outputs: int,
) -> None:
    """Raise unless every layer of a decoder can begin with the states of the encoder's layer.

    Raises:
        EdgeLstmError: Naming the layer.
    """
    if len(decoder.layers) != len(encoder):
        raise EdgeLstmError(f"the decoder has {len(decoder.layers)} layers, and the encoder {len(encoder)}")
    pairs: list[tuple[FloatLayer | QuantizedLayer, FloatLayer | QuantizedLayer]]
    pairs = list(zip(encoder, decoder.layers, strict=True))
    for k, (from_, to) in enumerate(pairs):
        if from_.beside or to.beside or to.reverse or to.initial:
            raise EdgeLstmError(
                f"layer {k} of the encoder or of the decoder stands beside another, or that of the decoder is reversed "
                "or has initial states of its own"
            )
        if (cell(from_.cell).states, from_.hidden, from_.outputs) != (cell(to.cell).states, to.hidden, to.outputs):
            raise EdgeLstmError(
                f"layer {k} of the decoder is a {to.cell} of {to.hidden} units, and that of the encoder "
                f"a {from_.cell} of {from_.hidden}"
            )
        if isinstance(from_, QuantizedLayer) and isinstance(to, QuantizedLayer) and (from_.h, from_.c) != (to.h, to.c):
            raise EdgeLstmError(f"the states of layer {k} of the decoder have other formats than the encoder's")
        if to.inputs != outputs:
            raise EdgeLstmError(f"layer {k} of the decoder takes {to.inputs} inputs, and is given {outputs}")
        outputs = to.outputs


def _check_steps(steps: int) -> None:
    if not 1 <= steps <= MAX_STEPS:
        raise EdgeLstmError(f"a decoder of {steps} steps; accepted are 1 to {MAX_STEPS}")


def check_exp(table: np.ndarray) -> None:
    """Raise unless it is a table of exp that ``exp`` of ``lower_heads`` can read.

    Raises:
        EdgeLstmError: Naming what does not fit.
    """
    expect("the table of exp", table, (129,), "int16")
    if table.min() < 0 or table.max() > 2**EXP_OUTPUT.fraction_bits:
        raise EdgeLstmError("the table of exp holds values outside 0 to 1")
