"""The cell `fastgrnn`: what its paper says of it, and that the weights which its blocks share are there once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lstm.api import export_model
from edge_lstm.cells import CELLS, Cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export.onnx_float import build
from edge_lstm.float_run import run_layer
from edge_lstm.lower import lower
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.nn.layer import Layer
from edge_lstm.ops import Op
from edge_lstm.program import RangeError
from edge_lstm.statistics import describe
from edge_lstm.storage import load

HIDDEN, INPUTS = 8, 3


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))


def test_its_steps_are_those_of_the_paper(make_float_model: Callable[..., FloatModel]) -> None:
    """FastGRNN of Kusupati et al. 2018, with zeta = 1 and nu = 0."""
    (layer,) = make_float_model("soft", cell="fastgrnn", hidden=HIDDEN, inputs=INPUTS).layers
    x = np.random.default_rng(1).normal(0, 1, (2, 5, INPUTS))
    found = run_layer(layer, x)["h"]
    zeta, nu, h = 1.0, 0.0, np.zeros((2, HIDDEN))
    for t in range(5):
        pre = x[:, t] @ layer.W["n"].T + h @ layer.R["n"].T
        z, n = sigmoid(pre + layer.b["z"]), np.tanh(pre + layer.b["n"])
        h = (zeta * (1 - z) + nu) * n + z * h
        assert np.abs(found[:, t] - h).max() < 1e-14  # float64


def test_weights_are_stored_and_multiplied_once(make_quantized: Callable[..., QuantizedModel], tmp_path: Path) -> None:
    model = make_quantized("soft", cell="fastgrnn", hidden=HIDDEN, inputs=INPUTS, classes=4)
    products = [i for i in lower(model).step.instructions if i.op is Op.MATVEC]
    assert [i.out for i in products] == ["fastgrnn0.a_n"]
    weights, biases = HIDDEN * (INPUTS + HIDDEN), 2 * HIDDEN
    assert describe(model)["parameters"] == weights + biases + 4 * HIDDEN + 4
    model.save(tmp_path / "m.elstm")
    assert load(tmp_path / "m.elstm").layers[0].blocks["z"].weights.shape == (HIDDEN, 0)
    paths = export_model(model, format="c99", out=tmp_path / "c")
    text = next(Path(path).read_text() for path in paths if re.fullmatch(r"m\.c", Path(path).name))
    assert re.findall(r"int8_t m_fastgrnn0_W_(\w+)\[8\]\[11\]", text) == ["n"]
    assert "W_z" not in text


def test_so_they_are_in_float_onnx(make_float_model: Callable[..., FloatModel]) -> None:
    graph = build(make_float_model("soft", cell="fastgrnn", hidden=HIDDEN, inputs=INPUTS)).graph
    scan = next(node for node in graph.node if node.op_type == "Scan")
    (body,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    assert [node.op_type for node in body.node].count("MatMul") == 1
    assert sum("W.n" in name for node in graph.node for name in node.input) == 1
    names = {tensor.name.rpartition("/")[2] for tensor in graph.initializer}
    assert {"W.n", "R.n", "b.n", "b.z"} <= names
    assert not {"W.z", "R.z"} & names


def test_training_has_them_once_too() -> None:
    layer = Layer(CELLS["fastgrnn"], INPUTS, HIDDEN)
    assert (layer.W.shape, layer.R.shape, layer.b.shape) == ((HIDDEN, INPUTS), (HIDDEN, HIDDEN), (2 * HIDDEN,))
    assert torch.equal(layer.packed.W, torch.cat([layer.W, layer.W]))
    assert layer.rows(layer.b, "z").tolist() == [1.0] * HIDDEN


def test_a_block_that_shares_weights_has_their_scale_and_no_columns(
    make_quantized: Callable[..., QuantizedModel],
) -> None:
    (layer,) = make_quantized("soft", cell="fastgrnn", hidden=HIDDEN, inputs=INPUTS).layers
    n, z = layer.blocks["n"], layer.blocks["z"]
    for changed, message in (
        (replace(z, scale=2 * z.scale), "block z of a fastgrnn layer shares weights, and not their scale"),
        (replace(z, weights=n.weights), "the weights of block z has shape (8, 11), and must have (8, 0)"),
    ):
        with pytest.raises(EdgeLstmError, match=f"^{re.escape(message)}$"):
            replace(layer, blocks={"n": n, "z": changed})


def test_biases_that_are_further_apart_than_32_bits_are_refused(make_quantized: Callable[..., QuantizedModel]) -> None:
    model = make_quantized("hard", cell="fastgrnn", hidden=HIDDEN, inputs=INPUTS)
    (layer,) = model.layers
    n, z = layer.blocks["n"], layer.blocks["z"]
    least, most = (np.full(HIDDEN, v, np.int32) for v in (-(2**31), 2**31 - 1))
    changed = replace(layer, blocks={"n": replace(n, bias=most), "z": replace(z, bias=least)})
    wanted = r"^m\.step: fastgrnn0\.b_z less b_n is -4294967295 to -4294967295, and 32 bits hold \["
    with pytest.raises(RangeError, match=wanted):
        lower(replace(model, layers=(changed,)))


@pytest.mark.parametrize("shares", [{"n": "z"}, {"z": "z"}, {"z": "q"}, {"q": "n"}])
def test_cells_that_share_what_is_not_there_are_refused(shares: dict[str, str]) -> None:
    (block, owner) = next(iter(shares.items()))
    kind = CELLS["fastgrnn"]
    with pytest.raises(EdgeLstmError, match=rf"^cell 'other': {block} can't share the weights of {owner}$"):
        Cell("other", kind.blocks, kind.gates, kind.states, kind.functions, kind.step, shares=shares)
