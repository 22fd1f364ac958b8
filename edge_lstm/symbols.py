"""A cell's equations on fixed-point symbols: evaluating them writes the layer's part of the integer Program.

This is the only place where the real arithmetic of a cell becomes integer arithmetic; the equation numbers are
those of ``edge_lstm.lower``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lstm.blocks import Block, Linear, Steps, Table
from edge_lstm.cells import cell
from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN, Integers
from edge_lstm.layers import QuantizedLayer
from edge_lstm.ops import Op
from edge_lstm.program import Port, ProgramBuilder, RangeError
from edge_lstm.requantize import Requantize

INDEX_MIN, INDEX_MAX = -128, 127
GATE_BITS = 15
"""Fraction bits of a gate that is neither hard nor three-level."""


@dataclass(frozen=True)
class Fixed:
    """A vector of integers and what they mean: ``integer * 2**-fraction_bits``.

    Attributes:
        layer: That writes.
        name: In the Program.
        fraction_bits: Of the meaning.
        choice: The integers are 0 and 1, and mean that.
    """

    layer: IntegerLayer
    name: str
    fraction_bits: int
    choice: bool = False

    @property
    def short(self) -> str:
        """Name without the layer's."""
        return self.name.partition(".")[2]

    def __mul__(self, other: Fixed | Accumulator) -> Fixed | Accumulator:
        """(6): a choice selects; another factor multiplies, and fraction bits add."""
        if isinstance(other, Accumulator):
            return other.gated(self)
        out = self.layer.fresh(self.short + other.short)
        if self.choice:
            name = self.layer.emit(Op.SELECT, out, self.name, other.name)
            return Fixed(self.layer, name, other.fraction_bits)
        name = self.layer.emit(Op.MUL, out, self.name, other.name)
        return Fixed(self.layer, name, self.fraction_bits + other.fraction_bits)

    def __add__(self, other: Fixed) -> Fixed:
        """(7): the finer term is first rounded to the fraction bits of the coarser."""
        coarse = min(self.fraction_bits, other.fraction_bits)
        a, b = self.to(coarse), other.to(coarse)
        return Fixed(self.layer, self.layer.emit(Op.ADD, self.layer.fresh("sum"), a.name, b.name), coarse)

    def __rsub__(self, one: int) -> Fixed:
        """1 - v."""
        assert one == 1
        whole = self.layer.full(1 if self.choice else 1 << self.fraction_bits)
        name = self.layer.emit(Op.SUB, self.layer.fresh(f"not_{self.short}"), whole, self.name)
        return Fixed(self.layer, name, self.fraction_bits, self.choice)

    def to(self, fraction_bits: int, out: str = "") -> Fixed:
        """The same value with so many fraction bits, rounding ``half_up`` where some are lost."""
        lost = self.fraction_bits - fraction_bits
        if lost == 0:
            return self
        out = self.layer.fresh(out or f"{self.short}_{'rounded' if lost > 0 else 'wide'}")
        if lost > 0:
            name = self.layer.emit(Op.SHIFT_RIGHT_HALF_UP, out, self.name, n=lost)
        else:
            self.layer.check_factor(out, -lost)
            name = self.layer.emit(Op.MUL, out, self.name, self.layer.full(1 << -lost))
        return Fixed(self.layer, name, fraction_bits)

    def saturated(self, lo: int, hi: int, out: str) -> str:
        """Name of the value limited to [lo, hi], which is this one's where it can't be outside."""
        least, most = self.layer.builder.interval(self.name)
        if lo <= least and most <= hi:
            return self.name
        return self.layer.emit(Op.SATURATE, self.layer.fresh(out), self.name, lo=lo, hi=hi)


