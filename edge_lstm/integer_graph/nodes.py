"""The nodes of a graph in integers. What each computes is said by ``integer_graph.lowering``, which numbers equations.

A value is a sequence, a vector of integers at each of its steps, or one vector. ``source`` and its like are indices of
earlier nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from edge_lstm.arrays import Int8Tensor, Int16Tensor, Int32Tensor, expect
from edge_lstm.blocks import check_weights
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import Integers
from edge_lstm.heads import check_exp
from edge_lstm.layers import QuantizedLayer
from edge_lstm.requantize import Requantize
from edge_lstm.signature import MAX_STEPS, MAX_WIDTH

TABLE = 256
MAX_REACH = 2 * MAX_STEPS
"""How far away steps may be."""


@dataclass(frozen=True)
class Finish:
    """Accumulators to values: requantized, limited, and perhaps looked up.

    Args:
        requantize: Of each row.
        lo, hi: Limits; with a table those of its index, in [-128, 127] or, with n bits between entries,
            [-128 << n, (127 << n) - 1].
        table: (256,) the entries, the first that of the index -128.
        between_bits: n, 0 to 8.
    """

    requantize: Requantize
    lo: int
    hi: int
    table: Int16Tensor | None = None
    between_bits: int = 0

    def __post_init__(self) -> None:
        if not -(2**31) <= self.lo <= self.hi < 2**31:
            raise EdgeLstmError(f"limits of a value are {self.lo} and {self.hi}")
        if self.table is not None:
            expect("the table of a node", self.table, (TABLE,), "int16")
        if not 0 <= self.between_bits <= 8:
            raise EdgeLstmError(f"a table has 0 to 8 bits between its entries, not {self.between_bits}")


class Node:
    """In a file a node's kind is told by its fields: none has others."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class Samples(Node):
    """The window's samples."""

    channels: int


@dataclass(frozen=True)
class Affine(Node):
    """Weights times what each place of a filter sees, and a bias; a dense layer has one tap.

    Args:
        source: What it reads.
        weights: (outputs, taps * width), tap after tap; or (width, taps) of a depthwise filter, one row a feature.
        bias: (outputs,) at the scale of the accumulator.
        finish: None: the accumulators themselves.
        taps: Places of the filter.
        stride, dilation: In steps.
        pads: Steps of zeros before and behind the sequence.
        depthwise: Each feature has a filter of its own.
        weight_bits: 8, 4 or 2.
    """

    source: int
    weights: Int8Tensor
    bias: Int32Tensor
    finish: Finish | None
    taps: int = 1
    stride: int = 1
    dilation: int = 1
    pads: tuple[int, int] = (0, 0)
    depthwise: bool = False
    weight_bits: int = 8

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or not self.weights.size:
            raise EdgeLstmError(f"the weights of a filter are {self.weights.shape}; accepted are rows of them")
        rows = (len(self.weights),)
        expect("the bias of a filter", self.bias, rows, "int32")
        check_weights("a filter", self.weights, self.weight_bits)
        _check_filter(self.taps, self.stride, self.dilation, self.pads)
        _check_finish(self.finish, len(self.weights))


@dataclass(frozen=True)
class Gain(Node):
    """``finish(v * factor + bias)``, feature by feature; both (width,)."""

    source: int
    factor: Int32Tensor
    bias: Int32Tensor
    finish: Finish

    def __post_init__(self) -> None:
        _check_factors(self.factor, self.bias)


@dataclass(frozen=True)
class Combine(Node):
    """Two values, feature by feature; one feature, or a vector, stands beside all of the other.

    Args:
        left, right: The values.
        kind: ``add``, ``max`` and ``min`` of ``left * left_factor`` and ``right * right_factor``, (width,) each;
            ``mul`` of the values.
        finish: Of the result.
        left_factor, right_factor: None for ``mul``.
    """

    left: int
    right: int
    kind: Literal["add", "max", "min", "mul"]
    finish: Finish
    left_factor: Int32Tensor | None = None
    right_factor: Int32Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("add", "max", "min", "mul"):
            raise EdgeLstmError(f"two values are combined by {self.kind!r}; accepted are add, max, min, mul")
        if (self.kind == "mul") != (self.left_factor is None) or (self.kind == "mul") != (self.right_factor is None):
            raise EdgeLstmError("two values have factors exactly where they are not multiplied")
        if self.left_factor is not None and self.right_factor is not None:
            _check_factors(self.left_factor, self.right_factor)


