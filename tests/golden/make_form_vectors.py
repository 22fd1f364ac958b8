"""Writes form_vectors.json: random integer models of every form, and what they compute, by Python's integers alone.

Imports nothing of edge-lstm: the arithmetic is that of ``golden_forms``; weights and inputs are random and fixed by a
seed, layers are made as those of ``make_vectors``.
Run it as ``python tests/golden/make_form_vectors.py [FILE]``.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from golden_arithmetic import Json, Tables, Vector, bounds
from golden_forms import EXP, WEIGHT_BITS, levels, run_windows
from make_vectors import MIXED, Make, random_layer, random_requantize, random_samples

SEED = 20261123
ATTEMPTS = 30
SUM_BITS = 27
"""Of a window's weighted sum, without the sign."""
WHOLE_EXP = 8 * 2**12
"""The range of exp, in units of its argument."""


class Form(NamedTuple):
    """What a random model is to be.

    Attributes:
        name: Of the case.
        levels: Of each layer of each level, ``<`` where it is reversed, and what it is to be.
        pooling: Its name.
        lengths: Of each window, where they differ; what is beyond them is random.
        steps: Of the signature.
        taken: Steps of the samples; those of the signature where 0.
        initial: Names of states that begin with constants.
        relu: Outputs of each dense layer with relu.
        narrow: Bits that attention drops beside those that it must.
        bias: Of attention, in its largest score: its weights are the least at -8, the largest at 8.
        decoder: Layers of a decoder of ``decoder_steps`` steps.
    """

    name: str
    levels: tuple[tuple[tuple[str, Make], ...], ...]
    pooling: str = "last"
    lengths: tuple[int, ...] | None = None
    steps: int = 8
    taken: int = 0
    inputs: int = 2
    input_bits: int = 8
    initial: str = ""
    relu: tuple[int, ...] = ()
    classes: int = 3
    task: str = "classify"
    probabilities: bool = False
    narrow: int = 0
    bias: float = -0.25
    decoder: tuple[Make, ...] = ()
    decoder_steps: int = 0


def one(direction: str, cell: str, gates: str = "soft", units: int = 3, **options: Any) -> tuple[tuple[str, Make], ...]:
    """A level of like layers, one for each direction."""
    return tuple((sign, Make(cell, gates, units, **options)) for sign in direction)


WIDE: dict[str, Any] = {"h": 16, "between": 8}

