"""What follows the recurrent layers of a float model as nodes of its ONNX graph: pooling, dense layers, a decoder.

What of the outer graph is used here is in ``onnx_layers``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm.cells import cell
from edge_lstm.errors import require
from edge_lstm.export.onnx_layers import Made, vectors
from edge_lstm.export.onnx_operators import DECODER
from edge_lstm.export.onnx_ops import NodeList
from edge_lstm.export.onnx_symbols import FLOAT, Symbol, SymbolStep, inputs_of, number
from edge_lstm.heads import EXP_RANGE, FloatDecoder
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel, Pooling
from edge_lstm.wiring import levels


def read_at_the_end(model: FloatModel) -> tuple[int, ...]:
    """The layers whose last states are read, and not only h of every step."""
    if model.decoder is not None:
        return tuple(range(len(model.layers)))
    last = levels(model.layers)[-1]
    newest = not model.signature.variable and not any(model.layers[k].reverse for k in last)
    return last if model.pooling == "last" and not newest else ()


def pool(g: NodeList, model: FloatModel, made: Made) -> str:
    """What the dense layers read, (batch, width); (batch, time, width) where there are outputs for each step."""
    ends = read_at_the_end(model)
    if ends:
        parts = [made.final[k]["h"] for k in ends]
        return parts[0] if len(parts) == 1 else g.node("Concat", "pooled", *parts, axis=1)
    if model.pooling in ("last", "newest"):
        return _newest(g, made.h, variable=model.signature.variable)
    if model.pooling == "each":
        return made.h
    if not model.signature.variable and model.pooling in _REDUCE:
        return g.node(_REDUCE[model.pooling], "pooled", made.h, axes=[1], keepdims=0)
    if model.pooling == "max":
        lowest = number(g, float(np.finfo(np.float32).min))
        return g.node(
            "ReduceMax", "pooled", g.node("Where", "h.inside", "inside", made.h, lowest), axes=[1], keepdims=0
        )
    return _mean(g, model, made.h)


_REDUCE: Mapping[Pooling, str] = {"mean": "ReduceMean", "max": "ReduceMax"}


def _newest(g: NodeList, h: str, *, variable: bool) -> str:
    """h of a window's last step."""
    if not variable:
        return g.node("Gather", "pooled", h, g.node("Constant", "newest", value_int=-1), axis=1)
    one = g.node("Constant", "pool.one", value_ints=[1])
    newest = g.node("Unsqueeze", "newest", g.node("Sub", "newest.flat", "lengths", one), one)
    return g.node("GatherND", "pooled", h, newest, batch_dims=1)


def _mean(g: NodeList, model: FloatModel, h: str) -> str:
    """The mean over a window, of which attention weighs the steps."""
    axis = g.node("Constant", "pool.time", value_ints=[1])
    if model.signature.variable:
        h = g.node("Where", "h.inside", "inside", h, "zero")
    if model.attention is None:
        total, weights = h, g.node("Cast", "pool.inside", "inside", to=FLOAT)
    else:
        weights = _attention(g, h, variable=model.signature.variable, bounded=model.attention.bounded)
        total = g.node("Mul", "attention/weighted", weights, h)
    total = g.node("ReduceSum", "pool.sum", total, axis, keepdims=0)
    return g.node("Div", "pooled", total, g.node("ReduceSum", "pool.weights", weights, axis, keepdims=0))


def _attention(g: NodeList, h: str, *, variable: bool, bounded: bool) -> str:
    """The weight of each step, (batch, time, 1)."""
    score = g.node("Add", "attention/score", g.node("MatMul", "attention/uh", h, "attention/weights"), "attention/bias")
    if not bounded:
        if variable:
            score = g.node("Where", "attention/inside", "inside", score, _lowest(g))
        return g.node("Softmax", "attention/softmax", score, axis=1)
    weights = g.node("Exp", "attention/exp", g.node("Clip", "attention/clip", score, number(g, -EXP_RANGE), "zero"))
    return g.node("Where", "attention/inside", "inside", weights, "zero") if variable else weights


