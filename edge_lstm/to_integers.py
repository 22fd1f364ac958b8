"""A ``FloatModel`` with known ranges to a ``QuantizedModel``.

The quantization-aware training calls ``quantize_model`` on the weights of each training step, so that what is
trained is what ships (rule R8). Quantization after training (``ptq``) calls it with a choice of rows of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm._version import __version__
from edge_lstm.bits import Bits
from edge_lstm.blocks import GATE, Block, Linear, Peephole, Projection, Steps, Table
from edge_lstm.calibrate import CELL_BITS, RELU_BITS, Calibration
from edge_lstm.cells import cell
from edge_lstm.fixedpoint import QFormat
from edge_lstm.gates import STEPS, GateMode
from edge_lstm.heads import (
    EXP_BETWEEN_BITS,
    EXP_INDEX_BITS,
    EXP_OUTPUT,
    Attention,
    Decoder,
    FloatAttention,
    Softmax,
    exp_table,
)
from edge_lstm.layers import FloatDense, FloatLayer, QuantizedDense, QuantizedLayer, of_states
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ranges import HEADROOM
from edge_lstm.requantize import Requantize
from edge_lstm.rows import PROJECTION, RowChoice, Rows, accumulator_max, input_gain, nearest, quantize_rows
from edge_lstm.wiring import levels

POOLED = QFormat(16, 15)
UNIT_CELL = QFormat(CELL_BITS, CELL_BITS - 1)
MULTIPLIER_BITS = 15
EXP_INPUT_BITS = EXP_INDEX_BITS + EXP_BETWEEN_BITS
SUM_BITS = 27
"""Of a window's weighted sum, without the sign."""
NEVER = 2**30
"""A step that no accumulator reaches: with it, a larger one would not fit 32 bits."""
GATED_BITS = 15
"""Of an accumulator that a gate in Q0.15 multiplies, without the sign: the product then fits 32 bits."""


def calibrated_format(bits: int, extreme: float, *, symmetric: bool = False, most: int = 32) -> QFormat:
    """Power-of-two scale, wide enough for the calibrated extreme with headroom, at most ``most`` fraction bits."""
    integer_bits = math.ceil(math.log2(max(extreme * HEADROOM, 2.0**-15)))
    return QFormat(bits, min(bits - 1 - integer_bits, most), symmetric)


def cell_format(cell_max: float) -> QFormat:
    """16 bits, at least Q0.15's range."""
    found = calibrated_format(CELL_BITS, cell_max, most=CELL_BITS - 1)
    return QFormat(CELL_BITS, max(found.fraction_bits, luts.INDEX_BITS["tanh"]))


