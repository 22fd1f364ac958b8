"""The float model as an ONNX graph of standard operators, for any runtime and any number of windows and steps.

Input: ``x`` float32 (batch, time, channels), in the channels' units.
Outputs: ``scores`` float32 (batch, classes), logits; ``class_index`` int64 (batch,).

A layer whose gates are all soft is the operator ``LSTM``. ``LSTM`` has no hard gates: a layer that has one is a
``Scan``, whose body is recorded by evaluating the cell's equations of ``edge_lstm.cells`` on symbols.
What the graph can't say (names, units, gate modes) is JSON in its metadata; ``edge_lstm.importer`` reads both back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm._version import __version__
from edge_lstm.cells import cell
from edge_lstm.codec import encode
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.export.onnx_ops import NodeList
from edge_lstm.files import write_bytes
from edge_lstm.gates import GateMode
from edge_lstm.model import FloatLayer, FloatModel, Pooling, Signature

OPSET, IR_VERSION = 17, 8
METADATA = "edge_lstm"
"""Key of the description in the file's metadata."""
MAX_WEIGHT_BYTES = 16 * 2**20
"""Largest model written: four million weights. The importer accepts files a little larger than this."""
OPERATORS: Mapping[str, tuple[str, tuple[str, ...]]] = {"lstm": ("LSTM", ("i", "o", "f", "g"))}
"""Cells that are an ONNX operator when all gates are soft: its name, and its order of the blocks."""


@dataclass(frozen=True)
class LayerDescription:
    """What the graph doesn't say of a layer.

    Args:
        cell: Name of the cell.
        modes: Gate name to mode.
    """

    cell: str
    modes: Mapping[str, GateMode]

    @property
    def operator(self) -> tuple[str, tuple[str, ...]] | None:
        """The ONNX operator that is this layer, and its order of the blocks; None where it takes a Scan."""
        return None if "hard" in self.modes.values() else OPERATORS.get(self.cell)


@dataclass(frozen=True)
class Description:
    """The metadata of a file.

    Args:
        version: Of the description and of the graph's spelling.
        signature: Inputs and classes.
        clip: Standardized inputs are limited to [-clip, clip].
        layers: First to last.
        pooling: ``last`` or ``mean``.
    """

    version: Literal[1]
    signature: Signature
    clip: float
    layers: tuple[LayerDescription, ...]
    pooling: Pooling


def build(model: FloatModel) -> Any:
    """The ``onnx.ModelProto``, checked. Weights that are not float32 are rounded to it.

    Raises:
        EdgeLstmError: A value that float32 can't hold, or more than ``MAX_WEIGHT_BYTES`` of weights.
    """
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    helper, float32, int64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    signature = model.signature
    layers = tuple(LayerDescription(layer.cell, layer.modes) for layer in model.layers)
    description = Description(1, signature, model.clip, layers, model.pooling)
    initializers = _initializers(model, layers)

    g = NodeList(initializers)
    value = _standardize(g)
    for k, (layer, described) in enumerate(zip(model.layers, layers, strict=True)):
        inner = NodeList(initializers, f"layer{k}/")
        value = _scan(inner, value, layer) if described.operator is None else _operator(inner, value, layer, described)
        g.nodes += inner.nodes
    if model.pooling == "last":
        pooled = g.node("Gather", "pooled", value, g.node("Constant", "newest", value_int=-1), axis=1)
    else:
        pooled = g.node("ReduceMean", "pooled", value, axes=[1], keepdims=0)
    g.node("Gemm", "scores", pooled, "dense/weights", "dense/bias", transB=1)
    g.node("ArgMax", "class_index", "scores", axis=1, keepdims=0)

    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        g.nodes,
        signature.name,
        [info("x", float32, ["batch", "time", len(signature.channels)])],
        [info("scores", float32, ["batch", len(signature.classes)]), info("class_index", int64, ["batch"])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in initializers.items()],
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
    """All constants of the graph by name; those of a Scan by block, ready for products from the left."""
    constants: dict[str, Any] = {
        "zero": 0.0,
        "input/mean": model.mean,
        "input/std": model.std,
        "input/low": -model.clip,
        "input/high": model.clip,
        "dense/weights": model.dense_weights,
        "dense/bias": model.dense_bias,
    }
    for k, (layer, described) in enumerate(zip(model.layers, layers, strict=True)):
        prefix = f"layer{k}/"
        if described.operator is None:
            for block in cell(layer.cell).blocks:
                constants[f"{prefix}W.{block}"] = layer.W[block].T  # (inputs, hidden)
                constants[f"{prefix}R.{block}"] = layer.R[block].T  # (hidden, hidden)
                constants[f"{prefix}b.{block}"] = layer.b[block]  # (hidden,)
        else:
            _, order = described.operator
            recurrent = np.zeros(len(order) * layer.hidden)  # the operator adds two biases; ours is one
            constants[f"{prefix}W"] = np.concatenate([layer.W[b] for b in order])[None]  # (1, blocks*hidden, inputs)
            constants[f"{prefix}R"] = np.concatenate([layer.R[b] for b in order])[None]  # (1, blocks*hidden, hidden)
            constants[f"{prefix}B"] = np.concatenate([*(layer.b[b] for b in order), recurrent])[None]
    rounded = {name: _float32(name, value) for name, value in constants.items()}
    for name in ("input/std", "input/high"):
        if not (rounded[name] > 0).all():
            raise EdgeLstmError(f"{name} holds a value so small that float32 makes it 0")
    size = sum(value.nbytes for value in rounded.values())
    if size > MAX_WEIGHT_BYTES:
        raise EdgeLstmError(f"the model has {size} bytes of weights; accepted are at most {MAX_WEIGHT_BYTES}")
    return rounded


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


