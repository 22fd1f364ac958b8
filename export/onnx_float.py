"""The float model as an ONNX graph of standard operators, for any runtime and any number of windows and steps.

Input: ``x`` float32 (batch, time, channels), in the channels' units.
Outputs: ``scores`` float32 (batch, classes), logits; of a classifier ``class_index`` int64 (batch,).

A layer is the operator ``LSTM``, ``GRU`` or ``RNN`` where that computes its equations: every gate is soft, every
function exact, and its cell one of ``OPERATORS``. Any other layer is a ``Scan``, whose body is recorded by evaluating
the cell's equations of ``edge_lstm.cells`` on symbols.
What the graph can't say (names, units, gate modes) is JSON in its metadata; ``edge_lstm.importer`` reads both back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm._version import __version__
from edge_lstm.cells import Function, cell
from edge_lstm.codec import encode
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.export.onnx_ops import NodeList
from edge_lstm.files import write_bytes
from edge_lstm.gates import STEPS, GateMode
from edge_lstm.model import FloatLayer, FloatModel, Pooling, Squashing
from edge_lstm.signature import Signature

OPSET, IR_VERSION = 17, 8
METADATA = "edge_lstm"
"""Key of the description in the file's metadata."""
MAX_WEIGHT_BYTES = 16 * 2**20
"""Largest model written: four million weights. The importer accepts files a little larger than this."""


@dataclass(frozen=True)
class Operator:
    """How an ONNX operator computes a cell.

    Args:
        kind: Name of the operator.
        blocks: The cell's blocks in the operator's order; ``-f`` is the rows of ``f`` with the other sign.
        peepholes: The cell's peepholes in the operator's order.
        attributes: Of the operator, beside ``hidden_size``.
    """

    kind: str
    blocks: tuple[str, ...]
    peepholes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


OPERATORS: Mapping[str, Operator] = {
    "lstm": Operator("LSTM", ("i", "o", "f", "g")),
    "peephole": Operator("LSTM", ("i", "o", "f", "g"), ("i", "o", "f")),
    # ONNX does not say which of i and f input_forget computes from the other (onnxruntime: f = 1 - i). With s(-z) for
    # i, which is 1 - s(z), both readings are the cell, and so is an LSTM that ignores the attribute.
    "cifg": Operator("LSTM", ("-f", "o", "f", "g"), (), {"input_forget": 1}),
    "gru": Operator("GRU", ("z", "r", "n"), (), {"linear_before_reset": 0}),
    "gru-after": Operator("GRU", ("z", "r", "n"), (), {"linear_before_reset": 1}),
    "rnn": Operator("RNN", ("t",), (), {"activations": ["Tanh"]}),
    "rnn-relu": Operator("RNN", ("t",), (), {"activations": ["Relu"]}),
}
"""Cells that are an ONNX operator where all gates are soft and all functions exact."""


@dataclass(frozen=True)
class LayerDescription:
    """What the graph doesn't say of a layer.

    Args:
        cell: Name of the cell.
        modes: Gate name to mode.
        squash: Functions are ``exact`` or ``hard``; files of earlier versions, which don't say it, have exact ones.
    """

    cell: str
    modes: Mapping[str, GateMode]
    squash: Squashing = "exact"

    @property
    def operator(self) -> Operator | None:
        """The ONNX operator that is this layer; None where it takes a Scan."""
        soft = all(mode == "soft" for mode in self.modes.values())
        return OPERATORS.get(self.cell) if soft and self.squash == "exact" else None


@dataclass(frozen=True)
class Description:
    """The metadata of a file.

    Args:
        version: Of the description and of the graph's spelling.
        signature: Inputs and classes.
        clip: Standardized inputs are limited to [-clip, clip].
        layers: First to last.
        pooling: ``last``, ``mean`` or ``max``.
        relu_layers: Number of dense layers with relu.
    """

    version: Literal[1]
    signature: Signature
    clip: float
    layers: tuple[LayerDescription, ...]
    pooling: Pooling
    relu_layers: int = 0


