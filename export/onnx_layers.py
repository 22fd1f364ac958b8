"""The recurrent layers of a float model as nodes of its ONNX graph: operators and ``Scan``.

Of a model for windows of several lengths the outer graph has these values: ``lengths`` int64 (batch,),
``lengths.int32``, and ``inside`` bool (batch, time, 1), which steps a window has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_lstm.cells import cell
from edge_lstm.errors import require
from edge_lstm.export.onnx_operators import Operator, describe, parts
from edge_lstm.export.onnx_ops import NodeList
from edge_lstm.export.onnx_symbols import BOOL, FLOAT, Symbol, SymbolStep, inputs_of
from edge_lstm.layers import FloatLayer


@dataclass(frozen=True)
class Made:
    """Names of what layers give.

    Attributes:
        h: (batch, time, width); of a window that has ended anything finite.
        final: Of each layer, state name to what it is after the layer's last step, (batch, length).
    """

    h: str
    final: tuple[Mapping[str, str], ...]


def recurrent(
    g: NodeList,
    x: str,
    layers: Sequence[FloatLayer],
    initializers: dict[str, Any],
    *,
    variable: bool,
    final: Collection[int],
) -> Made:
    """Append all layers.

    Args:
        g: The outer graph.
        x: (batch, time, channels).
        layers: First to last.
        initializers: Of all graphs.
        variable: Windows have the lengths that the graph is given.
        final: The layers whose last states are asked for; of others there may be none.
    """
    ends: list[Mapping[str, str]] = []
    for j, level in enumerate(parts(layers)):
        found = []
        for part in level:
            inner = NodeList(initializers, f"layer{part[0]}/")
            members = [layers[k] for k in part]
            operator = describe(members[0]).operator
            if operator is None:
                step = NodeList(initializers, inner.name("step/"))
                made = _scan(inner, step, x, members[0], variable=variable)
            else:
                wanted = any(k in final for k in part)
                made = _operator(inner, x, part[0], members, operator, variable=variable, final=wanted)
            g.nodes += inner.nodes
            found.append(made.h)
            ends += made.final
        x = found[0] if len(found) == 1 else g.node("Concat", f"level{j}", *found, axis=2)
    return Made(x, tuple(ends))


def _operator(
    g: NodeList,
    x: str,
    k: int,
    layers: Sequence[FloatLayer],
    operator: Operator,
    *,
    variable: bool,
    final: bool,
) -> Made:
    """Layer k, or the two from there, from x (batch, time, inputs). onnxruntime has these operators time-first only."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    first, states = layers[0], ("h", "c") if operator.kind == "LSTM" else ("h",)
    attributes = {"hidden_size": first.hidden, **operator.attributes}
    if len(layers) == 2 and "activations" in attributes:
        attributes["activations"] = attributes["activations"] * 2
    if len(layers) == 2 or first.reverse:
        attributes["direction"] = "bidirectional" if len(layers) == 2 else "reverse"
    if first.clip is not None:
        attributes["clip"] = first.clip

    time_first = g.node("Transpose", "x", x, perm=[1, 0, 2])
    inputs = [time_first, g.name("W"), g.name("R"), g.name("B"), "lengths.int32" if variable else ""]
    inputs += [_begin(g, x, k, layers, state) for state in states]
    inputs += [g.name("P")] if operator.peepholes else []
    while not inputs[-1]:
        inputs.pop()  # ONNX leaves out the last ones
    outputs = [g.name(y) for y in (["y", *(f"y_{state}" for state in states)] if final else ["y"])]
    g.nodes.append(onnx.helper.make_node(operator.kind, inputs, outputs, name=outputs[0], **attributes))
    if len(layers) == 2:
        apart = g.node("Transpose", "h.apart", outputs[0], perm=[2, 0, 1, 3])  # (batch, time, 2, hidden)
        h = g.node("Reshape", "h", apart, g.node("Constant", "h.joined", value_ints=[0, 0, -1]))
    else:
        one = g.node("Squeeze", "h.time_first", outputs[0], g.node("Constant", "direction", value_ints=[1]))
        h = g.node("Transpose", "h", one, perm=[1, 0, 2])
    ends = []
    for j, layer in enumerate(layers):
        named = {s: _of_direction(g, s, j) for s in states} if final else {}
        ends.append({s: named.get(s, named["h"]) for s in layer.lengths} if named else {})  # a GRU's c is its h
    return Made(h, tuple(ends))


