"""A graph of strangers as a ``FloatModel``, where it is one: recurrent layers, pooling, dense layers.

What is found on the way: factors and offsets of features (also a folded batch normalization) go into the weights
behind them; a softmax at the end becomes the signature's ``probabilities``; attention over time becomes its bounded
form (``heads.FloatAttention``). An input that is the lengths of windows makes the model one for windows of several
lengths; inputs that are initial states, and outputs that are last ones, are the model's own states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edge_lstm.graph.by_step import ArgMax, Binary, Concat, Features, Function, Input, Linear, Softmax
from edge_lstm.graph.cell_of import CELLS
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.node import Array, Node
from edge_lstm.graph.over_time import Last, Recurrent, Reduce, Step
from edge_lstm.graph.rolled import taken_steps
from edge_lstm.heads import FloatAttention
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.interpreter import Imported
from edge_lstm.importing.known import known_ranges, picked
from edge_lstm.importing.view import Features as Axis
from edge_lstm.importing.view import View
from edge_lstm.known_ranges import KnownRange
from edge_lstm.layers import FloatDense
from edge_lstm.model import FloatModel, Pooling
from edge_lstm.signature import Signature

Final = Literal["scores", "softmax", "log-softmax", "classes"]
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
        lengths: Name of the input that is how many steps each window has; None where there is none.
        begins: Input of the file to the states of the model, such as ``lstm0.h``, that it is at the beginning.
        ends: Output of the file to the states that it is at the end.
        known: Ranges that the file says, of values whose format follows from one.
    """

    model: FloatModel
    imported: Imported
    input: str
    output: str
    final: Final
    lengths: str | None = None
    begins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: tuple[KnownRange, ...] = ()


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
        if taken_steps(self.graph):
            return UnsupportedError(
                f"{what} node {self.at} ({name}) of the imported graph, in which a window is written out step by step; "
                f"of that {CELLS} is understood, which begins with zeros: export the layer as ONNX's own LSTM, GRU or "
                "RNN (of PyTorch: nn.LSTM, nn.GRU or nn.RNN)"
            )
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
    output, view, final, at = output_of(imported)
    chain = _Chain(imported.graph, at)
    dense, rectified = _dense(chain)
    pooling, attention = _pooling(chain)
    levels = _levels(chain, at_level=pooling in ("last", "newest"))
    layers = tuple(layer for level in levels.values() for layer in level.layers)
    lengths = _lengths(imported.graph, levels, pooling)
    begins = _begins(imported.graph, levels)
    source = chain.node
    if not isinstance(source, Input) or not source.steps:
        raise chain.refuse("before the first layer stands")
    others_of = set(imported.inputs) - {source.name, lengths, *begins}
    if "B" not in imported.inputs[source.name].axes or others_of:
        raise UnsupportedError("the model has several inputs, or one without windows; accepted is one, with windows")
    first, *others = dense
    weights, bias = first
    relu = tuple(FloatDense(w, b) for w, b in reversed(others))
    several = lengths is not None or view_steps(imported, source.name) is None
    signature = signature_of(imported, name, source, (output, len(weights), final), steps, variable=several)
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
    ends = _ends(imported, levels, output)
    known = known_ranges(imported, chain.at, levels, rectified)
    return Recognised(model, imported, source.name, output, final, lengths, begins, ends, known)


def signature_of(
    imported: Imported,
    name: str,
    source: Input,
    output: tuple[str, int, Final],
    steps: int | None,
    *,
    variable: bool,
) -> Signature:
    """Names and lengths as the file has them.

    Args:
        imported: The file.
        name: Of the model.
        source: Its input.
        output: Name, width and kind of its output.
        steps: Of a window, where the file leaves them open.
        variable: Windows may be shorter.

    Raises:
        UnsupportedError: Nobody says how many steps a window has.
    """
    found = steps or view_steps(imported, source.name)
    if found is None:
        raise UnsupportedError("the file leaves the number of steps open; say how many a window has")
    called, classes, final = output
    return Signature(
        name=name,
        channels=tuple(f"{source.name}{k}"[:64] for k in range(source.width)),
        units=("",) * source.width,
        rate_hz=None,
        steps=found,
        classes=tuple(f"{called}{k}"[:64] for k in range(classes)),
        task="classify" if classes > 1 else "regress",
        variable=variable,
        probabilities=final == "softmax" and classes > 1,
    )


