"""What each cell and gate mode costs and gives on basic-motions, with one recipe for all.

python benchmarks/cells.py [--seeds 3]

Accuracy: mean and range over seeds on the 40 test windows, which nothing was chosen by. Cost: of the first seed's
integers, on an emulated Cortex-M4.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

from edge_lstm.cells import CELLS, cell
from edge_lstm.cost import simulate
from edge_lstm.data import load, train_test
from edge_lstm.evaluation import accuracy
from edge_lstm.recipes import BASIC_MOTIONS
from edge_lstm.study import train_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    training, test = train_test(load("basic-motions"))
    print("| cell | gates | float | int8 | range of int8 | instructions per step | flash [bytes] | RAM [bytes] |")
    print("|---|---|---|---|---|---|---|---|")
    for name in CELLS:
        for gates in ("soft", "hard") if cell(name).gates else ("soft",):
            recipes = [replace(BASIC_MOTIONS, cell=name, gates=gates, seed=seed) for seed in range(seeds)]
            trained = train_all(training, recipes)
            floats = [accuracy(t.float_model, test) for t in trained]
            integers = [accuracy(t.quantized, test) for t in trained]
            cost = simulate(trained[0].quantized, test.x[:4], device="cortex-m4")
            kind = gates if cell(name).gates else "none"
            print(
                f"| {name} | {kind} | {statistics.mean(floats):.1%} | {statistics.mean(integers):.1%} | "
                f"{min(integers):.1%} to {max(integers):.1%} | {cost.instructions_per_step.mean:,.0f} | "
                f"{cost.flash_bytes['total']:,} | {cost.ram_bytes['total']:,} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