def _lowest(g: NodeList) -> str:
    return number(g, float(np.finfo(np.float32).min))


def dense(g: NodeList, value: str, relu_layers: int, scores: str, *, each: bool = False) -> str:
    """The dense layers on (batch, width), or of each step on (batch, time, width)."""
    affine = _affine_of_each if each else _affine
    for k in range(relu_layers):
        value = g.node("Relu", f"relu{k}/output", affine(g, f"relu{k}/sum", value, f"relu{k}"))
    return affine(g, scores, value, "dense")


def _affine(g: NodeList, out: str, value: str, layer: str) -> str:
    return g.node("Gemm", out, value, f"{layer}/weights", f"{layer}/bias", transB=1)


def _affine_of_each(g: NodeList, out: str, value: str, layer: str) -> str:
    columns = g.node("Transpose", f"{layer}/columns", f"{layer}/weights", perm=[1, 0])
    return g.node("Add", out, g.node("MatMul", f"{layer}/product", value, columns), f"{layer}/bias")


def decode(
    g: NodeList,
    decoder: FloatDecoder,
    starts: Sequence[Mapping[str, str]],
    relu_layers: int,
    outputs: int,
    initializers: dict[str, Any],
) -> str:
    """Append a decoder; give its scores, (batch, steps, outputs).

    Args:
        g: The outer graph.
        decoder: Its layers.
        starts: Of each layer, state name to what it begins with, (batch, length).
        relu_layers: Number of dense layers with relu.
        outputs: Number of scores.
        initializers: Of all graphs.
    """
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    body = NodeList(initializers, f"{DECODER}/")
    fed = body.name("x")
    value, states, following = fed, dict[str, int](), dict[str, int]()
    for k, layer in enumerate(decoder.layers):
        outer = NodeList(initializers, f"{DECODER}{k}/")
        step = NodeList(initializers, outer.name("step/"))
        values = _step(outer, step, layer, value)
        body.nodes += step.nodes
        states |= {step.name(s): n for s, n in layer.lengths.items()}
        following |= {body.node("Identity", f"{k}.{s}.next", values[s].name): n for s, n in layer.lengths.items()}
        value = values["h"].name
    scores = dense(body, value, relu_layers, "scores")
    next_fed = body.node("Identity", "x.next", scores)
    out = body.node("Identity", "output", scores)
    graph = onnx.helper.make_graph(
        body.nodes,
        "decode",
        [*vectors({**states, fed: outputs}), onnx.helper.make_tensor_value_info(body.name("t"), FLOAT, [])],
        vectors({**following, next_fed: outputs, out: outputs}),
    )
    begun = [starts[k][s] for k, layer in enumerate(decoder.layers) for s in layer.lengths]
    length = g.node("Constant", "decoder.length", value_ints=[outputs])
    batch = g.node("Shape", "decoder.batch", begun[0], start=0, end=1)
    begun.append(g.node("ConstantOfShape", "decoder.zero", g.node("Concat", "decoder.shape", batch, length, axis=0)))
    # a Scan takes its number of steps from what it goes through
    steps = g.node("ConstantOfShape", "decoder.time", g.node("Constant", "decoder.steps", value_ints=[decoder.steps]))
    results = [f"{name}.final" for name in (*states, fed)]
    scan = onnx.helper.make_node(
        "Scan",
        [*begun, steps],
        [*results, "scores"],
        name="decode",
        body=graph,
        num_scan_inputs=1,
        scan_output_axes=[1],
    )
    g.nodes.append(scan)
    return "scores"


def _step(outer: NodeList, g: NodeList, layer: FloatLayer, x: str) -> Mapping[str, Symbol]:
    """The next states of a layer."""
    kind = cell(layer.cell)
    states = {s: Symbol(g, g.name(s)) for s in kind.states}
    given = {block: Symbol(g, z) for block, z in inputs_of(outer, g, kind, x).items()}
    values: Mapping[str, Symbol] = kind.step(SymbolStep(outer, g, layer, given, states["h"]), states)
    return values
