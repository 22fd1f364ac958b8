"""A model that exists is consistent: everything else is refused by name, with what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.blocks import Peephole, Steps
from edge_lstm.cells import CELLS
from edge_lstm.errors import EdgeLstmError
from edge_lstm.layers import FloatLayer, QuantizedLayer
from edge_lstm.luts import build_linear
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.requantize import Requantize
from edge_lstm.signature import MAX_WIDTH, Signature, checked_samples

SIGNATURE = Signature("toy", ("acc_x", "acc_y"), ("g", ""), 50.0, 20, ("still", "moving"))
NAMED = "accepted are up to 48 lower-case letters, digits and _, first a letter"
PRINTABLE = "accepted are 1 to 64 printable characters"
KNOWN = ", ".join(CELLS)


def refusal(make: Callable[[], Any]) -> str:
    with pytest.raises(EdgeLstmError) as error:
        make()
    text = str(error.value)
    assert text.isprintable()
    return text


def nan_at(array: np.ndarray, *at: int, value: float = np.nan) -> np.ndarray:
    array = array.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, f"model name '': {NAMED}"),
        ({"name": "Toy"}, f"model name 'Toy': {NAMED}"),
        ({"name": "9toy"}, f"model name '9toy': {NAMED}"),
        ({"name": "a-b"}, f"model name 'a-b': {NAMED}"),
        ({"name": "toy\n"}, f"model name 'toy\\n': {NAMED}"),
        ({"name": "a" * 49}, f"model name '{'a' * 49}': {NAMED}"),
        ({"channels": (), "units": ()}, "0 channels with 0 units; accepted are 1 to 4096, one unit each"),
        ({"units": ("g",)}, "2 channels with 1 units; accepted are 1 to 4096, one unit each"),
        ({"channels": ("a", "")}, f"channel name '': {PRINTABLE}"),
        ({"channels": ("a", "b\x1b[2J")}, f"channel name 'b\\x1b[2J': {PRINTABLE}"),
        ({"units": ("g", "m\n")}, f"unit name 'm\\n': {PRINTABLE}"),
        ({"classes": ("one",)}, "1 classes; accepted are 2 to 4096"),
        ({"classes": ("one", "t" * 65)}, f"class name '{'t' * 64}': {PRINTABLE}"),
        ({"classes": ("c",) * (MAX_WIDTH + 1)}, "4097 classes; accepted are 2 to 4096"),
        ({"steps": 0}, "a window of 0 steps; accepted are 1 to 65536"),
        ({"steps": 65537}, "a window of 65537 steps; accepted are 1 to 65536"),
        ({"rate_hz": 0.0}, "a sampling rate of 0.0 Hz; accepted are positive numbers"),
        ({"rate_hz": float("inf")}, "a sampling rate of inf Hz; accepted are positive numbers"),
        ({"rate_hz": float("nan")}, "a sampling rate of nan Hz; accepted are positive numbers"),
    ],
)
def test_signatures_that_are_refused(changes: dict[str, Any], message: str) -> None:
    assert refusal(lambda: replace(SIGNATURE, **changes)) == message


def test_signatures_at_the_limits_are_accepted() -> None:
    wide = replace(SIGNATURE, name="a" * 48, channels=("é" * 64,) * MAX_WIDTH, units=("",) * MAX_WIDTH, rate_hz=None)
    assert replace(wide, steps=65536).steps == 65536
    assert replace(SIGNATURE, rate_hz=50) == SIGNATURE
    assert type(replace(SIGNATURE, rate_hz=50).rate_hz) is float


@pytest.fixture(scope="module")
def floating(make_float_model: Callable[..., FloatModel]) -> FloatModel:
    return make_float_model("f=hard", hidden=3, inputs=2, layers=2)


def without(group: Any, name: str) -> dict[str, Any]:
    return {k: v for k, v in group.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {"cell": "elman"}, f"no cell 'elman'; accepted are {KNOWN}"),
        (lambda _: {"cell": "gru"}, "W of a gru layer are f, g, i, o; they must be n, r, z"),
        (lambda _: {"cell": "peephole"}, "p of a peephole layer are none; they must be f, i, o"),
        (lambda _: {"cell": "lstmp"}, "a lstmp layer needs a projection; lstmp has one"),
        (lambda _: {"P": np.ones((2, 3))}, "a lstm layer has no projection; lstmp has one"),
        (lambda k: {"rb": {"g": k.b["g"]}}, "rb of a lstm layer are g; they must be none"),
        (lambda k: {"p": {"i": k.b["i"]}}, "p of a lstm layer are i; they must be none"),
        (lambda k: {"W": without(k.W, "g")}, "W of a lstm layer are f, i, o; they must be f, g, i, o"),
        (lambda k: {"R": {**k.R, "z": k.R["i"]}}, "R of a lstm layer are f, g, i, o, z; they must be f, g, i, o"),
        (lambda _: {"b": {}}, "b of a lstm layer are none; they must be f, g, i, o"),
        (
            lambda k: {"modes": {**k.modes, "g": "soft"}},
            "the gates of a lstm layer are f, g, i, o; they must be f, i, o",
        ),
        (lambda k: {"W": {**k.W, "i": k.W["i"][0]}}, "W of a lstm layer is no matrix"),
        (lambda k: {"W": {**k.W, "g": k.W["g"].T}}, "W of g has shape (2, 3), and must have (3, 2)"),
        (lambda k: {"R": {**k.R, "o": k.R["o"][:2]}}, "R of o has shape (2, 3), and must have (3, 3)"),
        (lambda k: {"b": {**k.b, "f": k.b["f"][:, None]}}, "b of f has shape (3, 1), and must have (3,)"),
        (
            lambda k: {"R": {**k.R, "f": nan_at(k.R["f"], 2, 1)}},
            "R of f holds nan at (2, 1); every value must be finite",
        ),
        (
            lambda k: {"b": {**k.b, "i": nan_at(k.b["i"], 0, value=-np.inf)}},
            "b of i holds -inf at (0,); every value must be finite",
        ),
        (lambda k: {"b": {**k.b, "i": k.b["i"].astype(np.float32)}}, "b of i is float32, and must be float64"),
    ],
)
def test_float_layers_that_are_refused(
    floating: FloatModel, change: Callable[[FloatLayer], dict[str, Any]], message: str
) -> None:
    assert refusal(lambda: replace(floating.layers[0], **change(floating.layers[0]))) == message


@pytest.mark.parametrize(
    ("cell", "change", "message"),
    [
        ("peephole", lambda k: {"p": without(k.p, "o")}, "p of a peephole layer are f, i; they must be f, i, o"),
        (
            "peephole",
            lambda k: {"p": {**k.p, "i": k.p["i"][:2]}},
            "a vector of i has shape (2,), and must have (3,)",
        ),
        (
            "peephole",
            lambda k: {"p": {**k.p, "o": nan_at(k.p["o"], 1)}},
            "a vector of o holds nan at (1,); every value must be finite",
        ),
        ("gru-after", lambda _: {"rb": {}}, "rb of a gru-after layer are none; they must be n"),
        (
            "gru-after",
            lambda k: {"rb": {"n": k.rb["n"].astype(np.float32)}},
            "a vector of n is float32, and must be float64",
        ),
        ("lstmp", lambda _: {"P": None}, "a lstmp layer needs a projection; lstmp has one"),
        ("lstmp", lambda k: {"P": k.P[0]}, "P of a lstmp layer is no matrix"),
        ("lstmp", lambda k: {"P": k.P.T}, "P has shape (3, 2), and must have (3, 3)"),
        ("lstmp", lambda k: {"P": nan_at(k.P, 1, 2)}, "P holds nan at (1, 2); every value must be finite"),
        ("lstmp", lambda k: {"P": k.P[:1]}, "R of i has shape (3, 2), and must have (3, 1)"),
        ("rnn", lambda _: {"modes": {"t": "hard"}}, "the gates of a rnn layer are t; they must be none"),
    ],
)
def test_float_layers_of_other_cells_that_are_refused(
    make_float_model: Callable[..., FloatModel],
    cell: str,
    change: Callable[[Any], dict[str, Any]],
    message: str,
) -> None:
    (layer,) = make_float_model("soft", cell=cell, hidden=3, inputs=2).layers
    assert refusal(lambda: replace(layer, **change(layer))) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {"mean": m.mean[:1]}, "mean has shape (1,), and must have (2,)"),
        (lambda _: {"mean": np.zeros(2, int)}, "mean is int64, and must be float64"),
        (lambda m: {"std": nan_at(m.std, 1)}, "std holds nan at (1,); every value must be finite"),
        (lambda m: {"std": nan_at(m.std, 1, value=0)}, "std holds 0.0; accepted are positive numbers"),
        (lambda _: {"std": -np.ones(2)}, "std holds -1.0; accepted are positive numbers"),
        (lambda _: {"clip": 0.0}, "clip is 0.0; accepted are positive numbers"),
        (lambda _: {"clip": float("nan")}, "clip is nan; accepted are positive numbers"),
        (lambda _: {"clip": float("inf")}, "clip is inf; accepted are positive numbers"),
        (lambda _: {"layers": ()}, "a model has 0 recurrent layers; accepted are 1 to 256"),
        (lambda m: {"layers": m.layers[::-1]}, "layer 0 takes 3 inputs, and is given 2"),
        (lambda m: {"layers": m.layers[:1] * 2}, "layer 1 takes 2 inputs, and is given 3"),
        (lambda m: {"dense_weights": m.dense_weights.T}, "dense_weights has shape (3, 4), and must have (4, 3)"),
        (lambda m: {"dense_bias": m.dense_bias[1:]}, "dense_bias has shape (3,), and must have (4,)"),
        (
            lambda m: {"dense_weights": nan_at(m.dense_weights, 3, 2, value=np.inf)},
            "dense_weights holds inf at (3, 2); every value must be finite",
        ),
    ],
)
def test_float_models_that_are_refused(
    floating: FloatModel, change: Callable[[FloatModel], dict[str, Any]], message: str
) -> None:
    assert refusal(lambda: replace(floating, **change(floating))) == message


def test_a_layer_without_units_is_refused(floating: FloatModel) -> None:
    k = floating.layers[0]
    none = {
        "W": {name: np.zeros((0, 2)) for name in k.W},
        "R": {name: np.zeros((0, 0)) for name in k.R},
        "b": {name: np.zeros(0) for name in k.b},
    }
    assert refusal(lambda: replace(k, **none)) == "a lstm layer has 0 units; accepted are 1 to 4096"


@pytest.fixture(scope="module")
def quantized(make_quantized: Callable[..., QuantizedModel]) -> QuantizedModel:
    return make_quantized("f=hard", hidden=3, inputs=2, layers=2, pooling="mean")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {"cell": "elman"}, f"no cell 'elman'; accepted are {KNOWN}"),
        (lambda _: {"cell": "rnn"}, "the blocks of a rnn layer are f, g, i, o; they must be t"),
        (lambda _: {"cell": "peephole"}, "block i of a peephole layer has or lacks a peephole"),
        (lambda _: {"cell": "lstmp"}, "a lstmp layer has the states h, c; c or P does not fit"),
        (lambda _: {"c": None}, "a lstm layer has the states h, c; c or P does not fit"),
        (
            lambda k: {"blocks": without(k.blocks, "o")},
            "the blocks of a lstm layer are f, g, i; they must be f, g, i, o",
        ),
        (
            lambda k: {"blocks": {**k.blocks, "g": k.blocks["f"]}},
            "block g of a lstm layer has an activation of another mode",
        ),
        (
            lambda k: {"modes": {**k.modes, "f": "soft"}},
            "block f of a lstm layer has an activation of another mode",
        ),
        (
            lambda k: {"modes": {**k.modes, "f": "three-level"}},
            "block f of a lstm layer has an activation of another mode",
        ),
        (
            lambda k: {"modes": {**k.modes, "i": "hard"}},
            "block i of a lstm layer has an activation of another mode",
        ),
        (
            lambda k: {
                "blocks": {**k.blocks, "f": replace(k.blocks["f"], activation=Steps(np.ones((1, 3), np.int32)))}
            },
            "gate f of a lstm layer is hard: its step is at 0, the bias has the threshold",
        ),
        (lambda k: {"modes": without(k.modes, "o")}, "the gates of a lstm layer are f, i; they must be f, i, o"),
        (
            lambda k: {"blocks": {**k.blocks, "g": replace(k.blocks["g"], recurrent_bias=k.blocks["g"].bias)}},
            "block g of a lstm layer has or lacks a recurrent bias",
        ),
        (
            lambda k: {"blocks": {**k.blocks, "i": replace(k.blocks["i"], peephole=Peephole(np.ones(3, np.int32), 0))}},
            "block i of a lstm layer has or lacks a peephole",
        ),
        (
            lambda k: {"blocks": {**k.blocks, "g": replace(k.blocks["g"], weights=k.blocks["g"].weights[:, 1:])}},
            "the weights of block g has shape (3, 4), and must have (3, 5)",
        ),
        (
            lambda k: {
                "blocks": {**k.blocks, "g": replace(k.blocks["g"], weights=k.blocks["g"].weights.astype(np.int16))}
            },
            "the weights of block g is int16, and must be int8",
        ),
        (lambda _: {"squash": {}}, "the functions of the states of a lstm layer are none; they must be t"),
        (
            lambda k: {"squash": {**k.squash, "g": k.squash["t"]}},
            "the functions of the states of a lstm layer are g, t; they must be t",
        ),
        (
            lambda k: {"squash": {"t": build_linear("tanh", k.h)}},
            "the function t of the cell state is in Q0.7, and must be in Q0.15 of 16 bits",
        ),
        (
            lambda k: {"blocks": {n: replace(b, weights=b.weights[:, :3]) for n, b in k.blocks.items()}},
            "a layer of 3 units needs more than 3 columns",
        ),
    ],
)
def test_quantized_layers_that_are_refused(
    quantized: QuantizedModel, change: Callable[[QuantizedLayer], dict[str, Any]], message: str
) -> None:
    assert refusal(lambda: replace(quantized.layers[0], **change(quantized.layers[0]))) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {"input_offset": m.input_offset[:1]}, "input_offset has shape (1,), and must have (2,)"),
        (
            lambda m: {"input_offset": nan_at(m.input_offset, 0)},
            "input_offset holds nan at (0,); every value must be finite",
        ),
        (lambda _: {"input_scale": np.array([1.0, 0.0])}, "input_scale holds 0.0; accepted are positive numbers"),
        (lambda _: {"layers": ()}, "a model has 0 recurrent layers; accepted are 1 to 256"),
        (lambda m: {"layers": m.layers[::-1]}, "layer 0 takes 3 inputs, and is given 2"),
        (lambda m: {"dense_weights": m.dense_weights[1:]}, "dense_weights has shape (3, 3), and must have (4, 3)"),
        (
            lambda _: {"dense_weights": np.full((4, 3), -128, np.int8)},
            "the dense layer has a weight of 128 units; 8 bits take -127 to 127",
        ),
        (lambda _: {"input_bits": 4}, "inputs have 4 bits; accepted are 8, 16"),
        (lambda m: {"dense_weights": m.dense_weights.astype(float)}, "dense_weights is float64, and must be int8"),
        (lambda m: {"dense_bias": m.dense_bias.astype(np.int64)}, "dense_bias is int64, and must be int32"),
        (lambda _: {"score_scale": 0.0}, "score_scale is 0.0; accepted are positive numbers"),
        (lambda _: {"score_scale": float("nan")}, "score_scale is nan; accepted are positive numbers"),
        (lambda _: {"score_scale": float("inf")}, "score_scale is inf; accepted are positive numbers"),
        (
            lambda _: {"pool": None},
            "only mean pooling over windows of one length has a requantization",
        ),
        (
            lambda _: {"pooling": "last"},
            "only mean pooling over windows of one length has a requantization",
        ),
        (
            lambda _: {"pool": Requantize(0, np.ones(2, np.int32), 0)},
            "the pooling multiplier has shape (2,), and must have (3,)",
        ),
    ],
)
def test_quantized_models_that_are_refused(
    quantized: QuantizedModel, change: Callable[[QuantizedModel], dict[str, Any]], message: str
) -> None:
    assert refusal(lambda: replace(quantized, **change(quantized))) == message


def test_the_unchanged_parts_are_accepted(quantized: QuantizedModel, floating: FloatModel) -> None:
    layer = replace(quantized.layers[0])
    assert replace(quantized, layers=(layer, quantized.layers[1])).layers[0].modes == {
        "i": "soft",
        "f": "hard",
        "o": "soft",
    }
    assert (layer.hidden, layer.inputs, layer.outputs) == (3, 2, 3)
    assert (floating.layers[1].hidden, floating.layers[1].inputs, floating.layers[1].outputs) == (3, 3, 3)
    assert replace(floating).clip == 4.0


@pytest.mark.parametrize("cell", CELLS)
def test_layers_of_every_cell_have_its_shapes(
    cell: str, make_float_model: Callable[..., FloatModel], make_quantized: Callable[..., QuantizedModel]
) -> None:
    options: dict[str, Any] = {"cell": cell, "hidden": 3, "inputs": 2, "layers": 2}
    outputs = 2 if CELLS[cell].projected else 3
    for model in (make_float_model(**options), make_quantized(**options)):
        found = [(k.inputs, k.hidden, k.outputs) for k in model.layers]
        assert found == [(2, 3, outputs), (outputs, 3, outputs)]
        assert model.dense_weights.shape == (4, outputs)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(3), "samples have shape (3,); toy takes 2 channels last (acc_x, acc_y)"),
        (np.zeros((4, 5, 1)), "samples have shape (4, 5, 1); toy takes 2 channels last (acc_x, acc_y)"),
        (np.float64(1), "samples have shape (); toy takes 2 channels last (acc_x, acc_y)"),
        ([["a", "b"]], "samples are <U1; accepted are real numbers"),
        (np.zeros((1, 2), complex), "samples are complex128; accepted are real numbers"),
        (np.zeros((1, 2), bool), "samples are bool; accepted are real numbers"),
        ([[None, 1]], "samples are object; accepted are real numbers"),
        (nan_at(np.zeros((3, 4, 2)), 1, 2, 1), "sample (1, 2, 1) is nan (channel acc_y); every sample must be finite"),
        (
            nan_at(np.zeros((3, 2)), 2, 0, value=-np.inf),
            "sample (2, 0) is -inf (channel acc_x); every sample must be finite",
        ),
    ],
)
def test_samples_that_are_refused(quantized: QuantizedModel, x: Any, message: str) -> None:
    assert refusal(lambda: checked_samples(x, SIGNATURE)) == message
    model = replace(quantized, signature=replace(SIGNATURE, classes=quantized.signature.classes))
    assert refusal(lambda: model.quantize_input(x)) == message


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "int64"])
def test_real_samples_of_any_type_are_accepted(dtype: str) -> None:
    found = checked_samples(np.arange(8).reshape(1, 4, 2).astype(dtype), SIGNATURE)
    assert found.dtype == np.float64
    assert found.tolist() == np.arange(8.0).reshape(1, 4, 2).tolist()


def test_input_integers_are_nearest_and_saturate_at_any_size(quantized: QuantizedModel) -> None:
    offset, scale = quantized.input_offset, quantized.input_scale
    steps = np.array([0, 1, -1, 2.4, -2.6, 126.9, 127, 127.6, -128, 1e6])
    x = offset + steps[:, None] * scale
    wanted = [0, 1, -1, 2, -3, 127, 127, 127, -127, 127]
    assert quantized.quantize_input(x).tolist() == [[v, v] for v in wanted]
    extreme = np.array([[1.7e308, -1.7e308]])
    assert replace(quantized, input_scale=np.full(2, 1e-3)).quantize_input(extreme).tolist() == [[127, -127]]


def test_inputs_of_16_bits_reach_further(quantized: QuantizedModel) -> None:
    wide = replace(quantized, input_bits=16)
    assert (quantized.input_type, wide.input_type) == (np.int8, np.int16)
    steps = np.array([0, 128, -2.6, 32766.9, 32767, 32767.6, -32768, 1e6])
    wanted = [0, 128, -3, 32767, 32767, 32767, -32767, 32767]
    assert wide.quantize_input(wide.input_offset + steps[:, None] * wide.input_scale).tolist() == [
        [v, v] for v in wanted
    ]
