"""Model files: a safetensors container whose header holds the model as JSON, its version and its SHA-256.

Both kinds of model are kept in this form: ``.elstm`` (quantized) and the float model of a training run.
Nothing in a file is executed. The memory needed is a small multiple of the file's size, which is limited.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edge_lstm.codec import content_digest, encode
from edge_lstm.container import read_container
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import write_bytes
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel, QuantizedModel

FORMAT = "edge-lstm"
VERSION = "1"
MAX_FILE_BYTES = 256 * 2**20

M = TypeVar("M", FloatModel, QuantizedModel, QuantizedGraph)
_KINDS: dict[type[Any], str] = {FloatModel: "float", QuantizedModel: "quantized", QuantizedGraph: "quantized-graph"}


def save(model: FloatModel | IntegerModel, path: str | Path) -> None:
    """Write a model; the file appears whole or not at all, and equal models give equal files.

    Raises:
        EdgeLstmError: The file can't be written.
    """
    from safetensors.numpy import save as serialize

    content, tensors = encode(model)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "kind": _KINDS[type(model)],
        "sha256": content_digest(content, tensors),
        "content": content,
    }
    write_bytes(path, _sorted(serialize(tensors, metadata=metadata)))


def _sorted(container: bytes) -> bytes:
    """The same container with its header's keys in order: equal models give equal files."""
    length = int.from_bytes(container[:8], "little")
    header = json.dumps(json.loads(container[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + container[8 + length :]


def load(path: str | Path) -> QuantizedModel | QuantizedGraph:
    """Read a quantized model (``.elstm``).

    Raises:
        EdgeLstmError: The file is missing, truncated, altered, of another kind or version, or inconsistent.
    """
    content = read_container(Path(path), at_most=MAX_FILE_BYTES, kind="model file")
    if content[0].get("kind") == _KINDS[QuantizedGraph]:
        return _lowered(path, _load(path, QuantizedGraph, *content))
    return _load(path, QuantizedModel, *content)


def _lowered(path: str | Path, graph: QuantizedGraph) -> QuantizedGraph:
    """A graph whose nodes fit each other: what loads can be run."""
    try:
        _ = graph.lowered
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{path}: {error}") from None
    return graph


def load_float(path: str | Path) -> FloatModel:
    """Read a float model; raises as ``load``."""
    return _load(path, FloatModel, *read_container(Path(path), at_most=MAX_FILE_BYTES, kind="model file"))


def _load(path: str | Path, kind: type[M], metadata: dict[str, str], tensors: dict[str, Any]) -> M:
    from pydantic import ValidationError

    for key, wanted in (("format", FORMAT), ("version", VERSION), ("kind", _KINDS[kind])):
        if metadata.get(key) != wanted:
            raise EdgeLstmError(f"{path}: {key} is {metadata.get(key)!r}, and must be {wanted!r}")
    content = metadata.get("content", "")
    if content_digest(content, tensors) != metadata.get("sha256"):
        raise EdgeLstmError(f"{path}: the content does not match its SHA-256: the file was altered or damaged")
    try:
        model: M = _adapter(_KINDS[kind]).validate_json(content, strict=True, context=tensors)
        if json.loads(encode(model)[0]) != json.loads(content):
            raise EdgeLstmError("it says more of the model than this version knows: a newer edge-lstm wrote it")
        return model
    except ValidationError as error:
        errors = error.errors()  # one of several kinds of value lacks the fields of the others
        first = next((e for e in errors if e["type"] != "missing"), errors[0])
        where = ".".join(str(k) for k in first["loc"])
        raise EdgeLstmError(f"{path}: {where}: {first['msg']}") from None
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{path}: {error}") from None


@cache
def _adapter(name: str) -> Any:
    """What reads a kind of model; takes a while to make."""
    from pydantic import TypeAdapter

    return TypeAdapter(next(kind for kind, known in _KINDS.items() if known == name))