FORMS = (
    Form("reversed_lstm", (one("<", "lstm"),)),
    Form("reversed_peephole_int16", (one("<", "peephole", "three-level", **WIDE),), input_bits=16),
    Form("reversed_mean", (one("<", "gru", "hard"),), "mean"),
    Form("bidirectional_last", (one("><", "lstm", "hard"),)),
    Form("bidirectional_first_reversed", (one("<>", "cifg", weights=4),), relu=(4,)),
    Form("bidirectional_mean", (one("><", "gru-after"),), "mean"),
    Form("bidirectional_max", (one("<>", "lstm-1997", MIXED.replace(",f=three-level", ""), c=13),), "max"),
    Form("bidirectional_each", (one("><", "gru", weights=2),), "each", probabilities=True),
    Form("bidirectional_two_levels", (one("><", "lstm", "hard", 2), one("><", "rnn", units=2)), "mean"),
    Form("two_cells_beside", ((*one(">", "peephole", "hard", 2), *one("<", "gru", units=3)),), "max", relu=(3, 4)),
    Form("beside_reversed", (one("<<", "lstm", "hard", 2), one(">>", "rnn", units=2, weights=4)), "attention"),
    Form("there_and_back", (one(">", "lstm-1997", units=2), one("<", "gru-after"), one(">", "rnn", units=2)), "mean"),
    Form("back_and_there", (one("<", "cifg", "hard", 2), one(">", "lstmp"), one("<", "peephole", units=2)), "each"),
    Form("projected_mean", (one("><", "lstmp", "hard", weights=4, rows=2),), "mean", input_bits=16),
    Form("initial_lstm", (one(">", "lstm"), one("<", "rnn")), initial="hc"),
    Form("initial_bidirectional", (one("><", "gru", "hard"),), "max", initial="hc", lengths=(8, 5, 1)),
    Form("initial_projected", (one("<", "lstmp", **WIDE),), initial="h", input_bits=16),
    Form("initial_cell_only", (one("<>", "peephole", "three-level"),), "each", initial="c", task="regress"),
    Form("lengths_last", (one("<", "lstm", weights=4),), lengths=(8, 1, 5)),
    Form("lengths_padded", (one("><", "cifg", "hard"),), lengths=(3, 6, 2), steps=10),
    Form("lengths_mean", (one(">", "gru", **WIDE),), "mean", (7, 3, 1), 12, 8, input_bits=16),
    Form("lengths_mean_five", (one("<", "rnn"),), "mean", (5, 4, 3), steps=5, relu=(3,)),
    Form(
        "lengths_bidirectional_mean", (one("><", "lstm", "hard", 2), one("<>", "cifg", units=2)), "mean", (6, 9, 2), 9
    ),
    Form("lengths_max", (one("<", "rnn-relu"),), "max", (4, 8, 2)),
    Form("lengths_max_int16", (one("><", "gru-after", "hard", **WIDE),), "max", (8, 2, 5), task="regress"),
    Form("lengths_each", (one(">", "lstm", "hard"), one("<", "gru")), "each", (8, 4, 1), probabilities=True),
    Form("lengths_attention", (one("><", "gru-after", units=2),), "attention", (8, 1, 4)),
    Form("lengths_one_step", (one("><", "rnn", weights=2),), "mean", (1, 1), steps=1),
    Form("attention", (one(">", "lstm"),), "attention", probabilities=True),
    Form("attention_reversed", (one("<", "gru", "hard"),), "attention", narrow=3),
    Form("attention_int16", (one("><", "peephole", units=2, **WIDE),), "attention", input_bits=16, relu=(4,)),
    Form("attention_narrow", (one("<>", "lstmp", "hard", **WIDE),), "attention", (6, 3, 1), 6, narrow=2),
    Form("attention_faint", (one("<", "gru-after"),), "attention", (4, 1, 3), 20, 4, bias=-8),
    Form("attention_high", (one(">", "rnn-relu", **WIDE),), "attention", (1, 1, 2), input_bits=16, bias=-8),
    Form("newest", (one("><", "peephole", "hard"),), "newest"),
    Form("newest_lengths", (one("<", "lstm", units=2), one("<>", "gru", weights=4)), "newest", (8, 1, 5), relu=(3,)),
    Form("newest_of_reversed", (one("<<", "lstmp", rows=2),), "newest", (4, 7), initial="hc"),
    Form("newest_forward", (one(">", "cifg"),), "newest", (5, 2)),
    Form("softmax", (one(">", "cifg", "hard", weights=4),), "mean", classes=5, probabilities=True, relu=(3,)),
    Form("softmax_two", (one("<", "rnn-relu"),), "max", classes=2, probabilities=True),
    Form("softmax_nine", (one("><", "lstm", units=2),), classes=9, probabilities=True, lengths=(5, 7, 3)),
    Form("stream_mean", (one(">", "rnn", units=4),), "mean", steps=3, taken=10),
    Form("stream_attention", (one(">", "lstm", "hard", c=13),), "attention", steps=2, taken=40, bias=8),
    Form("stream_attention_narrow", (one(">", "gru", "hard", **WIDE),), "attention", steps=1, taken=20, narrow=1),
    Form("decoder", (one(">", "lstm"),), decoder=(Make("lstm", units=3),), decoder_steps=6, task="regress"),
    Form("decoder_reversed", (one("<", "gru", "hard"),), decoder=(Make("gru", units=3),), decoder_steps=4, relu=(4,)),
    Form(
        "decoder_stack",
        (one(">", "lstm-1997", "hard", 2), one("<", "rnn"), one(">", "gru-after", weights=4)),
        lengths=(8, 3, 1),
        initial="hc",
        decoder=(Make("peephole", units=2, c=14), Make("rnn", units=3), Make("gru", "hard", 3)),
        decoder_steps=9,
        probabilities=True,
    ),
    Form(
        "decoder_int16",
        (one(">", "lstmp", weights=8, **WIDE),),
        input_bits=16,
        decoder=(Make("lstmp", "hard", 3, **WIDE),),
        decoder_steps=5,
        classes=2,
    ),
    Form("decoder_one_step", (one(">", "cifg"),), decoder=(Make("cifg", units=3),), decoder_steps=1, lengths=(2, 8)),
)


