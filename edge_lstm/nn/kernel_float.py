"""The kernels of a cell in real numbers: float forward pass, back-propagation through time, how open gates are."""

from __future__ import annotations

from collections.abc import Collection

from edge_lstm.cells import Cell
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.kernel_code import Code, Number, Value
from edge_lstm.nn.kernel_tape import Node, Tape, Values


def forward(kind: Cell, activations: Activations) -> Code:
    """States, results of the matrix products and what is projected, at each step.

    Streams: ``x.<block>``, W x + b; gives ``z.<site>``, the states and ``m``.
    """
    tape, code = Tape(kind), Code()
    last = {s: code.source(s, _length(kind, s), "real", "carried") for s in kind.states}

    def leaf(node: Node) -> Value:
        if node.what == "last":
            return last[node.name]
        if node.what == "project":
            m = values[node.arguments[0]]
            code.stored["m"] = m
            return code.product("outputs", "P", m)
        block, _, part = node.name.partition(".")
        if part == "h":
            start = code.source(f"rb.{block}", "hidden", "real", "vector")
        else:
            start = code.source(f"x.{block}", "hidden", "real", "stream")
        operand = values[node.arguments[0]] if node.arguments else last["h"]
        z = start if part == "x" else code.product("hidden", f"R.{block}", operand, start)
        code.stored[f"z.{node.name}"] = z
        return z

    values = Values(code, tape, activations, leaf)
    for node in tape.nodes:
        if node.what == "site" and not node.arguments:
            _ = values[node]
    for s in kind.states:
        following = values[tape.following[s]]
        code.carry(last[s], following)
        code.stored[s] = following
    return code


def _length(kind: Cell, state: str) -> str:
    return "outputs" if state == "h" and kind.projected else "hidden"


class _Recorded:
    """Leaves whose values were recorded: streams ``z.<site>``, and states at the step before."""

    def __init__(self, code: Code, kind: Cell) -> None:
        self._code, self._kind = code, kind

    def __call__(self, node: Node) -> Value:
        if node.what == "last":
            return self._code.source(node.name, _length(self._kind, node.name), "real", "before")
        assert node.what == "site", "what is projected is not asked for"
        return self._code.source(f"z.{node.name}", "hidden", "real", "stream")


def rates(kind: Cell, activations: Activations, gates: Collection[str]) -> Code:
    """Sum of each gate's value over steps and windows, ``rate.<gate>`` (hidden,)."""
    tape, code = Tape(kind), Code()
    values = Values(code, tape, activations, _Recorded(code, kind))
    inside = code.source("inside", "hidden", "real", "inside")
    for node in tape.nodes:
        if node.what == "gate" and node.name in gates:
            code.summed[f"rate.{node.name}"] = values.real("{0} * {1}", values[node], inside)
    return code


def backward(kind: Cell, activations: Activations, penalties: Collection[str]) -> Code:
    """Gradients of the results of matrix products, and of the states before the first step.

    Streams: ``d.<state>`` from outside, recorded ``z.<site>`` and states; gives ``d.z.<site>``, ``every``, the
    gradient of h with what comes through later steps, the ``operand.<site>`` of products of something else than h, and
    the sums ``d.p.<block>``.

    Args:
        kind: The cell.
        activations: Gates and functions.
        penalties: Gates whose value has the gradient ``penalty.<gate>`` beside.
    """
    tape, code = Tape(kind), Code(backwards=True)
    values = Values(code, tape, activations, _Recorded(code, kind))
    found = _Adjoints(code)
    carried: dict[str, Value] = {}
    for s in kind.states:
        length = _length(kind, s)
        carried[s] = code.source(f"later.{s}", length, "real", "carried")
        given = code.source(f"d.{s}", length, "real", "stream")
        total = code.elements(length, "real", "{0} + {1}", carried[s], given)
        if s == "h" and kind.projected:
            code.stored["every"] = total
        found.add(tape.following[s], total)
    inside = code.source("inside", "hidden", "real", "inside") if penalties else None
    plain: list[tuple[str, Value]] = []
    for node in reversed(tape.nodes):
        if node.what == "gate" and node.name in penalties:
            assert inside is not None
            found.add(node, values.real("{0} * {1}", inside, Number(f"penalty.{node.name}", "real")))
        g = found.total(node)
        if g is None:
            if node.what == "site":
                code.stored[f"d.z.{node.name}"] = code.elements("hidden", "real", "(real)0")
            continue
        if node.what == "site":
            code.stored[f"d.z.{node.name}"] = g
            block, _, part = node.name.partition(".")
            if node.arguments:
                code.stored[f"operand.{node.name}"] = values[node.arguments[0]]
                found.add(node.arguments[0], code.product("hidden", f"R'.{block}", g))
            elif part != "x":
                plain.append((block, g))
        elif node.what == "project":
            found.add(node.arguments[0], code.product("hidden", "P'", g))
        elif node.what != "last":
            _spread(node, g, values, found, code)
    for s in kind.states:
        last = next((n for n in tape.nodes if n.what == "last" and n.name == s), None)
        before = None if last is None or (s == "h" and kind.projected) else found.total(last)
        if s == "h":
            for block, g in plain:
                before = code.product(_length(kind, s), f"R'.{block}", g, before)
        code.carry(carried[s], before or code.elements(_length(kind, s), "real", "(real)0"))
    return code


class _Adjoints:
    """Gradients of nodes, in parts until all are known."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._parts: dict[Node, list[Value]] = {}

    def add(self, node: Node, gradient: Value) -> None:
        self._parts.setdefault(node, []).append(gradient)

    def total(self, node: Node) -> Value | None:
        parts = self._parts.get(node)
        if not parts:
            return None
        total = parts[0]
        for part in parts[1:]:
            total = self._code.elements(total.length, "real", "{0} + {1}", total, part)
        return total


def _spread(node: Node, g: Value, values: Values, found: _Adjoints, code: Code) -> None:
    """From a node's gradient to those of its arguments."""
    first = node.arguments[0]
    if node.what == "add":
        for argument in node.arguments:
            found.add(argument, g)
    elif node.what == "multiply":
        second = node.arguments[1]
        found.add(first, values.real("{0} * {1}", g, values[second]))
        found.add(second, values.real("{0} * {1}", g, values[first]))
    elif node.what == "not":
        found.add(first, values.real("-{0}", g))
    elif node.what == "peephole":
        found.add(first, values.real("{0} * {1}", g, values.peephole(node)))
        code.summed[f"d.p.{node.name}"] = values.real("{0} * {1}", g, values[first])
    else:
        found.add(first, values.real("{0} * {1}", g, values.derivative(node)))
