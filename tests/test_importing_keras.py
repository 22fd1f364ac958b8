"""Models of Keras as tf2onnx writes them: their nodes, and the real ones where tensorflow is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras_nodes as nodes
import numpy as np
import onnx
import onnxruntime
import pytest
from keras_models import padded
from keras_nodes import FEATURES, STEPS, UNITS, Nodes
from torch_models import motions

from edge_lstm.errors import EdgeLstmError
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.graph_model import graph_model
from edge_lstm.importing.interpreter import Imported, interpret
from edge_lstm.importing.load import ImportedModel, import_onnx
from edge_lstm.importing.oracle import Scores
from edge_lstm.importing.recognise import recognise
from edge_lstm.integer_graph.quantize import quantize_graph
from edge_lstm.model import FloatModel
from edge_lstm.ptq import quantize
from edge_lstm.ptq_options import PtqOptions
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


def masked(step: Any, count: int = 1, *, value: float = 0.0, **options: Any) -> Callable[[Nodes], str]:
    """A layer behind ``Masking``, and the last output."""

    def make(g: Nodes) -> str:
        x, mask = nodes.masking(g, "x", value)
        return nodes.dense(g, nodes.last(g, nodes.loop(g, nodes.time_first(g, x), step, count, mask=mask, **options)))

    return make


def masked_both(g: Nodes) -> str:
    """Both directions, 0 at masked steps; behind them another layer with the mask."""
    x, mask = nodes.masking(g, "x")
    first = nodes.time_first(g, x)
    forward = nodes.loop(g, first, nodes.gru_after_step, mask=mask, padding="zeros")
    backward = nodes.loop(
        g, nodes.turned(g, first), nodes.gru_step, mask=nodes.turned(g, mask), padding="zeros", times=STEPS
    )
    joined = g.add("Concat", forward, nodes.turned(g, backward), axis=2)
    narrow = g.add("MatMul", joined, g.real(2 * UNITS, FEATURES))
    return nodes.dense(g, nodes.last(g, nodes.loop(g, narrow, nodes.hard_lstm_step, 2, mask=mask)))


def masked_mean(g: Nodes) -> str:
    """Keras's average over the steps that the mask does not leave out."""
    x, mask = nodes.masking(g, "x")
    h = nodes.time_first(g, nodes.loop(g, nodes.time_first(g, x), nodes.rnn_step, mask=mask))
    inside = nodes.time_first(g, mask)
    total = g.add("ReduceSum", nodes.selected(g, inside, h, g.constant(0.0)), g.whole(1), keepdims=0)
    count = g.add("ReduceSum", g.add("Cast", inside, to=nodes.FLOAT), g.whole(1), keepdims=0)
    return nodes.dense(g, g.add("Div", total, count))


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
    "masked lstm": masked(nodes.hard_lstm_step, 2),
    "masked gru, reset after": masked(nodes.gru_after_step, value=1.5),
    "masked gru": masked(nodes.gru_step),
    "masked rnn": masked(nodes.relu_step, value=-1.0),
    "masked, 0 at masked steps": masked(nodes.gru_step, padding="zeros"),
    "masked bidirectional": masked_both,
    "masked mean": masked_mean,
}
PADDING = {"masked gru, reset after": 1.5, "masked rnn": -1.0}
"""Of masked models; 0 of others."""


def windows(count: int, seed: int, padding: float = 0.0) -> Any:
    """(windows, steps, features), most of them with some steps of padding at their ends."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (count, STEPS, FEATURES)).astype(np.float32)
    for k in range(count):
        x[k, : k % 2], x[k, STEPS - k % 5 :] = padding, padding
    return x


def imported(make: Callable[[Nodes], str], padding: float = 0.0) -> Imported:
    """A model, after it was compared with onnxruntime."""
    g = Nodes()
    proto = nodes.model(g, make(g))
    x = windows(5, 1, padding)
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
    imported(EVALUATED[name], PADDING.get(name, 0.0))


@pytest.mark.parametrize("name", [name for name in EVALUATED if name.startswith("masked")])
def test_masked_models_have_integers(name: str) -> None:
    padding = PADDING.get(name, 0.0)
    found = imported(EVALUATED[name], padding)
    with pytest.raises(UnsupportedError, match="of the imported graph"):
        recognise(found, name="m")
    model = graph_model(found, name="m")
    x = windows(60, 3, padding)
    quantized = quantize_graph(model, PtqOptions(), x)
    seen = verify(quantized, x, backends=("numpy", "onnxruntime"), float_scores=lambda v: model.run(v)["scores"])
    assert seen.equal
    assert seen.within_bound
    real = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)["scores"]
    wanted = model.run(x)["scores"]
    assert np.sqrt(((real - wanted) ** 2).mean()) < 0.06 * wanted.std()  # as in test_integer_graph


@pytest.mark.parametrize("name", ["lstm with hard gates", "gru, reset after", "bidirectional, summed", "backwards"])
def test_integers_agree_between_backends_and_with_float(name: str) -> None:
    model = recognise(imported(RECOGNISED[name]), name="m").model
    x = np.random.default_rng(3).normal(0, 1, (60, STEPS, FEATURES))
    quantized = quantize(model, calibration=x, activation_bits=16, activations="lut-interp")
    found = verify(quantized, x, backends=("numpy", "onnxruntime"), float_scores=lambda v: model.run(v)["scores"])
    assert found.equal
    assert found.within_bound


def test_numbers_of_rows_have_a_mask_and_count_from_the_end(tmp_path: Path) -> None:
    """As Keras's ``Embedding`` has it; the file takes whole numbers."""
    g = Nodes()
    rows, mask = nodes.embedding(g, "x", 9)
    h = nodes.loop(g, nodes.time_first(g, rows), nodes.gru_step, mask=mask)
    proto = nodes.model(g, nodes.dense(g, nodes.last(g, h)), ("n", STEPS))
    proto.graph.input[0].type.tensor_type.elem_type = nodes.INT32
    onnx.save(proto, tmp_path / "m.onnx")
    found = interpret(proto)
    assert {type(node).__name__ for node in found.graph.nodes[:4]} == {"Input", "Differs", "Embedding", "Recurrent"}
    x = np.random.default_rng(0).integers(-9, 9, (20, STEPS)).astype(np.int32)
    x[::2, 7:] = 0
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found.run(x)["y"], session.run(["y"], {"x": x})[0], atol=FLOAT)
    x = np.maximum(x, 0)[..., None]
    model = import_onnx(tmp_path / "m.onnx")
    assert isinstance(model, ImportedModel)
    quantized = quantize(model, calibration=x.astype(np.float64))
    seen = verify(
        quantized, x, backends=("numpy", "onnxruntime"), float_scores=Scores(tmp_path / "m.onnx", model, STEPS)
    )
    assert seen.equal
    assert seen.within_bound


