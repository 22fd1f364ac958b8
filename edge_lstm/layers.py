"""The layers of both models, in float and in integers, as frozen values whose constructors check every shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edge_lstm.arrays import Float64Tensor, Int8Tensor, Int32Tensor, expect
from edge_lstm.blocks import GATE, Block, Linear, Projection, Steps, Table, check_weights
from edge_lstm.cells import Cell, cell, projected
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.gates import STEPS, GateMode
from edge_lstm.requantize import Requantize
from edge_lstm.signature import MAX_WIDTH

Squashing = Literal["exact", "hard"]
GAINED_MAX = 2**15 - 1
"""Of an input times its gain: what a row is multiplied with has 16 bits at most."""


@dataclass(frozen=True)
class FloatLayer:
    """A recurrent layer in float. The pre-activation of each block is z = W x + R h + b.

    Args:
        cell: Name of the cell.
        W: Name of each block that has weights of its own to input weights (hidden, inputs).
        R: Likewise to recurrent weights (hidden, outputs).
        b: Block name to biases (hidden,).
        modes: Gate name to mode.
        rb: Name of each split block to the bias of its R h (hidden,).
        p: Name of each block with a peephole to its weights (hidden,).
        P: Projection (outputs, hidden) of a projected cell, else None: outputs are then as many as hidden units.
        squash: ``exact`` functions, or their ``hard`` (piecewise linear) forms.
        reverse: It goes through a window from the last step to the first.
        beside: It reads what the layer before it reads (``wiring``).
        initial: State name to its value before the first step; zero where there is none.
        clip: Limit of the absolute pre-activation of gates and squashing functions, as ONNX's ``clip``; None for none.
    """

    cell: str
    W: Mapping[str, Float64Tensor]
    R: Mapping[str, Float64Tensor]
    b: Mapping[str, Float64Tensor]
    modes: Mapping[str, GateMode]
    rb: Mapping[str, Float64Tensor] = field(default_factory=dict)
    p: Mapping[str, Float64Tensor] = field(default_factory=dict)
    P: Float64Tensor | None = None
    squash: Squashing = "exact"
    reverse: bool = False
    beside: bool = False
    initial: Mapping[str, Float64Tensor] = field(default_factory=dict)
    clip: float | None = None

    def __post_init__(self) -> None:
        kind = cell(self.cell)
        for what, group, names in (
            ("W", self.W, kind.matrices),
            ("R", self.R, kind.matrices),
            ("b", self.b, kind.blocks),
            ("rb", self.rb, kind.split),
            ("p", self.p, kind.peepholes),
            ("the gates", self.modes, kind.gates),
        ):
            _same_names(f"{what} of a {self.cell} layer", group, names)
        object.__setattr__(self, "modes", {gate: self.modes[gate] for gate in kind.gates})  # in the cell's order
        if self.W[kind.blocks[0]].ndim != 2:
            raise EdgeLstmError(f"W of a {self.cell} layer is no matrix")
        if (self.P is not None) != kind.projected:
            has = "needs a" if kind.projected else "has no"
            raise EdgeLstmError(f"a {self.cell} layer {has} projection; {projected()} has one")
        if self.P is not None:
            if self.P.ndim != 2:
                raise EdgeLstmError(f"P of a {self.cell} layer is no matrix")
            expect("P", self.P, (self.outputs, self.hidden))
        for block in kind.matrices:
            expect(f"W of {block}", self.W[block], (self.hidden, self.inputs))
            expect(f"R of {block}", self.R[block], (self.hidden, self.outputs))
        for block in kind.blocks:
            expect(f"b of {block}", self.b[block], (self.hidden,))
        for group in (self.rb, self.p):
            for block, vector in group.items():
                expect(f"a vector of {block}", vector, (self.hidden,))
        _check_size(self.cell, self.hidden, self.outputs)
        for state, value in _initial(self.cell, self.initial).items():
            expect(f"the initial {state} of a {self.cell} layer", value, (self.lengths[state],))
        if self.clip is not None:
            if not 0 < self.clip < float("inf"):
                raise EdgeLstmError(f"clip of a {self.cell} layer is {self.clip}; accepted are positive numbers")
            object.__setattr__(self, "clip", float(self.clip))

    @property
    def hidden(self) -> int:
        """Number of units."""
        return int(self.W[cell(self.cell).blocks[0]].shape[0])

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(self.W[cell(self.cell).blocks[0]].shape[1])

    @property
    def outputs(self) -> int:
        """Length of h."""
        return self.hidden if self.P is None else int(self.P.shape[0])

    @property
    def lengths(self) -> Mapping[str, int]:
        """State name to its length."""
        return {s: self.outputs if s == "h" else self.hidden for s in cell(self.cell).states}


@dataclass(frozen=True)
class FloatDense:
    """A dense layer with a relu after it.

    Args:
        weights: (outputs, inputs).
        bias: (outputs,).
    """

    weights: Float64Tensor
    bias: Float64Tensor

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or not 1 <= len(self.weights) <= MAX_WIDTH:
            raise EdgeLstmError(
                f"weights of a dense layer are {self.weights.shape}; accepted are 1 to {MAX_WIDTH} rows"
            )
        expect("the bias of a dense layer", self.bias, (len(self.weights),))


@dataclass(frozen=True)
class QuantizedLayer:
    """A recurrent layer in integers.

    Args:
        cell: Name of the cell.
        modes: Gate name to mode.
        blocks: Block name to rows; those of a block that shares another's weights have no columns, and its scale.
        h: Format of the hidden state: what is fed back, and given to the next layer.
        c: Format of the cell state; None for a cell without one.
        squash: Of the states: name of each function's result to its Table or Linear.
        projection: Of a projected cell.
        reverse, beside: As of a ``FloatLayer``.
        initial: State name to its integers before the first step; zero where there is none.
        input_gain: (inputs,) by which the integers of the input are multiplied first, 1 to
            ``GAINED_MAX``; None where all are 1.
    """

    cell: str
    modes: Mapping[str, GateMode]
    blocks: Mapping[str, Block]
    h: QFormat
    c: QFormat | None
    squash: Mapping[str, Table | Linear]
    projection: Projection | None = None
    reverse: bool = False
    beside: bool = False
    initial: Mapping[str, Int32Tensor] = field(default_factory=dict)
    input_gain: Int32Tensor | None = None

    def __post_init__(self) -> None:
        kind = cell(self.cell)
        _same_names(f"the blocks of a {self.cell} layer", self.blocks, kind.blocks)
        _same_names(f"the gates of a {self.cell} layer", self.modes, kind.gates)
        object.__setattr__(self, "modes", {gate: self.modes[gate] for gate in kind.gates})  # in the cell's order
        _same_names(f"the functions of the states of a {self.cell} layer", self.squash, of_states(kind))
        if (self.c is None) != ("c" not in kind.states) or (self.projection is None) == kind.projected:
            raise EdgeLstmError(f"a {self.cell} layer has the states {', '.join(kind.states)}; c or P does not fit")
        first = self.blocks[kind.blocks[0]].weights.shape
        for name, block in self.blocks.items():
            columns = first[1] if name in kind.matrices else 0
            expect(f"the weights of block {name}", block.weights, (first[0], columns), "int8")
            if not np.array_equal(block.scale, self.blocks[kind.owner(name)].scale):
                raise EdgeLstmError(f"block {name} of a {self.cell} layer shares weights, and not their scale")
            if (block.recurrent_bias is None) == (name in kind.split):
                raise EdgeLstmError(f"block {name} of a {self.cell} layer has or lacks a recurrent bias")
            if (block.peephole is None) == (name in kind.peepholes):
                raise EdgeLstmError(f"block {name} of a {self.cell} layer has or lacks a peephole")
            self._check_activation(name, block)
        for name, function in self.squash.items():
            wanted = self.squash_format(name)
            _same_format(f"the function {name} of the cell state", function, wanted, kind.functions[name][0])
        if self.projection is not None:
            expect("the weights of the projection", self.projection.weights, (self.outputs, self.hidden), "int8")
        if self.inputs < 1:
            raise EdgeLstmError(f"a layer of {self.hidden} units needs more than {first[1]} columns")
        _check_size(self.cell, self.hidden, self.outputs)
        if self.input_gain is not None:
            _check_gain(self.cell, self.input_gain, self.inputs)
        for state, value in _initial(self.cell, self.initial).items():
            f = self.h if state == "h" else self.c
            assert f is not None
            length = self.outputs if state == "h" else self.hidden
            expect(f"the initial {state} of a {self.cell} layer", value, (length,), "int32")
            if value.min() < f.min or value.max() > f.max:
                raise EdgeLstmError(f"the initial {state} of a {self.cell} layer leaves its format {f}")

    def _check_activation(self, name: str, block: Block) -> None:
        activation = block.activation
        steps = len(STEPS.get(self.modes[name], ())) if name in self.modes else 0
        if steps != (len(activation.at) if isinstance(activation, Steps) else 0):
            raise EdgeLstmError(f"block {name} of a {self.cell} layer has an activation of another mode")
        if isinstance(activation, Steps) and self.modes[name] == "hard" and activation.at.any():
            raise EdgeLstmError(
                f"gate {name} of a {self.cell} layer is hard: its step is at 0, the bias has the threshold"
            )
        if not isinstance(activation, Steps):
            wanted = GATE if name in self.modes else self.squash_format(name)
            function = "sigmoid" if name in self.modes else cell(self.cell).functions[name][0]
            _same_format(f"the activation of block {name}", activation, wanted, function)

    def squash_format(self, name: str) -> QFormat:
        """Format of a squashing function's result; a product with a gate that is no choice takes 16 bits."""
        kind = cell(self.cell)
        if kind.functions[name][1] == "c":
            assert self.c is not None
            return self.c
        return GATE if kind.gates and self.modes.get("o") != "hard" else self.operand

    @property
    def operand(self) -> QFormat:
        """Format of what the cell's last equation gives: h, or what is projected to it."""
        return self.h if self.projection is None else self.projection.operand

    @property
    def hidden(self) -> int:
        """Number of units."""
        return int(self.blocks[cell(self.cell).blocks[0]].weights.shape[0])

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(self.blocks[cell(self.cell).blocks[0]].weights.shape[1]) - self.outputs

    @property
    def outputs(self) -> int:
        """Length of h."""
        return self.hidden if self.projection is None else int(self.projection.weights.shape[0])


