"""Look-up tables of the activations, and their largest error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.fixedpoint import QFormat
from edge_lstm.model import Table


def sigmoid(v: Any) -> NDArray[np.float64]:
    """1 / (1 + exp(-v)), without overflow for any finite v."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(v, np.float64)))


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"sigmoid": sigmoid, "tanh": np.tanh}

INDEX_BITS: Mapping[str, int] = {"sigmoid": 4, "tanh": 5}
"""Table index -128 to 127 then covers -8 to 8 for sigmoid and -4 to 4 for tanh, whose slope is 4 times steeper."""


def build(function: Literal["sigmoid", "tanh"], output: QFormat) -> Table:
    """The 256-entry table of a function, nearest entry."""
    bits = INDEX_BITS[function]
    index = np.arange(-128, 128) / 2**bits
    values = output.quantize(FUNCTIONS[function](index)).astype(np.int16)
    return Table(function=function, index_bits=bits, output=output, values=values)


def largest_error(table: Table) -> float:
    """Largest absolute error against the exact function over all reals, entries and indexing together.

    Every function tabulated is monotonic, so within a cell the error is largest at one of its ends; beyond
    the table it is largest where the function has reached its limit.
    """
    exact = FUNCTIONS[table.function]
    entries = table.output.dequantize(table.values)
    edges = (np.arange(-128, 127) + 0.5) / 2**table.index_bits  # between neighbouring cells
    inner = np.maximum(np.abs(entries[:-1] - exact(edges)), np.abs(entries[1:] - exact(edges)))
    outer = np.abs(entries[[0, -1]] - exact(np.array([-1e3, 1e3])))
    return float(max(inner.max(), outer.max()))
