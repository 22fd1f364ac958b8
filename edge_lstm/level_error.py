"""What each level of layers contributes to the error of the scores: it alone in integers, and all but it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.execution import Execution
from edge_lstm.fixedpoint import Integers
from edge_lstm.float_run import Evaluation, head, run_layer
from edge_lstm.lower import layer_name
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.runtime import execute
from edge_lstm.signature import Signature
from edge_lstm.timeline import Timeline
from edge_lstm.wiring import levels

Array = NDArray[np.float64]


def with_steps(values: Any) -> Any:
    """Scores with an axis of steps."""
    return values[:, None] if values.ndim == 2 else values


def inside_of(model: QuantizedModel, scores: Array, when: Timeline) -> NDArray[np.bool_]:
    """Which scores count, (windows, steps)."""
    if model.pooling == "each" and when.lengths is not None:
        return when.valid
    return np.ones(with_steps(scores).shape[:2], bool)


def level_errors(
    float_model: FloatModel,
    model: QuantizedModel,
    exact: Evaluation,
    run: Execution,
    samples: Array,
    integers: Integers,
    when: Timeline,
) -> Array:
    """Sums of squared errors of the scores, (levels, 2): each level alone in integers, and all but it.

    Args:
        float_model, model: The models, of the same units.
        exact, run: What they compute from the samples.
        samples: (windows, steps, channels), standardized.
        integers: The same of the integer model.
        when: Which steps there are.
    """
    grouped = levels(model.layers)
    inside = inside_of(model, exact.scores, when)[..., None]

    def error(scores: Array) -> float:
        return float((((with_steps(scores) - with_steps(exact.scores)) ** 2) * inside).sum())

    sums = np.zeros((len(grouped), 2))
    for j, level in enumerate(grouped):
        before = grouped[j - 1] if j else ()
        # Alone: the level's integers, from the float values before it; all that follows in float.
        given = np.concatenate([exact.layers[k]["h"] for k in before], -1) if before else samples
        scale = _input_scale(float_model, model, before)
        limit = model.layers[before[0]].h.max if before else model.input_format.max
        asked = np.clip(np.rint(given / scale), -limit, limit).astype(np.int32)
        part = _tail(model, j)
        trace = execute(part, asked, trace="states", lengths=when.lengths).trace
        value = np.concatenate(
            [trace[layer_name(part, n) + ".h"] * model.layers[k].h.scale for n, k in enumerate(level)], -1
        )
        sums[j, 0] = error(_float_from(float_model, j + 1, np.asarray(value, np.float64), when))
        # Without: the level in float, from the integers before it; all that follows in integers.
        parts = [run.trace[f"{layer_name(model, k)}.h"] for k in before] or [integers]
        real = np.concatenate(parts, -1) * scale
        outputs = [run_layer(float_model.layers[k], np.asarray(real, np.float64), when)["h"] for k in level]
        if j + 1 == len(grouped):
            sums[j, 1] = error(_float_from(float_model, j + 1, np.concatenate(outputs, -1), when))
            continue
        rounded = [model.layers[k].h.quantize(v) for k, v in zip(level, outputs, strict=True)]
        rest = execute(_tail(model, j + 1), np.concatenate(rounded, -1).astype(np.int32), lengths=when.lengths)
        sums[j, 1] = error(np.asarray(rest.outputs["scores"] * model.score_scale, np.float64))
    return sums


def _input_scale(float_model: FloatModel, model: QuantizedModel, before: tuple[int, ...]) -> Array:
    """Real value of one unit of each input of a level, of standardized inputs for the first."""
    if not before:
        return np.asarray(model.input_scale / float_model.std)
    return np.concatenate([np.full(model.layers[k].outputs, model.layers[k].h.scale) for k in before])


def _tail(model: QuantizedModel, level: int) -> QuantizedModel:
    """The model from a level on, whose inputs are the integers of the level before."""
    grouped = levels(model.layers)
    if level == 0:
        return model
    before = [model.layers[k] for k in grouped[level - 1]]
    width = sum(layer.outputs for layer in before)
    s = model.signature
    names = tuple(f"h{k}" for k in range(width))
    signature = Signature(
        s.name, names, ("",) * width, s.rate_hz, s.steps, s.classes, s.task, s.variable, s.probabilities
    )
    scale = np.concatenate([np.full(layer.outputs, layer.h.scale) for layer in before])
    return replace(
        model,
        signature=signature,
        input_offset=np.zeros(width),
        input_scale=scale,
        input_bits=before[0].h.bits,
        layers=tuple(model.layers[k] for group in grouped[level:] for k in group),
    )


def _float_from(model: FloatModel, level: int, value: Array, when: Timeline) -> Array:
    """Scores of the float model from the h of the level before."""
    grouped = levels(model.layers)
    h = [value]
    if level == len(grouped):
        ends = np.cumsum([model.layers[k].outputs for k in grouped[-1]])[:-1]
        h = np.split(value, ends, axis=-1)
    for group in grouped[level:]:
        h = [run_layer(model.layers[k], np.concatenate(h, -1), when)["h"] for k in group]
    return head(model, h, when)
