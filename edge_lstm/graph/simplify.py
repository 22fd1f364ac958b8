"""The same function with fewer nodes: factors go into the weights beside them, choices of features meet at the source.

Rules, from the inputs on:

- a factor behind a dense layer or a convolution goes into it, one before a dense layer too; two dense layers without a
  function between them are one; a factor or a dense layer before a recurrent layer goes into its W;
- features of features are features; all of them, in order, are the value itself; features of a concatenation are taken
  from its parts; neighbouring parts that are features of one value are one part;
- a step of some features is some features of the step; a step of a stack is that vector; a stack of what every step
  of a sequence becomes by itself is what the sequence becomes;
- turning a sequence around is put behind what is done step by step, and before a recurrent layer changes its direction;
- a sum before a dense or a recurrent layer goes into its weights; zeros before a convolution are its own;
- a comparison that is the mask of steps is one node; a value times its own mask, where that hides zeros, and a sum with
  zeros are the value; layers with a mask read no product with it; numbers of rows count from the end by themselves;
- recurrent layers that read the same are one level;
- equal choices are one node, and what no output needs is left out.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from edge_lstm.graph.by_step import (
    Binary,
    Concat,
    Embedding,
    Features,
    Function,
    Input,
    Linear,
    Normalize,
    Scale,
    Softmax,
)
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.levels import joined
from edge_lstm.graph.masks import Compare, Differs, mask_of, masked_source, row_number, without_mask, without_zeros
from edge_lstm.graph.node import Array, Shape, alike, moved
from edge_lstm.graph.over_time import Conv, Last, Pad, Recurrent, Reduce, Stack, Step, Steps, backwards
from edge_lstm.layers import FloatLayer

_SHARED = (Compare, Concat, Differs, Features, Last, Step, Steps, Stack)
_PICKED = (Concat, Features, Input, Last, Recurrent, Reduce, Step, Steps)
_BY_STEP = (Linear, Scale, Features, Function, Normalize, Embedding, Softmax, Compare, Differs)


def simplify(graph: FloatGraph) -> FloatGraph:
    """An equal graph; see the module's rules."""
    made = _simplified(graph)
    levels = joined(made)
    return made if levels is made else _simplified(levels)


def _simplified(graph: FloatGraph) -> FloatGraph:
    made = _Made()
    for node in graph.nodes:
        made.where.append(made.add(moved(node, made.where)))
    outputs = {name: made.where[k] for name, k in graph.outputs.items()}
    return _needed(made.nodes, outputs)


