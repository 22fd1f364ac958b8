"""Recurrent layers that a file writes out step by step, as layers.

Of a sequence whose steps are all taken one by one, a *chain* is what steps 1 and 2 compute alike from the step and
from what the step before computed. Where that is a cell, every later step is followed through the graph, step 0 is
compared with the cell that begins with zeros, and the layer takes the place of the states at all steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_lstm.float_run import run_layer
from edge_lstm.graph.by_step import Features, Input, Linear, Scale
from edge_lstm.graph.cell_of import SAME, TRIED, Found, cell_of
from edge_lstm.graph.cell_of import Step as CellStep
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.node import alike, moved
from edge_lstm.graph.over_time import Recurrent, Step
from edge_lstm.graph.simplify import simplify

FEWEST = 4
"""Steps of a chain that is looked for: a first, two that are compared, and a last."""
SAMPLE = "x"


def rolled(graph: FloatGraph) -> FloatGraph:
    """An equal graph in which chains of steps are layers; the graph itself where there is none."""
    found = True
    while found:
        found = False
        for source, steps in taken_steps(graph).items():
            for reverse in (False, True):
                chain = _Chain(graph, source, steps[::-1] if reverse else steps, reverse=reverse)
                layer = chain.layer()
                if layer is not None:
                    graph, found = simplify(_with_layer(chain, layer)), True
                    break
            if found:
                break
    return graph


def taken_steps(graph: FloatGraph) -> dict[int, list[int]]:
    """Sequence to the nodes that are its steps, in order, where all steps are taken."""
    steps: dict[tuple[int, int], dict[int, int]] = {}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Step) and node.steps is not None:
            steps.setdefault((node.source, node.steps), {})[node.at % node.steps] = k
    return {source: [at[k] for k in range(n)] for (source, n), at in steps.items() if len(at) == n >= FEWEST}


@dataclass(frozen=True)
class _Layer:
    """A layer that was found, and its states.

    Args:
        found: The cell.
        states: State of the cell's graph to the node that it is after each step, in the order of the chain.
    """

    found: Found
    states: Mapping[str, Sequence[int]]


class _Chain:
    """The steps of a sequence, in the order of computation."""

    def __init__(self, graph: FloatGraph, source: int, steps: list[int], *, reverse: bool) -> None:
        self.graph, self.source, self.steps, self.reverse = graph, source, steps, reverse
        self._time: list[int | None] = []
        order = {k: t for t, k in enumerate(steps)}
        for k, node in enumerate(graph.nodes):
            times = [self._time[j] for j in node.sources]
            known = [t for t in times if t is not None]
            inside = len(known) == len(times) > 0 and not graph.shapes[k].steps
            self._time.append(order[k] if k in order else max(known) if inside else None)
        self._readers: dict[int, list[int]] = {}
        for k, node in enumerate(graph.nodes):
            for j in set(node.sources):
                self._readers.setdefault(j, []).append(k)
        self._delay()

    def _delay(self) -> None:
        """Weights of a state that only the next step reads belong to that step."""
        for k in range(len(self.graph.nodes) - 1, -1, -1):
            time, readers = self._time[k], [self._time[j] for j in self._readers.get(k, [])]
            weights = isinstance(self.graph.nodes[k], Linear | Scale | Features)
            if weights and time is not None and readers and all(t == time + 1 for t in readers):
                self._time[k] = time + 1

    def layer(self) -> _Layer | None:
        """The cell of the chain that depends on no other; None where there is none."""
        groups = sorted(self._groups(), key=len)
        for group in groups[:1]:
            body, inner = self._body(group)
            found = cell_of(CellStep(simplify(body), SAMPLE, tuple(map(str, sorted(group)))))
            if found is None:
                return None
            states = self._followed(group, inner)
            if states is not None and self._begins_with_zeros(found, {name: ks[0] for name, ks in states.items()}):
                return _Layer(found, states)
        return None

    def _at(self, time: int) -> list[int]:
        return [k for k, t in enumerate(self._time) if t == time]

    def _groups(self) -> list[dict[int, int]]:
        """Groups of states that need no others: node of step 1 to the node of step 0 that it follows."""
        first, second = self._at(1), self._at(2)
        if len(first) != len(second):
            return []
        before: dict[int, int] = {}  # state at step 0 to that at step 1
        for a, b in zip(first, second, strict=True):
            x, y = self.graph.nodes[a], self.graph.nodes[b]
            if type(x) is not type(y) or len(x.sources) != len(y.sources):
                return []
            for j, k in zip(x.sources, y.sources, strict=True):
                if self._time[j] == 0 and (self._time[k] != 1 or before.setdefault(j, k) != k):
                    return []
        after = {k: j for j, k in before.items()}
        if len(after) != len(before):
            return []
        found = []
        for state in after:
            group, waiting = dict[int, int](), [state]
            while waiting:
                k = waiting.pop()
                if k not in group:
                    group[k] = after[k]
                    waiting += [before[j] for j in self._closure([k])[1]]
            found.append(group)
        return found

    def _closure(self, wanted: Iterable[int]) -> tuple[list[int], set[int]]:
        """Nodes of step 1 that some need, in order, and the nodes of step 0 that these read."""
        inner, outer, waiting = set[int](), set[int](), list(wanted)
        while waiting:
            k = waiting.pop()
            if self._time[k] == 0:
                outer.add(k)
            elif k not in inner:
                inner.add(k)
                if k not in self.steps:
                    waiting += self.graph.nodes[k].sources
        return sorted(inner), outer

    def _body(self, group: Mapping[int, int]) -> tuple[FloatGraph, list[int]]:
        """One step as a graph of vectors; states are called by their nodes of step 1."""
        inner, _ = self._closure(group)
        where: dict[int, int] = {}
        nodes: list[Any] = [Input(SAMPLE, self.graph.shapes[self.steps[1]].width, steps=False)]
        where[self.steps[1]] = 0
        for k, before in sorted(group.items()):
            where[before] = len(nodes)
            nodes.append(Input(str(k), self.graph.shapes[before].width, steps=False))
        for k in inner:
            if k != self.steps[1]:
                nodes.append(moved(self.graph.nodes[k], where))
                where[k] = len(nodes) - 1
        return FloatGraph(tuple(nodes), {str(k): where[k] for k in group}), inner

    def _followed(self, group: Mapping[int, int], inner: Sequence[int]) -> dict[str, list[int]] | None:
        """The states after each step; None where a step computes something else."""
        states = {str(k): [before, k] for k, before in group.items()}
        for t in range(2, len(self.steps)):
            where = {before: states[str(k)][-1] for k, before in group.items()} | {self.steps[1]: self.steps[t]}
            for k in inner:
                if k not in where:
                    node = self.graph.nodes[k]
                    sources = tuple(where[j] for j in node.sources)
                    same = [
                        j
                        for j in self._readers.get(sources[0], [])
                        if self.graph.nodes[j].sources == sources and alike(node, self.graph.nodes[j])
                    ]
                    if not same:
                        return None
                    where[k] = same[0]
            for k in group:
                states[str(k)].append(where[k])
        return states

    def _begins_with_zeros(self, found: Found, begins: Mapping[str, int]) -> bool:
        """Whether the states after step 0 are those of the cell after zeros."""
        needed = set(begins.values())
        for k in range(len(self.graph.nodes) - 1, -1, -1):
            if k in needed and k != self.steps[0]:
                needed |= set(self.graph.nodes[k].sources)
        if self.steps[0] not in needed or any(self._time[k] != 0 for k in needed):
            return False
        where: dict[int, int] = {}
        nodes: list[Any] = []
        for k in sorted(needed):
            where[k] = len(nodes)
            width = self.graph.shapes[k].width
            nodes.append(Input(SAMPLE, width, steps=False) if k == self.steps[0] else moved(self.graph.nodes[k], where))
        graph = FloatGraph(tuple(nodes), {name: where[k] for name, k in begins.items()})
        x = np.random.default_rng(0).normal(0, 1, (TRIED, graph.shapes[where[self.steps[0]]].width))
        values, trace = graph.evaluate({SAMPLE: x}), run_layer(found.layer, x[:, None])
        return all(
            np.allclose(trace[found.roles[name]][:, 0], values[k], rtol=SAME, atol=SAME)
            for name, k in graph.outputs.items()
        )


def _with_layer(chain: _Chain, layer: _Layer) -> FloatGraph:
    """The graph in which the states are those of a layer."""
    level = Recurrent(0, (replace(layer.found.layer, reverse=chain.reverse),))
    of_node = {k: (name, t) for name, nodes in layer.states.items() for t, k in enumerate(nodes)}
    where: list[int] = []
    nodes: list[Any] = []
    made = dict[int, int]()
    for k, node in enumerate(chain.graph.nodes):
        if k not in made:
            nodes.append(moved(node, where))
            made[k] = len(nodes) - 1
        where.append(made[k])
        if k != chain.source:
            continue
        source, read = where[k], level
        if isinstance(node, Recurrent):
            read, columns = _of_h(node, level)
            nodes.append(Features(source, columns))
            source = len(nodes) - 1
        nodes.append(replace(read, source=source))
        at_level = len(nodes) - 1
        for state, (name, t) in of_node.items():
            taken = chain.graph.nodes[chain.steps[t]]
            assert isinstance(taken, Step)
            nodes.append(replace(taken, source=at_level))
            picked = level.columns[0, layer.found.roles[name]]
            nodes.append(Features(len(nodes) - 1, tuple(picked)))
            made[state] = len(nodes) - 1
    return FloatGraph(tuple(nodes), {name: where[k] for name, k in chain.graph.outputs.items()})


def _of_h(before: Recurrent, level: Recurrent) -> tuple[Recurrent, tuple[int, ...]]:
    """A level that reads nothing but the h of the one before it, and which of its features these are."""
    every = tuple(c for (_, state), columns in before.columns.items() if state == "h" for c in columns)
    (layer,) = level.layers
    if any(np.delete(w, every, axis=1).any() for w in layer.W.values()):
        return level, tuple(range(layer.inputs))
    return replace(level, layers=(replace(layer, W={b: w[:, every] for b, w in layer.W.items()}),)), every
