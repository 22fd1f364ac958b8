"""``Loop`` and ``Scan`` over the steps of a window whose body is a recurrent cell, as tf2onnx writes Keras's layers.

The body may read a mask beside the samples: where that is 1 it must be a cell, and where it is 0 all states must stay
what they are. Both are found by taking the mask as known, see ``graph.given``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.cells import cell
from edge_lstm.graph.by_step import Binary, Input
from edge_lstm.graph.by_step import Features as PickFeatures
from edge_lstm.graph.cell_of import CELLS, Found, cell_of
from edge_lstm.graph.cell_of import Step as CellStep
from edge_lstm.graph.given import Constant, Given, reads, where
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.over_time import Recurrent, Step
from edge_lstm.graph.simplify import simplify
from edge_lstm.importing.interpreter import Call, Context, Value, handles, run_node
from edge_lstm.importing.reader import tensor
from edge_lstm.importing.view import Axis, Features, View

SAMPLE, MASK = "the sample of the step", "the mask of the step"
INT32 = 6
"""ONNX's number of that type."""
CONDITIONS = ("Add", "And", "Cast", "Constant", "Greater", "Identity", "Less", "Sub")
"""Operators of which the condition of a loop that is followed may be made: in each, the condition changes once."""
ADVICE = f"its body must be one step of {CELLS}; otherwise export the layer as ONNX's own LSTM, GRU or RNN"


