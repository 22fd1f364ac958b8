"""Classifiers of PyTorch as their users write them: with random weights, or trained; and their export."""

from __future__ import annotations

import io
import logging
import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_lstm.data import load, train_test

FEATURES, STEPS, CLASSES = 6, 12, 4


class Spec(NamedTuple):
    """A model."""

    kind: str = "LSTM"
    bidirectional: bool = False
    layers: int = 1
    head: str = "last"
    batch_first: bool = True
    before: str = ""
    relu: bool = False
    softmax: str = "log"


class Model(nn.Module):
    """A classifier as its users write it."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec, width = spec, FEATURES
        if "conv" in spec.before:
            self.conv, self.norm = nn.Conv1d(FEATURES, 8, 3, padding=1), nn.BatchNorm1d(8)
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)
            width = 8
        if "dense" in spec.before:
            self.first = nn.Linear(width, 7)
            width = 7
        options: dict[str, Any] = {"batch_first": spec.batch_first, "bidirectional": spec.bidirectional}
        self.recurrent = getattr(nn, spec.kind)(width, 10, spec.layers, **options)
        width = 20 if spec.bidirectional else 10
        self.score = nn.Linear(width, 1)
        self.layer_norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 12) if spec.relu else nn.Identity()
        self.dropout = nn.Dropout(0.3)
        self.dense = nn.Linear(12 if spec.relu else width, CLASSES)
        self.dense.weight.data *= 8  # untrained classes would all be nearly equal

    def forward(self, x: Tensor) -> Tensor:
        spec = self.spec
        if "scale" in spec.before:
            x = (x - 0.3) / 1.7
        if "conv" in spec.before:
            x = torch.relu(self.norm(self.conv(x.transpose(1, 2))))
            if "pool" in spec.before:
                x = nn.functional.max_pool1d(x, 2)
            x = x.transpose(1, 2)
        if "dense" in spec.before:
            x = self.first(x)
        y, state = self.recurrent(x)
        value = self._pooled(y, state[0] if spec.kind == "LSTM" else state)
        if "norm" in spec.before:
            value = self.layer_norm(value)
        if spec.relu:
            value = torch.relu(self.hidden(value))
        scores: Tensor = self.dense(self.dropout(value))
        if spec.softmax == "log":
            return torch.log_softmax(scores, -1)
        return torch.softmax(scores, -1) if spec.softmax == "yes" else scores

    def _pooled(self, y: Tensor, last: Tensor) -> Tensor:
        time, head = (1 if self.spec.batch_first else 0), self.spec.head
        if head == "last":
            return y[:, -1] if time else y[-1]
        if head == "state":
            return torch.cat([last[-2], last[-1]], -1) if self.spec.bidirectional else last[-1]
        if head == "mean":
            return y.mean(time)
        if head == "max":
            return y.max(time).values
        if head == "attention":
            return (torch.softmax(self.score(y), time) * y).sum(time)
        if head == "query":
            query = y[:, -1]
            weights = torch.softmax(torch.bmm(y, query.unsqueeze(2)), 1)
            return torch.bmm(weights.transpose(1, 2), y).squeeze(1)
        return y


HEADS = ("last", "state", "mean", "max", "attention", "query", "each")
PLAIN = [
    Spec(kind, bidirectional, 1 + (k % 2), head)
    for kind in ("LSTM", "GRU", "RNN")
    for bidirectional in (False, True)
    for k, head in enumerate(HEADS)
]
OTHERS = [
    Spec(batch_first=False),
    Spec("GRU", True, 2, "state", batch_first=False),
    Spec(before="scale", relu=True, softmax="yes"),
    Spec("GRU", before="dense", head="mean", softmax="no"),
    Spec("LSTM", True, 1, "mean", before="scale dense", relu=True),
    Spec(before="conv"),
    Spec("GRU", True, 1, "max", before="conv pool"),
    Spec(before="norm", head="mean"),
]
SPECS = [*PLAIN, *OTHERS]
DYNAMO = [spec for k, spec in enumerate(SPECS) if spec.kind == "RNN" or k % 3 == 0 or spec in OTHERS]
"""The newer exporter writes an ``RNN`` step by step; see the test of what is refused."""
NOT_LAYERS = ("query", "conv", "norm")
"""What makes a model more than layers, pooling and dense layers; it is quantized as a graph."""


def name(spec: Spec) -> str:
    order = "" if spec.batch_first else "time first"
    words = (spec.kind, "bidirectional" * spec.bidirectional, str(spec.layers), spec.head, spec.before, order)
    return "-".join(word for word in words if word).replace(" ", "-")


LAYERED = [s for s in SPECS if not any(word in (s.head, *s.before.split()) for word in NOT_LAYERS)]
"""Models that are a ``FloatModel``."""


def built(spec: Spec) -> Model:
    torch.manual_seed(len(name(spec)))
    return Model(spec).eval()


def samples(spec: Spec, windows: int, seed: int = 0) -> Tensor:
    shape = (windows, STEPS, FEATURES) if spec.batch_first else (STEPS, windows, FEATURES)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exported(spec: Spec, *, dynamo: bool, model: Model | None = None) -> bytes:
    """The file of a model; of one with random weights where none is given."""
    return exported_model(model or built(spec), samples(spec, 2), 0 if spec.batch_first else 1, dynamo=dynamo)


def exported_model(model: nn.Module, x: Tensor, batch: int, *, dynamo: bool) -> bytes:
    """The file of any model, with samples like its own, and which of their axes is that of the windows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            axes = {batch: torch.export.Dim("windows", min=1, max=4096)}
            program = torch.onnx.export(
                model, (x,), dynamo=True, input_names=["x"], output_names=["y"], dynamic_shapes=(axes,), verbose=False
            )
            assert program is not None
            return bytes(program.model_proto.SerializeToString())
        file = io.BytesIO()
        axes = {"x": {batch: "windows", 1 - batch: "steps"}}
        torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes)
        return file.getvalue()


