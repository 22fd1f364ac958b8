"""Float graphs that together have every node which has an integer form; used by several test modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge_lstm.graph.by_step import (
    Binary,
    Concat,
    Embedding,
    Features,
    Function,
    Input,
    Linear,
    Normalize,
    Scale,
    Softmax,
)
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.masks import Differs
from edge_lstm.graph.over_time import Conv, Pad, Pool, Recurrent, Reduce, Repeat, Step, Steps, backwards
from edge_lstm.importing.graph_model import GraphModel
from edge_lstm.importing.interpreter import Imported
from edge_lstm.layers import FloatLayer
from edge_lstm.signature import Signature

STEPS, CHANNELS = 16, 3
PADDING = {"masked": -99.0, "masked at each step": 0.0}
"""What windows of these graphs hold before their first and behind their last sample."""


class Nodes:
    """Collects nodes; each method appends one, with random weights, and gives its index."""

    def __init__(self, seed: int, width: int = CHANNELS) -> None:
        self.rng, self.nodes = np.random.default_rng(seed), list[Any]()
        self.x = self.add(Input("x", width))

    def add(self, node: Any) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    @property
    def graph(self) -> FloatGraph:
        return FloatGraph(tuple(self.nodes), {"y": len(self.nodes) - 1})

    def width(self, at: int) -> int:
        return FloatGraph(tuple(self.nodes), {}).shapes[at].width

    def normal(self, *shape: int, scale: float = 1.0) -> Any:
        return scale * self.rng.standard_normal(shape)

    def linear(self, source: int, outputs: int) -> int:
        width = self.width(source)
        return self.add(Linear(source, self.normal(outputs, width, scale=width**-0.5), self.normal(outputs, scale=0.1)))

    def conv(self, source: int, outputs: int, taps: int, *, groups: int = 1, **options: Any) -> int:
        inputs = self.width(source) // groups
        weights = self.normal(outputs, inputs, taps, scale=(inputs * taps) ** -0.5)
        return self.add(Conv(source, weights, self.normal(outputs, scale=0.1), groups=groups, **options))

    def function(self, source: int, name: str, alpha: float = 0.0, beta: float = 0.0) -> int:
        return self.add(Function(source, name, alpha, beta))

    def layer(self, cell: str, inputs: int, hidden: int, *, reverse: bool = False) -> FloatLayer:
        blocks = {"lstm": "ifgo", "gru": "zrn"}[cell]
        return FloatLayer(
            cell=cell,
            modes=dict.fromkeys("ifo" if cell == "lstm" else "zr", "soft"),
            W={b: self.normal(hidden, inputs, scale=0.5) for b in blocks},
            R={b: self.normal(hidden, hidden, scale=0.3) for b in blocks},
            b={b: self.normal(hidden, scale=0.1) for b in blocks},
            reverse=reverse,
        )

    def recurrent(self, source: int, hidden: int, cell: str = "lstm", **options: Any) -> int:
        return self.add(Recurrent(source, (self.layer(cell, self.width(source), hidden),), **options))

    def h(self, level: int) -> int:
        """Every layer's h."""
        node = self.nodes[level]
        columns = [c for (_, state), of_state in node.columns.items() if state == "h" for c in of_state]
        return self.add(Features(level, tuple(columns)))


def _conv_lstm(n: Nodes) -> None:
    v = n.function(n.conv(n.x, 8, 5, pads=(2, 2)), "relu")
    v = n.h(n.recurrent(n.add(Pool(v, "max", 2, 2)), 6))
    n.linear(n.add(Step(v, -1)), 4)


def _filters(n: Nodes) -> None:
    v = n.function(n.conv(n.x, 6, 3, stride=2, dilation=2, pads=(1, 0)), "leaky-relu", 0.1)
    v = n.function(n.conv(v, 6, 3, groups=6, pads=(1, 1)), "tanh")
    v = n.function(n.conv(v, 4, 2, groups=2), "hard-sigmoid", 0.2, 0.5)
    n.linear(n.add(Reduce(v, "mean")), 3)


def _pools(n: Nodes) -> None:
    a = n.add(Pool(n.add(Pool(n.x, "mean", 3, 1)), "max", 3, 2, (1, 1)))
    b = n.add(Pool(n.x, "mean", 2, 2, (1, 1), counts_pads=True))
    parts = [n.add(Reduce(a, "max")), n.add(Reduce(a, "min")), n.add(Reduce(b, "sum"))]
    n.linear(n.add(Concat(tuple(parts))), 3)


def _bidirectional(n: Nodes) -> None:
    layers = (n.layer("gru", CHANNELS, 4), n.layer("gru", CHANNELS, 5, reverse=True))
    level = n.add(Recurrent(n.x, layers))
    v = n.function(n.h(level), "clip", -0.6, 0.4)
    ends = (n.add(Step(v, -1)), n.add(Step(v, 0)), n.add(Step(v, 5)))
    n.linear(n.add(Concat(ends)), 3)


