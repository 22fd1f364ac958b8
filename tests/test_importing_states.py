"""Files that take lengths of windows, or states: in float as onnxruntime computes them, and as models."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edge_lstm.errors import EdgeLstmError
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.interpreter import interpret
from edge_lstm.importing.load import ImportedModel, import_onnx
from edge_lstm.importing.oracle import Scores
from edge_lstm.importing.recognise import recognise
from edge_lstm.lower import lower
from edge_lstm.ptq import quantize
from edge_lstm.verification import verify

FLOAT = 1e-4
F, H, T = 4, 5, 9
rng = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def with_lengths(kind: str = "LSTM", direction: str = "forward", head: str = "last", dtype: Any = "INT32") -> Any:
    """A recurrent operator with sequence_lens, and a dense layer."""
    directions, parts = 1 + (direction == "bidirectional"), {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    constants = {
        "W": real(directions, parts * H, F),
        "R": real(directions, parts * H, H),
        "B": real(directions, 2 * parts * H),
        "D": real(directions * H, 3),
        "whole": np.array([0, -1, directions * H]),
        "axis": np.array([1]),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("Cast", ["n"], ["n32"], to=TensorProto.INT32),
        helper.make_node(
            kind, ["t", "W", "R", "B", "n32"], ["h", "last"], hidden_size=H, direction=direction, name="r"
        ),
    ]
    if head == "last":
        nodes.append(helper.make_node("Transpose", ["last"], ["l"], perm=[1, 0, 2]))
        nodes.append(helper.make_node("Flatten", ["l"], ["p"]))
    else:
        nodes.append(helper.make_node("Transpose", ["h"], ["l"], perm=[2, 0, 1, 3]))
        constants["flat"] = np.array([0, 0, directions * H])
        nodes.append(helper.make_node("Reshape", ["l", "flat"], ["p" if head == "each" else "e"]))
        if head == "mean":
            nodes.append(helper.make_node("ReduceMean", ["e"], ["p"], axes=[1], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["p", "D"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "lengths",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["windows", "steps", F]),
            helper.make_tensor_value_info("n", getattr(TensorProto, dtype), ["windows"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


LENGTHS = np.array([9, 3, 1, 7], np.int32)


@pytest.mark.parametrize("head", ["last", "each", "mean"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_lengths_are_taken(kind: str, direction: str, head: str) -> None:
    proto = with_lengths(kind, direction, head)
    x = rng.normal(0, 1, (4, T, F)).astype(np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": x, "n": LENGTHS})
    model = interpret(proto)
    np.testing.assert_allclose(model.run({"x": x, "n": LENGTHS})["y"], wanted, atol=FLOAT)
    if head == "mean":
        with pytest.raises(UnsupportedError, match="mean over all steps, also beyond the ends of windows"):
            recognise(model, name="m", steps=T)
        return
    found = recognise(model, name="m", steps=T)
    assert found.lengths == "n"
    assert found.model.signature.variable
    scores = found.model.run(x, lengths=LENGTHS)["scores"]
    inside = np.arange(T) < LENGTHS[:, None] if head == "each" else slice(None)
    np.testing.assert_allclose(scores[inside], wanted[inside], atol=FLOAT)


@pytest.mark.parametrize("dtype", ["INT32", "INT64"])
def test_quantized_models_take_lengths_too(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(with_lengths("LSTM", "bidirectional", "last", dtype).SerializeToString())
    imported = import_onnx(path)
    assert isinstance(imported, ImportedModel)
    x = rng.normal(0, 1, (40, T, F))
    lengths = rng.integers(1, T + 1, 40)
    model = quantize(imported.float_model(steps=T), calibration=x, lengths=lengths, activation_bits=16)
    scores = Scores(path, imported, T, lengths)
    found = verify(model, x, lengths=lengths, backends=("numpy", "onnxruntime"), float_scores=scores)
    assert found.equal
    assert found.within_bound
    assert found.float is not None
    assert found.float.rms < 0.05


@pytest.mark.parametrize("given", [0, T + 1])
def test_lengths_are_inside_the_window(given: int) -> None:
    model = interpret(with_lengths())
    with pytest.raises(EdgeLstmError, match=r"lengths of windows are .*; accepted are 1 to 9"):
        model.run({"x": np.zeros((1, T, F)), "n": np.array([given])})


# --- states ------------------------------------------------------------------------------------------------------


class Streaming(nn.Module):
    """A model whose states are inputs and outputs, as its users write it."""

    def __init__(self, kind: str, layers: int) -> None:
        super().__init__()
        self.recurrent = getattr(nn, kind)(F, H, layers, batch_first=True)
        self.dense = nn.Linear(H, 3)

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Scores, and the states after them."""
        y, after = self.recurrent(x, state if len(state) > 1 else state[0])
        return self.dense(y[:, -1]), *(after if isinstance(after, tuple) else (after,))


def exported(kind: str, layers: int, steps: int) -> bytes:
    torch.manual_seed(3)
    model = Streaming(kind, layers).eval()
    names = ["h0", "c0"][: 1 + (kind == "LSTM")]
    given = (torch.zeros(1, steps, F), *(torch.zeros(layers, 1, H) for _ in names))
    file = io.BytesIO()
    axes = {"x": {0: "windows"} | ({1: "steps"} if steps > 1 else {}), **{n: {1: "windows"} for n in names}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, given, file, dynamo=False, input_names=["x", *names],
            output_names=["y", *(n.replace("0", "n") for n in names)], dynamic_axes=axes,
        )  # fmt: skip
    return file.getvalue()


CASES = [(kind, layers, steps) for kind in ("LSTM", "GRU", "RNN") for layers in (1, 2) for steps in (1, T)]


@pytest.mark.parametrize(("kind", "layers", "steps"), CASES)
def test_states_are_inputs_and_outputs(kind: str, layers: int, steps: int, tmp_path: Path) -> None:
    content = exported(kind, layers, steps)
    names = ["h0", "c0"][: 1 + (kind == "LSTM")]
    feed = {"x": real(2, steps, F), **{n: real(layers, 2, H) for n in names}}
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    wanted = session.run(None, feed)
    model = interpret(onnx.ModelProto.FromString(content))
    for value, expected in zip(model.run(feed).values(), wanted, strict=True):
        np.testing.assert_allclose(value, expected, atol=FLOAT)
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    imported = import_onnx(path)
    assert isinstance(imported, ImportedModel)
    found = imported.recognised(steps=T)
    cells = [f"{kind.lower() if kind != 'GRU' else 'gru_after'}{k}" for k in range(layers)]
    assert found.ends["hn"] == tuple(f"{c}.h" for c in cells)
    assert set(found.ends["hn"]) <= set(found.begins["h0"])
    if kind == "LSTM":
        assert found.begins == {n: tuple(f"{c}.{n[0]}" for c in cells) for n in ("h0", "c0")}
    x = rng.normal(0, 1, (30, T, F))
    quantized = quantize(found.model, calibration=x, activation_bits=16, activations="lut-interp")
    result = verify(quantized, x, backends=("numpy", "onnxruntime"), float_scores=Scores(path, imported, T))
    assert result.equal
    assert result.within_bound
    assert result.float is not None
    assert result.float.rms < 0.05
    assert set(found.ends["hn"]) <= {port.name for port in lower(quantized).states}


def test_states_of_several_windows_agree_with_the_samples() -> None:
    model = interpret(onnx.ModelProto.FromString(exported("LSTM", 1, T)))
    with pytest.raises(EdgeLstmError):
        model.run({"x": real(2, T, F), "h0": real(1, 3, H), "c0": real(1, 3, H)})