@dataclass
class _Body:
    """The body of a loop, of which only what the states and the outputs need is looked at.

    Attributes:
        call: The loop.
        graph: In the file.
        inner: What its nodes make.
        index: Names that are the number of the step.
        states: Names of the states before the step.
        sequence: What is read step by step.
        taken: The step that is taken of it.
        mask: A sequence of one truth value that is read step by step too.
        masked: The step that is taken of it.
        copies: Nodes that are old states which are always equal to one of the cell's.
    """

    call: Call
    graph: Any
    inner: Context
    index: set[str] = field(default_factory=set)
    states: list[str] = field(default_factory=list)
    sequence: View | None = None
    taken: View | None = None
    mask: View | None = None
    masked: View | None = None
    copies: set[int] = field(default_factory=set)

    def run(self, outputs: Iterable[str]) -> None:
        """Compute what the outputs need."""
        for node in needed(self.graph.node, outputs):
            reads = self.index & set(node.input)
            if node.op_type == "Gather" and len(node.input) == 2 and node.input[1] in self.index:
                source = self.outer(node.input[0])
                if not isinstance(source, View):
                    raise self.call.refuse("it takes steps of what is not computed from the inputs")
                axis = next((int(a.i) for a in node.attribute if a.name == "axis"), 0)
                self.inner.values[node.output[0]] = self.sample(source, source.at(axis))
            elif reads:
                raise self.call.refuse(f"its node {node.name[:80]!r} ({node.op_type}) computes with the step's number")
            else:
                for name in node.input:
                    if name and name not in self.inner.values:
                        self.inner.values[name] = self.constant(name)
                run_node(self.inner, node)

    def outer(self, name: str) -> Value | None:
        """A value from outside of the loop."""
        return self.call.context.values.get(name)

    def constant(self, name: str) -> NDArray[Any]:
        """A constant from outside of the loop."""
        found = self.outer(name)
        if isinstance(found, View) or found is None:
            raise self.call.refuse(f"its body reads {name[:80]!r} beside the sample of the step; {ADVICE}")
        return found

    def sample(self, source: View, at: int) -> View:
        """One step of a sequence, as a value of the body."""
        if source.axes[at] != "T":
            raise self.call.layout(f"it goes along axis {at} of {source.shape}, which has not the steps")
        ordered = self.call.context.ordered(source)
        if self.call.context.is_truth(ordered.node):
            return self._of_mask(ordered)
        if self.sequence is not None and self.sequence.node != ordered.node:
            raise self.call.refuse("its body reads several sequences; accepted are one, and a mask")
        self.sequence = ordered
        if self.taken is None:
            self.taken = self.input(SAMPLE, tuple(a for a in ordered.axes if a != "T"), ordered)
        return self.taken

    def _of_mask(self, source: View) -> View:
        """One step of a mask."""
        if source.width != 1:
            raise self.call.refuse(f"its mask has {source.width} features at each step; accepted is one")
        if self.mask is not None and self.mask.node != source.node:
            raise self.call.refuse("its body reads several masks; accepted is one")
        self.mask = source
        if self.masked is None:
            self.masked = self.input(MASK, tuple(a for a in source.axes if a != "T"), source)
            self.inner.truths.add(self.masked.node)
        return self.masked

    def input(self, name: str, axes: tuple[Axis, ...], like: View) -> View:
        """A vector that the body is given."""
        features = tuple(axis for axis in axes if isinstance(axis, Features))
        node = self.inner.add(Input(name, like.width, steps=False))
        return View(node, axes, features, like.batch, 1)

    def state(self, name: str, begins: Value, batch: int) -> None:
        """Make a name a state."""
        if isinstance(begins, View):
            view = self.call.context.ordered(begins)
            kinds = ["F" if isinstance(a, Features) else a for a in view.axes]
            if kinds != ["B", "F"]:
                raise self.call.layout(f"a state begins with {view.shape}, whose axes are {kinds}")
        else:
            if np.ndim(begins) != 2 or (begins != begins[:1]).any():
                raise self.call.refuse(f"a state begins with a constant of shape {np.shape(begins)}")
            units = Features(begins.shape[1])
            view = View(0, ("B", units), (units,), batch, 1)
        if name in (SAMPLE, MASK) or name in self.inner.values:
            raise self.call.refuse(f"two values of its body are called {name[:80]!r}")
        self.states.append(name)
        self.inner.values[name] = self.input(name, view.axes, replace(view, batch=batch))

    def made(self, name: str) -> View:
        """A value of the body that is computed from its inputs."""
        value = self.inner.values.get(name)
        if not isinstance(value, View):
            raise self.call.refuse(f"its output {name[:80]!r} does not depend on the step; {ADVICE}")
        return self.inner.ordered(value)

    def given(self, name: str, mask: float) -> Given:
        """The node that a value of the body is at steps where the mask has a value, or the constant."""
        node = self.made(name).node
        if self.masked is None:
            return node
        return where(self.inner.nodes, self.inner.shapes, self.masked.node, mask)[node]

    def after(self, name: str) -> int:
        """The node that a value of the body is at steps that the mask does not leave out."""
        node = self.given(name, 1.0)
        if isinstance(node, Constant) or (self.masked is not None and reads(self.inner.nodes, node, self.masked.node)):
            raise self.call.refuse(f"its output {name[:80]!r} depends on its mask otherwise than by being left out")
        return node

    def kept(self, states: Mapping[str, str], begins: Mapping[str, Value]) -> dict[str, str]:
        """The states that the cell has, from old to new: without a copy of another, which the cell does not read.

        The copy is what is given out at each step; what it is where the mask is 0, its output of every step shows.
        """
        if self.masked is None:
            return dict(states)
        nodes = {old: self.after(new) for old, new in states.items()}
        olds = {old: self.made(old).node for old in states}
        read = [old for old in states if any(reads(self.inner.nodes, node, olds[old]) for node in nodes.values())]
        originals = {nodes[old]: old for old in read}
        found: dict[str, str] = {}
        for old, new in states.items():
            left_out = self.given(new, 0.0)
            original = None if old in read else originals.get(nodes[old])
            if original is None:
                found[old] = new
            elif left_out == olds[old]:
                if not _begin_alike(begins[old], begins[original]):
                    raise self.call.refuse(
                        f"its state {old[:80]!r} begins otherwise than the one of which it is a copy"
                    )
                self.copies.add(olds[old])
            if left_out != olds[old] and (original is None or left_out != Constant(0.0)):
                raise self.call.refuse(
                    f"its state {old[:80]!r} does not stay what it is at steps that its mask leaves out"
                )
        return found

    def cell(self, states: Mapping[str, str]) -> Found:
        """The cell that it is; ``states`` are names of old states to those of new ones."""
        if self.sequence is None:
            raise self.call.refuse(f"its body reads no sequence; {ADVICE}")
        if not states:
            raise self.call.refuse(f"its body has no state; {ADVICE}")
        nodes = {old: self.after(new) for old, new in states.items()}
        body = simplify(FloatGraph(tuple(self.inner.nodes), nodes))
        found = cell_of(CellStep(body, SAMPLE, tuple(states)))
        if found is None:
            raise self.call.refuse(ADVICE)
        return found


def _begin_alike(one: Value, other: Value) -> bool:
    """Whether two states begin with the same."""
    if isinstance(one, View) or isinstance(other, View):
        return isinstance(one, View) and isinstance(other, View) and one.node == other.node
    return np.array_equal(one, other)


