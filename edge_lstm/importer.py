"""Float ONNX files that edge-lstm wrote, back to a ``FloatModel``.

A file is not trusted. Its metadata says which model it is, its initializers hold the weights; the graph of that
model is then built anew and must equal the file's. So nothing in a graph is interpreted, what is imported computes
what onnxruntime computes on the file, and a graph that was edited, optimized or converted is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.export.onnx_float import MAX_WEIGHT_BYTES, METADATA, DecoderDescription, Description, build
from edge_lstm.export.onnx_operators import DECODER, LayerDescription, Operator, bidirectional
from edge_lstm.files import read_bytes
from edge_lstm.heads import FloatAttention, FloatDecoder
from edge_lstm.layers import FloatDense, FloatLayer
from edge_lstm.model import FloatModel

MAX_METADATA_CHARACTERS = 2**20
MAX_FILE_BYTES = MAX_WEIGHT_BYTES + 2 * MAX_METADATA_CHARACTERS
"""Largest file read. A hostile one takes up to 100 times its size of memory, before anything in it can be looked at."""
MAX_MESSAGE = 300
"""Longest message [characters]: a file's own words may be part of it."""

Take = Callable[[str, int], NDArray[np.float64]]


def import_own(path: str | Path) -> FloatModel:
    """The model in a float ONNX file that edge-lstm wrote.

    The result's weights are the file's, exactly. The memory needed is a multiple of the file's size, which is limited.

    Raises:
        EdgeLstmError: The file is missing, too large, no ONNX file, not written by edge-lstm, altered or
            inconsistent; one line that names it.
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", extra="onnx", purpose="to read ONNX")
    protobuf = require("google.protobuf.message", package="protobuf", extra="onnx", purpose="to read ONNX")
    content = read_bytes(path, at_most=MAX_FILE_BYTES)
    try:
        proto = onnx.ModelProto.FromString(content)
        if not proto.HasField("graph"):
            raise EdgeLstmError("it has no graph, and is not an ONNX file")
        return own_model(proto)
    except (protobuf.DecodeError, UnicodeDecodeError):
        raise EdgeLstmError(f"{path} is not an ONNX file, or is truncated") from None
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{path}: {one_line(str(error))}") from None


def is_own(proto: Any) -> bool:
    """Whether a file says that edge-lstm wrote it."""
    return any(entry.key == METADATA for entry in proto.metadata_props)


def own_model(proto: Any) -> FloatModel:
    """The model of a file that edge-lstm wrote, read already. Every message is about "it", which the caller names.

    Raises:
        EdgeLstmError: See ``import_own``.
    """
    description = _description(proto)
    tensors = _tensors(proto.graph)

    def take(name: str, axes: int) -> NDArray[np.float64]:
        if name not in tensors:
            raise EdgeLstmError(f"there is no tensor {name!r}")
        if tensors[name].ndim != axes:
            raise EdgeLstmError(f"tensor {name!r} has {tensors[name].ndim} axes, and must have {axes}")
        with np.errstate(invalid="ignore"):  # a signalling NaN; the model refuses every NaN
            return tensors[name].astype(np.float64)

    attention = None
    if description.pooling == "attention":
        weights = take("attention/weights", 2).ravel()
        attention = FloatAttention(weights, take("attention/bias", 1), description.bounded)
    model = FloatModel(
        signature=description.signature,
        mean=take("input/mean", 1),
        std=take("input/std", 1),
        clip=description.clip,
        layers=_encoder(take, description.layers, tensors),
        pooling=description.pooling,
        dense_weights=take("dense/weights", 2),
        dense_bias=take("dense/bias", 1),
        relu_layers=tuple(
            FloatDense(take(f"relu{k}/weights", 2), take(f"relu{k}/bias", 1)) for k in range(description.relu_layers)
        ),
        attention=attention,
        decoder=None if description.decoder is None else _decoder(take, description.decoder),
    )
    _check_graph(proto, tensors, build(model))
    return model


def _description(proto: Any) -> Description:
    from pydantic import TypeAdapter, ValidationError

    found = [entry.value for entry in proto.metadata_props if entry.key == METADATA]
    if len(found) != 1:
        raise EdgeLstmError(f"it has no {METADATA!r} metadata; accepted are the float ONNX files that edge-lstm writes")
    if len(found[0]) > MAX_METADATA_CHARACTERS:
        raise EdgeLstmError(
            f"its metadata has {len(found[0])} characters; accepted are at most {MAX_METADATA_CHARACTERS}"
        )
    try:
        return TypeAdapter(Description).validate_json(found[0], strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise EdgeLstmError(": ".join(["metadata", *map(str, first["loc"]), first["msg"]])) from None


def _tensors(graph: Any) -> dict[str, NDArray[np.float32]]:
    """The graph's initializers, all float32 and inside the file."""
    onnx = require("onnx", extra="onnx", purpose="to read ONNX")
    tensors: dict[str, NDArray[np.float32]] = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise EdgeLstmError(f"tensor {tensor.name!r} is kept in another file, and must be in this one")
        if tensor.data_type != onnx.TensorProto.FLOAT:
            raise EdgeLstmError(f"tensor {tensor.name!r} has data type {tensor.data_type}, and must be float32 (1)")
        if tensor.name in tensors:
            raise EdgeLstmError(f"there are two tensors {tensor.name!r}")
        if any(length < 0 for length in tensor.dims) or tensor.HasField("segment"):
            raise EdgeLstmError(f"tensor {tensor.name!r} has a malformed shape")
        try:
            tensors[tensor.name] = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError):
            raise EdgeLstmError(f"tensor {tensor.name!r} does not have the values that its shape needs") from None
    return tensors


