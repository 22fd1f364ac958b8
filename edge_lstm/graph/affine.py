"""What the nodes of a graph of vectors are: weights times inputs and times what is not affine, and an offset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_lstm.graph.by_step import Binary, Concat, Features, Linear, Scale
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.node import Array, Node

MAX_ELEMENTS = 2**26
"""Of the squares of all widths of a graph whose forms are looked at: so large are their matrices at most."""


@dataclass(frozen=True)
class Affine:
    """``sum of terms[k] v_k + offset`` over nodes k that are inputs, functions or products.

    Args:
        terms: Node to matrix (width, its width).
        offset: (width,).
    """

    terms: Mapping[int, Array]
    offset: Array

    def times(self, weights: Array) -> Affine:
        """Weights of it."""
        return Affine({k: weights @ m for k, m in self.terms.items()}, weights @ self.offset)

    def plus(self, other: Affine, factor: float) -> Affine:
        """The sum with a multiple of another."""
        terms = dict(self.terms)
        for k, m in other.terms.items():
            terms[k] = terms[k] + factor * m if k in terms else factor * m
        return Affine(terms, self.offset + factor * other.offset)

    def rows(self, columns: slice | list[int]) -> Affine:
        """Some of its features."""
        return Affine({k: m[columns] for k, m in self.terms.items()}, self.offset[columns])


def forms(graph: FloatGraph) -> list[Affine]:
    """The form of each node of a graph of vectors."""
    found: list[Affine] = []
    for k, node in enumerate(graph.nodes):
        found.append(_form(k, node, graph, found))
    return found


def _form(k: int, node: Node, graph: FloatGraph, found: list[Affine]) -> Affine:
    if isinstance(node, Linear):
        form = found[node.source].times(node.weights)
        return Affine(form.terms, form.offset + node.bias)
    if isinstance(node, Scale):
        form = found[node.source]
        terms = {j: node.factor[:, None] * m for j, m in form.terms.items()}
        return Affine(terms, form.offset * node.factor + node.offset)
    if isinstance(node, Features):
        return found[node.source].rows(list(node.columns))
    if isinstance(node, Concat):
        return _joined([found[part] for part in node.parts], graph)
    if isinstance(node, Binary) and node.name in ("add", "sub"):
        left, right = found[node.left], found[node.right]
        if left.offset.shape == right.offset.shape:
            return left.plus(right, 1.0 if node.name == "add" else -1.0)
    width = graph.shapes[k].width
    return Affine({k: np.eye(width)}, np.zeros(width))


def _joined(parts: list[Affine], graph: FloatGraph) -> Affine:
    terms = {}
    for k in dict.fromkeys(k for part in parts for k in part.terms):
        zero = np.zeros((0, graph.shapes[k].width))
        rows = [p.terms.get(k, np.zeros((len(p.offset), zero.shape[1]))) for p in parts]
        terms[k] = np.concatenate([zero, *rows])
    return Affine(terms, np.concatenate([part.offset for part in parts]))
