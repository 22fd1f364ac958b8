"""Where the limits of attention are set after training: the score of a step above which all weigh alike.

Softmax over time looks at scores relative to the largest of each window; a device, which adds up in one pass, at
scores between ``limit - EXP_RANGE`` and one limit for all windows (``heads.FloatAttention``). Where windows differ in
their largest score by more than that, any limit is wrong for some: the largest score of all would leave windows of low
scores with one weight for all steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from edge_lstm.float_run import Evaluation, head
from edge_lstm.heads import EXP_RANGE, FloatAttention
from edge_lstm.model import FloatModel
from edge_lstm.timeline import Timeline
from edge_lstm.wiring import levels

SPACING = 0.5
"""Between two limits that are compared."""
LOWEST = 2 * EXP_RANGE
"""How far below the largest score a limit may lie."""


def attention_limit(model: FloatModel, parts: Iterable[tuple[Evaluation, Timeline]], largest: float) -> float:
    """The limit whose scores have the least mean squared error.

    Args:
        model: With attention that is not bounded.
        parts: What it computes from recordings, a block at a time.
        largest: Score of a step in all recordings.
    """
    limits = largest - np.arange(0.0, LOWEST, SPACING)
    errors = np.zeros(len(limits))
    for values, when in parts:
        h = [values.layers[k]["h"] for k in levels(model.layers)[-1]]
        errors += [((head(limited(model, at), h, when) - values.scores) ** 2).sum() for at in limits]
    return float(limits[int(np.argmin(errors))])


def limited(model: FloatModel, limit: float) -> FloatModel:
    """The model as a device computes it, with a limit of the scores of steps."""
    assert model.attention is not None
    return replace(model, attention=FloatAttention(model.attention.weights, model.attention.bias - limit))