def build(model: FloatModel) -> Any:
    """The ``onnx.ModelProto``, checked. Weights that are not float32 are rounded to it.

    Raises:
        EdgeLstmError: A value that float32 can't hold, or more than ``MAX_WEIGHT_BYTES`` of weights.
    """
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    helper, float32, int64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    signature = model.signature
    layers = tuple(LayerDescription(layer.cell, layer.modes, layer.squash) for layer in model.layers)
    description = Description(1, signature, model.clip, layers, model.pooling, len(model.relu_layers))
    initializers = _initializers(model, layers)

    g = NodeList(initializers)
    value = _standardize(g)
    for k, (layer, described) in enumerate(zip(model.layers, layers, strict=True)):
        inner = NodeList(initializers, f"layer{k}/")
        operator = described.operator
        if operator is None:
            value = _scan(inner, NodeList(initializers, inner.name("step/")), value, layer)
        else:
            value = _operator(inner, value, layer, operator)
        g.nodes += inner.nodes
    if model.pooling == "last":
        pooled = g.node("Gather", "pooled", value, g.node("Constant", "newest", value_int=-1), axis=1)
    else:
        pooled = g.node("ReduceMean" if model.pooling == "mean" else "ReduceMax", "pooled", value, axes=[1], keepdims=0)
    for k in range(len(model.relu_layers)):
        dense = g.node("Gemm", f"relu{k}/sum", pooled, f"relu{k}/weights", f"relu{k}/bias", transB=1)
        pooled = g.node("Relu", f"relu{k}/output", dense)
    g.node("Gemm", "scores", pooled, "dense/weights", "dense/bias", transB=1)
    outputs = [("scores", float32, ["batch", len(signature.classes)])]
    if signature.task == "classify":
        g.node("ArgMax", "class_index", "scores", axis=1, keepdims=0)
        outputs.append(("class_index", int64, ["batch"]))

    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        g.nodes,
        signature.name,
        [info("x", float32, ["batch", "time", len(signature.channels)])],
        [info(*output) for output in outputs],
        [onnx.numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in initializers.items()],
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge-lstm",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {METADATA: encode(description)[0]})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write(model: FloatModel, path: str | Path) -> None:
    """Write ``build(model)``; the file appears whole or not at all.

    Raises:
        EdgeLstmError: See ``build``; or the file can't be written.
    """
    write_bytes(path, build(model).SerializeToString())


def _initializers(model: FloatModel, layers: tuple[LayerDescription, ...]) -> dict[str, NDArray[np.float32]]:
    """All constants of the graph by name, but the numbers that a Scan's equations have."""
    constants: dict[str, Any] = {
        "zero": 0.0,
        "input/mean": model.mean,
        "input/std": model.std,
        "input/low": -model.clip,
        "input/high": model.clip,
        "dense/weights": model.dense_weights,
        "dense/bias": model.dense_bias,
    }
    for k, relu in enumerate(model.relu_layers):
        constants |= {f"relu{k}/weights": relu.weights, f"relu{k}/bias": relu.bias}
    for k, (layer, described) in enumerate(zip(model.layers, layers, strict=True)):
        operator = described.operator
        packed = _blocks(layer) if operator is None else _packed(layer, operator)
        constants |= {f"layer{k}/{name}": value for name, value in packed.items()}
    rounded = {name: _float32(name, value) for name, value in constants.items()}
    for name in ("input/std", "input/high"):
        if not (rounded[name] > 0).all():
            raise EdgeLstmError(f"{name} holds a value so small that float32 makes it 0")
    size = sum(value.nbytes for value in rounded.values())
    if size > MAX_WEIGHT_BYTES:
        raise EdgeLstmError(f"the model has {size} bytes of weights; accepted are at most {MAX_WEIGHT_BYTES}")
    return rounded


def _blocks(layer: FloatLayer) -> dict[str, Any]:
    """Constants of a Scan by block, matrices ready for products from the left."""
    constants: dict[str, Any] = {}
    for block in cell(layer.cell).blocks:
        constants[f"W.{block}"] = layer.W[block].T  # (inputs, hidden)
        constants[f"R.{block}"] = layer.R[block].T  # (outputs, hidden)
        constants[f"b.{block}"] = layer.b[block]  # (hidden,)
    constants |= {f"rb.{block}": bias for block, bias in layer.rb.items()}  # (hidden,)
    constants |= {f"p.{block}": weights for block, weights in layer.p.items()}  # (hidden,)
    if layer.P is not None:
        constants["P"] = layer.P.T  # (hidden, outputs)
    return constants