@dataclass(frozen=True)
class Accumulator:
    """A vector of accumulators of one block's rows, each with its own scale."""

    layer: IntegerLayer
    name: str
    block: str

    def __add__(self, other: Accumulator) -> Accumulator:
        """A sum at the scale of the rows."""
        assert self.block == other.block
        out = self.layer.fresh(f"a_{self.block}_sum")
        return Accumulator(self.layer, self.layer.emit(Op.ADD, out, self.name, other.name), self.block)

    def gated(self, gate: Fixed) -> Accumulator:
        """(6) gate times accumulator, which is narrowed first where the gate multiplies."""
        layer, name = self.layer, self.name
        out = layer.fresh(f"{gate.short}a_{self.block}")
        if gate.choice:
            return Accumulator(layer, layer.emit(Op.SELECT, out, gate.name, name), self.block)
        narrow = min(layer.gated_shift(self.block), gate.fraction_bits)
        if narrow:
            name = layer.emit(Op.SHIFT_RIGHT_HALF_UP, layer.fresh(f"{out}_narrow"), name, n=narrow)
        name = layer.emit(Op.MUL, layer.fresh(f"{out}_product"), gate.name, name)
        name = layer.emit(Op.SHIFT_RIGHT_HALF_UP, out, name, n=gate.fraction_bits - narrow)
        return Accumulator(layer, name, self.block)