def needed(nodes: Sequence[Any], outputs: Iterable[str]) -> list[Any]:
    """The nodes that the outputs need, in order."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.append(node)
    return found[::-1]


def _body(call: Call) -> _Body:
    graph = call.attributes["body"]
    inner = Context(call.context.opset)
    body = _Body(call, graph, inner)
    inner.values |= {t.name: tensor(t.name, t) for t in graph.initializer}
    return body


@handles("Loop")
def loop(call: Call) -> Any:
    """Over the steps of a window, where the body is one step of an LSTM, a GRU or a simple cell."""
    body = _body(call)
    graph, begins = body.graph, list(call.inputs[2:])
    old, new = [i.name for i in graph.input[2:]], [o.name for o in graph.output[1 : 1 + len(begins)]]
    scans = [o.name for o in graph.output[1 + len(begins) :]]
    body.index = {graph.input[0].name}
    results: list[Any] = []
    states = dict[str, str]()
    for name, after, value in zip(old, new, begins, strict=True):
        if isinstance(value, np.ndarray) and _same(graph, name, after):
            body.inner.values[name] = value
            results.append(value)
        elif isinstance(value, np.ndarray) and _counts(body, name, after, value):
            body.index.add(name)
            results.append(None)
        else:
            states[name] = after
            results.append(after)
    batch = _batch(call)
    starts = {name: _given(call, begins[old.index(name)]) for name in states}
    for name, start in starts.items():
        body.state(name, start, batch)
    body.run([*states.values(), *scans])
    states = body.kept(states, starts)
    found = body.cell(states)
    assert body.sequence is not None
    _goes_through(body, body.sequence.steps)
    made = _level(body, found, {name: starts[name] for name in states}, reverse=False)
    made.name(body, states, found)
    finals = [made.final(body, result) if isinstance(result, str) else result for result in results]
    return (*finals, *(made.each(body, name) for name in scans))


@handles("Scan")
def scan(call: Call) -> Any:
    """Over the steps of a window, where the body is one step of an LSTM, a GRU or a simple cell."""
    body, attributes = _body(call), call.attributes
    graph, sequences = body.graph, int(attributes["num_scan_inputs"])
    count = len(call.inputs) - sequences
    axes = [int(k) for k in attributes.get("scan_input_axes", [0] * sequences)]
    directions = {int(v) for k in ("scan_input_directions", "scan_output_directions") for v in attributes.get(k, [0])}
    if call.context.opset < 9 or sequences != 1 or any(attributes.get("scan_output_axes", [])):
        raise call.refuse("it goes through several sequences, or puts its steps on another axis than the first")
    if len(directions) > 1:
        raise call.refuse("it goes through its input and its output in opposite directions")
    batch, names = _batch(call), [i.name for i in graph.input]
    states = dict(zip(names[:count], (o.name for o in graph.output[:count]), strict=True))
    for name, value in zip(states, call.inputs, strict=False):
        body.state(name, _given(call, value), batch)
    source = call.view(count)
    body.inner.values[names[count]] = body.sample(source, source.at(axes[0]))
    scans = [o.name for o in graph.output[count:]]
    body.run([*states.values(), *scans])
    found = body.cell(states)
    begins = dict(zip(states, call.inputs, strict=False))
    made = _level(body, found, begins, reverse=directions == {1})
    made.name(body, states, found)
    return (*(made.final(body, after) for after in states.values()), *(made.each(body, name) for name in scans))


def _given(call: Call, value: Value | None) -> Value:
    if value is None:
        raise call.refuse("one of its states is left out")
    return value


def _batch(call: Call) -> int:
    """The windows with which shapes are computed."""
    views = [v for v in call.context.values.values() if isinstance(v, View) and "B" in v.axes]
    return views[0].batch if views else 1


def _same(graph: Any, name: str, after: str) -> bool:
    """Whether a value that is carried stays what it is."""
    makers = {o: n for n in graph.node for o in n.output}
    while after != name and after in makers and makers[after].op_type == "Identity":
        after = makers[after].input[0]
    return after == name


def _counts(body: _Body, name: str, after: str, begins: NDArray[Any]) -> bool:
    """Whether a value that is carried is the number of the step: a whole number from 0, with 1 added to it."""
    if begins.dtype.kind != "i" or begins.size != 1 or begins.any():
        return False
    made = [n for n in body.graph.node if after in n.output]
    if len(made) != 1 or made[0].op_type != "Add" or name not in made[0].input:
        return False
    (one,) = [k for k in made[0].input if k != name] or [name]
    value = body.inner.values.get(one, body.outer(one))
    return isinstance(value, np.ndarray) and value.size == 1 and int(np.ravel(value)[0]) == 1


def _goes_through(body: _Body, steps: int) -> None:
    """Refuse a loop that does not go through all the steps."""
    call = body.call
    count, begins = call.constant(0), call.constant(1)
    if count is None or int(np.ravel(count)[0]) != steps:
        raise call.refuse(f"it goes {None if count is None else np.ravel(count)[0]} times through {steps} steps")
    if begins is not None and not begins.all():
        raise call.refuse("its condition is false at once")
    name = body.graph.output[0].name
    nodes = needed(body.graph.node, [name])
    if any(node.op_type not in CONDITIONS for node in nodes):
        raise call.refuse("its condition is more than a comparison of the step's number with a constant")
    for step in {0, max(steps - 2, 0)}:  # where it holds at both, it holds between them
        values = Context(body.inner.opset, values=dict(body.inner.values))
        for given in body.graph.input:
            if given.name in body.index:
                values.values[given.name] = np.array(step, _dtype(given))
        values.values[body.graph.input[1].name] = np.array(True)
        for node in nodes:
            for k in node.input:
                if k not in values.values:
                    values.values[k] = body.constant(k)
            run_node(values, node)
        if steps > 1 and not np.all(np.asarray(values.values[name])):
            raise call.refuse(f"its condition ends it before step {steps}")


def _dtype(given: Any) -> Any:
    """Of a whole number that a body is given; the files say int32 or int64."""
    return np.int32 if given.type.tensor_type.elem_type == INT32 else np.int64


@dataclass
class _Level:
    """The layer in the graph.

    Attributes:
        level: Its node.
        finals, steps: Columns of its states to their last values, and to those of all steps.
        states: Node of the body that is a new state to its old one, and its columns.
    """

    level: Recurrent
    finals: dict[range, View]
    steps: dict[range, View]
    states: dict[int, tuple[int, range]] = field(default_factory=dict)

    def name(self, body: _Body, states: Mapping[str, str], found: Found) -> None:
        """Say which states of the body are those of the layer; ``states`` are names of old to new ones."""
        for old, new in states.items():
            self.states[body.after(new)] = body.made(old).node, self.level.columns[0, found.roles[old]]

    def final(self, body: _Body, name: str) -> View:
        """A state after the last step."""
        return self._shown(body, name, self.finals)

    def each(self, body: _Body, name: str) -> View:
        """An output of every step."""
        return self._shown(body, name, self.steps)

    def _shown(self, body: _Body, name: str, values: Mapping[range, View]) -> View:
        """A state, or where the mask is 0 a zero."""
        call, node = body.call, body.after(name)
        if node not in self.states:
            raise call.refuse(f"its output {name[:80]!r} of every step is none of its states")
        old, columns = self.states[node]
        value, left_out = values[columns], body.given(name, 0.0)
        if body.mask is None or left_out == old or left_out in body.copies:
            return value
        if left_out != Constant(0.0):
            raise call.refuse(f"its output {name[:80]!r} is neither a state nor 0 at steps that its mask leaves out")
        mask = body.mask.node
        if not call.context.shapes[value.node].steps:
            mask = call.context.add(Step(mask, -1))
        return replace(value, node=call.context.add(Binary(mask, value.node, "mul")))


def _level(body: _Body, found: Found, begins: Mapping[str, Any], *, reverse: bool) -> _Level:
    """The layer in the graph."""
    context, sequence, layer = body.call.context, body.sequence, replace(found.layer, reverse=reverse)
    assert sequence is not None
    constants = {found.roles[n]: np.asarray(v[0], np.float64) for n, v in begins.items() if isinstance(v, np.ndarray)}
    values = {found.roles[n]: context.ordered(v).node for n, v in begins.items() if isinstance(v, View)}
    if cell(layer.cell).unit_cell:
        constants |= {"c": constants["h"]} if "h" in constants else {}
        values |= {"c": values["h"]} if "h" in values else {}
    layer = replace(layer, initial={state: v for state, v in constants.items() if v.any()})
    begun = {(0, state): node for state, node in values.items()}
    level = Recurrent(sequence.node, (layer,), begun, mask=_mask(body, sequence))
    node = context.add(level)
    last = context.add(Step(node, 0 if reverse else -1))
    finals, steps = {}, {}
    for columns in level.columns.values():
        one, all_steps = Features(len(columns)), Features(len(columns))
        picked = context.add(PickFeatures(last, tuple(columns)))
        finals[columns] = View(picked, ("B", one), (one,), sequence.batch, 1)
        picked = context.add(PickFeatures(node, tuple(columns)))
        steps[columns] = View(picked, ("T", "B", all_steps), (all_steps,), sequence.batch, sequence.steps)
    return _Level(level, finals, steps)


def _mask(body: _Body, sequence: View) -> int | None:
    """The mask of the steps of a sequence."""
    if body.mask is None:
        return None
    if body.mask.steps != sequence.steps or "B" not in body.mask.axes:
        raise body.call.layout(f"its mask is {body.mask.shape}, and the sequence {sequence.shape}")
    return body.mask.node
