"""A stranger's ONNX file, read with care: nothing is executed, and time and memory are bounded.

The file is at most ``MAX_FILE_BYTES``, so that its tensors are, which must all be inside it. A graph has at most
``MAX_NODES`` nodes, whose subgraphs are counted and nest at most ``MAX_DEPTH`` deep.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.files import read_bytes

MAX_FILE_BYTES = 64 * 2**20
MAX_NODES = 20_000
MAX_DEPTH = 8
OPSETS = range(7, 27)
DOMAINS = ("", "ai.onnx")


def read(path: str | Path) -> Any:
    """The ``onnx.ModelProto`` of a file, checked.

    Raises:
        EdgeLstmError: It is missing, too large, no ONNX file, or inconsistent; one line that names it.
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", extra="onnx", purpose="to read ONNX")
    protobuf = require("google.protobuf.message", package="protobuf", extra="onnx", purpose="to read ONNX")
    content = read_bytes(path, at_most=MAX_FILE_BYTES)
    try:
        proto = onnx.ModelProto.FromString(content)
    except (protobuf.DecodeError, UnicodeDecodeError):
        raise EdgeLstmError(f"{path} is not an ONNX file, or is truncated") from None
    try:
        check(proto)
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{path}: {error}") from None
    return proto


def check(proto: Any) -> None:
    """Raise `EdgeLstmError` for a model that could not be looked at safely, or makes no sense."""
    if not proto.HasField("graph"):
        raise EdgeLstmError("it has no graph, and is not an ONNX file")
    for opset in proto.opset_import:
        if opset.domain in DOMAINS and opset.version not in OPSETS:
            raise EdgeLstmError(f"opset {opset.version}; accepted are {OPSETS[0]} to {OPSETS[-1]}")
    if not any(opset.domain in DOMAINS for opset in proto.opset_import):
        raise EdgeLstmError("it does not say which opset of ONNX it uses")
    if len(proto.functions) > 0:
        raise EdgeLstmError(f"it defines {len(proto.functions)} functions of its own; inline them when exporting")
    nodes = sum(1 for _ in _nodes(proto.graph, 0))
    if nodes > MAX_NODES:
        raise EdgeLstmError(f"it has {nodes} nodes; accepted are at most {MAX_NODES}")


def _nodes(graph: Any, depth: int) -> Iterator[Any]:
    if depth > MAX_DEPTH:
        raise EdgeLstmError(f"its subgraphs nest more than {MAX_DEPTH} deep")
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else [*attribute.graphs]:
                yield from _nodes(inner, depth + 1)


def opset(proto: Any) -> int:
    """Version of ONNX's own operators."""
    return max(int(o.version) for o in proto.opset_import if o.domain in DOMAINS)


def tensor(name: str, proto: Any) -> NDArray[Any]:
    """A tensor of the file.

    Raises:
        EdgeLstmError: It is kept elsewhere, malformed, or has a value that is not finite.
    """
    onnx = require("onnx", extra="onnx", purpose="to read ONNX")
    if proto.data_location == onnx.TensorProto.EXTERNAL or proto.external_data:
        raise EdgeLstmError(f"tensor {name!r} is kept in another file; save the model with its weights inside")
    if any(length < 0 for length in proto.dims) or proto.HasField("segment"):
        raise EdgeLstmError(f"tensor {name!r} has a malformed shape")
    try:
        array = onnx.numpy_helper.to_array(proto)
    except (ValueError, TypeError, KeyError):
        raise EdgeLstmError(f"tensor {name!r} does not have the values that its shape needs") from None
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # a signalling NaN
            finite = np.isfinite(array.astype(np.float64))
        if not finite.all():
            where = tuple(int(k) for k in np.argwhere(~finite)[0])
            raise EdgeLstmError(f"tensor {name!r} holds {array[where]} at {where}; every value must be finite")
    return np.asarray(array)
