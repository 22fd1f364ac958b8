"""A cell's equations on symbols: what they are between their matrix products, and its derivatives, as ``Code``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_lstm.cells import Cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import STEPS
from edge_lstm.luts import HARD
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.kernel_code import Code, Number, Value

SLOPE = Number("slope", "real")


@dataclass(eq=False)
class Node:
    """A result in a cell's equations.

    Attributes:
        tape: That it is on.
        what: ``add``, ``multiply``, ``not`` (1 - v), ``gate``, ``squash``, ``site`` (a matrix product), ``peephole``,
            ``project`` or ``last`` (a state before the step).
        name: Of the gate, function, site, block or state.
        arguments: Other nodes; of a site its operand where that is not the last h.
    """

    tape: list[Node] = field(repr=False)
    what: str
    name: str = ""
    arguments: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        self.tape.append(self)

    def __add__(self, other: Node) -> Node:
        return Node(self.tape, "add", "", (self, other))

    def __mul__(self, other: Node) -> Node:
        return Node(self.tape, "multiply", "", (self, other))

    def __rsub__(self, one: int) -> Node:
        assert one == 1
        return Node(self.tape, "not", "", (self,))


class Tape:
    """One evaluation of a cell's equations.

    Attributes:
        nodes: In order.
        following: State to its next value.

    Raises:
        EdgeLstmError: They can't be written down this way.
    """

    def __init__(self, kind: Cell) -> None:
        self.kind = kind
        self.nodes: list[Node] = []
        last: dict[str, Any] = {s: Node(self.nodes, "last", s) for s in kind.states}
        if kind.projected:
            last["h"] = None  # of another length: no equation uses it element by element
        try:
            self.following: Mapping[str, Node] = kind.step(_Machine(self.nodes), last)
        except (AssertionError, AttributeError, TypeError) as error:
            raise EdgeLstmError(f"the equations of {kind.name} can't be compiled: {error}") from None
        sites = [n.name for n in self.nodes if n.what == "site"]
        if len(set(sites)) != len(sites) or not all(isinstance(self.following.get(s), Node) for s in kind.states):
            raise EdgeLstmError(f"the equations of {kind.name} can't be compiled: a block is used twice, or none is")

    def length(self, node: Node) -> str:
        """Name of the length of a node's value."""
        return "outputs" if node.what == "project" else "hidden"


@dataclass
class _Machine:
    """``cells.Machine`` on nodes."""

    nodes: list[Node]

    def affine(self, block: str, operand: Node | None = None) -> Node:
        return Node(self.nodes, "site", block, () if operand is None else (operand,))

    def inputs(self, block: str) -> Node:
        return Node(self.nodes, "site", f"{block}.x")

    def recurrent(self, block: str) -> Node:
        return Node(self.nodes, "site", f"{block}.h")

    def peephole(self, block: str, c: Node) -> Node:
        return Node(self.nodes, "peephole", block, (c,))

    def gate(self, name: str, z: Node) -> Node:
        return Node(self.nodes, "gate", name, (z,))

    def squash(self, name: str, v: Node) -> Node:
        return Node(self.nodes, "squash", name, (v,))

    def state(self, name: str, v: Node) -> Node:  # noqa: ARG002
        return v

    def project(self, v: Node) -> Node:
        return Node(self.nodes, "project", "", (v,))


