"""An ONNX graph to a ``FloatGraph``: each node is computed on constants, or by its handler on views of values.

A file does not say which of an input's axes are windows, steps and features. Recurrent and convolution operators do,
by the axes on which they find them: the ways to read the inputs are tried in the order of ``LAYOUTS``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.graph.by_step import Features as PickFeatures
from edge_lstm.graph.by_step import Input
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.node import Node, Shape
from edge_lstm.graph.over_time import Step, Steps
from edge_lstm.graph.rolled import rolled, taken_steps
from edge_lstm.graph.simplify import simplify
from edge_lstm.importing.errors import LayoutError, UnsupportedError
from edge_lstm.importing.fold import fold
from edge_lstm.importing.followed import followed
from edge_lstm.importing.reader import DOMAINS, opset, tensor
from edge_lstm.importing.view import Axis, Features, View

Value = View | NDArray[Any]
BATCH, STEPS = 101, 103
"""Lengths with which shapes are computed, of axes whose length the file leaves open."""
LAYOUTS: Mapping[int, tuple[tuple[Axis, ...], ...]] = {
    1: (("B",), ("T",)),
    2: (("B", "F"), ("T", "F"), ("B", "T")),
    3: (("B", "T", "F"), ("T", "B", "F"), ("B", "F", "T"), ("1", "B", "F"), ("F", "B", "F"), ("B", "F", "F")),
    4: (("B", "1", "T", "F"), ("B", "T", "F", "1"), ("B", "F", "T", "1"), ("B", "F", "1", "T"), ("B", "T", "1", "F")),
}
"""How an input may be laid out, by its number of axes; the first that every node can work with is taken."""
MAX_TRIALS = 64
WHOLE = (2, 3, 4, 5, 6, 7, 9, 12, 13)
"""Types of whole numbers, by ONNX's TensorProto."""
COMPARISONS = ("GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor", "IsNaN")
"""Operators that give truth values, and are taken of constants only."""
UNFOLDED = ("DequantizeLinear", "If", "Loop", "QuantizeLinear", "Scan")
"""Operators that read values of the graph around them too, or whose handlers take constants."""


@dataclass(frozen=True)
class Imported:
    """A model of strangers.

    Attributes:
        graph: What it computes.
        inputs: Name to how the file lays it out.
        outputs: Name to the same.
        ranges: Name of a value in the file to the largest absolute one that its ``QuantizeLinear`` can say.
        places: Name of such a value to its node, where it is still one: neither where it was joined with others, nor
            where a window is written out step by step.
    """

    graph: FloatGraph
    inputs: Mapping[str, View]
    outputs: Mapping[str, View]
    ranges: Mapping[str, float] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)

    def run(self, inputs: Any) -> dict[str, NDArray[Any]]:
        """Outputs by name, laid out as in the file.

        Args:
            inputs: Name to array, laid out as in the file; the array itself where there is one input.

        Raises:
            EdgeLstmError: An input is missing, unknown, of the wrong shape or not finite.
        """
        given = inputs if isinstance(inputs, Mapping) else {next(iter(self.inputs)): inputs}
        if set(given) != set(self.inputs):
            names = (", ".join(sorted(group)) for group in (given, self.inputs))
            raise EdgeLstmError("inputs are {}; they must be {}".format(*names))
        values = self.graph.evaluate({name: canonical(view, given[name], name) for name, view in self.inputs.items()})
        return {name: view.render(values[view.node]) for name, view in self.outputs.items()}


def canonical(view: View, array: Any, name: str) -> NDArray[np.float64]:
    """(windows, steps, features) or (windows, features), of an input laid out as in the file."""
    given = np.asarray(array)
    if given.ndim != len(view.axes):
        raise EdgeLstmError(f"input {name} has {given.ndim} axes, and must have {len(view.axes)}")
    lead: list[Axis] = [axis for axis in ("B", "T") if axis in view.axes]
    order = [view.axes.index(axis) for axis in (*lead, *(f for f in view.features if f in view.axes))]
    gone = [k for k in range(given.ndim) if k not in order]
    if any(given.shape[k] != 1 for k in gone):
        raise EdgeLstmError(f"input {name} has shape {given.shape}; axis {gone[0]} must have the length 1")
    moved = given.transpose([*order, *gone])
    steps = [given.shape[view.axes.index("T")]] if "T" in view.axes else []
    if steps and view.steps not in (STEPS, steps[0]):
        raise EdgeLstmError(f"input {name} has {steps[0]} steps, and the file takes {view.steps}")
    windows = given.shape[view.axes.index("B")] if "B" in view.axes else 1
    return moved.reshape(windows, *steps, -1)