def _of_direction(g: NodeList, state: str, direction: int) -> str:
    """What an operator's state is at the end, (batch, hidden)."""
    index = g.node("Constant", f"{state}.direction{direction}", value_int=direction)
    return g.node("Gather", f"{state}.final{direction}", g.name(f"y_{state}"), index, axis=0)


def _begin(g: NodeList, x: str, k: int, layers: Sequence[FloatLayer], state: str) -> str:
    """An operator's initial state, (directions, batch, hidden); "" where it is zero."""
    names = [describe(layer).begins_as(state) for layer in layers]
    if not any(names):
        return ""
    batch = g.node("Shape", f"{state}.batch", x, start=0, end=1)
    one = g.node("Constant", f"{state}.one", value_ints=[1])
    length = g.node("Constant", f"{state}.length", value_ints=[layers[0].hidden])
    shape = g.node("Concat", f"{state}.shape", one, batch, length, axis=0)
    given = [f"layer{k + j}/initial.{name}" if name else "zero" for j, name in enumerate(names)]
    starts = [g.node("Expand", f"{state}.start{j}", value, shape) for j, value in enumerate(given)]
    return starts[0] if len(starts) == 1 else g.node("Concat", f"{state}.start", *starts, axis=0)


def _scan(g: NodeList, step: NodeList, x: str, layer: FloatLayer, *, variable: bool) -> Made:
    """A layer from x (batch, time, inputs): W x + b at once, the rest step by step."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    kind, backwards = cell(layer.cell), layer.reverse and variable
    if backwards:
        x = g.node("ReverseSequence", "x", x, "lengths", batch_axis=0, time_axis=1)
    batch = g.node("Shape", "batch", x, start=0, end=1)
    starts = [_start(g, batch, state, layer) for state in kind.states]
    inputs = list(inputs_of(g, g, kind, x).values())
    inputs += ["inside"] if variable else []
    finals = {s: g.name(f"{s}.final") for s in kind.states}
    h = g.name("h.backwards" if backwards else "h")
    directions = {"scan_input_directions": [1] * len(inputs), "scan_output_directions": [1]}
    scan = onnx.helper.make_node(
        "Scan",
        [*starts, *inputs],
        [*finals.values(), h],
        name=g.name("over_time"),
        body=_body(g, step, layer, variable=variable),
        num_scan_inputs=len(inputs),
        scan_input_axes=[1] * len(inputs),
        scan_output_axes=[1],
        **(directions if layer.reverse and not variable else {}),
    )
    g.nodes.append(scan)
    if backwards:
        h = g.node("ReverseSequence", "h", h, "lengths", batch_axis=0, time_axis=1)
    return Made(h, (finals,))


def _start(g: NodeList, batch: str, state: str, layer: FloatLayer) -> str:
    """A state before the first step, (batch, length)."""
    length = g.node("Constant", f"{state}.length", value_ints=[layer.lengths[state]])
    shape = g.node("Concat", f"{state}.shape", batch, length, axis=0)
    name = describe(layer).begins_as(state)
    if name is None:
        return g.node("ConstantOfShape", f"{state}.zero", shape)
    return g.node("Expand", f"{state}.start", g.name(f"initial.{name}"), shape)


def _body(outer: NodeList, g: NodeList, layer: FloatLayer, *, variable: bool) -> Any:
    """One time step: states and W x + b of each block to the next states, and h once more.

    The states of a window that has ended stay what they are.
    """
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    kind = cell(layer.cell)
    states = {s: Symbol(g, g.name(s)) for s in kind.states}
    given = {b: Symbol(g, g.name(f"z.{b}")) for b in kind.blocks}
    values = kind.step(SymbolStep(outer, g, layer, given, states["h"]), states)
    if variable:
        inside = Symbol(g, g.name("inside"))
        values = {s: inside.then("Where", values[s].name, states[s].name) for s in kind.states}
    results = {g.node("Identity", f"{s}.next", values[s].name): layer.lengths[s] for s in kind.states}
    results[g.node("Identity", "output", values["h"].name)] = layer.outputs
    ports = {states[s].name: layer.lengths[s] for s in kind.states}
    ports |= {z.name: layer.hidden for z in given.values()}
    inputs = vectors(ports)
    if variable:
        inputs.append(onnx.helper.make_tensor_value_info(g.name("inside"), BOOL, ["batch", 1]))
    return onnx.helper.make_graph(g.nodes, "step", inputs, vectors(results))


def vectors(lengths: Mapping[str, int]) -> list[Any]:
    """Inputs or outputs of a Scan's body, (batch, length), from their names and lengths."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    make = onnx.helper.make_tensor_value_info
    return [make(name, FLOAT, ["batch", length]) for name, length in lengths.items()]