class Values:
    """Values of nodes, written as they are asked for.

    Args:
        code: That they are written to.
        tape: Of the cell.
        activations: Gates and functions.
        leaf: Gives the values of sites, projections and last states.
    """

    def __init__(self, code: Code, tape: Tape, activations: Activations, leaf: Callable[[Node], Value]) -> None:
        self._code, self._tape, self._activations, self._leaf = code, tape, activations, leaf
        self._made: dict[Node, Value] = {}

    def __getitem__(self, node: Node) -> Value:
        if node not in self._made:
            self._made[node] = self._make(node)
        return self._made[node]

    def _make(self, node: Node) -> Value:
        if node.what in ("site", "project", "last"):
            return self._leaf(node)
        arguments = [self[a] for a in node.arguments]
        if node.what == "gate":
            return self._gate(node.name, arguments[0])
        if node.what == "squash":
            return self._squash(self._activations.function(node.name), arguments[0])
        if node.what == "peephole":
            arguments.append(self.peephole(node))
        text = {"add": "{0} + {1}", "multiply": "{0} * {1}", "peephole": "{0} * {1}", "not": "1 - {0}"}[node.what]
        return self.real(text, *arguments)

    def real(self, expression: str, *arguments: Value | Number) -> Value:
        """Elements of one value for each unit."""
        return self._code.elements("hidden", "real", expression, *arguments)

    def peephole(self, node: Node) -> Value:
        """Weights of a peephole."""
        name = f"p.{node.name}"
        return next((v for v in self._code.sources if v.name == name), None) or self._code.source(
            name, "hidden", "real", "vector"
        )

    def _squash(self, function: str, v: Value) -> Value:
        if self._activations.squash_mode == "hard":
            return self._hard(function, v)
        texts = {
            "tanh": "tanh_of({0})",
            "squash1": "tanh_of({0} / 2)",
            "squash2": "2 * tanh_of({0} / 2)",
            "relu": "({0} <= 0 ? 0 : {0})",
        }
        return self.real(texts[function], v)

    def _hard(self, function: str, v: Value) -> Value:
        form = HARD[function]
        line = self.real(f"{{0}} * (real){2.0**-form.slope_bits!r} + (real){form.offset!r}", v)
        if form.hi == float("inf"):
            return self.real(f"({{0}} < (real){form.lo!r} ? (real){form.lo!r} : {{0}})", line)
        return self.real(f"limited({{0}}, (real){form.lo!r}, (real){form.hi!r})", line)

    def _gate(self, name: str, z: Value) -> Value:
        mode = self._activations.mode(name)
        if mode == "soft":
            return self.real("sigmoid_of({0})", z)
        if mode == "hard-sigmoid":
            return self._hard("sigmoid", z)
        if self._activations.slope is not None:
            return self._sigmoids(mode, "sigmoid_of({1} * ({0} - {at}))", z, SLOPE)
        return self._sigmoids(mode, "({0} > {at} ? (real)1 : (real)0)", z)

    def _sigmoids(self, mode: Any, expression: str, *arguments: Value | Number) -> Value:
        """The mean over the steps of a mode."""
        steps = STEPS[mode]
        total = " + ".join(expression.replace("{at}", f"(real){at!r}") for at in steps)
        return self.real(total if len(steps) == 1 else f"({total}) / {len(steps)}", *arguments)

    def derivative(self, node: Node) -> Value:
        """Of a gate or a function, at its argument; of steps the surrogate."""
        v, value = self[node.arguments[0]], self[node]
        if node.what == "squash":
            return self._derivative_of(self._activations.function(node.name), v, value)
        mode = self._activations.mode(node.name)
        if mode == "soft":
            return self.real("{0} * (1 - {0})", value)
        if mode == "hard-sigmoid":
            return self._inside("sigmoid", v)
        parts = [self.real(f"sigmoid_of({{1}} * ({{0}} - (real){at!r}))", v, SLOPE) for at in STEPS[mode]]
        bells = [self.real("{1} * {0} * (1 - {0})", s, SLOPE) for s in parts]
        if len(bells) == 1:
            return bells[0]
        return self.real("({0} + {1}) / 2", *bells)

    def _derivative_of(self, function: str, v: Value, value: Value) -> Value:
        if self._activations.squash_mode == "hard":
            return self._inside(function, v)
        texts = {
            "tanh": "1 - {1} * {1}",
            "squash1": "(1 - {1} * {1}) / 2",
            "squash2": "1 - {1} * {1} / 4",
            "relu": "({0} > 0 ? (real)1 : (real)0)",
        }
        return self.real(texts[function], v, value)

    def _inside(self, function: str, v: Value) -> Value:
        """The slope of a hard form, at its corners too, and 0 beyond these."""
        form = HARD[function]
        line = f"({{0}} * (real){2.0**-form.slope_bits!r} + (real){form.offset!r})"
        upper = "" if form.hi == float("inf") else f" && {line} <= (real){form.hi!r}"
        slope = f"(real){2.0**-form.slope_bits!r}"
        return self.real(f"({line} >= (real){form.lo!r}{upper} ? {slope} : (real)0)", v)