# --- trained ---------------------------------------------------------------------------------------------------

EVERY, SHIFT = 4, 5
"""Of the recordings every fourth sample is taken, 2.5 a second; windows of 12 samples begin every 5 of theirs."""
EPOCHS, RATE = 100, 0.03
torch.set_num_threads(1)  # of models this small more only wait for each other


@cache
def motions(*, train: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Standardized windows (windows, steps, channels) of BasicMotions, four activities, and the class of each."""
    training, test = train_test(load("basic-motions"))
    part = training if train else test
    x = (part.x - training.x.mean((0, 1))) / training.x.std((0, 1))
    starts = range(2, x.shape[1] - EVERY * STEPS, SHIFT)  # the first samples of a recording repeat
    windows = np.concatenate([x[:, at : at + EVERY * STEPS : EVERY] for at in starts]).astype(np.float32)
    return windows, np.tile(part.labels, len(starts)).astype(np.int64)


@cache
def trained(spec: Spec) -> Model:
    """The model, trained on ``motions``."""
    model = built(spec).train()
    model.dense.reset_parameters()
    x, y = map(torch.from_numpy, motions(train=True))
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        likelihood(spec, model(x if spec.batch_first else x.transpose(0, 1)), y).backward()
        optimizer.step()
    return model.eval()


def likelihood(spec: Spec, output: Tensor, y: Tensor) -> Tensor:
    """Mean negative log-likelihood of the classes y (windows,), at each step where each has an output."""
    scores = torch.log(output + 1e-9) if spec.softmax == "yes" else torch.log_softmax(output, -1)
    if scores.ndim == 3:
        scores = scores if spec.batch_first else scores.transpose(0, 1)
        scores, y = scores.flatten(0, 1), y.repeat_interleave(scores.shape[1])
    return nn.functional.nll_loss(scores, y)


class Estimator(nn.Module):
    """A regression: the mean absolute acceleration along the first axis over a window."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.recurrent, self.dense = getattr(nn, kind)(FEATURES, 10, batch_first=True), nn.Linear(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.recurrent(x)
        value: Tensor = self.dense(y[:, -1])
        return value


def trained_estimator(kind: str) -> Estimator:
    """Trained on ``motions``."""
    torch.manual_seed(0)
    model, x = Estimator(kind), torch.from_numpy(motions(train=True)[0])
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), x[..., :1].abs().mean(1)).backward()
        optimizer.step()
    return model.eval()
