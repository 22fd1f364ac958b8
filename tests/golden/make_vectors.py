"""Writes vectors.json: random integer models of every cell and what they compute, by Python's integers alone.

Imports nothing of edge-lstm: the arithmetic is that of ``golden_arithmetic``; weights, tables and inputs are random
or from ``math``, and fixed by a seed.
Run it as ``python tests/golden/make_vectors.py [FILE]``.
"""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from golden_arithmetic import GATE_FRACTION, LINEAR, Json, Tables, Vector, bounds, limit, product, run

SEED = 20260914
BLOCKS = {
    "lstm": "ifgo",
    "lstm-1997": "igo",
    "peephole": "ifgo",
    "cifg": "fgo",
    "lstmp": "ifgo",
    "gru": "zrn",
    "gru-after": "zrn",
    "fastgrnn": "nz",
    "rnn": "t",
    "rnn-relu": "t",
}
GATES = "ifozr"
GATE_FORMAT = [16, 15, False]
WEIGHT_MAX = {8: 127, 4: 7, 2: 1}
OLD_CELL_FRACTION = 11
ATTEMPTS = 40

# The first LSTMs: name, gates that are hard, hidden units of each layer, inputs, steps, pooling.
OLD_CASES = (
    ("hard_last", "ifo", (5,), 3, 10, "last"),
    ("hard_mean", "ifo", (4,), 2, 12, "mean"),
    ("soft_last", "", (4,), 3, 10, "last"),
    ("soft_mean", "", (3,), 1, 12, "mean"),
    ("mixed_last", "io", (4,), 2, 10, "last"),
    ("mixed_mean", "f", (4,), 2, 10, "mean"),
    ("two_hard_mean", "ifo", (4, 3), 2, 8, "mean"),
    ("two_soft_last", "", (3, 4), 2, 8, "last"),
    ("two_mixed_mean", "fo", (3, 3), 3, 8, "mean"),
    ("one_unit", "i", (1,), 1, 16, "last"),
)


class Make(NamedTuple):
    """What a random layer is to be: bits of weights and of h, fraction bits of c, rows of a projection.

    ``exact``: the least that R h + rb can be is what 16 bits just hold. ``gain``: the inputs are multiplied by so much
    at most; by nothing where it is 0.
    """

    cell: str
    gates: str = "soft"
    units: int = 4
    weights: int = 8
    h: int = 8
    between: int = 0
    functions: str = "table"
    c: int = 14
    rows: int = 3
    exact: bool = False
    gain: int = 0


MIXED = "i=hard-sigmoid,f=three-level,o=soft"
CHOSEN = "i=soft,f=hard,o=three-level"