@dataclass
class Context:
    """The graph while it is made.

    Attributes:
        nodes: Of it.
        shapes: Of the nodes' values.
        values: Name in the file to its value.
        opset: Of the file.
        whole: Nodes whose values are whole numbers, because the file says so of an input.
        ranges: Name in the file to the largest absolute value that it was quantized for.
        places: Name in the file to the node whose value was quantized.
        quantized: Name of integers to the largest absolute value.
        limited: Node that is a relu because the integers of a value can't be negative, to the node of that value.
        spans: See ``_spans``; of the nodes for which it was asked.
        taken: Node that is a step to the sequence, the step, and the sequence's steps where the file fixes them.
        truths: Nodes that are truth values, 0 or 1.
    """

    opset: int
    nodes: list[Node] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    ranges: dict[str, float] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    quantized: dict[str, float] = field(default_factory=dict)
    limited: dict[int, int] = field(default_factory=dict)
    spans: list[tuple[int, int, int, int] | None] = field(default_factory=list)
    taken: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    truths: set[int] = field(default_factory=set)

    def is_truth(self, at: int) -> bool:
        """Whether a node is 0 or 1 because it compares; also of some of its steps."""
        node = self.nodes[at]
        while isinstance(node, Step | Steps):
            at, node = node.source, self.nodes[node.source]
        return at in self.truths

    def step(self, view: View, at: int, k: int) -> View:
        """One step of a sequence, in whose axis ``at`` is then of length 1; the last one is called -1."""
        k %= view.steps
        steps = None if view.steps == STEPS else view.steps
        node = self.add(Step(view.node, -1 if k == view.steps - 1 else k, steps))
        if steps is not None:
            self.taken[node] = (view.node, k, view.steps)
        axes: tuple[Axis, ...] = tuple("1" if j == at else axis for j, axis in enumerate(view.axes))
        return View(node, axes, view.features, view.batch, 1)

    def follow_each_other(self, parts: Sequence[int]) -> bool:
        """Whether vectors are made of each step of a sequence, or of all steps up to each, in the order of time or
        against it."""
        spans = self._spans(parts)
        if None in spans or len({s[0] for s in spans if s}) != 1 or any(self.shapes[k].steps for k in parts):
            return False
        reach = [(s[1], s[2], s[3]) for s in spans if s]
        n = reach[0][2]
        orders = (
            [(k, k, n) for k in range(n)],
            [(0, k, n) for k in range(n)],
            [(k, n - 1, n) for k in range(n)],
            [(n - 1 - k, n - 1, n) for k in range(n)],
            [(0, n - 1 - k, n) for k in range(n)],
            [(n - 1 - k, n - 1 - k, n) for k in range(n)],
        )
        return n > 1 and reach in orders

    def _spans(self, parts: Sequence[int]) -> list[tuple[int, int, int, int] | None]:
        """Of each node the sequence, its first and last step of which it is made, and its steps; None of others."""
        found = self.spans
        for k in range(len(found), max(parts) + 1):
            node = self.nodes[k]
            if k in self.taken:
                source, at, steps = self.taken[k]
                found.append((source, at, at, steps))
                continue
            known = [s for s in (found[source] for source in node.sources) if s is not None]
            if not known or len({(s[0], s[3]) for s in known}) > 1 or self.shapes[k].steps:
                found.append(None)
            else:
                found.append((known[0][0], min(s[1] for s in known), max(s[2] for s in known), known[0][3]))
        return [found[k] for k in parts]

    def add(self, node: Node) -> int:
        """Append a node; gives its index."""
        self.shapes.append(node.shape(*[self.shapes[k] for k in node.sources]))
        self.nodes.append(node)
        return len(self.nodes) - 1

    def ordered(self, view: View) -> View:
        """The same tensor, with its axes of features in the order of its value's features."""
        if view.in_order:
            return view
        wanted = [axis for axis in view.axes if isinstance(axis, Features)]
        index = np.arange(view.width).reshape([f.size for f in view.features])
        columns = index.transpose([view.features.index(f) for f in wanted]).ravel()
        node = self.add(PickFeatures(view.node, tuple(int(k) for k in columns)))
        return View(node, view.axes, tuple(wanted), view.batch, view.steps)


