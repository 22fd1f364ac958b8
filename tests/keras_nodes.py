"""The nodes that tf2onnx writes for layers of Keras, by the names of these layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FEATURES, STEPS, UNITS = 6, 12, 5
FLOAT, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.BOOL


class Nodes:
    """Nodes and constants of a graph, with made-up names."""

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._prefix = prefix
        self._rng = np.random.default_rng(7)

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node; gives the names of its outputs, or the one."""
        label = f"{self._prefix}{kind.lower()}{len(self.nodes)}"
        names = [f"{label}:{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=label, **attributes))
        return names if outputs > 1 else names[0]

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant; gives its name."""
        name = f"{self._prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def real(self, *shape: int) -> str:
        """A constant of random weights."""
        return self.constant(self._rng.normal(0, 0.5, shape))

    def whole(self, *numbers: int) -> str:
        """A list of whole numbers."""
        return self.constant(numbers, np.int64)


def zeros(g: Nodes, x: str, units: int = UNITS) -> str:
    """States (windows, units) before the first step, of the number of windows in x."""
    shape = g.add("Cast", g.add("Shape", x), to=INT32)
    windows = g.add("Slice", shape, g.whole(0), g.whole(1), g.whole(0))
    both = g.add("Concat", windows, g.constant([units], np.int32), axis=0)
    return g.add("Expand", g.constant(0.0), g.add("Cast", both, to=TensorProto.INT64))


def time_first(g: Nodes, x: str) -> str:
    """(windows, steps, features) to (steps, windows, features), or back."""
    return g.add("Transpose", x, perm=[1, 0, 2])


def turned(g: Nodes, x: str) -> str:
    """(steps, windows, features) in the opposite order of steps: ``ReverseV2``."""
    shape = g.add("Shape", x)
    steps, windows = (g.add("Gather", shape, g.whole(k)) for k in (0, 1))
    return g.add("ReverseSequence", x, g.add("Expand", steps, windows), batch_axis=1, time_axis=0)


def last(g: Nodes, y: str) -> str:
    """The last step of (steps, windows, units)."""
    step = g.add("Slice", y, g.whole(-1), g.whole(2**31 - 1), g.whole(0))
    return g.add("Squeeze", step, g.whole(0))


def lstm(g: Nodes, x: str, width: int = FEATURES, **attributes: Any) -> str:
    """All h (steps, windows, units) of x (steps, windows, features), by ONNX's own operator."""
    begin = g.add("Unsqueeze", zeros(g, time_first(g, x)), g.whole(0))
    weights = (g.real(1, 4 * UNITS, width), g.real(1, 4 * UNITS, UNITS), g.real(1, 8 * UNITS))
    y, _, _ = g.add("LSTM", x, *weights, "", begin, begin, outputs=3, hidden_size=UNITS, **attributes)
    return str(g.add("Squeeze", y, g.whole(1)))


def bidirectional(g: Nodes, x: str) -> tuple[str, str]:
    """All h of both directions."""
    begin = g.add("Concat", *[g.add("Unsqueeze", zeros(g, time_first(g, x)), g.whole(0))] * 2, axis=0)
    weights = (g.real(2, 4 * UNITS, FEATURES), g.real(2, 4 * UNITS, UNITS), g.real(2, 8 * UNITS))
    given = {"hidden_size": UNITS, "direction": "bidirectional"}
    y, _, _ = g.add("LSTM", x, *weights, "", begin, begin, outputs=3, **given)
    forward, backward = g.add("Split", y, g.whole(1, 1), outputs=2, axis=1)
    return g.add("Squeeze", forward, g.whole(1)), g.add("Squeeze", backward, g.whole(1))


def gru_after_step(g: Nodes, x: str, states: list[str]) -> list[str]:
    """Keras's GRU with reset_after: gates z, r, h in one matrix, and two rows of biases."""
    of_x, of_h = (
        g.add("Add", g.add("MatMul", v, g.real(n, 3 * UNITS)), g.real(3 * UNITS))
        for v, n in ((x, FEATURES), (states[0], UNITS))
    )
    xz, xr, xn = g.add("Split", of_x, g.whole(UNITS, UNITS, UNITS), outputs=3, axis=-1)
    hz, hr, hn = (_columns(g, of_h, k) for k in range(3))
    z, r = g.add("Sigmoid", g.add("Add", xz, hz)), g.add("Sigmoid", g.add("Add", xr, hr))
    return [_mixed(g, z, states[0], g.add("Tanh", g.add("Add", xn, g.add("Mul", r, hn))))]


def gru_step(g: Nodes, x: str, states: list[str]) -> list[str]:
    """Keras's GRU without reset_after."""
    of_x = g.add("Add", g.add("MatMul", x, g.real(FEATURES, 3 * UNITS)), g.real(3 * UNITS))
    xz, xr, xn = g.add("Split", of_x, g.whole(UNITS, UNITS, UNITS), outputs=3, axis=-1)
    of_h = g.add("MatMul", states[0], g.real(UNITS, 2 * UNITS))
    z, r = (g.add("Sigmoid", g.add("Add", v, _columns(g, of_h, k))) for k, v in enumerate((xz, xr)))
    reset = g.add("MatMul", g.add("Mul", r, states[0]), g.real(UNITS, UNITS))
    return [_mixed(g, z, states[0], g.add("Tanh", g.add("Add", xn, reset)))]


def rnn_step(g: Nodes, x: str, states: list[str], function: str = "Tanh") -> list[str]:
    """Keras's SimpleRNN."""
    of_x = g.add("Add", g.add("MatMul", x, g.real(FEATURES, UNITS)), g.real(UNITS))
    return [g.add(function, g.add("Add", of_x, g.add("MatMul", states[0], g.real(UNITS, UNITS))))]


def relu_step(g: Nodes, x: str, states: list[str]) -> list[str]:
    """Keras's SimpleRNN with relu."""
    return rnn_step(g, x, states, "Relu")


def cosine_step(g: Nodes, x: str, states: list[str]) -> list[str]:
    """What no cell is."""
    return rnn_step(g, x, states, "Softsign")


def hard_lstm_step(g: Nodes, x: str, states: list[str]) -> list[str]:
    """Keras's LSTM with gates relu6(v + 3) / 6, in the order i, f, g, o."""
    total = g.add("Add", g.add("MatMul", x, g.real(FEATURES, 4 * UNITS)), g.add("MatMul", states[0], g.real(UNITS, 20)))
    parts = g.add("Split", g.add("Add", total, g.real(4 * UNITS)), g.whole(*[UNITS] * 4), outputs=4, axis=1)

    def gate(v: str) -> Any:
        limited = g.add("Clip", g.add("Add", v, g.constant(3.0)), g.constant(0.0), g.constant(6.0))
        return g.add("Mul", limited, g.constant(1 / 6))

    i, f, o = gate(parts[0]), gate(parts[1]), gate(parts[3])
    c = g.add("Add", g.add("Mul", f, states[1]), g.add("Mul", i, g.add("Tanh", parts[2])))
    return [g.add("Mul", o, g.add("Tanh", c)), c]


def _columns(g: Nodes, v: str, k: int) -> str:
    start, end = g.whole(0, k * UNITS), g.whole(2**31 - 1, (k + 1) * UNITS)
    return str(g.add("Slice", v, start, end, g.whole(0, 1)))


def _mixed(g: Nodes, z: str, h: str, n: str) -> str:
    other = g.add("Sub", g.constant(1.0), z)
    return str(g.add("Add", g.add("Mul", z, h), g.add("Mul", other, n)))


def masking(g: Nodes, x: str, value: float = 0.0) -> tuple[str, str]:
    """Keras's ``Masking`` of (windows, steps, features): what it gives, and the mask (steps, windows, 1)."""
    differs = g.add("Cast", g.add("Not", g.add("Equal", x, g.constant(value))), to=FLOAT)
    counted, zero = (g.add("ReduceSum", differs, g.whole(-1), keepdims=k) for k in (1, 0)), g.constant(0.0)
    whole, mask = (g.add("Greater", v, zero) for v in counted)
    hidden = g.add("Mul", zero, g.add("Cast", g.add("Not", whole), to=FLOAT))
    shown = g.add("Add", g.add("Mul", g.add("Cast", whole, to=FLOAT), x), hidden)
    return shown, time_first(g, g.add("Unsqueeze", mask, g.whole(-1)))


def embedding(g: Nodes, x: str, rows: int) -> tuple[str, str]:
    """Keras's ``Embedding`` with ``mask_zero`` of whole numbers (windows, steps): rows of a table, and the mask."""
    below = g.add("Less", g.add("Cast", x, to=FLOAT), g.constant(0.0))
    wrapped = g.add("Mul", g.add("Cast", below, to=INT32), g.add("Add", x, g.constant(rows, np.int32)))
    plain = g.add("Mul", x, g.add("Cast", g.add("Not", below), to=INT32))
    found = g.add("Gather", g.real(rows, FEATURES), g.add("Add", wrapped, plain), axis=0)
    mask = g.add("Unsqueeze", g.add("Not", g.add("Equal", x, g.constant(0, np.int32))), g.whole(-1))
    return found, time_first(g, mask)


def selected(g: Nodes, mask: str, new: str, old: str) -> str:
    """``SelectV2``: new where the mask is true."""
    kept = g.add("Mul", old, g.add("Cast", g.add("Not", mask), to=FLOAT))
    return str(g.add("Add", g.add("Mul", g.add("Cast", mask, to=FLOAT), new), kept))


def loop(
    g: Nodes,
    x: str,
    step: Any,
    count: int = 1,
    times: int = STEPS,
    until: float = STEPS,
    extra: str = "",
    mask: str = "",
    padding: str = "out",
    begin: str = "",
) -> str:
    """All h (steps, windows, units) of a cell: ``while_loop`` over (steps, windows, features).

    Args:
        g: The graph around it.
        x: Read step by step.
        step: The body.
        count: States.
        times: How often the body is run at most.
        until: The condition is that the next step is below it.
        extra: A second sequence, by whose step the new h is multiplied.
        mask: (steps, windows, 1) of the steps at which the states change; the output is one more state, before h.
        padding: What the output is at other steps: that state, ``out``, or 0 if it is ``zeros``; or ``h`` made of it.
        begin: What h begins with, where it is not zeros.
    """
    body = Nodes(f"body{len(g.nodes)}/")
    states = [*(["out"] if mask else []), *["h", "c"][:count]]
    names = [f"body{len(g.nodes)}/{n}" for n in ("iteration", "condition", "counter", *states)]
    sample = body.add("Gather", x, names[2])
    old = names[-count:]
    made = step(body, sample, old)
    if extra:
        made[0] = body.add("Mul", made[0], body.add("Gather", extra, names[2]))
    if mask:
        taken = body.add("Gather", mask, names[2])
        other = {"out": names[3], "zeros": body.constant(np.zeros(UNITS)), "h": body.add("Tanh", old[0])}[padding]
        made = [made[0], *made]
        made = [selected(body, taken, new, v) for new, v in zip(made, [other, *old], strict=True)]
    following = body.add("Add", names[2], body.constant(1, np.int32))
    below = body.add("Less", body.add("Cast", following, to=FLOAT), body.constant(until))
    inside = body.add("Less", body.add("Cast", names[0], to=FLOAT), body.constant(until))
    again = body.add("And", inside, below)
    stays = body.add("Identity", made[0])
    kinds = [TensorProto.INT64, BOOL, INT32, *[FLOAT] * len(states)]
    shapes: list[Any] = [[], [], [], *[[None, UNITS]] * len(states)]
    inputs = [helper.make_tensor_value_info(n, k, s) for n, k, s in zip(names, kinds, shapes, strict=True)]
    outputs = [
        helper.make_tensor_value_info(n, k, None)
        for n, k in zip([again, following, *made, stays], [BOOL, INT32, *[FLOAT] * (len(states) + 1)], strict=True)
    ]
    graph = helper.make_graph(body.nodes, "body", inputs, outputs, body.constants)
    none = zeros(g, time_first(g, x))
    begins = [begin if begin and state == "h" else none for state in states]
    given = [g.constant(times, np.int64), g.constant(True, np.bool_), g.constant(0, np.int32), *begins]
    return str(g.add("Loop", *given, outputs=2 + len(states), body=graph)[-1])


def scan(g: Nodes, x: str, step: Any, count: int = 1, *, reverse: bool = False) -> str:
    """All h (steps, windows, units) of a cell, by ``Scan``."""
    body = Nodes(f"scan{len(g.nodes)}/")
    names = [f"scan{len(g.nodes)}/{n}" for n in ("h", "c")][:count]
    sample = f"scan{len(g.nodes)}/x"
    made = step(body, sample, names)
    stays = body.add("Identity", made[0])
    given = [*((name, UNITS) for name in names), (sample, FEATURES)]
    inputs = [helper.make_tensor_value_info(n, FLOAT, [None, width]) for n, width in given]
    outputs = [helper.make_tensor_value_info(n, FLOAT, None) for n in (*made, stays)]
    graph = helper.make_graph(body.nodes, "body", inputs, outputs, body.constants)
    begin = zeros(g, time_first(g, x))
    way = {"scan_input_directions": [int(reverse)], "scan_output_directions": [int(reverse)]}
    return str(g.add("Scan", *[begin] * count, x, outputs=count + 1, body=graph, num_scan_inputs=1, **way)[-1])


def dense(g: Nodes, v: str, width: int = UNITS) -> str:
    """A dense layer of (windows, width)."""
    return str(g.add("Add", g.add("MatMul", v, g.real(width, 3)), g.real(3)))


def tensordot(g: Nodes, v: str, width: int = UNITS) -> str:
    """A dense layer of (windows, steps, width)."""
    shape = g.add("Cast", g.add("Shape", v), to=INT32)
    lead = g.add("Gather", shape, g.constant([0, 1], np.int32), axis=0)
    target = g.add("Cast", g.add("Concat", lead, g.constant([3], np.int32), axis=0), to=TensorProto.INT64)
    flat = g.add("MatMul", g.add("Reshape", v, g.whole(-1, width)), g.real(width, 3))
    return str(g.add("Add", g.add("Reshape", flat, target), g.real(3)))


def time_distributed(g: Nodes, x: str) -> str:
    """A dense layer of each step by itself, (windows, steps, features) to (windows, steps, 3): the steps one by one."""
    weights, bias = g.real(FEATURES, 3), g.real(3)
    first = time_first(g, x)
    parts = []
    for k in range(STEPS):
        step = g.add("Squeeze", g.add("Slice", first, g.whole(k), g.whole(k + 1), g.whole(0)), g.whole(0))
        parts.append(g.add("Unsqueeze", g.add("Add", g.add("MatMul", step, weights), bias), g.whole(0)))
    return time_first(g, g.add("Concat", *parts, axis=0))


def layer_normalization(g: Nodes, x: str) -> str:
    """Over the features of (windows, steps, features)."""
    mean = g.add("GlobalAveragePool", x)
    centred = g.add("Sub", x, mean)
    variance = g.add("GlobalAveragePool", g.add("Mul", centred, centred))
    spread = g.add("Reciprocal", g.add("Sqrt", g.add("Add", variance, g.constant(0.001))))
    factor = g.add("Mul", spread, g.real(1, 1, UNITS))
    return str(g.add("Add", g.add("Mul", x, factor), g.real(1, 1, UNITS)))


def model(g: Nodes, output: str, shape: tuple[Any, ...] = ("n", STEPS, FEATURES)) -> Any:
    """The model from ``x`` (windows, steps, features) to an output of the graph."""
    graph = helper.make_graph(
        [*g.nodes, helper.make_node("Identity", [output], ["y"])],
        "keras",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        g.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
