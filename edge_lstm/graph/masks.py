"""Comparisons with constants, and what is made of them: masks of steps, and numbers of rows that count from the end.

A mask is a sequence of one feature, 1 where a step is a sample and 0 where it is padding: ``Differs``. Files write it
out, as "not all features are equal to a value"; ``mask_of`` finds it in what they write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge_lstm.graph.by_step import Binary, Embedding, Scale
from edge_lstm.graph.node import Array, Shape, Unary, need
from edge_lstm.graph.over_time import Recurrent, Reduce


@dataclass(frozen=True)
class Compare(Unary):
    """1 where a feature is ``equal`` to its value, ``above`` or ``below`` it, and 0 elsewhere.

    Both are compared in float32, the type of the files' numbers.

    Args:
        source: What is compared.
        name: How.
        values: Of each feature.
    """

    name: Literal["equal", "above", "below"]
    values: tuple[float, ...]

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(len(self.values) == v.width, f"{len(self.values)} values are compared with {v}")
        return v

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        compare = {"equal": np.equal, "above": np.greater, "below": np.less}[self.name]
        return np.asarray(compare(v.astype(np.float32), np.array(self.values, np.float32)), np.float64)


@dataclass(frozen=True)
class Differs(Unary):
    """1 where some feature is not its value, and 0 where all are, compared as by ``Compare``. One feature."""

    values: tuple[float, ...]

    def shape(self, v: Shape) -> Shape:
        """See ``Node``."""
        need(len(self.values) == v.width, f"{len(self.values)} values are compared with {v}")
        return Shape(1, v.steps)

    def compute(self, v: Array) -> Array:
        """See ``Node``."""
        differs = v.astype(np.float32) != np.array(self.values, np.float32)
        return np.asarray(differs.any(axis=-1, keepdims=True), np.float64)


def mask_of(nodes: Sequence[Any], node: Any) -> Differs | None:
    """The mask that a node after others is; None where it is none."""
    if isinstance(node, Compare) and node.name == "above" and node.values == (0.0,):
        source = nodes[node.source]
        if isinstance(source, Differs):
            return source
        if isinstance(source, Reduce) and source.over == "features" and source.kind in ("sum", "max"):
            return _not_equal(nodes, nodes[source.source])
    found = _not_equal(nodes, node)
    return found if found is not None and len(found.values) == 1 else None


def _not_equal(nodes: Sequence[Any], node: Any) -> Differs | None:
    """Whether some feature differs, where a node says of each whether it does; None of other nodes."""
    source = nodes[node.source] if isinstance(node, Scale) else None
    if not isinstance(source, Compare) or source.name != "equal" or not is_not(node):
        return None
    return Differs(source.source, source.values)


def is_not(node: Any) -> bool:
    """Whether a node is 1 - v."""
    return isinstance(node, Scale) and bool((node.factor == -1).all() and (node.offset == 1).all())


def without_mask(nodes: Sequence[Any], node: Any) -> int | None:
    """The value that a product with its own mask is: where that mask is 0, all features are 0; None of other nodes."""
    if not isinstance(node, Binary) or node.name != "mul":
        return None
    for mask, value in ((node.left, node.right), (node.right, node.left)):
        found = nodes[mask]
        if isinstance(found, Differs) and found.source == value and not any(found.values):
            return value
    return None


def without_zeros(nodes: Sequence[Any], shapes: Sequence[Shape], node: Any) -> int | None:
    """The other side of a sum with zeros; None of other nodes."""
    if not isinstance(node, Binary) or node.name != "add":
        return None
    for zeros, value in ((node.left, node.right), (node.right, node.left)):
        found = nodes[zeros]
        nothing = isinstance(found, Scale) and not found.factor.any() and not found.offset.any()
        if nothing and shapes[value] == node.shape(shapes[node.left], shapes[node.right]):
            return value
    return None


def masked_source(nodes: Sequence[Any], node: Recurrent) -> int:
    """What masked layers read: not its product with their mask, for they see nothing of steps where that is 0."""
    source = nodes[node.source]
    if isinstance(source, Binary) and source.name == "mul" and node.mask in source.sources:
        return source.right if source.left == node.mask else source.left
    return node.source


def row_number(nodes: Sequence[Any], node: Embedding) -> int:
    """What names the rows of a table: the number itself where the file adds all rows to those below 0.

    A table takes such numbers from its end, as Python does. Keras writes ``below * (v + rows) + (1 - below) * v``.
    """
    total = nodes[node.source]
    if not isinstance(total, Binary) or total.name != "add":
        return node.source
    for first, second in ((total.left, total.right), (total.right, total.left)):
        wrapped, plain = _product(nodes, first, negated=False), _product(nodes, second, negated=True)
        if wrapped is None or plain is None or not wrapped[0] == plain[0] == plain[1]:
            continue
        added = nodes[wrapped[1]]
        counted = isinstance(added, Scale) and added.source == plain[0] and bool((added.factor == 1).all())
        if counted and (added.offset == len(node.table)).all():
            return plain[0]
    return node.source


def _product(nodes: Sequence[Any], at: int, *, negated: bool) -> tuple[int, int] | None:
    """What is compared with 0, and what a value is multiplied with where it is below; ``negated``: where it is not."""
    node = nodes[at]
    if not isinstance(node, Binary) or node.name != "mul":
        return None
    for condition, value in ((node.left, node.right), (node.right, node.left)):
        found = nodes[condition]
        if negated:
            found = nodes[found.source] if is_not(found) else None
        if isinstance(found, Compare) and found.name == "below" and not any(found.values):
            return found.source, value
    return None
