"""All that changes while a network is trained, and how a checkpoint keeps it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lstm import checkpoint
from edge_lstm.calibrate import Calibration
from edge_lstm.epoch import Epoch
from edge_lstm.errors import EdgeLstmError
from edge_lstm.nn import snapshot
from edge_lstm.nn.network import Network
from edge_lstm.train_options import TrainOptions

Weights = dict[str, Tensor]


@dataclass
class Best:
    """The weights to keep: the best on the validation windows, or the latest where there are none.

    Attributes:
        state: None before an epoch of the last phase is over.
        measure: By the metric, minus infinity without validation.
        epoch: Whose weights these are; 0 before.
    """

    state: Weights | None = None
    measure: float = -math.inf
    epoch: int = 0


@dataclass
class Begun:
    """The epoch that is going on.

    Attributes:
        order: Of the training windows, at random; those of a small set repeat.
        losses: Of the steps that are done.
    """

    order: NDArray[np.int64]
    losses: list[float] = field(default_factory=list)


@dataclass
class RunState:
    """Of a training run.

    Attributes:
        network: Its parameters and calibration.
        optimizer: Its moments, learning rate and betas.
        schedule: Which sets these two.
        rng: Of batches and augmentation; PyTorch's random numbers belong to the state too.
        step: Steps done.
        epochs: That are over.
        begun: The one that is not, if any.
        average: Of the weights, where they are averaged.
        averaged: Steps whose weights are in it.
        moving: Of ``open_gates.OpenGates``.
        best: The weights to keep.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator
    step: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    begun: Begun | None = None
    average: Weights | None = None
    averaged: int = 0
    moving: dict[str, float] = field(default_factory=dict)
    best: Best = field(default_factory=Best)

    def weights(self) -> Weights:
        """A copy of those that would ship."""
        return copied(self.network.state_dict() if self.average is None else self.average)

    def update_average(self, decay: float) -> None:
        """Take the present weights into the average.

        Args:
            decay: Of an exponential moving average; 1: the mean of all of them (stochastic weight averaging:
                P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018).
        """
        state = self.network.state_dict()
        self.averaged += 1
        if self.average is None:
            self.average = copied(state)
        share = 1 / self.averaged if decay == 1 else 1 - decay
        for name, value in self.average.items():
            value.lerp_(state[name], share)

    def save(self, path: Path, options: TrainOptions, data: str) -> None:
        """Write a checkpoint.

        Args:
            path: Its file.
            options: The recipe.
            data: Digest of the data set.

        Raises:
            EdgeLstmError: The file can't be written.
        """
        group, calibration, best = self.optimizer.param_groups[0], self.network.calibration, self.best
        tensors = {
            **snapshot.arrays("network", self.network.state_dict()),
            **snapshot.arrays("average", self.average or {}),
            **snapshot.arrays("best", best.state or {}),
            **snapshot.moments(self.optimizer, self.network),
            **snapshot.random(),
        }
        if self.begun is not None:
            tensors |= {"order": self.begun.order, "losses": np.array(self.begun.losses, np.float64)}
        measure = best.measure if math.isfinite(best.measure) else None
        header = checkpoint.Header(
            options=options.to_json(),
            data=data,
            torch=str(torch.__version__),
            step=self.step,
            epochs=self.epochs,
            batches=0 if self.begun is None else len(self.begun.losses),
            learning_rate=float(group["lr"]),
            betas=tuple(group["betas"]),
            random=checkpoint.RandomState.of(self.rng),
            averaged=self.averaged,
            moving=self.moving,
            calibration=None if calibration is None else checkpoint.Ranges.of(calibration),
            best=checkpoint.Best(epoch=best.epoch, measure=measure) if best.epoch else None,
        )
        checkpoint.save(path, header, tensors)

    def go_on(self, path: Path, options: TrainOptions, data: str, *, windows: int, per_epoch: int) -> None:
        """Take up what ``save`` wrote.

        Args:
            path, options, data: As of ``save``.
            windows: To train on.
            per_epoch: Windows of an epoch, which may repeat.

        Raises:
            EdgeLstmError: The checkpoint is broken, or of other options or data.
        """
        header, tensors = checkpoint.load(path)
        checkpoint.check_same_run(path, header, options, data, str(torch.__version__))
        try:
            self._take(header, snapshot.Snapshot(tensors), windows, per_epoch, math.ceil(per_epoch / options.batch))
        except EdgeLstmError as error:
            raise EdgeLstmError(f"{path}: {error}") from None

    def _take(
        self, header: checkpoint.Header, found: snapshot.Snapshot, windows: int, per_epoch: int, batches: int
    ) -> None:
        """All of it, checked against what is expected of a run of these sizes."""
        if header.batches >= batches or header.step != len(header.epochs) * batches + header.batches:
            raise EdgeLstmError(
                f"{header.step} steps are not {len(header.epochs)} epochs of {batches} and {header.batches} more"
            )
        like = self.network.state_dict()
        self.network.load_state_dict(found.state("network", like))
        self.average = found.state("average", like) if header.averaged else None
        if header.best is not None:
            measure = -math.inf if header.best.measure is None else header.best.measure
            self.best = Best(found.state("best", like), measure, header.best.epoch)
        if header.moving.keys() != self.moving.keys():
            wanted = ", ".join(self.moving) or "none"
            raise EdgeLstmError(f"it has multipliers of penalties {', '.join(header.moving) or 'none'}, not {wanted}")
        self.moving.update(header.moving)
        found.optimizer(self.optimizer, self.network, learning_rate=header.learning_rate, betas=header.betas)
        rate = [header.learning_rate]
        self.schedule.load_state_dict({"last_epoch": header.step, "_step_count": header.step + 1, "_last_lr": rate})
        if header.batches:
            order = found.array("order", (per_epoch,), "int64")
            if order.min() < 0 or order.max() >= windows:
                raise EdgeLstmError(
                    f"order names windows {order.min()} to {order.max()}; accepted are 0 to {windows - 1}"
                )
            self.begun = Begun(order, found.array("losses", (header.batches,), "float64").tolist())
        found.random()
        found.end()
        header.random.put(self.rng)
        self.averaged = header.averaged
        self.step, self.epochs = header.step, list(header.epochs)
        self.network.calibration = None if header.calibration is None else self._ranges(header.calibration)

    def _ranges(self, found: checkpoint.Ranges) -> Calibration:
        """Those of a checkpoint.

        Raises:
            EdgeLstmError: They are of another network.
        """
        model = self.network.float_model()
        layers = len(model.layers) + (0 if model.decoder is None else len(model.decoder.layers))
        has = len(found.input_max), len(found.cell_max), len(found.hidden_max), len(found.relu_max)
        wanted = len(model.signature.channels), layers, layers, len(model.relu_layers)
        if has != wanted:
            form = "{} inputs, {} cell states, {} hidden states and {} dense layers with relu"
            raise EdgeLstmError(f"its calibration has {form.format(*has)}; the network has {form.format(*wanted)}")
        return found.calibration()


def copied(state: Any) -> Weights:
    """Tensors of their own."""
    return {name: value.clone() for name, value in state.items()}
