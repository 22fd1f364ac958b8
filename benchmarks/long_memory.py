"""Long memory: the adding problem with hard gates in int8, and what the forget gate does where nothing is ever reset.

python benchmarks/long_memory.py [--seeds 3] [--iterations 1000] [--out docs/long-memory.svg]

The adding problem (Hochreiter & Schmidhuber 1997, experiment 4): of 200 steps two are marked; the target is the sum of
the values there. A constant prediction has the mean squared error 1/6 = 0.167.

The continual problem (after Gers et al. 1999): the same problems of 25 steps each, one after the other in one stream
without a reset between them; the target of each is due at its last step, which is also marked. Trained on streams of up
to 8, tested on streams of 40.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_lstm.calibrate import calibrate
from edge_lstm.model import QuantizedModel
from edge_lstm.nn.network import Network
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.signature import Signature

STEPS, PROBLEMS, LONG, SHORT = 200, 8, 40, 25
HIDDEN, BATCH = 24, 64
CONSTANT = 1 / 6
"""Variance of the sum of two uniform values."""
Samples = NDArray[np.float64]


def problems(rng: np.random.Generator, count: int, steps: int) -> tuple[Samples, Samples]:
    """Windows (count, steps, 3): value from 0 to 1, marker, end; and the sums (count,)."""
    x = np.zeros((count, steps, 3))
    x[:, :, 0] = rng.uniform(0, 1, (count, steps))
    first, second = rng.integers(0, steps // 2, count), rng.integers(steps // 2, steps - 1, count)
    rows = np.arange(count)
    x[rows, first, 1] = x[rows, second, 1] = 1
    x[:, -1, 2] = 1
    return x, x[rows, first, 0] + x[rows, second, 0]


@dataclass
class Task:
    """Windows of some length, in which targets are due at the end, or at the end of each problem."""

    steps: int
    count: int = 1

    def draw(self, rng: np.random.Generator, windows: int) -> tuple[Samples, Samples]:
        x, y = problems(rng, windows * self.count, self.steps)
        return x.reshape(windows, self.count * self.steps, 3), y.reshape(windows, self.count)


def network(cell: str, gates: dict[str, Any], steps: int, span: int, seed: int) -> Network:
    """A network that begins by remembering for about the span (chrono initialization: Tallec and Ollivier 2018)."""
    signature = Signature("adding", ("value", "marker", "end"), ("",) * 3, None, steps, ("sum",), "regress")
    made = Network(
        signature,
        np.array([0.5, 0.0, 0.0]),
        np.array([0.3, 0.3, 0.3]),
        4.0,
        cell_name=cell,
        modes=gates,
        hidden=HIDDEN,
        layers=1,
        pooling="last",
        seed=seed,
    )
    layer = made.layers[0]
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        memory = torch.log(1 + (span - 2) * torch.rand(HIDDEN, generator=generator))
        if "f" in layer.kind.blocks:
            layer.rows(layer.b, "f")[:] = memory
        layer.rows(layer.b, "i")[:] = -memory if "f" in layer.kind.blocks else -1.0
        made.dense.bias[:] = 1.0
    return made


def outputs_at(model: QuantizedModel, x: Samples, ends: list[int]) -> Samples:
    """The regression's output after some of the steps, (windows, ends)."""
    trace = execute(model, model.quantize_input(x), trace="states").trace
    return np.stack([real_outputs(model, {"scores": trace["scores"][:, t]})["scores"][:, 0] for t in ends], axis=1)


def train(made: Network, task: Task, iterations: int, seed: int) -> QuantizedModel:
    """Annealed gates, then thresholds, then the integers; targets at the end of each problem."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=iterations + 1, pct_start=0.1)
    for k in range(iterations):
        share = k / iterations
        count = 1 + int(rng.integers(task.count))  # streams of every length, so that each problem is seen last
        x, y = Task(task.steps, count).draw(rng, BATCH)
        if share >= 0.8:
            if made.calibration is None:
                made.calibration = calibrate(made.float_model(), Task(task.steps, task.count).draw(rng, 256)[0])
            out = made.forward_quantized(x)
        else:
            out = made(x, 1.0 * 5.0 ** (share / 0.5) if share < 0.5 else None)
        loss = torch.nn.functional.mse_loss(out[:, 0], torch.from_numpy(y[:, -1].astype(np.float32)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return made.quantized()


def errors(model: QuantizedModel, task: Task, seed: int) -> list[float]:
    """Mean squared error of each problem of 200 fresh streams, computed by the integer runtime."""
    x, y = task.draw(np.random.default_rng(10_000 + seed), 200)
    ends = [task.steps * (k + 1) - 1 for k in range(task.count)]
    return [float(v) for v in ((outputs_at(model, x, ends) - y) ** 2).mean(axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    single, stream, longer = Task(STEPS), Task(SHORT, PROBLEMS), Task(SHORT, LONG)
    found = []
    for seed in range(arguments.seeds):
        made = network("lstm", dict.fromkeys("ifo", "hard"), STEPS, STEPS, seed)
        found.append(errors(train(made, single, arguments.iterations, seed), single, seed)[0])
        print(f"adding, 200 steps, lstm, hard gates, int8, seed {seed}: {found[-1]:.4f}", flush=True)
    print(f"mean {statistics.mean(found):.4f}; constant prediction {CONSTANT:.4f}")
    curves: dict[str, list[list[float]]] = {}
    for cell in ("lstm", "lstm-1997"):
        gates = dict.fromkeys("ifo" if cell == "lstm" else "io", "hard")
        for seed in range(arguments.seeds):
            made = network(cell, gates, SHORT * PROBLEMS, SHORT, seed)
            curves.setdefault(cell, []).append(errors(train(made, stream, arguments.iterations, seed), longer, seed))
            print(f"continual, {cell}, seed {seed}: " + " ".join(f"{e:.4f}" for e in curves[cell][-1][::3]), flush=True)
    if arguments.out:
        figure(curves, arguments.out)


def figure(curves: dict[str, list[list[float]]], out: Path) -> None:
    """Mean squared error by the problem's place in the stream."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "long-memory"
    from matplotlib import pyplot as plt

    plotted, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for (cell, of_seeds), colour, marker in zip(curves.items(), ("#0072b2", "#d55e00"), "os", strict=True):
        values = np.array(of_seeds)
        place = np.arange(1, values.shape[1] + 1)
        axes.plot(
            place, values.mean(axis=0), color=colour, marker=marker, markersize=3, label=f"{cell}, hard gates, int8"
        )
        axes.fill_between(place, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axes.axhline(CONSTANT, color="#555555", linestyle="--", linewidth=1, label="constant prediction")
    axes.set_xlabel("place of the problem in a stream without resets")
    axes.set_ylabel("mean squared error")
    axes.set_yscale("log")
    axes.set_ylim(top=1.0)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    plotted.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()
