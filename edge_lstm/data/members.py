"""Arrays of a known file, checked one by one: what every reader of a particular `.npz` file begins with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.npz import read_arrays

MAX_BYTES = 2**27
"""Largest file of recordings, and largest size of all its arrays; what readers make of them is at most 8 times that."""

_KINDS: Mapping[str, Any] = {"integers": np.integer, "booleans": np.bool_, "texts": np.str_}


class Members:
    """The arrays of an `.npz` file.

    Args:
        path: The file.

    Raises:
        EdgeLstmError: It can't be read, is too large, or would have to be unpickled; names the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrays = read_arrays(path, at_most=MAX_BYTES)

    def take(self, key: str, kind: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """The array of that name.

        Args:
            key: Its name.
            kind: ``integers``, ``booleans`` or ``texts``.
            shape: What it must have; None where any length but 0 is right.

        Raises:
            EdgeLstmError: There is none, or it is something else.
        """
        if key not in self._arrays:
            found = ", ".join(sorted(self._arrays)) or "nothing"
            raise EdgeLstmError(f"{self._path}: needed {key}, found {found}")
        array = self._arrays[key]
        if not np.issubdtype(array.dtype, _KINDS[kind]):
            raise EdgeLstmError(f"{self._path}: {key} must be {kind}, found {array.dtype}")
        fits = array.ndim == len(shape) and all(
            found > 0 if wanted is None else found == wanted for found, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits:
            wanted = "(" + ", ".join("n" if length is None else str(length) for length in shape) + ")"
            raise EdgeLstmError(f"{self._path}: {key} must have shape {wanted}, found {array.shape}")
        return array