def of_states(kind: Cell) -> tuple[str, ...]:
    """The functions of a cell that are applied to states, and not to the pre-activation of a block."""
    return tuple(name for name in kind.functions if name not in kind.blocks)


@dataclass(frozen=True)
class QuantizedDense:
    """``min(max(requantize(weights v + bias), 0), output.max)``.

    Args:
        weights: (outputs, inputs), -127 to 127.
        bias: (outputs,) at the scale of the accumulator.
        requantize: Accumulator to ``output``.
        output: Format of the result.
    """

    weights: Int8Tensor
    bias: Int32Tensor
    requantize: Requantize
    output: QFormat

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or not 1 <= len(self.weights) <= MAX_WIDTH:
            raise EdgeLstmError(
                f"weights of a dense layer are {self.weights.shape}; accepted are 1 to {MAX_WIDTH} rows"
            )
        rows = (len(self.weights),)
        expect("the bias of a dense layer", self.bias, rows, "int32")
        expect("the multipliers of a dense layer", self.requantize.multiplier, rows, "int32")
        check_weights("a dense layer", self.weights, 8)


def _check_size(kind: str, hidden: int, outputs: int) -> None:
    for units in (outputs, hidden):
        if not 1 <= units <= MAX_WIDTH:
            raise EdgeLstmError(f"a {kind} layer has {units} units; accepted are 1 to {MAX_WIDTH}")


def _check_gain(kind: str, gain: Int32Tensor, inputs: int) -> None:
    expect(f"the input gain of a {kind} layer", gain, (inputs,), "int32")
    if gain.min() < 1 or gain.max() > GAINED_MAX:
        raise EdgeLstmError(
            f"the input gain of a {kind} layer is {gain.min()} to {gain.max()}; accepted are 1 to {GAINED_MAX}"
        )


def _initial(kind: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown = set(given) - set(cell(kind).states)
    if unknown:
        states = ", ".join(cell(kind).states)
        raise EdgeLstmError(f"a {kind} layer begins with {', '.join(sorted(unknown))}; it has the states {states}")
    return given


def _same_names(what: str, found: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    if set(found) != set(wanted):
        names = (", ".join(sorted(group)) or "none" for group in (found, wanted))
        raise EdgeLstmError("{} are {}; they must be {}".format(what, *names))


def _same_format(what: str, found: Table | Linear, wanted: QFormat, function: str) -> None:
    if found.output != wanted:
        raise EdgeLstmError(f"{what} is in {found.output}, and must be in {wanted} of {wanted.bits} bits")
    if found.function != function:
        raise EdgeLstmError(f"{what} is {found.function}, and must be {function}")
