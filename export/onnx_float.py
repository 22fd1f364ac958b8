"""The float model as an ONNX graph of standard operators, for any runtime and any number of windows and steps.

Inputs: ``x`` float32 (batch, time, channels), in the channels' units; of a model for windows of several lengths
``lengths`` int64 (batch,), from 1 to time.
Outputs: ``scores`` float32 (batch, classes), logits; of a classifier ``class_index`` int64 (batch,), and
``probabilities`` float32 (batch, classes) where the signature says so. Where there are outputs for each step the axis
of steps comes second, and what is beyond a window's end is 0.

A layer is the operator ``LSTM``, ``GRU`` or ``RNN`` where that computes its equations: every gate is soft, every
function exact, and its cell one of ``onnx_operators.OPERATORS``; a level of two such layers, of which the second goes
backwards, is one. Any other layer is a ``Scan``, whose body is recorded by evaluating the cell's equations of
``edge_lstm.cells`` on symbols.
What the graph can't say (names, units, gate modes) is JSON in its metadata; ``edge_lstm.importer`` reads both back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm._version import __version__
from edge_lstm.cells import cell
from edge_lstm.codec import encode
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.export.onnx_heads import decode, dense, pool, read_at_the_end
from edge_lstm.export.onnx_layers import recurrent
from edge_lstm.export.onnx_operators import DECODER, LayerDescription, describe, initial_values, packed, parts
from edge_lstm.export.onnx_ops import NodeList
from edge_lstm.files import write_bytes
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel, Pooling
from edge_lstm.signature import Signature

OPSET, IR_VERSION = 17, 8
METADATA = "edge_lstm"
"""Key of the description in the file's metadata."""
MAX_WEIGHT_BYTES = 16 * 2**20
"""Largest model written: four million weights. The importer accepts files a little larger than this."""


@dataclass(frozen=True)
class DecoderDescription:
    """What the graph doesn't say of a decoder.

    Args:
        layers: One for each of the encoder.
        steps: Outputs that it gives.
    """

    layers: tuple[LayerDescription, ...]
    steps: int


@dataclass(frozen=True)
class Description:
    """The metadata of a file.

    Args:
        version: Of the description and of the graph's spelling.
        signature: Inputs and classes.
        clip: Standardized inputs are limited to [-clip, clip].
        layers: First to last.
        pooling: As of a ``FloatModel``.
        relu_layers: Number of dense layers with relu.
        decoder: Of a sequence-to-sequence model.
        bounded: The attention's.
    """

    version: Literal[1]
    signature: Signature
    clip: float
    layers: tuple[LayerDescription, ...]
    pooling: Pooling
    relu_layers: int = 0
    decoder: DecoderDescription | None = None
    bounded: bool = True


