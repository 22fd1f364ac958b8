"""Float ONNX files that edge-lstm wrote, back to a ``FloatModel``.

A file is not trusted. Its metadata says which model it is, its initializers hold the weights; the graph of that
model is then built anew and must equal the file's. So nothing in a graph is interpreted, what is imported computes
what onnxruntime computes on the file, and a graph that was edited, optimized or converted is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.export.onnx_float import MAX_WEIGHT_BYTES, METADATA, Description, LayerDescription, build
from edge_lstm.files import read_bytes
from edge_lstm.model import FloatDense, FloatLayer, FloatModel

MAX_METADATA_CHARACTERS = 2**20
MAX_FILE_BYTES = MAX_WEIGHT_BYTES + 2 * MAX_METADATA_CHARACTERS
"""Largest file read. A hostile one takes up to 100 times its size of memory, before anything in it can be looked at."""
MAX_MESSAGE = 300
"""Longest message [characters]: a file's own words may be part of it."""

Take = Callable[[str, int], NDArray[np.float64]]


def import_onnx(path: str | Path) -> FloatModel:
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
        return _model(proto)
    except (protobuf.DecodeError, UnicodeDecodeError):
        raise EdgeLstmError(f"{path} is not an ONNX file, or is truncated") from None
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{path}: {_line(str(error))}") from None


def _model(proto: Any) -> FloatModel:
    """Every message is about "the file", which the caller names."""
    description = _description(proto)
    tensors = _tensors(proto.graph)

    def take(name: str, axes: int) -> NDArray[np.float64]:
        if name not in tensors:
            raise EdgeLstmError(f"there is no tensor {name!r}")
        if tensors[name].ndim != axes:
            raise EdgeLstmError(f"tensor {name!r} has {tensors[name].ndim} axes, and must have {axes}")
        with np.errstate(invalid="ignore"):  # a signalling NaN; the model refuses every NaN
            return tensors[name].astype(np.float64)

    model = FloatModel(
        signature=description.signature,
        mean=take("input/mean", 1),
        std=take("input/std", 1),
        clip=description.clip,
        layers=tuple(_layer(take, f"layer{k}/", layer) for k, layer in enumerate(description.layers)),
        pooling=description.pooling,
        dense_weights=take("dense/weights", 2),
        dense_bias=take("dense/bias", 1),
        relu_layers=tuple(
            FloatDense(take(f"relu{k}/weights", 2), take(f"relu{k}/bias", 1)) for k in range(description.relu_layers)
        ),
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


def _layer(take: Take, prefix: str, described: LayerDescription) -> FloatLayer:
    """A layer from what ``export.onnx_float`` packs; the graph's equality covers what is not looked at here."""
    kind = cell(described.cell)
    p, P = dict[str, NDArray[np.float64]](), None
    if described.operator is None:
        W = {b: take(f"{prefix}W.{b}", 2).T for b in kind.blocks}
        R = {b: take(f"{prefix}R.{b}", 2).T for b in kind.blocks}
        bias = {b: take(f"{prefix}b.{b}", 1) for b in kind.blocks}
        rb = {b: take(f"{prefix}rb.{b}", 1) for b in kind.split}
        p = {b: take(f"{prefix}p.{b}", 1) for b in kind.peepholes}
        P = take(f"{prefix}P", 2).T if kind.projected else None
    else:
        blocks, peepholes = described.operator.blocks, described.operator.peepholes
        W = _unpack(f"{prefix}W", take(f"{prefix}W", 3), blocks)
        R = _unpack(f"{prefix}R", take(f"{prefix}R", 3), blocks)
        both = _unpack(f"{prefix}B", take(f"{prefix}B", 2), (*blocks, *(f"rb.{b}" for b in blocks)))
        W, R, bias = ({b: group[b] for b in kind.blocks} for group in (W, R, both))
        rb = {b: both[f"rb.{b}"] for b in kind.split}
        if peepholes:
            p = _unpack(f"{prefix}P", take(f"{prefix}P", 2), peepholes)
    return FloatLayer(described.cell, W, R, bias, described.modes, rb, p, P, described.squash)


def _unpack(name: str, packed: NDArray[np.float64], parts: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """The parts of (1, parts*hidden, ...) by name, each (hidden, ...)."""
    if packed.shape[0] != 1 or packed.shape[1] % len(parts):
        raise EdgeLstmError(f"tensor {name!r} has shape {packed.shape}, and must have (1, {len(parts)}*hidden, ...)")
    return dict(zip(parts, np.split(packed[0], len(parts)), strict=True))


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


def _line(text: str) -> str:
    """One line of limited length, without control characters."""
    printable = "".join(c if c.isprintable() else "?" for c in text[: MAX_MESSAGE + 1])
    return printable if len(printable) <= MAX_MESSAGE else printable[: MAX_MESSAGE - 1] + "…"