@dataclass(frozen=True)
class Call:
    """A node of the file, for its handler.

    Attributes:
        context: The graph.
        proto: The node.
        inputs: Their values; None for one that is left out.
        attributes: By name.
    """

    context: Context
    proto: Any
    inputs: Sequence[Value | None]
    attributes: Mapping[str, Any]

    def refuse(self, why: str) -> UnsupportedError:
        """The error of this node."""
        return UnsupportedError(f"node {label(self.proto)} ({self.proto.op_type}): {why}")

    def layout(self, why: str) -> LayoutError:
        """The error of this node, where another layout of the inputs may help."""
        return LayoutError(f"node {label(self.proto)} ({self.proto.op_type}): {why}")

    def view(self, k: int) -> View:
        """Input k, which must be computed from the model's inputs."""
        value = self.inputs[k] if k < len(self.inputs) else None
        if not isinstance(value, View):
            raise self.refuse(f"input {k} is {'left out' if value is None else 'a constant'}")
        return value

    def constant(self, k: int) -> NDArray[Any] | None:
        """Input k, which must be a constant; None where it is left out."""
        value = self.inputs[k] if k < len(self.inputs) else None
        if isinstance(value, View):
            raise self.refuse(f"input {k} ({self.proto.input[k]}) is computed from the model's inputs, not a constant")
        return value

    def numbers(self, k: int, attribute: str) -> list[int] | None:
        """Whole numbers that are input k since some opset, and an attribute before; None where they are left out."""
        if attribute in self.attributes:
            return [int(v) for v in np.ravel(self.attributes[attribute])]
        found = self.constant(k)
        return None if found is None else [int(v) for v in np.ravel(found)]


Handler = Callable[[Call], "Value | Sequence[Value | None]"]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Make a function the handler of operators."""

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register


def label(proto: Any) -> str:
    """A node's name, or that of its first output where it has none; of limited length."""
    return repr((proto.name or next(iter(proto.output), ""))[:80])


def interpret(proto: Any) -> Imported:
    """The graph of a file.

    Raises:
        UnsupportedError: An operator, or a use of it, that is not supported.
        EdgeLstmError: The file is inconsistent.
    """
    import edge_lstm.importing.operators  # noqa: F401  registers the handlers

    constants = {t.name: tensor(t.name, t) for t in proto.graph.initializer}
    if len(constants) != len(proto.graph.initializer):
        raise EdgeLstmError("two of its initializers have the same name")
    inputs = [i for i in proto.graph.input if i.name not in constants]
    choices = [LAYOUTS.get(len(dims(i)), ()) for i in inputs]
    for i, layouts in zip(inputs, choices, strict=True):
        if not layouts:
            raise UnsupportedError(f"input {i.name!r} has {len(dims(i))} axes; accepted are {min(LAYOUTS)} to 4")
    refused: list[tuple[int, UnsupportedError]] = []
    for trial in itertools.islice(itertools.product(*choices), MAX_TRIALS):
        context = Context(opset(proto), values=dict(constants))
        try:
            return _interpret(context, proto, dict(zip((i.name for i in inputs), trial, strict=True)))
        except LayoutError as error:
            refused.append((len(context.values), error))
        except UnsupportedError as error:
            refused.append((len(context.values), error))
            break
    if not refused:
        raise EdgeLstmError("it has no inputs")
    raise max(reversed(refused), key=lambda pair: pair[0])[1]  # of the layout with which most nodes could be computed


def dims(value: Any) -> list[int]:
    """Lengths of an input's axes; 0 where the file leaves one open.

    Raises:
        UnsupportedError: It has no shape, or no type of numbers.
    """
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise UnsupportedError(f"input {value.name!r} is no tensor with a number of axes")
    return [int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else 0 for d in kind.shape.dim]


def _interpret(context: Context, proto: Any, layouts: Mapping[str, tuple[Axis, ...]]) -> Imported:
    inputs = {}
    for value in proto.graph.input:
        if value.name in layouts:
            inputs[value.name] = _input(context, value, layouts[value.name])
            context.values[value.name] = inputs[value.name]
    _agree(inputs)
    for node in proto.graph.node:
        run_node(context, node)
    outputs = {}
    for output in proto.graph.output:
        found = context.values.get(output.name)
        if found is None:
            raise EdgeLstmError(f"nothing makes its output {output.name!r}")
        if output.name in context.quantized:
            raise UnsupportedError(f"output {output.name!r} is in integers; accepted are real numbers")
        if not isinstance(found, View):
            raise UnsupportedError(f"output {output.name!r} does not depend on the inputs")
        outputs[output.name] = replace(found, node=context.limited.get(found.node, found.node))
    try:
        graph, places = _graph(context, {name: view.node for name, view in outputs.items()})
    except RecursionError:
        raise EdgeLstmError("its nodes are too long a chain") from None
    nodes = {node.name: k for k, node in enumerate(graph.nodes) if isinstance(node, Input)}
    inputs = {name: replace(view, node=nodes[name]) for name, view in inputs.items()}
    outputs = {name: replace(view, node=graph.outputs[name]) for name, view in outputs.items()}
    return Imported(graph, inputs, outputs, context.ranges, places)


