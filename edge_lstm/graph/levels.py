"""Recurrent layers that read the same as one level."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edge_lstm.graph.by_step import Features
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.node import moved
from edge_lstm.graph.over_time import Recurrent
from edge_lstm.layers import FloatLayer


def joined(graph: FloatGraph) -> FloatGraph:
    """An equal graph; the graph itself where there is nothing to join."""
    level_of = _groups(graph)
    if not level_of:
        return graph
    nodes: list[Any] = []
    where: list[int] = []
    parts: dict[int, int] = {}
    for k, node in enumerate(graph.nodes):
        group = level_of.get(k)
        if group is not None and k == group[0]:
            level, columns = _level(graph, group, where)
            nodes.append(level)
            at = len(nodes) - 1
            for member in group:
                parts[member] = len(nodes)
                nodes.append(Features(at, columns[member]))
        elif group is None:
            nodes.append(moved(node, where))
            parts[k] = len(nodes) - 1
        where.append(parts[k])
    return FloatGraph(tuple(nodes), {name: where[k] for name, k in graph.outputs.items()})


def _groups(graph: FloatGraph) -> dict[int, list[int]]:
    """Node to those, itself among them, with which it is one level: they read the same, and begin before the first."""
    groups: dict[tuple[int, int | None, int | None], list[int]] = {}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Recurrent):
            group = groups.setdefault((node.source, node.lengths, node.mask), [])
            if not group or all(begin < group[0] for begin in node.begins.values()):
                group.append(k)
    return {k: group for group in groups.values() if len(group) > 1 for k in group}


def _level(graph: FloatGraph, group: list[int], where: list[int]) -> tuple[Recurrent, dict[int, tuple[int, ...]]]:
    """The level, and what each of its parts is of it."""
    layers, begins, first = list[FloatLayer](), dict[tuple[int, str], int](), dict[int, int]()
    first_node = graph.nodes[group[0]]
    assert isinstance(first_node, Recurrent)
    for member in group:
        node = graph.nodes[member]
        assert isinstance(node, Recurrent)
        first[member] = len(layers)
        begins |= {(k + len(layers), state): where[at] for (k, state), at in node.begins.items()}
        layers += node.layers
    beside = tuple(replace(layer, beside=k > 0) for k, layer in enumerate(layers))
    whole = moved(replace(first_node, begins={}), where)
    level = replace(whole, layers=beside, begins=begins)
    columns = {}
    for member in group:
        node = graph.nodes[member]
        assert isinstance(node, Recurrent)
        columns[member] = tuple(c for k, state in node.columns for c in level.columns[first[member] + k, state])
    return level, columns
