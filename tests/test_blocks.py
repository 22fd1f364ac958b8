"""What a layer is made of, refused by name where it is inconsistent: tables, linear forms, steps, rows of weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.blocks import Block, Linear, Peephole, Projection, Steps, Table
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.luts import build_linear
from edge_lstm.model import QuantizedModel
from edge_lstm.requantize import Requantize

REQUANTIZES = "a block has a requantization exactly where its activation has no steps"


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
        (lambda _: {"between_bits": -1}, "a table has 0 to 8 bits between its entries, not -1"),
        (lambda _: {"between_bits": 9}, "a table has 0 to 8 bits between its entries, not 9"),
        (lambda _: {"output": QFormat(4, 3)}, "table of tanh holds values outside its format Q0.3"),
    ],
)
def test_tables_that_are_refused(
    quantized: QuantizedModel, change: Callable[[Table], dict[str, Any]], message: str
) -> None:
    table = quantized.layers[0].blocks["g"].activation
    assert isinstance(table, Table)
    assert refusal(lambda: replace(table, **change(table))) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slope_bits": -1}, "a slope has 0 to 7 bits, not -1"),
        ({"slope_bits": 8}, "a slope has 0 to 7 bits, not 8"),
        ({"hi": 32768}, "0 <= 16384 <= 32768 does not hold, or leaves Q0.15"),
        ({"lo": -32769}, "-32769 <= 16384 <= 32767 does not hold, or leaves Q0.15"),
        ({"offset": -1}, "0 <= -1 <= 32767 does not hold, or leaves Q0.15"),
        ({"lo": 16385}, "16385 <= 16384 <= 32767 does not hold, or leaves Q0.15"),
        ({"hi": 16383}, "0 <= 16384 <= 16383 does not hold, or leaves Q0.15"),
    ],
)
def test_linear_forms_that_are_refused(changes: dict[str, Any], message: str) -> None:
    linear = build_linear("sigmoid", QFormat(16, 15))
    assert linear == Linear("sigmoid", 2, QFormat(16, 15), 16384, 0, 32767)
    assert refusal(lambda: replace(linear, **changes)) == message


@pytest.mark.parametrize(
    "at", [np.zeros(3, np.int32), np.zeros((1, 3)), np.zeros((0, 3), np.int32), np.zeros((3, 3), np.int32)]
)
def test_steps_that_are_refused(at: np.ndarray) -> None:
    assert refusal(lambda: Steps(at)) == "the steps of a gate are int32 (1 or 2, hidden)"


@pytest.mark.parametrize(
    ("gain", "message"),
    [
        (np.array([1, 2, 3], np.int32), "the input gain of a lstm layer has shape (3,), and must have (2,)"),
        (np.array([1, 2]), "the input gain of a lstm layer is int64, and must be int32"),
        (np.array([0, 2], np.int32), "the input gain of a lstm layer is 0 to 2; accepted are 1 to 32767"),
        (np.array([1, 32768], np.int32), "the input gain of a lstm layer is 1 to 32768; accepted are 1 to 32767"),
    ],
)
def test_input_gains_that_are_refused(quantized: QuantizedModel, gain: np.ndarray, message: str) -> None:
    assert refusal(lambda: replace(quantized.layers[0], input_gain=gain)) == message


@pytest.mark.parametrize("shift", [-1, 31])
def test_shifts_of_a_peephole_that_are_refused(shift: int) -> None:
    wanted = f"the shift of a peephole is {shift}; accepted are 0 to 30"
    assert refusal(lambda: Peephole(np.ones(3, np.int32), shift)) == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.ones(3, np.int8)}, "the weights of a projection have 1 axes, and must have 2"),
        (
            {"weights": np.ones((1, 3), np.int8)},
            "the multipliers of a projection has shape (2,), and must have (1,)",
        ),
        ({"weight_bits": 4}, "a projection has a weight of 127 units; 4 bits take -7 to 7"),
        ({"weight_bits": 3}, "a projection has 3-bit weights; accepted are 8, 4, 2"),
    ],
)
def test_projections_that_are_refused(changes: dict[str, Any], message: str) -> None:
    weights, requantize = np.full((2, 3), 127, np.int8), Requantize(0, np.ones(2, np.int32), 0)
    projection = Projection(weights, requantize, QFormat(8, 7, symmetric=True))
    assert refusal(lambda: replace(projection, **changes)) == message


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
        (
            "f",
            lambda _: {"weights": np.full((3, 5), -128, np.int8)},
            "a block has a weight of 128 units; 8 bits take -127 to 127",
        ),
        (
            "f",
            lambda _: {"weights": np.full((3, 5), -8, np.int8), "weight_bits": 4},
            "a block has a weight of 8 units; 4 bits take -7 to 7",
        ),
        (
            "f",
            lambda _: {"weights": np.full((3, 5), -2, np.int8), "weight_bits": 2},
            "a block has a weight of 2 units; 2 bits take -1 to 1",
        ),
        ("f", lambda _: {"weight_bits": 16}, "a block has 16-bit weights; accepted are 8, 4, 2"),
        ("i", lambda _: {"activation": Steps(np.zeros((1, 3), np.int32))}, REQUANTIZES),
        ("i", lambda _: {"requantize": None}, REQUANTIZES),
        ("f", lambda _: {"requantize": Requantize(0, np.ones(3, np.int32), 0)}, REQUANTIZES),
        (
            "f",
            lambda _: {"activation": Steps(np.zeros((1, 2), np.int32))},
            "the steps of a gate has shape (1, 2), and must have (1, 3)",
        ),
        (
            "i",
            lambda b: {"recurrent_bias": b.bias.astype(np.int64)},
            "the recurrent bias of a block is int64, and must be int32",
        ),
        (
            "i",
            lambda b: {"recurrent_bias": b.bias[:2]},
            "the recurrent bias of a block has shape (2,), and must have (3,)",
        ),
        (
            "i",
            lambda _: {"peephole": Peephole(np.ones(2, np.int32), 0)},
            "the peephole of a block has shape (2,), and must have (3,)",
        ),
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
