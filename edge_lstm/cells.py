"""The recurrent cells as float equations: names of blocks, gates and states, and one time step.

The equations are generic in the array type, so that NumPy and PyTorch evaluate the same lines.
Blocks are rows of weights; they are referred to by name, never by position (ONNX packs i, o, f, c;
PyTorch i, f, g, o; Keras i, f, c, o).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge_lstm.errors import EdgeLstmError


class Activations(Protocol):
    """What a step needs beside + and *: the gates' and the squashing functions, on any array type."""

    def gate(self, name: str, z: Any) -> Any:
        """Value of gate ``name``, in [0, 1]."""

    def tanh(self, v: Any) -> Any:
        """Hyperbolic tangent."""


@dataclass(frozen=True)
class Cell:
    """A recurrent cell.

    Attributes:
        name: As on the command line.
        blocks: Names of the blocks of weight rows, each (hidden, inputs + hidden).
        gates: The blocks that are gates.
        states: Names of the state vectors, each (hidden,); the first is the output.
        step: ``step(z, states, activations) -> values`` of one time step: ``z`` maps a block to its
            pre-activation (..., hidden); ``values`` has every gate, intermediate and next state by name.
    """

    name: str
    blocks: tuple[str, ...]
    gates: tuple[str, ...]
    states: tuple[str, ...]
    step: Callable[[Mapping[str, Any], Mapping[str, Any], Activations], dict[str, Any]]


def _lstm(z: Mapping[str, Any], states: Mapping[str, Any], activations: Activations) -> dict[str, Any]:
    """Gers, Schmidhuber and Cummins, "Learning to forget", 1999; z = W x + R h + b per block."""
    i = activations.gate("i", z["i"])
    f = activations.gate("f", z["f"])
    o = activations.gate("o", z["o"])
    g = activations.tanh(z["g"])  # candidate
    c = f * states["c"] + i * g
    t = activations.tanh(c)
    return {"i": i, "f": f, "o": o, "g": g, "c": c, "t": t, "h": o * t}


LSTM = Cell(name="lstm", blocks=("i", "f", "g", "o"), gates=("i", "f", "o"), states=("h", "c"), step=_lstm)

CELLS: Mapping[str, Cell] = {LSTM.name: LSTM}


def cell(name: str) -> Cell:
    """The cell of that name.

    Raises:
        EdgeLstmError: There is none.
    """
    if name not in CELLS:
        raise EdgeLstmError(f"no cell {name!r}; accepted are {', '.join(CELLS)}")
    return CELLS[name]
