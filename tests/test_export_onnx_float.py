"""The float ONNX graph computes, on onnxruntime, what ``run_float`` and PyTorch compute; every cell: test_float_cells.

Tolerance, wherever scores are compared: onnxruntime computes in float32, 6e-8 per operation, which the recurrence
amplifies; the other side computes in float64. Largest difference measured on models like these, ten seeds: 9e-6.
A hard gate decides differently only where z is that close to the threshold; such windows are left out.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edge_lstm import cells
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import onnx_float
from edge_lstm.float_run import run_float, run_layer, standardize
from edge_lstm.gates import STEPS, parse_gates
from edge_lstm.layers import FloatLayer, Squashing
from edge_lstm.model import FloatModel, Pooling
from edge_lstm.oracle import run_onnxruntime
from edge_lstm.signature import Signature

TOLERANCE, MARGIN = 2e-5, 1e-4
CHANNELS, HIDDEN, CLASSES = 3, 5, 4
KINDS = [("soft",), ("hard",), ("i=hard",), ("f=hard,o=hard",), ("soft", "soft"), ("soft", "hard"), ("o=hard", "soft")]


def toy(
    *gates: str, pooling: Pooling = "last", cell: str = "lstm", squash: Squashing = "exact", seed: int = 0
) -> FloatModel:
    """A model of one layer per specification of gates, with float32 weights of size 0.5."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        return (rng.normal(size=shape) / 2).astype(np.float32).astype(np.float64)

    kind, layers, inputs = cells.cell(cell), list[FloatLayer](), CHANNELS
    for spec in gates:
        W, R = ({block: draw(*shape) for block in kind.matrices} for shape in ((HIDDEN, inputs), (HIDDEN, HIDDEN)))
        b = {block: draw(HIDDEN) for block in kind.blocks}
        rb, p = ({block: draw(HIDDEN) for block in blocks} for blocks in (kind.split, kind.peepholes))
        P = draw(HIDDEN, HIDDEN) if kind.projected else None
        layers.append(FloatLayer(cell, W, R, b, parse_gates(spec, kind.gates), rb, p, P, squash))
        inputs = HIDDEN
    return FloatModel(
        signature=Signature("toy", ("ax", "ay", "az"), ("g", "g", "g"), 50.0, 20, ("sit", "stand", "walk", "run")),
        mean=draw(CHANNELS),
        std=np.array([0.5, 1.0, 2.0]),
        clip=2.0,
        layers=tuple(layers),
        pooling=pooling,
        dense_weights=draw(CLASSES, HIDDEN),
        dense_bias=draw(CLASSES),
    )


def samples(windows: int, steps: int, seed: int = 1) -> Any:
    """Float32 samples, about one in 20 of which is clipped."""
    return np.random.default_rng(seed).normal(size=(windows, steps, CHANNELS)).astype(np.float32)


def content(model: FloatModel) -> bytes:
    return bytes(onnx_float.build(model).SerializeToString())


def margin(model: FloatModel, x: Any) -> Any:
    """(windows,) distance of the pre-activations of gates that are steps from the thresholds."""
    nearest, value = np.full(len(x), np.inf), standardize(model, x)
    for layer in model.layers:
        trace = run_layer(layer, value)
        for gate, mode in layer.modes.items():
            for at in STEPS.get(mode, ()):
                nearest = np.minimum(nearest, np.abs(trace[f"z_{gate}"] - at).min(axis=(1, 2)))
        value = trace["h"]
    return nearest


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("gates", KINDS)
def test_agrees_with_numpy(gates: tuple[str, ...], pooling: Pooling) -> None:
    model, x = toy(*gates, pooling=pooling), samples(600, 20)
    x = x[margin(model, x) > MARGIN]
    assert len(x) > 500
    model = replace(model, dense_bias=model.dense_bias - run_float(model, x)["scores"].mean(axis=0))  # several classes
    ours, theirs = run_float(model, x), run_onnxruntime(content(model), x)
    np.testing.assert_allclose(theirs["scores"], ours["scores"], rtol=0, atol=TOLERANCE)
    best = np.sort(ours["scores"], axis=1)
    clear = best[:, -1] - best[:, -2] > 2 * TOLERANCE
    assert np.array_equal(theirs["class_index"][clear], ours["class_index"][clear])
    assert len(set(theirs["class_index"].tolist())) >= 3


