"""Operators that look at neighbouring steps, or at all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm.graph.over_time import Conv, Pad, Pool, Reduce, backwards
from edge_lstm.importing.interpreter import Call, Value, handles
from edge_lstm.importing.view import Axis, Features, View


def _time_axis(call: Call, view: View) -> int:
    """The axis over which a filter moves, of (windows, features, space ...), all others of length 1."""
    if len(view.axes) < 3 or view.axes[0] != "B" or not (isinstance(view.axes[1], Features) or view.axes[1] == "1"):
        raise call.layout(f"it works on (windows, features, steps), and is given {view.shape}")
    steps = [k for k in range(2, len(view.axes)) if view.axes[k] == "T"]
    if len(steps) != 1 or any(view.shape[k] != 1 for k in range(2, len(view.axes)) if k not in steps):
        raise call.layout(f"it has one axis of steps, and others of length 1, and is given {view.shape}")
    return steps[0]


def _filters(call: Call, view: View, taps: list[int]) -> tuple[int, int, int, tuple[int, int]]:
    """Taps, stride and dilation over time, and steps added at both ends."""
    at, places = _time_axis(call, view) - 2, len(view.axes) - 2
    strides, dilations = ([int(v) for v in call.attributes.get(n, [1] * places)] for n in ("strides", "dilations"))
    pads = [int(v) for v in call.attributes.get("pads", [0] * 2 * places)]
    if call.attributes.get("ceil_mode", 0):
        raise call.refuse("ceil_mode is 1; accepted is 0")
    others = [k for k in range(places) if k != at]
    if any(taps[k] != 1 or pads[k] or pads[k + places] for k in others):
        raise call.refuse(f"it filters along other axes than the steps: taps {taps}, pads {pads}")
    reach = (taps[at] - 1) * dilations[at] + 1
    before, behind = pads[at], pads[at + places]
    auto = call.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if strides[at] != 1:
            raise call.refuse(f"auto_pad {auto} with a stride of {strides[at]}; accepted is 1")
        whole = reach - 1
        before = whole // 2 if auto == "SAME_UPPER" else whole - whole // 2
        behind = whole - before
    elif auto not in ("NOTSET", "VALID"):
        raise call.refuse(f"auto_pad is {auto!r}")
    return taps[at], strides[at], dilations[at], (before, behind)


def _result(call: Call, view: View, node: int, width: int, reach: int, stride: int, pads: tuple[int, int]) -> View:
    steps = (view.steps + sum(pads) - reach) // stride + 1
    if steps < 1:
        raise call.layout(f"a filter of {reach} steps on {view.steps}")
    made = Features(width)
    axes: list[Axis] = [made if k == 1 else axis for k, axis in enumerate(view.axes)]
    axes = ["1" if isinstance(a, Features) and a is not made else a for a in axes]
    return View(node, tuple(axes), (made,), view.batch, steps)


@handles("Conv")
def conv(call: Call) -> Value:
    """A convolution over time; also one over a plane of which one side is 1."""
    view, weights, bias = call.view(0), call.constant(1), call.constant(2)
    if weights is None or weights.ndim != len(view.axes):
        raise call.layout(f"weights {None if weights is None else weights.shape} of {view.shape}")
    taps, stride, dilation, pads = _filters(call, view, list(weights.shape[2:]))
    rows = weights.astype(np.float64).reshape(*weights.shape[:2], taps)
    offset = np.zeros(len(rows)) if bias is None else bias.astype(np.float64)
    node = call.context.add(Conv(view.node, rows, offset, stride, dilation, pads, int(call.attributes.get("group", 1))))
    return _result(call, view, node, len(rows), (taps - 1) * dilation + 1, stride, pads)


@handles("MaxPool", "AveragePool")
def pool(call: Call) -> Value:
    """The maximum or the mean of neighbouring steps."""
    view = call.view(0)
    taps, stride, dilation, pads = _filters(call, view, [int(v) for v in call.attributes["kernel_shape"]])
    if dilation != 1 or len(call.proto.output) > 1:
        raise call.refuse("it is dilated, or gives indices too")
    kind: Any = "max" if call.proto.op_type == "MaxPool" else "mean"
    counts = bool(call.attributes.get("count_include_pad", 0))
    node = call.context.add(Pool(view.node, kind, taps, stride, pads, counts))
    return _result(call, view, node, view.width, taps, stride, pads)


@handles("GlobalAveragePool", "GlobalMaxPool")
def global_pool(call: Call) -> Value:
    """The mean or the maximum over time, or over the features of (windows, steps, features)."""
    view = call.view(0)
    kind: Any = "max" if call.proto.op_type == "GlobalMaxPool" else "mean"
    if view.axes[:2] == ("B", "T") and view.features == view.axes[2:]:
        made = Features(1)
        ones: tuple[Axis, ...] = ("B", "T", made, *["1"] * (len(view.axes) - 3))
        return View(call.context.add(Reduce(view.node, kind, "features")), ones, (made,), view.batch, view.steps)
    _time_axis(call, view)
    node = call.context.add(Reduce(view.node, kind))
    axes: tuple[Axis, ...] = tuple("1" if axis == "T" else axis for axis in view.axes)
    return View(node, axes, view.features, view.batch, 1)


@handles("Pad")
def pad(call: Call) -> Value:
    """Steps of zeros at the ends of a window."""
    view, pads, value = call.view(0), call.numbers(1, "pads"), call.attributes.get("value", call.constant(2))
    axes = call.numbers(3, "axes") if len(call.inputs) > 3 else None
    mode = call.attributes.get("mode", "constant")
    if pads is None or mode != "constant" or (value is not None and np.any(value)):
        raise call.refuse(f"mode is {mode!r}, or it adds other values than 0; accepted are constants of 0")
    places = [view.at(k) for k in (axes if axes is not None else range(len(view.axes)))]
    before, behind = pads[: len(places)], pads[len(places) :]
    if len(behind) != len(places):
        raise call.layout(f"its pads {pads} don't fit {view.shape}")
    for at, first, last in zip(places, before, behind, strict=True):
        if first == last == 0:
            continue
        if view.axes[at] != "T":
            raise call.layout(f"it adds to axis {at} of {view.shape}, which has not the steps")
        if min(first, last) < 0:
            raise call.refuse(f"it takes steps away: pads {pads}")
        node = call.context.add(Pad(view.node, first, last))
        view = View(node, view.axes, view.features, view.batch, view.steps + first + last)
    return view


@handles("ReverseSequence")
def reverse_sequence(call: Call) -> Value:
    """All steps in the opposite order."""
    view, lengths = call.view(0), call.constant(1)
    at = view.at(int(call.attributes.get("time_axis", 0)))
    if view.axes[at] != "T":
        raise call.layout(f"it turns axis {at} of {view.shape} around, which has not the steps")
    if lengths is None or (lengths != view.steps).any():
        raise call.refuse("it turns only a part of each window around; accepted are windows of one length")
    return View(call.context.add(backwards(view.node)), view.axes, view.features, view.batch, view.steps)
