"""Where a quantized model differs from its float model, and by how much: ``edge-lstm inspect --float``.

The signal-to-quantization-noise ratio of a value is 10 log10(sum v^2 / sum (v - q)^2) [dB], over all windows, steps and
units, with v of the float model and q the real value of the integers. Both models run freely: errors of earlier layers
and of earlier steps are in those of later ones. Equalization (of layers with relu or a projection) gives h other units
than the float model's: there the ratio of h is that of the units too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution
from edge_lstm.fixedpoint import Integers, QFormat
from edge_lstm.float_run import Evaluation, evaluate, head, run_layer, standardize
from edge_lstm.lower import layer_name, named_layers
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.signature import Signature
from edge_lstm.statistics import gate_scale
from edge_lstm.timeline import Timeline, timeline
from edge_lstm.wiring import levels

Array = NDArray[np.float64]
MOST_DB = 200.0
"""What is given where nothing differs."""
POINTS = 16
"""Of the course of an error over time."""
BLOCK = 256


@dataclass(frozen=True)
class TensorError:
    """Of one value of a layer.

    Attributes:
        layer, value: Names, such as ``lstm0`` and ``c``.
        sqnr_db: Signal-to-quantization-noise ratio [dB].
        rms: Root of the mean square difference, in real units.
        clipped: Share of the integers at a limit of their format.
    """

    layer: str
    value: str
    sqnr_db: float
    rms: float
    clipped: float


@dataclass(frozen=True)
class Drift:
    """The course of a state's error over time.

    Attributes:
        layer, state: Names.
        steps: At which the error is given.
        rms: There.
        growth: Mean error of the last quarter of the steps, by that of the second quarter; 1 where it does not grow.
    """

    layer: str
    state: str
    steps: tuple[int, ...]
    rms: tuple[float, ...]
    growth: float


@dataclass(frozen=True)
class LevelError:
    """What a level of layers contributes to the error of the scores.

    Attributes:
        layers: Their names.
        alone_rms: Root of the mean square error of the scores where only this level is in integers.
        without_rms: The same where all is in integers but this level, which computes in float.
    """

    layers: tuple[str, ...]
    alone_rms: float
    without_rms: float


@dataclass(frozen=True)
class QuantizationError:
    """Attributes:
    inputs_clipped: Share of the samples at the limit of the input's range.
    tensors: Of all layers: gates, functions and states.
    scores_sqnr_db, scores_rms: Of the scores.
    agreement: Share of the windows, or steps, with the same class; None of a regression.
    drift: Of the states.
    levels: Contributions; empty for a model with a decoder.
    largest: Names of the layers of the level without which the error is smallest; empty as ``levels``.
    """

    inputs_clipped: float
    tensors: tuple[TensorError, ...]
    scores_sqnr_db: float
    scores_rms: float
    agreement: float | None
    drift: tuple[Drift, ...]
    levels: tuple[LevelError, ...]
    largest: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, with stable keys."""
        return asdict(self)


class _Noise:
    """Sums of squares, from parts."""

    def __init__(self) -> None:
        self.signal = self.noise = self.count = self.limits = 0.0
        self.by_step: Array = np.zeros(0)
        self.counts: Array = np.zeros(0)

    def add(self, exact: Array, found: Array, integers: Integers, form: QFormat | None, inside: Any) -> None:
        squared = (exact - found) ** 2
        self.by_step = _plus(self.by_step, (squared.mean(axis=-1) * inside).sum(axis=0))
        self.counts = _plus(self.counts, inside.sum(axis=0).astype(np.float64))
        where = np.broadcast_to(inside[..., None], exact.shape)
        self.signal += float((exact[where] ** 2).sum())
        self.noise += float(squared[where].sum())
        self.count += float(where.sum())
        if form is not None:
            self.limits += float(np.isin(integers[where], (form.min, form.max)).sum())

    @property
    def rms(self) -> float:
        return math.sqrt(self.noise / max(self.count, 1.0))

    @property
    def db(self) -> float:
        if self.noise == 0:
            return MOST_DB
        return min(MOST_DB, 10 * math.log10(max(self.signal, 1e-30) / self.noise))


def _plus(a: Array, b: Array) -> Array:
    return np.asarray(a + b if a.size else b)


