"""Writes vectors.json: random integer LSTMs and what they compute, by Python's integers alone.

Imports nothing of edge-lstm. The arithmetic is that of the design's rules R2 to R6, one unit at a time; weights, tables
and inputs are random or from ``math``, and fixed by a seed. Run it as ``python tests/golden/make_vectors.py [FILE]``.
"""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path
from typing import Any

SEED = 20260914
GATES = "ifo"
BLOCKS = "ifgo"
CELL_FRACTION = 11
SIGMOID_INDEX, TANH_INDEX = 4, 5
POOLED_FRACTION = 15

# name, gates that are hard, hidden units of each layer, inputs, steps, pooling
CASES = (
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

Json = dict[str, Any]


def table(function: Any, index_bits: int, bits: int, fraction: int, lowest: int) -> list[int]:
    highest = 2 ** (bits - 1) - 1
    exact = [function(k / 2**index_bits) * 2**fraction for k in range(-128, 128)]
    return [max(lowest, min(highest, math.floor(v + 0.5))) for v in exact]


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


TABLES = {
    "sigmoid": table(sigmoid, SIGMOID_INDEX, 16, 15, -32768),
    "tanh_cell": table(math.tanh, TANH_INDEX, 16, CELL_FRACTION, -32768),
    "tanh_hidden": table(math.tanh, TANH_INDEX, 8, 7, -127),
    "tanh_gate": table(math.tanh, TANH_INDEX, 16, 15, -32768),
}


def divide(v: int, n: int) -> int:
    """v / 2**n to nearest, ties towards plus infinity."""
    return (v + 2 ** (n - 1)) // 2**n if n else v


def limit(v: int, lo: int, hi: int) -> int:
    return lo if v < lo else hi if v > hi else v


def requantize(acc: int, r: Json, unit: int) -> int:
    narrow = (acc - acc % 2 ** r["pre_shift"]) // 2 ** r["pre_shift"]
    product = narrow * r["multiplier"][unit]
    assert abs(product) < 2**30
    return divide(product, r["post_shift"])


def random_layer(rng: random.Random, hard: str, inputs: int, hidden: int) -> Json:
    blocks = {}
    for name in BLOCKS:
        rows = [[rng.randint(-127, 127) for _ in range(inputs + hidden)] for _ in range(hidden)]
        bias = [rng.randint(-8000, 8000) for _ in range(hidden)]
        # Largest accumulator: 7 columns of 127 * 127, and the bias; 17 bits and a sign, so 2 bits are dropped.
        narrowing = {
            "pre_shift": 2,
            "multiplier": [rng.randint(2**13, 2**15 - 1) for _ in range(hidden)],
            "post_shift": rng.randint(19, 21),
        }
        is_hard = name in hard
        blocks[name] = {"weights": rows, "bias": bias, "requantize": None if is_hard else narrowing}
    return {"hard": [g for g in GATES if g in hard], "blocks": blocks}


def step(layer: Json, x: list[int], h: list[int], c: list[int]) -> tuple[list[int], list[int]]:
    hard = layer["hard"]
    new_h, new_c = [], []
    for unit in range(len(h)):
        value = {}
        for name in BLOCKS:
            block = layer["blocks"][name]
            acc = block["bias"][unit]
            for weight, v in zip(block["weights"][unit], x + h, strict=True):
                acc += weight * v
            if name in hard:
                value[name] = 1 if acc > 0 else 0
            else:
                index = limit(requantize(acc, block["requantize"], unit), -128, 127)
                value[name] = TABLES["tanh_cell" if name == "g" else "sigmoid"][128 + index]
        keep, add = value["f"] * c[unit], value["i"] * value["g"]
        if "f" not in hard and "i" not in hard:
            cell = divide(keep + add, 15)
        else:
            cell = (keep if "f" in hard else divide(keep, 15)) + (add if "i" in hard else divide(add, 15))
        cell = limit(cell, -32768, 32767)
        index = limit(divide(cell, CELL_FRACTION - TANH_INDEX), -128, 127)
        if "o" in hard:
            hidden = value["o"] * TABLES["tanh_hidden"][128 + index]
        else:
            hidden = limit(divide(value["o"] * TABLES["tanh_gate"][128 + index], 23), -127, 127)
        new_h.append(hidden)
        new_c.append(cell)
    return new_h, new_c


def run(case: Json) -> Json:
    h = [[0] * len(layer["blocks"]["i"]["bias"]) for layer in case["layers"]]
    c = [list(v) for v in h]
    total = list(h[-1])
    bound = 127 * case["steps"]
    trace = []
    for sample in case["x"]:
        value = sample
        for k, layer in enumerate(case["layers"]):
            h[k], c[k] = step(layer, value, h[k], c[k])
            value = h[k]
        total = [limit(p + v, -bound, bound) for p, v in zip(total, value, strict=True)]
        trace.append({"h": [list(v) for v in h], "c": [list(v) for v in c]})
    pooled = value
    if case["pooling"] == "mean":
        pooled = [limit(requantize(p, case["pool"], k), -32768, 32767) for k, p in enumerate(total)]
    scores = []
    for row, bias in zip(case["dense"]["weights"], case["dense"]["bias"], strict=True):
        scores.append(bias + sum(w * v for w, v in zip(row, pooled, strict=True)))
    return {"steps": trace, "pooled": pooled, "scores": scores, "class_index": scores.index(max(scores))}


def random_case(
    rng: random.Random, name: str, hard: str, widths: tuple[int, ...], inputs: int, steps: int, pooling: str
) -> Json:
    classes, layers, width = 3, [], inputs
    for hidden in widths:
        layers.append(random_layer(rng, hard, width, hidden))
        width = hidden
    # The mean of `steps` values of h in 2**-15: the sum times 2**8 / steps, with a multiplier of 15 bits.
    post_shift = 14 - math.ceil(math.log2(256 / steps))
    pool = {"pre_shift": 0, "multiplier": [round(256 / steps * 2**post_shift)] * width, "post_shift": post_shift}
    samples = [[rng.choice((-127, 127, 0, rng.randint(-127, 127))) for _ in range(inputs)] for _ in range(steps)]
    dense = {
        "weights": [[rng.randint(-127, 127) for _ in range(width)] for _ in range(classes)],
        "bias": [rng.randint(-30000, 30000) for _ in range(classes)],
    }
    case: Json = {"name": name, "steps": steps, "pooling": pooling, "pool": pool if pooling == "mean" else None}
    case |= {"layers": layers, "dense": dense, "x": samples}
    return {**case, "expected": run(case)}


def main(path: Path) -> None:
    rng = random.Random(SEED)
    content = {
        "provenance": f"tests/golden/make_vectors.py, seed {SEED}: integer LSTMs by Python's integers alone",
        "cell_fraction_bits": CELL_FRACTION,
        "index_bits": {"sigmoid": SIGMOID_INDEX, "tanh": TANH_INDEX},
        "tables": TABLES,
        "cases": [random_case(rng, *case) for case in CASES],
    }
    path.write_text(json.dumps(content, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("vectors.json"))
