"""Search of formats under a budget, and the measure that it goes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fidelity import Fidelity
from edge_lstm.format_search import model_bytes
from edge_lstm.model import FloatModel
from edge_lstm.ptq import post_training, quantize
from edge_lstm.ptq_options import PtqOptions

MakeFloat = Callable[..., FloatModel]


@pytest.fixture(scope="module")
def stack(make_float_model: MakeFloat) -> FloatModel:
    return make_float_model("soft", hidden=12, layers=2, inputs=3, pooling="mean")


@pytest.fixture(scope="module")
def x(stack: FloatModel) -> np.ndarray:
    return samples_of(stack)


def samples_of(model: FloatModel, windows: int = 80) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return model.mean + model.std * np.random.default_rng(0).normal(0, 1, shape)


def weight_bits(found: Any) -> list[int]:
    return [b.weights for b in found.bits]


def test_a_limit_of_points_is_kept_and_used(stack: FloatModel, x: np.ndarray) -> None:
    sizes = []
    for points in (0.0, 10.0, 100.0):
        found = post_training(stack, PtqOptions(max_drop=points), calibration=x)
        assert found.distance.drop <= points
        sizes.append(model_bytes(found.quantized))
    assert sizes[0] >= sizes[1] > sizes[2]
    assert weight_bits(found) == [2, 2]


def test_a_limit_of_bytes_is_kept_and_no_more_is_narrowed_than_needed(stack: FloatModel, x: np.ndarray) -> None:
    whole, least = (model_bytes(quantize(stack, calibration=x, weight_bits=bits)) for bits in (8, 2))
    assert weight_bits(post_training(stack, PtqOptions(max_bytes=whole), calibration=x)) == [8, 8]
    found = post_training(stack, PtqOptions(max_bytes=whole - 1), calibration=x)
    assert sorted(weight_bits(found)) == [4, 8]
    assert weight_bits(post_training(stack, PtqOptions(max_bytes=least), calibration=x)) == [2, 2]
    with pytest.raises(EdgeLstmError) as error:
        quantize(stack, calibration=x, max_bytes=least - 1)
    assert str(error.value) == f"max_bytes is {least - 1}; the smallest model found has {least} bytes"


def test_both_limits(stack: FloatModel, x: np.ndarray) -> None:
    least = model_bytes(quantize(stack, calibration=x, weight_bits=2))
    found = quantize(stack, calibration=x, max_drop=100, max_bytes=least)
    assert model_bytes(found) == least
    with pytest.raises(EdgeLstmError, match=r"^max_bytes is 100; within 100 points the model has \d+ bytes$"):
        quantize(stack, calibration=x, max_drop=100, max_bytes=100)


def test_wider_states_where_the_widest_weights_are_not_enough(stack: FloatModel, x: np.ndarray) -> None:
    """Scores that are nearly equal: 8-bit states do not tell them apart."""
    regression = as_regression(stack)
    narrow = post_training(regression, PtqOptions(activations="lut-interp"), calibration=x).distance.drop
    wide = post_training(
        regression, PtqOptions(activations="lut-interp", activation_bits=16), calibration=x
    ).distance.drop
    assert wide < narrow
    points = 0.5 * (wide + narrow)
    found = post_training(regression, PtqOptions(activations="lut-interp", max_drop=points), calibration=x)
    assert [b.activations for b in found.bits] == [16, 16]
    with pytest.raises(EdgeLstmError, match=r"^max_drop is 1e-06 points; the widest weights asked for lose \d+\.\d\d$"):
        quantize(regression, calibration=x, max_drop=1e-6)


def as_regression(model: FloatModel) -> FloatModel:
    from dataclasses import replace

    return replace(model, signature=replace(model.signature, task="regress"))


def test_labels_count_where_there_are_some(stack: FloatModel, x: np.ndarray) -> None:
    classes = stack.run(x)["class_index"]
    quantized = quantize(stack, calibration=x, weight_bits=2)
    with_labels, without = (Fidelity(stack, x, labels=given).of(quantized) for given in (classes, None))
    assert (with_labels.float_accuracy, without.accuracy) == (1.0, None)
    assert with_labels.accuracy == with_labels.agreement == without.agreement
    assert with_labels.drop == pytest.approx(without.drop)
    wrong = Fidelity(stack, x, labels=(classes + 1) % 4).of(quantized)
    assert (wrong.float_accuracy, wrong.drop <= 0) == (0.0, True)


def test_padding_does_not_count(make_form: MakeFloat) -> None:
    model = make_form("variable each")
    x = samples_of(model, 5)
    lengths = np.array([12, 1, 3, 5, 2])
    quantized = quantize(model, calibration=x, lengths=lengths)
    other = x.copy()
    other[1, 1:] = 3.0
    labels = np.zeros((5, 12), np.int64)
    assert Fidelity(model, x, lengths, labels).of(quantized) == Fidelity(model, other, lengths, labels).of(quantized)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": -1}, "max_drop is -1; accepted are 0 to 100 points"),
        ({"max_drop": float("nan")}, "max_drop is nan; accepted are 0 to 100 points"),
        ({"max_bytes": 0}, "max_bytes is 0; accepted are positive numbers"),
        ({"rounding": "up"}, "rounding is 'up'; accepted are reconstruct, nearest"),
        ({"range": "all"}, "range is 'all'; accepted are minmax, percentile, mse, entropy"),
        ({"max_drop": 1, "labels": [0, 1]}, "2 labels; accepted are as many as there are windows, 80"),
        ({"max_drop": 1, "labels": np.zeros((80, 2), int)}, "labels are int64 (80, 2); accepted are integers (80,)"),
        ({"max_drop": 1, "labels": np.full(80, 4)}, "labels reach from 4 to 4; accepted are 0 to 3"),
        ({"max_drop": 1, "labels": np.zeros(80)}, "labels are float64 (80,); accepted are integers (80,)"),
    ],
)
def test_a_budget_or_labels_that_can_not_be_are_refused(
    options: dict[str, Any], message: str, stack: FloatModel, x: np.ndarray
) -> None:
    with pytest.raises(EdgeLstmError) as error:
        quantize(stack, calibration=x, **options)
    assert str(error.value) == message


def test_labels_of_a_regression_are_refused(stack: FloatModel, x: np.ndarray) -> None:
    with pytest.raises(EdgeLstmError) as error:
        quantize(as_regression(stack), calibration=x, max_drop=1, labels=np.zeros(80, int))
    assert str(error.value) == "m is a regression and has no classes; labels must be None"