def quantize_layer(
    layer: FloatLayer,
    input_scale: NDArray[np.float64],
    input_max: int,
    cell_max: float,
    hidden_max: float,
    bits: Bits,
    choose: RowChoice = nearest,
    k: int = 0,
    *,
    gains: bool = False,
) -> QuantizedLayer:
    """A layer in integers.

    Args:
        layer: Float weights and gate modes.
        input_scale: (inputs,) real value of one unit of each integer input.
        input_max: Largest integer input.
        cell_max, hidden_max: Largest absolute states of the calibration.
        bits: Storage.
        choose: Of the integer rows of its blocks and of its projection.
        k: Index of the layer, to tell ``choose``.
        gains: Multiply the inputs, where that gives the recurrent weights more of their row's integers.
    """
    kind = cell(layer.cell)
    h = bits.unit if kind.unit_hidden else calibrated_format(bits.activations, hidden_max, symmetric=True)
    c = None if "c" not in kind.states else UNIT_CELL if kind.unit_cell else cell_format(cell_max)
    operand = bits.unit if kind.projected else h
    gain = _gain(layer, input_scale, input_max, h) if gains else None
    factors = np.ones(layer.inputs, np.int64) if gain is None else gain.astype(np.int64)
    columns = np.concatenate([input_scale / factors, np.full(layer.outputs, h.scale)])
    reach = np.concatenate([factors * input_max, np.full(layer.outputs, h.max, np.int64)])

    def output(name: str) -> QFormat:
        if kind.functions[name][1] == "c":
            assert c is not None
            return c
        return GATE if kind.gates and layer.modes.get("o") != "hard" else operand

    def function(name: str) -> Table | Linear:
        kind_of = kind.functions[name][0]
        clip = layer.clip if name in kind.blocks else None
        if layer.squash == "hard" or kind_of == "relu":
            return luts.build_linear(kind_of, output(name), clip=clip)
        return luts.build(kind_of, output(name), between_bits=bits.between, clip=clip)

    blocks, shared = {}, dict[str, Rows]()
    for name in (*kind.matrices, *kind.shares):
        owner = kind.owner(name)
        if owner == name:
            weights = np.concatenate([layer.W[name], layer.R[name]], axis=1)
            rows = choose(k, name, weights, layer.b[name], columns, bits.weights, _other_bias(layer, name))
        else:
            rows = shared[owner]._replace(bias=np.rint(layer.b[name] / shared[owner].scale).astype(np.int32))
        shared[name] = rows
        activation: Table | Linear | Steps = (
            _gate(layer.modes[name], rows, bits, layer.clip) if name in layer.modes else function(name)
        )
        recurrent_bias, gated_shift = None, 0
        largest = accumulator_max(rows, reach)
        if name in kind.split:
            recurrent_bias = np.rint(layer.rb[name] / rows.scale).astype(np.int32)
            largest += int(np.abs(recurrent_bias.astype(np.int64)).max())
            of_h = Rows(rows.weights[:, layer.inputs :], recurrent_bias, rows.scale)
            gated_shift = max(0, accumulator_max(of_h, reach[layer.inputs :]).bit_length() - GATED_BITS)
        peephole = None
        if name in kind.peepholes:
            assert c is not None
            peephole = _peephole(layer.p[name], rows.scale, c)
            largest += int((np.abs(peephole.multiplier.astype(np.int64)) * c.max >> peephole.shift).max()) + 1
        requantize = None
        if not isinstance(activation, Steps):
            requantize = Requantize.from_real(rows.scale * 2.0**activation.input_bits, largest)
        blocks[name] = Block(
            rows.weights if owner == name else rows.weights[:, :0],
            rows.bias,
            rows.scale,
            activation,
            requantize,
            recurrent_bias=recurrent_bias,
            gated_shift=gated_shift,
            peephole=peephole,
            weight_bits=bits.weights,
        )
    projection = None
    if layer.P is not None:
        none, columns = np.zeros(layer.outputs), np.full(layer.hidden, operand.scale)
        rows = choose(k, PROJECTION, layer.P, none, columns, bits.weights, 0.0)
        largest = accumulator_max(rows, np.full(layer.hidden, operand.max, np.int64))
        projection = Projection(
            rows.weights, Requantize.from_real(rows.scale / h.scale, largest), operand, weight_bits=bits.weights
        )
    squash = {name: function(name) for name in of_states(kind)}
    formats = {"h": h, "c": c}
    initial = {state: f.quantize(v) for state, v in layer.initial.items() if (f := formats[state]) is not None}
    return QuantizedLayer(
        layer.cell, dict(layer.modes), blocks, h, c, squash, projection, layer.reverse, layer.beside, initial, gain
    )


def _other_bias(layer: FloatLayer, block: str) -> NDArray[np.float64] | float:
    """(hidden,) the largest of further biases at the scale of a block's rows; 0 where there is none."""
    sharing = [layer.b[name] for name, owner in cell(layer.cell).shares.items() if owner == block]
    return np.abs(sharing).max(axis=0) if sharing else layer.rb.get(block, 0.0)


