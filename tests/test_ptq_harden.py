"""Hardening after training: thresholds that are searched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_lstm import luts
from edge_lstm.calibrate import observed
from edge_lstm.harden import hardened, with_gates
from edge_lstm.model import FloatModel
from edge_lstm.ptq import quantize

MakeFloat = Callable[..., FloatModel]


def samples_of(model: FloatModel, windows: int = 40, *, seed: int = 0) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return model.mean + model.std * np.random.default_rng(seed).normal(0.5, 1, shape)


def test_a_gate_is_open_as_often_as_the_soft_one_was(make_float_model: MakeFloat) -> None:
    """Where only the output gate of the last layer hardens, and h is not read: at the first step."""
    model = make_float_model("soft", steps=1, inputs=3)
    x = samples_of(model, 400)
    found, searched = hardened(model, "o=hard", x)
    assert searched == model.layers[0].hidden
    means = []
    for of in (model, found, with_gates(model, "o=hard")):
        (part,) = observed(of, x, block=len(x))
        layer = of.layers[0]
        means.append(luts.gate(layer.modes["o"], part.values.layers[0]["z_o"]).mean(axis=(0, 1)))
    assert np.abs(means[1] - means[0]).max() < 0.01
    assert np.abs(means[2] - means[0]).max() > 0.05


@pytest.mark.parametrize("gates", ["hard", "three-level", "i=hard,o=three-level"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "peephole"])
def test_scores_come_no_farther_than_with_thresholds_at_0(cell: str, gates: str, make_float_model: MakeFloat) -> None:
    gates = gates if cell != "gru" else gates.replace("i=", "z=").replace("o=", "r=")
    model = make_float_model("soft", cell=cell, layers=2, hidden=12, inputs=3)
    x = samples_of(model, 60)
    wanted = model.run(x)["scores"]

    def error(of: FloatModel) -> float:
        wrong = of.run(x)["scores"] - wanted
        return float(((wrong - wrong.mean(axis=0)) ** 2).mean())

    found, _ = hardened(model, gates, x)
    assert error(found) <= error(with_gates(model, gates))


def test_a_gate_that_was_hard_already_keeps_its_threshold(make_float_model: MakeFloat) -> None:
    model = make_float_model("i=hard")
    x = samples_of(model)
    found, searched = hardened(model, "i=hard,f=hard", x)
    assert searched == model.layers[0].hidden
    assert np.array_equal(found.layers[0].b["i"], model.layers[0].b["i"])
    same, none = hardened(model, "i=hard", x)
    assert none == 0
    assert all(np.array_equal(same.layers[0].b[k], model.layers[0].b[k]) for k in "ifgo")


def test_every_form_hardens(form: str, make_form: MakeFloat, make_lengths: Callable[..., np.ndarray | None]) -> None:
    model = make_form(form, cells=("lstm",))
    x = samples_of(model, 6)
    lengths = make_lengths(model, 6, x.shape[1])
    quantized = quantize(model, calibration=x, lengths=lengths, gates="hard")
    assert all(set(layer.modes.values()) == {"hard"} for layer in quantized.all_layers)
