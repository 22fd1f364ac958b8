"""Models of PyTorch, by both of its exporters: what is imported computes what onnxruntime computes, in float and in
integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from torch_models import DYNAMO, LAYERED, SPECS, STEPS, Spec, exported, name, samples

from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.interpreter import Imported, interpret
from edge_lstm.importing.load import ImportedModel, import_onnx
from edge_lstm.importing.oracle import Scores
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.ptq import quantize
from edge_lstm.verification import verify

FLOAT = 1e-4
"""Of the issue; onnxruntime computes in float32."""


def agrees(content: bytes, x: np.ndarray) -> Imported:
    imported = interpret(onnx.ModelProto.FromString(content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    wanted = session.run(["y"], {"x": x})[0]
    found = imported.run(x)["y"]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < FLOAT
    return imported


def test_there_are_enough_models() -> None:
    assert len({name(spec) for spec in SPECS}) == len(SPECS) >= 40


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_torchscript_exports_are_computed_as_by_onnxruntime(spec: Spec) -> None:
    agrees(exported(spec, dynamo=False), samples(spec, 5, seed=1).numpy())


@pytest.mark.parametrize(
    "spec", [s if k % 4 == 0 else pytest.param(s, marks=pytest.mark.slow) for k, s in enumerate(DYNAMO)], ids=name
)
def test_dynamo_exports_are_computed_as_by_onnxruntime(spec: Spec) -> None:
    agrees(exported(spec, dynamo=True), samples(spec, 3, seed=1).numpy())


@pytest.mark.parametrize("spec", LAYERED, ids=name)
def test_quantized_models_agree_with_the_file(spec: Spec, tmp_path: Path) -> None:
    """Weights are random, and so are many of the decisions: how far scores are from float ones is what counts."""
    path = tmp_path / "Some model-1.onnx"
    path.write_bytes(exported(spec, dynamo=False))
    imported = import_onnx(path)
    assert isinstance(imported, ImportedModel)
    x = samples(spec._replace(batch_first=True), 200, seed=2).numpy()
    quantized = quantize(imported, calibration=x, activation_bits=16, activations="lut-interp")
    assert quantized.signature.name == "some_model_1"
    scores = Scores(path, imported, STEPS)
    found = verify(
        quantized,
        x,
        backends=("numpy", "onnxruntime"),
        float_scores=scores,
        normalized=scores.final != "scores",
    )
    assert found.equal
    assert found.within_bound
    assert found.float is not None
    assert found.float.agreement is not None
    assert found.float.rms < 0.05 * np.std(scores(x))
    assert found.float.agreement >= 0.9


def test_the_other_models_are_quantized_as_graphs(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for spec in (Spec(before="conv"), Spec(head="query"), Spec(before="norm")):
        path.write_bytes(exported(spec, dynamo=False))
        imported = import_onnx(path)
        assert isinstance(imported, ImportedModel)
        with pytest.raises(UnsupportedError):
            imported.float_model(steps=STEPS)
        assert isinstance(quantize(imported, calibration=samples(spec, 4).numpy()), QuantizedGraph)
