"""Post-training quantization: ``FloatModel`` and calibration to ``QuantizedModel``.

The quantization-aware training calls the same functions on the weights of each training step, so that
what is trained is what ships (rule R8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm._version import __version__
from edge_lstm.blocks import GATE, WEIGHT_MAX, Block, Linear, Peephole, Projection, Steps, Table
from edge_lstm.calibrate import Calibration, calibrate
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.gates import STEPS, GateMode, parse_gates
from edge_lstm.lower import lower
from edge_lstm.model import (
    ACTIVATION_BITS,
    FloatDense,
    FloatLayer,
    FloatModel,
    QuantizedDense,
    QuantizedLayer,
    QuantizedModel,
    of_states,
)
from edge_lstm.requantize import Requantize

POOLED = QFormat(16, 15)
CELL_BITS = 16
CELL_HEADROOM = 1.25
"""A calibrated format holds the extreme times this, so that a stream livelier than the calibration fits."""
DENSE_BITS = 8
"""Of the outputs of dense layers with relu."""
UNIT_CELL = QFormat(CELL_BITS, CELL_BITS - 1)
BIAS_MAX = 2**22
"""A row whose bias dwarfs its weights gets a coarser scale, so that its accumulator stays short."""
MULTIPLIER_BITS = 15
GATED_BITS = 15
"""Of an accumulator that a gate in Q0.15 multiplies, without the sign: the product then fits 32 bits."""


@dataclass(frozen=True)
class Bits:
    """Storage of a layer.

    Args:
        weights: 8, 4 or 2.
        activations: Of h, 8 or 16.
        between: Of tables: 0, or ``luts.BETWEEN_BITS`` to interpolate.
    """

    weights: int = 8
    activations: int = 8
    between: int = 0

    @property
    def unit(self) -> QFormat:
        """Format of an h that can't leave [-1, 1]."""
        return QFormat(self.activations, self.activations - 1, symmetric=True)


class Rows(NamedTuple):
    """Quantized rows: ``weights * scale[:, None] ~ real * column_scale`` and ``bias * scale ~ real bias``."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float64]


def quantize_rows(
    weights: NDArray[Any],
    bias: NDArray[Any],
    column_scale: NDArray[np.float64],
    *,
    shared: bool = False,
    bits: int = 8,
    other_bias: NDArray[Any] | float = 0.0,
) -> Rows:
    """Symmetric integer rows with one accumulator scale per row (rule R2).

    Args:
        weights: (rows, columns) real.
        bias: (rows,) real.
        column_scale: (columns,) real value of one unit of each column's integer input.
        shared: One scale for all rows, so that the accumulators of different rows compare.
        bits: 8, 4, or 2 (ternary).
        other_bias: (rows,) of another bias at the same scale.
    """
    real = weights.astype(np.float64) * column_scale
    largest = WEIGHT_MAX[bits]
    extreme = np.abs(real).max(axis=1) / largest
    if bits == 2:
        extreme = _ternary_scale(real)
    scale = np.maximum(extreme, np.maximum(np.abs(bias), np.abs(other_bias)) / BIAS_MAX)
    scale = np.maximum(np.full_like(scale, scale.max()) if shared else scale, 1e-12)
    integers = np.clip(np.rint(real / scale[:, None]), -largest, largest).astype(np.int8)
    return Rows(integers, np.rint(bias.astype(np.float64) / scale).astype(np.int32), scale)


def _ternary_scale(real: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale of each row: of Li and Liu, "Ternary weight networks", 2016, equations 4 and 6."""
    size = np.abs(real)
    kept = size > 0.7 * size.mean(axis=1, keepdims=True)
    return np.asarray((size * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1))


def accumulator_max(rows: Rows, inputs_max: NDArray[np.int64]) -> int:
    """Largest absolute accumulator for inputs of at most ``inputs_max`` (columns,)."""
    return int((np.abs(rows.bias.astype(np.int64)) + np.abs(rows.weights.astype(np.int64)) @ inputs_max).max())


