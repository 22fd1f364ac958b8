"""Pooling, dense layers with relu, classification and regression: in every backend, in float ONNX and in training."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edge_lstm.bits import Bits
from edge_lstm.calibrate import calibrate
from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export.onnx_float import build, write
from edge_lstm.gates import MODES
from edge_lstm.heads import FloatAttention
from edge_lstm.importer import import_own
from edge_lstm.layers import FloatDense
from edge_lstm.model import POOLINGS, FloatModel
from edge_lstm.nn.network import Network
from edge_lstm.oracle import run_onnxruntime
from edge_lstm.ptq import quantize
from edge_lstm.runtime import Stream, execute, real_outputs
from edge_lstm.signature import Signature
from edge_lstm.verification import verify

BACKENDS = ("numpy", "torch", "onnxruntime", "c", "cortex-m0plus")
WIDTHS = ((), (7,), (7, 5))
HEADS = list(itertools.product(POOLINGS, ("classify", "regress"), WIDTHS))


@pytest.fixture
def make(make_float_model: Callable[..., FloatModel]) -> Callable[..., FloatModel]:
    def build_one(pooling: str, task: Any, widths: tuple[int, ...], seed: int = 0) -> FloatModel:
        rng = np.random.default_rng(seed)
        model = make_float_model("hard", classes=3, seed=seed)
        relu, width = [], model.layers[-1].outputs
        for rows in widths:
            relu.append(FloatDense(rng.normal(0, 1, (rows, width)), rng.normal(0.3, 0.3, rows)))
            width = rows
        return replace(
            model,
            signature=replace(model.signature, task=task),
            relu_layers=tuple(relu),
            dense_weights=rng.normal(0, 1, (3, width)),
            pooling=pooling,
            attention=FloatAttention(rng.normal(0, 2, 8), np.array([-3.0])) if pooling == "attention" else None,
        )

    return build_one


def samples(model: FloatModel, windows: int = 5, seed: int = 1) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return np.random.default_rng(seed).normal(0, 1, shape)


@pytest.mark.parametrize(("pooling", "task", "widths"), HEADS)
def test_every_backend_computes_the_same(make: Any, pooling: str, task: str, widths: tuple[int, ...]) -> None:
    model = make(pooling, task, widths)
    x = samples(model)
    quantized = quantize(model, calibration=x[:3], activation_bits=8 if task == "classify" else 16)
    found = verify(quantized, 2 * x, backends=BACKENDS, trace="all")
    assert found.first_mismatch is None
    assert found.compared > 5000
    outputs = execute(quantized, quantized.quantize_input(x)).outputs
    assert set(outputs) == ({"scores", "class_index"} if task == "classify" else {"scores"})


@pytest.mark.parametrize(("pooling", "task", "widths"), HEADS)
def test_the_float_model_is_its_onnx_file_and_back(
    make: Any, tmp_path: Any, pooling: str, task: str, widths: tuple[int, ...]
) -> None:
    model = make(pooling, task, widths)
    x = samples(model, windows=20)
    found, wanted = run_onnxruntime(build(model).SerializeToString(), x), model.run(x)
    assert set(found) == set(wanted)
    # float32 against float64; a hard gate's decision may differ in a window
    close = np.isclose(found["scores"], wanted["scores"], rtol=1e-5, atol=1e-5).all(axis=-1)
    assert close.mean() >= 0.9
    write(model, tmp_path / "m.onnx")
    read = import_own(tmp_path / "m.onnx")
    write(read, tmp_path / "again.onnx")
    assert digest(import_own(tmp_path / "again.onnx")) == digest(read)
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


@pytest.mark.parametrize(("pooling", "task", "widths"), HEADS)
def test_integers_are_near_the_float_model(make: Any, pooling: str, task: str, widths: tuple[int, ...]) -> None:
    """Soft gates, 16-bit activations: what is left is the 8-bit weights' and the head's error."""
    model = make(pooling, task, widths)
    model = replace(model, layers=tuple(replace(k, modes=dict.fromkeys("ifo", "soft")) for k in model.layers))
    x = samples(model, windows=40)
    quantized = quantize(model, calibration=x, activation_bits=16, activations="lut-interp")
    found = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)["scores"]
    wanted = model.run(x)["scores"]
    assert np.sqrt(((found - wanted) ** 2).mean()) < 0.05 * wanted.std() + 0.02


@pytest.mark.parametrize("pooling", POOLINGS)
def test_single_steps_are_a_run(make: Any, pooling: str) -> None:
    model = make(pooling, "classify", (4,))
    x = samples(model)
    quantized = quantize(model, calibration=x)
    wanted = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)
    stream = Stream(quantized)
    for window, scores in zip(x, wanted["scores"], strict=True):
        stream.reset()
        steps = [stream.step(sample)["scores"] for sample in window]
        assert np.array_equal(steps if pooling == "each" else steps[-1], scores)


def test_max_pooling_is_the_largest_h_even_where_all_are_negative(make: Any) -> None:
    model = make("max", "regress", ())
    x = samples(model)
    quantized = quantize(model, calibration=x)
    integers = quantized.quantize_input(x)
    trace = execute(quantized, integers, trace="all").trace
    h = trace["lstm0.h"]
    assert np.array_equal(trace["pool.max"][:, -1], h.max(axis=1))
    soft = replace(model, layers=tuple(replace(k, modes=dict.fromkeys("ifo", "soft")) for k in model.layers))
    down = replace(soft.layers[0], b={**soft.layers[0].b, "g": np.full(8, -9.0)})
    negative = quantize(replace(soft, layers=(down,)), calibration=x)
    trace = execute(negative, negative.quantize_input(x), trace="all").trace
    assert (trace["lstm0.h"].max(axis=1) < 0).any()
    assert np.array_equal(trace["pool.max"][:, -1], trace["lstm0.h"].max(axis=1))


@pytest.mark.parametrize("number", range(12))
def test_training_computes_these_integers_too(number: int) -> None:
    rng = np.random.default_rng(number)
    task: Any = ("classify", "regress")[number % 2]
    signature = Signature("m", ("a", "b"), ("", ""), None, 9, ("p", "q"), task)
    made = Network(
        signature,
        np.zeros(2),
        np.ones(2),
        4.0,
        cell_name="gru",
        modes=dict.fromkeys("zr", MODES[number % len(MODES)]),
        hidden=6,
        layers=1,
        pooling=POOLINGS[number % len(POOLINGS)],
        relu=WIDTHS[number % 3],
        bits=[Bits(8, (8, 16)[number // 6])],
        seed=number,
    )
    x = rng.normal(0, 1, (5, 9, 2))
    made.calibration = calibrate(made.float_model(), x)
    found = made.forward_quantized(2 * x)
    model = made.quantized()
    wanted = real_outputs(model, execute(model, model.quantize_input(2 * x)).outputs)["scores"]
    assert np.array_equal(found.detach().numpy(), wanted.astype(np.float32))
    found.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())
    assert made(x).detach().numpy() == pytest.approx(made.float_model().run(x)["scores"], abs=1e-5)


def test_heads_that_do_not_fit_are_refused(make: Any) -> None:
    model = make("last", "classify", (7,))
    for change, message in (
        ({"pooling": "median"}, "pooling is 'median'; accepted are last, mean, max"),
        ({"relu_layers": ()}, "dense_weights has shape (3, 7), and must have (3, 8)"),
        ({"relu_layers": (FloatDense(np.ones((7, 9)), np.ones(7)),)}, "the weights of relu layer 0 has shape (7, 9)"),
    ):
        with pytest.raises(EdgeLstmError) as refused:
            replace(model, **change)
        assert str(refused.value).startswith(message)
    with pytest.raises(EdgeLstmError, match=r"^task is 'rank'; accepted are classify, regress$"):
        replace(model.signature, task="rank")
    with pytest.raises(EdgeLstmError, match=r"^1 classes; accepted are 2 to 4096$"):
        replace(model.signature, classes=("one",))
    assert replace(model.signature, classes=("one",), task="regress").classes == ("one",)