def view_steps(imported: Imported, name: str) -> int | None:
    """Steps of a window, where the file says them."""
    from edge_lstm.importing.interpreter import STEPS

    steps = imported.inputs[name].steps
    return None if steps == STEPS else steps


def output_of(imported: Imported) -> tuple[str, View, Final, int]:
    """The output that is no state: its name, how it is laid out, what it is, and the node of the scores."""
    graph, outputs = imported.graph, imported.outputs
    names = [name for name, view in outputs.items() if last_states(graph, view.node) is None] or [*outputs]
    if len(names) != 1:
        raise UnsupportedError(f"the model has {len(names)} outputs; accepted is one, beside last states")
    (name,) = names
    view = outputs[name]
    at, final = scores_of(graph, view.node)
    return name, view, final, at


def scores_of(graph: FloatGraph, at: int) -> tuple[int, Final]:
    """The node of an output's scores, and what the output is of them."""
    node = graph.nodes[at]
    if isinstance(node, ArgMax):
        return scores_of(graph, node.source)[0], "classes"
    if isinstance(node, Softmax) and node.over == "features":
        return node.source, "log-softmax" if node.log else "softmax"
    return at, "scores"


def _dense(chain: _Chain) -> tuple[list[tuple[Array, Array]], list[int]]:
    """Dense layers, the last first; all but that have a relu behind them, whose nodes come first to last."""
    found: list[tuple[Array, Array]] = []
    rectified: list[int] = []
    while isinstance(node := chain.node, Linear):
        found.append((node.weights, node.bias))
        chain.back()
        if not (isinstance(chain.node, Function) and chain.node.name == "relu"):
            return found, rectified
        rectified.insert(0, chain.at)
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
    level = graph.nodes[picked(graph, chain.at)[0]]
    if isinstance(level, Recurrent) and picked(graph, chain.at)[1] == _every_h(level):
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


def last_states(graph: FloatGraph, at: int) -> list[tuple[int, int, str]] | None:
    """(level, layer, state) of which these are the last values, one after the other; None where there is else."""
    node = graph.nodes[at]
    found: list[tuple[int, int, str]] = []
    for part in node.parts if isinstance(node, Concat) else (at,):
        source, columns = picked(graph, part)
        end = graph.nodes[source]
        level = graph.nodes[end.source] if isinstance(end, Step | Last) else None
        if not (isinstance(end, Step | Last) and isinstance(level, Recurrent)):
            return None
        firsts = {of_state[0]: (k, state) for (k, state), of_state in level.columns.items()}
        while columns:
            k, state = firsts.get(columns[0], (0, "h"))
            of_state = list(level.columns[k, state])
            if columns[: len(of_state)] != of_state or not _is_end(level, k, end):
                return None
            found.append((end.source, k, state))
            columns = columns[len(of_state) :]
    return found


def _is_end(level: Recurrent, k: int, end: Step | Last) -> bool:
    """Whether a layer computes this step of its windows last."""
    if level.layers[k].reverse:
        return isinstance(end, Step) and end.at == 0
    if level.lengths is None:
        return isinstance(end, Step) and end.at == -1
    return isinstance(end, Last) and end.lengths == level.lengths


def _last_states(graph: FloatGraph, at: int) -> int | None:
    """The level whose last h these are, of all its layers in order; None where they are anything else."""
    found = last_states(graph, at) or []
    levels = {source for source, _, _ in found}
    if len(levels) != 1:
        return None
    (source,) = levels
    level = graph.nodes[source]
    assert isinstance(level, Recurrent)
    return source if found == [(source, k, "h") for k in range(len(level.layers))] else None