def calibrated_format(bits: int, extreme: float, *, symmetric: bool = False, most: int = 32) -> QFormat:
    """Power-of-two scale, wide enough for the calibrated extreme with headroom, at most ``most`` fraction bits."""
    integer_bits = math.ceil(math.log2(max(extreme * CELL_HEADROOM, 2.0**-15)))
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
) -> QuantizedLayer:
    """A layer in integers.

    Args:
        layer: Float weights and gate modes.
        input_scale: (inputs,) real value of one unit of each integer input.
        input_max: Largest integer input.
        cell_max, hidden_max: Largest absolute states of the calibration.
        bits: Storage.
    """
    kind = cell(layer.cell)
    h = bits.unit if kind.unit_hidden else calibrated_format(bits.activations, hidden_max, symmetric=True)
    c = None if "c" not in kind.states else UNIT_CELL if kind.unit_cell else cell_format(cell_max)
    operand = bits.unit if kind.projected else h
    columns = np.concatenate([input_scale, np.full(layer.outputs, h.scale)])
    reach = np.concatenate([np.full(layer.inputs, input_max, np.int64), np.full(layer.outputs, h.max, np.int64)])

    def output(name: str) -> QFormat:
        if kind.functions[name][1] == "c":
            assert c is not None
            return c
        return GATE if kind.gates and layer.modes.get("o") != "hard" else operand

    def function(name: str) -> Table | Linear:
        kind_of = kind.functions[name][0]
        if layer.squash == "hard" or kind_of == "relu":
            return luts.build_linear(kind_of, output(name))
        return luts.build(kind_of, output(name), between_bits=bits.between)

    blocks = {}
    for name in kind.blocks:
        weights = np.concatenate([layer.W[name], layer.R[name]], axis=1)
        rows = quantize_rows(weights, layer.b[name], columns, bits=bits.weights, other_bias=layer.rb.get(name, 0.0))
        activation: Table | Linear | Steps = (
            _gate(layer.modes[name], rows, bits) if name in layer.modes else (function(name))
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
            rows.weights,
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
        rows = quantize_rows(layer.P, np.zeros(layer.outputs), np.full(layer.hidden, operand.scale), bits=bits.weights)
        largest = accumulator_max(rows, np.full(layer.hidden, operand.max, np.int64))
        projection = Projection(
            rows.weights, Requantize.from_real(rows.scale / h.scale, largest), operand, weight_bits=bits.weights
        )
    squash = {name: function(name) for name in of_states(kind)}
    return QuantizedLayer(layer.cell, dict(layer.modes), blocks, h, c, squash, projection)


def _gate(mode: GateMode, rows: Rows, bits: Bits) -> Table | Linear | Steps:
    if mode == "soft":
        return luts.build("sigmoid", GATE, between_bits=bits.between)
    if mode == "hard-sigmoid":
        return luts.build_linear("sigmoid", GATE)
    return Steps(np.stack([np.rint(at / rows.scale).clip(-(2**28), 2**28) for at in STEPS[mode]]).astype(np.int32))


def _peephole(p: NDArray[np.float64], scale: NDArray[np.float64], c: QFormat) -> Peephole:
    """(c * multiplier) >> shift is p c in units of the accumulator."""
    factors = np.asarray(p, np.float64) * c.scale / scale
    shift = int(np.clip(MULTIPLIER_BITS - math.frexp(max(float(np.abs(factors).max()), 1e-12))[1], 0, 30))
    largest = 2**MULTIPLIER_BITS - 1
    return Peephole(np.rint(factors * 2.0**shift).clip(-largest, largest).astype(np.int32), shift)


def quantize_model(model: FloatModel, calibration: Calibration, bits: Sequence[Bits] | None = None) -> QuantizedModel:
    """Quantize with ranges that are already known; does not prove absence of overflow (``lower`` does).

    Args:
        model: The float model.
        calibration: Its ranges.
        bits: Of each layer; int8 where None. The inputs have the activation bits of the first layer.
    """
    bits = [Bits()] * len(model.layers) if bits is None else bits
    largest = 2 ** (bits[0].activations - 1) - 1
    input_scale = calibration.input_max / largest
    layers, scale = [], input_scale
    extremes = zip(model.layers, calibration.cell_max, calibration.hidden_max, bits, strict=True)
    for layer, cell_max, hidden_max, of_layer in extremes:
        layers.append(quantize_layer(layer, scale, largest, cell_max, hidden_max, of_layer))
        h = layers[-1].h
        scale, largest = np.full(layer.outputs, h.scale), h.max
    pool, pooled, pooled_max = None, h, h.max
    if model.pooling == "mean":
        steps = model.signature.steps
        pooled = POOLED if h.fraction_bits == h.bits - 1 else QFormat(POOLED.bits, h.fraction_bits + 16 - h.bits)
        factor = h.scale / pooled.scale / steps
        pool, pooled_max = (
            Requantize.from_real(np.full(model.layers[-1].outputs, factor), h.max * steps),
            pooled.max + 1,
        )
    relu_layers, scale = [], pooled.scale
    for relu, relu_max in zip(model.relu_layers, calibration.relu_max, strict=True):
        relu_layers.append(_quantize_relu(relu, scale, pooled_max, relu_max))
        output = relu_layers[-1].output
        scale, pooled_max = output.scale, output.max
    columns = np.full(model.dense_weights.shape[1], scale)
    dense = quantize_rows(model.dense_weights, model.dense_bias, columns, shared=True)
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
    )


