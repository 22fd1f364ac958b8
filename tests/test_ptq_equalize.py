"""Equalization: the float model stays what it is, and ranges come near each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge_lstm.calibrate import observed
from edge_lstm.cells import CELLS
from edge_lstm.equalize import equalized
from edge_lstm.layers import FloatDense
from edge_lstm.model import FloatModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute, real_outputs

MakeFloat = Callable[..., FloatModel]


def samples_of(model: FloatModel, windows: int = 30, *, seed: int = 0) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return model.mean + model.std * np.random.default_rng(seed).normal(0, 1, shape)


def with_relu(model: FloatModel, *, uneven: bool = True) -> FloatModel:
    """And two dense layers with relu, whose units have ranges up to 30 times apart."""
    rng = np.random.default_rng(1)
    before = model.dense_weights.shape[1]
    factors = 30.0 ** rng.uniform(-0.5, 0.5, 10) if uneven else np.ones(10)
    first = FloatDense(rng.normal(0, 1, (10, before)) * factors[:, None], rng.normal(0, 0.3, 10) * factors)
    second = FloatDense(rng.normal(0, 1, (6, 10)) / factors, rng.normal(0, 0.3, 6))
    classes = len(model.signature.classes)
    return replace(model, relu_layers=(first, second), dense_weights=rng.normal(0, 1, (classes, 6)))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
def test_the_float_model_stays_what_it_is(cell: str, layers: int, make_float_model: MakeFloat) -> None:
    model = make_float_model(cell=cell, layers=layers, inputs=3, pooling="max")
    x = samples_of(model)
    for given in (model, with_relu(model)):
        found = equalized(given, observed(given, x))
        assert found.run(x)["scores"] == pytest.approx(given.run(x)["scores"], rel=1e-9, abs=1e-9)
        changes = CELLS[cell].projected or cell == "rnn-relu" or given is not model
        assert (found is not given) == changes


def test_every_form_stays_what_it_is(
    form: str, make_form: MakeFloat, make_lengths: Callable[..., np.ndarray | None]
) -> None:
    for cells in (("lstmp",), ("rnn-relu",)):
        model = make_form(form, cells=cells)
        if cells == ("rnn-relu",):  # an unbounded state of random weights would grow
            small = tuple(replace(k, R={b: 0.3 * R for b, R in k.R.items()}) for k in model.layers)
            model = replace(model, layers=small)
        x = samples_of(model, 5)
        lengths = make_lengths(model, 5, x.shape[1])
        found = equalized(model, observed(model, x, lengths=lengths))
        wanted = model.run(x, lengths=lengths)["scores"]
        assert found.run(x, lengths=lengths)["scores"] == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_ranges_come_within_a_factor_of_two(make_float_model: MakeFloat) -> None:
    model = with_relu(make_float_model(inputs=3))
    x = samples_of(model, 100)

    def ranges(of: FloatModel) -> np.ndarray:
        (part,) = observed(of, x)
        return part.values.relu[0].max(axis=0)

    before, after = ranges(model), ranges(equalized(model, observed(model, x)))
    alive = before > before.max() / 64
    assert before[alive].max() > 8 * before[alive].min()
    assert after[alive].max() <= 2 * after[alive].min()


def test_equalized_scores_are_nearer(make_float_model: MakeFloat) -> None:
    errors = []
    for seed in range(3):
        model = with_relu(make_float_model(inputs=3, seed=seed))
        x = samples_of(model, 100)
        wanted = model.run(x)["scores"]
        errors.append([])
        for chosen in (False, True):
            quantized = quantize(model, calibration=x, activation_bits=16, equalization=chosen)
            found = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)["scores"]
            errors[-1].append(np.sqrt(((found - wanted) ** 2).mean()))
    without, equal = np.mean(errors, axis=0)
    assert equal < 0.8 * without