def _normalized_each(n: Nodes) -> None:
    v = n.h(n.recurrent(n.x, 6))
    n.linear(n.add(Normalize(v, 1 + n.normal(6, scale=0.2), n.normal(6, scale=0.2), 1e-5)), 3)


def _normalized_vector(n: Nodes) -> None:
    v = n.add(Step(n.h(n.recurrent(n.x, 6)), -1))
    n.linear(n.function(n.add(Normalize(v, n.normal(6), n.normal(6), 1e-3)), "relu"), 3)


def _residual(n: Nodes) -> None:
    u = n.linear(n.x, 5)
    v = n.add(Binary(n.h(n.recurrent(u, 5)), u, "add"))
    w = n.add(Binary(v, n.h(n.recurrent(v, 5)), "sub"))
    w = n.add(Binary(w, u, "max"))
    w = n.add(Binary(w, n.function(u, "sigmoid"), "mul"))
    n.linear(n.add(Step(n.add(Binary(w, v, "min")), -1)), 3)


def _attention(n: Nodes) -> None:
    v = n.h(n.recurrent(n.x, 6))
    scores = n.linear(n.function(n.linear(v, 4), "tanh"), 1)
    weighted = n.add(Binary(n.add(Softmax(scores, "time")), v, "mul"))
    n.linear(n.add(Reduce(weighted, "sum")), 3)


def _gated_features(n: Nodes) -> None:
    """Squeeze and excitation; softmax of features inside."""
    v = n.function(n.conv(n.x, 6, 3, pads=(1, 1)), "relu")
    gate = n.function(n.linear(n.function(n.linear(n.add(Reduce(v, "mean")), 3), "relu"), 6), "sigmoid")
    v = n.add(Binary(v, gate, "mul"))
    share = n.add(Softmax(n.linear(v, 6)))
    n.linear(n.add(Step(n.h(n.recurrent(n.add(Binary(v, share, "mul")), 5)), -1)), 3)


def _encoder_decoder(n: Nodes) -> None:
    level = n.recurrent(n.x, 5)
    ends = {
        (0, state): n.add(Features(n.add(Step(level, -1)), tuple(of)))
        for (_, state), of in n.nodes[level].columns.items()
    }
    n.linear(n.add(Step(n.h(n.recurrent(n.x, 5, begins=ends)), -1)), 3)


def _slices(n: Nodes) -> None:
    v = n.add(Steps(n.x, 2, 14, 3))
    v = n.add(Pad(v, 2, 1))
    v = n.h(n.recurrent(n.add(backwards(v)), 5))
    w = n.add(Steps(n.add(Steps(v, 1, None, 1)), None, None, 2))
    n.linear(n.add(Features(n.add(Step(w, 1)), (4, 0, 2))), 3)


def _repeated(n: Nodes) -> None:
    """A vector of the whole window beside each sample."""
    whole = n.add(Step(n.h(n.recurrent(n.x, 4)), -1))
    joined = n.add(Concat((n.x, whole)))
    each = n.add(Binary(n.h(n.recurrent(joined, 5)), n.linear(n.add(Repeat(whole, STEPS)), 5), "add"))
    n.linear(each, 3)


def _functions(n: Nodes) -> None:
    v = n.function(n.linear(n.x, 4), "clip", -2.0, 2.0)
    made = [n.function(v, name, 1.0) for name in ("exp", "abs", "elu", "softplus", "softsign", "erf", "sigmoid")]
    made.append(n.function(n.function(v, "clip", 0.1, 4.0), "sqrt"))
    made.append(n.function(n.add(Scale(v, n.normal(4), n.normal(4))), "tanh"))
    n.linear(n.add(Reduce(n.linear(n.add(Concat(tuple(made))), 8), "mean")), 3)


def _divided(n: Nodes) -> None:
    """By a value at each step, and by a vector of one feature."""
    v = n.add(Binary(n.x, n.function(n.linear(n.x, 3), "clip", 0.3, 4.0), "div"))
    size = n.add(Reduce(n.function(v, "abs"), "mean"))
    n.linear(n.add(Reduce(n.add(Binary(v, n.add(Reduce(size, "mean", "features")), "div")), "max")), 3)


def _embedding(n: Nodes) -> None:
    rows = n.add(Embedding(n.x, n.normal(40, 5)))
    n.linear(n.add(Step(n.h(n.recurrent(rows, 5)), -1)), 3)


def _many_rows(n: Nodes) -> None:
    rows = n.add(Embedding(n.add(Features(n.x, (1,))), n.normal(300, 4)))
    both = n.add(Concat((rows, n.add(Features(n.x, (0,))))))
    n.linear(n.add(Step(n.h(n.recurrent(both, 5)), -1)), 3)


