"""The two models: ``FloatModel`` (what was trained) and ``QuantizedModel`` (what ships), as frozen values.

Both are: input preparation, one or more recurrent layers, pooling over time, a dense classifier.
Constructors check every shape and range; a model that exists is consistent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.arrays import Float64Tensor, Int8Tensor, Int16Tensor, Int32Tensor, expect
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.gates import GateMode
from edge_lstm.requantize import Requantize

Pooling = Literal["last", "mean"]
GATE = QFormat(16, 15)
"""Soft gates are Q0.15, from 0 to 32767."""
MAX_WIDTH = 4096
"""Largest number of channels, hidden units or classes: bounds what a hostile file can make us compute."""
MAX_NAME = 64
"""Longest name of a channel, a unit or a class."""
MAX_STEPS = 65536
"""Longest window in time steps."""


@dataclass(frozen=True)
class Signature:
    """What goes in and what comes out.

    Args:
        name: A C identifier; prefixes the generated code.
        channels: Name of each input channel.
        units: Unit of each channel, "" where unknown.
        rate_hz: Sampling rate [Hz]; None where unknown.
        steps: Length of a window in time steps.
        classes: Name of each class.
    """

    name: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float | None
    steps: int
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", self.name):
            raise EdgeLstmError(
                f"model name {self.name!r}: accepted are up to 48 lower-case letters, digits and _, first a letter"
            )
        if not 1 <= len(self.channels) <= MAX_WIDTH or len(self.units) != len(self.channels):
            raise EdgeLstmError(
                f"{len(self.channels)} channels with {len(self.units)} units; "
                f"accepted are 1 to {MAX_WIDTH}, one unit each"
            )
        if not 2 <= len(self.classes) <= MAX_WIDTH:
            raise EdgeLstmError(f"{len(self.classes)} classes; accepted are 2 to {MAX_WIDTH}")
        for what, names in (("channel", self.channels), ("unit", self.units), ("class", self.classes)):
            for name in names:
                if not name.isprintable() or len(name) > MAX_NAME or not (name or what == "unit"):
                    raise EdgeLstmError(
                        f"{what} name {name[:MAX_NAME]!r}: accepted are 1 to {MAX_NAME} printable characters"
                    )
        if not 1 <= self.steps <= MAX_STEPS:
            raise EdgeLstmError(f"a window of {self.steps} steps; accepted are 1 to {MAX_STEPS}")
        if self.rate_hz is not None and not 0 < self.rate_hz < float("inf"):
            raise EdgeLstmError(f"a sampling rate of {self.rate_hz} Hz; accepted are positive numbers")
        if self.rate_hz is not None:
            object.__setattr__(self, "rate_hz", float(self.rate_hz))  # an equal model has an equal digest


@dataclass(frozen=True)
class FloatLayer:
    """A recurrent layer in float. z = W x + R h + b for each block of the cell.

    Args:
        cell: Name of the cell.
        W: Block name to input weights (hidden, inputs).
        R: Block name to recurrent weights (hidden, hidden).
        b: Block name to biases (hidden,).
        modes: Gate name to mode.
    """

    cell: str
    W: Mapping[str, Float64Tensor]
    R: Mapping[str, Float64Tensor]
    b: Mapping[str, Float64Tensor]
    modes: Mapping[str, GateMode]

    def __post_init__(self) -> None:
        kind = cell(self.cell)
        for what, group in (("W", self.W), ("R", self.R), ("b", self.b)):
            _same_names(f"{what} of a {self.cell} layer", group, kind.blocks)
        _same_names(f"the gates of a {self.cell} layer", self.modes, kind.gates)
        if self.W[kind.blocks[0]].ndim != 2:
            raise EdgeLstmError(f"W of a {self.cell} layer is no matrix")
        for block in kind.blocks:
            expect(f"W of {block}", self.W[block], (self.hidden, self.inputs))
            expect(f"R of {block}", self.R[block], (self.hidden, self.hidden))
            expect(f"b of {block}", self.b[block], (self.hidden,))

    @property
    def hidden(self) -> int:
        """Number of units."""
        return int(self.W[cell(self.cell).blocks[0]].shape[0])

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(self.W[cell(self.cell).blocks[0]].shape[1])


@dataclass(frozen=True)
class FloatModel:
    """The trained model: standardize and clip, recurrent layers, pooling, dense.

    Args:
        signature: Inputs and classes.
        mean: (channels,) subtracted from the input, in the channel's unit.
        std: (channels,) positive; the input is then divided by it.
        clip: Standardized inputs are limited to [-clip, clip].
        layers: First to last.
        pooling: ``last`` h of the window, or ``mean`` over it.
        dense_weights: (classes, hidden).
        dense_bias: (classes,).
    """

    signature: Signature
    mean: Float64Tensor
    std: Float64Tensor
    clip: float
    layers: tuple[FloatLayer, ...]
    pooling: Pooling
    dense_weights: Float64Tensor
    dense_bias: Float64Tensor

    def __post_init__(self) -> None:
        channels, classes = len(self.signature.channels), len(self.signature.classes)
        expect("mean", self.mean, (channels,))
        expect("std", self.std, (channels,))
        if not (self.std > 0).all():
            raise EdgeLstmError(f"std holds {self.std.min()}; accepted are positive numbers")
        if not 0 < self.clip < float("inf"):
            raise EdgeLstmError(f"clip is {self.clip}; accepted are positive numbers")
        object.__setattr__(self, "clip", float(self.clip))
        _check_chain([(layer.inputs, layer.hidden) for layer in self.layers], channels)
        expect("dense_weights", self.dense_weights, (classes, self.layers[-1].hidden))
        expect("dense_bias", self.dense_bias, (classes,))

    def run(self, x: Any) -> dict[str, NDArray[Any]]:
        """Float outputs by name; see ``float_run.run_float``."""
        from edge_lstm.float_run import run_float

        return run_float(self, x)


@dataclass(frozen=True)
class Table:
    """A 256-entry look-up table, nearest entry: index k in [-128, 127] stands for the real k * 2**-index_bits.

    Args:
        function: Name of the function tabulated.
        index_bits: Fraction bits of the index.
        output: Format of the entries.
        values: (256,) the first is that of index -128.
    """

    function: Literal["sigmoid", "tanh"]
    index_bits: int
    output: QFormat
    values: Int16Tensor

    def __post_init__(self) -> None:
        expect(f"table of {self.function}", self.values, (256,), "int16")
        if not 0 <= self.index_bits <= 7:
            raise EdgeLstmError(f"a table has 0 to 7 index bits, not {self.index_bits}")
        if self.values.min() < self.output.min or self.values.max() > self.output.max:
            raise EdgeLstmError(f"table of {self.function} holds values outside its format {self.output}")


@dataclass(frozen=True)
class Block:
    """The rows of one block: ``acc = weights @ [x; h] + bias``, and what turns acc into the block's value.

    Args:
        weights: (hidden, inputs + hidden), -127 to 127.
        bias: (hidden,), at the scale of the accumulator.
        scale: (hidden,) real value of one unit of the accumulator; not used by the integer arithmetic.
        requantize: Accumulator to table index; None for a hard gate.
        table: None for a hard gate.
    """

    weights: Int8Tensor
    bias: Int32Tensor
    scale: Float64Tensor
    requantize: Requantize | None
    table: Table | None

    def __post_init__(self) -> None:
        if self.weights.ndim != 2:
            raise EdgeLstmError(f"the weights of a block have {self.weights.ndim} axes, and must have 2")
        rows = (self.weights.shape[0],)
        expect("the bias of a block", self.bias, rows, "int32")
        expect("the scale of a block", self.scale, rows)
        if (self.weights == -128).any():
            raise EdgeLstmError("a weight is -128; accepted are -127 to 127")
        if (self.requantize is None) != (self.table is None):
            raise EdgeLstmError("a block has a table and a requantization, or neither")
        if self.requantize is not None:
            expect("the multipliers of a block", self.requantize.multiplier, rows, "int32")


@dataclass(frozen=True)
class QuantizedLayer:
    """A recurrent layer in integers.

    Args:
        cell: Name of the cell.
        blocks: Block name to rows.
        c: Format of the cell state.
        h: Format of the hidden state.
        squash_shift: Cell state to index of ``squash``: a shift by this many bits, rounding ``half_up``.
        squash: Table of tanh on the cell state.
    """

    cell: str
    blocks: Mapping[str, Block]
    c: QFormat
    h: QFormat
    squash_shift: int
    squash: Table

    def __post_init__(self) -> None:
        kind = cell(self.cell)
        _same_names(f"the blocks of a {self.cell} layer", self.blocks, kind.blocks)
        first = self.blocks[kind.blocks[0]].weights.shape
        for name, block in self.blocks.items():
            expect(f"the weights of block {name}", block.weights, first, "int8")
            if block.table is None and name not in kind.gates:
                raise EdgeLstmError(f"block {name} of a {self.cell} layer is not a gate and needs a table")
            if block.table is not None:
                _same_format(f"the table of block {name}", block.table, GATE if name in kind.gates else self.c)
        _same_format("the table of the cell state", self.squash, self.h if self.modes["o"] == "hard" else GATE)
        if not 0 <= self.squash_shift <= 30:
            raise EdgeLstmError(f"squash_shift is {self.squash_shift}; accepted are 0 to 30")
        if self.inputs < 1:
            raise EdgeLstmError(f"a layer of {self.hidden} units needs more than {first[1]} columns")

    @property
    def hidden(self) -> int:
        """Number of units."""
        return int(next(iter(self.blocks.values())).weights.shape[0])

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(next(iter(self.blocks.values())).weights.shape[1]) - self.hidden

    @property
    def modes(self) -> dict[str, GateMode]:
        """Gate name to mode."""
        gates = cell(self.cell).gates
        return {g: "hard" if self.blocks[g].table is None else "soft" for g in gates}


@dataclass(frozen=True)
class QuantizedModel:
    """The integer model.

    Args:
        signature: Inputs and classes.
        input_offset: (channels,) real value of the input integer 0, in the channel's unit.
        input_scale: (channels,) positive; real value of one input unit.
        layers: First to last.
        pooling: ``last`` or ``mean``.
        pool: For ``mean``: sum of h over the window to its mean in ``pooled``; None for ``last``.
        pooled: Format of what the dense layer reads.
        dense_weights: (classes, hidden), -127 to 127; one scale for all rows, so that scores compare.
        dense_bias: (classes,) at the scale of the scores.
        score_scale: Real value of one unit of a score (a logit).
        rounding: Of every rounding shift.
        provenance: Free text by key: tool version, source of the weights, calibration.
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

    def __post_init__(self) -> None:
        channels, classes = len(self.signature.channels), len(self.signature.classes)
        expect("input_offset", self.input_offset, (channels,))
        expect("input_scale", self.input_scale, (channels,))
        if not (self.input_scale > 0).all():
            raise EdgeLstmError(f"input_scale holds {self.input_scale.min()}; accepted are positive numbers")
        if not 0 < self.score_scale < float("inf"):
            raise EdgeLstmError(f"score_scale is {self.score_scale}; accepted are positive numbers")
        _check_chain([(layer.inputs, layer.hidden) for layer in self.layers], channels)
        expect("dense_weights", self.dense_weights, (classes, self.layers[-1].hidden), "int8")
        expect("dense_bias", self.dense_bias, (classes,), "int32")
        if (self.dense_weights == -128).any():
            raise EdgeLstmError("a weight of the dense layer is -128; accepted are -127 to 127")
        object.__setattr__(self, "score_scale", float(self.score_scale))
        if (self.pooling == "mean") != (self.pool is not None):
            raise EdgeLstmError("mean pooling has a requantization, last-step pooling has none")
        if self.pool is not None:
            expect("the pooling multiplier", self.pool.multiplier, (self.layers[-1].hidden,), "int32")

    @property
    def input_format(self) -> QFormat:
        """Input integers lie in this format's [min, max]; their real meaning is per channel."""
        return QFormat(8, 0, symmetric=True)

    def quantize_input(self, x: Any) -> NDArray[np.int32]:
        """Integers that the model computes with, from samples in the channels' units.

        Args:
            x: (..., channels), finite.

        Returns:
            int32 of the same shape, -127 to 127.

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


def checked_samples(x: Any, signature: Signature) -> NDArray[np.float64]:
    """Samples as float64, last axis one per channel.

    Raises:
        EdgeLstmError: Wrong number of channels, or a sample that is not finite, with its position.
    """
    real = np.asarray(x)
    if real.dtype.kind not in "fiu":
        raise EdgeLstmError(f"samples are {real.dtype}; accepted are real numbers")
    channels = len(signature.channels)
    if real.ndim < 1 or real.shape[-1] != channels:
        raise EdgeLstmError(
            f"samples have shape {real.shape}; {signature.name} takes {channels} channels last "
            f"({', '.join(signature.channels)})"
        )
    real = real.astype(np.float64)
    if not np.isfinite(real).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(real))[0])
        raise EdgeLstmError(
            f"sample {where} is {real[where]} (channel {signature.channels[where[-1]]}); every sample must be finite"
        )
    return real


def _same_names(what: str, found: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    if set(found) != set(wanted):
        raise EdgeLstmError(f"{what} are {', '.join(sorted(found))}; they must be {', '.join(sorted(wanted))}")


def _same_format(what: str, table: Table, wanted: QFormat) -> None:
    if table.output != wanted:
        raise EdgeLstmError(f"{what} is in {table.output}, and must be in {wanted} of {wanted.bits} bits")


def _check_chain(layers: list[tuple[int, int]], channels: int) -> None:
    if not layers:
        raise EdgeLstmError("a model has at least one recurrent layer")
    for k, (inputs, hidden) in enumerate(layers):
        if inputs != channels:
            raise EdgeLstmError(f"layer {k} takes {inputs} inputs, and is given {channels}")
        if not 1 <= hidden <= MAX_WIDTH:
            raise EdgeLstmError(f"layer {k} has {hidden} units; accepted are 1 to {MAX_WIDTH}")
        channels = hidden
