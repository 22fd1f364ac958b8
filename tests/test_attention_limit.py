"""Where the limits of attention are set, for windows whose scores of steps are far apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edge_lstm.attention_limit import SPACING, attention_limit, limited
from edge_lstm.calibrate import calibrate, observed
from edge_lstm.heads import EXP_RANGE, FloatAttention
from edge_lstm.model import FloatModel

MakeForm = Callable[..., FloatModel]


def unlimited(model: FloatModel, gain: float) -> FloatModel:
    """With softmax over time, of scores so far apart."""
    assert model.attention is not None
    return replace(model, attention=FloatAttention(gain * model.attention.weights, np.zeros(1), bounded=False))


def recordings(model: FloatModel) -> np.ndarray:
    """Loud windows and silent ones."""
    rng = np.random.default_rng(0)
    loudness = np.where(np.arange(60) % 2, 2.0, 0.05)[:, None, None]
    return np.asarray(model.mean + model.std * loudness * rng.normal(0, 1, (60, 12, len(model.std))))


def error(model: FloatModel, limit: float, x: np.ndarray) -> float:
    """Mean squared error of the scores with a limit."""
    return float(((limited(model, limit).run(x)["scores"] - model.run(x)["scores"]) ** 2).mean())


def test_the_limit_has_the_least_error(make_form: MakeForm) -> None:
    model = unlimited(make_form("bidirectional attention"), 6.0)
    x = recordings(model)
    largest = max(
        float(part.values.attention.max()) for part in observed(model, x) if part.values.attention is not None
    )
    found = attention_limit(model, ((part.values, part.when) for part in observed(model, x, block=7)), largest)
    assert found < largest - SPACING
    tried = [error(model, largest - down, x) for down in np.arange(0, 2 * EXP_RANGE, SPACING)]
    assert error(model, found, x) == min(tried)
    assert min(tried) < 0.7 * tried[0]
    assert calibrate(model, x).attention_max == found


def test_scores_near_each_other_keep_their_largest_as_the_limit(make_form: MakeForm) -> None:
    model = unlimited(make_form("attention"), 0.3)
    x = recordings(model)
    (part,) = observed(model, x)
    assert part.values.attention is not None
    largest = float(part.values.attention.max())
    assert float(part.values.attention.min()) > largest - EXP_RANGE
    assert calibrate(model, x).attention_max == largest


def test_a_model_that_was_trained_with_limits_keeps_them(make_form: MakeForm) -> None:
    model = make_form("attention")
    x = recordings(model)
    (part,) = observed(model, x)
    assert part.values.attention is not None
    assert calibrate(model, x).attention_max == part.values.attention.max()
