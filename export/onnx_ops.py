"""The operations spelled as standard ONNX operators on int32, for vectors with a leading batch axis.

ONNX has no arithmetic shift of signed integers: ``v >> n`` is ``(v - mod(v, 2**n)) / 2**n``, where ``Mod`` takes
the divisor's sign. ``v - mod(v, 2**n)`` can't overflow, because -2**31 is a multiple of 2**n for every n up to 30.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge_lstm.errors import require
from edge_lstm.fixedpoint import Integers, half
from edge_lstm.ops import Op
from edge_lstm.program import Program


class NodeList:
    """Collects the nodes and initializers of one ONNX graph or subgraph.

    Args:
        initializers: Shared by all graphs of a model; constants are registered here once.
        prefix: Goes before the name of every value, so that subgraphs don't shadow the outer graph.
    """

    def __init__(self, initializers: dict[str, Any], prefix: str = "") -> None:
        self._onnx = require("onnx", extra="onnx", purpose="to write ONNX")
        self._initializers = initializers
        self._prefix = prefix
        self._given: Mapping[str, Integers] = {}
        self.nodes: list[Any] = []

    def name(self, value: str) -> str:
        """A value's name in this graph."""
        return self._prefix + value

    def node(self, kind: str, out: str, *inputs: str, **attributes: Any) -> str:
        """Append an operator whose inputs are names in this graph; give back the name of its output."""
        name = self.name(out)
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Any) -> str:
        """An initializer; the same name must mean the same value."""
        self._initializers.setdefault(name, np.asarray(value))
        return name

    def given(self, name: str) -> str:
        """A constant of the Program that is being added, as an initializer."""
        return self.constant(name, self._given[name])

    def transposed(self, name: str) -> str:
        """A constant of the Program that is being added, transposed, as an initializer."""
        return self.constant(f"{name}/transposed", self._given[name].T)

    def scalar(self, value: int) -> str:
        """An int32 initializer without axes."""
        return self.constant(f"int32.{value}", np.int32(value))

    def add(self, program: Program) -> None:
        """Append all instructions of a Program. Inputs and states must be there under their prefixed names."""
        self._given = program.constants
        for instruction in program.instructions:
            arguments = [self.name(a) for a in instruction.args]
            ONNX[instruction.op](self, instruction.out, *arguments, **instruction.attributes)


def _split(g: NodeList, out: str, v: str, n: int) -> tuple[str, str]:
    """``v >> n``, which is called ``out``, and the bits that this drops."""
    power = g.scalar(1 << n)
    low = g.node("Mod", f"{out}/low", v, power)
    multiple = g.node("Sub", f"{out}/multiple", v, low)
    return g.node("Div", out, multiple, power), low


def _shift(g: NodeList, out: str, v: str, n: int) -> str:
    return _split(g, out, v, n)[0]


def _matvec(g: NodeList, out: str, v: str, *, weights: str, bias: str, **_storage: int) -> str:
    product = g.node("MatMul", f"{out}/product", v, g.transposed(weights))
    return g.node("Add", out, product, g.given(bias))


def _threshold(g: NodeList, out: str, v: str) -> str:
    return g.node("Cast", out, g.node("Greater", f"{out}/open", v, g.scalar(0)), to=_INT32)


def _select(g: NodeList, out: str, v: str, w: str) -> str:
    return g.node("Where", out, g.node("Cast", f"{out}/open", v, to=_BOOL), w, g.scalar(0))


def _lut(g: NodeList, out: str, v: str, *, table: str, lo: int) -> str:
    return g.node("Gather", out, g.given(table), g.node("Sub", f"{out}/entry", v, g.scalar(lo)))


def _lut_interp(g: NodeList, out: str, v: str, *, table: str, lo: int, n: int) -> str:
    k, r = _split(g, f"{out}/k", v, n)
    t0 = _lut(g, f"{out}/t0", k, table=table, lo=lo)
    t1 = _lut(g, f"{out}/t1", k, table=table, lo=lo - 1)
    product = g.node("Mul", f"{out}/product", g.node("Sub", f"{out}/difference", t1, t0), r)
    return g.node("Add", out, t0, _half_up(g, f"{out}/rise", product, n=n))


def _argmax(g: NodeList, out: str, v: str) -> str:
    return g.node("Cast", out, g.node("ArgMax", f"{out}/int64", v, axis=-1, keepdims=1), to=_INT32)


def _half_up(g: NodeList, out: str, v: str, *, n: int) -> str:
    return _shift(g, out, g.node("Add", f"{out}/sum", v, g.scalar(half(n))), n)


_INT32, _BOOL = 6, 9  # onnx.TensorProto.INT32 and BOOL, fixed by the ONNX specification

ONNX: Mapping[Op, Callable[..., str]] = {
    Op.CONST: lambda g, out, *, value: g.node("Identity", out, g.given(value)),
    Op.CONCAT: lambda g, out, *vs: g.node("Concat", out, *vs, axis=-1),
    Op.MATVEC: _matvec,
    Op.ADD: lambda g, out, v, w: g.node("Add", out, v, w),
    Op.SUB: lambda g, out, v, w: g.node("Sub", out, v, w),
    Op.MAX: lambda g, out, v, w: g.node("Max", out, v, w),
    Op.MUL: lambda g, out, v, w: g.node("Mul", out, v, w),
    Op.SHIFT_RIGHT_FLOOR: lambda g, out, v, *, n: _shift(g, out, v, n),
    Op.SHIFT_RIGHT_HALF_UP: _half_up,
    Op.SATURATE: lambda g, out, v, *, lo, hi: g.node("Clip", out, v, g.scalar(lo), g.scalar(hi)),
    Op.THRESHOLD: _threshold,
    Op.SELECT: _select,
    Op.LUT: _lut,
    Op.LUT_INTERP: _lut_interp,
    Op.MAX_ELEMENT: lambda g, out, v: g.node("ReduceMax", out, v, axes=[-1], keepdims=1),
    Op.ARGMAX: _argmax,
}
