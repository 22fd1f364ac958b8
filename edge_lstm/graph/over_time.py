"""Nodes that look at several steps of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.float_run import initial_states, run_layer
from edge_lstm.graph.node import Array, Shape, Unary, need
from edge_lstm.layers import FloatLayer
from edge_lstm.signature import MAX_STEPS
from edge_lstm.timeline import Timeline


@dataclass(frozen=True)
class Recurrent:
    """A level of recurrent layers: the states after each step, every layer's h first, then every layer's c.

    Args:
        source: What every layer reads.
        layers: Beside each other.
        begins: (layer, state) to the node, a vector, with which a state begins.
        lengths: The node, a vector of one whole number, that is how many steps each window has; all where None.
        mask: The node, a sequence of one feature, that is 0 at steps which leave all states as they are, and 1 at
            others; no such steps where None.
    """

    source: int
    layers: tuple[FloatLayer, ...]
    begins: Mapping[tuple[int, str], int] = field(default_factory=dict)
    lengths: int | None = None
    mask: int | None = None

    @property
    def sources(self) -> tuple[int, ...]:
        """See ``Node``."""
        return (self.source, *self.begins.values(), *(k for k in (self.lengths, self.mask) if k is not None))

    @property
    def columns(self) -> dict[tuple[int, str], range]:
        """(layer, state) to the features that it is."""
        found, start = dict[tuple[int, str], range](), 0
        for state in ("h", "c"):
            for k, layer in enumerate(self.layers):
                if state in layer.lengths:
                    found[k, state] = range(start, start + layer.lengths[state])
                    start += layer.lengths[state]
        return found

    def shape(self, x: Shape, *others: Shape) -> Shape:
        """See ``Node``."""
        begun, rest = others[: len(self.begins)], others[len(self.begins) :]
        need(x.steps, f"a recurrent layer reads a sequence, and is given {x}")
        need(None in (self.lengths, self.mask), "windows have lengths and a mask; accepted is one of these")
        if self.lengths is not None:
            need(rest[0] == ONE, f"lengths of windows are {rest[0]}, and must be {ONE}")
        if self.mask is not None:
            need(rest[0] == MASK, f"a mask of steps is {rest[0]}, and must be {MASK}")
        for layer in self.layers:
            need(layer.inputs == x.width, f"a layer of {layer.inputs} inputs is given {x}")
        for (k, state), given in zip(self.begins, begun, strict=True):
            wanted = Shape(self.layers[k].lengths[state], False)
            need(given == wanted, f"an initial state is {given}, and must be {wanted}")
        return Shape(sum(map(len, self.columns.values())), True)

    def compute(self, x: Array, *others: Array) -> Array:
        """See ``Node``."""
        begun = others[: len(self.begins)]
        when = Timeline(x.shape[1], None if self.lengths is None else whole_lengths(others[-1], x.shape[1]))
        given = dict(zip(self.begins, begun, strict=True))
        traces = []
        for k, layer in enumerate(self.layers):
            first = initial_states(layer, len(x)) | {s: v for (j, s), v in given.items() if j == k}
            if self.mask is None:
                traces.append(run_layer(layer, x, when, first))
            else:
                traces.append(_run_masked(layer, x, others[-1] != 0, first))
        return np.concatenate([traces[k][state] for k, state in self.columns], axis=-1)


def _run_masked(layer: FloatLayer, x: Array, mask: NDArray[np.bool_], first: Mapping[str, Array]) -> dict[str, Array]:
    """The states after each step, which stay what they are where ``mask`` (windows, steps, 1) is false."""
    one, states = replace(layer, reverse=False), dict(first)
    trace = {state: np.zeros((*x.shape[:2], layer.lengths[state])) for state in layer.lengths}
    for t in range(x.shape[1])[:: -1 if layer.reverse else 1]:
        new = run_layer(one, x[:, t : t + 1], initial=states)
        states = {state: np.where(mask[:, t], new[state][:, 0], old) for state, old in states.items()}
        for state, value in states.items():
            trace[state][:, t] = value
    return trace


ONE, MASK = Shape(1, False), Shape(1, True)


def whole_lengths(given: Array, steps: int) -> NDArray[np.int64]:
    """Steps of each window, of (windows, 1)."""
    lengths = given[:, 0].astype(np.int64)
    need(
        bool(((lengths >= 1) & (lengths <= steps)).all()),
        f"lengths of windows are {lengths}; accepted are 1 to {steps}",
    )
    return lengths


@dataclass(frozen=True)
class Last(Unary):
    """The last step of each window, a vector.

    Args:
        source: The sequence.
        lengths: How many steps each window has, as of ``Recurrent``.
    """

    lengths: int

    @property
    def sources(self) -> tuple[int, ...]:
        """See ``Node``."""
        return (self.source, self.lengths)

    def shape(self, v: Shape, lengths: Shape) -> Shape:
        """See ``Node``."""
        need(v.steps and lengths == ONE, f"the last step of {v} of windows of {lengths} steps")
        return Shape(v.width, False)

    def compute(self, v: Array, lengths: Array) -> Array:
        """See ``Node``."""
        return Timeline(v.shape[1], whole_lengths(lengths, v.shape[1])).last(v)


@dataclass(frozen=True)
class Conv(Unary):
    """A convolution over time (a correlation, as ONNX has it).

    Args:
        weights: (outputs, inputs / groups, taps).
        bias: (outputs,).
        stride, dilation: In steps.
        pads: Zeros before and behind the window.
        groups: Of features.
    """

    weights: Array
    bias: Array
    stride: int = 1
    dilation: int = 1
    pads: tuple[int, int] = (0, 0)
    groups: int = 1

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(self.weights.ndim == 3, f"a convolution with weights {self.weights.shape}")
        outputs, inputs, taps = self.weights.shape
        need(self.bias.shape == (outputs,), f"bias {self.bias.shape} for weights {self.weights.shape}")
        _check_filter(taps, self.stride, self.dilation, self.pads)
        need(v.steps and inputs * self.groups == v.width, f"a convolution with weights {self.weights.shape} on {v}")
        need(outputs % self.groups == 0, f"{outputs} outputs in {self.groups} groups")
        return Shape(outputs, True)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        need(self.weights.ndim == 3, f"a convolution with weights {self.weights.shape}")
        outputs, inputs, taps = self.weights.shape
        need(self.bias.shape == (outputs,), f"bias {self.bias.shape} for weights {self.weights.shape}")
        windows = strided(np.pad(v, ((0, 0), self.pads, (0, 0))), taps, self.stride, self.dilation)
        grouped = windows.reshape(*windows.shape[:2], taps, self.groups, inputs)
        weights = self.weights.reshape(self.groups, outputs // self.groups, inputs, taps)
        found = np.einsum("wtkgi,goik->wtgo", grouped, weights)
        return np.asarray(found.reshape(*windows.shape[:2], outputs) + self.bias)


def _check_filter(taps: int, stride: int, dilation: int, pads: tuple[int, int]) -> None:
    least = min(taps, stride, dilation)
    need(
        least >= 1 and max(taps, stride, dilation) <= MAX_STEPS,
        f"a filter of {taps} steps, stride {stride} and dilation {dilation}; accepted are 1 to {MAX_STEPS}",
    )
    need(0 <= min(pads) <= max(pads) <= MAX_STEPS, f"a filter with pads of {pads}; accepted are 0 to {MAX_STEPS}")


def strided(v: Array, taps: int, stride: int, dilation: int = 1) -> Array:
    """(windows, places, taps, width): what each place of a filter sees."""
    reach = (taps - 1) * dilation + 1
    need(v.shape[1] >= reach, f"a filter of {reach} steps on {v.shape[1]} steps")
    at = np.arange(0, v.shape[1] - reach + 1, stride)[:, None] + np.arange(taps) * dilation
    return np.asarray(v[:, at])


@dataclass(frozen=True)
class Pool(Unary):
    """The maximum or the mean of neighbouring steps.

    Args:
        kind: ``max`` or ``mean``.
        size, stride: In steps.
        pads: Steps before and behind the window, which count as nothing.
        counts_pads: The mean divides by ``size`` at the ends too.
    """

    kind: Literal["max", "mean"]
    size: int
    stride: int
    pads: tuple[int, int] = (0, 0)
    counts_pads: bool = False

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(v.steps, f"pooling over time is given {v}")
        _check_filter(self.size, self.stride, 1, self.pads)
        return v

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        pads = ((0, 0), self.pads, (0, 0))
        if self.kind == "max":
            return np.asarray(strided(np.pad(v, pads, constant_values=-np.inf), self.size, self.stride).max(axis=2))
        inside = np.ones_like(v[:1])
        counts = strided(np.pad(inside, pads, constant_values=float(self.counts_pads)), self.size, self.stride)
        return np.asarray(strided(np.pad(v, pads), self.size, self.stride).sum(axis=2) / counts.sum(axis=2))


@dataclass(frozen=True)
class Step(Unary):
    """One step of a sequence, a vector.

    Args:
        source: The sequence.
        at: The step; -1 is the last.
        steps: How many there are, where that is known.
    """

    at: int
    steps: int | None = field(default=None, compare=False)

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(v.steps, f"a step of {v}")
        return Shape(v.width, False)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        need(-v.shape[1] <= self.at < v.shape[1], f"step {self.at} of {v.shape[1]}")
        return v[:, self.at]


@dataclass(frozen=True)
class Steps(Unary):
    """Steps from ``start`` to before ``stop``, as a Python slice; with a step of -1 the sequence is turned around."""

    start: int | None
    stop: int | None
    step: int = 1

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(v.steps, f"steps of {v}")
        return v

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        found = v[:, self.start : self.stop : self.step]
        need(found.shape[1] > 0, f"steps {self.start} to {self.stop} of {v.shape[1]} are none")
        return found


def backwards(source: int) -> Steps:
    """The sequence turned around."""
    return Steps(source, None, None, -1)


@dataclass(frozen=True)
class Stack:
    """Vectors as the steps of a sequence."""

    parts: tuple[int, ...]

    @property
    def sources(self) -> tuple[int, ...]:
        """See ``Node``."""
        return self.parts

    def shape(self, *vs: Shape) -> Shape:
        """See ``Node``."""
        need(
            0 < len(vs) <= MAX_STEPS and len(set(vs)) == 1 and not vs[0].steps, f"{len(vs)} steps are made of {vs[:2]}"
        )
        return Shape(vs[0].width, True)

    def compute(self, *vs: Array) -> Array:
        """See ``Node``."""
        return np.stack(vs, axis=1)


@dataclass(frozen=True)
class Pad(Unary):
    """Steps of zeros before and behind a sequence."""

    before: int
    behind: int

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(v.steps, f"steps are added to {v}")
        need(
            0 <= min(self.before, self.behind) <= max(self.before, self.behind) <= MAX_STEPS, "too many steps are added"
        )
        return v

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        return np.pad(v, ((0, 0), (self.before, self.behind), (0, 0)))


@dataclass(frozen=True)
class Reduce(Unary):
    """The ``mean``, ``sum``, ``max`` or ``min`` over time, a vector; or ``over`` the features, which leaves one."""

    kind: Literal["mean", "sum", "max", "min"]
    over: Literal["time", "features"] = "time"

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(v.steps or self.over == "features", f"{self.kind} over the steps of {v}")
        return Shape(v.width, False) if self.over == "time" else Shape(1, v.steps)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        if self.over == "time":
            return np.asarray(getattr(np, self.kind)(v, axis=1))
        return np.asarray(getattr(np, self.kind)(v, axis=-1, keepdims=True))


@dataclass(frozen=True)
class Repeat(Unary):
    """A vector at each of so many steps."""

    steps: int

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(not v.steps and 1 <= self.steps <= MAX_STEPS, f"{v} at {self.steps} steps")
        return Shape(v.width, True)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        return np.repeat(v[:, None], self.steps, axis=1)
