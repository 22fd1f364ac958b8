"""Nodes of a graph that are followed while it is simplified."""

from __future__ import annotations

from collections.abc import Mapping

from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.node import moved
from edge_lstm.graph.simplify import simplify

FOLLOWED = "followed "
"""Begins the name of an output that is none of the model's."""


def followed(graph: FloatGraph, places: Mapping[str, int]) -> tuple[FloatGraph, dict[str, int]]:
    """The graph, simplified, and where some of its nodes are then; not those that it needs no more.

    Args:
        graph: As it was made.
        places: Any name to a node.
    """
    marked = {f"{FOLLOWED}{name}": k for name, k in places.items()}
    outputs = {f"{name}": k for name, k in graph.outputs.items()}
    simple = simplify(FloatGraph(graph.nodes, {**graph.outputs, **marked}))
    wanted = {simple.outputs[name] for name in graph.outputs}
    wanted |= {k for k, node in enumerate(simple.nodes) if not node.sources}
    for k in reversed(range(len(simple.nodes))):
        if k in wanted:
            wanted.update(simple.nodes[k].sources)
    where = {k: n for n, k in enumerate(sorted(wanted))}
    nodes = tuple(moved(simple.nodes[k], where) for k in where)
    found = {name: where[k] for name in places if (k := simple.outputs[f"{FOLLOWED}{name}"]) in where}
    return FloatGraph(nodes, {name: where[simple.outputs[name]] for name in outputs}), found