@pytest.mark.parametrize("gates", [("soft", "soft"), ("soft", "hard")])
def test_one_graph_takes_any_number_of_windows_and_steps(gates: tuple[str, ...]) -> None:
    model = toy(*gates, pooling="mean")
    session = onnxruntime.InferenceSession(content(model), providers=["CPUExecutionProvider"])
    for windows, steps in ((1, 1), (1, 33), (7, 1), (16, 50)):
        x = samples(windows, steps, seed=windows + steps)
        assert margin(model, x).min() > MARGIN
        scores, class_index = session.run(None, {"x": x})
        np.testing.assert_allclose(scores, run_float(model, x)["scores"], rtol=0, atol=TOLERANCE)
        assert class_index.dtype == np.int64
        assert class_index.shape == (windows,)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_agrees_with_torch(pooling: Pooling) -> None:
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(CHANNELS, HIDDEN, num_layers=2, batch_first=True)
    dense = torch.nn.Linear(HIDDEN, CLASSES)
    weights = {name: w.detach().numpy().astype(np.float64) for name, w in lstm.named_parameters()}
    order = ("i", "f", "g", "o")  # PyTorch's, from its documentation

    def blocks(packed: Any) -> dict[str, Any]:
        return dict(zip(order, np.split(packed, 4), strict=True))

    layers = []
    for k in range(2):
        bias = blocks(weights[f"bias_ih_l{k}"] + weights[f"bias_hh_l{k}"])
        W, R = blocks(weights[f"weight_ih_l{k}"]), blocks(weights[f"weight_hh_l{k}"])
        layers.append(FloatLayer("lstm", W, R, bias, parse_gates("soft", ("i", "f", "o"))))
    model = replace(
        toy("soft", "soft", pooling=pooling),
        mean=np.zeros(CHANNELS),
        std=np.ones(CHANNELS),
        clip=100.0,
        layers=tuple(layers),
        dense_weights=dense.weight.detach().numpy().astype(np.float64),
        dense_bias=dense.bias.detach().numpy().astype(np.float64),
    )
    x = samples(64, 40)
    with torch.no_grad():
        h, _ = lstm(torch.from_numpy(x))
        expected = dense(h[:, -1] if pooling == "last" else h.mean(dim=1)).numpy()
    result = run_onnxruntime(content(model), x)
    np.testing.assert_allclose(result["scores"], expected, rtol=0, atol=TOLERANCE)
    assert np.array_equal(result["class_index"], expected.argmax(axis=1))


@pytest.mark.parametrize(
    ("cell", "operator", "attributes"),
    [
        ("lstm", "LSTM", {}),
        ("peephole", "LSTM", {}),
        ("cifg", "LSTM", {"input_forget": 1}),
        ("gru", "GRU", {"linear_before_reset": 0}),
        ("gru-after", "GRU", {"linear_before_reset": 1}),
        ("rnn", "RNN", {"activations": [b"Tanh"]}),
        ("rnn-relu", "RNN", {"activations": [b"Relu"]}),
        ("lstm-1997", "Scan", None),
        ("lstmp", "Scan", None),
    ],
)
def test_a_layer_is_the_operator_that_computes_it(cell: str, operator: str, attributes: Any) -> None:
    def recurrent(*gates: str, squash: Squashing = "exact") -> list[Any]:
        nodes = onnx_float.build(toy(*gates, cell=cell, squash=squash)).graph.node
        return [n for n in nodes if n.op_type in ("LSTM", "GRU", "RNN", "Scan")]

    soft = recurrent("soft", "soft")
    assert [n.op_type for n in soft] == [operator] * 2
    if attributes is not None:
        found = {a.name: onnx.helper.get_attribute_value(a) for a in soft[1].attribute}
        assert found == {"hidden_size": HIDDEN, **attributes}
        assert len(soft[0].input) == (8 if cell == "peephole" else 4)
    assert [n.op_type for n in recurrent("soft", squash="hard")] == ["Scan"]
    for gate in cells.cell(cell).gates:
        for mode in ("hard", "three-level", "hard-sigmoid"):
            assert [n.op_type for n in recurrent("soft", f"{gate}={mode}")] == [operator, "Scan"]


