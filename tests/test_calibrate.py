"""Calibration: extremes, range choices and bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.calibrate import Calibration, calibrate
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import standardize
from edge_lstm.model import FloatModel
from edge_lstm.ranges import RANGE_METHODS, RangeChoice

MakeFloat = Callable[..., FloatModel]
MakeForm = Callable[..., FloatModel]
MakeLengths = Callable[..., np.ndarray | None]


def samples_of(model: FloatModel, windows: int = 20, *, seed: int = 0) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return model.mean + model.std * np.random.default_rng(seed).normal(0, 1, shape)


def numbers(found: Calibration) -> list[float]:
    states = [*found.cell_max, *found.hidden_max, *found.relu_max]
    return [*found.input_max.tolist(), *states, found.score_max, found.attention_max]


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_every_range_is_the_same_whatever_the_block(
    method: str, form: str, make_form: MakeForm, make_lengths: MakeLengths
) -> None:
    model = make_form(form)
    x = samples_of(model, 7)
    lengths = make_lengths(model, 7, x.shape[1])
    choice = RangeChoice(method)
    wanted = calibrate(model, x, lengths=lengths, choice=choice)
    for block in (2, 3):
        found = calibrate(model, x, lengths=lengths, choice=choice, block=block)
        assert numbers(found) == pytest.approx(numbers(wanted), rel=1e-9)


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_no_range_is_wider_than_that_of_the_extremes(method: str, make_float_model: MakeFloat) -> None:
    model = make_float_model("soft", layers=2, inputs=3)
    x = samples_of(model)
    extremes, found = calibrate(model, x), calibrate(model, x, choice=RangeChoice(method, 90.0))
    assert (found.input_max <= extremes.input_max).all()
    assert (found.input_max > 0.2 * extremes.input_max).all()
    pairs = zip(found.cell_max + found.hidden_max, extremes.cell_max + extremes.hidden_max, strict=True)
    assert all(range_ <= extreme for range_, extreme in pairs)


def test_one_spike_sets_the_extremes_and_no_other_range(make_float_model: MakeFloat) -> None:
    model = make_float_model(inputs=3)
    x = np.clip(samples_of(model, 100), model.mean - model.std, model.mean + model.std)
    x[0, 0, 0] = model.mean[0] + 3.9 * model.std[0]
    assert calibrate(model, x).input_max[0] == pytest.approx(3.9)
    assert calibrate(model, x, choice=RangeChoice("percentile", 99.0)).input_max[0] < 1.01
    assert calibrate(model, x, choice=RangeChoice("entropy")).input_max[0] < 2
    clipped = calibrate(model, x, choice=RangeChoice("mse"), bits=8).input_max[0]
    assert clipped <= calibrate(model, x, choice=RangeChoice("mse"), bits=16).input_max[0]


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_a_rare_h_without_a_bound_does_not_coarsen_the_others(method: str, make_float_model: MakeFloat) -> None:
    model = make_float_model(cell="rnn-relu", inputs=3)
    (layer,) = model.layers
    model = replace(model, layers=(replace(layer, b={"t": np.zeros(layer.hidden)}, R={"t": 0.3 * layer.R["t"]}),))
    x = model.mean + 0.1 * (samples_of(model, 400) - model.mean)
    x[0, -1] = model.mean + model.clip * model.std
    choice = RangeChoice(method)
    usual, largest = (calibrate(model, v, bits=16).hidden_max[0] for v in (x[1:], x))
    assert usual < 0.3 * largest
    assert 0.5 * usual < calibrate(model, x, choice=choice).hidden_max[0] < 0.7 * largest


def test_recordings_may_stay_in_their_file(tmp_path: Path, make_float_model: MakeFloat) -> None:
    model = make_float_model(inputs=3)
    x = samples_of(model, 30)
    np.save(tmp_path / "x.npy", x)
    seen: list[tuple[int, int]] = []
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = calibrate(model, mapped, block=8, progress=lambda done, of: seen.append((done, of)))
    assert numbers(found) == numbers(calibrate(model, x, block=8))
    assert seen == [(8, 30), (16, 30), (24, 30), (30, 30)]


def test_what_is_beyond_a_window_is_not_looked_at(make_form: MakeForm) -> None:
    model = make_form("variable attention")
    x = samples_of(model, 6)
    lengths = np.array([3, 12, 5, 1, 2, 7])
    other = x.copy()
    for w, steps in enumerate(lengths):
        other[w, steps:] = 50.0
    for method in RANGE_METHODS:
        choice = RangeChoice(method)
        found = [numbers(calibrate(model, v, lengths=lengths, choice=choice)) for v in (x, other)]
        assert found[0] == found[1]
    inside = np.arange(x.shape[1]) < lengths[:, None]
    wanted = np.abs(standardize(model, x))[inside].max(axis=0)
    assert calibrate(model, other, lengths=lengths).input_max.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("median",), "range is 'median'; accepted are minmax, percentile, mse, entropy"),
        (("percentile", 50.0), "percentile is 50.0; accepted are above 50, to 100"),
        (("percentile", 100.1), "percentile is 100.1; accepted are above 50, to 100"),
        (("minmax", float("nan")), "percentile is nan; accepted are above 50, to 100"),
    ],
)
def test_a_choice_that_is_not_there_is_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(EdgeLstmError) as error:
        RangeChoice(*options)
    assert str(error.value) == message
