"""Models to JSON plus tensors, and the digest that identifies their content. Standard library and NumPy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]


def encode(model: Any) -> tuple[str, Tensors]:
    """A frozen dataclass as JSON in which each array is replaced by its name, and the arrays by name.

    A field that has its default value is left out, so that a field that is added later, with a default, changes neither
    the files nor the digests of models that don't use it.
    """
    tensors: Tensors = {}
    content = _plain(model, "", tensors)
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False), tensors


def _plain(value: Any, path: str, tensors: Tensors) -> Any:
    if isinstance(value, np.ndarray):
        tensors[path] = np.ascontiguousarray(value)
        return path
    if dataclasses.is_dataclass(value):
        value = {f.name: v for f in dataclasses.fields(value) if not _is_default(f, v := getattr(value, f.name))}
    if isinstance(value, Mapping):
        return {k: _plain(v, f"{path}.{k}" if path else k, tensors) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v, f"{path}.{k}", tensors) for k, v in enumerate(value)]
    return value


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and type(value) is type(field.default) and value == field.default


def content_digest(content: str, tensors: Tensors) -> str:
    """SHA-256, in hexadecimal, of the JSON and of each tensor's name, type, shape and little-endian bytes."""
    sha = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        little = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False)
        sha.update(f"\0{name}\0{tensor.dtype.name}\0{tensor.shape}\0".encode())
        sha.update(little.tobytes())
    return sha.hexdigest()


def digest(model: Any) -> str:
    """SHA-256 of a model's content."""
    return content_digest(*encode(model))
