"""``LSTM``, ``GRU`` and ``RNN``, with all that ONNX says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.cells import cell
from edge_lstm.gates import GateMode
from edge_lstm.graph.by_step import Concat
from edge_lstm.graph.by_step import Features as PickFeatures
from edge_lstm.graph.node import Node
from edge_lstm.graph.over_time import Last, Recurrent, Step
from edge_lstm.importing.interpreter import Call, handles
from edge_lstm.importing.view import Axis, Features, View
from edge_lstm.layers import FloatLayer

Array = NDArray[Any]
ROWS = {"LSTM": ("i", "o", "f", "g"), "GRU": ("z", "r", "n"), "RNN": ("t",)}
"""Blocks in ONNX's order."""
PEEPHOLES = ("i", "o", "f")
FUNCTIONS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
"""Those that are meant where none are named."""
HARD = (0.25, 0.5)
"""Slope and offset of the hard sigmoid of ``gates``."""


@handles("LSTM", "GRU", "RNN")
def recurrent(call: Call) -> Any:
    """A level of one or two layers; outputs are all h, the last h and the last c."""
    kind, attributes = call.proto.op_type, call.attributes
    x = call.context.ordered(call.view(0))
    batch_first = bool(attributes.get("layout", 0))
    wanted = ("B", "T") if batch_first else ("T", "B")
    if len(x.axes) != 3 or x.axes[:2] != wanted or not (isinstance(x.axes[2], Features) or x.axes[2] == "1"):
        raise call.layout(f"it reads ({', '.join(_WORDS[a] for a in wanted)}, features), and is given {x.shape}")
    W, R = (np.asarray(_given(call, k, name), np.float64) for k, name in ((1, "W"), (2, "R")))
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    direction = str(attributes.get("direction", "forward"))
    if direction not in directions:
        raise call.refuse(f"direction is {direction!r}; accepted are {', '.join(directions)}")
    reverse, hidden = directions[direction], R.shape[-1]
    if int(attributes.get("hidden_size", hidden)) != hidden:
        raise call.refuse(f"hidden_size is {attributes['hidden_size']}, and R has {hidden}")
    parts = len(ROWS[kind])
    for name, array, width in (("W", W, x.width), ("R", R, hidden)):
        if array.shape != (len(reverse), parts * hidden, width):
            raise call.layout(f"{name} has shape {array.shape}, and must have {(len(reverse), parts * hidden, width)}")
    lengths = _lengths(call, x)
    begun, views = _begun(call, len(reverse), hidden, batch_first=batch_first)
    layers = tuple(
        _layer(call, k, W[k], R[k], reverse=back, begun={s: v[k] for s, v in begun.items()})
        for k, back in enumerate(reverse)
    )
    node = call.context.add(Recurrent(x.node, layers, _begins(call, views, layers), lengths))
    return _outputs(call, x, node, layers, batch_first=batch_first)


def _given(call: Call, k: int, name: str) -> Array:
    found = call.constant(k)
    if found is None:
        raise call.refuse(f"it has no {name}")
    return found


def _lengths(call: Call, x: View) -> int | None:
    """The node of how many steps each window has; constants must say that all have all of them."""
    given = call.inputs[4] if len(call.inputs) > 4 else None
    if isinstance(given, View):
        if given.axes not in (("B",), ("1",)) or given.node not in call.context.whole:
            raise call.layout(f"sequence_lens is {given.shape}; accepted is an input of the file, (windows,)")
        return given.node
    if given is not None and (np.ravel(given) != x.steps).any():
        raise call.refuse("sequence_lens is a constant shorter than the window; accepted are windows of one length")
    return None


def _begun(call: Call, directions: int, hidden: int, *, batch_first: bool) -> tuple[dict[str, Array], dict[str, View]]:
    """Initial states that are constants, (directions, hidden), and those that are computed."""
    constants, views = dict[str, Array](), dict[str, View]()
    states = [("h", 5), ("c", 6)] if call.proto.op_type == "LSTM" else [("h", 5)]
    for state, k in states:
        value = call.inputs[k] if k < len(call.inputs) else None
        if isinstance(value, View):
            views[state] = value.transposed([1, 0, 2]) if batch_first else value
        elif value is not None:
            array = np.asarray(value, np.float64)
            array = array.transpose(1, 0, 2) if batch_first else array
            if array.ndim != 3 or array.shape[::2] != (directions, hidden):
                raise call.layout(f"the initial {state} has shape {array.shape}")
            if (array != array[:, :1]).any():
                raise call.refuse(f"the initial {state} is a constant that differs between windows")
            if array.any():
                constants[state] = array[:, 0]
    return constants, views