def test_the_scan_has_one_operator_per_operation_of_the_cell() -> None:
    scan = next(n for n in onnx_float.build(toy("i=hard,o=hard")).graph.node if n.op_type == "Scan")
    body = next(a.g for a in scan.attribute if a.name == "body")
    kinds = [n.op_type for n in body.node]
    counts = {k: kinds.count(k) for k in ("Greater", "Cast", "Sigmoid", "Tanh", "Mul", "MatMul")}
    assert counts == {"Greater": 2, "Cast": 2, "Sigmoid": 1, "Tanh": 2, "Mul": 3, "MatMul": 4}
    assert (
        len(kinds) == sum(counts.values()) + 5 + 3
    )  # four times W x + b plus R h, the sum of c; next h, next c, output


def test_a_gate_opens_above_zero_only() -> None:
    """Zero weights, so that the biases are z: -0, 0, the smallest normal float32 and its negative; g is tanh(20)."""
    smallest = float(np.finfo(np.float32).tiny)
    biases = {"i": [-0.0, 0.0, smallest, -smallest], "f": [-1.0] * 4, "g": [20.0] * 4, "o": [1.0] * 4}
    layer = FloatLayer(
        "lstm",
        {k: np.zeros((4, CHANNELS)) for k in biases},
        {k: np.zeros((4, 4)) for k in biases},
        {k: np.array(v) for k, v in biases.items()},
        parse_gates("hard", ("i", "f", "o")),
    )
    model = replace(toy("hard"), layers=(layer,), dense_weights=np.eye(4), dense_bias=np.zeros(4))
    result = run_onnxruntime(content(model), samples(2, 3))
    expected = [0.0, 0.0, np.tanh(1.0), 0.0]
    np.testing.assert_allclose(result["scores"], [expected, expected], rtol=0, atol=TOLERANCE)
    assert result["scores"][0, [0, 1, 3]].tolist() == [0, 0, 0]


def test_a_three_level_gate_takes_its_steps_above_minus_one_and_one() -> None:
    """Zero weights, so that the biases are z: at each threshold and next to it; c is o's gate times tanh(20)."""
    one = np.float32(1)
    z = [-one, -np.nextafter(one, np.float32(0)), -0.0, one, np.nextafter(one, np.float32(2)), np.float32(-3e38)]
    biases = {"i": np.array(z, np.float64), "f": np.full(6, -2.0), "g": np.full(6, 20.0), "o": np.full(6, 2.0)}
    zeros = {k: np.zeros((6, CHANNELS)) for k in biases}
    R = {k: np.zeros((6, 6)) for k in biases}
    layer = FloatLayer("lstm", zeros, R, biases, parse_gates("three-level", ("i", "f", "o")))
    signature = replace(toy("soft").signature, classes=tuple("abcdef"))
    model = replace(toy("soft"), signature=signature, layers=(layer,), dense_weights=np.eye(6), dense_bias=np.zeros(6))
    expected = np.tanh([0.0, 0.5, 0.5, 0.5, 1.0, 0.0])
    scores = run_onnxruntime(content(model), samples(2, 3))["scores"]
    np.testing.assert_allclose(scores, [expected, expected], rtol=0, atol=TOLERANCE)
    assert scores[0, [0, 5]].tolist() == [0, 0]


def test_equal_scores_give_the_first_class() -> None:
    model = replace(toy("soft"), dense_weights=np.zeros((CLASSES, HIDDEN)), dense_bias=np.array([0.0, 1.0, 1.0, 0.0]))
    assert run_onnxruntime(content(model), samples(3, 2))["class_index"].tolist() == [1, 1, 1]


