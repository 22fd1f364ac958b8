"""The graph of strangers' models: the rules of ``simplify`` leave what is computed, and nodes check what they read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.graph.by_step import Binary, Concat, Embedding, Features, Function, Input, Linear, Scale
from edge_lstm.graph.given import Constant, where
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.masks import Compare, Differs
from edge_lstm.graph.over_time import Conv, Last, Pad, Recurrent, Reduce, Stack, Step, backwards
from edge_lstm.graph.rolled import rolled
from edge_lstm.graph.simplify import simplify
from edge_lstm.layers import FloatLayer

F, H, T = 3, 4, 6
rng = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return rng.normal(0, 0.5, shape)


def rnn(inputs: int = F, *, reverse: bool = False) -> FloatLayer:
    return FloatLayer("rnn", {"t": real(H, inputs)}, {"t": real(H, H)}, {"t": real(H)}, {}, reverse=reverse)


X, N = Input("x", F), Input("n", 1, steps=False)
STEPS = [Step(0, k if k < T - 1 else -1, T) for k in range(T)]
W, B = real(H, F), real(H)
EQUAL = [X, Compare(0, "equal", (0.0, 1.0, 2.0)), Scale(1, -np.ones(F), np.ones(F))]
"""Where each feature is not what it is compared with."""
ANY = [*EQUAL, Reduce(2, "sum", "features"), Compare(3, "above", (0.0,))]
MASK = Differs(0, (0.0,) * F)


def wrapped(rows: int) -> list[Any]:
    """Rows of a table of 5, by a number to which so many are added where it is below 0."""
    one = np.ones(1)
    number = [X, Features(0, (0,)), Function(1, "clip", -4.0, 4.0)]
    below = [Compare(2, "below", (0.0,)), Scale(3, -one, one), Scale(2, one, rows * one)]
    return [*number, *below, Binary(5, 3, "mul"), Binary(4, 2, "mul"), Binary(7, 6, "add"), Embedding(8, real(5, 2))]


CASES: dict[str, tuple[list[Any], list[type]]] = {
    "twice around": ([X, backwards(0), backwards(1), Function(2, "tanh")], [Input, Function]),
    "around a layer": (
        [X, backwards(0), Recurrent(1, (rnn(),)), backwards(2)],
        [Input, Recurrent],
    ),
    "a step of what was turned around": ([X, backwards(0), Function(1, "tanh"), Step(2, 1)], [Input, Function, Step]),
    "a mean of what was turned around": ([X, backwards(0), Reduce(1, "mean")], [Input, Reduce]),
    "both directions": (
        [X, Recurrent(0, (rnn(),)), backwards(0), Recurrent(2, (rnn(),)), backwards(3), Concat((1, 4))],
        [Input, Recurrent],
    ),
    "a sum before a dense layer": (
        [X, Features(0, (0, 1)), Features(0, (1, 2)), Binary(1, 2, "sub"), Linear(3, real(H, 2), B)],
        [Input, Features, Linear],
    ),
    "a sum of last states": (
        [X, Recurrent(0, (rnn(), rnn())), Step(1, -1),
         Features(2, tuple(range(H))), Features(2, tuple(range(H, 2 * H))),
         Binary(3, 4, "add"), Linear(5, real(2, H), real(2))],
        [Input, Recurrent, Step, Linear],
    ),
    "a mean of a sum": (
        [X, Recurrent(0, (rnn(),)), Recurrent(0, (rnn(),)), Binary(1, 2, "add"), Reduce(3, "mean"),
         Linear(4, real(2, H), real(2))],
        [Input, Recurrent, Reduce, Linear],
    ),
    "zeros before a convolution": (
        [X, Pad(0, 2, 1), Conv(1, real(H, F, 2), B, pads=(1, 0))],
        [Input, Conv],
    ),
    "steps one by one": (
        [X, *STEPS, *(Linear(k + 1, W, B) for k in range(T)), Stack(tuple(range(T + 1, 2 * T + 1)))],
        [Input, Linear],
    ),
    "steps one by one, backwards": (
        [X, *STEPS, Stack(tuple(range(T, 0, -1))), backwards(T + 1), Scale(T + 2, real(F), real(F))],
        [Input, Scale],
    ),
    "steps that differ": (
        [X, *STEPS[:2], Linear(1, W, B), Linear(2, -W, B), Stack((3, 4))],
        [Input, Step, Step, Linear, Linear, Stack],
    ),
    "a mask as it is written out": (ANY, [Input, Differs]),
    "a mask of a mask": ([*ANY, Compare(4, "above", (0.0,))], [Input, Differs]),
    "a mask of one feature": (
        [X, Features(0, (1,)), Compare(1, "equal", (0.5,)), Scale(2, -np.ones(1), np.ones(1))],
        [Input, Features, Differs],
    ),
    "twice the same mask": ([*ANY, Differs(0, (0.0, 1.0, 2.0)), Binary(4, 5, "add")], [Input, Differs, Binary]),
    "what is no mask": (EQUAL, [Input, Compare, Scale]),
    "numbers of rows from the end": (wrapped(rows=5), [Input, Features, Function, Embedding]),
    "numbers of rows of another table": (
        wrapped(rows=4),
        [Input, Features, Function, Compare, Scale, Scale, Binary, Binary, Binary, Embedding],
    ),
    "what its own mask hides is 0": ([X, MASK, Binary(1, 0, "mul"), Function(2, "tanh")], [Input, Function]),
    "what its own mask hides is not 0": (
        [X, Differs(0, (1.0,) * F), Binary(0, 1, "mul"), Function(2, "tanh")],
        [Input, Differs, Binary, Function],
    ),
    "a sum with zeros": (
        [X, Scale(0, np.zeros(F), np.zeros(F)), Binary(1, 0, "add"), Function(2, "tanh")],
        [Input, Function],
    ),
    "a layer with a mask": (
        [X, Differs(0, (1.0,) * F), Binary(0, 1, "mul"), Recurrent(2, (rnn(),), mask=1)],
        [Input, Differs, Recurrent],
    ),
    "a layer with a mask, around": (
        [X, MASK, backwards(0), backwards(1), Recurrent(2, (rnn(),), mask=3), backwards(4)],
        [Input, Differs, Recurrent],
    ),
    "both directions with a mask": (
        [X, MASK, backwards(0), backwards(1), Recurrent(2, (rnn(),), mask=3), Recurrent(0, (rnn(),), mask=1),
         Binary(4, 3, "mul"), backwards(6), Concat((5, 7))],
        [Input, Differs, Recurrent, Features, Features, Binary, Concat],
    ),
    "layers with and without a mask": (
        [X, MASK, Recurrent(0, (rnn(),), mask=1), Recurrent(0, (rnn(),)), Concat((2, 3))],
        [Input, Differs, Recurrent, Recurrent, Concat],
    ),
    "a step of a stack": ([X, *STEPS[:2], Stack((2, 1)), Step(3, 1)], [Input, Step]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_simpler_graph_computes_the_same(name: str) -> None:
    nodes, kinds = CASES[name]
    graph = FloatGraph(tuple(nodes), {"y": len(nodes) - 1})
    found = simplify(graph)
    x = np.random.default_rng(1).normal(0, 1, (4, T, F))
    x[1, 2], x[2, 0], x[3, 4:] = 0.0, np.arange(F), 1.0  # what the masks compare with
    given = {"x": np.rint(2 * x) if "rows" in name else x}
    wanted, value = graph.evaluate(given)[-1], found.evaluate(given)[found.outputs["y"]]
    np.testing.assert_allclose(value, wanted, atol=1e-12)
    assert [type(node) for node in found.nodes] == kinds


def by_hand(*, begin: float = 0.0) -> FloatGraph:
    """h = tanh(W x + R h + b), step by step."""
    layer = rnn()
    nodes: list[Any] = [X, *STEPS]
    last: int | None = None
    for k in range(T):
        nodes.append(
            Linear(k + 1, layer.W["t"], layer.b["t"] + (layer.R["t"] @ np.full(H, begin) if last is None else 0))
        )
        if last is not None:
            nodes.append(Linear(last, layer.R["t"], np.zeros(H)))
            nodes.append(Binary(len(nodes) - 2, len(nodes) - 1, "add"))
        nodes.append(Function(len(nodes) - 1, "tanh"))
        last = len(nodes) - 1
    return FloatGraph(tuple(nodes), {"y": len(nodes) - 1})


def test_a_chain_of_steps_is_a_layer() -> None:
    graph = by_hand()
    found = rolled(simplify(graph))
    given = {"x": np.random.default_rng(1).normal(0, 1, (2, T, F))}
    np.testing.assert_allclose(found.evaluate(given)[found.outputs["y"]], graph.evaluate(given)[-1], atol=1e-12)
    assert [type(node) for node in found.nodes] == [Input, Recurrent, Step]


def test_a_chain_that_begins_elsewhere_is_left() -> None:
    found = rolled(simplify(by_hand(begin=0.3)))
    assert not any(isinstance(node, Recurrent) for node in found.nodes)


def test_the_last_step_of_each_window() -> None:
    graph = FloatGraph((X, N, Last(0, 1)), {"y": 2})
    x = real(2, T, F)
    found = graph.evaluate({"x": x, "n": np.array([[2], [T]])})[-1]
    np.testing.assert_array_equal(found, [x[0, 1], x[1, -1]])


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([X, Stack((0,))], r"node 1 \(stack\): 1 steps are made of"),
        ([X, Step(0, 0), Pad(1, 1, 1)], r"node 2 \(pad\): steps are added to \(windows, 3\)"),
        ([X, Last(0, 0)], r"node 1 \(last\): the last step of"),
        ([X, Step(0, 0), Recurrent(0, (rnn(),), {}, 1)], r"lengths of windows are .*, and must be \(windows, 1\)"),
        (
            [X, Recurrent(0, (rnn(),), mask=0)],
            r"a mask of steps is \(windows, steps, 3\), and must be \(windows, steps, 1\)",
        ),
        ([X, N, MASK, Recurrent(0, (rnn(),), {}, 1, 2)], r"windows have lengths and a mask; accepted is one of these"),
        ([X, Differs(0, (0.0,))], r"node 1 \(differs\): 1 values are compared with \(windows, steps, 3\)"),
        ([X, Compare(0, "equal", ())], r"node 1 \(compare\): 0 values are compared with \(windows, steps, 3\)"),
    ],
)
def test_nodes_refuse_what_does_not_fit(nodes: list[Any], message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        FloatGraph(tuple(nodes), {"y": len(nodes) - 1})


def test_inputs_have_as_many_windows() -> None:
    graph = FloatGraph((X, N, Last(0, 1)), {"y": 2})
    with pytest.raises(EdgeLstmError, match=r"^inputs have \[2, 3\] windows; all must have as many, or 1$"):
        graph.evaluate({"x": real(2, T, F), "n": np.ones((3, 1))})


@pytest.mark.parametrize("reverse", [False, True])
def test_steps_that_a_mask_leaves_out_change_no_state(*, reverse: bool) -> None:
    """Of a layer that begins with what it is given: windows without these steps have the same states."""
    graph = FloatGraph(
        (
            X,
            Input("h", H, steps=False),
            Differs(0, (0.0,) * F),
            Recurrent(0, (rnn(reverse=reverse),), {(0, "h"): 1}, mask=2),
        ),
        {"y": 3},
    )
    x, h, inside = real(1, T, F), real(1, H), [1, 2, 4]
    x[0, [0, 3, 5]] = 0.0
    found = graph.evaluate({"x": x, "h": h})[-1][0]
    np.testing.assert_array_equal(found[inside], graph.evaluate({"x": x[:, inside], "h": h})[-1][0])
    kept = [(5, h[0]), (3, found[4]), (0, found[1])] if reverse else [(0, h[0]), (3, found[2]), (5, found[4])]
    for t, wanted in kept:
        np.testing.assert_array_equal(found[t], wanted)


def test_what_nodes_are_where_one_is_known() -> None:
    mask, old, new = (Input(name, width, steps=False) for name, width in (("m", 1), ("old", H), ("new", H)))
    nodes: list[Any] = [mask, old, new, Scale(0, -np.ones(1), np.ones(1)), Binary(0, 2, "mul"), Binary(3, 1, "mul")]
    nodes += [Binary(5, 4, "add"), Features(0, (0,) * H), Binary(7, 1, "mul"), Binary(8, 5, "add"), Binary(0, 0, "sub")]
    shapes = FloatGraph(tuple(nodes), {}).shapes
    one, zero = Constant(1.0), Constant(0.0)
    assert where(nodes, shapes, 0, 1.0) == [one, 1, 2, zero, 2, zero, 2, one, 1, 1, 10]
    assert where(nodes, shapes, 0, 0.0) == [zero, 1, 2, one, zero, 1, 1, zero, zero, 1, 10]
    wide = [mask, Input("v", 1, steps=False), Features(0, (0,) * H), Binary(2, 1, "mul")]
    assert where(wide, FloatGraph(tuple(wide), {}).shapes, 0, 1.0)[3] == 3  # H times v is not v