def _gain(layer: FloatLayer, input_scale: NDArray[np.float64], input_max: int, h: QFormat) -> NDArray[np.int32] | None:
    of_x = np.abs(np.concatenate(list(layer.W.values()))).max(axis=0) * input_scale
    of_h = max(float(np.abs(R).max()) for R in layer.R.values()) * h.scale
    return input_gain(of_x, of_h, input_max)


def _gate(mode: GateMode, rows: Rows, bits: Bits, clip: float | None) -> Table | Linear | Steps:
    if mode == "soft":
        return luts.build("sigmoid", GATE, between_bits=bits.between, clip=clip)
    if mode == "hard-sigmoid":
        return luts.build_linear("sigmoid", GATE, clip=clip)
    return Steps(np.stack([_step(at, rows.scale, clip) for at in STEPS[mode]]).astype(np.int32))


def _step(at: float, scale: NDArray[np.float64], clip: float | None) -> NDArray[np.float64]:
    """A step in units of each row's accumulator; one at the clip or beyond is never taken, or always."""
    if clip is not None and abs(at) >= clip:
        return np.full_like(scale, np.copysign(NEVER, at))
    return np.rint(at / scale).clip(-(2**28), 2**28)


def _peephole(p: NDArray[np.float64], scale: NDArray[np.float64], c: QFormat) -> Peephole:
    """(c * multiplier) >> shift is p c in units of the accumulator."""
    factors = np.asarray(p, np.float64) * c.scale / scale
    shift = int(np.clip(MULTIPLIER_BITS - math.frexp(max(float(np.abs(factors).max()), 1e-12))[1], 0, 30))
    largest = 2**MULTIPLIER_BITS - 1
    return Peephole(np.rint(factors * 2.0**shift).clip(-largest, largest).astype(np.int32), shift)


def quantize_model(
    model: FloatModel,
    calibration: Calibration,
    bits: Sequence[Bits] | None = None,
    choose: RowChoice = nearest,
    *,
    gains: bool = False,
) -> QuantizedModel:
    """Quantize with ranges that are already known; does not prove absence of overflow (``lower`` does).

    Args:
        model: The float model.
        calibration: Its ranges.
        bits: Of each level of layers; int8 where None. The inputs have the activation bits of the first.
        choose: Of the integer rows of the recurrent layers.
        gains: As of ``quantize_layer``.
    """
    grouped = levels(model.layers)
    bits = [Bits()] * len(grouped) if bits is None else bits
    largest = 2 ** (bits[0].activations - 1) - 1
    input_scale = calibration.input_max / largest
    shared = _shared(model, calibration)
    layers, scale = list[QuantizedLayer](), input_scale
    for level, of_level in zip(grouped, bits, strict=True):
        layers += [
            quantize_layer(model.layers[k], scale, largest, *shared[k], of_level, choose, k, gains=gains) for k in level
        ]
        h = layers[-1].h
        scale, largest = np.full(sum(layers[k].outputs for k in level), h.scale), h.max
    decoder = None
    if model.decoder is not None:
        fed = calibrated_format(bits[0].activations, calibration.score_max, symmetric=True)
        scale, largest, decoded = np.full(len(model.dense_bias), fed.scale), fed.max, []
        for k, (layer, of_level) in enumerate(zip(model.decoder.layers, bits, strict=True)):
            at = len(layers) + k
            decoded.append(quantize_layer(layer, scale, largest, *shared[at], of_level, choose, at, gains=gains))
            h = decoded[-1].h
            scale, largest = np.full(layer.outputs, h.scale), h.max
    pool, pooled, pooled_max = None, h, h.max
    if model.pooling in ("mean", "attention"):
        pooled = POOLED if h.fraction_bits == h.bits - 1 else QFormat(POOLED.bits, h.fraction_bits + 16 - h.bits)
        pooled_max = pooled.max + 1
    if model.pooling == "mean" and not model.signature.variable:
        factor = h.scale / pooled.scale / model.signature.steps
        pool = Requantize.from_real(np.full(len(scale), factor), h.max * model.signature.steps)
    relu_layers, column = [], pooled.scale
    for relu, relu_max in zip(model.relu_layers, calibration.relu_max, strict=True):
        relu_layers.append(_quantize_relu(relu, column, pooled_max, relu_max))
        output = relu_layers[-1].output
        column, pooled_max = output.scale, output.max
    columns = np.full(model.dense_weights.shape[1], column)
    dense = quantize_rows(model.dense_weights, model.dense_bias, columns, shared=True)
    reach = accumulator_max(dense, np.full(len(columns), pooled_max, np.int64))
    if model.decoder is not None:
        feedback = Requantize.from_real(dense.scale / fed.scale, reach)
        decoder = Decoder(tuple(decoded), model.decoder.steps, feedback, fed)
    attention = None
    if model.attention is not None:
        bounded = model.attention
        if not bounded.bounded:
            bounded = FloatAttention(bounded.weights, bounded.bias - calibration.attention_max)
        attention = _quantize_attention(model, bounded, h, len(scale))
    softmax = None
    if model.signature.probabilities:
        softmax = Softmax(Requantize.from_real(dense.scale * 2.0**EXP_INPUT_BITS, 2 * reach), exp_table())
    return QuantizedModel(
        signature=model.signature,
        input_offset=model.mean,
        input_scale=input_scale * model.std,
        layers=tuple(layers),
        pooling=model.pooling,
        pool=pool,
        pooled=pooled,
        dense_weights=dense.weights,
        dense_bias=dense.bias,
        score_scale=float(dense.scale[0]),
        provenance={"edge_lstm": __version__},
        input_bits=bits[0].activations,
        relu_layers=tuple(relu_layers),
        attention=attention,
        decoder=decoder,
        softmax=softmax,
    )


