"""What quantization after training costs on HAPT (UCI HAR's task and split), and how near the hidden state stays.

EDGE_LSTM_DATA=<folder with hapt_windows.npz> python benchmarks/ptq.py [--models FOLDER] [--write]

An LSTM of 32 units with soft gates is trained in float for each seed, on the training volunteers but some, which are
held out ("validation"; the seed chooses them). Drops are float accuracy less that of the integers, in points.
`--models` keeps the float models; `--write` puts the tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from incumbent import Incumbent

from edge_lstm.data import Dataset, load, split, train_test
from edge_lstm.float_run import run_layer, standardize
from edge_lstm.harden import with_gates
from edge_lstm.model import FloatModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute
from edge_lstm.storage import load_float, save
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import accuracy, predictions, train

RECIPE = TrainOptions(gates="soft", quantized_from=1.0, hidden=32, epochs=20, batch=128, averaging=0.99)
PLAIN: Mapping[str, Any] = {"rounding": "nearest", "bias_correction": False}
WIDE: Mapping[str, Any] = {"activation_bits": 16, "activations": "lut-interp"}
CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "int8, h int8, nearest": PLAIN,
    "int8, h int8, nearest, bias correction": {"rounding": "nearest"},
    "int8, h int8, reconstruct": {"bias_correction": False},
    "**int8, h int8**": {},
    "int8, h int8, range percentile 99.99": {"range": "percentile"},
    "int8, h int8, range mse": {"range": "mse"},
    "int8, h int8, range entropy": {"range": "entropy"},
    "**int8, h int16, interpolated**": WIDE,
    "int4, h int8, nearest": {"weight_bits": 4, **PLAIN},
    "int4, h int8, nearest, bias correction": {"weight_bits": 4, "rounding": "nearest"},
    "int4, h int8, reconstruct": {"weight_bits": 4, "bias_correction": False},
    "**int4, h int8**": {"weight_bits": 4},
    "ternary, h int8, nearest": {"weight_bits": 2, **PLAIN},
    "ternary, h int8": {"weight_bits": 2},
}
"""Options of ``quantize``; bold are the defaults at that width."""
HARDENED = ("hard", "i=hard", "f=hard", "o=hard", "three-level")
COMPARED_WINDOWS = 512
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- ptq -->", "<!-- end of ptq -->"


def trained(seed: int, folder: Path, training: Dataset) -> FloatModel:
    """The float model of a seed, from the folder where it is there."""
    path = folder / f"hapt-{seed}.float"
    if not path.is_file():
        recipe = TrainOptions(**{**RECIPE.to_json(), "seed": seed})
        save(train(training, recipe, lambda epoch: print(seed, epoch, flush=True)).float_model, path)
    return load_float(path)


def measured(
    model: FloatModel, options: Mapping[str, Any], fitted: Dataset, parts: Mapping[str, Dataset]
) -> dict[str, tuple[float, float]]:
    """Of each part: points lost, and share of the windows with the float model's class in %."""
    quantized = quantize(model, calibration=fitted.x, **options)
    found = {}
    for name, part in parts.items():
        wanted, given = predictions(model, part), predictions(quantized, part)
        drop = 100 * float((wanted == part.y).mean() - (given == part.y).mean())
        found[name] = (drop, 100 * float((wanted == given).mean()))
    return found


def hidden_errors(model: FloatModel, fitted: Dataset, test: Dataset) -> dict[str, float]:
    """Root mean squared error of h against float, of each recipe, on windows of the test part."""
    (layer,) = model.layers
    seen = standardize(model, fitted.x[:: len(fitted.x) // COMPARED_WINDOWS])
    x = test.x[:: len(test.x) // COMPARED_WINDOWS]
    trace, wanted = run_layer(layer, seen), run_layer(layer, standardize(model, x))["h"]
    found = {"incumbent: int8, h int8": Incumbent(layer, seen, trace["h"], trace["c"]).run(standardize(model, x))}
    for name, options in (
        ("edge-lstm: int8, h int8, nearest, lut", PLAIN),
        ("edge-lstm: int8, h int8, lut", {}),
        ("edge-lstm: int8, h int8, lut-interp", {"activations": "lut-interp"}),
        ("edge-lstm: int8, h int16, lut-interp", WIDE),
    ):
        quantized = quantize(model, calibration=fitted.x, **options)
        states = execute(quantized, quantized.quantize_input(x), trace="states").trace
        found[name] = states["lstm0.h"] * quantized.layers[0].h.scale
    return {name: float(np.sqrt(((h - wanted) ** 2).mean())) for name, h in found.items()}


def hardening(model: FloatModel, gates: str, fitted: Dataset, test: Dataset) -> tuple[float, float]:
    """Points that gates which become thresholds after training lose, at 0 and where they were searched."""
    before = accuracy(model, test)
    plain = quantize(with_gates(model, gates), calibration=fitted.x)
    searched = quantize(model, calibration=fitted.x, gates=gates)
    return 100 * (before - accuracy(plain, test)), 100 * (before - accuracy(searched, test))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    training, test = train_test(load("hapt"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.models or Path(temporary)
        folder.mkdir(exist_ok=True)
        models = [trained(seed, folder, training) for seed in range(arguments.seeds)]
    splits = [split(training, RECIPE.validation, seed) for seed in range(arguments.seeds)]
    lines = list[str]()

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    floats = [100 * accuracy(m, test) for m in models]
    validated = [100 * accuracy(m, v) for m, (_, v) in zip(models, splits, strict=True)]
    say(f"Float: {_spread(validated)} % on the validation volunteers, {_spread(floats)} % on the test windows.")
    say()
    say("| weights, hidden state | drop, validation | agreement, validation [%] | drop, test | agreement, test [%] |")
    say("|---|---|---|---|---|")
    for name, options in CONFIGURATIONS.items():
        found = [
            measured(m, options, fitted, {"validation": held_out, "test": test})
            for m, (fitted, held_out) in zip(models, splits, strict=True)
        ]
        cells = [_spread([f[part][k] for f in found], 2 - k) for part in ("validation", "test") for k in (0, 1)]
        say(f"| {name} | {' | '.join(cells)} |")
    say()
    say("| recipe | root mean squared error of h, test windows | of the incumbent's |")
    say("|---|---|---|")
    errors = [hidden_errors(m, fitted, test) for m, (fitted, _) in zip(models, splits, strict=True)]
    base = statistics.mean(e["incumbent: int8, h int8"] for e in errors)
    for name in errors[0]:
        values = [e[name] for e in errors]
        say(f"| {name} | {_spread(values, 5)} | {statistics.mean(values) / base:.2f} |")
    say()
    say("| soft gates that become | drop, threshold at 0 | drop, thresholds searched |")
    say("|---|---|---|")
    for gates in HARDENED:
        drops = [hardening(m, gates, fitted, test) for m, (fitted, _) in zip(models, splits, strict=True)]
        say(f"| {gates} | {_spread([d[0] for d in drops], 1)} | {_spread([d[1] for d in drops], 1)} |")
    if arguments.write:
        page = PAGE.read_text()
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text("\n".join([before + BEGIN, "", *lines, "", END]) + rest.partition(END)[2])


def _spread(values: list[float], digits: int = 1) -> str:
    """Mean, and range over the seeds."""
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
