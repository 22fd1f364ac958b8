"""The recurrent cell that a graph of one step computes, where it is one of ``cells``.

The cell's blocks are found among the graph's functions, whose arguments are affine in x and h. Which of them is which
block is found by trying: the layer that is taken computes what the graph computes, on random values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import run_layer
from edge_lstm.gates import GateMode
from edge_lstm.graph.affine import MAX_ELEMENTS, Affine, forms
from edge_lstm.graph.by_step import Binary, Function, Input
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.node import Array
from edge_lstm.layers import FloatLayer

CELLS = "an LSTM, a GRU, or a simple cell with tanh or relu"
TRIED = 8
"""Random windows on which a layer and a graph are compared."""
SAME = 1e-6
"""Constants of a file, such as 1/6, are float32."""
MAX_CANDIDATES = 200


@dataclass(frozen=True)
class Step:
    """One step of a recurrence.

    Args:
        body: The graph, of vectors; its outputs are the new states, called as the inputs that are the old ones.
        x: The input that is the sample of this step.
        states: Inputs that are states, in any order.
    """

    body: FloatGraph
    x: str
    states: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A cell.

    Args:
        layer: Its weights.
        roles: State of the graph to ``h`` or ``c``.
    """

    layer: FloatLayer
    roles: dict[str, str]


@dataclass(frozen=True)
class _Block:
    """Some rows of a function's argument: ``mode`` of a gate, else the ``function``."""

    mode: GateMode | None
    function: str
    rows: Affine


def cell_of(step: Step) -> Found | None:
    """The cell; None where it is none of ``CELLS``."""
    elements = sum(shape.width**2 for shape in step.body.shapes)
    if not 1 <= len(step.states) <= 2 or elements > MAX_ELEMENTS:
        return None
    known = forms(step.body)
    tried = 0
    for order in permutations(step.states):
        roles = dict(zip(order, ("h", "c"), strict=False))
        for layer in _candidates(step, known, order[0]):
            tried += 1
            if tried > MAX_CANDIDATES:
                return None
            if layer is not None and _computes(layer, step, roles):
                return Found(layer, roles)
    return None


def _candidates(step: Step, known: Sequence[Affine], h: str) -> Iterator[FloatLayer | None]:
    """Layers that it may be, with state ``h``."""
    body = step.body
    at = {node.name: k for k, node in enumerate(body.nodes) if isinstance(node, Input)}
    x_at, h_at = at[step.x], at[h]
    if body.shapes[x_at].steps:
        return
    blocks = list(_blocks(body, known, body.shapes[h_at].width))
    direct = [block for block in blocks if set(block.rows.terms) <= {x_at, h_at}]
    gates = [block for block in direct if block.mode is not None]
    squashed = [block for block in direct if block.mode is None]
    made = _Made(body.shapes[x_at].width, body.shapes[h_at].width, x_at, h_at)
    if len(step.states) == 2:
        for i, f, o in permutations(gates, 3):
            for g in squashed:
                if g.function == "tanh":
                    yield made.layer("lstm", {"i": i, "f": f, "g": g, "o": o})
        return
    for t in squashed:
        yield made.layer("rnn" if t.function == "tanh" else "rnn-relu", {"t": t})
    for z, r in permutations(gates, 2):
        for n in blocks:
            products = set(n.rows.terms) - {x_at}
            if n.function != "tanh" or n.mode is not None or len(products) != 1:
                continue
            (product,) = products
            node = body.nodes[product]
            if not isinstance(node, Binary) or node.name != "mul":
                continue
            yield made.layer("gru", {"z": z, "r": r, "n": n}, recurrent={"n": n.rows.terms[product]})
            for side in (known[node.left], known[node.right]):
                if set(side.terms) == {h_at} and n.rows.terms[product].shape[1] == len(side.offset):
                    mixed = side.times(n.rows.terms[product])
                    split = {"n": mixed.offset}
                    yield made.layer(
                        "gru-after", {"z": z, "r": r, "n": n}, recurrent={"n": mixed.terms[h_at]}, rb=split
                    )


def _blocks(body: FloatGraph, known: Sequence[Affine], units: int) -> Iterator[_Block]:
    """All functions of as many features as there are units, or of multiples of them."""
    for node in body.nodes:
        if not isinstance(node, Function):
            continue
        mode: GateMode | None = None
        rows = known[node.source]
        if node.name == "sigmoid":
            mode = "soft"
        elif node.name == "hard-sigmoid":
            mode, rows = "hard-sigmoid", _hard(rows, node.alpha, node.beta)
        elif node.name == "clip" and node.alpha == 0 and 0 < node.beta < np.inf:
            mode, rows = "hard-sigmoid", _hard(rows, 1 / node.beta, 0.0)
        elif node.name not in ("tanh", "relu"):
            continue
        for start in range(0, len(rows.offset) - units + 1, units):
            yield _Block(mode, node.name, rows.rows(slice(start, start + units)))


def _hard(rows: Affine, alpha: float, beta: float) -> Affine:
    """The z of which ``z / 4 + 1/2`` is ``alpha v + beta``."""
    return Affine({k: 4 * alpha * m for k, m in rows.terms.items()}, 4 * (alpha * rows.offset + beta - 0.5))


@dataclass(frozen=True)
class _Made:
    """Layers of so many inputs and units, from blocks."""

    inputs: int
    units: int
    x: int
    h: int

    def layer(
        self,
        name: str,
        blocks: dict[str, _Block],
        recurrent: dict[str, Array] | None = None,
        rb: dict[str, Array] | None = None,
    ) -> FloatLayer | None:
        kind, found = cell(name), recurrent or {}
        zero = np.zeros((self.units, self.units))
        R = {b: found.get(b, blocks[b].rows.terms.get(self.h, zero)) for b in kind.blocks}
        W = {b: blocks[b].rows.terms.get(self.x, np.zeros((self.units, self.inputs))) for b in kind.blocks}
        modes: dict[str, GateMode] = {gate: blocks[gate].mode or "soft" for gate in kind.gates}
        try:
            return FloatLayer(name, W, R, {b: blocks[b].rows.offset for b in kind.blocks}, modes, rb=rb or {})
        except EdgeLstmError:  # shapes that no layer has
            return None


def _computes(layer: FloatLayer, step: Step, roles: dict[str, str]) -> bool:
    """Whether a layer's new states are those of the graph."""
    rng = np.random.default_rng(0)
    shapes = step.body.shapes
    given = {
        node.name: rng.normal(0, 1, (TRIED, shapes[k].width))
        for k, node in enumerate(step.body.nodes)
        if isinstance(node, Input)
    }
    begun = {roles[s]: given[s] for s in step.states}
    if cell(layer.cell).unit_cell:
        begun["c"] = begun["h"]
    if set(begun) != set(layer.lengths) or any(begun[s].shape[1] != n for s, n in layer.lengths.items()):
        return False
    values = step.body.evaluate(given)
    trace = run_layer(layer, given[step.x][:, None], initial=begun)
    return all(
        np.allclose(trace[roles[s]][:, 0], values[step.body.outputs[s]], rtol=SAME, atol=SAME) for s in step.states
    )
