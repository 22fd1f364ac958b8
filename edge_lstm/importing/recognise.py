"""A graph of strangers as a ``FloatModel``, where it is one: recurrent layers, pooling, dense layers.

What is found on the way: factors and offsets of features (also a folded batch normalization) go into the weights
behind them; a softmax at the end becomes the signature's ``probabilities``; attention over time becomes its bounded
form (``heads.FloatAttention``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_lstm.graph.by_step import Binary, Concat, Features, Function, Input, Linear, Softmax
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.node import Array, Node
from edge_lstm.graph.over_time import Recurrent, Reduce, Step
from edge_lstm.heads import FloatAttention
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.interpreter import Imported
from edge_lstm.importing.view import Features as Axis
from edge_lstm.importing.view import View
from edge_lstm.layers import FloatDense, FloatLayer
from edge_lstm.model import FloatModel, Pooling
from edge_lstm.signature import Signature

Final = Literal["scores", "softmax", "log-softmax"]
WIDE = 1e6
"""Inputs of a stranger's model are not limited before calibration."""


@dataclass(frozen=True)
class Recognised:
    """A model of strangers that is a ``FloatModel``.

    Attributes:
        model: It, with the channels in the order of the file and the file's scores.
        imported: What the file says.
        input, output: Their names in the file.
        final: What the output is.
    """

    model: FloatModel
    imported: Imported
    input: str
    output: str
    final: Final


class _Chain:
    """Walks from the output to the input; says where the path is not a chain of known nodes."""

    def __init__(self, graph: FloatGraph, node: int) -> None:
        self.graph, self.at = graph, node

    @property
    def node(self) -> Node:
        return self.graph.nodes[self.at]

    def back(self) -> None:
        (self.at,) = self.node.sources

    def refuse(self, what: str) -> UnsupportedError:
        name = type(self.node).__name__.lower()
        return UnsupportedError(
            f"{what} node {self.at} ({name}) of the imported graph; accepted are recurrent layers, then pooling over "
            "time (last, mean, max, attention, or none), then dense layers with relu, then perhaps softmax"
        )


def recognise(imported: Imported, *, name: str, steps: int | None = None) -> Recognised:
    """The ``FloatModel`` that a graph is.

    Args:
        imported: The graph.
        name: Of the model.
        steps: Of a window, where the file leaves it open.

    Raises:
        UnsupportedError: It is none; says at which node.
    """
    output, view, final, at = _output(imported)
    chain = _Chain(imported.graph, at)
    dense = _dense(chain)
    pooling, attention = _pooling(chain)
    layers = _layers(chain, at_level=pooling in ("last", "newest"))
    source = chain.node
    if not isinstance(source, Input) or not source.steps:
        raise chain.refuse("before the first layer stands")
    if "B" not in imported.inputs[source.name].axes or len(imported.inputs) != 1:
        raise UnsupportedError("the model has several inputs, or one without windows; accepted is one, with windows")
    first, *others = dense
    weights, bias = first
    relu = tuple(FloatDense(w, b) for w, b in reversed(others))
    fixed = view_steps(imported, source.name)
    found = steps or fixed
    if found is None:
        raise UnsupportedError("the file leaves the number of steps open; say how many a window has")
    signature = Signature(
        name=name,
        channels=tuple(f"{source.name}{k}"[:64] for k in range(source.width)),
        units=("",) * source.width,
        rate_hz=None,
        steps=found,
        classes=tuple(f"{output}{k}"[:64] for k in range(len(weights))),
        task="classify" if len(weights) > 1 else "regress",
        variable=fixed is None,
        probabilities=final == "softmax" and len(weights) > 1,
    )
    if sum(isinstance(axis, Axis) for axis in view.axes) > 1:
        raise UnsupportedError(f"output {output!r} has several axes of features")
    model = FloatModel(
        signature=signature,
        mean=np.zeros(source.width),
        std=np.ones(source.width),
        clip=WIDE,
        layers=layers,
        pooling=pooling,
        dense_weights=weights,
        dense_bias=bias,
        relu_layers=relu,
        attention=attention,
    )
    return Recognised(model, imported, source.name, output, final)


def view_steps(imported: Imported, name: str) -> int | None:
    """Steps of a window, where the file says them."""
    from edge_lstm.importing.interpreter import STEPS

    steps = imported.inputs[name].steps
    return None if steps == STEPS else steps


def _output(imported: Imported) -> tuple[str, View, Final, int]:
    """The output that the others follow from: its name, how it is laid out, what it is, and the node of the scores."""
    graph = imported.graph
    if len(imported.outputs) != 1:
        raise UnsupportedError(f"the model has {len(imported.outputs)} outputs; accepted is one")
    ((name, view),) = imported.outputs.items()
    node = graph.nodes[view.node]
    if isinstance(node, Softmax) and node.over == "features":
        return name, view, "log-softmax" if node.log else "softmax", node.source
    return name, view, "scores", view.node