def keeps_nothing(g: Nodes, x: str, states: list[str]) -> list[str]:
    """A cell to whose new state the mask is added."""
    return nodes.rnn_step(g, x, states)


def reads_mask(g: Nodes, x: str, states: list[str], *, mask: str, step: Any) -> list[str]:
    """With a step of a mask, as a number, added to the new h."""
    counter = next(node.input[1] for node in g.nodes if node.op_type == "Gather")
    taken = g.add("Cast", g.add("Gather", mask, counter), to=nodes.FLOAT)
    return [g.add("Add", step(g, x, states)[0], taken)]


def looped(**changes: Any) -> Any:
    g = Nodes()
    first = nodes.time_first(g, "x")
    step = changes.pop("step", nodes.rnn_step)
    mask = changes.pop("mask", "")
    if mask:
        changes["mask"] = nodes.masking(g, "x")[1]
    if mask == "wide":
        changes["mask"] = g.add("Not", g.add("Equal", first, g.constant(0.0)))
    if mask == "two" or step is keeps_nothing:
        other = nodes.masking(g, "x", 1.0)[1] if mask == "two" else changes["mask"]
        step = partial(reads_mask, mask=other, step=step)
    if changes.get("extra"):
        changes["extra"] = g.add("Tanh", nodes.time_first(g, "x"))
    if changes.get("begin"):
        changes["begin"] = g.add("Add", nodes.zeros(g, "x"), g.constant(1.0))
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
        ({"extra": "another"}, "its body reads several sequences; accepted are one, and a mask"),
        ({"mask": "wide"}, f"its mask has {FEATURES} features at each step; accepted is one"),
        ({"mask": "two"}, "its body reads several masks; accepted is one"),
        ({"mask": "one", "padding": "h"}, "/out' does not stay what it is at steps that its mask leaves out"),
        ({"mask": "one", "step": keeps_nothing}, "depends on its mask otherwise than by being left out"),
        ({"mask": "one", "begin": "ones"}, "/out' begins otherwise than the one of which it is a copy"),
        ({"mask": "one", "step": nodes.cosine_step}, "its body must be one step of an LSTM, a GRU, or a simple cell"),
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


def test_a_window_has_the_steps_that_the_file_fixes() -> None:
    g = Nodes()
    found = interpret(nodes.model(g, backwards(g)))
    with pytest.raises(EdgeLstmError, match=r"^input x has 5 steps, and the file takes 12$"):
        found.run(np.zeros((1, 5, FEATURES)))


# --- the real ones -------------------------------------------------------------------------------------------

REFUSED = {
    "attention": "not attention of every step to every step",
    "lstm-relu": "its activations are Sigmoid, Relu, Relu; accepted are Sigmoid, Tanh, Tanh, or HardSigmoid first",
}
NOT_RECOGNISED = (
    *("conv", "conv-causal", "conv-strided", "dense-relu-first", "layer-normalized", "lstm-flatten", "lstm-states"),
    *("masking", "masking-value", "masking-rnn-each", "masking-backwards", "masking-stacked", "masking-bidirectional"),
    *("masking-bidirectional-each", "masking-mean", "repeat"),
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
        quantized = quantize(model, calibration=padded(path.stem, recordings))
        test = padded(path.stem, x)
        integer = real_outputs(quantized, execute(quantized, quantized.quantize_input(test)).outputs)["scores"]
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        real = np.concatenate([session.run(None, {"x": window[None]})[0] for window in test])
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
