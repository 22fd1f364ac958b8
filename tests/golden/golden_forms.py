"""What a model does with a window beside its cells, by Python's integers alone: directions, pooling, decoders.

Imports nothing of edge-lstm. Goes layer by layer, each through the whole window in its own direction, where edge-lstm
makes stages of several layers; and divides by doubling one bit at a time.

A window is computed alone, with as many samples as it has steps. A series is what a value is after each step, in the
order of time: of a reversed layer, the first entry is the last that was computed.
"""

from __future__ import annotations

import math
from typing import Any

from golden_arithmetic import CELLS, Json, Layer, Tables, Vector, bounds, divide, fits, limit, product, requantize

WEIGHT_BITS = 14
"""Fraction bits of exp."""
EXP = [math.floor(math.exp(k / 16) * 2**WEIGHT_BITS + 0.5) for k in range(-128, 1)]
BETWEEN = 8
"""Bits between two entries of exp, and of the reciprocals."""
SHARE_BITS = 15
"""Fraction bits of a probability."""


def levels(layers: list[Json]) -> list[list[Json]]:
    """A layer that is beside the one before it is in its level."""
    found: list[list[Json]] = []
    for given in layers:
        if given["beside"]:
            found[-1].append(given)
        else:
            found.append([given])
    return found


def order(steps: int, reverse: bool) -> list[int]:
    return list(range(steps))[::-1] if reverse else list(range(steps))


def final(series: Json, name: str) -> Any:
    """What a series of values has at the end of its own direction."""
    return series[name][0] if series["reverse"] else series[name][-1]


def joined(parts: list[Vector]) -> Vector:
    return [v for part in parts for v in part]


# --- layers ----------------------------------------------------------------------------------------


def begun(m: Layer) -> tuple[Vector, Vector]:
    """h and c before the first step."""
    projection, initial = m.given["projection"], m.given["initial"]
    outputs = len(projection["weights"]) if projection else m.units
    return initial.get("h", [0] * outputs), initial.get("c", [0] * m.units)


def through(given: Json, values: list[Vector], tables: Tables) -> Json:
    """A layer's h and c after each step of a window."""
    m = Layer(given, tables)
    h, c = begun(m)
    after: dict[int, tuple[Vector, Vector]] = {}
    for t in order(len(values), given["reverse"]):
        h, c, _ = CELLS[given["cell"]](m, values[t], h, c)
        after[t] = h, c
    series: Json = {"reverse": given["reverse"], "h": [after[t][0] for t in range(len(values))]}
    return series | ({"c": [after[t][1] for t in range(len(values))]} if given["c"] else {})


# --- a ratio without a division --------------------------------------------------------------------


def reciprocal(k: int) -> int:
    """2**21 / k to nearest: 2**14 where k is 128, and so 1."""
    return (2**22 + k) // (2 * k)


def ratio(n: int, d: int, most: int, bound: int, shift: int) -> int:
    """(14): about n * 2**shift / d, where 0 <= d <= most and abs(n) <= bound * d."""
    assert 0 <= d <= most
    assert abs(n) <= bound * d
    if d == 0:
        return 0
    top = (most - 1).bit_length()
    while 2 * d <= 2**top:
        n, d = fits(2 * n), 2 * d
    dropped = max(0, fits(bound * 2**top).bit_length() - 15)
    place = d * 2**15 // 2**top  # from 2**14, not included, to 2**15
    entry, rest = divmod(place, 2**BETWEEN)
    step = reciprocal(entry + 1) - reciprocal(entry)
    factor = reciprocal(entry) + divide(step * rest, BETWEEN)
    return divide(fits(divide(n, dropped) * factor), 14 + top - dropped - shift)


def exp(v: int) -> int:
    """Between two entries, of an argument that is limited to less than 0."""
    entry, rest = divmod(limit(v, -128 * 2**BETWEEN, -1) + 128 * 2**BETWEEN, 2**BETWEEN)
    return EXP[entry] + divide((EXP[entry + 1] - EXP[entry]) * rest, BETWEEN)