def _shared(model: FloatModel, calibration: Calibration) -> list[tuple[float, float]]:
    """Largest c and h that the formats of each layer must hold: those of a level, and of a decoder, are one format."""
    cell_max, hidden_max = list(calibration.cell_max), list(calibration.hidden_max)
    for level in levels(model.layers):
        for k in level:
            hidden_max[k] = max(calibration.hidden_max[each] for each in level)
    if model.decoder is not None:
        encoder = len(model.layers)
        for k in range(encoder):
            for extremes in (cell_max, hidden_max):
                extremes[k] = extremes[encoder + k] = max(extremes[k], extremes[encoder + k])
    return list(zip(cell_max, hidden_max, strict=True))


def _quantize_attention(model: FloatModel, attention: FloatAttention, h: QFormat, width: int) -> Attention:
    rows = quantize_rows(attention.weights[None], attention.bias, np.full(width, h.scale))
    reach = accumulator_max(rows, np.full(width, h.max, np.int64))
    requantize = Requantize.from_real(rows.scale * 2.0**EXP_INPUT_BITS, reach)
    largest = h.max * 2**EXP_OUTPUT.fraction_bits  # of a product, which a window adds up
    narrow = max(0, (largest * model.signature.steps).bit_length() - SUM_BITS)
    return Attention(rows.weights, rows.bias, requantize, exp_table(), narrow)


def _quantize_relu(layer: FloatDense, scale: float, largest: int, extreme: float) -> QuantizedDense:
    """A dense layer with relu, for inputs of at most ``largest`` units of ``scale``."""
    inputs = layer.weights.shape[1]
    rows = quantize_rows(layer.weights, layer.bias, np.full(inputs, scale))
    output = calibrated_format(RELU_BITS, extreme, symmetric=True)
    reach = accumulator_max(rows, np.full(inputs, largest, np.int64))
    return QuantizedDense(rows.weights, rows.bias, Requantize.from_real(rows.scale / output.scale, reach), output)