# Name, layers, inputs, bits of the inputs, steps, pooling.
CASES = (
    ("lstm_three_level", (Make("lstm", "three-level"),), 2, 8, 12, "last"),
    ("lstm_hard_sigmoid", (Make("lstm", "hard-sigmoid", c=12),), 3, 8, 10, "mean"),
    ("lstm_interpolated", (Make("lstm", between=8),), 2, 8, 10, "last"),
    ("lstm_interpolated_hard", (Make("lstm", "hard", between=8, c=11),), 2, 8, 12, "last"),
    ("lstm_int16", (Make("lstm", h=16, between=8),), 3, 16, 10, "last"),
    ("lstm_int16_nearest", (Make("lstm", h=16, c=12),), 2, 16, 10, "mean"),
    ("lstm_int16_hard", (Make("lstm", "hard", h=16, c=13),), 3, 16, 10, "mean"),
    ("lstm_int4", (Make("lstm", weights=4),), 2, 8, 10, "last"),
    ("lstm_int4_mixed", (Make("lstm", MIXED, 5, weights=4, h=16, c=13),), 2, 16, 10, "mean"),
    ("lstm_ternary", (Make("lstm", weights=2, c=13),), 3, 8, 10, "last"),
    ("lstm_ternary_hard", (Make("lstm", "hard", 5, weights=2, c=15),), 3, 8, 10, "mean"),
    ("lstm_linear", (Make("lstm", "hard-sigmoid", functions="linear"),), 2, 8, 10, "last"),
    ("lstm_linear_chosen", (Make("lstm", CHOSEN, functions="linear", c=12),), 2, 8, 10, "mean"),
    ("lstm_chosen", (Make("lstm", CHOSEN, between=8, c=15),), 2, 8, 10, "last"),
    ("lstm_coarse_cell", (Make("lstm", "hard", c=5),), 2, 8, 12, "last"),
    ("lstm_1997_soft", (Make("lstm-1997", c=12),), 2, 8, 10, "last"),
    ("lstm_1997_hard", (Make("lstm-1997", "hard", c=13),), 3, 8, 10, "mean"),
    ("lstm_1997_interpolated", (Make("lstm-1997", "three-level", h=16, between=8, c=12),), 2, 16, 10, "last"),
    ("lstm_1997_linear", (Make("lstm-1997", "i=hard,o=soft", weights=4, functions="linear", c=13),), 2, 8, 10, "mean"),
    ("lstm_1997_ternary", (Make("lstm-1997", "hard-sigmoid", weights=2),), 3, 8, 10, "last"),
    ("peephole_soft", (Make("peephole"),), 2, 8, 10, "last"),
    ("peephole_hard", (Make("peephole", "hard", c=13),), 3, 8, 10, "mean"),
    ("peephole_int16", (Make("peephole", "three-level", h=16, between=8),), 2, 16, 10, "last"),
    ("peephole_int4", (Make("peephole", "hard-sigmoid", weights=4, functions="linear", c=12),), 2, 8, 10, "mean"),
    ("peephole_ternary", (Make("peephole", MIXED, weights=2),), 2, 8, 10, "last"),
    ("cifg_soft", (Make("cifg", c=15),), 2, 8, 10, "last"),
    ("cifg_hard", (Make("cifg", "hard", c=13),), 3, 8, 10, "mean"),
    ("cifg_linear", (Make("cifg", "hard", functions="linear", c=15),), 2, 8, 10, "last"),
    ("cifg_int16", (Make("cifg", "hard-sigmoid", h=16, functions="linear", c=15),), 2, 16, 10, "last"),
    ("cifg_int4", (Make("cifg", "f=three-level,o=hard", weights=4, between=8),), 2, 8, 10, "mean"),
    ("cifg_ternary", (Make("cifg", "f=soft,o=three-level", weights=2, c=12),), 3, 8, 10, "last"),
    ("lstmp_soft", (Make("lstmp"),), 2, 8, 10, "last"),
    ("lstmp_hard", (Make("lstmp", "hard", 5, c=13),), 2, 8, 10, "mean"),
    ("lstmp_linear", (Make("lstmp", "hard", functions="linear", c=13),), 2, 8, 10, "last"),
    ("lstmp_int16", (Make("lstmp", h=16, between=8, c=13, rows=2),), 2, 16, 10, "mean"),
    ("lstmp_int4", (Make("lstmp", "three-level", weights=4),), 2, 8, 10, "last"),
    ("lstmp_ternary", (Make("lstmp", "hard-sigmoid", 3, weights=2, functions="linear", rows=4),), 2, 8, 10, "last"),
    ("gru_soft", (Make("gru"),), 2, 8, 10, "last"),
    ("gru_hard", (Make("gru", "hard"),), 3, 8, 10, "mean"),
    ("gru_three_level", (Make("gru", "three-level"),), 2, 8, 10, "last"),
    ("gru_hard_sigmoid", (Make("gru", "hard-sigmoid", functions="linear"),), 2, 8, 10, "mean"),
    ("gru_interpolated", (Make("gru", between=8),), 2, 8, 10, "last"),
    ("gru_int16", (Make("gru", h=16, between=8),), 2, 16, 10, "mean"),
    ("gru_int16_hard", (Make("gru", "z=soft,r=hard", h=16, functions="linear"),), 2, 16, 10, "last"),
    ("gru_int4", (Make("gru", "z=hard,r=soft", weights=4),), 2, 8, 10, "last"),
    ("gru_ternary", (Make("gru", "z=hard-sigmoid,r=three-level", 5, weights=2),), 2, 8, 10, "mean"),
    ("gru_after_soft", (Make("gru-after", units=5),), 2, 8, 10, "last"),
    ("gru_after_exact", (Make("gru-after", units=2, exact=True),), 2, 8, 10, "last"),
    ("gru_after_hard", (Make("gru-after", "hard"),), 3, 8, 10, "mean"),
    ("gru_after_three_level", (Make("gru-after", "three-level"),), 2, 8, 10, "last"),
    ("gru_after_hard_sigmoid", (Make("gru-after", "hard-sigmoid", functions="linear"),), 2, 8, 10, "mean"),
    ("gru_after_linear", (Make("gru-after", "z=hard,r=hard-sigmoid", functions="linear"),), 2, 8, 10, "last"),
    ("gru_after_int16", (Make("gru-after", h=16, between=8),), 2, 16, 10, "last"),
    ("gru_after_int16_chosen", (Make("gru-after", "z=hard,r=three-level", h=16),), 2, 16, 10, "mean"),
    ("gru_after_int4", (Make("gru-after", "z=three-level,r=soft", weights=4),), 2, 8, 10, "last"),
    ("gru_after_ternary", (Make("gru-after", "z=soft,r=hard", weights=2),), 2, 8, 10, "mean"),
    ("rnn_table", (Make("rnn"),), 2, 8, 10, "last"),
    ("rnn_linear", (Make("rnn", functions="linear"),), 3, 8, 10, "mean"),
    ("rnn_int16", (Make("rnn", h=16, between=8),), 2, 16, 10, "last"),
    ("rnn_int4", (Make("rnn", weights=4),), 2, 8, 10, "mean"),
    ("rnn_ternary", (Make("rnn", weights=2, between=8),), 2, 8, 10, "last"),
    ("rnn_relu_int8", (Make("rnn-relu"),), 2, 8, 10, "last"),
    ("rnn_relu_int16", (Make("rnn-relu", h=16),), 2, 16, 10, "mean"),
    ("rnn_relu_int4", (Make("rnn-relu", weights=4),), 2, 8, 10, "mean"),
    ("rnn_relu_ternary", (Make("rnn-relu", weights=2),), 2, 8, 10, "last"),
    ("two_gru_hard_mean", (Make("gru", "hard"), Make("gru", "z=soft,r=hard", 3)), 2, 8, 8, "mean"),
    ("two_gru_after_last", (Make("gru-after", units=3), Make("gru-after", "hard", 3, h=16)), 2, 8, 8, "last"),
    ("two_peephole_last", (Make("peephole", "hard"), Make("peephole", weights=4)), 2, 8, 8, "last"),
    ("two_lstmp_rnn_mean", (Make("lstmp", CHOSEN, 3, rows=2), Make("rnn", units=3)), 2, 8, 8, "mean"),
    (
        "three_kinds_last",
        (Make("cifg", "hard", 3, h=16), Make("rnn-relu", units=4, weights=4), Make("lstm-1997", units=3, c=13)),
        2,
        16,
        8,
        "last",
    ),
    ("lstm_gain", (Make("lstm", gain=9),), 3, 8, 10, "last"),
    ("gru_after_gain", (Make("gru-after", units=3, gain=5),), 2, 8, 10, "mean"),
    ("two_lstmp_gain", (Make("lstmp", "hard", 3, rows=2), Make("peephole", weights=4, gain=250)), 2, 8, 8, "last"),
    ("fastgrnn_soft", (Make("fastgrnn", between=8),), 2, 8, 10, "last"),
    ("fastgrnn_hard", (Make("fastgrnn", "hard"),), 3, 8, 10, "mean"),
    ("fastgrnn_linear", (Make("fastgrnn", "hard", functions="linear"),), 2, 8, 12, "last"),
    ("fastgrnn_int16", (Make("fastgrnn", "hard-sigmoid", h=16, functions="linear"),), 2, 16, 10, "last"),
    ("fastgrnn_int4", (Make("fastgrnn", "three-level", weights=4),), 2, 8, 10, "mean"),
    ("fastgrnn_ternary", (Make("fastgrnn", "hard", 5, weights=2),), 2, 8, 10, "last"),
)