class IntegerLayer:
    """``cells.Machine`` on symbols.

    Args:
        builder: Collects the Program.
        name: Of the layer; prefixes every value.
        layer: Weights and formats.
        x: Name of the input vector.
    """

    def __init__(self, builder: ProgramBuilder, name: str, layer: QuantizedLayer, x: str) -> None:
        self.builder, self._name, self._layer = builder, name, layer
        self._taken: dict[str, int] = {}
        formats = {"h": (layer.h, layer.outputs), "c": (layer.c, layer.hidden)}
        self.ports = {
            key: builder.port(Port(f"{name}.{key}", length, f.min, f.max))
            for key, (f, length) in formats.items()
            if f is not None
        }
        self._formats = {"h": layer.operand, "c": layer.c}
        self._vectors: dict[str, str] = {}
        self._accumulators: dict[str, Accumulator] = {}
        self._x = x if layer.input_gain is None else self._gained(x, layer.input_gain)

    def last(self) -> dict[str, Fixed]:
        """The states before the step."""
        found = {"h": Fixed(self, self.ports["h"].name, self._layer.h.fraction_bits)}
        if self._layer.c is not None:
            found["c"] = Fixed(self, self.ports["c"].name, self._layer.c.fraction_bits)
        return found

    def fresh(self, name: str) -> str:
        """A name that is not taken: this, or this and a number."""
        self._taken[name] = self._taken.get(name, 0) + 1
        return name if self._taken[name] == 1 else f"{name}{self._taken[name]}"

    def emit(self, op: Op, out: str, *args: str, **attributes: int | str) -> str:
        """Append an instruction; names of the layer's own values are given without the layer's."""
        return self.builder.emit(op, f"{self._name}.{out}", *args, **attributes)

    def full(self, value: int) -> str:
        """A vector of one value."""
        return self._constant(f"all_{value}", np.full(self._layer.hidden, value, np.int32))

    def check_factor(self, out: str, bits: int) -> None:
        """Raise `RangeError` for a factor 2**bits that an int32 constant does not hold."""
        if bits > 30:
            raise RangeError(
                f"{self.builder.name}: {self._name}.{out} (mul): its factor is 2**{bits}, "
                f"and 32 bits hold [{INT32_MIN}, {INT32_MAX}]"
            )

    def _constant(self, name: str, value: object) -> str:
        """A constant as a value."""
        if name not in self._vectors:
            constant = self.builder.constant(f"{self._name}.{name}", value)
            self._vectors[name] = self.emit(Op.CONST, self.fresh(f"{name}_v"), value=constant)
        return self._vectors[name]

    def _gained(self, x: str, gain: Integers) -> str:
        """(1) gain x."""
        return self.emit(Op.MUL, self.fresh("x_gained"), x, self._constant("gain", gain))

    def _concat(self, operand: Fixed | None) -> str:
        """(1) [gain x; v]."""
        if operand is None:
            if "v" not in self._vectors:
                self._vectors["v"] = self.emit(Op.CONCAT, self.fresh("v"), self._x, self.ports["h"].name)
            return self._vectors["v"]
        h = self._layer.h
        value = operand.to(h.fraction_bits).saturated(h.min, h.max, f"{operand.short}_h")
        return self.emit(Op.CONCAT, self.fresh(f"v_{operand.short}"), self._x, value)

    def _matvec(self, out: str, block: str, v: str, weights: object, bias: object, part: str = "") -> Accumulator:
        rows = self._layer.blocks[block]
        constants = {
            "weights": self.builder.constant(f"{self._name}.W_{block}{part}", weights),
            "bias": self.builder.constant(f"{self._name}.b_{block}{part}", bias),
        }
        bits = {} if rows.weight_bits == 8 else {"bits": rows.weight_bits}
        return Accumulator(self, self.emit(Op.MATVEC, self.fresh(out), v, **constants, **bits), block)

    def affine(self, block: str, operand: Fixed | None = None) -> Accumulator:
        """(2); the product of shared weights is the owner's, whose bias is replaced."""
        rows, owner = self._layer.blocks[block], cell(self._layer.cell).owner(block)
        if owner != block:
            other = self._constant(f"b_{block}_less", self._bias_difference(block, owner))
            out = self.emit(Op.ADD, self.fresh(f"a_{block}"), self.affine(owner).name, other)
            return Accumulator(self, out, block)
        if operand is None and block in self._accumulators:
            return self._accumulators[block]
        found = self._matvec(f"a_{block}", block, self._concat(operand), rows.weights, rows.bias)
        return self._accumulators.setdefault(block, found)

    def _bias_difference(self, block: str, owner: str) -> Integers:
        """What a block's bias is more than that of the owner of its weights."""
        mine, its = (self._layer.blocks[name].bias.astype(np.int64) for name in (block, owner))
        difference = mine - its
        least, most = int(difference.min()), int(difference.max())
        if least < INT32_MIN or most > INT32_MAX:
            raise RangeError(
                f"{self.builder.name}: {self._name}.b_{block} less b_{owner} is {least} to {most}, "
                f"and 32 bits hold [{INT32_MIN}, {INT32_MAX}]"
            )
        return difference.astype(np.int32)

    def inputs(self, block: str) -> Accumulator:
        """(2) of gain x alone."""
        rows = self._layer.blocks[block]
        return self._matvec(f"ax_{block}", block, self._x, rows.weights[:, : self._layer.inputs], rows.bias, "x")

    def recurrent(self, block: str) -> Accumulator:
        """(2) of h alone, at the same scale of the rows."""
        rows, h = self._layer.blocks[block], self.ports["h"].name
        weights = rows.weights[:, self._layer.inputs :]
        return self._matvec(f"ah_{block}", block, h, weights, rows.recurrent_bias, "h")

    def gated_shift(self, block: str) -> int:
        """Bits that R h of a split block loses before a gate multiplies it."""
        return self._layer.blocks[block].gated_shift

    def peephole(self, block: str, c: Fixed) -> Accumulator:
        """(3)."""
        peephole = self._layer.blocks[block].peephole
        assert peephole is not None
        factor = self._constant(f"p_{block}", peephole.multiplier)
        product = self.emit(Op.MUL, self.fresh(f"p{c.short}_{block}"), c.name, factor)
        out = self.fresh(f"ap_{block}")
        return Accumulator(self, self.emit(Op.SHIFT_RIGHT_HALF_UP, out, product, n=peephole.shift), block)

    def gate(self, name: str, z: Accumulator) -> Fixed:
        """(4)."""
        block = self._layer.blocks[name]
        if not isinstance(block.activation, Steps):
            return self._activate(name, block, z, "sigmoid")
        steps = []
        for k, at in enumerate(block.activation.at):
            value = z.name
            if at.any():
                above = self._constant(f"at_{name}{k}", -at)
                value = self.emit(Op.ADD, self.fresh(f"{name}_above{k}"), value, above)
            out = name if len(block.activation.at) == 1 else f"{name}_step{k}"
            steps.append(self.emit(Op.THRESHOLD, self.fresh(out), value))
        if len(steps) == 1:
            return Fixed(self, steps[0], 0, choice=True)
        return Fixed(self, self.emit(Op.ADD, self.fresh(name), *steps), 1)

    def squash(self, name: str, v: Accumulator | Fixed) -> Fixed:
        """(5)."""
        function = self._layer_function(name)
        if isinstance(v, Accumulator):
            return self._activate(name, self._layer.blocks[name], v, f"{function}_{name}")
        activation = self._layer.squash[name]
        asked = v.to(activation.input_bits, f"{name}_shifted")
        return self._apply(name, activation, asked.name, f"{function}_c")

    def _layer_function(self, name: str) -> str:
        return cell(self._layer.cell).functions[name][0]

    def _activate(self, name: str, block: Block, z: Accumulator, table: str) -> Fixed:
        assert block.requantize is not None
        assert not isinstance(block.activation, Steps)
        wide = emit_requantize(self.builder, f"{self._name}.{name}", z.name, block.requantize)
        return self._apply(name, block.activation, wide, table)

    def _apply(self, name: str, activation: Table | Linear, argument: str, table: str) -> Fixed:
        out, emit = self.fresh(name), self.emit
        if isinstance(activation, Linear):
            if activation.offset:
                offset = self._constant(f"offset_{name}", np.full(self._layer.hidden, activation.offset))
                argument = emit(Op.ADD, f"{out}_offset", argument, offset)
            value = emit(Op.SATURATE, out, argument, lo=activation.lo, hi=activation.hi)
            return Fixed(self, value, activation.output.fraction_bits)
        n = activation.between_bits
        lo, hi = INDEX_MIN << n, ((INDEX_MAX << n) - 1) if n else INDEX_MAX
        index = emit(Op.SATURATE, f"{out}_index", argument, lo=lo, hi=hi)
        values = self.builder.constant(f"{self._name}.{table}", activation.values)
        if n:
            value = emit(Op.LUT_INTERP, out, index, table=values, lo=INDEX_MIN, n=n)
        else:
            value = emit(Op.LUT, out, index, table=values, lo=INDEX_MIN)
        return Fixed(self, value, activation.output.fraction_bits)

    def state(self, name: str, v: Fixed) -> Fixed:
        """(8)."""
        if name == "h" and self._layer.projection is not None:
            return v  # made by ``project``
        wanted = self._formats[name]
        assert wanted is not None
        rounded = v.to(wanted.fraction_bits, f"{name}_wide")
        value = rounded.saturated(wanted.min, wanted.max, f"{name}_next")
        return Fixed(self, value, wanted.fraction_bits)

    def project(self, v: Fixed) -> Fixed:
        """(9)."""
        projection, h = self._layer.projection, self._layer.h
        assert projection is not None
        wide = v.to(projection.operand.fraction_bits, "m_wide").name
        m = self.emit(Op.SATURATE, self.fresh("m"), wide, lo=projection.operand.min, hi=projection.operand.max)
        weights = self.builder.constant(f"{self._name}.P", projection.weights)
        bias = self.builder.constant(f"{self._name}.P_bias", np.zeros(self._layer.outputs, np.int32))
        bits = {} if projection.weight_bits == 8 else {"bits": projection.weight_bits}
        acc = self.emit(Op.MATVEC, self.fresh("a_P"), m, weights=weights, bias=bias, **bits)
        wide = emit_requantize(self.builder, f"{self._name}.h", acc, projection.requantize)
        return Fixed(self, self.emit(Op.SATURATE, self.fresh("h_next"), wide, lo=h.min, hi=h.max), h.fraction_bits)


def emit_requantize(builder: ProgramBuilder, name: str, acc: str, requantize: Requantize) -> str:
    """R4: ``((acc >> pre_shift) * multiplier + half) >> post_shift``."""
    if requantize.pre_shift:
        acc = builder.emit(Op.SHIFT_RIGHT_FLOOR, f"{name}_narrow", acc, n=requantize.pre_shift)
    multiplier = builder.constant(f"{name}_multiplier", requantize.multiplier)
    constant = builder.emit(Op.CONST, f"{name}_m", value=multiplier)
    product = builder.emit(Op.MUL, f"{name}_scaled", acc, constant)
    return builder.emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}_shifted", product, n=requantize.post_shift)
