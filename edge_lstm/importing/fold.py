"""Nodes that depend on constants only, computed by onnx's own reference evaluator, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.importing.errors import UnsupportedError

MAX_ELEMENTS = 2**24
"""Of a constant that is computed."""
FOLDED = frozenset(
    (
        *("Abs", "Add", "And", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Cos", "Div", "Equal"),
        *("Exp", "Expand", "Flatten", "Floor", "Gather", "Gemm", "Greater", "GreaterOrEqual", "Identity"),
        *("Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow"),
        *("Range", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape"),
        *("Round", "ScatterND", "Shape", "Sigmoid", "Sin", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub"),
        *("Tanh", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where"),
    )
)
"""Operators whose results are small where their inputs are, or are looked at by ``_size`` before."""


def fold(proto: Any, inputs: Sequence[Any], opset: int) -> list[NDArray[Any]]:
    """The results of a node whose inputs are constants.

    Raises:
        UnsupportedError: An operator that is not computed here.
        EdgeLstmError: It can't be computed, or the result is too large.
    """
    onnx = require("onnx", extra="onnx", purpose="to read ONNX")
    reference = require("onnx.reference", package="onnx", extra="onnx", purpose="to read ONNX")
    what = f"node {(proto.name or next(iter(proto.output), ''))[:80]!r} ({proto.op_type})"
    if proto.op_type not in FOLDED:
        raise UnsupportedError(f"{what}: of constants only it is not supported")
    try:
        size = _size(proto, inputs)
    except (AttributeError, IndexError, TypeError, ValueError):
        raise EdgeLstmError(f"{what}: it has not the inputs that it needs") from None
    if not size <= MAX_ELEMENTS:
        raise EdgeLstmError(f"{what}: its result has more than {MAX_ELEMENTS} elements")
    names = [f"input{k}" if value is not None else "" for k, value in enumerate(inputs)]
    node = onnx.NodeProto()
    node.CopyFrom(proto)
    node.ClearField("input")
    node.ClearField("output")
    node.input.extend(names)
    node.output.extend(f"output{k}" for k in range(len(proto.output)))
    given: Mapping[str, Any] = {n: v for n, v in zip(names, inputs, strict=True) if n}
    infos = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in given.items()
    ]
    outputs = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UNDEFINED, None) for n in node.output]
    graph = onnx.helper.make_graph([node], "constant", infos, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            found = reference.ReferenceEvaluator(model).run(None, dict(given))
    except Exception as error:  # the evaluator's own, and those of NumPy
        raise EdgeLstmError(f"{what}: {' '.join(str(error).split())[:200]}") from None
    results = [np.asarray(v) for v in found]
    for array in results:
        if array.size > MAX_ELEMENTS:
            raise EdgeLstmError(f"{what}: its result has {array.size} elements; accepted are {MAX_ELEMENTS}")
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise EdgeLstmError(f"{what}: its result holds nan")
    return results


def _size(proto: Any, inputs: Sequence[Any]) -> float:
    """A bound of the elements of a result."""
    sizes = [v.size for v in inputs if v is not None]
    if proto.op_type == "ConstantOfShape":
        return math.prod(abs(float(n)) for n in np.ravel(inputs[0]))
    if proto.op_type in ("Expand", "Tile"):
        return float(inputs[0].size) * math.prod(max(abs(float(n)), 1.0) for n in np.ravel(inputs[1]))
    if proto.op_type == "Range":
        start, stop, step = (float(np.ravel(v)[0]) for v in inputs)
        return abs((stop - start) / step) if step else math.inf
    if proto.op_type == "Gather":
        shape, axis = inputs[0].shape, next((int(a.i) for a in proto.attribute if a.name == "axis"), 0)
        taken = shape[axis] if -len(shape) <= axis < len(shape) else 1
        return float(inputs[1].size) * float(inputs[0].size) / max(taken, 1)
    if proto.op_type == "MatMul":
        inner = max(inputs[0].shape[-1], 1) if inputs[0].ndim else 1
        return float(inputs[0].size) / inner * float(inputs[1].size) / inner
    if proto.op_type == "Gemm":
        turned = {a.name: int(a.i) for a in proto.attribute}
        left, right = inputs[0].shape[::-1] if turned.get("transA") else inputs[0].shape, inputs[1].shape
        return float(left[0]) * float(right[0] if turned.get("transB") else right[-1])
    shapes = [v.shape for v in inputs if v is not None]
    try:
        spread = math.prod(map(float, np.broadcast_shapes(*shapes)))
    except ValueError:  # the evaluator will say so, or they need not fit
        spread = 0.0
    return max(float(sum(sizes)), spread)
