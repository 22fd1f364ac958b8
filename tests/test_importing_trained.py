"""Models that were trained in PyTorch without us: in 8-bit integers they find the classes that they found in float."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_lstm.data import load, train_test
from edge_lstm.importing.load import ImportedModel, import_onnx
from edge_lstm.importing.oracle import Scores
from edge_lstm.ptq import quantize
from edge_lstm.verification import verify

AGREEMENT = 0.98
"""Of the issue: share of the windows with the same class."""


class Classifier(nn.Module):
    """A user's model: standardized in the graph, so that the file takes samples in their units."""

    def __init__(self, kind: str, pooling: str, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        both = kind == "LSTM"
        self.recurrent = getattr(nn, kind)(len(mean), 16, batch_first=True, bidirectional=both)
        self.pooling, self.dense = pooling, nn.Linear(32 if both else 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.recurrent((x - self.mean) / self.std)
        scores: Tensor = self.dense(y[:, -1] if self.pooling == "last" else y.mean(1))
        return torch.softmax(scores, -1)


@pytest.mark.parametrize(("kind", "pooling"), [("LSTM", "mean"), ("GRU", "last"), ("RNN", "mean")])
def test_a_trained_model_keeps_its_classes_in_8_bits(kind: str, pooling: str, tmp_path: Path) -> None:
    train, test = train_test(load("basic-motions"))
    x, y = torch.from_numpy(train.x), torch.from_numpy(train.labels)
    torch.manual_seed(0)
    model = Classifier(kind, pooling, x.mean((0, 1)), x.std((0, 1)))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.nll_loss(torch.log(model(x)), y).backward()
        optimizer.step()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"samples": {0: "n", 1: "t"}}
        torch.onnx.export(model.eval(), (x[:1],), file, dynamo=False, input_names=["samples"], dynamic_axes=axes)
    (tmp_path / "theirs.onnx").write_bytes(file.getvalue())
    imported = import_onnx(tmp_path / "theirs.onnx")
    assert isinstance(imported, ImportedModel)
    quantized = quantize(imported, calibration=train.x)
    scores = Scores(tmp_path / "theirs.onnx", imported, test.steps)
    windows = np.concatenate([train.x, test.x]).astype(np.float64)
    found = verify(quantized, windows, backends=("numpy", "c"), float_scores=scores, normalized=True)
    assert found.equal
    assert found.float is not None
    assert found.float.agreement is not None
    assert found.float.agreement >= AGREEMENT
    right = scores(test.x).argmax(axis=1) == test.labels
    assert right.mean() > 0.6  # of four: it has learned something
