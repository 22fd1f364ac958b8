"""A cell's equations of ``edge_lstm.cells``, evaluated on the values of an ONNX graph: this appends the operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_lstm import luts
from edge_lstm.cells import Cell, Function, cell
from edge_lstm.export.onnx_ops import NodeList
from edge_lstm.gates import STEPS
from edge_lstm.layers import FloatLayer


@dataclass(frozen=True)
class Symbol:
    """A value of a graph, (batch, length of its vector); sums and products of symbols append the operator."""

    graph: NodeList
    name: str

    def __add__(self, other: Symbol) -> Symbol:
        return self.then("Add", other.name)

    def __mul__(self, other: Symbol) -> Symbol:
        return self.then("Mul", other.name)

    def __rsub__(self, other: float) -> Symbol:
        return Symbol(self.graph, number(self.graph, other)).then("Sub", self.name)

    def then(self, kind: str, *more: str, **attributes: Any) -> Symbol:
        """What an operator makes of this value and more, which are named."""
        out = f"{kind.lower()}.{len(self.graph.nodes)}"
        return Symbol(self.graph, self.graph.node(kind, out, self.name, *more, **attributes))

    def times(self, factor: float) -> Symbol:
        """The value times a number."""
        return self if factor == 1 else self.then("Mul", number(self.graph, factor))

    def plus(self, term: float) -> Symbol:
        """The value plus a number."""
        return self if term == 0 else self.then("Add", number(self.graph, term))

    def above(self, threshold: float) -> Symbol:
        """1 where the value is above the threshold, else 0."""
        return self.then("Greater", number(self.graph, threshold)).then("Cast", to=FLOAT)


def number(g: NodeList, value: float) -> str:
    """Name of a number, which all graphs share."""
    return "zero" if value == 0 else g.constant(f"number/{float(value)}", np.float32(value))


def inputs_of(outer: NodeList, graph: NodeList, kind: Cell, x: str) -> dict[str, str]:
    """Append W x + b of each block, whose names are given; a product of shared weights once.

    Args:
        outer: The graph whose constants are the layer's.
        graph: That gets the nodes.
        kind: The cell.
        x: What the layer is given.
    """
    products: dict[str, str] = {}
    found = {}
    for block in kind.blocks:
        owner = kind.owner(block)
        if owner not in products:
            products[owner] = graph.node("MatMul", f"Wx.{owner}", x, outer.name(f"W.{owner}"))
        found[block] = graph.node("Add", f"z.{block}", products[owner], outer.name(f"b.{block}"))
    return found


class SymbolStep:
    """``cells.Machine`` on symbols.

    Args:
        outer: The graph whose constants are the layer's.
        graph: The graph of a step.
        layer: Modes, and what the layer's constants are.
        wx: Block name to W x + b of this step.
        h: Last h.
    """

    def __init__(
        self, outer: NodeList, graph: NodeList, layer: FloatLayer, wx: Mapping[str, Symbol], h: Symbol
    ) -> None:
        self._outer, self._graph, self._layer, self._wx, self._h = outer, graph, layer, wx, h
        self._products: dict[str, Symbol] = {}

    def affine(self, block: str, operand: Symbol | None = None) -> Symbol:
        """See ``cells.Machine``."""
        if operand is not None:
            return self._wx[block] + self._product(block, operand)
        owner = cell(self._layer.cell).owner(block)
        if owner not in self._products:
            self._products[owner] = self._product(owner, self._h)
        return self._wx[block] + self._products[owner]

    def inputs(self, block: str) -> Symbol:
        """See ``cells.Machine``."""
        return self._wx[block]

    def recurrent(self, block: str) -> Symbol:
        """See ``cells.Machine``."""
        return self._product(block, self._h).then("Add", self._outer.name(f"rb.{block}"))

    def peephole(self, block: str, c: Symbol) -> Symbol:
        """See ``cells.Machine``."""
        return c.then("Mul", self._outer.name(f"p.{block}"))

    def gate(self, name: str, z: Symbol) -> Symbol:
        """See ``cells.Machine``."""
        mode, z = self._layer.modes[name], self._limited(z)
        if mode == "soft":
            return z.then("Sigmoid")
        if mode == "hard-sigmoid":
            return _hard(luts.HARD["sigmoid"], z)
        first, *more = (z.above(at) for at in STEPS[mode])
        return sum(more, first).times(1 / len(STEPS[mode]))

    def squash(self, name: str, v: Symbol) -> Symbol:
        """See ``cells.Machine``."""
        v = self._limited(v) if name in self._wx else v
        function = cell(self._layer.cell).functions[name][0]
        return _hard(luts.HARD[function], v) if self._layer.squash == "hard" else _EXACT[function](v)

    def state(self, name: str, v: Symbol) -> Symbol:  # noqa: ARG002
        """See ``cells.Machine``."""
        return v

    def project(self, v: Symbol) -> Symbol:
        """See ``cells.Machine``."""
        return v.then("MatMul", self._outer.name("P"))

    def _limited(self, z: Symbol) -> Symbol:
        limits = self._outer.name("clip.low"), self._outer.name("clip.high")
        return z if self._layer.clip is None else z.then("Clip", *limits)

    def _product(self, block: str, v: Symbol) -> Symbol:
        return Symbol(self._graph, self._graph.node("MatMul", f"Rh.{block}", v.name, self._outer.name(f"R.{block}")))


def _hard(function: luts.Hard, v: Symbol) -> Symbol:
    limits = (function.lo,) if np.isinf(function.hi) else (function.lo, function.hi)
    linear = v.times(2.0**-function.slope_bits).plus(function.offset)
    return linear.then("Clip", *(number(v.graph, limit) for limit in limits))


_EXACT: Mapping[Function, Callable[[Symbol], Symbol]] = {
    "tanh": lambda v: v.then("Tanh"),
    "squash1": lambda v: v.times(0.5).then("Tanh"),
    "squash2": lambda v: v.times(0.5).then("Tanh").times(2),
    "relu": lambda v: v.then("Relu"),
}

FLOAT, INT32, BOOL = 1, 6, 9  # of onnx.TensorProto, fixed by the ONNX specification
