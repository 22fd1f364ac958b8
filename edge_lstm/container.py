"""Reading a safetensors container, which may be hostile."""

from __future__ import annotations

from pathlib import Path

from edge_lstm.codec import Tensors
from edge_lstm.errors import EdgeLstmError


def read_container(path: Path, *, at_most: int, kind: str) -> tuple[dict[str, str], Tensors]:
    """Its metadata and tensors.

    Args:
        path: The file.
        at_most: Bytes that are accepted.
        kind: What it should be, for the error.

    Raises:
        EdgeLstmError: It can't be read, is no such container, or too large.
    """
    from safetensors import SafetensorError, safe_open

    try:
        size = path.stat().st_size
        if not path.is_file():
            raise EdgeLstmError(f"can't read {path}: it is a folder, a device or a pipe, and should be a file")
        if size > at_most:
            raise EdgeLstmError(f"{path} has {size} bytes; accepted are at most {at_most}")
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise EdgeLstmError(f"can't read {path}: {error.strerror or error}") from error
    except (SafetensorError, TypeError, AttributeError) as error:  # the latter two: a type that NumPy lacks
        raise EdgeLstmError(f"{path} is no {kind} of edge-lstm, or is truncated ({error})") from None
