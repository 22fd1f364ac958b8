"""Reading ``.npz`` files of strangers: plain arrays only, in bounded memory."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import read_bytes, write_bytes

MAX_BYTES = 2**31
"""Largest file, and largest size of all its arrays."""


def read_arrays(path: Path, *, at_most: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """All arrays of an ``.npz`` file by name.

    Args:
        path: The file.
        at_most: Bytes that it may have, and that its arrays may have.

    Raises:
        EdgeLstmError: It is missing, damaged or too large, or would have to be unpickled; names the file.
    """
    content = read_bytes(path, at_most=at_most)
    if content[:6] == b"\x93NUMPY":
        raise EdgeLstmError(f"{path}: is a single array (.npy), needed an .npz file")
    try:
        # An archive says how large its members are before they are unpacked.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > at_most:
            raise EdgeLstmError(f"{path} unpacks to {size} bytes; accepted are at most {at_most}")
        with warnings.catch_warnings(), np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            warnings.simplefilter("ignore")  # NumPy warns of odd headers; what they hold is checked by the caller
            arrays = {name: loaded[name] for name in loaded.files}
    except EdgeLstmError:
        raise
    except Exception as error:  # damaged and hostile files make the parsers raise anything, up to MemoryError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EdgeLstmError(f"{path}: can't be read as an .npz file of plain arrays: {reason}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy hands over a member without an array header as bytes
            raise EdgeLstmError(f"{path}: member {name} is not an array")
    return arrays


def write_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write an ``.npz`` file; it appears whole or not at all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:  # savez of NumPy < 2.1 may write pickles
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)  # type: ignore[no-untyped-call]
    write_bytes(path, buffer.getvalue())
