"""The trainer: from a data set to a network whose integers ship."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.calibrate import calibrate
from edge_lstm.data import Augmentation, Dataset, split, triads
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.float_run import run_float
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.runtime import execute
from edge_lstm.signature import Signature
from edge_lstm.train_options import TrainOptions

Phase = Literal["annealed", "hard", "float", "quantized"]
SLOPES = (1.0, 5.0)
"""k of the annealed gates s(k z), first and last; it grows geometrically."""
MIN_STD = 1e-6


@dataclass(frozen=True)
class Epoch:
    """What happened in one epoch.

    Attributes:
        number: From 1.
        phase: Of its forward passes.
        loss: Mean training loss.
        accuracy: On the validation windows; None without validation.
    """

    number: int
    phase: Phase
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Trained:
    """A finished, or interrupted, run.

    Attributes:
        float_model: The float weights that were trained.
        quantized: The integers that the last phase trained, to ship.
        epochs: In order.
        interrupted: By Ctrl-C; the models are the best so far.
        best_epoch: The one whose weights these are.
    """

    float_model: FloatModel
    quantized: QuantizedModel
    epochs: tuple[Epoch, ...]
    interrupted: bool
    best_epoch: int


def train(dataset: Dataset, options: TrainOptions, on_epoch: Callable[[Epoch], None] = lambda _: None) -> Trained:
    """Train on a data set without test windows.

    The same data, options and version of PyTorch give the same model: the run uses one thread.

    Args:
        dataset: Training windows; a validation part is split off it, by subject where subjects are known.
        options: The recipe.
        on_epoch: Told of each epoch. Ctrl-C (``KeyboardInterrupt``) ends the run with the best model so far.

    Raises:
        MissingExtraError: PyTorch is not installed.
        EdgeLstmError: Too little data, or test windows among them.
    """
    torch = require("torch", extra="train", purpose="to train")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _Run(dataset, options)(on_epoch)
    finally:
        torch.set_num_threads(threads)


def signature(dataset: Dataset, name: str | None = None) -> Signature:
    """Inputs and classes of a model for a data set.

    Args:
        dataset: The data.
        name: Of the model; made from the data set's name where None.
    """
    plain = re.sub(r"\W+", "_", dataset.name.lower(), flags=re.ASCII).strip("_")[:48]
    return Signature(
        name=name or (plain if re.match(r"[a-z]", plain) else f"model_{plain}"[:48].rstrip("_")),
        channels=dataset.channels,
        units=dataset.units,
        rate_hz=dataset.rate_hz,
        steps=dataset.steps,
        classes=dataset.classes,
    )


def accuracy(model: FloatModel | QuantizedModel, dataset: Dataset) -> float:
    """Share of the windows whose class a model finds."""
    return float((predictions(model, dataset) == dataset.y).mean())


def predictions(model: FloatModel | QuantizedModel, dataset: Dataset) -> NDArray[np.int64]:
    """Class index of each window, (windows,)."""
    if isinstance(model, FloatModel):
        return run_float(model, dataset.x)["class_index"].astype(np.int64)
    return execute(model, model.quantize_input(dataset.x)).outputs["class_index"][:, 0].astype(np.int64)


@dataclass
class _Best:
    """The weights to keep: the best by validation accuracy, or the latest where there is no validation."""

    state: dict[str, Any]
    accuracy: float = -1.0
    epoch: int = 0


class _Run:
    def __init__(self, dataset: Dataset, options: TrainOptions) -> None:
        import torch

        from edge_lstm.nn.network import Network

        if dataset.is_test is not None and dataset.is_test.any():
            raise EdgeLstmError(
                f"{dataset.name}: the official test windows are among the training windows; "
                "pass the first part of train_test(dataset)"
            )
        self._torch, self._options = torch, options
        self._train, self._validation = dataset, None
        if options.validation:
            self._train, self._validation = split(dataset, options.validation, options.seed)
        x = self._train.x.astype(np.float64)
        mean, std = x.mean(axis=(0, 1)), np.maximum(x.std(axis=(0, 1)), MIN_STD)
        self._network = Network(
            signature(dataset),
            mean,
            std,
            options.clip,
            cell_name=options.cell,
            modes=options.modes,
            hidden=options.hidden,
            layers=options.layers,
            pooling=options.pooling,
            outputs=options.projection,
            relu=options.relu_widths,
            squash=options.squash,
            bits=options.bits,
            dropout=options.dropout,
            seed=options.seed,
        )
        self._augment = _augmentation(dataset, options, std)
        self._rng = np.random.default_rng(options.seed)
        self._per_epoch = max(len(self._train), options.epoch_windows)
        self._steps = math.ceil(self._per_epoch / options.batch) * options.epochs
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, options.learning_rate, total_steps=self._steps + 1, pct_start=0.15
        )
        self._loss = torch.nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self._average: dict[str, Any] | None = None
        self._step = 0

    def __call__(self, on_epoch: Callable[[Epoch], None]) -> Trained:
        epochs: list[Epoch] = []
        best = _Best(self._weights())
        interrupted = False
        with self._torch.random.fork_rng(devices=[]):
            self._torch.manual_seed(self._options.seed)
            try:
                for number in range(1, self._options.epochs + 1):
                    epochs.append(self._epoch(number, best))
                    on_epoch(epochs[-1])
                    if self._validation is not None and number - best.epoch >= self._options.patience and best.epoch:
                        break
            except KeyboardInterrupt:
                interrupted = True
        if not best.epoch:  # stopped before the last phase
            best.state, best.epoch = self._weights(), len(epochs)
        self._network.load_state_dict(best.state)
        self._calibrate()
        return Trained(
            float_model=self._network.float_model(),
            quantized=self._network.quantized(),
            epochs=tuple(epochs),
            interrupted=interrupted,
            best_epoch=best.epoch,
        )

    def _epoch(self, number: int, best: _Best) -> Epoch:
        share = (number - 1) / self._options.epochs
        phase = _phase(self._options, share)
        if phase == "quantized" and self._network.calibration is None:
            self._calibrate()
        loss = float(np.mean([self._train_step(x, y, phase) for x, y in self._batches()]))
        if not math.isfinite(loss):
            raise EdgeLstmError(f"the training loss is {loss} in epoch {number}; a smaller learning_rate may help")
        found = None
        if self._validation is not None:
            found = self._validate(self._validation, phase)
        if phase == _phase(self._options, 1.0) and (found is None or found > best.accuracy):
            best.state, best.accuracy, best.epoch = self._weights(), found or 0.0, number
        return Epoch(number, phase, loss, found)

    def _batches(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Augmented windows and their classes, in random order; a small set repeats."""
        windows = len(self._train)
        order = np.concatenate([self._rng.permutation(windows) for _ in range(math.ceil(self._per_epoch / windows))])
        for start in range(0, self._per_epoch, self._options.batch):
            chosen = order[start : min(start + self._options.batch, self._per_epoch)]
            yield self._augment(self._train.x[chosen], self._rng).astype(np.float64), self._train.y[chosen]

    def _train_step(self, x: NDArray[np.float64], y: NDArray[np.int64], phase: Phase) -> float:
        self._network.train()
        loss = self._loss(self._forward(x, phase), self._torch.from_numpy(y))
        self._optimizer.zero_grad()
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._options.gradient_clip)
        self._optimizer.step()
        self._schedule.step()
        self._step += 1
        if self._options.averaging and phase == _phase(self._options, 1.0):
            self._update_average()
        return float(loss.detach())

    def _forward(self, x: NDArray[np.float64], phase: Phase) -> Any:
        if phase == "quantized":
            return self._network.forward_quantized(x)
        slope = None
        if phase == "annealed":
            first, last = SLOPES
            progress = min(1.0, self._step / max(1.0, self._options.hard_from * self._steps))
            slope = first * (last / first) ** progress
        return self._network(x, slope)

    def _validate(self, part: Dataset, phase: Phase) -> float:
        """Accuracy of the weights that would ship, on the validation windows."""
        live = self._network.state_dict()
        live = {name: value.clone() for name, value in live.items()}
        self._network.load_state_dict(self._weights())
        self._network.eval()
        with self._torch.no_grad():
            logits = self._forward(part.x.astype(np.float64), phase)
        self._network.load_state_dict(live)
        return float((logits.argmax(dim=1).numpy() == part.y).mean())

    def _weights(self) -> dict[str, Any]:
        state = self._network.state_dict() if self._average is None else self._average
        return {name: value.clone() for name, value in state.items()}

    def _update_average(self) -> None:
        state = self._network.state_dict()
        if self._average is None:
            self._average = {name: value.clone() for name, value in state.items()}
        for name, value in self._average.items():
            value.lerp_(state[name], 1 - self._options.averaging)

    def _calibrate(self) -> None:
        """Once, on the training windows: the formats stay fixed from then on."""
        if self._network.calibration is None:
            self._network.calibration = calibrate(self._network.float_model(), self._train.x)


def _phase(options: TrainOptions, share: float) -> Phase:
    """Phase of the epoch that begins after this share of all epochs; at 1, the last phase."""
    if share >= options.quantized_from and options.quantized_from < 1:
        return "quantized"
    if not options.anneals:
        return "float"
    return "hard" if share >= options.hard_from else "annealed"


def _augmentation(dataset: Dataset, options: TrainOptions, std: NDArray[np.float64]) -> Augmentation:
    groups = triads(dataset.channels)
    strengths = {name: getattr(options, name) for name in ("gain", "offset", "jitter", "magnitude", "shift", "warp")}
    rotation = options.rotation if groups else 0.0
    return Augmentation(**strengths, rotation=rotation, triads=groups, scale=tuple(std.tolist()))
