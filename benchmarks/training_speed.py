"""Time of a training epoch on UCI HAR, side by side with torch.nn.LSTM in float: the table of docs/benchmarks.md.

    EDGE_LSTM_DATA=... python benchmarks/training_speed.py [--dataset hapt] [--rounds 7] [--threads 1]

Both train 32 hidden units on batches of 64 windows of 128 steps: forward pass, loss, gradient, clipping, AdamW. They
take turns, batch by batch, so that whatever else the computer does meets both; a figure is the median over rounds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch.nn import functional

from edge_lstm.calibrate import calibrate
from edge_lstm.cells import LSTM
from edge_lstm.data import Dataset, load, train_test
from edge_lstm.gates import parse_gates
from edge_lstm.learning_task import signature
from edge_lstm.nn.network import Network

HIDDEN, BATCH = 32, 64
Step = Callable[[np.ndarray, torch.Tensor], None]
PHASES = {"hard": ("annealed", "hard", "quantized"), "soft": ("float", "quantized")}


def step_of(model: torch.nn.Module, scores: Callable[[np.ndarray], torch.Tensor]) -> Step:
    """One batch of training."""
    optimizer = torch.optim.AdamW(model.parameters())

    def step(x: np.ndarray, y: torch.Tensor) -> None:
        loss = functional.cross_entropy(scores(x), y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def of_torch(train: Dataset) -> Step:
    """torch.nn.LSTM, the mean of h, a dense layer."""
    mean, std = train.x.mean((0, 1)), train.x.std((0, 1))
    lstm, dense = torch.nn.LSTM(len(mean), HIDDEN, batch_first=True), torch.nn.Linear(HIDDEN, len(train.classes))

    def scores(x: np.ndarray) -> torch.Tensor:
        z = torch.from_numpy(((x - mean) / std).astype(np.float32))
        return dense(lstm(z)[0].mean(1))

    return step_of(torch.nn.ModuleList([lstm, dense]), scores)


def of_edge_lstm(train: Dataset, gates: str, phase: str) -> Step:
    """The same with this package's layers."""
    network = Network(
        signature(train),
        train.x.mean((0, 1)),
        train.x.std((0, 1)),
        4.0,
        cell_name="lstm",
        modes=parse_gates(gates, LSTM.gates),
        hidden=HIDDEN,
        layers=1,
        pooling="mean",
    )
    network.calibration = calibrate(network.float_model(), train.x[:512])
    if phase == "quantized":
        return step_of(network, network.forward_quantized)
    return step_of(network, lambda x: network(x, 2.0 if phase == "annealed" else None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="hapt", help="hapt, the second edition of uci-har, or uci-har")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=12, help="of a round")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, _ = train_test(load(options.dataset))
    per_epoch = math.ceil(len(train) / BATCH)
    steps = {("torch.nn.LSTM", "float"): of_torch(train)}
    steps |= {(f"{gates} gates", p): of_edge_lstm(train, gates, p) for gates, of in PHASES.items() for p in of}
    rng = np.random.default_rng(0)
    spent: dict[tuple[str, str], list[float]] = {name: [] for name in steps}
    for number in range(options.rounds + 1):
        total = dict.fromkeys(steps, 0.0)
        for _ in range(options.batches):
            chosen = rng.permutation(len(train))[:BATCH]
            x, y = train.x[chosen].astype(np.float64), torch.from_numpy(train.y[chosen])
            for name, step in steps.items():
                start = time.process_time()
                step(x, y)
                total[name] += time.process_time() - start
        if number:  # the first one compiles
            for name, seconds in total.items():
                spent[name].append(seconds / options.batches)
    reference = median(spent["torch.nn.LSTM", "float"])
    print(f"{per_epoch} batches of {BATCH}, processor time, {options.threads} thread(s)\n")
    print("| | phase | ms per batch | s per epoch | to torch.nn.LSTM |\n|---|---|---|---|---|")
    for (what, phase), seconds in spent.items():
        one = median(seconds)
        print(f"| {what} | {phase} | {1000 * one:.1f} | {per_epoch * one:.2f} | {one / reference:.2f} |")


if __name__ == "__main__":
    main()