@dataclass(frozen=True)
class Rows(Node):
    """The row of ``table`` (rows, width) that a feature, limited to 0 to rows - 1, names."""

    source: int
    table: Int16Tensor

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or not self.table.size or self.table.shape[1] > MAX_WIDTH:
            raise EdgeLstmError(f"a table of rows is {self.table.shape}; accepted are rows of 1 to {MAX_WIDTH}")


@dataclass(frozen=True)
class Normalized(Node):
    """Layer normalization over the features: ``finish(n * factor + bias)``.

    n is (v - mean) / sqrt(sum of squares + epsilon), in Q0.14.

    Args:
        source: A value whose features have one unit.
        shift: Bits that ``width * (v - mean)`` loses, rounding ``half_up``, so that the sum of squares fits 30 bits.
        epsilon: Added to the sum of squares, 1 or more.
        factor, bias, finish: As of ``Gain``.
    """

    source: int
    shift: int
    epsilon: int
    factor: Int32Tensor
    bias: Int32Tensor
    finish: Finish

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 30 or not 1 <= self.epsilon < 2**29:
            raise EdgeLstmError(f"a normalization has the shift {self.shift} and the epsilon {self.epsilon}")
        _check_factors(self.factor, self.bias)


@dataclass(frozen=True)
class Exponentials(Node):
    """Softmax over the features, or over time, in Q0.15.

    Args:
        source: A value whose features have one unit.
        requantize: Of v less the largest, to the argument of ``table``.
        table: (129,) exp of -8 to 0 in Q1.14.
        over: What is summed over.
    """

    source: int
    requantize: Requantize
    table: Int16Tensor
    over: Literal["features", "time"]

    def __post_init__(self) -> None:
        check_exp(self.table)


@dataclass(frozen=True)
class Differs(Node):
    """The mask of a sequence: 1 where some feature is not that of ``value`` (width,), 0 where all are."""

    source: int
    value: Int32Tensor

    def __post_init__(self) -> None:
        if self.value.ndim != 1 or not 1 <= len(self.value) <= MAX_WIDTH:
            raise EdgeLstmError(f"a mask compares with {self.value.shape}; accepted are 1 to {MAX_WIDTH} integers")


@dataclass(frozen=True)
class Layers(Node):
    """Recurrent layers beside each other: every layer's h after each step, then every layer's c.

    Args:
        source: What they read.
        layers: Of them.
        begins: ``LAYER.STATE``, such as ``0.h``, to the vector that the state begins with.
        mask: A sequence of one feature, 0 at steps that leave all states as they are and 1 at others; None where
            there are no such steps.
    """

    source: int
    layers: tuple[QuantizedLayer, ...]
    begins: Mapping[str, int] = field(default_factory=dict)
    mask: int | None = None

    def __post_init__(self) -> None:
        states = {f"{j}.{s}": layer for j, layer in enumerate(self.layers) for s in cell(layer.cell).states}
        if not self.layers or any(layer.beside for layer in self.layers):
            raise EdgeLstmError(
                f"a node has {len(self.layers)} layers; accepted are 1 or more, of which none is beside"
            )
        for key in self.begins:
            if key not in states or key.partition(".")[2] in states[key].initial:
                raise EdgeLstmError(
                    f"state {key!r} begins with a vector; accepted are those of {', '.join(states)} without an initial "
                    "value"
                )


