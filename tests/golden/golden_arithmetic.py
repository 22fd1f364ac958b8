"""The integer arithmetic of every cell by Python's integers alone, one unit at a time, each cell on its own.

Imports nothing of edge-lstm: it is the second opinion that ``make_vectors`` takes, after the design's rules R2 to R6.

A value has fraction bits: the integer v means v / 2**bits. A gate has as many as its mode says (``GATE_FRACTION``),
so that a hard gate, 0 or 1, has none: multiplying by it is choosing. A format is [bits, fraction bits, symmetric].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Vector = list[int]
Step = tuple[Vector, Vector, dict[str, Vector]]

GATE_FRACTION = {"hard": 0, "three-level": 1, "soft": 15, "hard-sigmoid": 15}

# --- the functions ---------------------------------------------------------------------------------


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


FUNCTIONS: dict[str, tuple[int, Callable[[float], float]]] = {
    "sigmoid": (4, sigmoid),
    "tanh": (5, math.tanh),
    "squash1": (4, lambda v: 2 * sigmoid(v) - 1),
    "squash2": (4, lambda v: 4 * sigmoid(v) - 2),
}
"""Fraction bits of the index, and what is tabulated."""
LINEAR = {"sigmoid": (2, 0.5, 0, 1), "tanh": (0, 0, -1, 1), "squash1": (1, 0, -1, 1), "squash2": (0, 0, -2, 2)}
"""Bits of the slope, offset, least and largest value; relu has no largest one."""


def bounds(form: list[Any]) -> tuple[int, int]:
    highest = 2 ** (form[0] - 1) - 1
    return (-highest if form[2] else -highest - 1), highest


def tabulate(function: str, form: list[Any]) -> Vector:
    index_bits, f = FUNCTIONS[function]
    exact = [f(k / 2**index_bits) * 2 ** form[1] for k in range(-128, 128)]
    lowest, highest = bounds(form)
    return [max(lowest, min(highest, math.floor(v + 0.5))) for v in exact]


class Tables:
    """Those that the cases name, each once."""

    def __init__(self) -> None:
        self.all: dict[str, Json] = {}

    def name(self, function: str, form: list[Any]) -> str:
        name = f"{function}_{form[0]}_{form[1]}{'_symmetric' if form[2] else ''}"
        entry = {"function": function, "index_bits": FUNCTIONS[function][0], "output": list(form)}
        self.all.setdefault(name, {**entry, "values": tabulate(function, form)})
        return name


# --- the arithmetic --------------------------------------------------------------------------------


def fits(v: int) -> int:
    """Nothing leaves 32 bits (R6)."""
    assert -(2**31) <= v < 2**31
    return v


def divide(v: int, n: int) -> int:
    """v / 2**n to nearest, ties towards plus infinity."""
    return fits(v + 2 ** (n - 1)) // 2**n if n else v


def scaled(v: int, had: int, wanted: int) -> int:
    """The same value with other fraction bits."""
    return divide(v, had - wanted) if had >= wanted else fits(v * 2 ** (wanted - had))


def limit(v: int, lo: int, hi: int) -> int:
    return lo if v < lo else hi if v > hi else v


def stored(v: int, fraction: int, form: list[Any]) -> int:
    """Into a format: rounded, then saturated."""
    return limit(scaled(v, fraction, form[1]), *bounds(form))


def total(a: int, a_bits: int, b: int, b_bits: int, fraction: int, form: list[Any]) -> int:
    """a + b, a state: two terms with ``a_bits`` and ``b_bits`` more than ``fraction``, the finer one rounded first."""
    bits = min(a_bits, b_bits)
    return stored(fits(divide(a, a_bits - bits) + divide(b, b_bits - bits)), fraction + bits, form)


def requantize(acc: int, r: Json, unit: int) -> int:
    narrow = (acc - acc % 2 ** r["pre_shift"]) // 2 ** r["pre_shift"]
    product = narrow * r["multiplier"][unit]
    assert abs(product) <= 2**30
    return divide(product, r["post_shift"])


def input_fraction(activation: Json, tables: Tables) -> int:
    """Fraction bits of the argument."""
    if activation["kind"] == "linear":
        return int(activation["output"][1] - activation["slope_bits"])
    return int(tables.all[activation["table"]]["index_bits"] + activation["between_bits"])


def activate(activation: Json, v: int, tables: Tables) -> int:
    if activation["kind"] == "linear":
        return limit(fits(v + activation["offset"]), activation["lo"], activation["hi"])
    values, n = tables.all[activation["table"]]["values"], activation["between_bits"]
    if n == 0:
        return int(values[128 + limit(v, -128, 127)])
    place = limit(v, -128 * 2**n, 127 * 2**n - 1)  # the last entry is only ever an end
    entry, rest = divmod(place + 128 * 2**n, 2**n)
    return int(values[entry] + divide((values[entry + 1] - values[entry]) * rest, n))


def product(weights: list[Vector], bias: Vector, v: Vector) -> Vector:
    """One accumulator per row."""
    return [fits(b + sum(w * k for w, k in zip(row, v, strict=True))) for row, b in zip(weights, bias, strict=True)]


class Layer:
    """A layer's parameters, and the equations that cells have in common, for a unit j."""

    def __init__(self, given: Json, tables: Tables) -> None:
        self.given, self.tables = given, tables
        self.blocks, self.modes = given["blocks"], given["modes"]
        self.h, self.c = given["h"], given["c"]
        self.units = len(next(iter(self.blocks.values()))["bias"])
        self.bits = {name: GATE_FRACTION[mode] for name, mode in self.modes.items()}

    def rows(self, name: str, v: Vector) -> Vector:
        return product(self.blocks[name]["weights"], self.blocks[name]["bias"], v)

    def value(self, name: str, acc: int, j: int) -> int:
        """Of a block that has a table or a line."""
        block = self.blocks[name]
        return activate(block["activation"], requantize(acc, block["requantize"], j), self.tables)

    def values(self, name: str, accs: Vector) -> Vector:
        return [self.value(name, acc, j) for j, acc in enumerate(accs)]

    def gate(self, name: str, acc: int, j: int) -> int:
        if self.modes[name] == "hard":
            return 1 if acc > 0 else 0
        if self.modes[name] == "three-level":
            low, high = (at[j] for at in self.blocks[name]["activation"]["at"])
            return 0 if acc <= low else 2 if acc > high else 1
        return self.value(name, acc, j)

    def gates(self, name: str, accs: Vector) -> Vector:
        return [self.gate(name, acc, j) for j, acc in enumerate(accs)]

    def but(self, name: str, v: int) -> int:
        """1 - v."""
        return int(2 ** self.bits[name] - v)

    def peep(self, name: str, acc: int, c: int, j: int) -> int:
        peephole = self.blocks[name]["peephole"]
        return fits(acc + divide(c * peephole["multiplier"][j], peephole["shift"]))

    def of_cell(self, c: int) -> tuple[int, int]:
        """The function of the cell state, and its fraction bits."""
        activation = self.given["squash"]["t"]
        v = activate(activation, scaled(c, self.c[1], input_fraction(activation, self.tables)), self.tables)
        if activation["kind"] == "table":
            return v, self.tables.all[activation["table"]]["output"][1]
        return v, activation["output"][1]

    def output(self, o: int, c: int, form: list[Any]) -> int:
        """o times the function of the cell state, in a format."""
        t, fraction = self.of_cell(c)
        return stored(fits(o * t), self.bits["o"] + fraction, form)


