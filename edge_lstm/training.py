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
from edge_lstm.runtime import execute, real_outputs
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
        accuracy: On the validation windows; None without validation, and of a regression.
        r2: Of a regression on the validation windows: 1 less the mean squared error in units of the variance of the
            training targets, the mean over the outputs; else None.
    """

    number: int
    phase: Phase
    loss: float
    accuracy: float | None
    r2: float | None = None


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
        EdgeLstmError: Too little data, test windows among them, or targets for other steps than the options ask for.
    """
    torch = require("torch", extra="train", purpose="to train")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _Run(dataset, options)(on_epoch)
    finally:
        torch.set_num_threads(threads)


def signature(dataset: Dataset, name: str | None = None, *, probabilities: bool = False) -> Signature:
    """Inputs and outputs of a model for a data set.

    Args:
        dataset: The data.
        name: Of the model; made from the data set's name where None.
        probabilities: A classifier also gives softmax of its scores.
    """
    plain = re.sub(r"\W+", "_", dataset.name.lower(), flags=re.ASCII).strip("_")[:48]
    return Signature(
        name=name or (plain if re.match(r"[a-z]", plain) else f"model_{plain}"[:48].rstrip("_")),
        channels=dataset.channels,
        units=dataset.units,
        rate_hz=dataset.rate_hz,
        steps=dataset.steps,
        classes=dataset.classes,
        task=dataset.task,
        variable=dataset.lengths is not None,
        probabilities=probabilities,
    )


def accuracy(model: FloatModel | QuantizedModel, dataset: Dataset) -> float:
    """Share of the windows, or of their steps, whose class a model finds.

    Raises:
        EdgeLstmError: The model is a regression, or the data set is for one.
    """
    right = predictions(model, dataset) == dataset.labels
    return float(right[counted(dataset, each=model.pooling == "each")].mean())


def predictions(model: FloatModel | QuantizedModel, dataset: Dataset) -> NDArray[np.int64]:
    """Class index of each window, (windows,); or of each step, (windows, steps).

    Raises:
        EdgeLstmError: The model is a regression.
    """
    if model.signature.task != "classify":
        raise EdgeLstmError(f"{model.signature.name} is a regression and finds no classes; accepted is a classifier")
    if isinstance(model, FloatModel):
        return run_float(model, dataset.x, lengths=dataset.lengths)["class_index"].astype(np.int64)
    outputs = execute(model, model.quantize_input(dataset.x), lengths=dataset.lengths).outputs
    return outputs["class_index"][..., 0].astype(np.int64)


@dataclass(frozen=True)
class Errors:
    """Of a regression, over all windows and steps that count.

    Attributes:
        mse: Mean squared error, in the square of the targets' unit.
        mae: Mean absolute error, in the targets' unit.
        r2: Coefficient of determination: 1 less the squared error in units of the targets' variance; the mean over the
            outputs whose targets vary, 0 where none does.
    """

    mse: float
    mae: float
    r2: float


def errors(model: FloatModel | QuantizedModel, dataset: Dataset) -> Errors:
    """Errors of a regression.

    Raises:
        EdgeLstmError: The model is a classifier, or the data set is for one.
    """
    if model.signature.task != "regress" or dataset.task != "regress":
        raise EdgeLstmError(f"errors of {model.signature.name} on {dataset.name}: accepted are regressions")
    mask = counted(dataset, each=model.pooling == "each")
    wanted = dataset.y[mask]
    wrong = outputs(model, dataset)[mask] - wanted
    around, variance = (wrong**2).mean(axis=0), wanted.var(axis=0)
    explained = 1 - around[variance > 0] / variance[variance > 0]
    r2 = float(explained.mean()) if explained.size else 0.0
    return Errors(mse=float((wrong**2).mean()), mae=float(np.abs(wrong).mean()), r2=r2)


def outputs(model: FloatModel | QuantizedModel, dataset: Dataset) -> NDArray[np.float64]:
    """Logits, or the outputs of a regression in their unit; (windows, outputs) or (windows, steps, outputs)."""
    if isinstance(model, FloatModel):
        return run_float(model, dataset.x, lengths=dataset.lengths)["scores"]
    found = execute(model, model.quantize_input(dataset.x), lengths=dataset.lengths).outputs
    return np.asarray(real_outputs(model, found)["scores"], np.float64)


def counted(dataset: Dataset, *, each: bool) -> NDArray[np.bool_]:
    """Which of the targets count, (windows,) or (windows, steps): with outputs at ``each`` step none that is padding.

    Args:
        dataset: The data.
        each: The steps of the targets are those of the windows.
    """
    shape = dataset.y.shape if dataset.task == "classify" else dataset.y.shape[:-1]
    return dataset.inside if each else np.ones(shape, np.bool_)


@dataclass
class _Best:
    """The weights to keep: the best on the validation windows, or the latest where there are none."""

    state: dict[str, Any]
    measure: float = -math.inf
    epoch: int = 0


