"""The two models: ``FloatModel`` (what was trained) and ``QuantizedModel`` (what ships), as frozen values.

Both are: input preparation, one or more recurrent layers, pooling over time, a dense classifier.
Constructors check every shape and range; a model that exists is consistent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.arrays import Float64Tensor, Int8Tensor, Int32Tensor, expect
from edge_lstm.blocks import GATE, Block, Linear, Projection, Steps, Table, check_weights
from edge_lstm.cells import Cell, cell, projected
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.gates import STEPS, GateMode
from edge_lstm.requantize import Requantize
from edge_lstm.signature import MAX_WIDTH, Signature, checked_samples

Pooling = Literal["last", "mean", "max"]
POOLINGS: tuple[Pooling, ...] = ("last", "mean", "max")
Squashing = Literal["exact", "hard"]
ACTIVATION_BITS = (8, 16)


@dataclass(frozen=True)
class FloatLayer:
    """A recurrent layer in float. The pre-activation of each block is z = W x + R h + b.

    Args:
        cell: Name of the cell.
        W: Block name to input weights (hidden, inputs).
        R: Block name to recurrent weights (hidden, outputs).
        b: Block name to biases (hidden,).
        modes: Gate name to mode.
        rb: Name of each split block to the bias of its R h (hidden,).
        p: Name of each block with a peephole to its weights (hidden,).
        P: Projection (outputs, hidden) of a projected cell, else None: outputs are then as many as hidden units.
        squash: ``exact`` functions, or their ``hard`` (piecewise linear) forms.
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

    def __post_init__(self) -> None:
        kind = cell(self.cell)
        for what, group, names in (
            ("W", self.W, kind.blocks),
            ("R", self.R, kind.blocks),
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
        for block in kind.blocks:
            expect(f"W of {block}", self.W[block], (self.hidden, self.inputs))
            expect(f"R of {block}", self.R[block], (self.hidden, self.outputs))
            expect(f"b of {block}", self.b[block], (self.hidden,))
        for group in (self.rb, self.p):
            for block, vector in group.items():
                expect(f"a vector of {block}", vector, (self.hidden,))

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
class FloatModel:
    """The trained model: standardize and clip, recurrent layers, pooling, dense layers with relu, dense.

    Args:
        signature: Inputs and classes.
        mean: (channels,) subtracted from the input, in the channel's unit.
        std: (channels,) positive; the input is then divided by it.
        clip: Standardized inputs are limited to [-clip, clip].
        layers: First to last.
        pooling: ``last`` h of the window, or ``mean`` or ``max`` over it.
        dense_weights: (classes, width of what is before).
        dense_bias: (classes,).
        relu_layers: Between pooling and the last dense layer.
    """

    signature: Signature
    mean: Float64Tensor
    std: Float64Tensor
    clip: float
    layers: tuple[FloatLayer, ...]
    pooling: Pooling
    dense_weights: Float64Tensor
    dense_bias: Float64Tensor
    relu_layers: tuple[FloatDense, ...] = ()

    def __post_init__(self) -> None:
        channels, classes = len(self.signature.channels), len(self.signature.classes)
        expect("mean", self.mean, (channels,))
        expect("std", self.std, (channels,))
        if not (self.std > 0).all():
            raise EdgeLstmError(f"std holds {self.std.min()}; accepted are positive numbers")
        if not 0 < self.clip < float("inf"):
            raise EdgeLstmError(f"clip is {self.clip}; accepted are positive numbers")
        object.__setattr__(self, "clip", float(self.clip))
        _check_chain([(layer.inputs, layer.hidden, layer.outputs) for layer in self.layers], channels)
        _check_pooling(self.pooling)
        width = _check_relu([k.weights for k in self.relu_layers], self.layers[-1].outputs, "float64")
        expect("dense_weights", self.dense_weights, (classes, width))
        expect("dense_bias", self.dense_bias, (classes,))

    def run(self, x: Any) -> dict[str, NDArray[Any]]:
        """Float outputs by name; see ``float_run.run_float``."""
        from edge_lstm.float_run import run_float

        return run_float(self, x)


@dataclass(frozen=True)
class QuantizedLayer:
    """A recurrent layer in integers.

    Args:
        cell: Name of the cell.
        modes: Gate name to mode.
        blocks: Block name to rows.
        h: Format of the hidden state: what is fed back, and given to the next layer.
        c: Format of the cell state; None for a cell without one.
        squash: Of the states: name of each function's result to its Table or Linear.
        projection: Of a projected cell.
    """

    cell: str
    modes: Mapping[str, GateMode]
    blocks: Mapping[str, Block]
    h: QFormat
    c: QFormat | None
    squash: Mapping[str, Table | Linear]
    projection: Projection | None = None

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
            expect(f"the weights of block {name}", block.weights, first, "int8")
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
        return int(next(iter(self.blocks.values())).weights.shape[0])

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(next(iter(self.blocks.values())).weights.shape[1]) - self.outputs

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


@dataclass(frozen=True)
class QuantizedModel:
    """The integer model.

    Args:
        signature: Inputs and classes.
        input_offset: (channels,) real value of the input integer 0, in the channel's unit.
        input_scale: (channels,) positive; real value of one input unit.
        layers: First to last.
        pooling: ``last``, ``mean`` or ``max``.
        pool: For ``mean``: sum of h over the window to its mean in ``pooled``; else None.
        pooled: Format of what the dense layer reads.
        dense_weights: (classes, width of what is before), -127 to 127; one scale for all rows, so that scores compare.
        dense_bias: (classes,) at the scale of the scores.
        score_scale: Real value of one unit of a score (a logit, or an output of a regression).
        rounding: Of every rounding shift.
        provenance: Free text by key: tool version, source of the weights, calibration.
        input_bits: 8 or 16.
        relu_layers: Between pooling and the last dense layer.
    """

    signature: Signature
    input_offset: Float64Tensor
    input_scale: Float64Tensor
    layers: tuple[QuantizedLayer, ...]
    pooling: Pooling
    pool: Requantize | None
    pooled: QFormat
    dense_weights: Int8Tensor
    dense_bias: Int32Tensor
    score_scale: float
    rounding: Literal["half_up"] = "half_up"
    provenance: Mapping[str, str] = field(default_factory=dict)
    input_bits: int = 8
    relu_layers: tuple[QuantizedDense, ...] = ()

    def __post_init__(self) -> None:
        channels, classes = len(self.signature.channels), len(self.signature.classes)
        expect("input_offset", self.input_offset, (channels,))
        expect("input_scale", self.input_scale, (channels,))
        if not (self.input_scale > 0).all():
            raise EdgeLstmError(f"input_scale holds {self.input_scale.min()}; accepted are positive numbers")
        if not 0 < self.score_scale < float("inf"):
            raise EdgeLstmError(f"score_scale is {self.score_scale}; accepted are positive numbers")
        if self.input_bits not in ACTIVATION_BITS:
            raise EdgeLstmError(f"inputs have {self.input_bits} bits; accepted are 8, 16")
        _check_chain([(layer.inputs, layer.hidden, layer.outputs) for layer in self.layers], channels)
        _check_pooling(self.pooling)
        width = _check_relu([k.weights for k in self.relu_layers], self.layers[-1].outputs, "int8")
        expect("dense_weights", self.dense_weights, (classes, width), "int8")
        expect("dense_bias", self.dense_bias, (classes,), "int32")
        check_weights("the dense layer", self.dense_weights, 8)
        object.__setattr__(self, "score_scale", float(self.score_scale))
        if (self.pooling == "mean") != (self.pool is not None):
            raise EdgeLstmError("mean pooling has a requantization, other pooling has none")
        if self.pool is not None:
            expect("the pooling multiplier", self.pool.multiplier, (self.layers[-1].outputs,), "int32")

    @property
    def input_format(self) -> QFormat:
        """Input integers lie in this format's [min, max]; their real meaning is per channel."""
        return QFormat(self.input_bits, 0, symmetric=True)

    @property
    def input_type(self) -> np.dtype[Any]:
        """Type of an input integer in memory."""
        return np.dtype(f"int{self.input_bits}")

    def quantize_input(self, x: Any) -> NDArray[np.int32]:
        """Integers that the model computes with, from samples in the channels' units.

        Args:
            x: (..., channels), finite.

        Returns:
            int32 of the same shape, -127 to 127, or -32767 to 32767 where inputs have 16 bits.

        Raises:
            EdgeLstmError: Wrong number of channels, or a sample that is not finite.
        """
        real = checked_samples(x, self.signature)
        with np.errstate(over="ignore"):  # what is too large for a float64 saturates all the same
            return self.input_format.quantize((real - self.input_offset) / self.input_scale)

    def save(self, path: str | Path) -> None:
        """Write the model to an ``.elstm`` file; see ``storage.save``."""
        from edge_lstm.storage import save

        save(self, path)


def _check_pooling(pooling: str) -> None:
    if pooling not in POOLINGS:
        raise EdgeLstmError(f"pooling is {pooling!r}; accepted are {', '.join(POOLINGS)}")


def _check_relu(weights: list[NDArray[Any]], width: int, kind: str) -> int:
    """Width after the dense layers with relu, the first of which is given ``width`` values."""
    for k, rows in enumerate(weights):
        expect(f"the weights of relu layer {k}", rows, (len(rows), width), kind)
        width = len(rows)
    return width


def _same_names(what: str, found: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    if set(found) != set(wanted):
        names = (", ".join(sorted(group)) or "none" for group in (found, wanted))
        raise EdgeLstmError("{} are {}; they must be {}".format(what, *names))


def _same_format(what: str, found: Table | Linear, wanted: QFormat, function: str) -> None:
    if found.output != wanted:
        raise EdgeLstmError(f"{what} is in {found.output}, and must be in {wanted} of {wanted.bits} bits")
    if found.function != function:
        raise EdgeLstmError(f"{what} is {found.function}, and must be {function}")


def _check_chain(layers: list[tuple[int, int, int]], channels: int) -> None:
    if not layers:
        raise EdgeLstmError("a model has at least one recurrent layer")
    for k, (inputs, hidden, outputs) in enumerate(layers):
        if inputs != channels:
            raise EdgeLstmError(f"layer {k} takes {inputs} inputs, and is given {channels}")
        if not 1 <= min(hidden, outputs) <= max(hidden, outputs) <= MAX_WIDTH:
            units = hidden if 1 <= outputs <= MAX_WIDTH else outputs
            raise EdgeLstmError(f"layer {k} has {units} units; accepted are 1 to {MAX_WIDTH}")
        channels = outputs