# --- pooling ---------------------------------------------------------------------------------------


def pool_of_layer(case: Json, given: Json, series: Json, *, counts: bool) -> Json:
    """The sum or the largest value of a layer's h so far, and the number of steps so far."""
    lowest, highest = bounds(given["h"])
    most, steps = highest * case["steps"], len(series["h"])
    p, n = [0] * len(series["h"][0]), 0
    sums: list[Vector] = [[]] * steps
    counted: list[Vector] = [[]] * steps
    for t in order(steps, given["reverse"]):
        h = series["h"][t]
        if case["pooling"] == "max":
            p = [max(a, b - lowest) for a, b in zip(p, h, strict=True)]
        else:
            p = [limit(fits(a + b), -most, most) for a, b in zip(p, h, strict=True)]
        n = min(n + 1, case["steps"])
        sums[t], counted[t] = p, [n]
    part: Json = {"reverse": given["reverse"], "p": sums}
    return part | ({"n": counted} if counts else {})


def pool_of_attention(case: Json, level: list[Json], h: list[Vector]) -> Json:
    """Weighted sum and sum of the weights so far; backwards where every layer goes backwards."""
    attention, reverse = case["attention"], all(given["reverse"] for given in level)
    narrow, one = attention["narrow"], 2**WEIGHT_BITS
    most = divide(bounds(level[0]["h"])[1] * one, narrow) * case["steps"]
    p, d = [0] * len(h[0]), 0
    weighted: list[Vector] = [[]] * len(h)
    weights: list[Vector] = [[]] * len(h)
    for t in order(len(h), reverse):
        (score,) = product(attention["weights"], attention["bias"], h[t])
        e = exp(requantize(score, attention["requantize"], 0))
        p = [limit(fits(a + divide(fits(e * b), narrow)), -most, most) for a, b in zip(p, h[t], strict=True)]
        d = limit(d + e, 0, one * case["steps"])
        weighted[t], weights[t] = p, [d]
    return {"reverse": reverse, "p": weighted, "d": weights}


def pool_of_newest(series: Json) -> Json:
    """A reversed layer computes h of the window's last step first, and keeps it."""
    steps = len(series["h"])
    return {"reverse": True, "p": [series["h"][-1]] * steps, "known": [[1]] * steps}


def pool(case: Json, level: list[Json], made: list[Json], h: list[Vector]) -> list[Json]:
    """Of each layer of the last level; of attention, of all together; of the newest h, of reversed layers alone."""
    if case["pooling"] == "attention":
        return [pool_of_attention(case, level, h)]
    if case["pooling"] == "newest":
        return [pool_of_newest(series) for series in made if series["reverse"]]
    if case["pooling"] not in ("mean", "max"):
        return []
    counts = [case["variable"] and case["pooling"] == "mean" and k == 0 for k in range(len(level))]
    return [pool_of_layer(case, g, s, counts=n) for g, s, n in zip(level, made, counts, strict=True)]


def pooled(case: Json, level: list[Json], parts: list[Json]) -> Vector:
    """(11)"""
    form, of_h = case["pooled"], level[0]["h"]
    p, more = joined([final(part, "p") for part in parts]), form[1] - of_h[1]
    lowest, highest = bounds(of_h)
    if case["pooling"] == "max":
        return [v + lowest for v in p]
    if case["pooling"] == "attention":
        (d,), narrow = final(parts[0], "d"), case["attention"]["narrow"]
        most, bound = case["steps"] * 2**WEIGHT_BITS, highest // 2**narrow + 1
        wide = [ratio(v, d, most, bound, more + narrow) for v in p]
    elif case["variable"]:
        (n,) = final(parts[0], "n")
        wide = [ratio(v, n, case["steps"], highest, more) for v in p]
    else:
        wide = [requantize(v, case["pool"], k) for k, v in enumerate(p)]
    return [limit(v, *bounds(form)) for v in wide]


