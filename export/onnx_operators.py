"""Which recurrent layers are ONNX's operators ``LSTM``, ``GRU`` and ``RNN``, and how their weights are packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_lstm.cells import cell
from edge_lstm.gates import GateMode
from edge_lstm.layers import FloatLayer, Squashing
from edge_lstm.wiring import levels

DECODER = "decoder"
"""Goes, with the layer's number, before the names of the constants of a decoder's layer."""


@dataclass(frozen=True)
class Operator:
    """How an ONNX operator computes a cell.

    Args:
        kind: Name of the operator.
        blocks: The cell's blocks in the operator's order; ``-f`` is the rows of ``f`` with the other sign.
        peepholes: The cell's peepholes in the operator's order.
        attributes: Of the operator, beside those that a layer has.
    """

    kind: str
    blocks: tuple[str, ...]
    peepholes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


OPERATORS: Mapping[str, Operator] = {
    "lstm": Operator("LSTM", ("i", "o", "f", "g")),
    "peephole": Operator("LSTM", ("i", "o", "f", "g"), ("i", "o", "f")),
    # ONNX does not say which of i and f input_forget computes from the other (onnxruntime: f = 1 - i). With s(-z) for
    # i, which is 1 - s(z), both readings are the cell, and so is an LSTM that ignores the attribute.
    "cifg": Operator("LSTM", ("-f", "o", "f", "g"), (), {"input_forget": 1}),
    "gru": Operator("GRU", ("z", "r", "n"), (), {"linear_before_reset": 0}),
    "gru-after": Operator("GRU", ("z", "r", "n"), (), {"linear_before_reset": 1}),
    "rnn": Operator("RNN", ("t",), (), {"activations": ["Tanh"]}),
    "rnn-relu": Operator("RNN", ("t",), (), {"activations": ["Relu"]}),
}
"""Cells that are an ONNX operator where all gates are soft and all functions exact. They limit pre-activations where
the operator's ``clip`` does. The states h and c of a GRU are the operator's one state."""


@dataclass(frozen=True)
class LayerDescription:
    """What the graph doesn't say of a layer.

    Args:
        cell: Name of the cell.
        modes: Gate name to mode.
        squash: Functions are ``exact`` or ``hard``; files of earlier versions, which don't say it, have exact ones.
        reverse, beside, clip: As of a ``FloatLayer``.
        initial: States that have a tensor with their initial value.
    """

    cell: str
    modes: Mapping[str, GateMode]
    squash: Squashing = "exact"
    reverse: bool = False
    beside: bool = False
    initial: tuple[str, ...] = ()
    clip: float | None = None

    @property
    def operator(self) -> Operator | None:
        """The ONNX operator that is this layer; None where it takes a Scan."""
        soft = all(mode == "soft" for mode in self.modes.values())
        apart = _one_state(self.cell) and "c" in self.initial
        return OPERATORS.get(self.cell) if soft and self.squash == "exact" and not apart else None

    def begins_as(self, state: str) -> str | None:
        """The state whose tensor has the initial value of this one; None where it begins with zero."""
        if state in self.initial:
            return state
        return "h" if "h" in self.initial and _one_state(self.cell) else None


def describe(layer: FloatLayer) -> LayerDescription:
    """The description of a layer."""
    initial = tuple(initial_values(layer))
    return LayerDescription(layer.cell, layer.modes, layer.squash, layer.reverse, layer.beside, initial, layer.clip)


def initial_values(layer: FloatLayer) -> dict[str, Any]:
    """State name to its initial value, of those with a tensor for it: h alone where h and c are to be one state."""
    if not layer.initial or not _one_state(layer.cell):
        return {s: layer.initial[s] for s in cell(layer.cell).states if s in layer.initial}
    values = {s: layer.initial.get(s, np.zeros(n)) for s, n in layer.lengths.items()}
    with np.errstate(over="ignore", under="ignore"):
        h, c = (values[s].astype(np.float32) for s in ("h", "c"))
    return {"h": values["h"]} if np.array_equal(h, c) else values


def bidirectional(first: LayerDescription, second: LayerDescription) -> bool:
    """Whether two layers, which alone make a level, are one operator if they have equally many units."""
    same = (first.cell, first.clip) == (second.cell, second.clip)
    return same and None not in (first.operator, second.operator) and (first.reverse, second.reverse) == (False, True)


def parts(layers: Sequence[FloatLayer]) -> list[list[tuple[int, ...]]]:
    """Indices of the layers of each level, first to last; those together that are one operator."""
    found: list[list[tuple[int, ...]]] = []
    for level in levels(layers):
        members = [layers[k] for k in level]
        one = len(level) == 2 and bidirectional(*map(describe, members)) and len({m.hidden for m in members}) == 1
        found.append([level] if one else [(k,) for k in level])
    return found


def packed(layers: Sequence[FloatLayer], operator: Operator) -> dict[str, Any]:
    """Constants of an operator: its blocks below each other, with an axis for the layers, one of each direction."""
    apart = [_packed(layer, operator) for layer in layers]
    return {name: np.stack([constants[name] for constants in apart]) for name in apart[0]}


def _packed(layer: FloatLayer, operator: Operator) -> dict[str, Any]:
    def rows(group: Mapping[str, Any], block: str) -> Any:
        return -group[block[1:]] if block.startswith("-") else group[block]

    zeros = np.zeros(layer.hidden)  # the operator has two biases for each block; ours is one, except of split blocks
    biases = [rows(layer.b, b) for b in operator.blocks] + [layer.rb.get(b, zeros) for b in operator.blocks]
    constants = {
        "W": np.concatenate([rows(layer.W, b) for b in operator.blocks]),  # (blocks*hidden, inputs)
        "R": np.concatenate([rows(layer.R, b) for b in operator.blocks]),  # (blocks*hidden, hidden)
        "B": np.concatenate(biases),  # (2*blocks*hidden,)
    }
    if operator.peepholes:
        constants["P"] = np.concatenate([layer.p[b] for b in operator.peepholes])  # (peepholes*hidden,)
    return constants


def _one_state(name: str) -> bool:
    return name in OPERATORS and OPERATORS[name].kind == "GRU"
