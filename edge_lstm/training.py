"""The trainer: from a data set to a network whose integers ship."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.calibrate import calibrate
from edge_lstm.codec import digest
from edge_lstm.data import Dataset, split
from edge_lstm.epoch import Epoch, Phase, Validated, phase_of, slope_of
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.evaluation import counted
from edge_lstm.float_run import evaluate, standardize
from edge_lstm.learning_task import (
    augmentation,
    balanced_weights,
    check_task,
    input_scale,
    metric_of,
    target_scale,
)
from edge_lstm.metrics import accuracy_of, confusion_matrix, macro_f1
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.open_gates import OpenGates
from edge_lstm.timeline import timeline
from edge_lstm.train_options import TrainOptions

if TYPE_CHECKING:
    from edge_lstm.nn.run_state import Best

CHECKPOINT_EVERY_S = 300.0
"""In epochs that take longer, so often [s]."""
OPEN_RATE_WINDOWS = 32
"""Training windows on which open rates are measured."""


@dataclass(frozen=True)
class Trained:
    """A finished, or interrupted, run.

    Attributes:
        float_model: The float weights that were trained.
        quantized: The integers that the last phase trained, to ship.
        epochs: In order.
        interrupted: By Ctrl-C; the models are the best so far.
        best_epoch: The one whose weights these are.
        measure: Of that epoch, by the metric that chose it: the larger, the better. None without validation.
    """

    float_model: FloatModel
    quantized: QuantizedModel
    epochs: tuple[Epoch, ...]
    interrupted: bool
    best_epoch: int
    measure: float | None = None


def train(
    dataset: Dataset,
    options: TrainOptions,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    *,
    teacher: FloatModel | None = None,
    start: FloatModel | None = None,
    checkpoint: str | Path | None = None,
    open_rates: bool = False,
) -> Trained:
    """Train on a data set without test windows.

    The same data, options and version of PyTorch give the same model: the run uses one thread. So does a run that was
    killed at any moment and goes on from its checkpoint.

    Args:
        dataset: Training windows; a validation part is split off it, by subject where subjects are known.
        options: The recipe.
        on_epoch: Told of each epoch. Ctrl-C (``KeyboardInterrupt``) ends the run with the best model so far.
        teacher: A classifier of the same classes from whose scores the network learns (``options.distill``).
        start: A model of the same kind, whose weights the network begins with instead of random ones; of more units
            than ``options.hidden`` the most important are kept (``nn.pruning``).
        checkpoint: File that is written after each epoch, and in long epochs every five minutes. Where it exists, the
            run goes on from it, and from its end if it had ended. Whoever has kept the result may delete it.
        open_rates: Measure how often the gates are open after each epoch.

    Raises:
        MissingExtraError: PyTorch is not installed.
        EdgeLstmError: Too little data, test windows among them, or targets for other steps than the options ask for;
            a teacher of something else, or one without ``distill``, or the reverse; a start of another kind or of
            fewer units; or a checkpoint that is broken, or of other options, data or models.
    """
    torch = require("torch", extra="train", purpose="to train")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = _Run(dataset, options, teacher=teacher, start=start, checkpoint=checkpoint, open_rates=open_rates)
        return run(on_epoch)
    finally:
        torch.set_num_threads(threads)


class _Run:
    def __init__(
        self,
        dataset: Dataset,
        options: TrainOptions,
        *,
        teacher: FloatModel | None = None,
        start: FloatModel | None = None,
        checkpoint: str | Path | None = None,
        open_rates: bool = False,
    ) -> None:
        import torch

        from edge_lstm.nn.building import network_of
        from edge_lstm.nn.loss import Loss
        from edge_lstm.nn.run_state import RunState
        from edge_lstm.nn.starting import begin

        check_task(dataset, options)
        self._torch, self._options, self._each = torch, options, options.pooling == "each"
        self._metric, self._measures_gates = metric_of(dataset, options), open_rates
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        of: object = dataset if teacher is None else (dataset, teacher)
        of = of if start is None else (dataset, teacher, start)
        self._digest = "" if checkpoint is None else digest(of)
        self._train, self._validation = dataset, None
        if options.validation:
            self._train, self._validation = split(dataset, options.validation, options.seed)
        mean, std = input_scale(self._train)
        _, self._to_std = target_scale(self._train, each=self._each)
        self._network = network_of(self._train, options)
        if start is not None:
            begin(self._network, start, self._train)
        self._network.counts_changes = options.change_penalty > 0
        self._augment = augmentation(dataset, options, mean, std)
        self._per_epoch = max(len(self._train), options.epoch_windows)
        self._steps = math.ceil(self._per_epoch / options.batch) * options.epochs
        optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.learning_rate, total_steps=self._steps + 1, pct_start=0.15
        )
        self._open = OpenGates(options.penalties, options.rates, options.budget_macs, self._network.sizes, self._steps)
        self._state = RunState(
            self._network, optimizer, schedule, np.random.default_rng(options.seed), moving=self._open.moving
        )
        balanced = options.class_weights == "balanced"
        weights = balanced_weights(self._train, each=self._each) if balanced else None
        self._loss = Loss(options.label_smoothing, self._to_std, weights)
        self._distillation = self._of_teacher(teacher)
        self._saved_at = time.monotonic()

    def _of_teacher(self, teacher: FloatModel | None) -> Any:
        from edge_lstm.nn.distillation import Distillation

        if (teacher is not None) != (self._options.distill > 0):
            has = "no teacher" if teacher is None else "a teacher"
            raise EdgeLstmError(f"distill is {self._options.distill} with {has}; accepted are both or neither")
        if teacher is None:
            return None
        temperature = self._options.temperature
        return Distillation(teacher, self._network.signature, each=self._each, temperature=temperature)

    def __call__(self, on_epoch: Callable[[Epoch], None]) -> Trained:
        state, interrupted = self._state, False
        with self._torch.random.fork_rng(devices=[]):
            self._torch.manual_seed(self._options.seed)
            if self._checkpoint is not None and self._checkpoint.exists():
                sizes = {"windows": len(self._train), "per_epoch": self._per_epoch}
                state.go_on(self._checkpoint, self._options, self._digest, **sizes)
            try:
                while not self._is_over():
                    state.epochs.append(self._epoch(len(state.epochs) + 1, state.best))
                    self._save()
                    on_epoch(state.epochs[-1])
            except KeyboardInterrupt:
                interrupted = True
        best = state.best
        self._network.load_state_dict(best.state or state.weights())  # the latest, if stopped before the last phase
        self._calibrate()
        return Trained(
            float_model=self._network.float_model(),
            quantized=self._network.quantized(),
            epochs=tuple(state.epochs),
            interrupted=interrupted,
            best_epoch=best.epoch or len(state.epochs),
            measure=best.measure if math.isfinite(best.measure) else None,
        )

    def _is_over(self) -> bool:
        done, best = len(self._state.epochs), self._state.best.epoch
        no_better = self._validation is not None and best and done - best >= self._options.patience
        return done >= self._options.epochs or bool(no_better)

    def _epoch(self, number: int, best: Best) -> Epoch:
        share = (number - 1) / self._options.epochs
        phase = phase_of(self._options, share)
        self._network.rounds = phase != "quantized" and share >= self._options.rounded_from
        begins = self._state.begun is None and self._first(number) and phase == "quantized"
        if begins or self._network.rounds:
            self._calibrate(again=begins)
        loss = self._train_epoch(phase)
        if not math.isfinite(loss):
            self._forget()
            raise EdgeLstmError(f"the training loss is {loss} in epoch {number}; a smaller learning_rate may help")
        found = None if self._validation is None else self._validate(self._validation, phase)
        measure = -math.inf if found is None else found.measure(self._metric)
        if phase == phase_of(self._options, 1.0) and (found is None or measure > best.measure):
            best.state, best.measure, best.epoch = self._state.weights(), measure, number
        return Epoch(
            number,
            phase,
            loss,
            accuracy=None if found is None else found.accuracy,
            r2=None if found is None else found.r2,
            macro_f1=None if found is None else found.macro_f1,
            validation_loss=None if found is None else found.loss,
            learning_rate=float(self._state.optimizer.param_groups[0]["lr"]),
            open_rates=self._open_rates() if self._measures_gates else {},
        )

    def _first(self, number: int) -> bool:
        """Whether an epoch is the first of its phase."""
        options = self._options
        before, phase = (phase_of(options, (k - 1) / options.epochs) for k in (number - 1, number))
        return number == 1 or before != phase

    def _train_epoch(self, phase: Phase) -> float:
        """Mean loss of the steps of an epoch, those included that were done before the run was resumed."""
        from edge_lstm.nn.run_state import Begun

        state, batch = self._state, self._options.batch
        if state.begun is None:
            windows = len(self._train)
            repeats = [state.rng.permutation(windows) for _ in range(math.ceil(self._per_epoch / windows))]
            state.begun = Begun(np.concatenate(repeats)[: self._per_epoch])
        order, losses = state.begun.order, state.begun.losses
        for start in range(len(losses) * batch, self._per_epoch, batch):
            losses.append(self._train_step(order[start : start + batch], phase))
            if start + batch < self._per_epoch and time.monotonic() - self._saved_at > CHECKPOINT_EVERY_S:
                self._save()
        state.begun = None
        return float(np.mean(losses))

    def _train_step(self, chosen: NDArray[np.int64], phase: Phase) -> float:
        self._network.train()
        part = self._train.take(chosen)
        x = self._augment(part.x, self._state.rng).astype(np.float64)
        loss = self._loss_of(part, x, phase)
        self._descend(loss)
        if self._options.averaging and phase == phase_of(self._options, 1.0):
            self._state.update_average(self._options.averaging)
        return float(loss.detach())

    def _loss_of(self, part: Dataset, x: NDArray[np.float64], phase: Phase) -> Any:
        """What a step makes small: the sum of its terms.

        Args:
            part: The windows of the step.
            x: (windows, steps, channels) their samples, augmented.
            phase: Of the forward pass.
        """
        scores = self._forward(x, phase, part.lengths, self._open.weights)
        self._open.observe(self._network.open_rates)
        mask = counted(part, each=self._each)
        loss = self._loss(scores, part.y, mask)
        if self._options.change_penalty:
            loss = loss + self._options.change_penalty * self._network.changes
        if self._distillation is None:
            return loss
        share = self._options.distill
        return (1 - share) * loss + share * self._distillation(scores, x, part.lengths, mask)

    def _descend(self, loss: Any) -> None:
        """One step of the optimizer and of its schedule."""
        state = self._state
        state.optimizer.zero_grad()
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._options.gradient_clip)
        state.optimizer.step()
        state.schedule.step()
        state.step += 1

    def _forward(
        self,
        x: NDArray[np.float64],
        phase: Phase,
        lengths: NDArray[np.int64] | None,
        penalties: Mapping[str, float] | None = None,
    ) -> Any:
        if phase == "quantized":
            return self._network.forward_quantized(x, lengths, penalties)
        slope = slope_of(self._options, self._state.step, self._steps) if phase == "annealed" else None
        return self._network(x, slope, lengths, penalties)

    def _validate(self, part: Dataset, phase: Phase) -> Validated:
        """The weights that would ship on the validation windows."""
        live = {name: value.clone() for name, value in self._network.state_dict().items()}
        self._network.load_state_dict(self._state.weights())
        self._network.eval()
        mask = counted(part, each=self._each)
        with self._torch.no_grad():
            blocks = [self._forward(block.x.astype(np.float64), phase, block.lengths) for block in part.blocks()]
            given = self._torch.cat(blocks)
            loss = float(self._loss(given, part.y, mask))
        scores = given.numpy()
        self._network.load_state_dict(live)
        if self._to_std is not None:
            return Validated(loss, r2=1 - float((((scores - part.y) / self._to_std)[mask] ** 2).mean()))
        confusion = confusion_matrix(part.labels[mask], scores.argmax(axis=-1)[mask], len(part.classes))
        return Validated(loss, accuracy=accuracy_of(confusion), macro_f1=macro_f1(confusion))

    def _open_rates(self) -> dict[str, float]:
        """Mean value of each gate on training windows: that of the float weights, hard gates being thresholds."""
        model = self._network.float_model()
        part = self._train.take(np.arange(min(len(self._train), OPEN_RATE_WINDOWS)))
        when = timeline(model.signature, len(part), part.steps, part.lengths)
        found = evaluate(model, standardize(model, part.x), when).layers
        rates: dict[str, float] = {}
        for k, (layer, values) in enumerate(zip(model.layers, found, strict=False)):
            rates |= {f"{k}.{gate}": float(values[gate][part.inside].mean()) for gate in layer.modes}
        return rates

    def _calibrate(self, *, again: bool = False) -> None:
        """On the training windows: unless it is done again, the formats stay fixed from then on."""
        if again or self._network.calibration is None:
            self._network.calibration = calibrate(
                self._network.float_model(), self._train.x, lengths=self._train.lengths
            )

    def _save(self) -> None:
        if self._checkpoint is not None:
            self._state.save(self._checkpoint, self._options, self._digest)
            self._saved_at = time.monotonic()

    def _forget(self) -> None:
        """There is nothing to go on with."""
        if self._checkpoint is not None:
            self._checkpoint.unlink(missing_ok=True)
