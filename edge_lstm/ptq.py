"""Post-training quantization: ``FloatModel`` and calibration to ``QuantizedModel``.

The quantization-aware training calls the same functions on the weights of each training step, so that
what is trained is what ships (rule R8).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm._version import __version__
from edge_lstm.calibrate import Calibration, calibrate
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.gates import GateMode, parse_gates
from edge_lstm.lower import lower
from edge_lstm.model import GATE, Block, FloatLayer, FloatModel, QuantizedLayer, QuantizedModel, Table
from edge_lstm.requantize import Requantize

HIDDEN = QFormat(8, 7, symmetric=True)
POOLED = QFormat(16, 15)
CELL_BITS = 16
CELL_HEADROOM = 1.25
"""The cell format holds the calibrated extreme times this, so that a stream livelier than the calibration fits."""
WEIGHT_MAX = 127
BIAS_MAX = 2**22
"""A row whose bias dwarfs its weights gets a coarser scale, so that its accumulator stays short."""


class Rows(NamedTuple):
    """Quantized rows: ``weights * scale[:, None] ~ real * column_scale`` and ``bias * scale ~ real bias``."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float64]


def quantize_rows(
    weights: NDArray[Any], bias: NDArray[Any], column_scale: NDArray[np.float64], *, shared: bool = False
) -> Rows:
    """Symmetric int8 rows with one accumulator scale per row (rule R2).

    Args:
        weights: (rows, columns) real.
        bias: (rows,) real.
        column_scale: (columns,) real value of one unit of each column's integer input.
        shared: One scale for all rows, so that the accumulators of different rows compare.
    """
    real = weights.astype(np.float64) * column_scale
    scale = np.maximum(np.abs(real).max(axis=1) / WEIGHT_MAX, np.abs(bias) / BIAS_MAX)
    scale = np.maximum(np.full_like(scale, scale.max()) if shared else scale, 1e-12)
    integers = np.clip(np.rint(real / scale[:, None]), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)
    return Rows(integers, np.rint(bias.astype(np.float64) / scale).astype(np.int32), scale)


def accumulator_max(rows: Rows, inputs_max: NDArray[np.int64]) -> int:
    """Largest absolute accumulator for inputs of at most ``inputs_max`` (columns,)."""
    return int((np.abs(rows.bias.astype(np.int64)) + np.abs(rows.weights.astype(np.int64)) @ inputs_max).max())


def cell_format(cell_max: float) -> QFormat:
    """16 bits, power-of-two scale, wide enough for the calibrated extreme with headroom."""
    integer_bits = max(0, math.ceil(math.log2(max(cell_max * CELL_HEADROOM, 2.0**-15))))
    return QFormat(CELL_BITS, max(CELL_BITS - 1 - integer_bits, luts.INDEX_BITS["tanh"]))


def quantize_layer(layer: FloatLayer, input_scale: NDArray[np.float64], c: QFormat) -> QuantizedLayer:
    """A layer in integers.

    Args:
        layer: Float weights and gate modes.
        input_scale: (inputs,) real value of one unit of each integer input.
        c: Format of the cell state.
    """
    h = HIDDEN
    columns = np.concatenate([input_scale, np.full(layer.hidden, h.scale)])
    reach = np.full(layer.inputs + layer.hidden, h.max, np.int64)
    blocks = {}
    for name in cell(layer.cell).blocks:
        rows = quantize_rows(np.concatenate([layer.W[name], layer.R[name]], axis=1), layer.b[name], columns)
        table = _block_table(name, layer.modes, c)
        requantize = None
        if table is not None:
            requantize = Requantize.from_real(rows.scale * 2**table.index_bits, accumulator_max(rows, reach))
        blocks[name] = Block(rows.weights, rows.bias, rows.scale, requantize, table)
    squash = luts.build("tanh", h if layer.modes["o"] == "hard" else GATE)
    return QuantizedLayer(layer.cell, blocks, c, h, c.fraction_bits - squash.index_bits, squash)


def _block_table(name: str, modes: Mapping[str, GateMode], c: QFormat) -> Table | None:
    if name not in modes:
        return luts.build("tanh", c)
    return luts.build("sigmoid", GATE) if modes[name] == "soft" else None


def quantize_model(model: FloatModel, calibration: Calibration) -> QuantizedModel:
    """Quantize with ranges that are already known; does not prove absence of overflow (``lower`` does)."""
    input_scale = calibration.input_max / WEIGHT_MAX
    layers, scale = [], input_scale
    for layer, cell_max in zip(model.layers, calibration.cell_max, strict=True):
        layers.append(quantize_layer(layer, scale, cell_format(cell_max)))
        scale = np.full(layer.hidden, HIDDEN.scale)
    pool, pooled = None, HIDDEN
    if model.pooling == "mean":
        pooled, steps = POOLED, model.signature.steps
        factor = HIDDEN.scale / POOLED.scale / steps
        pool = Requantize.from_real(np.full(model.layers[-1].hidden, factor), HIDDEN.max * steps)
    columns = np.full(model.layers[-1].hidden, pooled.scale)
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
    )


def quantize(
    model: FloatModel,
    *,
    calibration: Any,
    gates: str | None = None,
    weight_bits: int = 8,
    activation_bits: int = 8,
    activations: str = "lut",
) -> QuantizedModel:
    """Post-training quantization to int8 weights, inputs and hidden states, and int16 cell states.

    Args:
        model: The float model.
        calibration: (windows, steps, channels) recordings like those that the device will see.
        gates: Gate modes, such as ``"hard"``; as trained where None. Hardening gates that were trained soft
            costs about ten points of accuracy: train them hard instead.
        weight_bits: 8.
        activation_bits: 8.
        activations: ``"lut"``: tables of 256 entries, nearest.

    Returns:
        A model that is proved free of overflow.

    Raises:
        EdgeLstmError: Bad calibration data or an unknown option.
        RangeError: The model could overflow.
    """
    for option, value, accepted in (
        ("weight_bits", weight_bits, (8,)),
        ("activation_bits", activation_bits, (8,)),
        ("activations", activations, ("lut",)),
    ):
        if value not in accepted:
            raise EdgeLstmError(f"{option} is {value!r}; accepted are {', '.join(map(repr, accepted))}")
    if gates is not None:
        layers = (replace(k, modes=parse_gates(gates, cell(k.cell).gates)) for k in model.layers)
        model = replace(model, layers=tuple(layers))
    quantized = quantize_model(model, calibrate(model, calibration))
    lower(quantized)
    return quantized
