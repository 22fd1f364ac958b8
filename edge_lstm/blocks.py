"""What a quantized layer is made of: rows of weights, and the activations of their accumulators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.arrays import Float64Tensor, Int8Tensor, Int16Tensor, Int32Tensor, expect
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.requantize import Requantize

GATE = QFormat(16, 15)
"""Soft gates are Q0.15, from 0 to 32767."""
WEIGHT_MAX: Mapping[int, int] = {8: 127, 4: 7, 2: 1}
"""Largest weight by storage bits; the most negative code is not used."""


@dataclass(frozen=True)
class Table:
    """A 256-entry look-up table: index k in [-128, 127] stands for the real k * 2**-index_bits.

    Args:
        function: Name of the function tabulated.
        index_bits: Fraction bits of the index.
        output: Format of the entries.
        values: (256,) the first is that of index -128.
        between_bits: 0: the nearest entry; else the index has so many bits more, between which to interpolate linearly.
        clip: The argument is limited to [-clip, clip] first, which the entries contain; None for no limit.
    """

    function: Literal["sigmoid", "tanh", "squash1", "squash2"]
    index_bits: int
    output: QFormat
    values: Int16Tensor
    between_bits: int = 0
    clip: float | None = None

    def __post_init__(self) -> None:
        _check_clip(self)
        expect(f"table of {self.function}", self.values, (256,), "int16")
        if not 0 <= self.index_bits <= 7:
            raise EdgeLstmError(f"a table has 0 to 7 index bits, not {self.index_bits}")
        if not 0 <= self.between_bits <= 8:
            raise EdgeLstmError(f"a table has 0 to 8 bits between its entries, not {self.between_bits}")
        if self.values.min() < self.output.min or self.values.max() > self.output.max:
            raise EdgeLstmError(f"table of {self.function} holds values outside its format {self.output}")

    @property
    def input_bits(self) -> int:
        """Fraction bits of what the table is asked with."""
        return self.index_bits + self.between_bits


@dataclass(frozen=True)
class Linear:
    """A piecewise linear function with a slope that is a power of two: ``min(max(v + offset, lo), hi)``.

    v is the argument times the slope, in the format ``output``.

    Args:
        function: Name of the function that this is the hard form of.
        slope_bits: The slope is ``2**-slope_bits``.
        output: Format of the result.
        offset, lo, hi: In units of ``output``.
        clip: As of a ``Table``; ``lo`` and ``hi`` contain it.
    """

    function: Literal["sigmoid", "tanh", "squash1", "squash2", "relu"]
    slope_bits: int
    output: QFormat
    offset: int
    lo: int
    hi: int
    clip: float | None = None

    def __post_init__(self) -> None:
        _check_clip(self)
        if not 0 <= self.slope_bits <= 7:
            raise EdgeLstmError(f"a slope has 0 to 7 bits, not {self.slope_bits}")
        if not self.output.min <= self.lo <= self.offset <= self.hi <= self.output.max:
            raise EdgeLstmError(f"{self.lo} <= {self.offset} <= {self.hi} does not hold, or leaves {self.output}")

    @property
    def input_bits(self) -> int:
        """Fraction bits of the argument, before the slope, that make a unit of the result."""
        return self.output.fraction_bits - self.slope_bits


def _check_clip(activation: Table | Linear) -> None:
    if activation.clip is not None:
        if not 0 < activation.clip < float("inf"):
            raise EdgeLstmError(f"clip of {activation.function} is {activation.clip}; accepted are positive numbers")
        object.__setattr__(activation, "clip", float(activation.clip))


@dataclass(frozen=True)
class Steps:
    """A gate that is a sum of equal steps: the k-th is taken where the accumulator is above ``at[k]``.

    Args:
        at: (steps, hidden) in units of the accumulator; one step or two.
    """

    at: Int32Tensor

    def __post_init__(self) -> None:
        if self.at.ndim != 2 or self.at.dtype != np.int32 or len(self.at) not in (1, 2):
            raise EdgeLstmError("the steps of a gate are int32 (1 or 2, hidden)")
        if self.at.min(initial=0) < -(2**30) or self.at.max(initial=0) > 2**30:
            raise EdgeLstmError(f"a step of a gate is at {self.at.min()} or {self.at.max()}; accepted are ± 2**30")


@dataclass(frozen=True)
class Peephole:
    """``(c * multiplier + half) >> shift``, in units of the accumulator.

    Args:
        multiplier: (hidden,) -32767 to 32767.
        shift: 0 to 30; rounds by ``half_up``.
    """

    multiplier: Int32Tensor
    shift: int

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 30:
            raise EdgeLstmError(f"the shift of a peephole is {self.shift}; accepted are 0 to 30")
        largest = max(self.multiplier.max(initial=0), -self.multiplier.min(initial=0))
        if largest > 32767:
            raise EdgeLstmError(f"a multiplier of a peephole is {largest}; accepted are -32767 to 32767")


@dataclass(frozen=True)
class Block:
    """The rows of one block: ``acc = weights @ [gain x; h] + bias``, and what turns acc into the block's value.

    Args:
        weights: (hidden, inputs + outputs), within ``weight_bits``, symmetric; (hidden, 0) where they are another's.
        bias: (hidden,), at the scale of the accumulator.
        scale: (hidden,) real value of one unit of the accumulator; not used by the integer arithmetic.
        activation: What makes the block's value from the accumulator.
        requantize: Accumulator to the argument of a Table or a Linear; None for Steps.
        recurrent_bias: (hidden,) of a split block.
        gated_shift: Of a split block: bits that R h loses, rounding ``half_up``, before a gate that is no choice
            multiplies it; at most as many as the gate has fraction bits.
        peephole: Of a block that has one.
        weight_bits: 8, 4 or 2 (ternary): how the weights are stored.
    """

    weights: Int8Tensor
    bias: Int32Tensor
    scale: Float64Tensor
    activation: Table | Linear | Steps
    requantize: Requantize | None
    recurrent_bias: Int32Tensor | None = None
    gated_shift: int = 0
    peephole: Peephole | None = None
    weight_bits: int = 8

    def __post_init__(self) -> None:
        if self.weights.ndim != 2:
            raise EdgeLstmError(f"the weights of a block have {self.weights.ndim} axes, and must have 2")
        rows = (self.weights.shape[0],)
        expect("the bias of a block", self.bias, rows, "int32")
        expect("the scale of a block", self.scale, rows)
        check_weights("a block", self.weights, self.weight_bits)
        if (self.requantize is None) != isinstance(self.activation, Steps):
            raise EdgeLstmError("a block has a requantization exactly where its activation has no steps")
        if self.requantize is not None:
            expect("the multipliers of a block", self.requantize.multiplier, rows, "int32")
        if isinstance(self.activation, Steps):
            expect("the steps of a gate", self.activation.at, (len(self.activation.at), *rows), "int32")
        if not 0 <= self.gated_shift <= 30:
            raise EdgeLstmError(f"the shift of a gated block is {self.gated_shift}; accepted are 0 to 30")
        if self.recurrent_bias is not None:
            expect("the recurrent bias of a block", self.recurrent_bias, rows, "int32")
        if self.peephole is not None:
            expect("the peephole of a block", self.peephole.multiplier, rows, "int32")


def check_weights(what: str, weights: NDArray[np.int8], bits: int) -> None:
    """Raise `EdgeLstmError` for weights that ``bits`` bits, symmetric, don't hold."""
    if bits not in WEIGHT_MAX:
        raise EdgeLstmError(f"{what} has {bits}-bit weights; accepted are {', '.join(map(str, WEIGHT_MAX))}")
    largest = int(np.abs(weights.astype(np.int32)).max(initial=0))
    if largest > WEIGHT_MAX[bits]:
        raise EdgeLstmError(
            f"{what} has a weight of {largest} units; {bits} bits take {-WEIGHT_MAX[bits]} to {WEIGHT_MAX[bits]}"
        )


@dataclass(frozen=True)
class Projection:
    """``h = requantize(weights m)``, where m is what a projected cell computes.

    Args:
        weights: (outputs, hidden), within ``weight_bits``, symmetric.
        requantize: Accumulator to the format of h.
        operand: Format of m.
        weight_bits: 8, 4 or 2.
    """

    weights: Int8Tensor
    requantize: Requantize
    operand: QFormat
    weight_bits: int = 8

    def __post_init__(self) -> None:
        if self.weights.ndim != 2:
            raise EdgeLstmError(f"the weights of a projection have {self.weights.ndim} axes, and must have 2")
        expect("the multipliers of a projection", self.requantize.multiplier, (self.weights.shape[0],), "int32")
        check_weights("a projection", self.weights, self.weight_bits)
