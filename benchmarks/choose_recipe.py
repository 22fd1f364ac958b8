"""Which recipe for basic-motions: cross-validation inside the 40 training windows; the test windows are not touched.

python benchmarks/choose_recipe.py [--folds 4] [--seeds 5] [--gates hard,soft]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

from edge_lstm.data import folds, load, train_test
from edge_lstm.evaluation import accuracy
from edge_lstm.recipes import BASIC_MOTIONS
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import train

PLAIN: Mapping[str, Any] = {"gain": 0.1, "offset": 0.1, "jitter": 0.05}
RICH: Mapping[str, Any] = {**PLAIN, "magnitude": 0.2, "rotation": 0.3, "shift": 0.2, "warp": 0.2}
AVERAGED: Mapping[str, Any] = {**RICH, "averaging": 0.98}
CANDIDATES: Mapping[str, Mapping[str, Any]] = {
    "gain, offset and jitter": PLAIN,
    "and rotation, shift, warp, magnitude": RICH,
    "and averaging 0.98": AVERAGED,
    "and averaging 0.98, hidden 16": {**AVERAGED, "hidden": 16},
    "and averaging 0.98, not annealed": {**AVERAGED, "hard_from": 0.0},
    "and averaging 0.98, last step": {**AVERAGED, "pooling": "last"},
}


def fold_accuracy(options: TrainOptions, folds_: int, fold: int) -> float:
    """Accuracy of the integers on one validation part."""
    training, _ = train_test(load("basic-motions"))
    part, held_out = list(folds(training, folds_, options.seed))[fold]
    return accuracy(train(part, options).quantized, held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--gates", default="hard")
    arguments = parser.parse_args()
    neutral = dict.fromkeys(RICH, 0.0) | {"averaging": 0.0}
    print("gates  recipe                                   validation accuracy (mean, seeds)")
    with ProcessPoolExecutor() as pool:
        for gates in arguments.gates.split(","):
            for name, changes in CANDIDATES.items():
                base = replace(BASIC_MOTIONS, gates=gates, validation=0.0, **(neutral | dict(changes)))
                jobs = [
                    (replace(base, seed=s), arguments.folds, k)
                    for s in range(arguments.seeds)
                    for k in range(arguments.folds)
                ]
                found = list(pool.map(fold_accuracy, *zip(*jobs, strict=True)))
                of_seed = [
                    statistics.mean(found[s * arguments.folds : (s + 1) * arguments.folds])
                    for s in range(arguments.seeds)
                ]
                seeds = ", ".join(f"{a:.1%}" for a in of_seed)
                print(f"{gates:6} {name:40} {statistics.mean(of_seed):.1%} ({seeds})", flush=True)


if __name__ == "__main__":
    main()