class _Run:
    def __init__(self, dataset: Dataset, options: TrainOptions) -> None:
        import torch

        from edge_lstm.nn.loss import Loss
        from edge_lstm.nn.network import Network

        if dataset.is_test is not None and dataset.is_test.any():
            raise EdgeLstmError(
                f"{dataset.name}: the official test windows are among the training windows; "
                "pass the first part of train_test(dataset)"
            )
        _check_targets(dataset, options)
        self._torch, self._options, self._each = torch, options, options.pooling == "each"
        self._train, self._validation = dataset, None
        if options.validation:
            self._train, self._validation = split(dataset, options.validation, options.seed)
        x = self._train.x.astype(np.float64)
        if self._train.lengths is not None:
            x = x[self._train.inside][:, None]
        mean, std = x.mean(axis=(0, 1)), np.maximum(x.std(axis=(0, 1)), MIN_STD)
        to_mean, self._to_std = self._of_targets()
        self._network = Network(
            signature(dataset, probabilities=options.probabilities),
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
            directions=options.directions,
            decoder=options.decoder,
            output_mean=to_mean,
            output_std=self._to_std,
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
        self._loss = Loss(options.label_smoothing, self._to_std)
        self._average: dict[str, Any] | None = None
        self._step = 0

    def _of_targets(self) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Mean and standard deviation (outputs,) of the training targets of a regression."""
        if self._train.task == "classify":
            return None, None
        y = self._train.y[counted(self._train, each=self._each)]
        return y.mean(axis=0), np.maximum(y.std(axis=0), MIN_STD)

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
        loss = float(np.mean([self._train_step(chosen, phase) for chosen in self._batches()]))
        if not math.isfinite(loss):
            raise EdgeLstmError(f"the training loss is {loss} in epoch {number}; a smaller learning_rate may help")
        found = None
        if self._validation is not None:
            found = self._validate(self._validation, phase)
        if phase == _phase(self._options, 1.0) and (found is None or found > best.measure):
            best.state, best.epoch = self._weights(), number
            best.measure = -math.inf if found is None else found
        if self._train.task == "regress":
            return Epoch(number, phase, loss, None, found)
        return Epoch(number, phase, loss, found)

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        """Indices of training windows, in random order; a small set repeats."""
        windows = len(self._train)
        order = np.concatenate([self._rng.permutation(windows) for _ in range(math.ceil(self._per_epoch / windows))])
        for start in range(0, self._per_epoch, self._options.batch):
            yield order[start : min(start + self._options.batch, self._per_epoch)]

    def _train_step(self, chosen: NDArray[np.int64], phase: Phase) -> float:
        self._network.train()
        part = self._train.take(chosen)
        x = self._augment(part.x, self._rng).astype(np.float64)
        scores = self._forward(x, phase, part.lengths)
        loss: Any = self._loss(scores, part.y, counted(part, each=self._each))
        self._optimizer.zero_grad()
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._options.gradient_clip)
        self._optimizer.step()
        self._schedule.step()
        self._step += 1
        if self._options.averaging and phase == _phase(self._options, 1.0):
            self._update_average()
        return float(loss.detach())

    def _forward(self, x: NDArray[np.float64], phase: Phase, lengths: NDArray[np.int64] | None) -> Any:
        if phase == "quantized":
            return self._network.forward_quantized(x, lengths)
        slope = None
        if phase == "annealed":
            first, last = SLOPES
            progress = min(1.0, self._step / max(1.0, self._options.hard_from * self._steps))
            slope = first * (last / first) ** progress
        return self._network(x, slope, lengths)

    def _validate(self, part: Dataset, phase: Phase) -> float:
        """Accuracy of the weights that would ship, on the validation windows; of a regression R²."""
        live = self._network.state_dict()
        live = {name: value.clone() for name, value in live.items()}
        self._network.load_state_dict(self._weights())
        self._network.eval()
        with self._torch.no_grad():
            scores = self._forward(part.x.astype(np.float64), phase, part.lengths).numpy()
        self._network.load_state_dict(live)
        mask = counted(part, each=self._each)
        if self._to_std is not None:
            return 1 - float((((scores - part.y) / self._to_std)[mask] ** 2).mean())
        return float((scores.argmax(axis=-1) == part.y)[mask].mean())

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
            self._network.calibration = calibrate(
                self._network.float_model(), self._train.x, lengths=self._train.lengths
            )


def _phase(options: TrainOptions, share: float) -> Phase:
    """Phase of the epoch that begins after this share of all epochs; at 1, the last phase."""
    if share >= options.quantized_from and options.quantized_from < 1:
        return "quantized"
    if not options.anneals:
        return "float"
    return "hard" if share >= options.hard_from else "annealed"


def _check_targets(dataset: Dataset, options: TrainOptions) -> None:
    """Raise unless there are targets for the steps for which the network gives outputs."""
    wanted = options.decoder or (dataset.steps if options.pooling == "each" else None)
    if dataset.target_steps != wanted:
        found, needed = (
            "one target" if n is None else f"targets for {n} steps" for n in (dataset.target_steps, wanted)
        )
        raise EdgeLstmError(
            f"{dataset.name}: y has {found} of a window; with pooling {options.pooling!r} and "
            f"{f'a decoder of {options.decoder} steps' if options.decoder else 'no decoder'} it must have {needed}"
        )


def _augmentation(dataset: Dataset, options: TrainOptions, std: NDArray[np.float64]) -> Augmentation:
    """What moves samples in time is left out where targets, or the ends of windows, would not move with them."""
    groups = triads(dataset.channels)
    strengths = {name: getattr(options, name) for name in ("gain", "offset", "jitter", "magnitude", "shift", "warp")}
    if dataset.target_steps is not None or dataset.lengths is not None:
        strengths |= {"shift": 0.0, "warp": 0.0}
    rotation = options.rotation if groups else 0.0
    return Augmentation(**strengths, rotation=rotation, triads=groups, scale=tuple(std.tolist()))
