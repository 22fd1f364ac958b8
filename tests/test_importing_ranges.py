"""Files that were quantized before: their ranges are those of the integers, and what quantizers leave out is there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch_models import STEPS, Spec, exported, motions, trained

from edge_lstm.commands.quantize import command
from edge_lstm.importing.load import ImportedModel, import_onnx
from edge_lstm.importing.oracle import Scores
from edge_lstm.ptq import post_training, quantize
from edge_lstm.ptq_options import PtqOptions
from edge_lstm.runtime import execute, real_outputs

F, H, T, WIDTH = 4, 5, 9, 6
X, ACROSS, HIDDEN, RELU = 4.0, 5.0, 8.0, 6.5
"""Ranges of the input, of the same after it was transposed, of h, and of a dense layer with relu."""
SAMPLES = np.random.default_rng(1).normal(0, 0.3, (60, T, F))


class Nodes:
    """Nodes of a file, one after the other."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, kind: str, *inputs: str, out: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, [*inputs], [*out.split()], name=out, **attributes))
        return out.split()[0]

    def weights(self, name: str, *shape: int) -> str:
        return self.constant(name, self._rng.normal(0, 0.4, shape).astype(np.float32))

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = value
        return name

    def pair(self, value: str, largest: float, *, unsigned: bool = False) -> str:
        """A pair of ``QuantizeLinear`` and ``DequantizeLinear`` whose integers reach so far; 0 is the least of
        unsigned ones."""
        scale = self.constant(f"{value}_s", np.float32(largest / (255 if unsigned else 128)))
        zero = self.constant(f"{value}_z", np.uint8(0) if unsigned else np.int8(0))
        self.add("QuantizeLinear", value, scale, zero, out=f"{value}_q")
        return self.add("DequantizeLinear", f"{value}_q", scale, zero, out=f"{value}_d")

    def model(self) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "quantized",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["windows", T, F])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(made.SerializeToString())


def quantized_file(kind: str, *, relu: bool, both: bool = False) -> bytes:
    """Of a recurrent layer, mean pooling, a dense layer with relu and one without; ``relu`` says whether the file has
    a node of that function, or only integers that can't be negative."""
    g, directions, parts = Nodes(), 1 + both, 1 if kind == "RNN" else 4
    across = g.add("Transpose", g.pair("x", X), out="across", perm=[1, 0, 2])
    names = [g.weights("W", directions, parts * H, F), g.weights("R", directions, parts * H, H)]
    given: dict[str, Any] = {"activations": ["Relu"] * directions} if kind == "RNN" else {}
    if both:
        given["direction"] = "bidirectional"
    h = g.pair(g.add(kind, g.pair(across, ACROSS), *names, out="h", hidden_size=H, **given), HIDDEN)
    flat = g.constant("flat", np.array([0, 0, directions * H]))
    h = g.add("Reshape", g.add("Transpose", h, out="every", perm=[2, 0, 1, 3]), flat, out="each")
    pooled = g.add("ReduceMean", h, out="pooled", axes=[1], keepdims=0)
    dense = g.add("Gemm", pooled, g.weights("D", directions * H, WIDTH), out="dense")
    dense = g.add("Relu", dense, out="positive") if relu else dense
    g.add("MatMul", g.pair(dense, RELU, unsigned=True), g.weights("E", WIDTH, 3), out="y")
    return g.model()


def imported(content: bytes, folder: Path) -> ImportedModel:
    path = folder / "m.onnx"
    path.write_bytes(content)
    found = import_onnx(path)
    assert isinstance(found, ImportedModel)
    return found


def on_onnxruntime(content: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x.astype(np.float32)})[0])


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("both", [False, True])
def test_the_ranges_of_a_file_are_those_of_the_integers(tmp_path: Path, *, relu: bool, both: bool) -> None:
    content = quantized_file("RNN", relu=relu, both=both)
    model = imported(content, tmp_path)
    last = "positive" if relu else "dense"
    assert set(model.ranges) == {"x", "across", "h", last}
    known = {k.value: (k.name, pytest.approx(k.largest)) for k in model.known_ranges()}
    layers = [f"rnn_relu{k}.h" for k in range(1 + both)]
    assert known == {"input": ("across", ACROSS), **dict.fromkeys(layers, ("h", HIDDEN)), "relu0": (last, RELU)}

    found = post_training(model, PtqOptions(), calibration=SAMPLES)
    quantized, float_model = found.quantized, model.float_model()
    np.testing.assert_allclose(quantized.input_scale, ACROSS / 127, rtol=1e-6)
    assert [str(layer.h) for layer in quantized.layers] == ["Q3.4"] * (1 + both)
    assert str(quantized.relu_layers[0].output) == "Q3.4"
    narrower = quantize(float_model, calibration=SAMPLES)
    assert (narrower.input_scale < 0.5 * quantized.input_scale).all()
    assert narrower.layers[0].h.scale < quantized.layers[0].h.scale
    assert found.to_json()["file_ranges"] == [
        {"value": k.value, "name": k.name, "largest": k.largest} for k in model.known_ranges()
    ]
    assert post_training(float_model, PtqOptions(), calibration=SAMPLES).to_json()["file_ranges"] == []

    x = 2.5 * SAMPLES  # beyond the recordings, inside the file's ranges
    scores = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)["scores"]
    wanted = on_onnxruntime(content, x)
    assert np.sqrt(((scores - wanted) ** 2).mean()) < 0.1 * wanted.std()  # both have 8 bits, of ranges far too wide


