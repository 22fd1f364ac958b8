"""Rounding of weights by reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.blocks import WEIGHT_MAX
from edge_lstm.calibrate import observed
from edge_lstm.float_run import standardize
from edge_lstm.model import FloatModel
from edge_lstm.moments import COMMON, Moments, moments, operands
from edge_lstm.ptq import quantize
from edge_lstm.reconstruct import Reconstruction, column_by_column, reconstruct, single_steps
from edge_lstm.rows import PROJECTION, quantize_rows


def samples_of(model: FloatModel, windows: int = 20, *, seed: int = 0) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return model.mean + model.std * np.random.default_rng(seed).normal(0, 1, shape)


def correlated(columns: int, rng: np.random.Generator) -> np.ndarray:
    mixed = rng.normal(0, 1, (400, columns // 2)) @ rng.normal(0, 1, (columns // 2, columns))
    return np.cov(mixed + 0.1 * rng.normal(0, 1, mixed.shape), rowvar=False)


def error(real: np.ndarray, integers: np.ndarray, scale: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    wrong = real - scale[:, None] * integers
    return ((wrong @ covariance) * wrong).sum(axis=1)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("seed", range(3))
def test_products_come_nearer_than_with_nearest_integers(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    covariance = correlated(16, rng)
    real = rng.normal(0, 1, (12, 16))
    plain = quantize_rows(real, np.zeros(12), np.ones(16), bits=bits)
    integers, scale = reconstruct(real, covariance, plain.scale, bits)
    assert integers.dtype == np.int8
    assert np.abs(integers).max() <= WEIGHT_MAX[bits]
    found, before = error(real, integers, scale, covariance), error(real, plain.weights, plain.scale, covariance)
    assert found.sum() < 0.5 * before.sum()


def test_each_part_lowers_the_error() -> None:
    rng = np.random.default_rng(0)
    covariance, real = correlated(20, rng), rng.normal(0, 1, (30, 20))
    scale = np.abs(real).max(axis=1) / 7
    nearest = np.clip(np.rint(real / scale[:, None]), -7, 7)
    by_column = column_by_column(real, covariance, scale, 7)
    stepped = single_steps(real, covariance, scale, by_column, 7)
    errors = [error(real, q, scale, covariance) for q in (nearest, by_column, stepped)]
    assert errors[1].sum() < errors[0].sum()
    assert (errors[2] <= errors[1] * (1 + 1e-9)).all()
    assert errors[2].sum() < errors[1].sum()


def test_independent_inputs_of_one_size_are_rounded_to_the_nearest() -> None:
    real = np.random.default_rng(0).normal(0, 1, (5, 8))
    scale = np.abs(real).max(axis=1) / 7
    assert np.array_equal(column_by_column(real, np.eye(8), scale, 7), np.rint(real / scale[:, None]))


def test_a_row_of_zeros_and_inputs_that_never_move_are_no_trouble() -> None:
    integers, scale = reconstruct(np.zeros((2, 3)), np.zeros((3, 3)), np.full(2, 1e-12), 4)
    assert not integers.any()
    assert (scale > 0).all()


def test_moments_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(1, 2, (50, 3))
    found = Moments(3)
    for part in np.array_split(values, 4):
        found.add(part)
    assert found.covariance == pytest.approx(np.cov(values, rowvar=False, bias=True))
    assert found.second == pytest.approx(values.T @ values / 50)


def test_operands_are_what_the_rows_are_multiplied_with(
    form: str, make_form: Callable[..., FloatModel], make_lengths: Callable[..., Any]
) -> None:
    """W x + R v + b of the operands are the pre-activations."""
    model = make_form(form)
    x = samples_of(model, 5)
    lengths = make_lengths(model, 5, x.shape[1])
    (part,) = observed(model, x, lengths=lengths)
    found = dict(operands(model, part))
    assert standardize(model, x).shape == part.x.shape
    for k, layer in enumerate(model.all_layers):
        for block in layer.W:
            if block in layer.rb or block in layer.p:
                continue
            operand = found.get((k, block), found[k, COMMON])
            z = part.values.layers[k][f"z_{block}"]
            whole = part.when.lengths is None or k >= len(model.layers)
            z = z.reshape(-1, z.shape[-1]) if whole else z[part.when.valid]
            weights = np.concatenate([layer.W[block], layer.R[block]], axis=1)
            assert operand @ weights.T + layer.b[block] == pytest.approx(z, abs=1e-9), (k, block)
        if layer.P is not None:
            assert (k, PROJECTION) in found


def test_a_block_whose_bias_needs_a_coarser_scale_is_rounded_to_the_nearest() -> None:
    choose = Reconstruction({(0, COMMON): moments_of(np.random.default_rng(0).normal(0, 1, (50, 3)))})
    weights, columns = np.full((1, 3), 1e-6), np.ones(3)
    found = choose(0, "i", weights, np.array([100.0]), columns, 8, 0.0)
    assert found.scale == quantize_rows(weights, np.array([100.0]), columns).scale


def moments_of(values: np.ndarray) -> Moments:
    found = Moments(values.shape[1])
    found.add(values)
    return found


def test_four_bits_come_nearer_to_the_float_scores(make_float_model: Callable[..., FloatModel]) -> None:
    model = make_float_model("soft", hidden=16, layers=2, pooling="mean", steps=20)
    x = samples_of(model, 60)
    fitted, fresh = x[:40], x[40:]
    wanted = model.run(fresh)["scores"]
    errors = []
    for options in ({"rounding": "nearest", "bias_correction": False}, {"bias_correction": False}, {}):
        quantized = quantize(model, calibration=fitted, weight_bits=4, **options)
        errors.append(np.sqrt(((run_scores(quantized, fresh) - wanted) ** 2).mean()))
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < 0.8 * errors[0]


def run_scores(quantized: Any, x: np.ndarray) -> np.ndarray:
    from edge_lstm.api import run

    return np.asarray(run(quantized, x)["scores"])


def test_moments_of_a_model_are_positive(make_float_model: Callable[..., FloatModel]) -> None:
    model = make_float_model(cell="gru")
    found = moments(model, observed(model, samples_of(model)))
    assert set(found) == {(0, COMMON), (0, "n")}
    assert all(np.linalg.eigvalsh(m.covariance).min() > -1e-9 for m in found.values())
