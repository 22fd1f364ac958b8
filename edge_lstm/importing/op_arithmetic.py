"""Operators that compute with numbers, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.graph.by_step import ArgMax, Binary, Function, Linear, Normalize, Scale, Softmax
from edge_lstm.graph.by_step import Features as PickFeatures
from edge_lstm.graph.over_time import Reduce
from edge_lstm.importing.interpreter import Call, Value, handles
from edge_lstm.importing.view import Axis, Features, View

FUNCTIONS: dict[str, tuple[str, float, float]] = {
    "Sigmoid": ("sigmoid", 0.0, 0.0),
    "Tanh": ("tanh", 0.0, 0.0),
    "Relu": ("relu", 0.0, 0.0),
    "LeakyRelu": ("leaky-relu", 0.01, 0.0),
    "HardSigmoid": ("hard-sigmoid", 0.2, 0.5),
    "Elu": ("elu", 1.0, 0.0),
    "Exp": ("exp", 0.0, 0.0),
    "Abs": ("abs", 0.0, 0.0),
    "Sqrt": ("sqrt", 0.0, 0.0),
    "Softplus": ("softplus", 0.0, 0.0),
    "Softsign": ("softsign", 0.0, 0.0),
    "Erf": ("erf", 0.0, 0.0),
    "Reciprocal": ("reciprocal", 0.0, 0.0),
}
"""Operator to function, and to what its attributes alpha and beta are where they are left out."""
BINARIES = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min"}
REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min"}


def moved(view: View, node: int) -> View:
    """The value of another node, laid out alike."""
    return View(node, view.axes, view.features, view.batch, view.steps)


@handles(*FUNCTIONS)
def function(call: Call) -> Value:
    """A function of each number."""
    view = call.view(0)
    name, alpha, beta = FUNCTIONS[call.proto.op_type]
    alpha, beta = float(call.attributes.get("alpha", alpha)), float(call.attributes.get("beta", beta))
    return moved(view, call.context.add(Function(view.node, name, alpha, beta)))


@handles("Neg")
def negative(call: Call) -> Value:
    """-v."""
    view = call.view(0)
    return moved(view, call.context.add(Scale(view.node, np.full(view.width, -1.0), np.zeros(view.width))))


@handles("Clip")
def clip(call: Call) -> Value:
    """Limits, which are inputs since opset 11."""
    view = call.view(0)
    limits = []
    for k, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
        found = call.attributes.get(name, call.constant(k))
        limits.append(default if found is None else float(np.ravel(found)[0]))
    return moved(view, call.context.add(Function(view.node, "clip", *limits)))


@handles("Pow")
def power(call: Call) -> Value:
    """Powers 1, 2 and 1/2."""
    view, exponent = call.view(0), call.constant(1)
    number = None if exponent is None or exponent.size != 1 else float(np.ravel(exponent)[0])
    if number == 1:
        return view
    if number == 2:
        return moved(view, call.context.add(Binary(view.node, view.node, "mul")))
    if number == 0.5:
        return moved(view, call.context.add(Function(view.node, "sqrt")))
    raise call.refuse(f"its exponent is {number}; accepted are 1, 2 and 0.5")


@handles(*BINARIES, "Sum", "Mean")
def binary(call: Call) -> Value:
    """Of two values, or of a value and a constant."""
    kind = {"Sum": "Add", "Mean": "Add"}.get(call.proto.op_type, call.proto.op_type)
    found = call.inputs[0]
    for value in call.inputs[1:]:
        found = combined(call, BINARIES[kind], found, value)
    if call.proto.op_type == "Mean":
        found = combined(call, "div", found, np.array(float(len(call.inputs))))
    return binary_result(call, found)


def binary_result(call: Call, found: Any) -> View:
    """What was computed, which is no constant."""
    if not isinstance(found, View):
        raise call.refuse("it has constants only")
    return found


def combined(call: Call, name: str, left: Any, right: Any) -> Any:
    """``left name right``."""
    if isinstance(left, View) and isinstance(right, View):
        return _of_views(call, name, left, right)
    if not isinstance(left, View) and not isinstance(right, View):
        return getattr(np, {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}[name])(left, right)
    view, constant = (left, right) if isinstance(left, View) else (right, left)
    view = _widened(call, view, np.asarray(constant))
    factor, offset = _constants(call, name, view, constant, first=not isinstance(left, View))
    return moved(view, call.context.add(Scale(view.node, factor, offset)))


def _constants(call: Call, name: str, view: View, constant: Any, *, first: bool) -> tuple[Any, Any]:
    """Factor and offset of each feature."""
    v = by_feature(call, view, np.asarray(constant, np.float64))
    ones, zeros = np.ones_like(v), np.zeros_like(v)
    if name == "add":
        return ones, v
    if name == "sub":
        return (-ones, v) if first else (ones, -v)
    if name == "mul":
        return v, zeros
    if name == "div" and not first:
        if not v.all():
            raise call.refuse("it divides by 0")
        return 1 / v, zeros
    raise call.refuse(f"{name} of a constant and a value; accepted are add, sub and mul")


def _widened(call: Call, view: View, constant: NDArray[Any]) -> View:
    """A view with as many axes as a constant that is combined with it; one feature is repeated as often as needed."""
    rank = constant.ndim
    view = view.unsqueezed(list(range(rank - len(view.axes)))) if rank > len(view.axes) else view
    places = {len(view.axes) - rank + k: n for k, n in enumerate(constant.shape) if n > 1}
    grown = [k for k in places if view.axes[k] not in ("B", "T", "BT") and view.shape[k] == 1]
    if view.width != 1 or len(grown) != 1:
        return view
    (at,) = grown
    made = Features(places[at])
    node = call.context.add(PickFeatures(view.node, (0,) * made.size))
    axes: list[Axis] = ["1" if isinstance(axis, Features) else axis for axis in view.axes]
    return View(node, (*axes[:at], made, *axes[at + 1 :]), (made,), view.batch, view.steps)


def by_feature(call: Call, view: View, constant: Any) -> Any:
    """A constant that is spread over a view, as one number for each feature, (width,)."""
    try:
        whole = np.broadcast_to(constant, np.broadcast_shapes(constant.shape, view.shape))
    except ValueError:
        raise call.layout(f"a constant {constant.shape} does not fit {view.shape}") from None
    if whole.shape != view.shape:
        raise call.layout(f"a constant {constant.shape} makes {view.shape} larger")
    for k, axis in enumerate(view.axes):
        if not isinstance(axis, Features):
            if whole.strides[k] and whole.shape[k] > 1 and (np.diff(whole, axis=k) != 0).any():
                raise call.layout(f"a constant {constant.shape} differs along axis {k}, which has no features")
            whole = np.take(whole, [0], axis=k)
    kept = [k for k, axis in enumerate(view.axes) if isinstance(axis, Features)]
    squeezed = whole.reshape([whole.shape[k] for k in kept])
    visible = [view.axes[k] for k in kept]
    order = [visible.index(f) for f in view.features if f in visible]
    return np.asarray(squeezed.transpose(order).ravel(), np.float64)


def _of_views(call: Call, name: str, left: View, right: View) -> View:
    left, right = call.context.ordered(left), call.context.ordered(right)
    rank = max(len(left.axes), len(right.axes))
    padded = [v.unsqueezed(list(range(rank - len(v.axes)))) if len(v.axes) < rank else v for v in (left, right)]
    axes: list[Axis] = []
    for a, b in zip(padded[0].axes, padded[1].axes, strict=True):
        one, other = (a, b) if padded[0].length(a) >= padded[1].length(b) else (b, a)
        fits = isinstance(a, Features) and isinstance(b, Features) and (a.size == b.size or 1 in (a.size, b.size))
        if not (fits or a == b or "1" in (a, b) or (isinstance(other, Features) and other.size == 1)):
            raise call.layout(f"{name} of {left.shape} and {right.shape}, whose axes don't mean the same")
        axes.append(a if a == b else b if a == "1" else a if b == "1" else one)
    widths = {v.width for v in padded}
    if len(widths - {1}) > 1:
        raise call.layout(f"{name} of {left.width} and {right.width} features")
    node = call.context.add(Binary(padded[0].node, padded[1].node, name))
    features = tuple(a for a in axes if isinstance(a, Features))
    steps = next((v.steps for v in padded if "T" in v.axes), left.steps)
    return View(node, tuple(axes), features, left.batch, steps)


@handles("MatMul")
def matmul(call: Call) -> Value:
    """Weights, or a mean with weights over time."""
    left, right = call.inputs[0], call.inputs[1]
    if isinstance(left, View) and isinstance(right, View):
        return _attended(call, left, right)
    if not isinstance(left, View):
        raise call.refuse("its first operand is a constant; accepted are values times weights")
    return linear(call, left, np.asarray(call.constant(1), np.float64).T, None)


def linear(call: Call, view: View, weights: Any, bias: Any) -> View:
    """``weights v + bias`` of the last axis; weights (outputs, inputs)."""
    axis = view.axes[-1] if view.axes else "1"
    if weights.ndim != 2 or not isinstance(axis, Features):
        raise call.layout(f"weights {weights.shape} of {view.shape}, whose last axis has {axis} and no features")
    if any(f is not axis and f.size > 1 for f in view.features):
        raise call.refuse(f"weights of the last axis of {view.shape}, beside other axes of features")
    if weights.shape[1] != axis.size:
        raise call.layout(f"weights {weights.shape} of {axis.size} features")
    offset = np.zeros(len(weights)) if bias is None else np.broadcast_to(np.ravel(bias), len(weights))
    node = call.context.add(Linear(view.node, weights, np.array(offset, np.float64)))
    made = Features(len(weights))
    axes = tuple(made if a is axis else "1" if isinstance(a, Features) else a for a in view.axes)
    return View(node, axes, (made,), view.batch, view.steps)


def _attended(call: Call, left: View, right: View) -> View:
    """(B, 1, T) times (B, T, F): the sum over time with weights. (B, T, F) times (B, F, 1): a score of each step."""

    def kinds(view: View) -> list[str]:
        return [
            "1" if view.length(a) == 1 and a not in ("B", "T") else "F" if isinstance(a, Features) else a
            for a in view.axes
        ]

    if kinds(left) == ["B", "1", "T"] and kinds(right) == ["B", "T", "F"]:
        product = call.context.add(Binary(left.node, right.node, "mul"))
        node = call.context.add(Reduce(product, "sum"))
        return View(node, ("B", "1", right.axes[2]), right.features, right.batch, 1)
    if kinds(left) == ["B", "T", "F"] and kinds(right) == ["B", "F", "1"]:
        product = call.context.add(Binary(left.node, right.node, "mul"))
        node = call.context.add(Reduce(product, "sum", "features"))
        made = Features(1)
        return View(node, ("B", "T", made), (made,), left.batch, left.steps)
    raise call.refuse(
        f"it multiplies {left.shape} and {right.shape}, both computed from the inputs; accepted are "
        "(windows, 1, steps) x (windows, steps, features) and (windows, steps, features) x (windows, features, 1), "
        "which is attention with one score for each step; not attention of every step to every step"
    )


@handles("Gemm")
def gemm(call: Call) -> Value:
    """``alpha A' B' + beta C`` with a constant B."""
    attributes, view = call.attributes, call.view(0)
    if attributes.get("transA", 0):
        view = view.transposed([1, 0])
    added = call.inputs[2] if len(call.inputs) > 2 else None
    weights, bias = call.constant(1), None if isinstance(added, View) else call.constant(2)
    if weights is None:
        raise call.refuse("it has no weights")
    rows = weights if attributes.get("transB", 0) else weights.T
    scaled = np.asarray(rows, np.float64) * float(attributes.get("alpha", 1.0))
    offset = None if bias is None else np.asarray(bias, np.float64) * float(attributes.get("beta", 1.0))
    if offset is not None and offset.size not in (1, len(scaled)):
        raise call.layout(f"its C {offset.shape} differs between windows")
    product = linear(call, view, scaled, offset)
    if not isinstance(added, View):
        return product
    factor = np.array(float(attributes.get("beta", 1.0)))
    return binary_result(call, combined(call, "add", product, combined(call, "mul", added, factor)))


@handles("BatchNormalization")
def batch_norm(call: Call) -> Value:
    """With the statistics of the training: a factor and an offset of each feature, which are on axis 1."""
    view = call.view(0)
    gain, bias, mean, variance = (np.asarray(call.constant(k), np.float64) for k in range(1, 5))
    if len(view.axes) < 2 or not isinstance(view.axes[1], Features) or view.width != gain.size:
        raise call.layout(f"its axis 1 of {view.shape} has not the {gain.size} features")
    factor = gain / np.sqrt(variance + float(call.attributes.get("epsilon", 1e-5)))
    return moved(view, call.context.add(Scale(view.node, factor, bias - mean * factor)))


@handles("LayerNormalization")
def layer_norm(call: Call) -> Value:
    """Over the last axis."""
    view, gain, bias = call.view(0), call.constant(1), call.constant(2)
    axis = view.at(int(call.attributes.get("axis", -1)))
    if gain is None or axis != len(view.axes) - 1 or not isinstance(view.axes[axis], Features):
        raise call.layout(f"it normalizes axis {axis} of {view.shape}; accepted is the last, of features")
    offset = np.zeros(view.width) if bias is None else np.ravel(bias).astype(np.float64)
    epsilon = float(call.attributes.get("epsilon", 1e-5))
    return moved(view, call.context.add(Normalize(view.node, np.ravel(gain).astype(np.float64), offset, epsilon)))


@handles("Softmax", "LogSoftmax")
def softmax(call: Call) -> Value:
    """Over the features or over time."""
    view, old = call.view(0), call.context.opset < 13
    axis = view.at(int(call.attributes.get("axis", 1 if old else -1)))
    log = call.proto.op_type == "LogSoftmax"
    if old and any(view.length(a) > 1 for a in view.axes[axis + 1 :]):
        raise call.refuse(f"before opset 13 it works on all axes from {axis} of {view.shape}; accepted is the last")
    if view.axes[axis] == "T":
        return moved(view, call.context.add(Softmax(view.node, "time", log)))
    if not isinstance(view.axes[axis], Features) or view.width != view.shape[axis]:
        raise call.layout(f"it works on axis {axis} of {view.shape}, which has not all the features")
    return moved(view, call.context.add(Softmax(view.node, "features", log)))


@handles("ArgMax")
def argmax(call: Call) -> Value:
    """Of all features, the first where several are equal; in integers as the output of a classifier."""
    view = call.context.ordered(call.view(0))
    at, keep = view.at(int(call.attributes.get("axis", 0))), bool(call.attributes.get("keepdims", 1))
    axis = view.axes[at]
    if not isinstance(axis, Features) or view.width != axis.size:
        raise call.layout(f"it works on axis {at} of {view.shape}, which has not all the features")
    if call.attributes.get("select_last_index", 0):
        raise call.refuse("it takes the last of equal values; accepted is the first")
    made = Features(1)
    axes = tuple(made if a is axis else a for a in view.axes)
    found = View(call.context.add(ArgMax(view.node)), axes, (made,), view.batch, view.steps)
    return found if keep else found.squeezed([at])


@handles(*REDUCTIONS)
def reduce(call: Call) -> Value:
    """Over time, or over the features."""
    view = call.context.ordered(call.view(0))
    axes, keep = call.numbers(1, "axes"), bool(call.attributes.get("keepdims", 1))
    gone = {view.at(k) for k in (axes if axes is not None else range(len(view.axes)))}
    kind: Any = REDUCTIONS[call.proto.op_type]
    for k in sorted(gone):
        axis = view.axes[k]
        if axis == "B" and view.batch > 1:
            raise call.layout("it works on the windows")
        if axis == "T":
            view = View(call.context.add(Reduce(view.node, kind)), _ones(view.axes, {k}), view.features, view.batch, 1)
        elif isinstance(axis, Features) and axis.size > 1:
            if view.width != axis.size:
                raise call.refuse(f"it works on one of several axes of features of {view.shape}")
            made = Features(1)
            replaced = tuple(made if a is axis else a for a in view.axes)
            node = call.context.add(Reduce(view.node, kind, "features"))
            view = View(node, replaced, (made,), view.batch, view.steps)
    return view if keep else view.squeezed(sorted(gone))


def _ones(axes: tuple[Axis, ...], which: set[int]) -> tuple[Axis, ...]:
    return tuple("1" if k in which else axis for k, axis in enumerate(axes))
