"""Operators that move, split, join and choose elements."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_lstm.graph.by_step import Concat, Embedding
from edge_lstm.graph.by_step import Features as PickFeatures
from edge_lstm.graph.over_time import Repeat, Stack, Steps
from edge_lstm.importing.interpreter import STEPS, Call, Value, handles
from edge_lstm.importing.view import Features, View


@handles("Identity", "Dropout", "Cast", "CastLike")
def same(call: Call) -> Any:
    """The value itself: of ``Dropout`` because nothing is dropped in use, of ``Cast`` because all numbers are real."""
    view = call.view(0)
    if call.proto.op_type == "Cast":
        kind = int(call.attributes["to"])
        if kind not in (1, 10, 11, 16) and not _whole(call, view):
            raise call.refuse(f"it casts to the type {kind}; accepted are float, double and half")
    return view


def _whole(call: Call, view: View) -> bool:
    """Whether a value is in whole numbers, such as the rows of a table, or a comparison."""
    return view.node in call.context.whole or call.context.is_truth(view.node)


@handles("Shape")
def shape(call: Call) -> Value:
    """A constant: the lengths with which the graph is looked at."""
    lengths = call.view(0).shape
    start, end = int(call.attributes.get("start", 0)), call.attributes.get("end")
    return np.array(lengths[start : None if end is None else int(end)], np.int64)


@handles("Size")
def size(call: Call) -> Value:
    """A constant."""
    return np.array(np.prod(call.view(0).shape), np.int64)


@handles("Transpose")
def transpose(call: Call) -> Value:
    """Another order of axes."""
    view = call.view(0)
    return view.transposed([int(k) for k in call.attributes.get("perm", range(len(view.axes))[::-1])])


@handles("Squeeze")
def squeeze(call: Call) -> Value:
    """Fewer axes."""
    return call.view(0).squeezed(call.numbers(1, "axes"))


@handles("Unsqueeze")
def unsqueeze(call: Call) -> Value:
    """More axes."""
    axes = call.numbers(1, "axes")
    if axes is None:
        raise call.refuse("it names no axes")
    return call.view(0).unsqueezed(axes)


@handles("Reshape")
def reshape(call: Call) -> Value:
    """Another shape."""
    wanted, view = call.numbers(1, "shape"), call.view(0)
    if wanted is None:
        raise call.refuse("it names no shape")
    zero = not call.attributes.get("allowzero", 0)
    lengths = [view.shape[k] if n == 0 and zero and k < len(view.axes) else n for k, n in enumerate(wanted)]
    known = int(np.prod([n for n in lengths if n >= 0]))
    whole = int(np.prod(view.shape))
    if lengths.count(-1) > 1 or (-1 in lengths and (known == 0 or whole % known)):
        raise call.layout(f"{view.shape} is reshaped to {wanted}")
    return _reshaped(call, view, [whole // known if n == -1 else n for n in lengths])


def _reshaped(call: Call, view: View, lengths: list[int]) -> View:
    """Another shape; the steps of a window, which the file says, may become features beside each other."""
    view = call.context.ordered(view)
    kinds = ["F" if isinstance(axis, Features) else axis for axis in view.axes if axis != "1"]
    if kinds != ["B", "T", "F"] or lengths != [view.batch, view.steps * view.width] or view.steps == STEPS:
        return view.reshaped(lengths)
    at = view.axes.index("T")
    steps = [call.context.step(view, at, k).node for k in range(view.steps)]
    made = Features(lengths[1])
    return View(call.context.add(Concat(tuple(steps))), ("B", made), (made,), view.batch, 1)


@handles("Flatten")
def flatten(call: Call) -> Value:
    """Two axes."""
    view, at = call.view(0), int(call.attributes.get("axis", 1))
    at = at + len(view.axes) if at < 0 else at
    return _reshaped(call, view, [int(np.prod(view.shape[:at])), int(np.prod(view.shape[at:]))])


@handles("Expand", "Tile")
def expand(call: Call) -> Value:
    """Repeats along axes of length 1: a vector at every step, or nothing at all."""
    view, numbers = call.view(0), call.constant(1)
    if numbers is None:
        raise call.refuse("it names no shape")
    wanted = [int(n) for n in np.ravel(numbers)]
    old = [1] * (len(wanted) - len(view.axes)) + list(view.shape)
    if call.proto.op_type == "Tile":
        wanted = [a * b for a, b in zip(old, wanted, strict=True)]
    wanted = [1] * (len(old) - len(wanted)) + wanted
    view = view.unsqueezed(list(range(len(wanted) - len(view.axes)))) if len(wanted) > len(view.axes) else view
    grown = [k for k, (a, b) in enumerate(zip(old, wanted, strict=True)) if b not in (1, a)]
    if not grown:
        return view
    if len(grown) > 1 or view.axes[grown[0]] != "1" or "T" in view.axes or call.context.shapes[view.node].steps:
        raise call.refuse(f"it repeats {tuple(old)} to {tuple(wanted)}; accepted is a vector at every step")
    steps = wanted[grown[0]]
    node = call.context.add(Repeat(view.node, steps))
    axes = tuple("T" if k == grown[0] else axis for k, axis in enumerate(view.axes))
    return View(node, axes, view.features, view.batch, steps)


@handles("Concat")
def concat(call: Call) -> Value:
    """Joins features, or the steps of a window that were taken one by one."""
    views = []
    for k, value in enumerate(call.inputs):
        if not isinstance(value, View):
            raise call.refuse(f"input {k} is a constant; accepted are values that are computed from the inputs")
        views.append(call.context.ordered(value))
    first, at = views[0], views[0].at(int(call.attributes["axis"]))
    joined = [v.axes[at] if at < len(v.axes) else "" for v in views]
    others = [tuple(v.length(a) for k, a in enumerate(v.axes) if k != at) for v in views]
    if call.context.follow_each_other([v.node for v in views]) and set(joined) == {"1"} and len(set(others)) == 1:
        node = call.context.add(Stack(tuple(v.node for v in views)))
        axes = tuple("T" if k == at else a for k, a in enumerate(first.axes))
        return View(node, axes, first.features, first.batch, len(views))
    if not all(isinstance(a, Features) or a == "1" for a in joined) or len(set(others)) > 1:
        raise call.layout(
            f"it joins {' and '.join(str(v.shape) for v in views)} along axis {at}, which has no features"
        )
    kinds = [tuple(a if isinstance(a, str) else "F" for k, a in enumerate(v.axes) if k != at) for v in views]
    if any(kind != kinds[0] for kind in kinds):
        raise call.layout(f"it joins tensors whose axes mean {' and '.join(map(str, kinds))}")
    before = [a for a in first.axes[:at] if isinstance(a, Features)]
    if any(f.size > 1 for f in before):
        raise call.refuse("it joins features behind another axis of features")
    node = call.context.add(Concat(tuple(v.node for v in views)))
    made = Features(sum(v.length(a) for v, a in zip(views, joined, strict=True)))
    axes = tuple(made if k == at else a for k, a in enumerate(first.axes))
    features = tuple(a for a in axes if isinstance(a, Features))
    return View(node, axes, features, first.batch, first.steps)


@handles("Split")
def split(call: Call) -> Any:
    """Parts of the features, or all steps one by one."""
    view = call.context.ordered(call.view(0))
    at, outputs = view.at(int(call.attributes.get("axis", 0))), len(call.proto.output)
    lengths = call.numbers(1, "split")
    if lengths is None:
        whole = -(-view.shape[at] // outputs)
        lengths = [min(whole, view.shape[at] - k * whole) for k in range(outputs)]
    if sum(lengths) != view.shape[at] or len(lengths) != outputs:
        raise call.layout(f"{view.shape[at]} elements are split into {lengths}")
    starts = np.cumsum([0, *lengths])
    if view.axes[at] == "T" and set(lengths) == {1}:
        return tuple(call.context.step(view, at, k) for k in range(len(lengths)))
    return tuple(_chosen(call, view, at, range(a, b)) for a, b in itertools.pairwise(starts))


def _chosen(call: Call, view: View, at: int, columns: Sequence[int]) -> View:
    """Some elements of an axis of features."""
    axis = view.axes[at]
    if not isinstance(axis, Features):
        raise call.layout(f"it takes a part of axis {at}, which has {axis} and no features")
    index = np.arange(view.width).reshape([f.size for f in view.features])
    kept = np.take(index, [int(k) for k in columns], axis=view.features.index(axis))
    node = call.context.add(PickFeatures(view.node, tuple(int(k) for k in kept.ravel())))
    made = Features(len(columns))
    features = tuple(made if f is axis else f for f in view.features)
    return View(node, tuple(made if a is axis else a for a in view.axes), features, view.batch, view.steps)


@handles("Slice")
def slices(call: Call) -> Value:
    """Parts of the features, or of the steps."""
    view = call.view(0)
    starts, ends = call.numbers(1, "starts"), call.numbers(2, "ends")
    axes, strides = call.numbers(3, "axes"), call.numbers(4, "steps")
    if starts is None or ends is None:
        raise call.refuse("it does not say where it begins and ends")
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        at = view.at(axes[k] if axes is not None else k)
        stride = strides[k] if strides is not None else 1
        view = _sliced(call, view, at, start, end, stride)
    return view


def _sliced(call: Call, view: View, at: int, start: int, end: int, stride: int) -> View:
    length = view.shape[at]
    if stride == 0:
        raise call.refuse("its step is 0")
    lowest = -length - 1
    begin: int | None = max(start, lowest)
    stop: int | None = None if (end >= length and stride > 0) or (end <= lowest + 0 and stride < 0) else end
    if (stride > 0 and start in (0, -length)) or (stride < 0 and start >= length - 1) or (stride < 0 and start == -1):
        begin = None
    if begin is None and stop is None and stride == 1:
        return view
    if view.axes[at] == "T":
        taken = len(range(length)[begin:stop:stride])
        if taken == 0:
            raise call.layout(f"steps {start} to {end} of {length} are none")
        if taken == 1:
            return call.context.step(view, at, range(length)[begin:stop:stride][0])
        node = call.context.add(Steps(view.node, begin, stop, stride))
        return replace(view, node=node, steps=taken)
    if view.axes[at] == "B":
        raise call.refuse("it takes a part of the windows")
    return _chosen(call, call.context.ordered(view), at, range(length)[begin:stop:stride])


@handles("Gather")
def gather(call: Call) -> Value:
    """One step, some features, or rows of a table."""
    table = call.inputs[0]
    if not isinstance(table, View):
        rows = call.constant(0)
        if rows is None or rows.ndim != 2 or call.attributes.get("axis", 0) not in (0, -2):
            raise call.refuse("it takes rows of a constant that is no table (rows, width)")
        return _embedded(call, rows)
    index, at = call.constant(1), table.at(int(call.attributes.get("axis", 0)))
    if index is None or index.ndim > 1:
        raise call.refuse("its index is no number and no list")
    columns = [int(k) for k in np.ravel(index)]
    if table.axes[at] == "T":
        if len(columns) != 1:
            raise call.refuse(f"it takes {len(columns)} steps; accepted is one")
        if not -table.steps <= columns[0] < table.steps:
            raise call.layout(f"it takes step {columns[0]} of {table.steps}")
        found = call.context.step(table, at, columns[0])
        return found if index.ndim else found.squeezed([at])
    if table.axes[at] in ("B", "1"):
        if columns not in ([0], [-1]) or table.shape[at] != 1:
            raise call.layout(f"it takes {columns} of axis {at}, which has {table.axes[at]}")
        return table if index.ndim else replace(table, axes=tuple(a for k, a in enumerate(table.axes) if k != at))
    length = table.shape[at]
    if any(not -length <= k < length for k in columns):
        raise call.refuse(f"it takes {columns} of {length}")
    found = _chosen(call, call.context.ordered(table), at, [k % length for k in columns])
    return found if index.ndim else found.squeezed([at])


def _embedded(call: Call, rows: Any) -> View:
    view = call.view(1)
    if view.width != 1:
        raise call.layout(f"{view.width} numbers at a step ask for rows; accepted is one")
    node = call.context.add(Embedding(view.node, rows.astype(np.float64)))
    made = Features(rows.shape[1])
    axes = tuple("1" if isinstance(a, Features) else a for a in view.axes)
    return View(node, (*axes, made), (made,), view.batch, view.steps)