# --- random models ---------------------------------------------------------------------------------


def modes_of(cell: str, text: str) -> dict[str, str]:
    names = [k for k in BLOCKS[cell] if k in GATES]
    if "=" not in text:
        return dict.fromkeys(names, text)
    given = dict(part.split("=") for part in text.split(","))
    return {k: given[k] for k in names}


def random_requantize(rng: random.Random, rows: int, largest: int, factor: float) -> Json:
    """Of accumulators up to ``largest``, to about ``factor`` times as much; each row differs."""
    pre_shift = max(0, largest.bit_length() - 15)
    wanted = factor * 2**pre_shift
    post_shift = max(0, min(30, math.floor(15 - math.log2(wanted))))
    top = min(2**15 - 1, int(wanted * 2**post_shift))
    multiplier = [rng.randint(top - top // 3, top) for _ in range(rows)]
    return {"pre_shift": pre_shift, "multiplier": multiplier, "post_shift": post_shift}


def function(make: Make, name: str, form: list[Any], tables: Tables) -> Json:
    """A table or a line."""
    if name == "relu":
        line: Json = {"slope_bits": 0, "output": form, "offset": 0, "lo": 0, "hi": bounds(form)[1]}
        return {"kind": "linear", "function": name, **line}
    if make.functions == "table":
        return {"kind": "table", "table": tables.name(name, form), "between_bits": make.between}
    slope, *real = LINEAR[name]
    offset, lo, hi = (limit(int(v * 2 ** form[1]), *bounds(form)) for v in real)
    line = {"slope_bits": slope, "output": form, "offset": offset, "lo": lo, "hi": hi}
    return {"kind": "linear", "function": name, **line}


def reach(activation: Json) -> int:
    """How large an argument usually gets: mostly within, at times outside of what changes the result."""
    if activation["kind"] == "table":
        return int(60 * 2 ** activation["between_bits"])
    return int(0.8 * max(activation["hi"] - activation["offset"], 1))


def random_layer(
    rng: random.Random, make: Make, inputs: int, input_max: int, first: Vector | None, tables: Tables
) -> tuple[Json, int]:
    """A layer and the length of its h. With ``first`` as its input, a gate starts exactly on each step somewhere."""
    cell, units = make.cell, make.units
    outputs = make.rows if cell == "lstmp" else units
    unit_h = [make.h, make.h - 1, True]
    h = {"lstmp": [make.h, make.h - 2, True], "rnn-relu": [make.h, make.h - 3, True]}.get(cell, unit_h)
    c = None if cell.startswith("rnn") else [16, 15 if cell in ("gru", "gru-after", "fastgrnn") else make.c, False]
    modes = modes_of(cell, make.gates)
    most, h_max = WEIGHT_MAX[make.weights], bounds(h)[1]
    gain = [rng.randint(1, make.gain) for _ in range(inputs)] if make.gain else []
    if gain:
        input_max *= make.gain
        first = first and [g * v for g, v in zip(gain, first, strict=True)]
    typical = math.sqrt(most * (most + 1) / 3)
    spread = int(typical * math.sqrt(inputs * 0.6 * input_max**2 + outputs * 0.2 * h_max**2))
    g, t = ("squash2", "squash1") if cell == "lstm-1997" else ("tanh", "tanh")
    operand = unit_h if modes.get("o", "hard") == "hard" else GATE_FORMAT
    blocks = {}
    for name in BLOCKS[cell]:
        shared = cell == "fastgrnn" and name == "z"
        if not shared:
            rows = [[rng.randint(-most, most) for _ in range(inputs + outputs)] for _ in range(units)]
        least = -2 * spread if shared else -spread // 2  # of a gate that is closed where its candidate is large, too
        bias = [rng.randint(least, spread // 2) for _ in range(units)]
        block: Json = {"weights": [[] for _ in rows] if shared else rows, "bias": bias, "weight_bits": make.weights}
        largest = max(
            abs(b) + sum(abs(w) for w in row[:inputs]) * input_max + sum(abs(w) for w in row[inputs:]) * h_max
            for row, b in zip(rows, bias, strict=True)
        )
        if cell == "peephole" and name in GATES:
            factors = [rng.randint(-(2**15) + 1, 2**15 - 1) for _ in range(units)]
            block["peephole"] = {"multiplier": factors, "shift": max(0, 29 - spread.bit_length())}
            largest += 2**30 // 2 ** block["peephole"]["shift"] + 1
        if cell == "gru-after" and name == "n":
            block["recurrent_bias"] = [rng.randint(-spread // 2, spread // 2) for _ in range(units)]
            if make.exact:
                block["recurrent_bias"] = [sum(abs(w) for w in row[inputs:]) * h_max - 2**15 for row in rows]
            block["narrow"] = narrowing([row[inputs:] for row in rows], block["recurrent_bias"], h_max)
            largest += max(abs(b) for b in block["recurrent_bias"])
        mode = modes.get(name)
        if mode in ("hard", "three-level"):
            low, high = ([rng.randint(spread // 4, spread // 2) for _ in range(units)] for _ in range(2))
            steps = [[0] * units] if mode == "hard" else [[-v for v in low], high]
            if first:
                zero, one = product([row[:inputs] for row in rows[:2]], bias[:2], first)
                if mode == "hard":
                    bias[0] -= zero
                else:
                    steps[0][0], steps[1][0] = zero, max(high[0], zero + 1)
                    steps[0][1], steps[1][1] = min(-low[1], one - 1), one
            block |= {"activation": {"kind": "steps", "at": steps}, "requantize": None}
        else:
            if mode == "soft":
                activation = function(make._replace(functions="table"), "sigmoid", GATE_FORMAT, tables)
            elif mode == "hard-sigmoid":
                activation = function(make._replace(functions="linear"), "sigmoid", GATE_FORMAT, tables)
            elif c is None:
                activation = function(make, "relu" if cell == "rnn-relu" else "tanh", h, tables)
            else:
                activation = function(make, g, c, tables)
            narrowed = random_requantize(rng, units, largest, reach(activation) / spread)
            block |= {"activation": activation, "requantize": narrowed}
        blocks[name] = block
    squash = {"t": function(make, t, operand, tables)} if "o" in modes else {}
    projection = None
    if cell == "lstmp":
        rows = [[rng.randint(-most, most) for _ in range(units)] for _ in range(outputs)]
        largest = max(sum(abs(w) for w in row) for row in rows) * bounds(unit_h)[1]
        factor = h_max / (typical * math.sqrt(units) * 0.5 * bounds(unit_h)[1])
        projection = {"weights": rows, "requantize": random_requantize(rng, outputs, largest, factor)}
        projection |= {"operand": unit_h, "weight_bits": make.weights}
    layer = {"cell": cell, "modes": modes, "h": h, "c": c, "squash": squash, "projection": projection}
    if gain:
        layer["gain"] = gain
    return {**layer, "blocks": blocks}, outputs


def narrowing(weights: list[Vector], bias: Vector, h_max: int) -> int:
    """Fewest bits to drop so that 16 are left."""
    room, narrow = 15, 0
    far = [sum(abs(w) for w in row) * h_max for row in weights]
    lowest = min(b - v for b, v in zip(bias, far, strict=True))
    highest = max(b + v for b, v in zip(bias, far, strict=True))
    while lowest // 2**narrow < -(2**room) or highest // 2**narrow >= 2**room:
        narrow += 1
    return narrow


def random_case(
    name: str, makes: tuple[Make, ...], inputs: int, input_bits: int, steps: int, pooling: str, tables: Tables
) -> Json:
    """The liveliest of some."""
    attempts = []
    for attempt in range(ATTEMPTS):
        rng = random.Random(f"{SEED} {name} {attempt}")
        attempts.append(any_case(rng, name, makes, inputs, input_bits, steps, pooling, tables))
    return max(attempts, key=liveliness)


def liveliness(case: Json) -> tuple[int, int]:
    """How many gates open and close and values have both signs; how many ends of their formats states reach."""
    given = [v for sample in case["x"] for v in sample]
    moved, reached = (min(given) < 0) + (max(given) > 0), 0
    for k, layer in enumerate(case["layers"]):
        for key in case["expected"]["steps"][0][k]:
            values = [v for step in case["expected"]["steps"] for v in step[k][key]]
            if key in layer["modes"]:
                whole = 2 ** GATE_FRACTION[layer["modes"][key]]
                moved += (min(values) < 0.2 * whole) + (max(values) > 0.8 * whole)
            else:
                moved += (min(values) < 0) + (max(values) > 0)
                reached += sum(v in values for v in bounds(layer[key]))
    return moved, reached


def any_case(
    rng: random.Random,
    name: str,
    makes: tuple[Make, ...],
    inputs: int,
    input_bits: int,
    steps: int,
    pooling: str,
    tables: Tables,
) -> Json:
    highest = 2 ** (input_bits - 1) - 1
    samples = random_samples(rng, inputs, steps, highest)
    layers, width, largest = [], inputs, highest
    for k, make in enumerate(makes):
        layer, width = random_layer(rng, make, width, largest, None if k else samples[0], tables)
        layers.append(layer)
        largest = bounds(layer["h"])[1]
    h = layers[-1]["h"]
    pool, pooled = None, h
    if pooling == "mean":
        pooled = [16, h[1] + 16 - h[0], False]
        pool = random_requantize(rng, 1, largest * steps, 2 ** (16 - h[0]) / steps)
        pool["multiplier"] *= width
    weights = [[rng.randint(-127, 127) for _ in range(width)] for _ in range(3)]
    dense = {"weights": weights, "bias": [rng.randint(-(2**12), 2**12) for _ in range(3)]}
    case: Json = {"name": name, "input_bits": input_bits, "steps": steps, "pooling": pooling}
    case |= {"pool": pool, "pooled": pooled, "layers": layers, "dense": dense, "x": samples}
    return {**case, "expected": run(case, tables)}


def random_samples(rng: random.Random, inputs: int, steps: int, highest: int) -> list[Vector]:
    """Extremes, zeros and values between; some are held for a while, so that states grow."""
    samples: list[Vector] = []
    for _ in range(steps):
        if samples and rng.random() < 0.4:
            samples.append(samples[-1])
        else:
            choices = (-highest, highest, 0, rng.randint(-highest, highest))
            samples.append([rng.choice(choices) for _ in range(inputs)])
    return samples


def old_layer(rng: random.Random, hard: str, inputs: int, hidden: int, tables: Tables) -> Json:
    """Draws what the first version of this file drew, so that its cases stay."""
    h, c = [8, 7, True], [16, OLD_CELL_FRACTION, False]
    blocks = {}
    for name in "ifgo":
        rows = [[rng.randint(-127, 127) for _ in range(inputs + hidden)] for _ in range(hidden)]
        bias = [rng.randint(-8000, 8000) for _ in range(hidden)]
        # Largest accumulator: 7 columns of 127 * 127, and the bias; 17 bits and a sign, so 2 bits are dropped.
        multiplier = [rng.randint(2**13, 2**15 - 1) for _ in range(hidden)]
        narrowed = {"pre_shift": 2, "multiplier": multiplier, "post_shift": rng.randint(19, 21)}
        block: Json = {"weights": rows, "bias": bias, "weight_bits": 8}
        if name in hard:
            block |= {"activation": {"kind": "steps", "at": [[0] * hidden]}, "requantize": None}
        else:
            table = tables.name("tanh", c) if name == "g" else tables.name("sigmoid", GATE_FORMAT)
            block |= {"activation": {"kind": "table", "table": table, "between_bits": 0}, "requantize": narrowed}
        blocks[name] = block
    squash = {"kind": "table", "table": tables.name("tanh", h if "o" in hard else GATE_FORMAT), "between_bits": 0}
    modes = {k: "hard" if k in hard else "soft" for k in "ifo"}
    layer = {"cell": "lstm", "modes": modes, "h": h, "c": c, "squash": {"t": squash}, "projection": None}
    return {**layer, "blocks": blocks}


def old_case(
    rng: random.Random,
    name: str,
    hard: str,
    widths: tuple[int, ...],
    inputs: int,
    steps: int,
    pooling: str,
    tables: Tables,
) -> Json:
    classes, layers, width = 3, [], inputs
    for hidden in widths:
        layers.append(old_layer(rng, hard, width, hidden, tables))
        width = hidden
    # The mean of `steps` values of h in 2**-15: the sum times 2**8 / steps, with a multiplier of 15 bits.
    post_shift = 14 - math.ceil(math.log2(256 / steps))
    pool = {"pre_shift": 0, "multiplier": [round(256 / steps * 2**post_shift)] * width, "post_shift": post_shift}
    samples = [[rng.choice((-127, 127, 0, rng.randint(-127, 127))) for _ in range(inputs)] for _ in range(steps)]
    dense = {
        "weights": [[rng.randint(-127, 127) for _ in range(width)] for _ in range(classes)],
        "bias": [rng.randint(-30000, 30000) for _ in range(classes)],
    }
    mean = pooling == "mean"
    case: Json = {"name": name, "input_bits": 8, "steps": steps, "pooling": pooling, "pool": pool if mean else None}
    case |= {"pooled": GATE_FORMAT if mean else [8, 7, True], "layers": layers, "dense": dense, "x": samples}
    return {**case, "expected": run(case, tables)}


def main(path: Path) -> None:
    tables, rng = Tables(), random.Random(SEED)
    cases = [old_case(rng, *case, tables) for case in OLD_CASES]
    cases += [random_case(*case, tables) for case in CASES]
    content = {
        "provenance": f"tests/golden/make_vectors.py, seed {SEED}: integer models by Python's integers alone",
        "tables": dict(sorted(tables.all.items())),
        "cases": cases,
    }
    path.write_text(json.dumps(content, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("vectors.json"))