def _encoder(take: Take, described: Sequence[LayerDescription], names: Collection[str]) -> tuple[FloatLayer, ...]:
    """The layers from what ``export.onnx_float`` writes; the graph's equality covers what is not looked at here."""
    layers = []
    seconds = [_is_second(described, k, names) for k in range(len(described))] + [False]
    for k, layer in enumerate(described):
        at = _Packed(f"layer{k - 1 if seconds[k] else k}/", 1 + (seconds[k] or seconds[k + 1]), int(seconds[k]))
        weights = (
            _blocks(take, at.prefix, layer) if layer.operator is None else _packed(take, at, layer, layer.operator)
        )
        layers.append(_layer(take, f"layer{k}/", layer, weights))
    return tuple(layers)


def _is_second(described: Sequence[LayerDescription], k: int, names: Collection[str]) -> bool:
    """Whether a layer is the second direction of the operator before it: then it has no weights of its own."""
    alone = [layer.beside for layer in described[k - 1 : k + 2]] in ([False, True], [False, True, False])
    return k > 0 and alone and bidirectional(described[k - 1], described[k]) and f"layer{k}/W" not in names


def _decoder(take: Take, described: DecoderDescription) -> FloatDecoder:
    layers = []
    for k, layer in enumerate(described.layers):
        prefix = f"{DECODER}{k}/"
        layers.append(_layer(take, prefix, layer, _blocks(take, prefix, layer)))
    return FloatDecoder(tuple(layers), described.steps)


def _layer(take: Take, prefix: str, described: LayerDescription, weights: dict[str, Any]) -> FloatLayer:
    """A layer from its weights, as arguments of ``FloatLayer``, and the rest."""
    begins = {state: described.begins_as(state) for state in cell(described.cell).states}
    return FloatLayer(
        described.cell,
        modes=described.modes,
        squash=described.squash,
        reverse=described.reverse,
        beside=described.beside,
        initial={state: take(f"{prefix}initial.{name}", 1) for state, name in begins.items() if name},
        clip=described.clip,
        **weights,
    )


def _blocks(take: Take, prefix: str, described: LayerDescription) -> dict[str, Any]:
    """The weights that a Scan has, block by block."""
    kind = cell(described.cell)

    def rows(name: str) -> NDArray[np.float64]:
        return np.ascontiguousarray(take(prefix + name, 2).T)  # NumPy's products depend on it in the last bit

    return {
        "W": {b: rows(f"W.{b}") for b in kind.matrices},
        "R": {b: rows(f"R.{b}") for b in kind.matrices},
        "b": {b: take(f"{prefix}b.{b}", 1) for b in kind.blocks},
        "rb": {b: take(f"{prefix}rb.{b}", 1) for b in kind.split},
        "p": {b: take(f"{prefix}p.{b}", 1) for b in kind.peepholes},
        "P": rows("P") if kind.projected else None,
    }


class _Packed(NamedTuple):
    """Where an operator's weights are: its tensors' prefix, its number of directions, and which of them."""

    prefix: str
    directions: int
    direction: int


def _packed(take: Take, at: _Packed, described: LayerDescription, operator: Operator) -> dict[str, Any]:
    """The weights of a direction of an operator."""
    kind, blocks = cell(described.cell), operator.blocks

    def unpack(name: str, axes: int, parts: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
        """The parts of (directions, parts*hidden, ...) by name, each (hidden, ...)."""
        packed = take(at.prefix + name, axes)
        if packed.shape[0] != at.directions or packed.shape[1] % len(parts):
            wanted = f"({at.directions}, {len(parts)}*hidden, ...)"
            raise EdgeLstmError(f"tensor {at.prefix + name!r} has shape {packed.shape}, and must have {wanted}")
        return dict(zip(parts, np.split(packed[at.direction], len(parts)), strict=True))

    W, R = unpack("W", 3, blocks), unpack("R", 3, blocks)
    both = unpack("B", 2, (*blocks, *(f"rb.{b}" for b in blocks)))
    W, R, bias = ({b: group[b] for b in kind.blocks} for group in (W, R, both))
    rb = {b: both[f"rb.{b}"] for b in kind.split}
    return {"W": W, "R": R, "b": bias, "rb": rb, "p": unpack("P", 2, operator.peepholes) if operator.peepholes else {}}


def _check_graph(proto: Any, tensors: dict[str, NDArray[np.float32]], wanted: Any) -> None:
    """Raise unless a file's graph is the one that we write; the ``wanted`` one passed ONNX's checker."""
    ours = _tensors(wanted.graph)
    same = ours.keys() == tensors.keys() and all(np.array_equal(ours[k], tensors[k]) for k in ours)
    for each in (proto, wanted):  # what is compared above, and what does not bear on the meaning
        each.graph.ClearField("initializer")
        each.ClearField("metadata_props")
        each.ClearField("producer_version")
    if not same or proto != wanted:
        raise EdgeLstmError(
            "the graph is not the one that edge-lstm writes for its metadata; accepted are files as they were written"
        )


def one_line(text: str) -> str:
    """One line of limited length, without control characters."""
    printable = "".join(c if c.isprintable() else "?" for c in text[: MAX_MESSAGE + 1])
    return printable if len(printable) <= MAX_MESSAGE else printable[: MAX_MESSAGE - 1] + "…"
