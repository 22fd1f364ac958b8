"""A model that exists is consistent: everything else is refused by name, with what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.model import (
    MAX_WIDTH,
    Block,
    FloatLayer,
    FloatModel,
    QuantizedLayer,
    QuantizedModel,
    Signature,
    Table,
    checked_samples,
)
from edge_lstm.requantize import Requantize

SIGNATURE = Signature("toy", ("acc_x", "acc_y"), ("g", ""), 50.0, 20, ("still", "moving"))
NAMED = "accepted are up to 48 lower-case letters, digits and _, first a letter"
PRINTABLE = "accepted are 1 to 64 printable characters"


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
        (lambda _: {"cell": "gru"}, "no cell 'gru'; accepted are lstm"),
        (lambda k: {"W": without(k.W, "g")}, "W of a lstm layer are f, i, o; they must be f, g, i, o"),
        (lambda k: {"R": {**k.R, "z": k.R["i"]}}, "R of a lstm layer are f, g, i, o, z; they must be f, g, i, o"),
        (lambda _: {"b": {}}, "b of a lstm layer are ; they must be f, g, i, o"),
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
        (lambda _: {"layers": ()}, "a model has at least one recurrent layer"),
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
    none = FloatLayer(
        "lstm",
        {name: np.zeros((0, 2)) for name in k.W},
        {name: np.zeros((0, 0)) for name in k.R},
        {name: np.zeros(0) for name in k.b},
        k.modes,
    )
    changes = {"layers": (none,), "dense_weights": np.zeros((4, 0))}
    assert refusal(lambda: replace(floating, **changes)) == "layer 0 has 0 units; accepted are 1 to 4096"


@pytest.fixture(scope="module")
def quantized(make_quantized: Callable[..., QuantizedModel]) -> QuantizedModel:
    return make_quantized("f=hard", hidden=3, inputs=2, layers=2, pooling="mean")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"values": t.values[:-1]}, "table of tanh has shape (255,), and must have (256,)"),
        (lambda t: {"values": t.values.astype(np.int32)}, "table of tanh is int32, and must be int16"),
        (lambda _: {"index_bits": -1}, "a table has 0 to 7 index bits, not -1"),
        (lambda _: {"index_bits": 8}, "a table has 0 to 7 index bits, not 8"),
        (lambda _: {"output": QFormat(4, 3)}, "table of tanh holds values outside its format Q0.3"),
    ],
)
def test_tables_that_are_refused(
    quantized: QuantizedModel, change: Callable[[Table], dict[str, Any]], message: str
) -> None:
    table = quantized.layers[0].blocks["g"].table
    assert table is not None
    assert refusal(lambda: replace(table, **change(table))) == message


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("i", lambda b: {"weights": b.weights[0]}, "the weights of a block have 1 axes, and must have 2"),
        ("i", lambda b: {"bias": b.bias[:2]}, "the bias of a block has shape (2,), and must have (3,)"),
        ("i", lambda b: {"bias": b.bias.astype(np.int64)}, "the bias of a block is int64, and must be int32"),
        (
            "i",
            lambda b: {"scale": nan_at(b.scale, 0)},
            "the scale of a block holds nan at (0,); every value must be finite",
        ),
        ("f", lambda _: {"weights": np.full((3, 5), -128, np.int8)}, "a weight is -128; accepted are -127 to 127"),
        ("i", lambda _: {"table": None}, "a block has a table and a requantization, or neither"),
        ("i", lambda _: {"requantize": None}, "a block has a table and a requantization, or neither"),
        (
            "i",
            lambda _: {"requantize": Requantize(0, np.ones(2, np.int32), 0)},
            "the multipliers of a block has shape (2,), and must have (3,)",
        ),
    ],
)
def test_blocks_that_are_refused(
    quantized: QuantizedModel, name: str, change: Callable[[Block], dict[str, Any]], message: str
) -> None:
    block = quantized.layers[0].blocks[name]
    assert refusal(lambda: replace(block, **change(block))) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {"cell": "rnn"}, "no cell 'rnn'; accepted are lstm"),
        (
            lambda k: {"blocks": without(k.blocks, "o")},
            "the blocks of a lstm layer are f, g, i; they must be f, g, i, o",
        ),
        (
            lambda k: {"blocks": {**k.blocks, "g": k.blocks["f"]}},
            "block g of a lstm layer is not a gate and needs a table",
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
        (lambda _: {"squash_shift": -1}, "squash_shift is -1; accepted are 0 to 30"),
        (lambda _: {"squash_shift": 31}, "squash_shift is 31; accepted are 0 to 30"),
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
        (lambda _: {"layers": ()}, "a model has at least one recurrent layer"),
        (lambda m: {"layers": m.layers[::-1]}, "layer 0 takes 3 inputs, and is given 2"),
        (lambda m: {"dense_weights": m.dense_weights[1:]}, "dense_weights has shape (3, 3), and must have (4, 3)"),
        (
            lambda _: {"dense_weights": np.full((4, 3), -128, np.int8)},
            "a weight of the dense layer is -128; accepted are -127 to 127",
        ),
        (lambda m: {"dense_weights": m.dense_weights.astype(float)}, "dense_weights is float64, and must be int8"),
        (lambda m: {"dense_bias": m.dense_bias.astype(np.int64)}, "dense_bias is int64, and must be int32"),
        (lambda _: {"score_scale": 0.0}, "score_scale is 0.0; accepted are positive numbers"),
        (lambda _: {"score_scale": float("nan")}, "score_scale is nan; accepted are positive numbers"),
        (lambda _: {"score_scale": float("inf")}, "score_scale is inf; accepted are positive numbers"),
        (lambda _: {"pool": None}, "mean pooling has a requantization, last-step pooling has none"),
        (lambda _: {"pooling": "last"}, "mean pooling has a requantization, last-step pooling has none"),
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
    assert (layer.hidden, layer.inputs) == (3, 2)
    assert (floating.layers[1].hidden, floating.layers[1].inputs) == (3, 3)
    assert replace(floating).clip == 4.0


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
