"""The error report: ratios, clipping, drift, and which layer contributes most."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.quantization_error import MOST_DB, quantization_error
from edge_lstm.runtime import execute
from edge_lstm.verification import verify

Make = Callable[..., FloatModel]


def samples(model: FloatModel, windows: int = 20) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return model.mean + model.std * np.random.default_rng(5).normal(0, 1, shape)


def test_every_form_is_looked_at(form: str, make_form: Make, make_lengths: Any) -> None:
    model = make_form(form)
    x = samples(model)
    lengths = make_lengths(model, len(x), x.shape[1])
    options = {"activation_bits": 16, "activations": "lut-interp", "equalization": False}  # which gives h other units
    quantized = quantize(model, calibration=x, lengths=lengths, **options)
    found = quantization_error(model, quantized, x, lengths=lengths)
    wanted = verify(quantized, x, lengths=lengths, backends=("numpy", "torch"), float_model=model).float
    assert wanted is not None
    assert found.scores_rms == pytest.approx(wanted.rms, rel=1e-6)
    if wanted.agreement is not None:
        assert found.agreement == pytest.approx(wanted.agreement)
    names = {(t.layer, t.value) for t in found.tensors}
    assert {layer for layer, _ in names} == {t.layer for t in found.drift}
    assert all(10 < t.sqnr_db <= MOST_DB for t in found.tensors), [t for t in found.tensors if t.sqnr_db <= 10]
    if model.decoder is None:
        assert len(found.levels) == len({t for level in found.levels for t in level.layers[:1]})
        assert all(level.alone_rms > 0 for level in found.levels)
    json.dumps(found.to_json(), allow_nan=False)


def test_more_bits_give_a_better_ratio(make_float_model: Make) -> None:
    model = make_float_model(layers=2)
    x = samples(model)

    def ratio(**options: Any) -> float:
        return quantization_error(model, quantize(model, calibration=x, **options), x).scores_sqnr_db

    found = [
        ratio(weight_bits=2),
        ratio(weight_bits=4),
        ratio(),
        ratio(activation_bits=16, activations="lut-interp"),
    ]
    assert found == sorted(found)
    assert found[-1] > found[0] + 20


def test_the_layer_with_few_bits_is_the_one_that_contributes_most(make_float_model: Make) -> None:
    model = make_float_model(layers=3, hidden=6)
    x = samples(model)
    for k in range(3):
        bits = ",".join("2" if k == j else "8" for j in range(3))
        quantized = quantize(
            model, calibration=x, weight_bits=bits, activation_bits=16, rounding="nearest", bias_correction=False
        )
        found = quantization_error(model, quantized, x)
        assert found.largest == (f"lstm{k}",)
        worst = max(found.levels, key=lambda level: level.alone_rms)
        assert worst.layers == found.largest


def test_a_model_without_a_level_in_integers_is_the_model(make_float_model: Make) -> None:
    """Of a single layer, without it: only the inputs' rounding is left."""
    model = make_float_model()
    x = samples(model)
    quantized = quantize(model, calibration=x, activation_bits=16)
    (level,) = quantization_error(model, quantized, x).levels
    assert level.without_rms < level.alone_rms / 20


def test_clipping_is_counted(make_float_model: Make) -> None:
    model = make_float_model()
    x = samples(model)
    quantized = quantize(model, calibration=x / 10)
    found = quantization_error(model, quantized, x)
    integers = quantized.quantize_input(x)
    assert found.inputs_clipped == pytest.approx(float((np.abs(integers) == 127).mean()))
    assert found.inputs_clipped > 0.2
    c = execute(quantized, integers, trace="states").trace["lstm0.c"]
    f = quantized.layers[0].c
    assert f is not None
    clipped = next(t.clipped for t in found.tensors if (t.layer, t.value) == ("lstm0", "c"))
    assert clipped == pytest.approx(float(np.isin(c, (f.min, f.max)).mean()))


def test_an_error_that_grows_is_seen(make_float_model: Make) -> None:
    """Nothing is forgotten by the cell of 1997: what is rounded away at each step adds up."""
    model = make_float_model(cell="lstm-1997", steps=200)
    x = samples(model, 8)
    forgets = make_float_model(cell="lstm", steps=200)
    found = quantization_error(model, quantize(model, calibration=x), x).drift
    steady = quantization_error(forgets, quantize(forgets, calibration=samples(forgets, 8)), samples(forgets, 8)).drift
    growth = {d.state: d.growth for d in found}
    assert growth["c"] > 1.5
    assert {d.state: d.growth for d in steady}["c"] < growth["c"]
    assert found[0].steps[0] == 0
    assert found[0].steps[-1] == 199


def test_models_of_other_layers_are_refused(
    make_float_model: Make, make_quantized: Callable[..., QuantizedModel]
) -> None:
    with pytest.raises(EdgeLstmError, match="the float model has the layers"):
        quantization_error(make_float_model(hidden=7), make_quantized(), samples(make_float_model()))


def test_samples_that_do_not_fit_are_refused(make_float_model: Make) -> None:
    model = make_float_model()
    quantized = quantize(model, calibration=samples(model))
    with pytest.raises(EdgeLstmError, match="samples have shape"):
        quantization_error(replace(model), quantized, samples(model)[0])