# --- random models ---------------------------------------------------------------------------------


def random_dense(rng: random.Random, rows: int, width: int, largest: int) -> tuple[Json, int]:
    """Rows of weights and a bias, and the largest accumulator that inputs up to ``largest`` give."""
    weights = [[rng.randint(-127, 127) for _ in range(width)] for _ in range(rows)]
    bias = [rng.randint(-30 * largest, 30 * largest) for _ in range(rows)]
    reach = max(abs(b) + largest * sum(map(abs, row)) for row, b in zip(weights, bias, strict=True))
    return {"weights": weights, "bias": bias}, reach


def random_attention(rng: random.Random, form: Form, width: int, largest: int) -> Json:
    """Its scores are on both sides of both limits of exp at times."""
    weights = [[rng.randint(-127, 127) for _ in range(width)]]
    reach = largest * sum(map(abs, weights[0]))
    bias = [int(form.bias * reach)]
    narrow = form.narrow + max(0, (largest * 2**WEIGHT_BITS * form.steps).bit_length() - SUM_BITS)
    factor = random_requantize(rng, 1, reach + abs(bias[0]), 2 * WHOLE_EXP / reach)
    return {"weights": weights, "bias": bias, "requantize": factor, "narrow": narrow}


def random_initial(rng: random.Random, form: Form, layer: Json, outputs: int) -> dict[str, Vector]:
    """Some values at the ends of their formats."""
    lengths = {"h": outputs, "c": len(next(iter(layer["blocks"].values()))["bias"])}
    found = {}
    for state in form.initial:
        if layer[state]:
            lowest, highest = bounds(layer[state])
            choices = (lowest, highest, rng.randint(lowest, highest), rng.randint(lowest, highest))
            found[state] = [rng.choice(choices) for _ in range(lengths[state])]
    return found


def random_layers(rng: random.Random, form: Form, highest: int, tables: Tables) -> tuple[list[Json], int]:
    """All levels, and the length of the last one's h."""
    layers: list[Json] = []
    width, largest = form.inputs, highest
    for level in form.levels:
        made = [(sign, *random_layer(rng, make, width, largest, None, tables)) for sign, make in level]
        for k, (sign, layer, outputs) in enumerate(made):
            initial = random_initial(rng, form, layer, outputs)
            layers.append({**layer, "reverse": sign == "<", "beside": k > 0, "initial": initial})
        width, largest = sum(outputs for *_, outputs in made), bounds(layers[-1]["h"])[1]
    return layers, width


def random_decoder(rng: random.Random, form: Form, reach: int, tables: Tables) -> Json:
    """Layers, and the feedback of scores that are at most ``reach``."""
    fed = [form.input_bits, form.input_bits - 2, True]
    width, largest = form.classes, bounds(fed)[1]
    layers = []
    for make in form.decoder:
        layer, width = random_layer(rng, make, width, largest, None, tables)
        layers.append({**layer, "reverse": False, "beside": False, "initial": {}})
        largest = bounds(layer["h"])[1]
    feedback = random_requantize(rng, form.classes, reach, 4 * bounds(fed)[1] / reach)
    return {"layers": layers, "steps": form.decoder_steps, "feedback": feedback, "fed": fed}