def _graph(context: Context, outputs: Mapping[str, int]) -> tuple[FloatGraph, dict[str, int]]:
    """The graph, simplified, and the nodes in it that are values with a range."""
    graph = FloatGraph(tuple(context.nodes), outputs)
    simple = simplify(graph)
    if taken_steps(simple) or not context.places:
        return rolled(simple), {}
    return followed(graph, context.places)


def _input(context: Context, value: Any, layout: tuple[Axis, ...]) -> View:
    lengths = dims(value)
    features, axes = list[Features](), list[Axis]()
    for length, axis in zip(lengths, layout, strict=True):
        if axis == "F":
            if length == 0:
                raise LayoutError(f"input {value.name!r} has an open number of features")
            features.append(Features(length))
            axes.append(features[-1])
        else:
            if axis == "1" and length != 1:
                raise LayoutError(f"input {value.name!r} has {length or 'any number'} where 1 is needed")
            axes.append(axis)
    named = dict(zip(axes, lengths, strict=True))
    width = int(np.prod([f.size for f in features])) if features else 1
    if not features:
        features.append(Features(1))
    node = context.add(Input(value.name, width, "T" in axes))
    if value.type.tensor_type.elem_type in WHOLE:
        context.whole.add(node)
    batch = 1 if "B" not in axes else named["B"] or BATCH
    return View(node, tuple(axes), tuple(features), batch, named.get("T", 0) or STEPS)


def _agree(inputs: Mapping[str, View]) -> None:
    """Windows are as many in all inputs that have them."""
    batches = {view.batch for view in inputs.values() if "B" in view.axes}
    if len(batches) > 1:
        raise LayoutError(f"inputs have {sorted(batches)} windows")


def run_node(context: Context, proto: Any) -> None:
    """Compute one node of the file."""
    missing = [name for name in proto.input if name and name not in context.values]
    if missing:
        raise EdgeLstmError(f"node {label(proto)} reads {missing[0]!r}, which nothing before it makes")
    inputs = [context.values[name] if name else None for name in proto.input]
    if proto.domain not in DOMAINS:
        raise UnsupportedError(f"node {label(proto)}: operator {proto.op_type} of {proto.domain!r} is not supported")
    if proto.op_type != "DequantizeLinear" and (integers := context.quantized.keys() & set(proto.input)):
        raise UnsupportedError(f"node {label(proto)} ({proto.op_type}): it reads the integers {min(integers)!r}")
    results: Sequence[Any]
    if not any(isinstance(value, View) for value in inputs) and proto.op_type not in UNFOLDED:
        results = fold(proto, inputs, context.opset)
    else:
        handler = HANDLERS.get(proto.op_type)
        if proto.op_type in COMPARISONS:
            raise UnsupportedError(
                f"node {label(proto)} ({proto.op_type}): it compares what is computed from the inputs; accepted are "
                "Equal, Greater and Not, as Keras's Masking has them"
            )
        if handler is None:
            raise UnsupportedError(
                f"node {label(proto)}: operator {proto.op_type} is not supported; supported are "
                f"{', '.join(sorted(HANDLERS))}"
            )
        what = f"node {label(proto)} ({proto.op_type})"
        try:
            found = handler(Call(context, proto, inputs, attributes(proto)))
        except EdgeLstmError as error:
            text = str(error)
            raise type(error)(text if text.startswith("node ") else f"{what}: {text}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Attributes and constants of every kind may be missing, or of another kind or shape than ONNX says.
            raise EdgeLstmError(f"{what}: its inputs or attributes make no sense ({type(error).__name__})") from None
        results = found if isinstance(found, tuple) else (found,)
    for name, value in zip(proto.output, results, strict=False):
        if name and name in context.values:
            raise EdgeLstmError(f"two nodes make {name!r}")
        if name and value is not None:
            context.values[name] = value


def attributes(proto: Any) -> dict[str, Any]:
    """Of a node, by name, as Python values; subgraphs and types as they are."""
    onnx = require("onnx", extra="onnx", purpose="to read ONNX")
    found = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = tensor(attribute.name, value)
        elif attribute.type == onnx.AttributeProto.STRING:
            value = value.decode(errors="replace")
        elif attribute.type == onnx.AttributeProto.STRINGS:
            value = [v.decode(errors="replace") for v in value]
        found[attribute.name] = value
    return found
