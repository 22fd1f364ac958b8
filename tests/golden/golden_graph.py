"""What a graph of integer nodes computes of a window, by Python's integers alone, node by node.

Imports nothing of edge-lstm. Each node is computed for the whole window before the next one, where edge-lstm makes
stages that go through it together; roots and ratios double one bit at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from golden_arithmetic import CELLS, Json, Layer, Tables, Vector, divide, fits, limit, product, requantize
from golden_forms import BETWEEN, SHARE_BITS, WEIGHT_BITS, begun, exp, joined, order, outputs, ratio, through

ROOT_TOP = 30
"""Bits of what a root is taken of."""


class Value(NamedTuple):
    """A vector at each step of a sequence; or one vector."""

    steps: list[Vector]
    vector: bool = False

    @property
    def width(self) -> int:
        return len(self.steps[0])

    def at(self, t: int) -> Vector | None:
        """None outside of the sequence."""
        return self.steps[t] if 0 <= t < len(self.steps) else None

    def before(self, t: int) -> Vector:
        """Zeros outside of the sequence."""
        return self.at(t) or [0] * self.width


Compute = Callable[[Json, list[Value], Tables], Value]


# --- what nodes have in common ---------------------------------------------------------------------


def finish(accs: Vector, given: Json | None) -> Vector:
    """Requantized, limited, and perhaps looked up."""
    if given is None:
        return [fits(acc) for acc in accs]
    found = []
    for j, acc in enumerate(accs):
        v = limit(requantize(fits(acc), given["requantize"], j), given["lo"], given["hi"])
        found.append(v if given["table"] is None else entry(given["table"], v, given["between_bits"]))
    return found


def entry(table: Vector, v: int, n: int) -> int:
    """That of an index, or between two."""
    k, rest = divmod(v + 128 * 2**n, 2**n)
    return table[k] + divide((table[k + 1] - table[k]) * rest, n) if rest else table[k]


def by_step(read: list[Value], compute: Callable[..., Vector]) -> Value:
    """Each step by itself; a vector is beside every step of the sequences."""
    vector = all(value.vector for value in read)
    steps = 1 if vector else max(len(value.steps) for value in read if not value.vector)
    seen = [[value.steps[0] if value.vector else value.steps[t] for value in read] for t in range(steps)]
    return Value([compute(*values) for values in seen], vector)


def wide(v: Vector, width: int) -> Vector:
    """One feature stands beside all of the other value."""
    return v * width if len(v) == 1 else v


def places(value: Value, size: int, stride: int, dilation: int, pads: list[int]) -> list[list[int]]:
    """The steps that a filter sees, for each step of its result; some may be outside."""
    reach = (size - 1) * dilation + 1
    last = len(value.steps) + pads[1] - reach
    return [[t + k * dilation for k in range(size)] for t in range(-pads[0], last + 1, stride)]


def over_root(d: int, q: int) -> int:
    """About d / sqrt(q) in Q0.14, where d * d <= q < 2**30."""
    assert d * d <= q
    assert 1 <= q < 2**ROOT_TOP
    while 4 * q < 2**ROOT_TOP:
        d, q = 2 * d, 4 * q
    k, rest = divmod(q // 2 ** (ROOT_TOP - 7 - BETWEEN), 2**BETWEEN)
    step = inverse_root(k + 1) - inverse_root(k)
    return divide(d * (inverse_root(k) + divide(step * rest, BETWEEN)), 14)


def inverse_root(k: int) -> int:
    """1 / sqrt(k / 128) in Q0.13, to nearest; its square, times 4, is compared, so that no float decides."""
    squared = 2**35  # (2 * 2**13)**2 * 128
    double = math.isqrt(squared // k)
    return (double + 1) // 2


# --- the nodes -------------------------------------------------------------------------------------


def affine(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(1)"""
    (value,) = read
    if value.vector:
        return Value([finish(product(node["weights"], node["bias"], value.steps[0]), node["finish"])], vector=True)
    found = []
    for seen in places(value, node["taps"], node["stride"], node["dilation"], node["pads"]):
        taps = [value.before(t) for t in seen]
        if node["depthwise"]:
            columns = [[tap[j] for tap in taps] for j in range(value.width)]
            rows = zip(node["weights"], node["bias"], columns, strict=True)
            accs = [product([weights], [bias], column)[0] for weights, bias, column in rows]
        else:
            accs = product(node["weights"], node["bias"], joined(taps))
        found.append(finish(accs, node["finish"]))
    return Value(found)


def scaled(v: Vector, node: Json) -> Vector:
    accs = [a * f + b for a, f, b in zip(v, node["factor"], node["bias"], strict=True)]
    return finish(accs, node["finish"])


