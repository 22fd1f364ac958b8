"""Operators that compare with constants, as the masks of padded windows do."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from edge_lstm.graph.by_step import Scale
from edge_lstm.graph.masks import Compare
from edge_lstm.importing.interpreter import Call, Value, handles
from edge_lstm.importing.op_arithmetic import binary_result, by_feature, combined, moved
from edge_lstm.importing.view import View


@handles("Equal", "Greater", "Less")
def compare(call: Call) -> Value:
    """A value with a constant."""
    left, right = call.inputs[0], call.inputs[1]
    kind = call.proto.op_type
    view, constant = (left, right) if isinstance(left, View) else (right, left)
    if not isinstance(view, View) or isinstance(constant, View) or constant is None:
        raise call.refuse("it compares two values that are computed from the inputs; accepted is one and a constant")
    order: Literal["above", "below"] = "above" if (kind == "Greater") == (view is left) else "below"
    name: Literal["equal", "above", "below"] = "equal" if kind == "Equal" else order
    values = tuple(float(v) for v in by_feature(call, view, np.asarray(constant, np.float64)))
    return _truth(call, moved(view, call.context.add(Compare(view.node, name, values))))


@handles("Not")
def negated(call: Call) -> Value:
    """1 - v of a truth value."""
    view = call.view(0)
    if not call.context.is_truth(view.node):
        raise call.refuse("it negates what is no comparison")
    ones = np.ones(call.context.shapes[view.node].width)
    return _truth(call, moved(view, call.context.add(Scale(view.node, -ones, ones))))


def _truth(call: Call, view: View) -> View:
    call.context.truths.add(view.node)
    return view


@handles("Where")
def where(call: Call) -> Value:
    """One of two values: by a comparison, or by a constant condition that is the same at all steps."""
    condition: Any = call.inputs[0]
    if condition is None:
        raise call.refuse("it has no condition")
    if isinstance(condition, View):
        if not call.context.is_truth(condition.node):
            raise call.refuse("its condition is no comparison")
        chosen: Any = condition
    else:
        chosen = condition.astype(np.float64)
    other = combined(call, "sub", np.array(1.0), chosen)
    parts = [combined(call, "mul", value, share) for value, share in zip(call.inputs[1:], (chosen, other), strict=True)]
    return binary_result(call, combined(call, "add", *parts))