def _quantize_relu(layer: FloatDense, scale: float, largest: int, extreme: float) -> QuantizedDense:
    """A dense layer with relu, for inputs of at most ``largest`` units of ``scale``."""
    inputs = layer.weights.shape[1]
    rows = quantize_rows(layer.weights, layer.bias, np.full(inputs, scale))
    output = calibrated_format(DENSE_BITS, extreme, symmetric=True)
    reach = accumulator_max(rows, np.full(inputs, largest, np.int64))
    return QuantizedDense(rows.weights, rows.bias, Requantize.from_real(rows.scale / output.scale, reach), output)


Choice = int | str | Sequence[int]
"""For all layers, or one for each; in text such as ``"8,4"``."""


def layer_bits(
    layers: int, weight_bits: Choice = 8, activation_bits: Choice = 8, activations: str = "lut"
) -> list[Bits]:
    """Storage of each layer, from options.

    Raises:
        EdgeLstmError: A value that is not accepted, or not one for each layer.
    """
    if activations not in ACTIVATIONS:
        raise EdgeLstmError(f"activations is {activations!r}; accepted are {', '.join(map(repr, ACTIVATIONS))}")
    chosen = []
    for option, value, accepted in (
        ("weight_bits", weight_bits, tuple(WEIGHT_MAX)),
        ("activation_bits", activation_bits, ACTIVATION_BITS),
    ):
        values = _numbers(option, value)
        values = values * layers if len(values) == 1 else values
        if len(values) != layers:
            raise EdgeLstmError(f"{option} names {len(values)} layers; the model has {layers}")
        for each in values:
            if each not in accepted:
                raise EdgeLstmError(f"{option} is {each!r}; accepted are {', '.join(map(repr, accepted))}")
        chosen.append(values)
    between = luts.BETWEEN_BITS if activations == "lut-interp" else 0
    return [Bits(w, a, between) for w, a in zip(*chosen, strict=True)]


def _numbers(option: str, value: Choice) -> list[int]:
    if isinstance(value, str):
        if not all(part.strip().isdecimal() and len(part) < 8 for part in value.split(",")):
            raise EdgeLstmError(f"{option} is {value!r}; accepted are a number, or one for each layer such as 8,4")
        return [int(part) for part in value.split(",")]
    return [value] if isinstance(value, int) else list(value)


ACTIVATIONS = ("lut", "lut-interp")


def quantize(
    model: FloatModel,
    *,
    calibration: Any,
    gates: str | None = None,
    weight_bits: Choice = 8,
    activation_bits: Choice = 8,
    activations: str = "lut",
) -> QuantizedModel:
    """Post-training quantization; cell states have 16 bits and a calibrated power-of-two scale.

    Args:
        model: The float model.
        calibration: (windows, steps, channels) recordings like those that the device will see.
        gates: Gate modes, such as ``"hard"``; as trained where None. Hardening gates that were trained soft
            costs about ten points of accuracy: train them hard instead.
        weight_bits: 8, 4 or 2 (ternary); of all layers, or of each.
        activation_bits: Of inputs and hidden states, 8 or 16; of all layers, or of each.
        activations: Tables of 256 entries: ``"lut"``, the nearest entry, or ``"lut-interp"``, linear between two.

    Returns:
        A model that is proved free of overflow.

    Raises:
        EdgeLstmError: Bad calibration data or an unknown option.
        RangeError: The model could overflow.
    """
    bits = layer_bits(len(model.layers), weight_bits, activation_bits, activations)
    if gates is not None:
        layers = (replace(k, modes=parse_gates(gates, cell(k.cell).gates)) for k in model.layers)
        model = replace(model, layers=tuple(layers))
    quantized = quantize_model(model, calibrate(model, calibration), bits)
    lower(quantized)
    return quantized