def _packed(layer: FloatLayer, operator: Operator) -> dict[str, Any]:
    """Constants of an operator: its blocks below each other, with an axis of length 1 for the direction."""

    def rows(group: Mapping[str, Any], block: str) -> Any:
        return -group[block[1:]] if block.startswith("-") else group[block]

    zeros = np.zeros(layer.hidden)  # the operator has two biases for each block; ours is one, except of split blocks
    biases = [rows(layer.b, b) for b in operator.blocks] + [layer.rb.get(b, zeros) for b in operator.blocks]
    constants = {
        "W": np.concatenate([rows(layer.W, b) for b in operator.blocks])[None],  # (1, blocks*hidden, inputs)
        "R": np.concatenate([rows(layer.R, b) for b in operator.blocks])[None],  # (1, blocks*hidden, hidden)
        "B": np.concatenate(biases)[None],  # (1, 2*blocks*hidden)
    }
    if operator.peepholes:
        constants["P"] = np.concatenate([layer.p[b] for b in operator.peepholes])[None]  # (1, peepholes*hidden)
    return constants


def _float32(name: str, value: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.asarray(value).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise EdgeLstmError(f"{name} holds a value that float32 can't hold")
    return rounded


def _standardize(g: NodeList) -> str:
    """What the first layer is given, (batch, time, channels)."""
    centred = g.node("Sub", "input/centred", "x", "input/mean")
    scaled = g.node("Div", "input/scaled", centred, "input/std")
    return g.node("Clip", "input/standardized", scaled, "input/low", "input/high")


def _operator(g: NodeList, x: str, layer: FloatLayer, operator: Operator) -> str:
    """All h of a layer, (batch, time, hidden), from (batch, time, inputs). onnxruntime has these time-first only."""
    time_first = g.node("Transpose", "x", x, perm=[1, 0, 2])
    peepholes = ["", "", "", g.name("P")] if operator.peepholes else []  # lengths and the first states are left out
    inputs = [time_first, g.name("W"), g.name("R"), g.name("B"), *peepholes]
    every = g.node(operator.kind, "y", *inputs, hidden_size=layer.hidden, **operator.attributes)
    forward = g.node("Squeeze", "h.time_first", every, g.node("Constant", "direction", value_ints=[1]))
    return g.node("Transpose", "h", forward, perm=[1, 0, 2])


def _scan(g: NodeList, step: NodeList, x: str, layer: FloatLayer) -> str:
    """All h of a layer, (batch, time, outputs), from (batch, time, inputs): W x + b at once, the rest step by step."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    kind = cell(layer.cell)
    batch = g.node("Shape", "batch", x, start=0, end=1)
    zeros = [_zeros(g, state, batch, _length(layer, state)) for state in kind.states]
    inputs = [
        g.node("Add", f"z.{b}", g.node("MatMul", f"Wx.{b}", x, g.name(f"W.{b}")), g.name(f"b.{b}")) for b in kind.blocks
    ]
    finals = [g.name(f"{s}.final") for s in kind.states]
    scan = onnx.helper.make_node(
        "Scan",
        [*zeros, *inputs],
        [*finals, g.name("h")],
        name=g.name("over_time"),
        body=_body(g, step, layer),
        num_scan_inputs=len(inputs),
        scan_input_axes=[1] * len(inputs),
        scan_output_axes=[1],
    )
    g.nodes.append(scan)
    return g.name("h")


def _length(layer: FloatLayer, state: str) -> int:
    return layer.outputs if state == "h" else layer.hidden


def _zeros(g: NodeList, state: str, batch: str, length: int) -> str:
    """A state before the first step, (batch, length)."""
    shape = g.node(
        "Concat", f"{state}.shape", batch, g.node("Constant", f"{state}.length", value_ints=[length]), axis=0
    )
    return g.node("ConstantOfShape", f"{state}.zero", shape)


def _body(outer: NodeList, g: NodeList, layer: FloatLayer) -> Any:
    """One time step: states and W x + b of each block to the next states, and h once more."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    kind = cell(layer.cell)
    states = {s: _Symbol(g, g.name(s)) for s in kind.states}
    given = {b: _Symbol(g, g.name(f"z.{b}")) for b in kind.blocks}
    values = kind.step(_SymbolStep(outer, g, layer, given, states["h"]), states)
    results = {g.node("Identity", f"{s}.next", values[s].name): _length(layer, s) for s in kind.states}
    results[g.node("Identity", "output", values["h"].name)] = layer.outputs
    ports = {states[s].name: _length(layer, s) for s in kind.states}
    ports |= {z.name: layer.hidden for z in given.values()}

    def infos(lengths: Mapping[str, int]) -> list[Any]:
        make, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        return [make(name, float32, ["batch", length]) for name, length in lengths.items()]

    return onnx.helper.make_graph(g.nodes, "step", infos(ports), infos(results))


@dataclass(frozen=True)
class _Symbol:
    """A value of a graph, (batch, length of its vector); sums and products of symbols append the operator."""

    graph: NodeList
    name: str

    def __add__(self, other: _Symbol) -> _Symbol:
        return self.then("Add", other.name)

    def __mul__(self, other: _Symbol) -> _Symbol:
        return self.then("Mul", other.name)

    def __rsub__(self, other: float) -> _Symbol:
        return _Symbol(self.graph, self.number(other)).then("Sub", self.name)

    def then(self, kind: str, *more: str, **attributes: Any) -> _Symbol:
        out = f"{kind.lower()}.{len(self.graph.nodes)}"
        return _Symbol(self.graph, self.graph.node(kind, out, self.name, *more, **attributes))

    def times(self, factor: float) -> _Symbol:
        return self if factor == 1 else self.then("Mul", self.number(factor))

    def plus(self, term: float) -> _Symbol:
        return self if term == 0 else self.then("Add", self.number(term))

    def above(self, threshold: float) -> _Symbol:
        """1 where the value is above the threshold, else 0."""
        return self.then("Greater", self.number(threshold)).then("Cast", to=_FLOAT)

    def number(self, value: float) -> str:
        """Name of a number, which all layers share."""
        return "zero" if value == 0 else self.graph.constant(f"number/{float(value)}", np.float32(value))


class _SymbolStep:
    """``cells.Machine`` on symbols.

    Args:
        outer: The graph whose constants are the layer's.
        graph: The graph of a step.
        layer: Modes, and what the layer's constants are.
        wx: Block name to W x + b of this step.
        h: Last h.
    """

    def __init__(
        self, outer: NodeList, graph: NodeList, layer: FloatLayer, wx: Mapping[str, _Symbol], h: _Symbol
    ) -> None:
        self._outer, self._graph, self._layer, self._wx, self._h = outer, graph, layer, wx, h

    def affine(self, block: str, operand: _Symbol | None = None) -> _Symbol:
        """See ``cells.Machine``."""
        return self._wx[block] + self._product(block, self._h if operand is None else operand)

    def inputs(self, block: str) -> _Symbol:
        """See ``cells.Machine``."""
        return self._wx[block]

    def recurrent(self, block: str) -> _Symbol:
        """See ``cells.Machine``."""
        return self._product(block, self._h).then("Add", self._outer.name(f"rb.{block}"))

    def peephole(self, block: str, c: _Symbol) -> _Symbol:
        """See ``cells.Machine``."""
        return c.then("Mul", self._outer.name(f"p.{block}"))

    def gate(self, name: str, z: _Symbol) -> _Symbol:
        """See ``cells.Machine``."""
        mode = self._layer.modes[name]
        if mode == "soft":
            return z.then("Sigmoid")
        if mode == "hard-sigmoid":
            return _hard(luts.HARD["sigmoid"], z)
        first, *more = (z.above(at) for at in STEPS[mode])
        return sum(more, first).times(1 / len(STEPS[mode]))

    def squash(self, name: str, v: _Symbol) -> _Symbol:
        """See ``cells.Machine``."""
        function = cell(self._layer.cell).functions[name][0]
        return _hard(luts.HARD[function], v) if self._layer.squash == "hard" else _EXACT[function](v)

    def state(self, name: str, v: _Symbol) -> _Symbol:  # noqa: ARG002
        """See ``cells.Machine``."""
        return v

    def project(self, v: _Symbol) -> _Symbol:
        """See ``cells.Machine``."""
        return v.then("MatMul", self._outer.name("P"))

    def _product(self, block: str, v: _Symbol) -> _Symbol:
        return _Symbol(self._graph, self._graph.node("MatMul", f"Rh.{block}", v.name, self._outer.name(f"R.{block}")))


def _hard(function: luts.Hard, v: _Symbol) -> _Symbol:
    limits = (function.lo,) if np.isinf(function.hi) else (function.lo, function.hi)
    linear = v.times(2.0**-function.slope_bits).plus(function.offset)
    return linear.then("Clip", *map(v.number, limits))


_EXACT: Mapping[Function, Callable[[_Symbol], _Symbol]] = {
    "tanh": lambda v: v.then("Tanh"),
    "squash1": lambda v: v.times(0.5).then("Tanh"),
    "squash2": lambda v: v.times(0.5).then("Tanh").times(2),
    "relu": lambda v: v.then("Relu"),
}

_FLOAT = 1  # onnx.TensorProto.FLOAT, fixed by the ONNX specification
