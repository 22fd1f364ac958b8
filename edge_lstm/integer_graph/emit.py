"""The nodes of a graph as instructions; the equation numbers are those of ``integer_graph.lowering``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_lstm import lower_heads as heads
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.heads import PROBABILITY
from edge_lstm.integer_graph.nodes import Affine, Combine, Differs, Finish, Gain, Normalized, Rows
from edge_lstm.integer_graph.roots import TOP, over_root
from edge_lstm.ops import Op
from edge_lstm.program import Port, ProgramBuilder
from edge_lstm.ratio import ratio
from edge_lstm.requantize import Requantize
from edge_lstm.symbols import INDEX_MIN, emit_requantize


class Emitter:
    """Writes the instructions of a node.

    Args:
        builder: Of the stage, or of the head.
        name: Of the node; its last value is called so, and the others' names begin with it.
    """

    def __init__(self, builder: ProgramBuilder, name: str) -> None:
        self._builder, self._name = builder, name

    def _emit(self, op: Op, out: str, *args: str, **attributes: int | str) -> str:
        return self._builder.emit(op, f"{self._name}.{out}", *args, **attributes)

    def _constant(self, name: str, value: Any) -> str:
        return self._builder.constant(f"{self._name}.{name}", value)

    def _vector(self, name: str, value: Any) -> str:
        """A constant as a value."""
        return self._emit(Op.CONST, f"{name}_v", value=self._constant(name, value))

    def finish(self, acc: str, finish: Finish, name: str = "y") -> str:
        """fin."""
        wide = emit_requantize(self._builder, f"{self._name}.{name}", acc, finish.requantize)
        if finish.table is None:
            return self._emit(Op.SATURATE, name, wide, lo=finish.lo, hi=finish.hi)
        index = self._emit(Op.SATURATE, f"{name}_index", wide, lo=finish.lo, hi=finish.hi)
        table, bits = self._constant(f"{name}_table", finish.table), finish.between_bits
        if bits:
            return self._emit(Op.LUT_INTERP, name, index, table=table, lo=INDEX_MIN, n=bits)
        return self._emit(Op.LUT, name, index, table=table, lo=INDEX_MIN)

    def affine(self, taps: Sequence[str], node: Affine) -> str:
        """(1)."""
        if node.depthwise:
            acc = self._depthwise(taps, node)
        else:
            v = taps[0] if len(taps) == 1 else self._emit(Op.CONCAT, "v", *taps)
            constants = {"weights": self._constant("W", node.weights), "bias": self._constant("b", node.bias)}
            bits = {} if node.weight_bits == 8 else {"bits": node.weight_bits}
            acc = self._emit(Op.MATVEC, "a", v, **constants, **bits)
        return acc if node.finish is None else self.finish(acc, node.finish)

    def _depthwise(self, taps: Sequence[str], node: Affine) -> str:
        width = self._builder.length(taps[0])
        if node.weights.shape != (width, len(taps)):
            raise EdgeLstmError(f"a depthwise filter is {node.weights.shape}, and reads {width} features")
        acc = self._vector("b", node.bias)
        for k, tap in enumerate(taps):
            product = self._emit(Op.MUL, f"product{k}", tap, self._vector(f"W{k}", node.weights[:, k].astype(np.int32)))
            acc = self._emit(Op.ADD, f"a{k}", acc, product)
        return acc

    def gain(self, v: str, node: Gain | Normalized, name: str = "") -> str:
        """(2)."""
        product = self._emit(Op.MUL, f"{name}scaled", v, self._vector(f"{name}f", node.factor))
        acc = self._emit(Op.ADD, f"{name}a", product, self._vector(f"{name}b", node.bias))
        return self.finish(acc, node.finish)

    def combine(self, v: str, w: str, node: Combine) -> str:
        """(3)."""
        width = max(self._builder.length(v), self._builder.length(w))
        v, w = self._wide(v, width, "left"), self._wide(w, width, "right")
        if node.kind == "mul":
            return self.finish(self._emit(Op.MUL, "product", v, w), node.finish)
        v = self._emit(Op.MUL, "left_scaled", v, self._vector("f", node.left_factor))
        w = self._emit(Op.MUL, "right_scaled", w, self._vector("g", node.right_factor))
        acc = self._emit(Op.ADD, "a", v, w) if node.kind == "add" else self.extreme(v, w, node.kind, "a")
        return self.finish(acc, node.finish)

    def _wide(self, v: str, width: int, name: str) -> str:
        """One feature beside all of the other value."""
        if self._builder.length(v) == width:
            return v
        if self._builder.length(v) != 1:
            raise EdgeLstmError(f"{self._builder.length(v)} features are combined with {width}")
        return heads.spread(self._builder, f"{self._name}.{name}_wide", v, width)

    def extreme(self, v: str, w: str, kind: str, name: str = "") -> str:
        """The larger, or the smaller."""
        out = f"{self._name}.{name}" if name else self._name
        emit = self._builder.emit
        if kind == "max":
            return emit(Op.MAX, out, v, w)
        zero = self._builder.full(f"{out}.zero", 0, self._builder.length(v))
        v, w = emit(Op.SUB, f"{out}.left_not", zero, v), emit(Op.SUB, f"{out}.right_not", zero, w)
        return emit(Op.SUB, out, zero, emit(Op.MAX, f"{out}.max", v, w))

    def rows(self, v: str, node: Rows) -> str:
        """(4)."""
        if self._builder.length(v) != 1:
            raise EdgeLstmError(f"a row is named by one feature, not by {self._builder.length(v)}")
        index = self._emit(Op.SATURATE, "index", v, lo=0, hi=len(node.table) - 1)
        found = [
            self._emit(Op.LUT, f"y{j}", index, table=self._constant(f"E{j}", column), lo=0)
            for j, column in enumerate(node.table.T)
        ]
        return found[0] if len(found) == 1 else self._emit(Op.CONCAT, "y", *found)

    def normalized(self, v: str, node: Normalized) -> str:
        """(5)."""
        width = self._builder.length(v)
        centring = width * np.eye(width, dtype=np.int32) - 1
        weights, zeros = self._constant("centring", centring), self._constant("zeros", np.zeros(width, np.int32))
        c = self._emit(Op.MATVEC, "centred", v, weights=weights, bias=zeros)
        if node.shift:
            c = self._emit(Op.SHIFT_RIGHT_HALF_UP, "c", c, n=node.shift)
        ones, epsilon = self._constant("ones", np.ones((1, width), np.int32)), self._constant("e", [node.epsilon])
        squares = self._emit(Op.MATVEC, "sum", self._emit(Op.MUL, "squares", c, c), weights=ones, bias=epsilon)
        q = self._emit(Op.SATURATE, "q", squares, lo=1, hi=(1 << TOP) - 1)
        return self.gain(over_root(self._builder, f"{self._name}.n", c, q), node)

    def differs(self, v: str, node: Differs) -> str:
        """(9)."""
        if self._builder.length(v) != len(node.value):
            raise EdgeLstmError(f"{self._builder.length(v)} features are compared with {len(node.value)}")
        value = self._vector("w", node.value)
        above, below = self._emit(Op.SUB, "above", v, value), self._emit(Op.SUB, "below", value, v)
        distance = self._emit(Op.MAX, "distance", above, below)
        return self._emit(Op.THRESHOLD, "y", self._emit(Op.MAX_ELEMENT, "largest", distance))

    def masked(self, mask: str, old: Port, new: str) -> str:
        """(10): a state, with as many features as the mask."""
        change = self._emit(Op.SELECT, "change", mask, self._emit(Op.SUB, "difference", new, old.name))
        return self._emit(Op.SATURATE, "kept", self._emit(Op.ADD, "sum", old.name, change), lo=old.lo, hi=old.hi)

    def largest(self, taps: Sequence[str]) -> str:
        """(7)."""
        found = taps[0]
        for k, tap in enumerate(taps[1:]):
            found = self._emit(Op.MAX, f"y{k}", found, tap)
        return found

    def pick(self, v: str, columns: Sequence[int]) -> str:
        """Features of a value."""
        chosen = np.zeros((len(columns), self._builder.length(v)), np.int32)
        chosen[range(len(columns)), list(columns)] = 1
        zeros = self._constant("zeros", np.zeros(len(columns), np.int32))
        return self._emit(Op.MATVEC, "y", v, weights=self._constant("P", chosen), bias=zeros, bits=2)

    def joined(self, parts: Sequence[str]) -> str:
        """One after the other."""
        return self._emit(Op.CONCAT, "y", *parts)

    def softmax(self, v: str, requantize: Requantize, table: Any) -> str:
        """(6) over the features."""
        return heads.softmax(self._builder, self._name, f"{self._name}.y", v, requantize, table)

    def exponential(self, v: str, largest: str, requantize: Requantize, table: Any) -> str:
        """(6): exp of what a value is below the largest."""
        below = self._emit(Op.SUB, "below", v, largest)
        return heads.exp(self._builder, f"{self._name}.e", below, requantize, table)

    def share(self, e: str, total: str, least: int, most: int, form: QFormat = PROBABILITY) -> str:
        """(6): a part of a sum, in Q0.15."""
        limits = {"least": least, "most": most, "bound": 1, "shift": form.fraction_bits}
        wide = ratio(self._builder, self._name, e, total, **limits)
        return self._emit(Op.SATURATE, "y", wide, lo=0, hi=form.max)