def gain(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(2)"""
    return by_step(read, lambda v: scaled(v, node))


def combine(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(3)"""
    width = max(value.width for value in read)
    choose: dict[str, Callable[[int, int], int]] = {"add": lambda a, b: a + b, "max": max, "min": min}

    def of_step(v: Vector, w: Vector) -> Vector:
        pairs = list(zip(wide(v, width), wide(w, width), strict=True))
        if node["operation"] == "mul":
            return finish([a * b for a, b in pairs], node["finish"])
        factors = list(zip(node["left_factor"], node["right_factor"], strict=True))
        terms = [(fits(a * f), fits(b * g)) for (a, b), (f, g) in zip(pairs, factors, strict=True)]
        return finish([choose[node["operation"]](a, b) for a, b in terms], node["finish"])

    return by_step(read, of_step)


def rows(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(4)"""
    return by_step(read, lambda v: list(node["table"][limit(v[0], 0, len(node["table"]) - 1)]))


def normalized(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(5)"""

    def of_step(v: Vector) -> Vector:
        c = [divide(len(v) * a - sum(v), node["shift"]) for a in v]
        q = min(fits(sum(a * a for a in c) + node["epsilon"]), 2**ROOT_TOP - 1)
        return scaled([over_root(a, q) for a in c], node)

    return by_step(read, of_step)


def exponentials(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(6)"""
    (value,) = read
    r = node["requantize"]
    if node["over"] == "features":
        return by_step(read, lambda v: shares([requantize(a - max(v), r, j) for j, a in enumerate(v)]))
    series = [v for (v,) in value.steps]
    return Value([[share] for share in shares([requantize(v - max(series), r, 0) for v in series])])


def shares(below: Vector) -> Vector:
    e = [exp(v) for v in below]
    found = [ratio(v, sum(e), len(e) * 2**WEIGHT_BITS, 1, SHARE_BITS) for v in e]
    return [limit(v, 0, 2**SHARE_BITS - 1) for v in found]


def layers(node: Json, read: list[Value], tables: Tables) -> Value:
    """Every layer's h, then every layer's c."""
    begins = dict(zip(node["begins"], read[1:], strict=False))
    made = []
    for j, given in enumerate(node["layers"]):
        mine = {key[-1]: value.steps[0] for key, value in begins.items() if key == f"{j}.{key[-1]}"}
        samples = read[0].steps
        if "gain" in given:
            samples = [[fits(g * v) for g, v in zip(given["gain"], sample, strict=True)] for sample in samples]
        layer = {**given, "initial": {**given["initial"], **mine}}
        if node.get("mask") is None:
            made.append(through(layer, samples, tables))
        else:
            made.append(masked(layer, samples, [step[0] == 1 for step in read[-1].steps], tables))
    parts = [series[state] for state in "hc" for series in made if state in series]
    return Value([joined([part[t] for part in parts]) for t in range(len(read[0].steps))])


def masked(given: Json, samples: list[Vector], mask: list[bool], tables: Tables) -> Json:
    """(10): as ``through``, but h and c stay what they are at steps that the mask leaves out."""
    m = Layer(given, tables)
    states = begun(m)
    after: dict[int, tuple[Vector, Vector]] = {}
    for t in order(len(samples), given["reverse"]):
        if mask[t]:
            h, c, _ = CELLS[given["cell"]](m, samples[t], *states)
            states = h, c
        after[t] = states
    series: Json = {"h": [after[t][0] for t in range(len(samples))]}
    return series | ({"c": [after[t][1] for t in range(len(samples))]} if given["c"] else {})


def differs(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(9)"""
    return by_step(read, lambda v: [0 if v == node["value"] else 1])


def pick(node: Json, read: list[Value], _tables: Tables) -> Value:
    return by_step(read, lambda v: [v[j] for j in node["columns"]])


def join(_node: Json, read: list[Value], _tables: Tables) -> Value:
    return by_step(read, lambda *parts: joined(list(parts)))


def moved(node: Json, read: list[Value], _tables: Tables) -> Value:
    return Value([read[0].before(t * node["stride"] + node["offset"]) for t in range(node["steps"])])


def at(node: Json, read: list[Value], _tables: Tables) -> Value:
    return Value([read[0].steps[node["step"]]], vector=True)


def largest(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(7)"""
    (value,) = read
    found = []
    for seen in places(value, node["size"], node["stride"], 1, node["pads"]):
        inside = [v for v in map(value.at, seen) if v is not None]
        found.append([max(v[j] for v in inside) for j in range(value.width)])
    return Value(found)


def reduced(node: Json, read: list[Value], _tables: Tables) -> Value:
    """(8)"""
    over: dict[str, Callable[[Vector], int]] = {"sum": lambda v: fits(sum(v)), "max": max, "min": min}
    value = [over[node["over_time"]]([v[j] for v in read[0].steps]) for j in range(read[0].width)]
    return Value([finish(value, node["finish"])], vector=True)


def repeated(node: Json, read: list[Value], _tables: Tables) -> Value:
    return Value([read[0].steps[0]] * node["count"])


NODES: dict[str, Compute] = {
    "affine": affine,
    "gain": gain,
    "combine": combine,
    "rows": rows,
    "normalized": normalized,
    "exponentials": exponentials,
    "differs": differs,
    "layers": layers,
    "pick": pick,
    "join": join,
    "moved": moved,
    "at": at,
    "largest": largest,
    "reduced": reduced,
    "repeated": repeated,
}


def sources(node: Json) -> list[int]:
    if node["kind"] == "combine":
        return [node["left"], node["right"]]
    if node["kind"] == "join":
        return list(node["parts"])
    mask = node.get("mask")
    return [node["source"], *node.get("begins", {}).values(), *([] if mask is None else [mask])]


def compute(node: Json, values: list[Value], tables: Tables) -> Value:
    """A node, from the values of those before it."""
    return NODES[node["kind"]](node, [values[k] for k in sources(node)], tables)


def window(case: Json, samples: list[Vector], tables: Tables) -> Json:
    """The value of each node but the samples, and the outputs, at each step where the scores are a sequence."""
    values = [Value(samples)]
    for node in case["nodes"]:
        values.append(compute(node, values, tables))
    scores: Any = [outputs(case, v) for v in values[-1].steps]
    found = {name: [one[name] for one in scores] for name in scores[0]}
    if values[-1].vector:
        found = {name: value[0] for name, value in found.items()}
    return {"values": [value.steps for value in values[1:]], "outputs": found}