def _sigmoid_output(n: Nodes) -> None:
    n.function(n.linear(n.add(Step(n.h(n.recurrent(n.x, 5)), -1)), 1), "sigmoid")


def _of_features(n: Nodes) -> None:
    v = n.h(n.recurrent(n.x, 5, "gru"))
    mean, total = n.add(Reduce(v, "mean", "features")), n.add(Reduce(v, "sum", "features"))
    v = n.add(Binary(v, mean, "sub"))
    n.linear(n.add(Step(n.add(Concat((v, total))), -1)), 3)


def _masked(n: Nodes) -> None:
    """Windows with padding at both ends, and a layer of one unit behind layers of several."""
    mask = n.add(Differs(n.x, (PADDING["masked"],) * CHANNELS))
    level = n.add(Recurrent(n.x, (n.layer("lstm", CHANNELS, 4), n.layer("gru", CHANNELS, 3, reverse=True)), mask=mask))
    h = n.h(level)
    one = n.h(n.recurrent(n.add(Binary(h, mask, "mul")), 1, mask=mask))
    mean = n.add(Binary(n.add(Reduce(one, "sum")), n.add(Reduce(mask, "sum")), "div"))
    n.linear(n.add(Concat((n.add(Step(h, -1)), n.add(Step(h, 0)), mean))), 3)


def _masked_each(n: Nodes) -> None:
    """Masks of some features, one of them in the opposite order of steps."""
    v = n.h(n.recurrent(n.x, 4, mask=n.add(Differs(n.add(Features(n.x, (1,))), (0.0,)))))
    turned = n.add(backwards(n.add(Differs(n.add(Features(n.x, (2, 0))), (0.0, 0.0)))))
    n.linear(n.add(Concat((v, n.h(n.recurrent(n.add(backwards(n.x)), 4, "gru", mask=turned))))), 3)


GRAPHS: Mapping[str, Callable[[Nodes], None]] = {
    "conv, pool, lstm": _conv_lstm,
    "filters": _filters,
    "pools": _pools,
    "bidirectional": _bidirectional,
    "layer normalization at each step": _normalized_each,
    "layer normalization of a vector": _normalized_vector,
    "residual": _residual,
    "attention": _attention,
    "gated features": _gated_features,
    "encoder, decoder": _encoder_decoder,
    "slices": _slices,
    "repeated": _repeated,
    "functions": _functions,
    "divided": _divided,
    "embedding": _embedding,
    "many rows": _many_rows,
    "sigmoid output": _sigmoid_output,
    "over features": _of_features,
    "masked": _masked,
    "masked at each step": _masked_each,
}
_WIDTHS = {"embedding": 1, "many rows": 2}


def float_graph(name: str, *, probabilities: bool = False, seed: int = 0) -> GraphModel:
    """One of ``GRAPHS``."""
    nodes = Nodes(seed, _WIDTHS.get(name, CHANNELS))
    GRAPHS[name](nodes)
    return model_of(nodes, probabilities=probabilities)


def model_of(nodes: Nodes, *, probabilities: bool = False) -> GraphModel:
    """A model that is these nodes."""
    graph, width = nodes.graph, nodes.nodes[0].width
    scores = len(graph.nodes) - 1
    classes = graph.shapes[scores].width
    signature = Signature(
        name="g",
        channels=tuple(f"x{k}" for k in range(width)),
        units=("",) * width,
        rate_hz=None,
        steps=STEPS,
        classes=tuple(f"y{k}" for k in range(classes)),
        task="classify" if classes > 1 else "regress",
        probabilities=probabilities,
    )
    imported = Imported(graph, {}, {})
    return GraphModel(signature, imported, graph, scores, "x", "y", "softmax" if probabilities else "scores")


def graph_samples(name: str, windows: int, seed: int = 1) -> Any:
    """(windows, steps, channels) for one of ``GRAPHS``: slow walks, with padding where it takes that; numbers of rows
    where it takes these."""
    rng = np.random.default_rng(seed)
    if name == "embedding":
        return rng.integers(0, 40, (windows, STEPS, 1)).astype(np.float64)
    if name == "many rows":
        rows = rng.integers(0, 300, (windows, STEPS, 1))
        return np.concatenate([rng.standard_normal((windows, STEPS, 1)), rows], axis=-1)
    x = 0.5 * rng.standard_normal((windows, STEPS, CHANNELS)).cumsum(axis=1)
    if name in PADDING:
        begins, ends = rng.integers(0, 3, windows), STEPS - rng.integers(0, 8, windows)
        t = np.arange(STEPS)
        x[(t < begins[:, None]) | (t >= ends[:, None])] = PADDING[name]
    return x