def _begins(call: Call, views: Mapping[str, View], layers: tuple[FloatLayer, ...]) -> dict[tuple[int, str], int]:
    """Nodes that are the initial states of the layers."""
    found: dict[tuple[int, str], int] = {}
    for state, given in views.items():
        view = call.context.ordered(given)
        kinds = ["B" if a == "B" else "F" if isinstance(a, Features) else a for a in view.axes]
        wide = sum(layer.lengths[state] for layer in layers)
        if kinds not in (["1", "B", "F"], ["F", "B", "F"], ["F", "1", "F"], ["1", "1", "F"]) or view.width != wide:
            raise call.layout(f"the initial {state} is {view.shape}, whose axes are {kinds}")
        start = 0
        for k, layer in enumerate(layers):
            columns = tuple(range(start, start + layer.lengths[state]))
            start += layer.lengths[state]
            found[k, state] = view.node if len(layers) == 1 else call.context.add(PickFeatures(view.node, columns))
            if "c" in layer.lengths and state == "h" and "c" not in views and cell(layer.cell).unit_cell:
                found[k, "c"] = found[k, "h"]  # of a GRU, c is h with more bits
    return found


def _layer(call: Call, k: int, W: Array, R: Array, *, reverse: bool, begun: dict[str, Array]) -> FloatLayer:
    kind, hidden = call.proto.op_type, R.shape[-1]
    name, modes, (alpha, beta) = _cell(call, k)
    parts = ROWS[kind]
    B = call.constant(3)
    both = np.zeros((2, len(parts) * hidden))
    if B is not None:
        if B.ndim != 2 or B.shape[1] != both.size:
            raise call.layout(f"B has shape {B.shape}, and must have {(B.shape[0], both.size)}")
        both = np.asarray(B[k], np.float64).reshape(2, -1)

    def rows(packed: Array) -> dict[str, Array]:
        return {p: packed[j * hidden : (j + 1) * hidden] for j, p in enumerate(parts)}

    of_w, of_r, of_b, of_rb = rows(W), rows(R), rows(both[0]), rows(both[1])
    known = cell(name)
    hard = list(PEEPHOLES if kind == "LSTM" else known.gates) if "hard-sigmoid" in modes.values() else []
    for gate in hard:  # z / 4 + 1/2 of the new z is alpha z + beta
        of_w[gate], of_r[gate], of_rb[gate] = (4 * alpha * group[gate] for group in (of_w, of_r, of_rb))
        of_b[gate] = 4 * (alpha * of_b[gate] + beta - 0.5)
    if name == "cifg":  # onnxruntime computes f = 1 - i, and 1 - s(v) is s(-v)
        for group in (of_w, of_r, of_b, of_rb):
            group["f"] = -group["i"]
    bias = {p: of_b[p] if p in known.split else of_b[p] + of_rb[p] for p in known.blocks}
    p = dict[str, Array]()
    if known.peepholes:
        weights = np.asarray(_given(call, 7, "P"), np.float64)
        if weights.shape[1:] != (3 * hidden,):
            raise call.layout(f"P has shape {weights.shape}, and must have {(weights.shape[0], 3 * hidden)}")
        p = {name: weights[k][j * hidden : (j + 1) * hidden] for j, name in enumerate(PEEPHOLES)}
        p |= {gate: 4 * alpha * p[gate] for gate in hard}
    initial = dict(begun)
    if known.unit_cell and "h" in initial:
        initial["c"] = initial["h"]
    clip = call.attributes.get("clip")
    if clip and hard:
        raise call.refuse("clip is given, and its gates are HardSigmoid; accepted is one of these")
    return FloatLayer(
        name,
        {b: of_w[b] for b in known.blocks},
        {b: of_r[b] for b in known.blocks},
        bias,
        modes,
        rb={b: of_rb[b] for b in known.split},
        p=p,
        reverse=reverse,
        beside=k > 0,
        initial=initial,
        clip=float(clip) if clip else None,
    )