def build(model: FloatModel) -> Any:
    """The ``onnx.ModelProto``, checked. Weights that are not float32 are rounded to it.

    Raises:
        EdgeLstmError: A value that float32 can't hold, or more than ``MAX_WEIGHT_BYTES`` of weights.
    """
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    helper, float32, int64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    info, signature = helper.make_tensor_value_info, model.signature
    initializers = _initializers(model)
    g = NodeList(initializers)
    x = _standardize(g)
    inputs = [info("x", float32, ["batch", "time", len(signature.channels)])]
    if signature.variable:
        _write_inside(g)
        inputs.append(info("lengths", int64, ["batch"]))
    variable, ends = signature.variable, read_at_the_end(model)
    made = recurrent(g, x, model.layers, initializers, variable=variable, final=ends)
    if model.decoder is not None:
        decode(g, model.decoder, made.final, len(model.relu_layers), len(signature.classes), initializers)
    else:
        each = model.pooling == "each"
        name = "scores.every" if each and variable else "scores"
        scores = dense(g, pool(g, model, made), len(model.relu_layers), name, each=each)
        if each and variable:
            g.node("Where", "scores", "inside", scores, "zero")

    outputs = _outputs(g, model)
    graph = helper.make_graph(
        _needed(g.nodes, [output.name for output in outputs]),
        signature.name,
        inputs,
        outputs,
        [onnx.numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in initializers.items()],
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge-lstm",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {METADATA: encode(_description(model))[0]})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write(model: FloatModel, path: str | Path) -> None:
    """Write ``build(model)``; the file appears whole or not at all.

    Raises:
        EdgeLstmError: See ``build``; or the file can't be written.
    """
    write_bytes(path, build(model).SerializeToString())


def _description(model: FloatModel) -> Description:
    decoder = model.decoder
    return Description(
        version=1,
        signature=model.signature,
        clip=model.clip,
        layers=tuple(map(describe, model.layers)),
        pooling=model.pooling,
        relu_layers=len(model.relu_layers),
        decoder=DecoderDescription(tuple(map(describe, decoder.layers)), decoder.steps) if decoder else None,
        bounded=model.attention is None or model.attention.bounded,
    )


def _standardize(g: NodeList) -> str:
    """What the first layer is given, (batch, time, channels)."""
    centred = g.node("Sub", "input/centred", "x", "input/mean")
    scaled = g.node("Div", "input/scaled", centred, "input/std")
    return g.node("Clip", "input/standardized", scaled, "input/low", "input/high")


def _write_inside(g: NodeList) -> None:
    """What ``onnx_layers`` uses of a model for windows of several lengths."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    g.node("Cast", "lengths.int32", "lengths", to=onnx.TensorProto.INT32)
    steps = g.node("Squeeze", "time.steps", g.node("Shape", "time.shape", "x", start=1, end=2))
    first, apart = (g.node("Constant", name, value_int=k) for name, k in (("time.first", 0), ("time.apart", 1)))
    t = g.node("Reshape", "time", g.node("Range", "time.flat", first, steps, apart), _shape(g, "time.axes", 1, -1, 1))
    g.node("Less", "inside", t, g.node("Reshape", "lengths.apart", "lengths", _shape(g, "lengths.axes", -1, 1, 1)))


def _shape(g: NodeList, name: str, *axes: int) -> str:
    return g.node("Constant", name, value_ints=list(axes))


def _outputs(g: NodeList, model: FloatModel) -> list[Any]:
    """What the graph gives, from ``scores``."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    info, float32, int64 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    windows: list[str | int] = ["batch"]
    if model.decoder is not None:
        windows.append(model.decoder.steps)
    elif model.pooling == "each":
        windows.append("time")
    classes, axis = len(model.signature.classes), len(windows)
    outputs = [info("scores", float32, [*windows, classes])]
    if model.signature.task == "classify":
        g.node("ArgMax", "class_index", "scores", axis=axis, keepdims=0)
        outputs.append(info("class_index", int64, windows))
    if model.signature.probabilities:
        masked = model.pooling == "each" and model.signature.variable
        every = g.node("Softmax", "probabilities.every" if masked else "probabilities", "scores", axis=axis)
        if masked:
            g.node("Where", "probabilities", "inside", every, "zero")
        outputs.append(info("probabilities", float32, [*windows, classes]))
    return outputs


def _needed(nodes: list[Any], outputs: list[str]) -> list[Any]:
    """The nodes without those that nothing reads, such as every h of a layer of which only the last is pooled."""
    read, found = set(outputs), []
    for node in reversed(nodes):
        if read.intersection(node.output):
            found.append(node)
            read.update(node.input)
            read.update(name for a in node.attribute for inner in a.g.node for name in inner.input)
    return found[::-1]


def _initializers(model: FloatModel) -> dict[str, NDArray[np.float32]]:
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
    for part in (part for level in parts(model.layers) for part in level):
        members = [model.layers[k] for k in part]
        operator = describe(members[0]).operator
        weights = _blocks(members[0]) if operator is None else packed(members, operator)
        constants |= {f"layer{part[0]}/{name}": value for name, value in weights.items()}
    for k, layer in enumerate(model.layers):
        constants |= {f"layer{k}/initial.{state}": value for state, value in initial_values(layer).items()}
    for k, layer in enumerate(model.decoder.layers if model.decoder else ()):
        constants |= {f"{DECODER}{k}/{name}": value for name, value in _blocks(layer).items()}
    if model.attention is not None:
        constants |= {"attention/weights": model.attention.weights[:, None], "attention/bias": model.attention.bias}
    rounded = {name: _float32(name, value) for name, value in constants.items()}
    _check_positive({name: rounded[name] for name in ("input/std", "input/high")})
    _check_positive(
        {
            f"clip of layer {k}": _float32(f"clip of layer {k}", layer.clip)
            for k, layer in enumerate(model.all_layers)
            if layer.clip is not None
        }
    )
    size = sum(value.nbytes for value in rounded.values())
    if size > MAX_WEIGHT_BYTES:
        raise EdgeLstmError(f"the model has {size} bytes of weights; accepted are at most {MAX_WEIGHT_BYTES}")
    return rounded


def _blocks(layer: FloatLayer) -> dict[str, Any]:
    """Constants of a Scan by block, matrices ready for products from the left."""
    constants: dict[str, Any] = {}
    for block in cell(layer.cell).matrices:
        constants[f"W.{block}"] = layer.W[block].T  # (inputs, hidden)
        constants[f"R.{block}"] = layer.R[block].T  # (outputs, hidden)
    for block in cell(layer.cell).blocks:
        constants[f"b.{block}"] = layer.b[block]  # (hidden,)
    constants |= {f"rb.{block}": bias for block, bias in layer.rb.items()}  # (hidden,)
    constants |= {f"p.{block}": weights for block, weights in layer.p.items()}  # (hidden,)
    if layer.P is not None:
        constants["P"] = layer.P.T  # (hidden, outputs)
    if layer.clip is not None:
        constants |= {"clip.low": -layer.clip, "clip.high": layer.clip}
    return constants


def _float32(name: str, value: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.asarray(value).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise EdgeLstmError(f"{name} holds a value that float32 can't hold")
    return rounded


def _check_positive(constants: dict[str, NDArray[np.float32]]) -> None:
    for name, value in constants.items():
        if not (value > 0).all():
            raise EdgeLstmError(f"{name} holds a value so small that float32 makes it 0")