# --- what follows ----------------------------------------------------------------------------------


def dense(case: Json, value: Vector) -> Vector:
    """(12) and (13)"""
    for relu in case["relu"]:
        accs = product(relu["weights"], relu["bias"], value)
        highest = bounds(relu["output"])[1]
        value = [limit(requantize(acc, relu["requantize"], k), 0, highest) for k, acc in enumerate(accs)]
    return product(case["dense"]["weights"], case["dense"]["bias"], value)


def probabilities(case: Json, scores: Vector) -> Vector:
    """(15)"""
    largest = max(scores)
    below = [requantize(fits(v - largest), case["softmax"], k) for k, v in enumerate(scores)]
    e = [exp(v) for v in below]
    most, one = len(scores) * 2**WEIGHT_BITS, 2**SHARE_BITS - 1
    return [limit(ratio(v, sum(e), most, 1, SHARE_BITS), 0, one) for v in e]


def outputs(case: Json, scores: Vector) -> Json:
    found: Json = {"scores": scores}
    if case["task"] == "classify":
        found["class_index"] = [scores.index(max(scores))]
    if case["softmax"]:
        found["probabilities"] = probabilities(case, scores)
    return found


def each(case: Json, scores: list[Vector]) -> Json:
    """The outputs at several steps."""
    found = [outputs(case, v) for v in scores]
    return {name: [one[name] for one in found] for name in found[0]}


def decode(case: Json, encoder: list[Json], tables: Tables) -> tuple[list[Json], Vector, Json]:
    """The series of each layer, of what is fed, and the scores of each step."""
    decoder = case["decoder"]
    machines = [Layer(given, tables) for given in decoder["layers"]]
    h = [final(series, "h") for series in encoder]
    c = [final(series, "c") if m.c else [0] * m.units for m, series in zip(machines, encoder, strict=True)]
    made: list[Json] = [{"reverse": False, "h": [], **({"c": []} if m.c else {})} for m in machines]
    fed, scores = [0] * len(case["dense"]["bias"]), []
    given_next: Json = {"reverse": False, "x": []}
    for _ in range(decoder["steps"]):
        value = fed
        for k, m in enumerate(machines):
            h[k], c[k], _gates = CELLS[m.given["cell"]](m, value, h[k], c[k])
            value = h[k]
            made[k]["h"].append(h[k])
            if m.c:
                made[k]["c"].append(c[k])
        scores.append(dense(case, value))
        wide = [requantize(v, decoder["feedback"], k) for k, v in enumerate(scores[-1])]
        fed = [limit(v, *bounds(decoder["fed"])) for v in wide]
        given_next["x"].append(fed)
    return made, given_next, scores


def window(case: Json, samples: list[Vector], tables: Tables) -> Json:
    """All states after each step, and the outputs."""
    seen: list[Json] = []
    value, made, level = samples, list[Json](), list[Json]()
    for level in levels(case["layers"]):
        made = [through(given, value, tables) for given in level]
        seen += made
        value = [joined([series["h"][t] for series in made]) for t in range(len(samples))]
    if case["decoder"]:
        decoded, fed, scores = decode(case, seen, tables)
        return {"layers": seen + decoded, "pool": [], "fed": fed, "outputs": each(case, scores)}
    parts = pool(case, level, made, value)
    found: Json = {"layers": seen, "pool": parts, "fed": None}
    if case["pooling"] == "each":
        return found | {"outputs": each(case, [dense(case, v) for v in value])}
    read = joined([final(series, "h") for series in made])
    if case["pooling"] == "newest":
        read = value[-1]
    elif parts:
        read = pooled(case, level, parts)
    return found | {"pooled": read, "outputs": outputs(case, dense(case, read))}


def run_windows(case: Json, tables: Tables) -> list[Json]:
    """Of each window, what is in its own steps."""
    lengths = case["lengths"] or [len(samples) for samples in case["x"]]
    return [window(case, samples[:n], tables) for samples, n in zip(case["x"], lengths, strict=True)]