def quantization_error(
    float_model: FloatModel, model: QuantizedModel, x: Any, *, lengths: Any = None
) -> QuantizationError:
    """Compare every value of a quantized model with the float model's.

    Args:
        float_model: What was quantized.
        model: The result.
        x: (windows, steps, channels) samples in the channels' units.
        lengths: (windows,) steps of each window, of a model for windows of several lengths.

    Raises:
        EdgeLstmError: Bad samples, or models of different layers.
    """
    _check_alike(float_model, model)
    integers = model.quantize_input(x)
    if integers.ndim != 3 or 0 in integers.shape:
        raise EdgeLstmError(f"samples have shape {integers.shape}; accepted is (windows, steps, channels)")
    when = timeline(model.signature, len(integers), integers.shape[1], lengths)
    noise: dict[tuple[str, str], _Noise] = {}
    scores, alike, classes, limits = _Noise(), 0.0, 0.0, 0.0
    parts = [slice(k, k + BLOCK) for k in range(0, len(integers), BLOCK)]
    sums = np.zeros((len(levels(model.layers)), 2))
    for part in parts:
        time, samples = when.part(part), standardize(float_model, np.asarray(x)[part])
        exact = evaluate(float_model, samples, time)
        run = execute(model, integers[part], trace="all", lengths=time.lengths)
        _add_layers(noise, model, exact, run, time)
        found = real_outputs(model, run.outputs)["scores"]
        inside = _inside(model, exact.scores, time)
        scores.add(_steps(exact.scores), _steps(found), _steps(run.outputs["scores"]), None, inside)
        same = _steps(exact.scores).argmax(-1) == _steps(found).argmax(-1)
        alike, classes = alike + float((same & inside).sum()), classes + float(inside.sum())
        limits += float((np.abs(integers[part]) == model.input_format.max).mean()) * len(integers[part])
        if model.decoder is None:
            sums += _contributions(float_model, model, exact, run, samples, integers[part], time)
    rms = np.sqrt(sums / max(scores.count, 1.0))
    found_levels = tuple(
        LevelError(tuple(layer_name(model, k) for k in level), float(alone), float(without))
        for level, (alone, without) in zip(levels(model.layers), rms, strict=True)
        if model.decoder is None
    )
    least = min(found_levels, key=lambda level: level.without_rms, default=None)
    return QuantizationError(
        inputs_clipped=limits / len(integers),
        tensors=tuple(
            TensorError(layer, value, n.db, n.rms, n.limits / max(n.count, 1.0)) for (layer, value), n in noise.items()
        ),
        scores_sqnr_db=scores.db,
        scores_rms=scores.rms,
        agreement=alike / classes if model.signature.task == "classify" else None,
        drift=tuple(_drift(layer, value, n) for (layer, value), n in noise.items() if value in ("h", "c")),
        levels=found_levels,
        largest=least.layers if least else (),
    )


def _check_alike(float_model: FloatModel, model: QuantizedModel) -> None:
    kinds = [[(k.cell, k.hidden, k.inputs) for k in m.all_layers] for m in (float_model, model)]
    if kinds[0] != kinds[1]:
        raise EdgeLstmError(f"the float model has the layers {kinds[0]}, and the quantized one {kinds[1]}")


def _steps(values: Any) -> Any:
    """With an axis of steps."""
    return values[:, None] if values.ndim == 2 else values


def _inside(model: QuantizedModel, scores: Array, when: Timeline) -> NDArray[np.bool_]:
    """Which scores count, (windows, steps)."""
    if model.pooling == "each" and when.lengths is not None:
        return when.valid
    return np.ones(_steps(scores).shape[:2], bool)


def _add_layers(
    noise: dict[tuple[str, str], _Noise], model: QuantizedModel, exact: Evaluation, run: Execution, when: Timeline
) -> None:
    for k, (name, layer) in enumerate(named_layers(model)):
        decoded = k >= len(model.layers)
        steps = exact.layers[k]["h"].shape[1]
        windows = len(exact.layers[k]["h"])
        inside = np.ones((windows, steps), bool) if decoded or when.lengths is None else when.valid
        forms: dict[str, QFormat | None] = {"h": layer.h, "c": layer.c}
        scales = {gate: gate_scale(mode) for gate, mode in layer.modes.items()}
        for result in layer.squash:
            forms[result] = layer.squash_format(result)
        for block, rows in layer.blocks.items():
            if block not in layer.modes:
                forms[block] = rows.activation.output  # type: ignore[union-attr]  # only gates have steps
        for value in exact.layers[k]:
            integers = run.trace.get(f"{name}.{value}")
            form = forms.get(value)
            if integers is None or (form is None and value not in scales) or value == "m":
                continue
            scale = scales[value] if form is None else form.scale
            real = np.asarray(integers * scale, np.float64)
            noise.setdefault((name, value), _Noise()).add(exact.layers[k][value], real, integers, form, inside)


def _drift(layer: str, state: str, noise: _Noise) -> Drift:
    rms = np.sqrt(noise.by_step / np.maximum(noise.counts, 1.0))
    at = np.unique(np.linspace(0, len(rms) - 1, min(POINTS, len(rms))).astype(int))
    quarter = max(1, len(rms) // 4)
    early = float(rms[quarter : 2 * quarter].mean()) if len(rms) >= 4 else float(rms[0])
    growth = float(rms[-quarter:].mean()) / early if early else 1.0
    return Drift(layer, state, tuple(int(k) for k in at), tuple(float(v) for v in rms[at]), growth)


# --- one level in float, or one in integers ----------------------------------------------------------


def _contributions(
    float_model: FloatModel,
    model: QuantizedModel,
    exact: Evaluation,
    run: Execution,
    samples: Array,
    integers: Integers,
    when: Timeline,
) -> Array:
    """(levels, 2) squared errors of the scores: each level alone in integers, and all but it."""
    grouped = levels(model.layers)
    inside = _inside(model, exact.scores, when)[..., None]

    def error(scores: Array) -> float:
        return float((((_steps(scores) - _steps(exact.scores)) ** 2) * inside).sum())

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