def test_a_new_cell_needs_no_line_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell unlike the others, exported from its equations alone: projection, split block and peephole in one."""

    def step(m: cells.Machine, last: cells.States) -> dict[str, Any]:
        u = m.gate("u", m.affine("u", (1 - last["h"]) * last["h"]) + m.peephole("u", last["c"]))
        k = m.squash("k", m.inputs("k") + u * m.recurrent("k"))
        c = m.state("c", u * last["c"] + (1 - u) * k)
        return {"c": c, "h": m.state("h", m.squash("t", m.project(c)) * (1 - last["h"] * last["h"]))}

    toy_cell = cells.Cell(
        name="toy",
        blocks=("k", "u"),
        gates=("u",),
        states=("h", "c"),
        functions={"k": ("squash2", "c"), "t": ("squash1", "h")},
        step=step,
        peepholes=("u",),
        split=("k",),
        projected=True,
    )
    monkeypatch.setitem(cells.CELLS, "toy", toy_cell)
    squashes: tuple[Squashing, ...] = ("exact", "hard")
    for spec, squash in itertools.product(("soft", "hard", "three-level", "hard-sigmoid"), squashes):
        model, x = toy(spec, spec, cell="toy", squash=squash), samples(50, 8)
        x = x[margin(model, x) > MARGIN]
        assert len(x) > 40
        scores = run_onnxruntime(content(model), x)["scores"]
        np.testing.assert_allclose(scores, run_float(model, x)["scores"], rtol=0, atol=TOLERANCE)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    onnx_float.write(toy("hard"), tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    assert (proto.ir_version, proto.producer_name, proto.graph.name) == (8, "edge-lstm", "toy")
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    assert {t.data_type for t in proto.graph.initializer} == {onnx.TensorProto.FLOAT}
    ports = [
        (p.name, p.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim])
        for p in (*proto.graph.input, *proto.graph.output)
    ]
    assert ports == [
        ("x", onnx.TensorProto.FLOAT, ["batch", "time", 3]),
        ("scores", onnx.TensorProto.FLOAT, ["batch", 4]),
        ("class_index", onnx.TensorProto.INT64, ["batch"]),
    ]
    onnx_float.write(toy("hard"), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_values_that_float32_cannot_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy("soft")
    with pytest.raises(EdgeLstmError, match=r"^dense/bias holds a value that float32 can't hold$"):
        onnx_float.build(replace(model, dense_bias=np.full(CLASSES, 1e39)))
    with pytest.raises(EdgeLstmError, match=r"^input/std holds a value so small that float32 makes it 0$"):
        onnx_float.build(replace(model, std=np.full(CHANNELS, 1e-50)))
    monkeypatch.setattr(onnx_float, "MAX_WEIGHT_BYTES", 100)
    with pytest.raises(EdgeLstmError, match=r"^the model has 932 bytes of weights; accepted are at most 100$"):
        onnx_float.build(model)


def test_blocks_of_windows_are_joined_in_order() -> None:
    model, x = toy("soft"), samples(11, 6)
    whole, parts = run_onnxruntime(content(model), x), run_onnxruntime(content(model), x, block=4)
    # Each window is computed alone: only the order of sums in a product may depend on the block.
    np.testing.assert_allclose(parts["scores"], whole["scores"], rtol=0, atol=TOLERANCE)
    assert np.array_equal(parts["class_index"], whole["class_index"])


def test_onnxruntime_failures_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(EdgeLstmError, match=r"^\S+m\.onnx: onnxruntime: [^\n]+$"):
        run_onnxruntime(path, samples(1, 2))
    with pytest.raises(EdgeLstmError, match=r"^a model in memory: onnxruntime: [^\n]+dimensions[^\n]+$"):
        run_onnxruntime(content(toy("soft")), np.zeros((1, 2, 9)))
    with pytest.raises(
        EdgeLstmError, match=r"^samples have shape \(0, 2, 3\); accepted is \(windows, steps, channels\), none 0$"
    ):
        run_onnxruntime(content(toy("soft")), np.zeros((0, 2, 3)))
    assert capfd.readouterr() == ("", "")