def _operator(g: NodeList, x: str, layer: FloatLayer, described: LayerDescription) -> str:
    """All h of a layer, (batch, time, hidden), from (batch, time, inputs). onnxruntime has LSTM time-first only."""
    assert described.operator is not None
    kind, _ = described.operator
    time_first = g.node("Transpose", "x", x, perm=[1, 0, 2])
    every = g.node(kind, "y", time_first, g.name("W"), g.name("R"), g.name("B"), hidden_size=layer.hidden)
    forward = g.node("Squeeze", "h.time_first", every, g.node("Constant", "direction", value_ints=[1]))
    return g.node("Transpose", "h", forward, perm=[1, 0, 2])


def _scan(g: NodeList, x: str, layer: FloatLayer) -> str:
    """All h of a layer, (batch, time, hidden), from (batch, time, inputs): W x + b at once, the rest step by step."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    kind = cell(layer.cell)
    batch = g.node("Shape", "batch", x, start=0, end=1)
    shape = g.node("Concat", "state.shape", batch, g.node("Constant", "hidden", value_ints=[layer.hidden]), axis=0)
    zeros = g.node("ConstantOfShape", "state.zero", shape)
    inputs = [
        g.node("Add", f"z.{b}", g.node("MatMul", f"Wx.{b}", x, g.name(f"W.{b}")), g.name(f"b.{b}")) for b in kind.blocks
    ]
    finals = [g.name(f"{s}.final") for s in kind.states]
    scan = onnx.helper.make_node(
        "Scan",
        [*([zeros] * len(kind.states)), *inputs],
        [*finals, g.name("h")],
        name=g.name("over_time"),
        body=_body(g, layer),
        num_scan_inputs=len(inputs),
        scan_input_axes=[1] * len(inputs),
        scan_output_axes=[1],
    )
    g.nodes.append(scan)
    return g.name("h")


def _body(outer: NodeList, layer: FloatLayer) -> Any:
    """One time step: states and W x + b of each block to the next states, and h once more."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    kind = cell(layer.cell)
    g = NodeList({}, outer.name("step/"))
    states = {s: _Symbol(g, g.name(s)) for s in kind.states}
    given = {b: _Symbol(g, g.name(f"z.{b}")) for b in kind.blocks}
    h = states[kind.states[0]]
    z = {b: given[b] + _Symbol(g, g.node("MatMul", f"Rh.{b}", h.name, outer.name(f"R.{b}"))) for b in kind.blocks}
    values = kind.step(z, states, _Symbols(g, layer.modes))
    results = [g.node("Identity", f"{s}.next", values[s].name) for s in kind.states]
    results.append(g.node("Identity", "output", values[kind.states[0]].name))

    def info(name: str) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", layer.hidden])

    ports = [symbol.name for symbol in (*states.values(), *given.values())]
    return onnx.helper.make_graph(g.nodes, "step", [info(n) for n in ports], [info(n) for n in results])


@dataclass(frozen=True)
class _Symbol:
    """A value of a graph; sums and products of symbols append the operator."""

    graph: NodeList
    name: str

    def __add__(self, other: _Symbol) -> _Symbol:
        return self.then("Add", other.name)

    def __mul__(self, other: _Symbol) -> _Symbol:
        return self.then("Mul", other.name)

    def then(self, kind: str, *more: str, **attributes: Any) -> _Symbol:
        out = f"{kind.lower()}.{len(self.graph.nodes)}"
        return _Symbol(self.graph, self.graph.node(kind, out, self.name, *more, **attributes))


class _Symbols:
    """``cells.Activations`` on symbols."""

    def __init__(self, graph: NodeList, modes: Mapping[str, GateMode]) -> None:
        self._graph = graph
        self._modes = modes

    def gate(self, name: str, z: _Symbol) -> _Symbol:
        if self._modes[name] == "hard":
            return z.then("Greater", "zero").then("Cast", to=_FLOAT)
        return z.then("Sigmoid")

    def tanh(self, v: _Symbol) -> _Symbol:
        return v.then("Tanh")


_FLOAT = 1  # onnx.TensorProto.FLOAT, fixed by the ONNX specification
