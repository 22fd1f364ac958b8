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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from incumbent import Incumbent
from numpy.typing import NDArray

from edge_lstm.data import Dataset, load, split, train_test
from edge_lstm.evaluation import predictions
from edge_lstm.fixedpoint import QFormat
from edge_lstm.float_run import initial_states, run_layer, standardize
from edge_lstm.harden import with_gates
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute
from edge_lstm.storage import load_float, save
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import train

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
INCUMBENT = "incumbent: int8, h int8"
COMPARED: Mapping[str, Mapping[str, Any]] = {
    "edge-lstm: int8, h int8, nearest, lut": PLAIN,
    "edge-lstm: int8, h int8, lut": {},
    "edge-lstm: int8, h int8, lut-interp": {"activations": "lut-interp"},
    "edge-lstm: int8, h int16, lut-interp": WIDE,
}
"""Options of ``quantize`` that are compared with the incumbent."""
FIGURES = (("validation", "all"), ("validation", "median"), ("test", "all"), ("test", "median"))
HARDENED = ("hard", "i=hard", "f=hard", "o=hard", "three-level")
COMPARED_WINDOWS = 512
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- ptq -->", "<!-- end of ptq -->"


class Error(NamedTuple):
    """Root mean squared error of h over all windows, and the median of that of each window."""

    all: float
    median: float


def trained(seed: int, folder: Path, training: Dataset) -> FloatModel:
    """The float model of a seed, from the folder where it is there."""
    path = folder / f"hapt-{seed}.float"
    if not path.is_file():
        recipe = TrainOptions(**{**RECIPE.to_json(), "seed": seed})
        save(train(training, recipe, lambda epoch: print(seed, epoch, flush=True)).float_model, path)
    return load_float(path)


@dataclass(frozen=True)
class Part:
    """Windows, and the classes that the float model finds."""

    dataset: Dataset
    found: NDArray[Any]

    def drop(self, quantized: QuantizedModel) -> tuple[float, float]:
        """Points lost, and share of the windows with the float model's class in %."""
        given, wanted = predictions(quantized, self.dataset), self.dataset.y
        lost = 100 * float((self.found == wanted).mean() - (given == wanted).mean())
        return lost, 100 * float((self.found == given).mean())

    @property
    def accuracy(self) -> float:
        """Of the float model, in %."""
        return 100 * float((self.found == self.dataset.y).mean())


def hidden_errors(model: FloatModel, fitted: Dataset, parts: Mapping[str, Part]) -> dict[str, dict[str, Error]]:
    """Of each recipe and part, how far h is from float on ``COMPARED_WINDOWS`` windows."""
    (layer,) = model.layers
    seen = standardize(model, _some(fitted))
    trace = run_layer(layer, seen)
    incumbent = Incumbent(layer, seen, trace["h"], trace["c"])
    made = {name: quantize(model, calibration=fitted.x, **options) for name, options in COMPARED.items()}
    plain = made["edge-lstm: int8, h int8, lut"]
    unit = plain.input_scale / model.std
    found: dict[str, dict[str, Error]] = {}
    for name_of, part in parts.items():
        given = _some(part.dataset)
        x, rounded = standardize(model, given), plain.quantize_input(given) * unit
        states = {INCUMBENT: incumbent.run(x)}
        for name, quantized in made.items():
            h = execute(quantized, quantized.quantize_input(given), trace="states").trace["lstm0.h"]
            states[name] = h * quantized.layers[0].h.scale
        states["float, but inputs of 8 bits"] = run_layer(layer, rounded)["h"]
        states["float, but inputs and h of 8 bits"] = with_rounded_h(layer, rounded, plain.layers[0].h)
        wanted = run_layer(layer, x)["h"]
        for name, h in states.items():
            of_window = np.sqrt(((h - wanted) ** 2).mean(axis=(1, 2)))
            error = Error(float(np.sqrt((of_window**2).mean())), float(np.median(of_window)))
            found.setdefault(name, {})[name_of] = error
    return found


def with_rounded_h(layer: FloatLayer, x: NDArray[np.float64], form: QFormat) -> NDArray[np.float64]:
    """h (windows, steps, hidden) of the float equations, but that h is rounded to a format after each step."""
    states, found = initial_states(layer, len(x)), []
    for t in range(x.shape[1]):
        values = run_layer(layer, x[:, t : t + 1], initial=states)
        states = {"h": form.dequantize(form.quantize(values["h"][:, 0])), "c": values["c"][:, 0]}
        found.append(states["h"])
    return np.stack(found, axis=1)


def _some(dataset: Dataset) -> NDArray[np.float64]:
    return np.asarray(dataset.x[:: len(dataset.x) // COMPARED_WINDOWS])


def hardening(model: FloatModel, gates: str, fitted: Dataset, test: Part) -> tuple[float, float]:
    """Points that gates which become thresholds after training lose, at 0 and where they were searched."""
    plain = quantize(with_gates(model, gates), calibration=fitted.x)
    searched = quantize(model, calibration=fitted.x, gates=gates)
    return test.drop(plain)[0], test.drop(searched)[0]


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
    fitted = [used for used, _ in splits]
    parts = [
        {name: Part(part, predictions(m, part)) for name, part in (("validation", held_out), ("test", test))}
        for m, (_, held_out) in zip(models, splits, strict=True)
    ]
    lines = list[str]()

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    validated, tested = ([of[name].accuracy for of in parts] for name in ("validation", "test"))
    say(f"Float: {_spread(validated)} % on the validation volunteers, {_spread(tested)} % on the test windows.")
    say()
    say("| weights, hidden state | drop, validation | agreement, validation [%] | drop, test | agreement, test [%] |")
    say("|---|---|---|---|---|")
    for name, options in CONFIGURATIONS.items():
        made = [quantize(m, calibration=used.x, **options) for m, used in zip(models, fitted, strict=True)]
        found = [[of[part].drop(q) for q, of in zip(made, parts, strict=True)] for part in ("validation", "test")]
        cells = [_spread([f[k] for f in of_part], 2 - k) for of_part in found for k in (0, 1)]
        say(f"| {name} | {' | '.join(cells)} |")
    say()
    errors = [hidden_errors(*given) for given in zip(models, fitted, parts, strict=True)]
    say("Root mean squared error of h, and of the incumbent's:")
    say()
    say(f"| recipe | {' | '.join(f'{part}, {figure} | ratio' for part, figure in FIGURES)} |")
    say(f"|---{'|---|---' * len(FIGURES)}|")
    for name in errors[0]:
        cells = []
        for part, figure in FIGURES:
            values, base = ([getattr(e[k][part], figure) for e in errors] for k in (name, INCUMBENT))
            cells += [_spread(values, 4), f"{statistics.mean(values) / statistics.mean(base):.2f}"]
        say(f"| {name} | {' | '.join(cells)} |")
    say()
    say("| soft gates that become | drop, threshold at 0 | drop, thresholds searched |")
    say("|---|---|---|")
    for gates in HARDENED:
        drops = [hardening(m, gates, used, of["test"]) for m, used, of in zip(models, fitted, parts, strict=True)]
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
