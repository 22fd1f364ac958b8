"""Trained models of PyTorch in plain 8-bit integers: they find the classes that they found in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch_models import (
    DYNAMO,
    SPECS,
    Spec,
    exported,
    exported_model,
    motions,
    name,
    trained,
    trained_estimator,
)

from edge_lstm.importing.load import ImportedModel, import_onnx
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute, real_outputs

AGREEMENT = 0.98
"""Of the issue: share of the windows with the same class, on data like the training data."""
ERROR = 0.05
"""Root mean squared error of a regression, of the spread of its outputs. An h of 8 bits is off by up to half of 1/128;
where outputs spread over a fifth of its range, that is 2 % of the spread, and weights and inputs have theirs."""


def scores_of(
    content: bytes, path: Path, *, batch_first: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outputs for the test windows: of the file on onnxruntime, and of the integers, quantized with the defaults."""
    path.write_bytes(content)
    imported = import_onnx(path)
    assert isinstance(imported, ImportedModel)
    quantized = quantize(imported, calibration=motions(train=True)[0])
    x, _ = motions(train=False)
    integers = execute(quantized, quantized.quantize_input(x)).outputs
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (real,) = session.run(None, {"x": x if batch_first else x.transpose(1, 0, 2)})
    return real, real_outputs(quantized, integers)["scores"]


def test_there_are_enough_models() -> None:
    assert len({name(spec) for spec in SPECS}) == len(SPECS) >= 40
    assert len(motions(train=False)[0]) >= 400


def fast(k: int) -> bool:
    """A third, in which every head, cell and direction is."""
    return (k + k // 7) % 3 == 0


MARKED = [pytest.param(s, marks=() if fast(k) else pytest.mark.slow, id=name(s)) for k, s in enumerate(SPECS)]


@pytest.mark.parametrize("spec", MARKED)
def test_a_trained_model_keeps_its_classes_in_8_bits(spec: Spec, tmp_path: Path) -> None:
    agrees(exported(spec, dynamo=False, model=trained(spec)), tmp_path / "m.onnx", spec)


@pytest.mark.slow
@pytest.mark.parametrize("spec", DYNAMO, ids=name)
def test_so_does_one_of_the_newer_exporter(spec: Spec, tmp_path: Path) -> None:
    agrees(exported(spec, dynamo=True, model=trained(spec)), tmp_path / "m.onnx", spec)


def agrees(content: bytes, path: Path, spec: Spec) -> None:
    real, integer = scores_of(content, path, batch_first=spec.batch_first)
    assert real.shape == integer.shape
    classes = real.argmax(axis=-1)
    assert len(np.unique(classes)) == 4
    assert (integer.argmax(axis=-1) == classes).mean() >= AGREEMENT


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_regression_is_near_its_float_values(kind: str, tmp_path: Path) -> None:
    x = torch.from_numpy(motions(train=True)[0][:2])
    content = exported_model(trained_estimator(kind), x, 0, dynamo=False)
    real, integer = scores_of(content, tmp_path / "m.onnx")
    assert np.sqrt(((integer - real) ** 2).mean()) < ERROR * real.std()
