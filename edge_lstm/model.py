"""The two models: ``FloatModel`` (what was trained) and ``QuantizedModel`` (what ships), as frozen values.

Both are: input preparation, recurrent layers, pooling over time, dense layers; or a decoder in the place of pooling.
Constructors check every shape and range; a model that exists is consistent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from edge_lstm.arrays import Float64Tensor, Int8Tensor, Int32Tensor, expect
from edge_lstm.blocks import check_weights
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.heads import Attention, Decoder, FloatAttention, FloatDecoder, Softmax, check_decoder
from edge_lstm.integer_model import IntegerModel, check_input
from edge_lstm.layers import FloatDense, FloatLayer, QuantizedDense, QuantizedLayer
from edge_lstm.requantize import Requantize
from edge_lstm.signature import Signature
from edge_lstm.wiring import check_chain, levels, width

Pooling = Literal["last", "mean", "max", "attention", "each", "newest"]
POOLINGS: tuple[Pooling, ...] = ("last", "mean", "max", "attention", "each", "newest")
"""``each``: no pooling, but an output for each step of the window. ``newest``: h of the window's last step, which a
reversed layer computes first; ``last`` is what each layer computes last."""


@dataclass(frozen=True)
class FloatModel:
    """The trained model: standardize and clip, recurrent layers, pooling, dense layers with relu, dense.

    Args:
        signature: Inputs and classes.
        mean: (channels,) subtracted from the input, in the channel's unit.
        std: (channels,) positive; the input is then divided by it.
        clip: Standardized inputs are limited to [-clip, clip].
        layers: First to last.
        pooling: ``last`` h of the window (of a reversed layer that at its first step), ``newest`` (of all layers that
            at the window's last step), ``mean``, ``max`` or ``attention``; or ``each`` for an output at each step.
        dense_weights: (classes, width of what is before).
        dense_bias: (classes,).
        relu_layers: Between pooling and the last dense layer.
        attention: Of that pooling.
        decoder: Of a sequence-to-sequence model, whose outputs are those of each of its steps; pooling is ``last``.
    """

    signature: Signature
    mean: Float64Tensor
    std: Float64Tensor
    clip: float
    layers: tuple[FloatLayer, ...]
    pooling: Pooling
    dense_weights: Float64Tensor
    dense_bias: Float64Tensor
    relu_layers: tuple[FloatDense, ...] = ()
    attention: FloatAttention | None = None
    decoder: FloatDecoder | None = None

    def __post_init__(self) -> None:
        channels, classes = len(self.signature.channels), len(self.signature.classes)
        expect("mean", self.mean, (channels,))
        expect("std", self.std, (channels,))
        if not (self.std > 0).all():
            raise EdgeLstmError(f"std holds {self.std.min()}; accepted are positive numbers")
        if not 0 < self.clip < float("inf"):
            raise EdgeLstmError(f"clip is {self.clip}; accepted are positive numbers")
        object.__setattr__(self, "clip", float(self.clip))
        check_chain(self.layers, channels)
        _check_pooling(self)
        if self.attention is not None:
            expect("the weights of attention", self.attention.weights, (width(self.layers),))
        before = _check_relu([k.weights for k in self.relu_layers], width(self.layers), "float64")
        expect("dense_weights", self.dense_weights, (classes, before))
        expect("dense_bias", self.dense_bias, (classes,))

    @property
    def all_layers(self) -> tuple[FloatLayer, ...]:
        """Those of the encoder, then those of the decoder."""
        return self.layers + (self.decoder.layers if self.decoder else ())

    def run(self, x: Any, *, lengths: Any = None) -> dict[str, NDArray[Any]]:
        """Float outputs by name; see ``float_run.run_float``."""
        from edge_lstm.float_run import run_float

        return run_float(self, x, lengths=lengths)


@dataclass(frozen=True)
class QuantizedModel(IntegerModel):
    """The integer model.

    Args:
        signature: Inputs and classes.
        input_offset: (channels,) real value of the input integer 0, in the channel's unit.
        input_scale: (channels,) positive; real value of one input unit.
        layers: First to last.
        pooling: As of a ``FloatModel``.
        pool: For ``mean`` over windows that all have the signature's steps: sum of h to its mean in ``pooled``; else
            None.
        pooled: Format of what the dense layer reads.
        dense_weights: (classes, width of what is before), -127 to 127; one scale for all rows, so that scores compare.
        dense_bias: (classes,) at the scale of the scores.
        score_scale: Real value of one unit of a score (a logit, or an output of a regression).
        rounding: Of every rounding shift.
        provenance: Free text by key: tool version, source of the weights, calibration.
        input_bits: 8 or 16.
        relu_layers: Between pooling and the last dense layer.
        attention: Of that pooling.
        decoder: Of a sequence-to-sequence model.
        softmax: Where the signature asks for probabilities.
    """

    signature: Signature
    input_offset: Float64Tensor
    input_scale: Float64Tensor
    layers: tuple[QuantizedLayer, ...]
    pooling: Pooling
    pool: Requantize | None
    pooled: QFormat
    dense_weights: Int8Tensor
    dense_bias: Int32Tensor
    score_scale: float
    rounding: Literal["half_up"] = "half_up"
    provenance: Mapping[str, str] = field(default_factory=dict)
    input_bits: int = 8
    relu_layers: tuple[QuantizedDense, ...] = ()
    attention: Attention | None = None
    decoder: Decoder | None = None
    softmax: Softmax | None = None

    def __post_init__(self) -> None:
        channels, classes = len(self.signature.channels), len(self.signature.classes)
        check_input(self)
        check_chain(self.layers, channels)
        for level in levels(self.layers):
            if len({self.layers[k].h for k in level}) > 1:
                raise EdgeLstmError(f"layers {', '.join(map(str, level))} stand beside each other with different h")
        _check_pooling(self)
        wide = width(self.layers)
        if self.attention is not None:
            expect("the weights of attention", self.attention.weights, (1, wide), "int8")
        before = _check_relu([k.weights for k in self.relu_layers], wide, "int8")
        expect("dense_weights", self.dense_weights, (classes, before), "int8")
        expect("dense_bias", self.dense_bias, (classes,), "int32")
        check_weights("the dense layer", self.dense_weights, 8)
        object.__setattr__(self, "score_scale", float(self.score_scale))
        if (self.pooling == "mean" and not self.signature.variable) != (self.pool is not None):
            raise EdgeLstmError("only mean pooling over windows of one length has a requantization")
        if self.pool is not None:
            expect("the pooling multiplier", self.pool.multiplier, (wide,), "int32")
        if self.decoder is not None:
            expect("the multipliers of the feedback", self.decoder.feedback.multiplier, (classes,), "int32")

    @property
    def all_layers(self) -> tuple[QuantizedLayer, ...]:
        """Those of the encoder, then those of the decoder."""
        return self.layers + (self.decoder.layers if self.decoder else ())

    @property
    def looks_ahead(self) -> bool:
        """See ``IntegerModel``."""
        return self.decoder is not None or any(layer.reverse for layer in self.layers)

    @property
    def each(self) -> bool:
        """See ``IntegerModel``."""
        return self.pooling == "each" or self.decoder is not None

    @property
    def fixed_mean(self) -> bool:
        """See ``IntegerModel``."""
        return self.pool is not None

    @property
    def exact_windows(self) -> bool:
        """See ``IntegerModel``."""
        return False

    @property
    def title(self) -> str:
        """See ``IntegerModel``."""
        text = ""
        for k in self.layers:
            gates = ", ".join(f"{g} {m}" for g, m in k.modes.items())
            text += " beside " if k.beside else ", " if text else ""
            text += f"{'reversed ' if k.reverse else ''}{k.cell} of {k.hidden} units{f' ({gates})' if gates else ''}"
        if self.decoder is not None:
            return f"{text}; decoder of {self.decoder.steps} steps"
        return f"{text}; {'outputs for each step' if self.pooling == 'each' else f'{self.pooling} pooling'}"


def _check_pooling(model: FloatModel | QuantizedModel) -> None:
    if model.pooling not in POOLINGS:
        raise EdgeLstmError(f"pooling is {model.pooling!r}; accepted are {', '.join(POOLINGS)}")
    if (model.attention is not None) != (model.pooling == "attention"):
        raise EdgeLstmError(f"pooling is {model.pooling!r}; exactly attention has weights of attention")
    if model.decoder is not None:
        if model.pooling != "last":
            raise EdgeLstmError(f"pooling before a decoder is {model.pooling!r}; accepted is 'last'")
        check_decoder(model.layers, model.decoder, len(model.signature.classes))


def _check_relu(weights: list[NDArray[Any]], width: int, kind: str) -> int:
    """Width after the dense layers with relu, the first of which is given ``width`` values."""
    for k, rows in enumerate(weights):
        expect(f"the weights of relu layer {k}", rows, (len(rows), width), kind)
        width = len(rows)
    return width
