"""Nodes that compute each step by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge_lstm import luts
from edge_lstm.graph.node import Array, Shape, Unary, need


@dataclass(frozen=True)
class Input:
    """Samples.

    Args:
        name: Of the input.
        width: Features.
        steps: Whether there is an axis of steps.
    """

    name: str
    width: int
    steps: bool = True
    sources: tuple[int, ...] = ()

    def shape(self) -> Shape:
        """See ``Node``."""
        return Shape(self.width, self.steps)

    def compute(self) -> Array:
        """Inputs are given."""
        raise AssertionError(self.name)


@dataclass(frozen=True)
class Linear(Unary):
    """``weights v + bias`` at each step; ``weights`` (outputs, inputs)."""

    weights: Array
    bias: Array

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(self.weights.ndim == 2 and self.weights.shape[1] == v.width, f"weights {self.weights.shape} for {v}")
        need(self.bias.shape == (len(self.weights),), f"bias {self.bias.shape} for weights {self.weights.shape}")
        return Shape(len(self.weights), v.steps)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        return v @ self.weights.T + self.bias


@dataclass(frozen=True)
class Scale(Unary):
    """``v factor + offset``, feature by feature; both (width,)."""

    factor: Array
    offset: Array

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(self.factor.shape == self.offset.shape == (v.width,), f"factors {self.factor.shape} for {v}")
        return v

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        return v * self.factor + self.offset


@dataclass(frozen=True)
class Features(Unary):
    """Some of the features, in any order: ``columns`` of v."""

    columns: tuple[int, ...]

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(bool(self.columns), "no feature is chosen")
        need(0 <= min(self.columns) <= max(self.columns) < v.width, f"feature {max(self.columns)} of {v}")
        return Shape(len(self.columns), v.steps)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        return v[..., list(self.columns)]


@dataclass(frozen=True)
class Concat:
    """The features of all sources, one after the other; a vector is the same at every step."""

    parts: tuple[int, ...]

    @property
    def sources(self) -> tuple[int, ...]:
        """See ``Node``."""
        return self.parts

    def shape(self, *vs: Shape) -> Shape:
        """See ``Node``."""
        need(bool(vs), "nothing is concatenated")
        return Shape(sum(v.width for v in vs), any(v.steps for v in vs))

    def compute(self, *vs: Array) -> Array:
        """See ``Node``."""
        steps = max((v.shape[1] for v in vs if v.ndim == 3), default=0)
        wide = [np.repeat(v[:, None], steps, axis=1) if steps and v.ndim == 2 else v for v in vs]
        return np.concatenate(wide, axis=-1)


@dataclass(frozen=True)
class Function(Unary):
    """A function of each number: ``name`` of ``FUNCTIONS``, with its two parameters."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(self.name in FUNCTIONS, f"no function {self.name!r}; there are {', '.join(FUNCTIONS)}")
        return v

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        return np.asarray(FUNCTIONS[self.name](v, self.alpha, self.beta), np.float64)


FUNCTIONS: Mapping[str, Callable[[Any, float, float], Any]] = {
    "sigmoid": lambda v, _a, _b: luts.sigmoid(v),
    "tanh": lambda v, _a, _b: np.tanh(v),
    "relu": lambda v, _a, _b: np.maximum(v, 0.0),
    "leaky-relu": lambda v, a, _b: np.where(v < 0, a * v, v),
    "hard-sigmoid": lambda v, a, b: np.clip(a * v + b, 0.0, 1.0),
    "clip": lambda v, a, b: np.clip(v, a, b),
    "exp": lambda v, _a, _b: np.exp(v),
    "abs": lambda v, _a, _b: np.abs(v),
    "sqrt": lambda v, _a, _b: np.sqrt(v),
    "elu": lambda v, a, _b: np.where(v < 0, a * np.expm1(np.minimum(v, 0.0)), v),
    "softplus": lambda v, _a, _b: np.logaddexp(v, 0.0),
    "softsign": lambda v, _a, _b: v / (1 + np.abs(v)),
    "reciprocal": lambda v, _a, _b: 1 / v,
    "erf": lambda v, _a, _b: np.vectorize(math.erf, otypes=[np.float64])(v),
}
"""``alpha`` is the slope of leaky-relu and hard-sigmoid, the scale of elu and the lower limit of clip; ``beta`` the
offset of hard-sigmoid and the upper limit of clip."""


@dataclass(frozen=True)
class Binary:
    """``v + w``, ``v - w``, ``v * w``, ``v / w``, or their maximum or minimum; a vector is the same at every step."""

    left: int
    right: int
    name: str

    @property
    def sources(self) -> tuple[int, ...]:
        """See ``Node``."""
        return (self.left, self.right)

    def shape(self, v: Shape, w: Shape) -> Shape:
        """See ``Node``."""
        need(self.name in BINARIES, f"no operation {self.name!r}; there are {', '.join(BINARIES)}")
        need(v.width == w.width or 1 in (v.width, w.width), f"{self.name} of {v} and {w}")
        return Shape(max(v.width, w.width), v.steps or w.steps)

    def compute(self, v: Array, w: Array) -> Array:
        """See ``Node``."""
        if v.ndim != w.ndim:
            v, w = (u[:, None] if u.ndim == 2 else u for u in (v, w))
        return np.asarray(BINARIES[self.name](v, w))


BINARIES: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


@dataclass(frozen=True)
class Softmax(Unary):
    """exp(v) / sum exp(v) over the features or over time; or its logarithm."""

    over: Literal["time", "features"] = "features"
    log: bool = False

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(v.steps or self.over == "features", f"softmax over the steps of {v}")
        return v

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        axis = 1 if self.over == "time" else -1
        below = v - v.max(axis=axis, keepdims=True)
        total = np.exp(below).sum(axis=axis, keepdims=True)
        return np.asarray(below - np.log(total) if self.log else np.exp(below) / total)


@dataclass(frozen=True)
class ArgMax(Unary):
    """Index of the largest feature, the first where several are equal."""

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        return Shape(1, v.steps)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        return np.asarray(np.argmax(v, axis=-1, keepdims=True), np.float64)


@dataclass(frozen=True)
class Normalize(Unary):
    """Layer normalization over the features: (v - mean) / sqrt(variance + epsilon) * gain + bias."""

    gain: Array
    bias: Array
    epsilon: float

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(self.gain.shape == self.bias.shape == (v.width,), f"gains {self.gain.shape} for {v}")
        return v

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        centred = v - v.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.epsilon)
        return np.asarray(centred / spread * self.gain + self.bias)


@dataclass(frozen=True)
class Embedding(Unary):
    """The row of ``table`` (rows, width) that a feature, an integer, names."""

    table: Array

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(v.width == 1 and self.table.ndim == 2, f"a table of rows {self.table.shape} is asked with {v}")
        return Shape(self.table.shape[1], v.steps)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        index = v[..., 0].astype(np.int64)
        rows = len(self.table)
        need(bool(((index >= -rows) & (index < rows)).all()), f"a table of {rows} rows is asked for {index.max()}")
        return self.table[index]
