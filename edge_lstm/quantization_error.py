"""Where a quantized model differs from its float model, and by how much: ``inspect --float``, and the error report.

The signal-to-quantization-noise ratio of a value is 10 log10(sum v^2 / sum (v - q)^2) [dB], over all windows, steps and
units, with v of the float model and q the real value of the integers. Both models run freely: errors of earlier layers
and of earlier steps are in those of later ones. Equalization (of layers with relu or a projection) gives the units of
h factors, powers of two: the float model is given the same ones before it is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.blocks import GATE, Linear, Steps, Table
from edge_lstm.equalize import MOST, can_be_scaled, scale_hidden
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution
from edge_lstm.fixedpoint import Integers, QFormat
from edge_lstm.float_run import Evaluation, evaluate, standardize
from edge_lstm.gates import STEPS
from edge_lstm.layers import QuantizedLayer
from edge_lstm.level_error import inside_of, level_errors, with_steps
from edge_lstm.lower import layer_name, named_layers
from edge_lstm.luts import largest_error
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.statistics import gate_scale
from edge_lstm.timeline import Timeline, timeline
from edge_lstm.verification import FloatComparison, compare_scores
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
        beyond: Share of the float values that are more than one integer beyond the format, and so are lost; 0 of
            gates.
        stored: Format, or mode of a gate of steps.
        table_error: Largest error of the table or linear form against its function; None where there is none.
    """

    layer: str
    value: str
    sqnr_db: float
    rms: float
    clipped: float
    beyond: float
    stored: str
    table_error: float | None


