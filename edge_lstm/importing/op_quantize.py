"""Pairs of ``QuantizeLinear`` and ``DequantizeLinear``: the value itself, whose range the file says.

Quantizers leave a relu out where the integers that follow can't be negative: there the pair is the relu.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.graph.by_step import Binary, Function, Linear, Normalize, Scale
from edge_lstm.graph.over_time import Conv
from edge_lstm.importing.interpreter import Call, Value, handles
from edge_lstm.importing.view import View

SIGNED = (Binary, Conv, Linear, Normalize, Scale)
"""Nodes whose values are of both signs, as far as the graph says."""


@handles("QuantizeLinear")
def quantize_linear(call: Call) -> Value:
    """The value itself, which only ``DequantizeLinear`` may read; its range is remembered. Constants are quantized."""
    if isinstance(call.inputs[0], np.ndarray):
        value = call.inputs[0]
        scale, zero = _constants(call, value.ndim)
        limits = np.iinfo(zero.dtype)
        return np.asarray(np.clip(np.rint(value / scale) + zero, limits.min, limits.max), zero.dtype)
    view = call.view(0)
    name, largest = call.proto.input[0], _largest(call)
    ranges = call.context.ranges
    ranges[name] = max(largest, ranges.get(name, 0.0))
    call.context.quantized[call.proto.output[0]] = largest
    view = _limited(call, view)
    call.context.places[name] = view.node
    return view


def _limited(call: Call, view: View) -> View:
    """The value, with a relu where its integers can't be negative and it could."""
    _, zero = _constants(call, 1)
    if not isinstance(call.context.nodes[view.node], SIGNED) or (zero != np.iinfo(zero.dtype).min).any():
        return view
    relu = call.context.add(Function(view.node, "relu", 0.0, 0.0))
    call.context.limited[relu] = view.node
    return replace(view, node=relu)


@handles("DequantizeLinear")
def dequantize_linear(call: Call) -> Value:
    """The value that was quantized, with the same scale; or weights."""
    if isinstance(call.inputs[0], np.ndarray):
        value = call.inputs[0]
        scale, zero = _constants(call, value.ndim)
        return np.asarray((value.astype(np.float64) - zero) * scale, np.float32)
    view = call.view(0)
    quantized = call.context.quantized.get(call.proto.input[0])
    if quantized is None:
        raise call.refuse("it reads integers; accepted is the result of QuantizeLinear, or a constant")
    if quantized != _largest(call):
        raise call.refuse("its scale or zero point is not that of the QuantizeLinear before it")
    return view


def _constants(call: Call, rank: int = 0) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Scale and zero point, along the axis of a constant of so many axes."""
    scale, zero = call.constant(1), call.constant(2)
    if scale is None or not np.asarray(scale).all():
        raise call.refuse("it has no scale, or one of 0")
    zero = np.zeros(scale.shape, np.uint8) if zero is None else zero
    if zero.dtype.kind not in "iu":
        raise call.refuse(f"it quantizes to {zero.dtype}; accepted are integers")
    if scale.ndim > 1 or zero.ndim > 1 or scale.size != zero.size:
        raise call.refuse(f"its scale has shape {scale.shape}; accepted is one, or one for each element of an axis")
    shape = [1] * rank if scale.size == 1 or rank > 1 else [scale.size]
    if scale.size > 1 and rank > 1:
        shape[int(call.attributes.get("axis", 1))] = scale.size
    return scale.astype(np.float64).reshape(shape), zero.reshape(shape)


def _largest(call: Call) -> float:
    """The largest absolute value that the integers can be."""
    scale, zero = _constants(call, 1)
    limits = np.iinfo(zero.dtype)
    integers = np.maximum(np.abs(limits.min - zero.astype(np.float64)), np.abs(limits.max - zero.astype(np.float64)))
    return float((np.abs(scale) * integers).max())