@pytest.mark.parametrize("both", [False, True])
def test_what_a_cell_bounds_keeps_its_format(tmp_path: Path, *, both: bool) -> None:
    model = imported(quantized_file("LSTM", relu=True, both=both), tmp_path)
    assert [str(k) for k in model.known_ranges()] == [
        "range of input: 5, of across in the file",
        "range of relu0: 6.5, of positive in the file",
    ]


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_a_relu_that_integers_stand_for_is_computed(kind: str, tmp_path: Path) -> None:
    files = [quantized_file(kind, relu=relu) for relu in (True, False)]
    wanted, same = (on_onnxruntime(content, SAMPLES) for content in files)
    np.testing.assert_array_equal(same, wanted)
    value, found = (imported(content, tmp_path).run(SAMPLES)["y"] for content in files)
    np.testing.assert_array_equal(found, value)
    assert np.sqrt(((found - wanted) ** 2).mean()) < RELU / 255  # to which the file rounds


def test_scores_that_were_never_negative_are_no_relu(tmp_path: Path) -> None:
    g = Nodes()
    last = g.add(
        "LSTM",
        g.add("Transpose", "x", out="across", perm=[1, 0, 2]),
        g.weights("W", 1, 4 * H, F),
        g.weights("R", 1, 4 * H, H),
        out="h last",
        hidden_size=H,
    )
    last = g.add("Squeeze", "last", g.constant("axis", np.array([0])), out="flat")
    g.pair(g.add("MatMul", last, g.weights("D", H, 1), out="dense"), 1.0, unsigned=True)
    g.nodes[-1].output[0] = "y"
    model = imported(g.model(), tmp_path)
    assert model.ranges.keys() == {"dense"}
    assert model.known_ranges() == ()
    assert model.float_model().relu_layers == ()


def test_the_command_says_what_it_took(tmp_path: Path) -> None:
    imported(quantized_file("RNN", relu=True), tmp_path)
    np.savez(tmp_path / "x.npz", x=SAMPLES)
    given = [
        str(tmp_path / "m.onnx"),
        "--calib",
        str(tmp_path / "x.npz"),
        "--out",
        str(tmp_path / "m.elstm"),
    ]
    said = CliRunner().invoke(command, given)
    assert said.exit_code == 0, said.output
    assert "range of input: 5, of across in the file\n" in said.output
    found = json.loads(CliRunner().invoke(command, [*given, "--json"]).stdout)["file_ranges"]
    assert [(k["value"], k["name"]) for k in found] == [
        ("input", "across"),
        ("rnn_relu0.h", "h"),
        ("relu0", "positive"),
    ]


# --- by onnxruntime's quantizer ------------------------------------------------------------------------------------


class Recordings(CalibrationDataReader):  # type: ignore[misc]
    """What it calibrates on."""

    def __init__(self, x: np.ndarray) -> None:
        self._windows: Iterator[np.ndarray] = iter(x[:, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        window = next(self._windows, None)
        return None if window is None else {"x": window}


@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8], ids=["uint8", "int8"])
def test_a_file_that_onnxruntime_quantized(kind: QuantType, tmp_path: Path) -> None:
    spec = Spec(before="dense", relu=True, head="mean")
    real_file, path = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    real_file.write_bytes(exported(spec, dynamo=False, model=trained(spec)))
    recordings, (x, _) = motions(train=True)[0], motions(train=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(real_file, path, Recordings(recordings), quant_format=QuantFormat.QDQ, activation_type=kind)
    model = import_onnx(path)
    assert isinstance(model, ImportedModel)
    known = {k.value: k for k in model.known_ranges(steps=STEPS)}
    assert {v: k.name for v, k in known.items()} == {"input": "x", "relu0": "/Relu_output_0"}
    assert known["input"].largest == pytest.approx(np.abs(recordings).max(), rel=0.01)
    quantized = quantize(model, calibration=recordings)
    np.testing.assert_allclose(quantized.input_scale, known["input"].largest / 127, rtol=1e-6)
    scores = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)["scores"]
    classes = scores.argmax(axis=-1)
    before = import_onnx(real_file)
    assert isinstance(before, ImportedModel)
    assert (classes == Scores(path, model, STEPS)(x).argmax(axis=-1)).mean() >= 0.98
    assert (classes == Scores(real_file, before, STEPS)(x).argmax(axis=-1)).mean() >= 0.98