def lstm(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    v, bits, f_c = x + h, m.bits, m.c[1]
    i, f, o = (m.gates(k, m.rows(k, v)) for k in "ifo")
    g = m.values("g", m.rows("g", v))
    c = [total(f[j] * c[j], bits["f"], i[j] * g[j], bits["i"], f_c, m.c) for j in range(m.units)]
    return [m.output(o[j], c[j], m.h) for j in range(m.units)], c, {"i": i, "f": f, "o": o}


def lstm_1997(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    """The cell state itself has no more bits than its format."""
    v = x + h
    i, o = (m.gates(k, m.rows(k, v)) for k in "io")
    g = m.values("g", m.rows("g", v))
    c = [limit(c[j] + divide(i[j] * g[j], m.bits["i"]), *bounds(m.c)) for j in range(m.units)]
    return [m.output(o[j], c[j], m.h) for j in range(m.units)], c, {"i": i, "o": o}


def peephole(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    """i and f see the last cell state, o the new one."""
    v, every = x + h, range(m.units)
    acc = {k: m.rows(k, v) for k in "ifgo"}
    i = [m.gate("i", m.peep("i", acc["i"][j], c[j], j), j) for j in every]
    f = [m.gate("f", m.peep("f", acc["f"][j], c[j], j), j) for j in every]
    g = m.values("g", acc["g"])
    new = [total(f[j] * c[j], m.bits["f"], i[j] * g[j], m.bits["i"], m.c[1], m.c) for j in every]
    o = [m.gate("o", m.peep("o", acc["o"][j], new[j], j), j) for j in every]
    return [m.output(o[j], new[j], m.h) for j in every], new, {"i": i, "f": f, "o": o}


def cifg(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    """Both terms have the bits of f."""
    v, new = x + h, []
    f, o = (m.gates(k, m.rows(k, v)) for k in "fo")
    g = m.values("g", m.rows("g", v))
    for j in range(m.units):
        sum_ = fits(f[j] * c[j] + m.but("f", f[j]) * g[j])
        new.append(limit(divide(sum_, m.bits["f"]), *bounds(m.c)))
    return [m.output(o[j], new[j], m.h) for j in range(m.units)], new, {"f": f, "o": o}


def lstmp(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    """The LSTM's output, in the format that the projection takes, and then the projection."""
    projection = m.given["projection"]
    v = x + h
    i, f, o = (m.gates(k, m.rows(k, v)) for k in "ifo")
    g = m.values("g", m.rows("g", v))
    c = [total(f[j] * c[j], m.bits["f"], i[j] * g[j], m.bits["i"], m.c[1], m.c) for j in range(m.units)]
    wide = [m.output(o[j], c[j], projection["operand"]) for j in range(m.units)]
    accs = product(projection["weights"], [0] * len(h), wide)
    h = [limit(requantize(acc, projection["requantize"], k), *bounds(m.h)) for k, acc in enumerate(accs)]
    return h, c, {"i": i, "f": f, "o": o}


def gru(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    """The reset gate's product with h is in the format of h."""
    z, r = (m.gates(k, m.rows(k, x + h)) for k in "zr")
    left = [limit(divide(r[j] * h[j], m.bits["r"]), *bounds(m.h)) for j in range(m.units)]
    n = m.values("n", m.rows("n", x + left))
    return *_keep(m, z, n, c), {"z": z, "r": r}


def gru_after(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    """The reset gate's product with the rows of h, which are first rounded to ``narrow`` bits less."""
    z, r = (m.gates(k, m.rows(k, x + h)) for k in "zr")
    block, inputs = m.blocks["n"], len(x)
    of_x = product([row[:inputs] for row in block["weights"]], block["bias"], x)
    of_h = product([row[inputs:] for row in block["weights"]], block["recurrent_bias"], h)
    narrow, accs = min(block["narrow"], m.bits["r"]), []
    for j in range(m.units):
        short = divide(of_h[j], narrow)
        accs.append(fits(of_x[j] + divide(fits(r[j] * short), m.bits["r"] - narrow)))
    return *_keep(m, z, m.values("n", accs), c), {"z": z, "r": r}


def fastgrnn(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    """The gate has the weights of the candidate and a bias of its own."""
    n = m.values("n", m.rows("n", x + h))
    z = m.gates("z", product(m.blocks["n"]["weights"], m.blocks["z"]["bias"], x + h))
    return *_keep(m, z, n, c), {"z": z}


def _keep(m: Layer, z: Vector, n: Vector, c: Vector) -> tuple[Vector, Vector]:
    """c' = z c + (1 - z) n; h' is c' in the format of h."""
    sums = [fits(z[j] * c[j] + m.but("z", z[j]) * n[j]) for j in range(m.units)]
    c = [limit(divide(v, m.bits["z"]), *bounds(m.c)) for v in sums]
    return [stored(v, m.c[1], m.h) for v in c], c


def rnn(m: Layer, x: Vector, h: Vector, c: Vector) -> Step:
    """h is what the table or the line gives."""
    return [limit(v, *bounds(m.h)) for v in m.values("t", m.rows("t", x + h))], c, {}


CELLS: dict[str, Callable[[Layer, Vector, Vector, Vector], Step]] = {
    "lstm": lstm,
    "lstm-1997": lstm_1997,
    "peephole": peephole,
    "cifg": cifg,
    "lstmp": lstmp,
    "gru": gru,
    "gru-after": gru_after,
    "fastgrnn": fastgrnn,
    "rnn": rnn,
    "rnn-relu": rnn,
}


def run(case: Json, tables: Tables) -> Json:
    """Of each step and layer: the states, and the gates."""
    layers = [Layer(given, tables) for given in case["layers"]]
    h = [[0] * (len(m.given["projection"]["weights"]) if m.given["projection"] else m.units) for m in layers]
    c = [[0] * m.units for m in layers]
    summed = list(h[-1])
    bound = bounds(layers[-1].h)[1] * case["steps"]
    trace = []
    for sample in case["x"]:
        value, seen = sample, []
        for k, m in enumerate(layers):
            if "gain" in m.given:
                value = [fits(g * v) for g, v in zip(m.given["gain"], value, strict=True)]
            h[k], c[k], gates = CELLS[m.given["cell"]](m, value, h[k], c[k])
            value = h[k]
            seen.append({"h": h[k], **({"c": c[k]} if m.c else {}), **gates})
        summed = [limit(p + v, -bound, bound) for p, v in zip(summed, value, strict=True)]
        trace.append(seen)
    pooled = value
    if case["pooling"] == "mean":
        lo, hi = bounds(case["pooled"])
        pooled = [limit(requantize(p, case["pool"], k), lo, hi) for k, p in enumerate(summed)]
    scores = product(case["dense"]["weights"], case["dense"]["bias"], pooled)
    return {"steps": trace, "pooled": pooled, "scores": scores, "class_index": scores.index(max(scores))}