def random_form(rng: random.Random, form: Form, tables: Tables) -> Json:
    highest = 2 ** (form.input_bits - 1) - 1
    layers, width = random_layers(rng, form, highest, tables)
    h, variable = layers[-1]["h"], form.lengths is not None
    read, largest, pool = h, bounds(h)[1], None
    attention = random_attention(rng, form, width, largest) if form.pooling == "attention" else None
    if form.pooling in ("mean", "attention"):
        read = [16, h[1] + 16 - h[0], False]
        if form.pooling == "mean" and not variable:
            pool = random_requantize(rng, 1, largest * form.steps, 2 ** (16 - h[0]) / form.steps)
            pool["multiplier"] *= width
        largest = 2**15
    relu = []
    for rows in form.relu:
        layer, reach = random_dense(rng, rows, width, largest)
        output = [8, 5, True]
        factor = random_requantize(rng, rows, reach, 3 * bounds(output)[1] / reach)
        relu.append({**layer, "requantize": factor, "output": output})
        width, largest = rows, bounds(output)[1]
    dense, reach = random_dense(rng, form.classes, width, largest)
    softmax = random_requantize(rng, form.classes, 2 * reach, 2 * WHOLE_EXP / reach) if form.probabilities else None
    windows = len(form.lengths) if form.lengths else 2
    taken = form.taken or form.steps
    case: Json = {"name": form.name, "input_bits": form.input_bits, "steps": form.steps, "variable": variable}
    case |= {"lengths": form.lengths, "task": form.task, "layers": layers, "pooling": form.pooling, "pool": pool}
    case |= {"pooled": read, "attention": attention, "relu": relu, "dense": dense, "softmax": softmax}
    case["decoder"] = random_decoder(rng, form, reach, tables) if form.decoder else None
    case["x"] = [random_samples(rng, form.inputs, taken, highest) for _ in range(windows)]
    return {**case, "expected": run_windows(case, tables)}


def liveliness(case: Json) -> tuple[int, int, int]:
    """How many states have both signs; how many values the outputs have; how many ends of formats are reached."""
    moved, reached = 0, 0
    every = case["layers"] + (case["decoder"]["layers"] if case["decoder"] else [])
    for k, layer in enumerate(every):
        for state in ("h", "c"):
            if layer[state]:
                seen = [v for found in case["expected"] for step in found["layers"][k][state] for v in step]
                moved += (min(seen) < 0) + (max(seen) > 0)
                reached += sum(v in seen for v in bounds(layer[state]))
    varied = {str(found["outputs"][name]) for found in case["expected"] for name in found["outputs"]}
    if case["softmax"] and case["pooling"] != "each" and not case["decoder"]:
        varied |= {v // 2**12 for found in case["expected"] for v in found["outputs"]["probabilities"]}
    varied |= {f"end{v}" for found in case["expected"] for v in found.get("pooled", ()) if v in bounds(case["pooled"])}
    varied |= {f"d{v}" for found in case["expected"] for part in found["pool"] for v in part.get("d", ())}
    return moved, len(varied), reached


def main(path: Path) -> None:
    cases = []
    tables = Tables()
    for form in FORMS:
        attempts = [random_form(random.Random(f"{SEED} {form.name} {k}"), form, tables) for k in range(ATTEMPTS)]
        cases.append(max(attempts, key=liveliness))
        assert len(levels(cases[-1]["layers"])) == len(form.levels)
    content = {
        "provenance": f"tests/golden/make_form_vectors.py, seed {SEED}: integer models by Python's integers alone",
        "exp": EXP,
        "tables": dict(sorted(tables.all.items())),
        "cases": cases,
    }
    path.write_text(json.dumps(content, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("form_vectors.json"))