@dataclass(frozen=True)
class Pick(Node):
    """Some of the features, in any order."""

    source: int
    columns: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.columns, default=-1) < 0:
            raise EdgeLstmError(f"features {self.columns[:8]} are taken; accepted are 0 or more, at least one")


@dataclass(frozen=True)
class Join(Node):
    """The features of all parts, one after the other."""

    parts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise EdgeLstmError("nothing is joined; accepted are one or more values")


@dataclass(frozen=True)
class Moved(Node):
    """The sequence whose step t is the source's step ``t * stride + offset``, zeros where that has none.

    Args:
        source: A sequence.
        stride, offset: In steps; the stride may be negative.
        steps: Of the result.
    """

    source: int
    stride: int
    offset: int
    steps: int

    def __post_init__(self) -> None:
        farthest = abs(self.stride) * (self.steps - 1)
        if not 1 <= self.steps <= MAX_STEPS or max(farthest, abs(self.stride), abs(self.offset)) > MAX_REACH:
            raise EdgeLstmError(
                f"{self.steps} steps are taken, {self.stride} apart, from {self.offset} on; "
                f"accepted are 1 to {MAX_STEPS}, up to {MAX_REACH} away"
            )


@dataclass(frozen=True)
class At(Node):
    """One step of a sequence, a vector."""

    source: int
    step: int


@dataclass(frozen=True)
class Largest(Node):
    """The largest of neighbouring steps, feature by feature.

    Args:
        source: A sequence.
        size, stride: In steps.
        pads: Steps before and behind the sequence, which are never the largest.
    """

    source: int
    size: int
    stride: int
    pads: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        _check_filter(self.size, self.stride, 1, self.pads)
        if max(self.pads) >= self.size:
            raise EdgeLstmError(f"the largest of {self.size} steps has pads of {self.pads}; accepted are fewer steps")


@dataclass(frozen=True)
class Reduced(Node):
    """Over all steps the sum, which ``finish`` may make the mean; or the largest or the smallest. A vector."""

    source: int
    over_time: Literal["sum", "max", "min"]
    finish: Finish | None = None


@dataclass(frozen=True)
class Repeated(Node):
    """A vector at each of so many steps."""

    source: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_STEPS:
            raise EdgeLstmError(f"a vector is repeated {self.count} times; accepted are 1 to {MAX_STEPS}")


QuantizedNode = (
    Samples
    | Affine
    | Gain
    | Combine
    | Rows
    | Normalized
    | Exponentials
    | Differs
    | Layers
    | Pick
    | Join
    | Moved
    | At
    | Largest
    | Reduced
    | Repeated
)


def sources(node: Any) -> tuple[int, ...]:
    """Indices of the nodes that a node reads."""
    if isinstance(node, Samples):
        return ()
    if isinstance(node, Combine):
        return (node.left, node.right)
    if isinstance(node, Join):
        return node.parts
    if isinstance(node, Layers):
        return (node.source, *node.begins.values(), *([] if node.mask is None else [node.mask]))
    return (node.source,)


def _check_filter(taps: int, stride: int, dilation: int, pads: tuple[int, int]) -> None:
    if not 1 <= taps <= MAX_STEPS or not 1 <= stride <= MAX_STEPS or not 1 <= dilation <= MAX_STEPS:
        raise EdgeLstmError(
            f"a filter has {taps} taps, stride {stride} and dilation {dilation}; accepted are 1 or more"
        )
    if not 0 <= min(pads) <= max(pads) <= MAX_STEPS:
        raise EdgeLstmError(f"a filter has pads of {pads}; accepted are 0 to {MAX_STEPS}")


def _check_factors(factor: Integers, other: Integers) -> None:
    if factor.ndim != 1 or factor.shape != other.shape:
        raise EdgeLstmError(f"the factors of a node are {factor.shape} and {other.shape}; accepted are one a feature")


def _check_finish(finish: Finish | None, rows: int) -> None:
    if finish is not None:
        expect("the multipliers of a node", finish.requantize.multiplier, (rows,), "int32")
