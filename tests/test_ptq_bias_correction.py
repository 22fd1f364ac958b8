"""Bias correction: mean pre-activations of the integers become those of the float model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_lstm.bias_correction import SCORES, corrected, float_means, integer_means
from edge_lstm.bits import Bits
from edge_lstm.calibrate import calibrate
from edge_lstm.cells import CELLS
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.ranges import RangeChoice
from edge_lstm.to_integers import quantize_model

MakeFloat = Callable[..., FloatModel]


def samples_of(model: FloatModel, windows: int = 40, *, seed: int = 0) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return model.mean + model.std * np.random.default_rng(seed).normal(0.3, 0.5, shape)


def offset(model: FloatModel, quantized: QuantizedModel, x: np.ndarray, lengths: np.ndarray | None = None) -> float:
    """Root mean square of the offsets of all means."""
    wanted, found = float_means(model, x, lengths), integer_means(quantized, x, lengths)
    assert set(found) == set(wanted)
    return float(np.sqrt(np.mean(np.concatenate([wanted[key] - found[key] for key in wanted]) ** 2)))


@pytest.mark.parametrize("cell", CELLS)
def test_mean_pre_activations_become_those_of_the_float_model(cell: str, make_float_model: MakeFloat) -> None:
    model = make_float_model(cell=cell, inputs=3)
    x = samples_of(model)
    # All of what is seen is inside the ranges: an h that clips has a mean which no bias can mend.
    ranges = calibrate(model, x, choice=RangeChoice("percentile", 100))

    def integers(changed: FloatModel) -> QuantizedModel:
        return quantize_model(changed, ranges, [Bits(4)])

    before, after = (offset(model, integers(m), x) for m in (model, corrected(model, integers, x, rounds=8)))
    assert after < 0.2 * before


def test_every_form_has_smaller_offsets(
    form: str, make_form: MakeFloat, make_lengths: Callable[..., np.ndarray | None]
) -> None:
    model = make_form(form)
    x = samples_of(model, 12)
    lengths = make_lengths(model, len(x), x.shape[1])
    before = quantize(model, calibration=x, lengths=lengths, weight_bits=4, rounding="nearest", bias_correction=False)
    after = quantize(model, calibration=x, lengths=lengths, weight_bits=4, rounding="nearest")
    assert offset(model, after, x, lengths) < 0.9 * offset(model, before, x, lengths)


def test_only_biases_change(make_float_model: MakeFloat) -> None:
    model = make_float_model(layers=2)
    x = samples_of(model)
    before, after = (
        quantize(model, calibration=x, rounding="nearest", bias_correction=chosen) for chosen in (False, True)
    )
    for one, other in zip(before.layers, after.layers, strict=True):
        for block, rows in one.blocks.items():
            assert np.array_equal(rows.weights, other.blocks[block].weights)
            assert np.array_equal(rows.scale, other.blocks[block].scale)
    assert np.array_equal(before.dense_weights, after.dense_weights)
    assert not np.array_equal(before.dense_bias, after.dense_bias)


def test_no_round_that_made_it_worse_is_kept(make_float_model: MakeFloat) -> None:
    """Integers that ignore what is asked of them can't be corrected, and the model comes back as it was."""
    model = make_float_model()
    x = samples_of(model)
    fixed = quantize(model, calibration=x)
    assert SCORES in float_means(model, x, None)
    assert corrected(model, lambda _: fixed, x) is model
