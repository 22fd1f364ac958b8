"""Every cell in float against onnxruntime: on the graphs that we write, and on its own recurrent operators.

Tolerance: onnxruntime computes in float32, 6e-8 per operation, which the recurrence amplifies; we compute in float64.
Largest difference measured here: 3e-6. A gate that is a step decides differently only where its pre-activation is that
close to a threshold; such windows are left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edge_lstm.cells import CELLS
from edge_lstm.codec import digest
from edge_lstm.export import onnx_float
from edge_lstm.float_run import run_layer, standardize
from edge_lstm.gates import MODES, STEPS, GateMode
from edge_lstm.importer import import_onnx
from edge_lstm.model import FloatLayer, FloatModel, Pooling, Squashing
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
        {k: rng.normal(0, 0.8, (HIDDEN, inputs)) for k in kind.blocks},
        {k: rng.normal(0, 0.4, (HIDDEN, outputs)) for k in kind.blocks},
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
    assert digest(import_onnx(tmp_path / "m.onnx")) == digest(rounded(model)) != digest(model)


def run_operator(kind: str, x: Any, W: Any, R: Any, B: Any, P: Any = None, **attributes: Any) -> Any:
    """All h (windows, steps, hidden) of onnxruntime's operator, from x (windows, steps, inputs) and packed weights."""
    tensors = {"W": W, "R": R, "B": B} | ({} if P is None else {"P": P})
    inputs = ["x", "W", "R", "B"] + ([] if P is None else ["", "", "", "P"])
    node = onnx.helper.make_node(kind, inputs, ["y"], hidden_size=R.shape[-1], direction="forward", **attributes)
    info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "operator",
        [info("x", float32, ["time", "batch", x.shape[2]])],
        [info("y", float32, ["time", 1, "batch", R.shape[-1]])],
        [onnx.numpy_helper.from_array(v[None].astype(np.float32), name) for name, v in tensors.items()],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.transpose(1, 0, 2)})[0][:, 0].transpose(1, 0, 2)


def pack(group: Any, order: str) -> Any:
    return np.concatenate([group[block] for block in order])


def packed_bias(layer: FloatLayer, order: str, rng: np.random.Generator) -> Any:
    """The two biases of an operator, whose sum is ours; those of a split block are given apart."""
    part = {block: layer.rb.get(block, rng.normal(0, 0.5, layer.hidden)) for block in order}
    rest = {block: layer.b[block] - (0 if block in layer.rb else part[block]) for block in order}
    return np.concatenate([pack(rest, order), pack(part, order)])


LSTM_ORDER, GRU_ORDER = "iofg", "zrn"  # of the ONNX specification, with our names: its c is our g, its h is our n
SIGMOID_TANH = ["Sigmoid", "Tanh", "Tanh"]


@pytest.mark.parametrize(
    ("cell", "kind", "order", "attributes"),
    [
        ("lstm", "LSTM", LSTM_ORDER, {}),
        ("lstm", "LSTM", LSTM_ORDER, {"activations": SIGMOID_TANH, "input_forget": 0}),
        ("peephole", "LSTM", LSTM_ORDER, {"activations": SIGMOID_TANH}),
        ("gru", "GRU", GRU_ORDER, {}),
        ("gru", "GRU", GRU_ORDER, {"activations": ["Sigmoid", "Tanh"], "linear_before_reset": 0}),
        ("gru-after", "GRU", GRU_ORDER, {"activations": ["Sigmoid", "Tanh"], "linear_before_reset": 1}),
        ("rnn", "RNN", "t", {}),
        ("rnn", "RNN", "t", {"activations": ["Tanh"]}),
        ("rnn-relu", "RNN", "t", {"activations": ["Relu"]}),
    ],
)
def test_onnxruntimes_operators_compute_our_cells(cell: str, kind: str, order: str, attributes: dict[str, Any]) -> None:
    rng, x = np.random.default_rng(2), samples()
    layer = draw_layer(rng, cell)
    P = pack(layer.p, "iof") if layer.p else None
    h = run_operator(
        kind, x, pack(layer.W, order), pack(layer.R, order), packed_bias(layer, order, rng), P, **attributes
    )
    np.testing.assert_allclose(h, run_layer(layer, x)["h"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("attributes", [{}, {"activations": SIGMOID_TANH}])
def test_onnxruntimes_input_forget_computes_f_from_i(attributes: dict[str, Any]) -> None:
    """f = 1 - i, whatever the rows of f are. Our cifg has f alone, so that i is s(-z): 1 - s(z)."""
    rng, x = np.random.default_rng(3), samples()
    layer = draw_layer(rng, "cifg")
    W, R, b = (
        {**group, "i": -group["f"], "f": rng.normal(size=group["f"].shape)} for group in (layer.W, layer.R, layer.b)
    )
    B = np.concatenate([pack(b, LSTM_ORDER), np.zeros(4 * HIDDEN)])
    h = run_operator("LSTM", x, pack(W, LSTM_ORDER), pack(R, LSTM_ORDER), B, input_forget=1, **attributes)
    np.testing.assert_allclose(h, run_layer(layer, x)["h"], rtol=0, atol=TOLERANCE)


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


def test_onnxruntimes_scaled_tanh_is_the_squashing_of_1997() -> None:
    """2 s(v) - 1 = tanh(v / 2) and 4 s(v) - 2 = 2 tanh(v / 2); a forget gate of bias 100 is 1."""
    rng, x = np.random.default_rng(4), samples()
    layer = draw_layer(rng, "lstm-1997")
    W, R, b = ({**group, "f": np.zeros_like(group["i"])} for group in (layer.W, layer.R, layer.b))
    b["f"] += 100
    B = np.concatenate([pack(b, LSTM_ORDER), np.zeros(4 * HIDDEN)])
    h = run_operator(
        "LSTM",
        x,
        pack(W, LSTM_ORDER),
        pack(R, LSTM_ORDER),
        B,
        activations=["Sigmoid", "ScaledTanh", "ScaledTanh"],
        activation_alpha=[2.0, 1.0],
        activation_beta=[0.5, 0.5],
    )
    np.testing.assert_allclose(h, run_layer(layer, x)["h"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("cell", "kind", "order", "functions"),
    [("lstm", "LSTM", LSTM_ORDER, ["Tanh", "Tanh"]), ("gru", "GRU", GRU_ORDER, ["Tanh"])],
)
def test_onnxruntimes_hard_sigmoid_is_ours(cell: str, kind: str, order: str, functions: list[str]) -> None:
    rng, x = np.random.default_rng(5), samples()
    layer = draw_layer(rng, cell, mode="hard-sigmoid")
    activations = {"activations": ["HardSigmoid", *functions], "activation_alpha": [0.25], "activation_beta": [0.5]}
    bias = packed_bias(layer, order, rng)
    h = run_operator(kind, x, pack(layer.W, order), pack(layer.R, order), bias, **activations)
    np.testing.assert_allclose(h, run_layer(layer, x)["h"], rtol=0, atol=TOLERANCE)


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