def _newest(graph: FloatGraph, at: int) -> int | None:
    """The level whose h of the last step of the window these are; None where they are anything else."""
    source, columns = picked(graph, at)
    end = graph.nodes[source]
    if not isinstance(end, Step | Last):
        return None
    level = graph.nodes[end.source]
    if not isinstance(level, Recurrent) or columns != _every_h(level):
        return None
    newest = end.lengths == level.lengths if isinstance(end, Last) else (level.lengths is None and end.at == -1)
    return end.source if newest else None


def _every_h(level: Recurrent) -> list[int]:
    return [column for k in range(len(level.layers)) for column in level.columns[k, "h"]]


def _states(chain: _Chain) -> None:
    """From all h of a level, as they are picked from its states, to the level."""
    source, columns = picked(chain.graph, chain.at)
    level = chain.graph.nodes[source]
    if not isinstance(level, Recurrent) or columns != _every_h(level):
        raise chain.refuse("instead of the h of recurrent layers comes")
    chain.at = source


def _levels(chain: _Chain, *, at_level: bool) -> dict[int, Recurrent]:
    """Node to level, first to last; the chain is at all h of the last, or at the level itself."""
    levels: dict[int, Recurrent] = {}
    while True:
        if not at_level:
            _states(chain)
        at_level = False
        level = chain.node
        if not isinstance(level, Recurrent):
            raise chain.refuse("instead of a recurrent layer comes")
        if level.mask is not None:
            raise chain.refuse("a mask of steps has")
        levels[chain.at] = level
        chain.at = level.source
        if not isinstance(chain.node, Features | Recurrent):
            return dict(reversed(levels.items()))


def _lengths(graph: FloatGraph, levels: Mapping[int, Recurrent], pooling: Pooling) -> str | None:
    """The input that is the lengths of windows."""
    found = {level.lengths for level in levels.values()}
    if found == {None}:
        return None
    (at,) = found if len(found) == 1 else (None,)
    node = graph.nodes[at] if at is not None else None
    if not isinstance(node, Input):
        raise UnsupportedError("recurrent layers have different sequence_lens; accepted is one input of the file")
    if pooling in ("mean", "max", "attention"):
        raise UnsupportedError(f"{pooling} over all steps, also beyond the ends of windows, whose lengths are an input")
    return node.name


def _names(levels: Mapping[int, Recurrent]) -> dict[tuple[int, int, str], str]:
    """(level, layer, state) to its name in the model."""
    found, count = dict[tuple[int, int, str], str](), 0
    for at, level in levels.items():
        for k, layer in enumerate(level.layers):
            prefix = f"{layer.cell.replace('-', '_')}{count + k}"
            found |= {(at, k, state): f"{prefix}.{state}" for state in layer.lengths}
        count += len(level.layers)
    return found


def _begins(graph: FloatGraph, levels: Mapping[int, Recurrent]) -> dict[str, tuple[str, ...]]:
    """Inputs of the file that are initial states of the model."""
    names, found = _names(levels), dict[str, tuple[str, ...]]()
    for at, level in levels.items():
        for (k, state), begin in level.begins.items():
            source, _ = picked(graph, begin)
            node = graph.nodes[source]
            if isinstance(node, Step):
                node = graph.nodes[picked(graph, node.source)[0]]
            if not isinstance(node, Input):
                raise UnsupportedError(
                    f"{names[at, k, state]} begins with what is computed; accepted are constants and inputs of the file"
                )
            if level.layers[k].reverse:
                raise UnsupportedError(f"{names[at, k, state]} of a reversed layer is an input; it has no stream")
            found[node.name] = (*found.get(node.name, ()), names[at, k, state])
    return found


def _ends(imported: Imported, levels: Mapping[int, Recurrent], output: str) -> dict[str, tuple[str, ...]]:
    """Outputs of the file that are last states of the model."""
    names, found = _names(levels), dict[str, tuple[str, ...]]()
    for name, view in imported.outputs.items():
        if name != output:
            states = last_states(imported.graph, view.node) or []
            found[name] = tuple(names[state] for state in states if state in names)
    return found