def _cell(call: Call, k: int) -> tuple[str, dict[str, GateMode], tuple[float, float]]:
    """The cell that computes a direction, its gates, and slope and offset where these are hard sigmoids."""
    kind, attributes = call.proto.op_type, call.attributes
    each = len(FUNCTIONS[kind])
    named = [str(f) for f in attributes.get("activations", [])] or list(FUNCTIONS[kind]) * (k + 1)
    functions = tuple(named[k * each : (k + 1) * each])
    lowered = tuple(f.lower() for f in functions)
    if kind == "RNN":
        names = {("tanh",): "rnn", ("relu",): "rnn-relu"}
        if lowered not in names:
            raise call.refuse(f"its activation is {', '.join(functions)}; accepted are Tanh and Relu")
        return names[lowered], {}, HARD
    wanted = tuple(f.lower() for f in FUNCTIONS[kind])
    if lowered not in (wanted, ("hardsigmoid", *wanted[1:])):
        usual = ", ".join(FUNCTIONS[kind])
        raise call.refuse(f"its activations are {', '.join(functions)}; accepted are {usual}, or HardSigmoid first")
    mode: GateMode = "soft" if lowered == wanted else "hard-sigmoid"
    hard = _slope(call, named, k * each) if mode == "hard-sigmoid" else HARD
    if kind == "GRU":
        return ("gru-after" if attributes.get("linear_before_reset", 0) else "gru"), {"z": mode, "r": mode}, hard
    P = call.constant(7)
    peepholes = P is not None and bool(P.any())
    if attributes.get("input_forget", 0):
        if peepholes:
            raise call.refuse("input_forget is 1, and it has peepholes; accepted is one of these")
        return "cifg", {"f": mode, "o": mode}, hard
    return ("peephole" if peepholes else "lstm"), {"i": mode, "f": mode, "o": mode}, hard


def _slope(call: Call, named: list[str], at: int) -> tuple[float, float]:
    """alpha and beta of a hard sigmoid; those of all functions that have any follow each other."""
    place = sum(f.lower() == "hardsigmoid" for f in named[:at])
    if {f.lower() for f in named} - {"hardsigmoid", "sigmoid", "tanh"}:
        raise call.refuse(f"its activations are {', '.join(named)}; accepted beside HardSigmoid are Sigmoid and Tanh")
    alphas, betas = (list(call.attributes.get(f"activation_{n}", [])) for n in ("alpha", "beta"))
    return (
        float(alphas[place]) if place < len(alphas) else 0.2,
        float(betas[place]) if place < len(betas) else 0.5,
    )


def _outputs(call: Call, x: View, node: int, layers: tuple[FloatLayer, ...], *, batch_first: bool) -> tuple[Any, ...]:
    level = call.context.nodes[node]
    assert isinstance(level, Recurrent)
    directions, units = Features(len(layers)), Features(layers[0].outputs)
    every: Any = None
    wanted = [bool(name) for name in call.proto.output]
    if wanted and wanted[0]:
        columns = tuple(c for k in range(len(layers)) for c in level.columns[k, "h"])
        axes: tuple[Axis, ...] = ("T", directions, "B", units)
        axes = ("B", "T", directions, units) if batch_first else axes
        every = View(call.context.add(PickFeatures(node, columns)), axes, (directions, units), x.batch, x.steps)
    results = [every]
    for state in ("h", "c")[: max(0, len(wanted) - 1)]:
        directions, units = Features(len(layers)), Features(layers[0].lengths[state])
        parts = []
        for k, layer in enumerate(layers):
            ends: Node = Step(node, 0 if layer.reverse else -1)
            if level.lengths is not None and not layer.reverse:
                ends = Last(node, level.lengths)
            last = call.context.add(ends)
            parts.append(call.context.add(PickFeatures(last, tuple(level.columns[k, state]))))
        joined = parts[0] if len(parts) == 1 else call.context.add(Concat(tuple(parts)))
        axes = ("B", directions, units) if batch_first else (directions, "B", units)
        results.append(View(joined, axes, (directions, units), x.batch, 1))
    return tuple(results)


_WORDS = {"B": "windows", "T": "steps"}
