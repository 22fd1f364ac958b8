"""Models of Keras as tf2onnx writes them: their nodes, and the real ones where tensorflow is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras_nodes as nodes
import numpy as np
import onnx
import onnxruntime
import pytest
from keras_nodes import FEATURES, STEPS, UNITS, Nodes
from torch_models import motions

from edge_lstm.errors import EdgeLstmError
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.interpreter import Imported, interpret
from edge_lstm.importing.load import ImportedModel, import_onnx
from edge_lstm.importing.recognise import recognise
from edge_lstm.model import FloatModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.verification import verify

FLOAT = 1e-4
"""onnxruntime computes in float32."""
TENSORFLOW = os.environ.get("EDGE_LSTM_TENSORFLOW", sys.executable)
"""An interpreter that has tensorflow and tf2onnx."""


def layer(step: Any, count: int = 1) -> Callable[[Nodes], str]:
    """A layer as a loop, its last h, and a dense layer."""
    return lambda g: nodes.dense(g, nodes.last(g, nodes.loop(g, nodes.time_first(g, "x"), step, count)))


def backwards(g: Nodes) -> str:
    return nodes.dense(g, nodes.last(g, nodes.lstm(g, nodes.turned(g, nodes.time_first(g, "x")))))


def both(g: Nodes, *, loops: bool) -> tuple[str, str]:
    first = nodes.time_first(g, "x")
    if not loops:
        return nodes.bidirectional(g, first)
    forward = nodes.loop(g, first, nodes.gru_after_step)
    return forward, nodes.loop(g, nodes.turned(g, first), nodes.gru_after_step)


def both_last(g: Nodes, *, loops: bool) -> str:
    forward, backward = both(g, loops=loops)
    backward = backward if loops else nodes.turned(g, backward)
    joined = g.add("Concat", nodes.last(g, forward), nodes.last(g, backward), axis=1)
    return nodes.dense(g, joined, 2 * UNITS)


def both_summed(g: Nodes) -> str:
    forward, backward = both(g, loops=True)
    return nodes.dense(g, g.add("Add", nodes.last(g, forward), nodes.last(g, backward)))


def both_at_each_step(g: Nodes) -> str:
    forward, backward = both(g, loops=True)
    total = g.add("Add", nodes.time_first(g, forward), nodes.time_first(g, nodes.turned(g, backward)))
    return nodes.tensordot(g, total)


def both_mean(g: Nodes) -> str:
    forward, backward = (nodes.time_first(g, v) for v in both(g, loops=False))
    joined = g.add("Concat", forward, backward, axis=2)
    return nodes.dense(g, g.add("ReduceMean", joined, axes=[1], keepdims=0), 2 * UNITS)


def stacked(g: Nodes) -> str:
    h = nodes.loop(g, nodes.time_first(g, "x"), nodes.gru_step)
    return nodes.dense(g, nodes.last(g, nodes.lstm(g, h, UNITS)))


def distributed_first(g: Nodes) -> str:
    x = nodes.time_first(g, nodes.time_distributed(g, "x"))
    return nodes.dense(g, nodes.last(g, nodes.lstm(g, x, 3)))


def weighted(g: Nodes) -> str:
    h = nodes.time_first(g, nodes.lstm(g, nodes.time_first(g, "x")))
    scores = g.add("Add", g.add("MatMul", h, g.real(UNITS, 1)), g.real(1))
    product = g.add("Mul", g.add("Softmax", scores, axis=1), h)
    return nodes.dense(g, g.add("ReduceSum", product, g.whole(1), keepdims=0))


def normalized(g: Nodes) -> str:
    h = nodes.layer_normalization(g, nodes.time_first(g, nodes.lstm(g, nodes.time_first(g, "x"))))
    return nodes.dense(g, g.add("ReduceMean", h, axes=[1], keepdims=0))


def flattened(g: Nodes) -> str:
    h = nodes.time_first(g, nodes.lstm(g, nodes.time_first(g, "x")))
    return nodes.dense(g, g.add("Reshape", h, g.whole(-1, STEPS * UNITS)), STEPS * UNITS)


def causal(g: Nodes) -> str:
    padded = g.add("Pad", g.add("Transpose", "x", perm=[0, 2, 1]), g.whole(0, 0, 2, 0, 0, 0))
    filtered = g.add("Relu", g.add("Conv", padded, g.real(FEATURES, FEATURES, 3), g.real(FEATURES)))
    pooled = g.add("MaxPool", filtered, kernel_shape=[2], strides=[2])
    return nodes.dense(g, nodes.last(g, nodes.lstm(g, g.add("Transpose", pooled, perm=[2, 0, 1]))))


def repeated(g: Nodes) -> str:
    h = nodes.last(g, nodes.lstm(g, nodes.time_first(g, "x")))
    one = g.add("Reshape", h, g.whole(-1, 1, UNITS))
    many = g.add("Tile", g.add("Unsqueeze", one, g.whole(2)), g.whole(1, 1, 4, 1))
    x = nodes.time_first(g, g.add("Reshape", many, g.whole(-1, 4, UNITS)))
    return nodes.tensordot(g, nodes.time_first(g, nodes.lstm(g, x, UNITS)))


RECOGNISED: dict[str, Callable[[Nodes], str]] = {
    "lstm": lambda g: nodes.dense(g, nodes.last(g, nodes.lstm(g, nodes.time_first(g, "x")))),
    "lstm with softmax": lambda g: g.add("Softmax", RECOGNISED["lstm"](g)),
    "lstm at each step": lambda g: nodes.tensordot(g, nodes.time_first(g, nodes.lstm(g, nodes.time_first(g, "x")))),
    "lstm with hard gates": layer(nodes.hard_lstm_step, 2),
    "gru, reset after": layer(nodes.gru_after_step),
    "gru, reset before": layer(nodes.gru_step),
    "rnn": layer(nodes.rnn_step),
    "rnn with relu": layer(nodes.relu_step),
    "backwards": backwards,
    "bidirectional lstm": lambda g: both_last(g, loops=False),
    "bidirectional gru": lambda g: both_last(g, loops=True),
    "bidirectional, summed": both_summed,
    "bidirectional, summed at each step": both_at_each_step,
    "bidirectional, mean": both_mean,
    "stacked": stacked,
    "dense at each step before": distributed_first,
    "attention": weighted,
}
EVALUATED: dict[str, Callable[[Nodes], str]] = {
    "layer normalization": normalized,
    "flattened": flattened,
    "convolution, relu, pooling": causal,
    "repeated": repeated,
}


def imported(make: Callable[[Nodes], str]) -> Imported:
    """A model, after it was compared with onnxruntime."""
    g = Nodes()
    proto = nodes.model(g, make(g))
    x = np.random.default_rng(1).normal(0, 1, (3, STEPS, FEATURES)).astype(np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(["y"], {"x": x})
    found = interpret(proto)
    value = found.run(x)["y"]
    assert value.shape == wanted.shape
    np.testing.assert_allclose(value, wanted, atol=FLOAT)
    return found


@pytest.mark.parametrize("name", RECOGNISED)
def test_models_are_computed_and_recognised(name: str) -> None:
    found = recognise(imported(RECOGNISED[name]), name="m")
    x = np.random.default_rng(2).normal(0, 1, (3, STEPS, FEATURES))
    value = found.imported.run(x)["y"]
    scores = found.model.run(x)["scores"]
    if found.final == "softmax":
        scores = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(scores, value, atol=FLOAT)


@pytest.mark.parametrize("name", EVALUATED)
def test_models_are_computed(name: str) -> None:
    imported(EVALUATED[name])


@pytest.mark.parametrize("name", ["lstm with hard gates", "gru, reset after", "bidirectional, summed", "backwards"])
def test_integers_agree_between_backends_and_with_float(name: str) -> None:
    model = recognise(imported(RECOGNISED[name]), name="m").model
    x = np.random.default_rng(3).normal(0, 1, (60, STEPS, FEATURES))
    quantized = quantize(model, calibration=x, activation_bits=16, activations="lut-interp")
    found = verify(quantized, x, backends=("numpy", "onnxruntime"), float_scores=lambda v: model.run(v)["scores"])
    assert found.equal
    assert found.within_bound


def looped(**changes: Any) -> Any:
    g = Nodes()
    first = nodes.time_first(g, "x")
    step = changes.pop("step", nodes.rnn_step)
    if changes.get("extra"):
        changes["extra"] = g.add("Tanh", nodes.time_first(g, "x"))
    return nodes.model(g, nodes.last(g, nodes.loop(g, first, step, **changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"step": nodes.cosine_step},
            "its body must be one step of an LSTM, a GRU, or a simple cell with tanh or relu",
        ),
        ({"times": STEPS - 1}, "it goes 11 times through 12 steps"),
        ({"until": STEPS - 2}, "its condition ends it before step 12"),
        ({"extra": "mask"}, "its body reads several sequences, such as a mask; accepted is one"),
    ],
)
def test_other_loops_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        interpret(looped(**changes))
    assert str(error.value).startswith("node 'loop")
    assert message in str(error.value)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("step", "count"), [(nodes.rnn_step, 1), (nodes.hard_lstm_step, 2), (nodes.gru_after_step, 1)])
def test_a_scan_is_a_layer(step: Any, count: int, *, reverse: bool) -> None:
    def make(g: Nodes) -> str:
        h = nodes.scan(g, nodes.time_first(g, "x"), step, count, reverse=reverse)
        return nodes.tensordot(g, nodes.time_first(g, h))

    model = recognise(imported(make), name="m").model
    assert [layer.reverse for layer in model.layers] == [reverse]


def test_masking_is_refused() -> None:
    g = Nodes()
    g.add("Equal", "x", g.constant(0.0))
    with pytest.raises(
        UnsupportedError, match="it compares samples, as Keras's Masking does; export the model without"
    ):
        interpret(nodes.model(g, backwards(g)))


def test_a_window_has_the_steps_that_the_file_fixes() -> None:
    g = Nodes()
    found = interpret(nodes.model(g, backwards(g)))
    with pytest.raises(EdgeLstmError, match=r"^input x has 5 steps, and the file takes 12$"):
        found.run(np.zeros((1, 5, FEATURES)))


# --- the real ones -------------------------------------------------------------------------------------------

REFUSED = {
    "attention": "not attention of every step to every step",
    "lstm-relu": "its activations are Sigmoid, Relu, Relu; accepted are Sigmoid, Tanh, Tanh, or HardSigmoid first",
    "masking": "it compares samples, as Keras's Masking does",
}
NOT_RECOGNISED = (
    *("conv", "conv-causal", "conv-strided", "dense-relu-first", "layer-normalized", "lstm-flatten", "lstm-states"),
    "repeat",
)


AGREEMENT = 0.98
"""Of the issue: share of the windows with the same class, on data like the training data."""


def files_of_keras(folder: Path, *data: Path) -> list[Path]:
    """The models of ``keras_models.py``, trained where there are data."""
    here = sys.executable == TENSORFLOW
    if here and (find_spec("tensorflow") is None or find_spec("tf2onnx") is None):
        pytest.skip("neither tensorflow and tf2onnx here, nor EDGE_LSTM_TENSORFLOW, an interpreter that has them")
    script = Path(__file__).with_name("keras_models.py")
    done = subprocess.run([TENSORFLOW, script, folder, *data], capture_output=True, text=True, check=True)
    assert done.stdout == ""  # what can't be exported
    return sorted(folder.glob("*.onnx"))


@pytest.mark.slow
def test_real_models_of_keras(tmp_path: Path) -> None:
    files = files_of_keras(tmp_path)
    assert len(files) >= 40
    for path in files:
        agrees(path)


@pytest.mark.slow
def test_trained_models_of_keras_keep_their_classes_in_8_bits(tmp_path: Path) -> None:
    (recordings, classes), (x, _) = motions(train=True), motions(train=False)
    np.savez(tmp_path / "data.npz", x=recordings, classes=classes)
    files = [path for path in files_of_keras(tmp_path, tmp_path / "data.npz") if path.stem not in REFUSED]
    assert len(files) >= 40
    found = {}
    for path in files:
        model = import_onnx(path)
        assert isinstance(model, ImportedModel)
        quantized = quantize(model, calibration=recordings)
        integer = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)["scores"]
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        real = np.concatenate([session.run(None, {"x": window[None]})[0] for window in x])
        found[path.stem] = float((integer.argmax(axis=-1) == real.argmax(axis=-1)).mean())
    assert {name: share for name, share in found.items() if share < AGREEMENT} == {}


def agrees(path: Path) -> None:
    with np.load(path.with_suffix(".npz")) as arrays:
        x, y = arrays["x"], arrays["y"]
    if path.stem in REFUSED:
        with pytest.raises(UnsupportedError) as error:
            interpret(onnx.load(path))
        assert REFUSED[path.stem] in str(error.value)
        return
    model = import_onnx(path)
    assert isinstance(model, ImportedModel)
    (value,) = model.run(x).values()
    np.testing.assert_allclose(value, y, atol=FLOAT, err_msg=path.stem)
    if path.stem in NOT_RECOGNISED:
        with pytest.raises(UnsupportedError):
            model.float_model(steps=STEPS)
    else:
        assert isinstance(model.float_model(steps=STEPS), FloatModel)