@dataclass(frozen=True)
class Drift:
    """The course of a state's error over time.

    Attributes:
        layer, state: Names.
        steps: At which the error is given.
        rms: There.
        growth: Mean error of the last quarter of the steps, by that of the second quarter; 1 where it does not grow.
            A reverse layer goes through them from the last to the first.
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
    inputs_clipped, inputs_beyond: Shares of the samples at the limit of the input's range, and of those that are
        more than one integer beyond it in the float model, which may have limits of its own.
    tensors: Of all layers: gates, functions and states.
    scores_sqnr_db, scores_rms: Of the scores.
    agreement: Share of the windows, or steps, with the same class; None of a regression.
    onnxruntime: The scores against those of the float model on onnxruntime; None where it was not asked.
    drift: Of the states.
    levels: Contributions; empty for a model with a decoder.
    largest: Names of the layers of the level without which the error is smallest; empty as ``levels``.
    """

    inputs_clipped: float
    inputs_beyond: float
    tensors: tuple[TensorError, ...]
    scores_sqnr_db: float
    scores_rms: float
    agreement: float | None
    onnxruntime: FloatComparison | None
    drift: tuple[Drift, ...]
    levels: tuple[LevelError, ...]
    largest: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, with stable keys."""
        return asdict(self)


class _Noise:
    """Sums of squares, from parts."""

    def __init__(self) -> None:
        self.signal = self.noise = self.count = self.limits = self.beyond = 0.0
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
            units = exact[where] / form.scale
            self.beyond += float(((units < form.min - 1) | (units > form.max + 1)).sum())

    @property
    def rms(self) -> float:
        return math.sqrt(self.noise / max(self.count, 1.0))

    def share(self, counted: float) -> float:
        """Of all values."""
        return counted / max(self.count, 1.0)

    @property
    def db(self) -> float:
        if self.noise == 0:
            return MOST_DB
        return min(MOST_DB, 10 * math.log10(max(self.signal, 1e-30) / self.noise))


def _plus(a: Array, b: Array) -> Array:
    return np.asarray(a + b if a.size else b)


def quantization_error(
    float_model: FloatModel,
    model: QuantizedModel,
    x: Any,
    *,
    lengths: Any = None,
    float_scores: Callable[[Any], NDArray[Any]] | None = None,
    normalized: bool = False,
) -> QuantizationError:
    """Compare every value of a quantized model with the float model's.

    Args:
        float_model: What was quantized.
        model: The result.
        x: (windows, steps, channels) samples in the channels' units.
        lengths: (windows,) steps of each window, of a model for windows of several lengths.
        float_scores, normalized: The float model on onnxruntime, as ``verify`` is given it.

    Raises:
        EdgeLstmError: Bad samples, models of different layers, or float scores of another shape.
    """
    check_alike(float_model, model)
    integers = model.quantize_input(x)
    if integers.ndim != 3 or 0 in integers.shape:
        raise EdgeLstmError(f"samples have shape {integers.shape}; accepted is (windows, steps, channels)")
    when = timeline(model.signature, len(integers), integers.shape[1], lengths)
    float_model = _in_the_same_units(float_model, model, integers[:BLOCK], when.part(slice(0, BLOCK)), x)
    noise: dict[tuple[str, str], _Noise] = {}
    every: list[Array] = []
    scores, alike, classes, limits = _Noise(), 0.0, 0.0, np.zeros(2)
    parts = [slice(k, k + BLOCK) for k in range(0, len(integers), BLOCK)]
    sums = np.zeros((len(levels(model.layers)), 2))
    for part in parts:
        time, samples = when.part(part), standardize(float_model, np.asarray(x)[part])
        exact = evaluate(float_model, samples, time)
        run = execute(model, integers[part], trace="all", lengths=time.lengths)
        _add_layers(noise, model, exact, run, time)
        found = real_outputs(model, run.outputs)["scores"]
        every.append(found)
        inside = inside_of(model, exact.scores, time)
        scores.add(with_steps(exact.scores), with_steps(found), with_steps(run.outputs["scores"]), None, inside)
        same = with_steps(exact.scores).argmax(-1) == with_steps(found).argmax(-1)
        alike, classes = alike + float((same & inside).sum()), classes + float(inside.sum())
        limits += _at_limits(float_model, model, samples, integers[part], time) * len(samples)
        if model.decoder is None:
            sums += level_errors(float_model, model, exact, run, samples, integers[part], time)
    rms, named = np.sqrt(sums / max(scores.count, 1.0)), dict(named_layers(model))
    found_levels = tuple(
        LevelError(tuple(layer_name(model, k) for k in level), float(alone), float(without))
        for level, (alone, without) in zip(levels(model.layers), rms, strict=True)
        if model.decoder is None
    )
    least = min(found_levels, key=lambda level: level.without_rms, default=None)
    onnxruntime = None
    if float_scores is not None:
        onnxruntime = compare_scores(
            model, np.concatenate(every), float_scores(x), lengths=lengths, normalized=normalized
        )
    return QuantizationError(
        inputs_clipped=float(limits[0]) / len(integers),
        inputs_beyond=float(limits[1]) / len(integers),
        tensors=tuple(_tensor_error(named[layer], layer, value, n) for (layer, value), n in noise.items()),
        scores_sqnr_db=scores.db,
        scores_rms=scores.rms,
        agreement=alike / classes if model.signature.task == "classify" else None,
        onnxruntime=onnxruntime,
        drift=tuple(
            _drift(named[layer], layer, value, n) for (layer, value), n in noise.items() if value in ("h", "c")
        ),
        levels=found_levels,
        largest=least.layers if least else (),
    )


def check_alike(float_model: FloatModel, model: QuantizedModel) -> None:
    """Raise unless a quantized model may have been made of a float model.

    Raises:
        EdgeLstmError: Naming what differs.
    """
    kinds = [[(k.cell, k.hidden, k.inputs) for k in m.all_layers] for m in (float_model, model)]
    if kinds[0] != kinds[1]:
        raise EdgeLstmError(f"the float model has the layers {kinds[0]}, and the quantized one {kinds[1]}")
    ways = [[(k.reverse, k.beside) for k in m.all_layers] for m in (float_model, model)]
    if ways[0] != ways[1]:
        raise EdgeLstmError("the layers of the float model go other ways than those of the quantized one")
    heads = [
        (len(m.signature.classes), m.signature.task, m.pooling, m.decoder.steps if m.decoder else None)
        for m in (float_model, model)
    ]
    for what, found, wanted in zip(("number of outputs", "task", "pooling", "steps of a decoder"), *heads, strict=True):
        if found != wanted:
            raise EdgeLstmError(f"{what}: {found} in the float model, and {wanted} in the quantized one")


def _in_the_same_units(
    float_model: FloatModel, model: QuantizedModel, integers: Integers, when: Timeline, x: Any
) -> FloatModel:
    """The float model with the factors that equalization gave the units of h, as their integers show them."""
    scaled = [k for k, layer in enumerate(float_model.layers) if can_be_scaled(layer)]
    if model.decoder is not None or not scaled:
        return float_model
    exact = evaluate(float_model, standardize(float_model, np.asarray(x)[: len(integers)]), when)
    trace = execute(model, integers, trace="states", lengths=when.lengths).trace
    for k in scaled:
        h = exact.layers[k]["h"].reshape(-1, float_model.layers[k].outputs)
        found = trace[f"{layer_name(model, k)}.h"].reshape(h.shape) * model.layers[k].h.scale
        ratio = (h * found).sum(axis=0) / np.maximum((h**2).sum(axis=0), 1e-30)
        float_model = scale_hidden(float_model, k, 2.0 ** np.rint(np.log2(np.clip(ratio, 1.0, MOST))))
    return float_model


def _at_limits(
    float_model: FloatModel, model: QuantizedModel, samples: Array, integers: Integers, when: Timeline
) -> Array:
    """Shares of the inputs at the limit of their range, and beyond it, (2,)."""
    largest = model.input_format.max
    units = samples * float_model.std / model.input_scale
    found = np.stack([np.abs(integers) == largest, np.abs(units) > largest + 1])
    return np.asarray((found if when.lengths is None else found[:, when.valid]).reshape(2, -1).mean(axis=1))


def _add_layers(
    noise: dict[tuple[str, str], _Noise], model: QuantizedModel, exact: Evaluation, run: Execution, when: Timeline
) -> None:
    for k, (name, layer) in enumerate(named_layers(model)):
        decoded = k >= len(model.layers)
        steps = exact.layers[k]["h"].shape[1]
        windows = len(exact.layers[k]["h"])
        inside = np.ones((windows, steps), bool) if decoded or when.lengths is None else when.valid
        forms = _formats(layer)
        for value in exact.layers[k]:
            integers = run.trace.get(f"{name}.{value}")
            form, mode = forms.get(value), layer.modes.get(value)
            if integers is None or (form is None and mode is None) or value == "m":
                continue
            scale = form.scale if form is not None else gate_scale(layer.modes[value])
            real = np.asarray(integers * scale, np.float64)
            noise.setdefault((name, value), _Noise()).add(exact.layers[k][value], real, integers, form, inside)


def _formats(layer: QuantizedLayer) -> dict[str, QFormat]:
    """Of the values of a layer, without its gates."""
    forms = {name: f for name, f in (("h", layer.h), ("c", layer.c)) if f is not None}
    forms |= {result: layer.squash_format(result) for result in layer.squash}
    functions = _functions(layer)
    return forms | {name: functions[name].output for name in layer.blocks if name not in layer.modes}


def _functions(layer: QuantizedLayer) -> dict[str, Table | Linear]:
    """The tables and linear forms of a layer, by name of the result."""
    of_blocks = {name: block.activation for name, block in layer.blocks.items()}
    return {**{name: f for name, f in of_blocks.items() if not isinstance(f, Steps)}, **layer.squash}


def _tensor_error(layer: QuantizedLayer, name: str, value: str, noise: _Noise) -> TensorError:
    form, mode, function = _formats(layer).get(value), layer.modes.get(value), _functions(layer).get(value)
    stored = str(form or GATE) if mode not in STEPS else str(mode)
    return TensorError(
        layer=name,
        value=value,
        sqnr_db=noise.db,
        rms=noise.rms,
        clipped=noise.share(noise.limits),
        beyond=noise.share(noise.beyond),
        stored=stored,
        table_error=None if function is None else largest_error(function),
    )


def _drift(layer: QuantizedLayer, name: str, state: str, noise: _Noise) -> Drift:
    rms = np.sqrt(noise.by_step / np.maximum(noise.counts, 1.0))
    at = np.unique(np.linspace(0, len(rms) - 1, min(POINTS, len(rms))).astype(int))
    quarter = max(1, len(rms) // 4)
    way = rms[::-1] if layer.reverse else rms
    early = float(way[quarter : 2 * quarter].mean()) if len(way) >= 4 else float(way[0])
    growth = float(way[-quarter:].mean()) / early if early else 1.0
    return Drift(name, state, tuple(int(k) for k in at), tuple(float(v) for v in rms[at]), growth)
