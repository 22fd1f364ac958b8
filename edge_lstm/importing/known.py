"""Which values of a ``FloatModel`` are those that a file says a range of, by its ``QuantizeLinear``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edge_lstm.cells import cell
from edge_lstm.graph.by_step import Features
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.over_time import Recurrent, Steps, backwards
from edge_lstm.importing.interpreter import Imported
from edge_lstm.known_ranges import KnownRange


def known_ranges(
    imported: Imported, source: int, levels: Mapping[int, Recurrent], relu: Sequence[int]
) -> tuple[KnownRange, ...]:
    """Ranges of the input, of each h whose format follows its range, and of each dense layer with relu.

    A value that a file quantizes several times under several names, such as before and behind a transposition, has the
    widest of these ranges. An h of a cell that bounds it has a format of its own, and is left out.

    Args:
        imported: The file.
        source: Node of the input.
        levels: Node to level of recurrent layers, first to last.
        relu: Node of the output of each dense layer with relu, first to last.
    """
    found: dict[str, KnownRange] = {}
    for name, at in imported.places.items():
        largest = imported.ranges[name]
        at = _forwards(imported.graph, at)
        for known in _of_node(imported.graph, at, name, largest, source, levels, relu):
            if known.value not in found or found[known.value].largest < largest:
                found[known.value] = known
    return tuple(found.values())


def picked(graph: FloatGraph, at: int) -> tuple[int, list[int]]:
    """The value that some features are of, and which."""
    node = graph.nodes[at]
    return (node.source, list(node.columns)) if isinstance(node, Features) else (at, [*range(graph.shapes[at].width)])


def _forwards(graph: FloatGraph, at: int) -> int:
    """The sequence of which a node is all steps in the opposite order; the node itself of others."""
    node = graph.nodes[at]
    return node.source if isinstance(node, Steps) and node == backwards(node.source) else at


def _of_node(
    graph: FloatGraph,
    at: int,
    name: str,
    largest: float,
    source: int,
    levels: Mapping[int, Recurrent],
    relu: Sequence[int],
) -> Iterator[KnownRange]:
    if at == source:
        yield KnownRange("input", 0, "input", name, largest)
    if at in relu:
        yield KnownRange("relu", relu.index(at), f"relu{relu.index(at)}", name, largest)
    of, columns = picked(graph, at)
    before = 0
    for node, level in levels.items():
        for k, layer in enumerate(level.layers):
            if node == of and set(level.columns[k, "h"]) <= set(columns) and not cell(layer.cell).unit_hidden:
                value = f"{layer.cell.replace('-', '_')}{before + k}.h"
                yield KnownRange("h", before + k, value, name, largest)
        before += len(level.layers)
