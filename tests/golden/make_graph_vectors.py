"""Writes graph_vectors.json: random graphs of integer nodes and what they compute, by Python's integers alone.

Imports nothing of edge-lstm: the nodes are those of ``golden_graph``, their integers are random and fixed by a seed.
Run it as ``python tests/golden/make_graph_vectors.py [FILE]``.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from golden_arithmetic import Json, Tables
from golden_forms import EXP
from golden_graph import ROOT_TOP, over_root, window
from make_vectors import Make
from random_graph import SEED, Graph

FORMS: dict[str, tuple[Callable[[Graph], None], dict[str, Any]]] = {}


def form(**options: Any) -> Callable[[Callable[[Graph], None]], Callable[[Graph], None]]:
    """Registers what a case is made of; options are those of its ``Graph``."""

    def register(function: Callable[[Graph], None]) -> Callable[[Graph], None]:
        FORMS[function.__name__] = function, options
        return function

    return register


LSTM, GRU = Make("lstm", units=3), Make("gru", "hard", 3)
WIDE = Make("lstm", units=2, h=16, between=8)


@form()
def dense_each(g: Graph) -> None:
    g.scores(g.affine(g.affine(0, 4, "table"), 3, "between", bits=16), probabilities=True)


@form(inputs=3, steps=14)
def filters(g: Graph) -> None:
    v = g.affine(0, 4, "table", taps=3, stride=2, dilation=2, pads=[3, 1])
    v = g.affine(v, 3, "between", taps=2, pads=[0, 1], weight_bits=4)
    g.scores(g.reduced(g.affine(v, 3, taps=2, weight_bits=2), "sum", "limits", 16))


@form(inputs=3, steps=9)
def depthwise(g: Graph) -> None:
    v = g.affine(0, 3, taps=3, pads=[1, 1], depthwise=True)
    w = g.gain(g.affine(v, 3, None, taps=2, stride=2, depthwise=True, weight_bits=4), "between")
    u = g.affine(v, 3, "table", depthwise=True, weight_bits=2)
    g.scores(g.join(g.at(w, -1), g.at(u, -1), g.reduced(u, "max")))


@form(inputs=3)
def two_values(g: Graph) -> None:
    v = g.affine(0, 3)
    w = g.combine(v, 0, "add")
    one = g.affine(v, 1)
    u = g.combine(w, one, "max", "table")
    u = g.combine(one, u, "min", "between", 16)
    g.scores(g.combine(g.combine(u, v, "mul"), one, "mul", "positive"))


@form()
def vector_beside_a_sequence(g: Graph) -> None:
    v = g.affine(0, 3)
    gate = g.gain(g.affine(g.reduced(v, "sum", "positive", 16), 3), "table", 16)
    u = g.combine(g.combine(gate, v, "mul"), g.at(v, 2), "min")
    g.scores(g.join(g.combine(u, g.affine(g.at(v, -1), 1), "add"), gate), probabilities=True)


@form(inputs=3)
def two_vectors(g: Graph) -> None:
    v = g.affine(0, 3, bits=16)
    a, b, c = g.reduced(v, "max"), g.reduced(v, "min"), g.at(v, -1)
    u = g.combine(g.combine(a, b, "add"), c, "max", "between", 16)
    g.scores(g.combine(g.combine(u, g.pick(c, 1), "mul"), b, "min", bits=16), 4)


@form(inputs=2)
def rows_of_tables(g: Graph) -> None:
    v = g.rows(g.pick(0, 0), 40, 3)
    w = g.rows(g.pick(0, 1), 100, 1, 16)
    g.scores(g.layers(g.join(v, w, g.rows(g.affine(0, 1, "positive"), 7, 2)), {">": LSTM}))


@form(inputs=3)
def normalized_each(g: Graph) -> None:
    v = g.normalized(g.affine(0, 5), 0, 3)
    w = g.normalized(g.affine(0, 2, bits=16), 4, 2**20, "between")
    u = g.normalized(g.affine(0, 6, bits=16, how="table"), 5, 1, "table")
    g.scores(g.join(v, w, u), probabilities=True)


@form()
def normalized_vectors(g: Graph) -> None:
    v = g.reduced(g.affine(0, 4, weight_bits=2), "sum")
    w = g.normalized(v, 1, 1)
    g.scores(g.join(w, g.normalized(g.pick(v, 0), 0, 5), g.normalized(g.affine(v, 3, bits=4), 0, 1)), 2)


@form()
def exponentials_of_features(g: Graph) -> None:
    v = g.exponentials(g.affine(0, 4), "features")
    g.scores(g.join(v, g.exponentials(g.affine(0, 2, bits=16), "features")), 3)


@form(steps=11)
def attention(g: Graph) -> None:
    v = g.layers(0, {">": LSTM})
    h = g.pick(v, 0, 1, 2)
    score = g.affine(g.affine(h, 3, "table"), 1, bits=16)
    g.scores(g.reduced(g.combine(g.exponentials(score, "time"), h, "mul"), "sum", "limits", 16), probabilities=True)


@form()
def layers_beside_each_other(g: Graph) -> None:
    v = g.layers(0, {">": LSTM, "<": GRU})
    h = g.pick(v, 0, 1, 2, 3, 4, 5)
    last = g.join(g.at(g.pick(h, 0, 1, 2), -1), g.at(g.pick(h, 3, 4, 5), 0))
    g.scores(g.join(last, g.at(h, 0), g.at(h, -1), g.reduced(v, "min", "limits", 16)))


@form(input_bits=16)
def layers_each(g: Graph) -> None:
    v = g.layers(g.affine(0, 3, bits=16), {"<": WIDE, ">": Make("rnn", units=2, h=16), "<2": GRU}, initial=True)
    g.scores(g.layers(v, {">": Make("gru-after", units=3)}), probabilities=True)


@form()
def encoder_and_decoder(g: Graph) -> None:
    v = g.layers(0, {">": LSTM, "<": GRU})
    h, c = g.at(g.pick(v, 0, 1, 2), -1), g.at(g.pick(v, 6, 7, 8), -1)
    fed = g.repeated(h, 5)
    both = g.gain(g.at(g.pick(v, 3, 4), 0))
    begins = {"0.h": h, "0.c": c, "1.h": g.join(g.at(g.pick(v, 4), 1), both)}
    g.scores(g.layers(fed, {">": LSTM, "<": GRU}, begins))


@form()
def begins_with_what_is_computed(g: Graph) -> None:
    first = g.gain(g.affine(g.at(0, 0), 3), "limits", 8)
    other = g.gain(first, "limits", 16)
    v = g.layers(0, {"<": LSTM}, {"0.h": first, "0.c": other})
    g.scores(g.at(v, 0))


@form(steps=9)
def masked(g: Graph) -> None:
    g.padded([0, 0], 1, 4, 7, 8)
    mask = g.differs(0, 0, 0)
    v = g.layers(0, {">": LSTM, "<": GRU, ">1": Make("rnn", units=1)}, mask=mask)
    h = g.combine(g.pick(v, *range(7)), mask, "mul")
    g.scores(g.layers(h, {">": WIDE}, mask=mask), probabilities=True)


@form(inputs=3, steps=10)
def masked_beginnings(g: Graph) -> None:
    g.padded([5, -127, 127], 1, 2, 9)
    mask = g.differs(0, 5, -127, 127)
    first = g.gain(g.affine(g.at(0, 0), 3), "limits", 8)
    v = g.layers(g.affine(0, 2, "table"), {"<": LSTM, ">": GRU}, {"0.h": first}, mask)
    moved = g.layers(g.moved(0, -1, 9, 10), {">": GRU}, mask=g.moved(mask, -1, 9, 10), initial=True)
    every = g.layers(0, {">": LSTM}, mask=g.differs(g.pick(0, 1), 200))
    ends = g.join(g.at(g.pick(v, 0, 1, 2), 0), g.at(g.pick(v, 3, 4, 5), -1))
    counted = g.reduced(mask, "sum", "limits", 16)
    g.scores(g.join(ends, g.at(v, 4), g.at(moved, -1), g.at(every, -1), counted))


@form(inputs=4)
def picked(g: Graph) -> None:
    v = g.layers(0, {">": Make("lstm", units=2), "<": Make("peephole", units=2)})
    w = g.join(g.pick(v, 2, 3), g.pick(v, 0, 1), g.pick(v, 5, 0, 5), g.pick(v, *range(4, 8)))
    g.scores(g.join(g.at(g.pick(w, 3, 2), -1), g.at(g.pick(w, 0, 1), 0), g.at(g.pick(0, 3, 1), -1), g.at(w, 3)))


@form(steps=12)
def moved_steps(g: Graph) -> None:
    v = g.layers(0, {">": LSTM})
    slices = g.join(g.moved(0, 2, 1, 5), g.moved(v, 1, 3, 5), g.moved(v, -2, 11, 5))
    around = g.join(g.moved(slices, 1, -2, 9), g.moved(g.affine(0, 2), 1, 8, 9), g.moved(0, 3, -6, 9))
    again = g.moved(around, -1, 9, 8)
    twice = g.join(g.moved(g.moved(v, 1, 2, 4), 1, -1, 8), g.moved(g.moved(v, 1, 0, 4), 1, 0, 8))
    twice = g.join(twice, g.moved(g.moved(0, 1, 0, 4), 1, 0, 8))
    g.scores(g.affine(g.join(again, twice), 3), probabilities=True)


@form(steps=12)
def moved_and_filtered(g: Graph) -> None:
    v = g.moved(g.affine(0, 3), 1, 2, 7)
    a, b = g.affine(v, 2, taps=3, pads=[1, 1]), g.affine(v, 2, taps=5, pads=[2, 2])
    c = g.largest(v, 3, 1, 1, 1)
    d = g.moved(v, 1, -1, 7)
    e = g.moved(g.moved(0, 1, -3, 7), 1, -1, 7)
    g.scores(g.layers(g.join(a, b, c, d, e), {"<": GRU}))


@form(steps=10)
def reversed_by_hand(g: Graph) -> None:
    v = g.layers(g.moved(0, -1, 9, 10), {">": LSTM})
    g.scores(g.join(g.moved(v, -1, 9, 10), 0))


@form(steps=10)
def steps_of_windows(g: Graph) -> None:
    v = g.layers(0, {">": LSTM, "<": GRU})
    parts = [g.at(0, 0), g.at(0, -1), g.at(v, 4), g.at(g.pick(v, 0, 1, 2), 9), g.at(g.pick(v, 3, 4, 5), 9)]
    parts.append(g.at(g.moved(g.pick(v, 0, 1, 2), 1, 0, 6), -1))
    moved = g.moved(v, 1, 2, 5)
    parts += [g.at(moved, -1), g.at(moved, 0), g.at(g.moved(v, 1, 0, 6), -1), g.at(g.moved(0, 1, -1, 4), 0)]
    parts += [g.at(g.moved(g.affine(0, 2), 1, 4, 9), 8), g.at(g.moved(v, 2, 1, 5), 4)]
    parts += [g.at(g.affine(g.moved(g.moved(v, 2, 0, 5), 2, 0, 2), 2), 1)]
    parts += [g.at(g.affine(g.moved(g.moved(0, -2, 9, 4), 1, 1, 3), 2, taps=2), 1)]
    g.scores(g.affine(g.join(*parts), 4), 3)


@form(steps=9)
def largest_neighbours(g: Graph) -> None:
    v = g.join(g.affine(0, 2, "positive"), g.affine(0, 2, bits=16), g.gain(0, "table"))
    low = g.gain(g.affine(0, 2, "positive"), "table", 16)
    a, b = g.largest(v, 3, 1, 1, 1), g.affine(v, 3, taps=3, pads=[1, 1])
    g.scores(g.join(g.at(a, 0), g.at(b, 0), g.at(g.largest(v, 4, 3, 2, 3), -1), g.at(g.largest(low, 2, 2), 1)), 2)


@form(steps=7)
def over_all_steps(g: Graph) -> None:
    v = g.join(g.affine(0, 2, "positive"), 0)
    below = g.affine(v, 2, None)
    parts = [g.reduced(v, kind) for kind in ("sum", "max", "min")]
    parts += [g.reduced(v, "sum", "between", 16), g.reduced(v, "max", "table"), g.reduced(below, "min", "limits", 16)]
    g.scores(g.join(*parts), task="regress")


@form(steps=6)
def repeated_vectors(g: Graph) -> None:
    v = g.join(g.reduced(0, "max"), g.at(0, 3))
    a, b = g.repeated(v, 6), g.join(g.repeated(v, 6), g.repeated(g.at(0, 0), 6), g.repeated(g.at(0, 0), 6))
    b = g.pick(g.combine(b, g.repeated(g.pick(v, 3), 6), "add"), 4, 5, 6, 7)
    w = g.layers(g.join(g.combine(a, g.gain(b), "add"), g.pick(g.repeated(v, 6), 1)), {"<": LSTM})
    g.scores(g.join(g.repeated(g.at(w, 0), 9), g.repeated(g.pick(v, 2, 0), 9)))


@form(inputs=3, steps=10, input_bits=16)
def wide(g: Graph) -> None:
    v = g.affine(0, 3, bits=16, taps=2, stride=2)
    w = g.layers(g.largest(v, 2, 1), {">": WIDE, "<": WIDE})
    v = g.normalized(g.combine(g.affine(w, 3, bits=16), g.affine(g.at(v, 0), 3, bits=16), "add", bits=16), 6, 50)
    g.scores(g.reduced(v, "sum", "limits", 16), probabilities=True)


@form(steps=7)
def stream(g: Graph) -> None:
    v = g.gain(g.layers(g.affine(0, 3, "between"), {">": LSTM}), "limits", 8)
    g.scores(g.join(g.at(v, -1), g.reduced(v, "sum", "limits"), g.reduced(0, "min")), 2, probabilities=True)


@form(steps=1)
def one_step(g: Graph) -> None:
    v = g.affine(0, 2, taps=3, pads=[1, 1])
    share = g.at(g.exponentials(g.affine(v, 1), "time"), 0)
    g.scores(g.join(g.at(g.layers(v, {">": LSTM}), 0), g.reduced(g.largest(v, 2, 1, 0, 1), "sum"), share), 2)


@form(inputs=3, steps=16)
def everything(g: Graph) -> None:
    v = g.affine(g.largest(g.affine(0, 4, "positive", taps=3, pads=[1, 1]), 2, 2), 4, "table")
    w = g.layers(v, {">": LSTM, "<": LSTM})
    w = g.normalized(g.combine(g.affine(w, 4), v, "add"), 2, 40)
    weights = g.exponentials(g.affine(w, 1), "time")
    u = g.reduced(g.combine(w, weights, "mul"), "sum", "limits", 16)
    g.scores(g.affine(u, 5, "between"), 4, probabilities=True)


@form(steps=9)
def read_by_nothing(g: Graph) -> None:
    v = g.layers(0, {">": LSTM})
    g.join(g.gain(g.reduced(v, "max"), "table"), g.affine(g.at(0, 3), 2))
    g.affine(g.moved(v, 1, 2, 5), 2, taps=2)
    g.layers(g.moved(v, 2, 0, 5), {"<": GRU})
    g.scores(g.pick(v, 3, 0))


def made(name: str, tables: Tables) -> Json:
    """A case and what is expected of it."""
    make, options = FORMS[name]
    graph = Graph(name, tables, **options)
    make(graph)
    case = {**graph.case, "x": graph.x}
    return {**case, "expected": [window(case, samples, tables) for samples in graph.x]}


def roots(rng: random.Random) -> list[list[int]]:
    """d, q and d / sqrt(q), at the edges of every size and at random."""
    found = []
    for bits in range(1, ROOT_TOP + 1):
        least, most = 2 ** (bits - 1), 2**bits - 1
        for q in {least, min(least + 1, most), most, rng.randint(least, most), least + least // 64}:
            largest = math.isqrt(q)
            found += [[d, q, over_root(d, q)] for d in {largest, -largest, rng.randint(-largest, largest)}]
    return sorted(found)


def main(path: Path) -> None:
    tables = Tables()
    cases = [made(name, tables) for name in FORMS]
    content = {
        "provenance": f"tests/golden/make_graph_vectors.py, seed {SEED}: graphs in integers by Python's integers alone",
        "exp": EXP,
        "tables": dict(sorted(tables.all.items())),
        "roots": roots(random.Random(SEED)),
        "cases": cases,
    }
    path.write_text(json.dumps(content, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("graph_vectors.json"))