class _Made:
    """The new nodes; ``add`` applies the rules and gives the index of a node that is the value."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.shapes: list[Shape] = []
        self.where: list[int] = []
        self._known: dict[Any, int] = {}

    def add(self, node: Any) -> int:
        turned = self._turned(node)
        if turned is not None:
            return turned
        known = self._without(node)
        if known is not None:
            return known
        node = mask_of(self.nodes, node) or node
        if isinstance(node, Embedding):
            return self._append(replace(node, source=row_number(self.nodes, node)))
        if isinstance(node, Linear):
            return self._linear(node)
        if isinstance(node, Scale):
            return self._scale(node)
        if isinstance(node, Recurrent):
            return self._recurrent(node)
        if isinstance(node, Features):
            return self._features(node.source, node.columns)
        if isinstance(node, Concat):
            return self._concat(node.parts)
        if isinstance(node, Step):
            return self._step(node)
        if isinstance(node, Last) and isinstance(source := self.nodes[node.source], Features):
            return self._features(self.add(replace(node, source=source.source)), source.columns)
        if isinstance(node, Stack):
            return self._stack(node.parts)
        if isinstance(node, Reduce) and node.over == "time" and node.kind in ("mean", "sum"):
            return self._reduce(node)
        if isinstance(node, Conv) and isinstance(pad := self.nodes[node.source], Pad):
            pads = (node.pads[0] + pad.before, node.pads[1] + pad.behind)
            return self._append(replace(node, source=pad.source, pads=pads))
        return self._append(node)

    def _without(self, node: Any) -> int | None:
        """The value that a product or a sum is one side of; None of other nodes."""
        found = without_mask(self.nodes, node)
        return without_zeros(self.nodes, self.shapes, node) if found is None else found

    def _turned(self, node: Any) -> int | None:
        """Of a sequence that was turned around; None where there is nothing to do."""
        if isinstance(node, Binary):
            left, right = self._unturned(node.left), self._unturned(node.right)
            if left is None or right is None:
                return None
            return self.add(backwards(self.add(Binary(left, right, node.name))))
        source = self._unturned(node.source) if hasattr(node, "source") else None
        if source is None:
            return None
        if node == backwards(node.source):
            return source
        if isinstance(node, Step):
            return self.add(replace(node, source=source, at=-1 - node.at))
        if isinstance(node, Reduce) and node.over == "time":
            return self.add(replace(node, source=source))
        if isinstance(node, Recurrent) and node.lengths is None:
            mask = None if node.mask is None else self._unturned(node.mask)
            if (mask is None) != (node.mask is None):
                return None
            layers = tuple(replace(layer, reverse=not layer.reverse) for layer in node.layers)
            return self.add(backwards(self.add(replace(node, source=source, layers=layers, mask=mask))))
        if isinstance(node, _BY_STEP) and not (isinstance(node, Softmax) and node.over == "time"):
            return self.add(backwards(self.add(replace(node, source=source))))
        return None

    def _unturned(self, at: int) -> int | None:
        """The sequence of which a node is all steps in the opposite order."""
        node = self.nodes[at]
        return node.source if isinstance(node, Steps) and node == backwards(node.source) else None

    def _step(self, node: Step) -> int:
        source = self.nodes[node.source]
        if isinstance(source, Features):
            return self._features(self.add(replace(node, source=source.source)), source.columns)
        if isinstance(source, Stack) and -len(source.parts) <= node.at < len(source.parts):
            return source.parts[node.at]
        return self._append(node)

    def _stack(self, parts: tuple[int, ...]) -> int:
        """Parts that are made alike of all steps of one sequence are made of the sequence."""
        whole = self._whole(parts)
        return self._append(Stack(parts)) if whole is None else whole

    def _whole(self, parts: tuple[int, ...]) -> int | None:
        """The sequence whose steps are these vectors; None where they are not of one."""
        nodes = [self.nodes[k] for k in parts]
        first = nodes[0]
        n = len(parts)
        if all(isinstance(node, Step) and (node.source, node.steps) == (first.source, n) for node in nodes):
            ats = [node.at % n for node in nodes]
            if ats == list(range(n)):
                return int(first.source)
            return self.add(backwards(first.source)) if ats == list(range(n))[::-1] else None
        if isinstance(first, _BY_STEP) and all(alike(first, node) for node in nodes[1:]):
            source = self._whole(tuple(node.source for node in nodes))
            return None if source is None else self.add(replace(first, source=source))
        return None

    def _reduce(self, node: Reduce) -> int:
        """A mean or a sum over time of a sum is the sum of theirs."""
        source = self.nodes[node.source]
        if isinstance(source, Binary) and source.name in ("add", "sub"):
            sides = [source.left, source.right]
            if all(self.shapes[k].steps for k in sides):
                left, right = (self.add(replace(node, source=k)) for k in sides)
                return self.add(Binary(left, right, source.name))
        return self._append(node)

    def _summed(self, at: int) -> tuple[int, Array] | None:
        """A sum or a difference as weights of its sides, beside each other."""
        node = self.nodes[at]
        if not isinstance(node, Binary) or node.name not in ("add", "sub"):
            return None
        if self.shapes[node.left] != self.shapes[node.right]:
            return None
        if not all(isinstance(self.nodes[k], _PICKED) for k in node.sources):
            return None  # such as the new h of a cell that is written out step by step
        one = np.eye(self.shapes[at].width)
        weights = np.concatenate([one, one if node.name == "add" else -one], axis=1)
        return self._concat((node.left, node.right)), weights

    def _append(self, node: Any) -> int:
        if isinstance(node, _SHARED) and node in self._known:
            at = self._known[node]
            if isinstance(node, Step) and node.steps is not None:
                self.nodes[at] = node
            return at
        self.shapes.append(node.shape(*[self.shapes[k] for k in node.sources]))
        self.nodes.append(node)
        if isinstance(node, _SHARED):
            self._known[node] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def _linear(self, node: Linear) -> int:
        source = self.nodes[node.source]
        if isinstance(source, Scale):
            factor, offset = source.factor, source.offset
            return self._linear(Linear(source.source, node.weights * factor, node.bias + node.weights @ offset))
        if isinstance(source, Linear):
            bias = node.bias + node.weights @ source.bias
            return self._append(Linear(source.source, node.weights @ source.weights, bias))
        sides = self._summed(node.source)
        if sides is not None:
            return self._linear(Linear(sides[0], node.weights @ sides[1], node.bias))
        return self._append(node)

    def _scale(self, node: Scale) -> int:
        source, factor, offset = self.nodes[node.source], node.factor, node.offset
        if (factor == 1).all() and not offset.any():
            return node.source
        if isinstance(source, Scale):
            return self._append(Scale(source.source, source.factor * factor, source.offset * factor + offset))
        if isinstance(source, Linear):
            rows = source.weights * factor[:, None]
            return self._append(Linear(source.source, rows, source.bias * factor + offset))
        if isinstance(source, Conv):
            rows = source.weights * factor[:, None, None]
            return self._append(replace(source, weights=rows, bias=source.bias * factor + offset))
        return self._append(node)

    def _recurrent(self, node: Recurrent) -> int:
        if node.mask is not None:
            node = replace(node, source=masked_source(self.nodes, node))
        source = self.nodes[node.source]
        sides = self._summed(node.source)
        if sides is not None:
            layers = tuple(_absorbing(k, sides[1], np.zeros(len(sides[1]))) for k in node.layers)
            return self._recurrent(replace(node, source=sides[0], layers=layers))
        if isinstance(source, Scale):
            layers = tuple(_absorbing(k, np.diag(source.factor), source.offset) for k in node.layers)
        elif isinstance(source, Linear):
            layers = tuple(_absorbing(k, source.weights, source.bias) for k in node.layers)
        else:
            return self._append(node)
        return self._append(replace(node, source=source.source, layers=layers))

    def _features(self, at: int, columns: tuple[int, ...]) -> int:
        source = self.nodes[at]
        if columns == tuple(range(self.shapes[at].width)):
            return at
        if isinstance(source, Features):
            return self._features(source.source, tuple(source.columns[k] for k in columns))
        if isinstance(source, Concat):
            ends = np.cumsum([self.shapes[k].width for k in source.parts])
            places = [int(np.searchsorted(ends, k, side="right")) for k in columns]
            starts = [0, *ends.tolist()]
            parts = []
            for part, group in groupby(zip(places, columns, strict=True), key=lambda pair: pair[0]):
                inner = tuple(k - starts[part] for _, k in group)
                parts.append(self._features(source.parts[part], inner))
            if not source_is_spread(self.shapes, source):
                return self._concat(tuple(parts))
        return self._append(Features(at, columns))

    def _concat(self, parts: tuple[int, ...]) -> int:
        flat: list[int] = []
        for part in parts:
            source = self.nodes[part]
            flat += source.parts if isinstance(source, Concat) else [part]
        nodes = [self.nodes[part] for part in flat]
        reduced = [node for node in nodes if isinstance(node, Reduce) and node.over == "time"]
        if len(reduced) == len(flat) > 1 and len({node.kind for node in reduced}) == 1:
            return self.add(replace(reduced[0], source=self._concat(tuple(node.source for node in reduced))))
        unturned = [self._unturned(part) for part in flat]
        if len(flat) > 1 and all(k is not None for k in unturned):
            return self.add(backwards(self._concat(tuple(k for k in unturned if k is not None))))
        joined: list[int] = []
        for part in flat:
            a, b = (self._picked(joined[-1]) if joined else None), self._picked(part)
            if a is not None and b is not None and a[0] == b[0]:
                joined[-1] = self._features(a[0], a[1] + b[1])
            else:
                joined.append(part)
        return joined[0] if len(joined) == 1 else self._append(Concat(tuple(joined)))

    def _picked(self, at: int) -> tuple[int, tuple[int, ...]] | None:
        """What a part is some features of."""
        node = self.nodes[at]
        return (node.source, node.columns) if isinstance(node, Features) else None


def source_is_spread(shapes: list[Shape], node: Concat) -> bool:
    """Whether a concatenation repeats a vector at every step, which a part alone would not be."""
    return len({shapes[k].steps for k in node.parts}) > 1


def _absorbing(layer: FloatLayer, weights: Array, offset: Array) -> FloatLayer:
    """A layer whose W does what stood before it: W (weights x + offset) + b."""
    bias = {k: layer.b[k] + layer.W[k] @ offset for k in layer.W}
    return replace(layer, W={k: w @ weights for k, w in layer.W.items()}, b=bias)


def _needed(nodes: list[Any], outputs: dict[str, int]) -> FloatGraph:
    """Without what no output needs; inputs stay."""
    wanted = set(outputs.values()) | {k for k, node in enumerate(nodes) if not node.sources}
    for k in range(len(nodes) - 1, -1, -1):
        if k in wanted:
            wanted.update(nodes[k].sources)
    where: list[int] = []
    kept: list[Any] = []
    for k, node in enumerate(nodes):
        where.append(len(kept))
        if k in wanted:
            kept.append(moved(node, where))
    return FloatGraph(tuple(kept), {name: where[k] for name, k in outputs.items()})
