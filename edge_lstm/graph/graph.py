"""``FloatGraph``: what a trained model of strangers computes, as a graph of few kinds of nodes.

A value is a *sequence* (windows, steps, width) or a *vector* (windows, width). Nodes are frozen values in the order of
computation; each says by ``sources`` which nodes it reads, and by ``compute`` what it is. Shapes are checked when the
graph is made, so that a graph that exists can be evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.graph.by_step import Input
from edge_lstm.graph.node import Array, Node, Shape, need

MAX_NODES = 10_000


@dataclass(frozen=True)
class FloatGraph:
    """A model.

    Args:
        nodes: In order of computation.
        outputs: Name to node.

    Attributes:
        shapes: Of each node's value.

    Raises:
        EdgeLstmError: A node reads what comes later, or what does not fit it; names the node.
    """

    nodes: tuple[Node, ...]
    outputs: Mapping[str, int]
    shapes: tuple[Shape, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        need(1 <= len(self.nodes) <= MAX_NODES, f"a graph has {len(self.nodes)} nodes; accepted are 1 to {MAX_NODES}")
        shapes: list[Shape] = []
        for k, node in enumerate(self.nodes):
            what = f"node {k} ({type(node).__name__.lower()})"
            need(all(0 <= source < k for source in node.sources), f"{what} reads {node.sources}, which come later")
            try:
                shapes.append(node.shape(*[shapes[source] for source in node.sources]))
            except EdgeLstmError as error:
                raise EdgeLstmError(f"{what}: {error}") from None
        object.__setattr__(self, "shapes", tuple(shapes))

    @property
    def inputs(self) -> dict[str, Input]:
        """By name."""
        return {node.name: node for node in self.nodes if isinstance(node, Input)}

    def evaluate(self, given: Mapping[str, Any]) -> list[Any]:
        """The value of every node.

        Args:
            given: Input name to (windows, steps, width) or (windows, width).

        Raises:
            EdgeLstmError: An input is missing, unknown, of the wrong shape or not finite.
        """
        need(set(given) == set(self.inputs), f"inputs are {_names(given)}; they must be {_names(self.inputs)}")
        windows = {len(array) for array in map(np.asarray, given.values()) if array.ndim}
        need(len(windows - {1}) <= 1, f"inputs have {sorted(windows)} windows; all must have as many, or 1")
        values: list[Any] = []
        for node, shape in zip(self.nodes, self.shapes, strict=True):
            if isinstance(node, Input):
                values.append(_checked(node, shape, given[node.name]))
            else:
                values.append(node.compute(*[values[source] for source in node.sources]))
        return values


def _names(group: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(sorted(group)) or "none"


def _checked(node: Input, shape: Shape, given: Any) -> Array:
    value = np.asarray(given)
    need(value.dtype.kind in "fiub", f"input {node.name} is {value.dtype}; accepted are real numbers")
    fits = value.ndim == 2 + shape.steps and value.shape[-1] == shape.width and 0 not in value.shape
    need(fits, f"input {node.name} has shape {value.shape}; accepted is {shape}, none 0")
    value = value.astype(np.float64)
    need(bool(np.isfinite(value).all()), f"input {node.name} holds a value that is not finite")
    return value
