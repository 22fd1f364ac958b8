"""What the nodes of a graph are where one of them has a value that is known: nodes before it, or constants.

A body of a loop with a mask writes ``mask * new + (1 - mask) * old``. Where the mask is 1 this is the node ``new``,
where it is 0 the node ``old``: nothing is computed to find that, so that nothing is the same by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_lstm.graph.by_step import Binary, Features, Scale
from edge_lstm.graph.node import Node, Shape


@dataclass(frozen=True)
class Constant:
    """One number, in all features."""

    value: float


Given = int | Constant
"""A node, or what it is known to be."""


def where(nodes: Sequence[Node], shapes: Sequence[Shape], at: int, value: float) -> list[Given]:
    """Of each node the first one that it is equal to, or the constant that it is, where node ``at`` is ``value``."""
    found: list[Given] = []
    for k, node in enumerate(nodes):
        known = Constant(value) if k == at else _given(node, found)
        if known is None or (isinstance(known, int) and shapes[known] != shapes[k]):
            known = k
        found.append(known)
    return found


def _given(node: Node, found: Sequence[Given]) -> Given | None:
    """A node whose sources are given; None where nothing is known."""
    if isinstance(node, Features):
        source = found[node.source]
        return source if isinstance(source, Constant) else None
    if isinstance(node, Scale):
        source = found[node.source]
        factor, offset = float(node.factor[0]), float(node.offset[0])
        if not isinstance(source, Constant) or (node.factor != factor).any() or (node.offset != offset).any():
            return None
        return Constant(source.value * factor + offset)
    if isinstance(node, Binary):
        return _combined(node.name, found[node.left], found[node.right])
    return None


def _combined(name: str, left: Given, right: Given) -> Given | None:
    """A product with 1 or 0, or a sum with 0."""
    for one, other in ((left, right), (right, left)):
        if not isinstance(one, Constant):
            continue
        if name == "mul" and one.value in (0.0, 1.0):
            return other if one.value else one
        if name == "add" and one.value == 0:
            return other
    return None


def reads(nodes: Sequence[Node], at: int, of: int) -> bool:
    """Whether a node is made of another, or is it."""
    needed = {at}
    for k in range(at, of, -1):
        if k in needed:
            needed.update(nodes[k].sources)
    return of in needed
