"""Every cell in float against onnxruntime, on the graphs that we write; its own operators: test_onnx_operators.

Tolerance: onnxruntime computes in float32, 6e-8 per operation, which the recurrence amplifies; we compute in float64.
Largest difference measured here: 3e-6. A gate that is a step decides differently only where its pre-activation is that
close to a threshold; such windows are left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_lstm.cells import CELLS
from edge_lstm.codec import digest
from edge_lstm.export import onnx_float
from edge_lstm.float_run import run_layer, standardize
from edge_lstm.gates import MODES, STEPS, GateMode
from edge_lstm.importer import import_own
from edge_lstm.layers import FloatLayer, Squashing
from edge_lstm.model import FloatModel, Pooling
from edge_lstm.oracle import run_onnxruntime
from edge_lstm.signature import Signature

TOLERANCE, MARGIN = 1e-5, 1e-4
CHANNELS, HIDDEN, CLASSES, WINDOWS, STEPS_OF_WINDOW = 3, 6, 4, 100, 12
EVERY = [(cell, mode) for cell, kind in CELLS.items() for mode in (MODES if kind.gates else MODES[:1])]


def draw_layer(
    rng: np.random.Generator, cell: str, inputs: int = CHANNELS, *, mode: GateMode = "soft", squash: Squashing = "exact"
) -> FloatLayer:
    """Random weights of float64; a projected cell has fewer outputs than units."""
    kind = CELLS[cell]
    outputs = HIDDEN - 2 if kind.projected else HIDDEN
    return FloatLayer(
        cell,
        {k: rng.normal(0, 0.8, (HIDDEN, inputs)) for k in kind.matrices},
        {k: rng.normal(0, 0.4, (HIDDEN, outputs)) for k in kind.matrices},
        {k: rng.normal(0, 0.5, HIDDEN) for k in kind.blocks},
        dict.fromkeys(kind.gates, mode),
        {k: rng.normal(0, 0.5, HIDDEN) for k in kind.split},
        {k: rng.normal(0, 0.5, HIDDEN) for k in kind.peepholes},
        rng.normal(0, 0.5, (outputs, HIDDEN)) if kind.projected else None,
        squash,
    )


def draw_model(
    cell: str, mode: GateMode = "soft", squash: Squashing = "exact", pooling: Pooling = "last"
) -> FloatModel:
    rng = np.random.default_rng(0)
    first = draw_layer(rng, cell, mode=mode, squash=squash)
    second = draw_layer(rng, cell, first.outputs, mode=mode, squash=squash)
    return FloatModel(
        signature=Signature("m", ("ax", "ay", "az"), ("g",) * 3, 50.0, STEPS_OF_WINDOW, ("a", "b", "c", "d")),
        mean=rng.normal(0, 0.5, CHANNELS),
        std=np.array([0.5, 1.0, 2.0]),
        clip=2.0,
        layers=(first, second),
        pooling=pooling,
        dense_weights=rng.normal(0, 1, (CLASSES, second.outputs)),
        dense_bias=rng.normal(0, 0.2, CLASSES),
    )


def rounded(value: Any) -> Any:
    """A model or a layer with its weights rounded to float32."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32).astype(np.float64)
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    if isinstance(value, FloatLayer | FloatModel):
        return replace(value, **{name: rounded(v) for name, v in vars(value).items()})
    return tuple(rounded(v) for v in value) if isinstance(value, tuple) else value


def samples() -> Any:
    return np.random.default_rng(1).normal(size=(WINDOWS, STEPS_OF_WINDOW, CHANNELS)).astype(np.float32)


def clear_of_steps(model: FloatModel, x: Any) -> Any:
    """(windows,) whether every pre-activation of every gate that is a step keeps away from its thresholds."""
    clear, value = np.ones(len(x), bool), standardize(model, x)
    for layer in model.layers:
        trace = run_layer(layer, value)
        for gate, mode in layer.modes.items():
            for at in STEPS.get(mode, ()):
                clear &= (np.abs(trace[f"z_{gate}"] - at) > MARGIN).all(axis=(1, 2))
        value = trace["h"]
    return clear


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("squash", ["exact", "hard"])
@pytest.mark.parametrize(("cell", "mode"), EVERY)
def test_onnxruntime_computes_our_scores(cell: str, mode: GateMode, squash: Squashing, pooling: Pooling) -> None:
    model, x = rounded(draw_model(cell, mode, squash, pooling)), samples()
    x = x[clear_of_steps(model, x)]
    assert len(x) > 0.8 * WINDOWS
    centre = model.run(x)["scores"].mean(axis=0)
    model = rounded(replace(model, dense_bias=model.dense_bias - centre))  # so that several classes are found
    ours, theirs = model.run(x), run_onnxruntime(onnx_float.build(model).SerializeToString(), x)
    np.testing.assert_allclose(theirs["scores"], ours["scores"], rtol=0, atol=TOLERANCE)
    best = np.sort(ours["scores"], axis=1)
    clear = best[:, -1] - best[:, -2] > 2 * TOLERANCE
    assert np.array_equal(theirs["class_index"][clear], ours["class_index"][clear])
    assert len(set(theirs["class_index"].tolist())) >= 3


@pytest.mark.parametrize("squash", ["exact", "hard"])
@pytest.mark.parametrize(("cell", "mode"), EVERY)
def test_what_is_written_comes_back(cell: str, mode: GateMode, squash: Squashing, tmp_path: Path) -> None:
    model = draw_model(cell, mode, squash, "mean")
    onnx_float.write(model, tmp_path / "m.onnx")
    assert digest(import_own(tmp_path / "m.onnx")) == digest(rounded(model)) != digest(model)


def test_a_written_cifg_needs_no_reading_of_input_forget() -> None:
    """Without the attribute it computes the same: i and f are rows of their own, and their gates add up to 1."""
    proto, x = onnx_float.build(draw_model("cifg")), samples()
    coupled = run_onnxruntime(proto.SerializeToString(), x)
    for node in proto.graph.node:
        kept = [a for a in node.attribute if a.name != "input_forget"]
        assert len(kept) == len(node.attribute) - (node.op_type == "LSTM")
        del node.attribute[:]
        node.attribute.extend(kept)
    np.testing.assert_allclose(
        run_onnxruntime(proto.SerializeToString(), x)["scores"], coupled["scores"], atol=TOLERANCE
    )


def pack(group: Any, order: str) -> Any:
    return np.concatenate([group[block] for block in order])


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_torch_computes_our_projected_cell() -> None:
    """ONNX's LSTM has no projection."""
    rng, x = np.random.default_rng(6), samples()
    layer = draw_layer(rng, "lstmp")
    assert layer.P is not None
    theirs = torch.nn.LSTM(CHANNELS, HIDDEN, batch_first=True, proj_size=layer.outputs, bias=True)
    order = "ifgo"  # PyTorch's, from its documentation
    weights = (pack(layer.W, order), pack(layer.R, order), pack(layer.b, order), np.zeros(4 * HIDDEN), layer.P)
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(value))
        h = theirs(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(h, run_layer(layer, x)["h"], rtol=0, atol=TOLERANCE)