def _dense(chain: _Chain) -> list[tuple[Array, Array]]:
    """Dense layers, the last first; all but that have a relu behind them."""
    found: list[tuple[Array, Array]] = []
    while isinstance(node := chain.node, Linear):
        found.append((node.weights, node.bias))
        chain.back()
        if not (isinstance(chain.node, Function) and chain.node.name == "relu"):
            return found
        chain.back()
    raise chain.refuse("among the dense layers stands")


def _pooling(chain: _Chain) -> tuple[Pooling, FloatAttention | None]:
    """Pooling, and where it is attention its weights; the chain is then at the last level's h."""
    node, graph = chain.node, chain.graph
    if isinstance(node, Reduce) and node.kind in ("mean", "max") and node.over == "time":
        chain.back()
        return ("mean" if node.kind == "mean" else "max"), None
    if isinstance(node, Reduce) and node.kind == "sum" and node.over == "time":
        return "attention", _attention(chain)
    last = _last_states(graph, chain.at)
    if last is not None:
        chain.at = last
        return "last", None
    newest = _newest(graph, chain.at)
    if newest is not None:
        chain.at = newest
        return "newest", None
    level = graph.nodes[_picked(graph, chain.at)[0]]
    if isinstance(level, Recurrent) and _picked(graph, chain.at)[1] == _every_h(level):
        return "each", None
    raise chain.refuse("the features for the dense layers come from")


def _attention(chain: _Chain) -> FloatAttention:
    """sum over time of softmax(u h + b) h."""
    chain.back()
    product = chain.node
    if not isinstance(product, Binary) or product.name != "mul":
        raise chain.refuse("a sum over time of")
    for weights, values in ((product.left, product.right), (product.right, product.left)):
        score = chain.graph.nodes[weights]
        if isinstance(score, Softmax) and score.over == "time" and not score.log:
            linear = chain.graph.nodes[score.source]
            if isinstance(linear, Linear) and len(linear.weights) == 1 and linear.source == values:
                chain.at = values
                return FloatAttention(linear.weights[0], linear.bias, bounded=False)
    raise chain.refuse("a sum over time with other weights than softmax(u h + b):")


def _last_states(graph: FloatGraph, at: int) -> int | None:
    """The level whose last h these are, of all its layers in order; None where they are anything else."""
    node = graph.nodes[at]
    found: list[tuple[int, int]] = []
    for part in node.parts if isinstance(node, Concat) else (at,):
        source, columns = _picked(graph, part)
        step = graph.nodes[source]
        level = graph.nodes[step.source] if isinstance(step, Step) else None
        if not (isinstance(step, Step) and isinstance(level, Recurrent)):
            return None
        ends = [k for k, layer in enumerate(level.layers) if step.at == (0 if layer.reverse else -1)]
        for k in ends:
            of_layer = list(level.columns[k, "h"])
            if columns[: len(of_layer)] == of_layer:
                found.append((step.source, k))
                columns = columns[len(of_layer) :]
        if columns:
            return None
    levels = {source for source, _ in found}
    if len(levels) != 1:
        return None
    (source,) = levels
    level = graph.nodes[source]
    assert isinstance(level, Recurrent)
    return source if [k for _, k in found] == list(range(len(level.layers))) else None


def _newest(graph: FloatGraph, at: int) -> int | None:
    """The level whose h of the last step of the window these are; None where they are anything else."""
    source, columns = _picked(graph, at)
    step = graph.nodes[source]
    if not isinstance(step, Step) or step.at != -1:
        return None
    level = graph.nodes[step.source]
    return step.source if isinstance(level, Recurrent) and columns == _every_h(level) else None


def _picked(graph: FloatGraph, at: int) -> tuple[int, list[int]]:
    """The value that some features are of, and which."""
    node = graph.nodes[at]
    return (node.source, list(node.columns)) if isinstance(node, Features) else (at, [*range(graph.shapes[at].width)])


def _every_h(level: Recurrent) -> list[int]:
    return [column for k in range(len(level.layers)) for column in level.columns[k, "h"]]


def _states(chain: _Chain) -> None:
    """From all h of a level, as they are picked from its states, to the level."""
    source, columns = _picked(chain.graph, chain.at)
    level = chain.graph.nodes[source]
    if not isinstance(level, Recurrent) or columns != _every_h(level):
        raise chain.refuse("instead of the h of recurrent layers comes")
    chain.at = source


def _level(chain: _Chain) -> Recurrent:
    node = chain.node
    if not isinstance(node, Recurrent):
        raise chain.refuse("instead of a recurrent layer comes")
    if node.begins:
        raise UnsupportedError("a recurrent layer begins with states that are inputs; give them to the stream instead")
    return node


def _layers(chain: _Chain, *, at_level: bool) -> tuple[FloatLayer, ...]:
    """Those of all levels, first to last; the chain is at all h of the last, or at the level itself."""
    layers: tuple[FloatLayer, ...] = ()
    while True:
        if not at_level:
            _states(chain)
        at_level = False
        level = _level(chain)
        layers = level.layers + layers
        chain.at = level.source
        if not isinstance(chain.node, Features | Recurrent):
            return layers
