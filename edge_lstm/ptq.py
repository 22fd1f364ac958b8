"""Quantization after training: ``quantize``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lstm.bias_correction import corrected
from edge_lstm.bits import Bits, Choice, layer_bits, near_inputs
from edge_lstm.calibrate import Calibration, Progress, calibrate, checked_calibration, observed
from edge_lstm.equalize import equalized
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fidelity import Distance, Fidelity
from edge_lstm.format_search import model_bytes, search
from edge_lstm.gates import format_gates
from edge_lstm.harden import hardened
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.known_ranges import KnownRange, with_known
from edge_lstm.lower import lower
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.moments import moments
from edge_lstm.ptq_graph import GraphPostTraining, graph_of, post_training_graph
from edge_lstm.ptq_options import (
    FITTED_WINDOWS,
    RANDOM_NORMAL,
    RANDOM_WARNING,
    RANDOM_WINDOWS,
    PtqOptions,
    Rounding,
)
from edge_lstm.ranges import RangeMethod
from edge_lstm.reconstruct import Reconstruction
from edge_lstm.rows import RowChoice, nearest
from edge_lstm.timeline import timeline
from edge_lstm.to_integers import quantize_model
from edge_lstm.wiring import levels

CORRECTED_WINDOWS = 256


class Importable(Protocol):
    """A model of strangers, which may be a ``FloatModel``."""

    def float_model(self, *, steps: int | None = None) -> FloatModel:
        """It, for windows of so many steps where its file leaves them open."""

    def known_ranges(self, *, steps: int | None = None) -> tuple[KnownRange, ...]:
        """Ranges that its file says of its values."""


@dataclass(frozen=True)
class PostTraining:
    """What quantization after training gave.

    Attributes:
        quantized: The integers.
        options: What was asked.
        bits: Of each level of layers.
        thresholds: Number of gates' thresholds that were searched.
        distance: From the float model as it was given, on the windows that were fitted; flattering, since these were
            used.
        known: Ranges that the model's file said, which were taken instead of the recordings' ones.
    """

    quantized: QuantizedModel
    options: PtqOptions
    bits: tuple[Bits, ...]
    thresholds: int
    distance: Distance
    known: tuple[KnownRange, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values: what was chosen, and what it gives on the calibration."""
        grouped = levels(self.quantized.layers)
        return {
            "range": self.options.range,
            "percentile": self.options.percentile if self.options.range == "percentile" else None,
            "file_ranges": [{"value": k.value, "name": k.name, "largest": k.largest} for k in self.known],
            "rounding": self.options.rounding,
            "bias_correction": self.options.bias_correction,
            "equalization": self.options.equalization,
            "layers": [
                {
                    "layers": list(level),
                    "weight_bits": bits.weights,
                    "activation_bits": bits.activations,
                    "gates": format_gates(self.quantized.layers[level[0]].modes),
                    "h": str(self.quantized.layers[level[0]].h),
                }
                for level, bits in zip(grouped, self.bits, strict=True)
            ],
            "thresholds_searched": self.thresholds,
            "model_bytes": model_bytes(self.quantized),
            **asdict(self.distance),
        }


def quantize(
    model: FloatModel | Importable,
    *,
    calibration: Any,
    lengths: Any = None,
    labels: Any = None,
    gates: str | None = None,
    weight_bits: Choice = 8,
    activation_bits: Choice = 8,
    activations: str = "lut",
    range: RangeMethod = "minmax",
    percentile: float = 99.99,
    rounding: Rounding = "reconstruct",
    bias_correction: bool = True,
    equalization: bool = True,
    max_drop: float | None = None,
    max_bytes: int | None = None,
) -> QuantizedModel | QuantizedGraph:
    """Post-training quantization; cell states have 16 bits and a calibrated power-of-two scale.

    Args:
        model: The float model; of strangers an ``ImportedModel``.
        calibration: (windows, steps, channels) recordings like those that the device will see, perhaps memory-mapped;
            or ``"random-normal"``, for white noise where there are none, which warns.
        lengths: (windows,) steps of each recording, of a model for windows of several lengths.
        labels: (windows,) class index of each recording, for ``max_drop``; (windows, steps) where each has an output.
        gates, weight_bits, activation_bits, activations, range, percentile, rounding, bias_correction, equalization,
            max_drop, max_bytes: See ``ptq_options.PtqOptions``.

    Returns:
        A model that is proved free of overflow.

    Raises:
        EdgeLstmError: Bad calibration data, an unknown option, or a budget that can't be met.
        RangeError: The model could overflow.
    """
    options = PtqOptions(
        gates=gates,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        activations=activations,
        range=range,
        percentile=percentile,
        rounding=rounding,
        bias_correction=bias_correction,
        equalization=equalization,
        max_drop=max_drop,
        max_bytes=max_bytes,
    )
    graph = graph_of(model, calibration)
    if graph is not None:
        given = {"calibration": calibration, "lengths": lengths, "labels": labels}
        return post_training_graph(graph, options, **given).quantized
    return _PostTraining(model, options, calibration, lengths, labels).candidate()[0]


def post_training(
    model: FloatModel | Importable,
    options: PtqOptions,
    *,
    calibration: Any,
    lengths: Any = None,
    labels: Any = None,
    progress: Progress = lambda _done, _all: None,
) -> PostTraining | GraphPostTraining:
    """``quantize``, and what was chosen.

    Args:
        model, calibration, lengths, labels: As of ``quantize``.
        options: The others.
        progress: Told how many windows of the calibration were seen.
    """
    graph = graph_of(model, calibration)
    if graph is not None:
        given = {"calibration": calibration, "lengths": lengths, "labels": labels}
        return post_training_graph(graph, options, **given, progress=progress)
    found = _PostTraining(model, options, calibration, lengths, labels, progress)
    quantized, bits = found.candidate()
    return PostTraining(quantized, options, tuple(bits), found.thresholds, found.fidelity.of(quantized), found.known)


def random_normal(model: FloatModel, *, windows: int = RANDOM_WINDOWS, seed: int = 0) -> NDArray[np.float64]:
    """White noise (windows, steps, channels) of the mean and standard deviation that the model standardizes with."""
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return np.asarray(model.mean + model.std * np.random.default_rng(seed).standard_normal(shape))


def like_inputs(bits: Sequence[Bits], calibration: Calibration) -> list[Bits]:
    """Hidden states of 16 bits with units about as large as those of the inputs, if these have 16 bits too."""
    if bits[0].activations != 16:
        return list(bits)
    return [near_inputs(b, float(calibration.input_max.max()) / (2**15 - 1)) for b in bits]


class _PostTraining:
    def __init__(
        self,
        model: FloatModel | Importable,
        options: PtqOptions,
        x: Any,
        lengths: Any = None,
        labels: Any = None,
        progress: Progress = lambda _done, _all: None,
    ) -> None:
        noise = isinstance(x, str)
        if noise and x != RANDOM_NORMAL:
            raise EdgeLstmError(f"calibration is {x!r}; accepted are recordings, or {RANDOM_NORMAL!r}")
        self.known: tuple[KnownRange, ...] = ()
        if not isinstance(model, FloatModel):
            steps = None if noise else checked_calibration(x).shape[1]
            self.known, model = model.known_ranges(steps=steps), model.float_model(steps=steps)
        if noise:
            warnings.warn(RANDOM_WARNING, stacklevel=3)
            x = random_normal(model)
        self._given, self._options, self._noise = model, options, noise
        self._bits = layer_bits(
            len(levels(model.layers)), options.weight_bits, options.activation_bits, options.activations
        )
        x = checked_calibration(x)
        lengths = timeline(model.signature, len(x), x.shape[1], lengths).lengths
        chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), FITTED_WINDOWS)).astype(int))
        self._x = np.asarray(x[chosen])
        self._lengths = None if lengths is None else lengths[chosen]
        if labels is not None and len(labels) != len(x):
            raise EdgeLstmError(f"{len(labels)} labels; accepted are as many as there are windows, {len(x)}")
        self._labels = None if labels is None else np.asarray(labels)[chosen]
        self.thresholds = 0
        if options.gates is not None:
            model, self.thresholds = hardened(model, options.gates, self._x, self._lengths)
        if options.equalization:
            model = equalized(model, observed(model, self._x, lengths=self._lengths))
        self._model = model
        self._calibrations = {
            bits: with_known(
                calibrate(model, x, lengths=lengths, choice=options.range_choice, bits=bits, progress=progress),
                self.known,
            )
            for bits in self._activation_bits()
        }
        self._rows: RowChoice = nearest
        if options.rounding == "reconstruct":
            self._rows = Reconstruction(moments(model, observed(model, self._x, lengths=self._lengths)))

    def _activation_bits(self) -> set[int]:
        """For which ranges are asked: a search may widen what it begins with."""
        return {self._bits[0].activations, *([16] if self._options.max_drop is not None else [])}

    @property
    def fidelity(self) -> Fidelity:
        """To the float model as it was given."""
        return Fidelity(self._given, self._x, self._lengths, self._labels)

    def candidate(self) -> tuple[QuantizedModel, Sequence[Bits]]:
        """The integers, and the bits of each level."""
        quantized, bits = None, self._bits
        if self._options.budget.given:
            found = search(self._bits, self._quantized, self.fidelity.of, self._options.budget)
            quantized, bits = found.model, list(found.bits)
        quantized = quantized or self._quantized(bits)
        lower(quantized)
        return quantized, bits

    def _quantized(self, bits: Sequence[Bits]) -> QuantizedModel:
        calibration = self._calibrations[bits[0].activations]
        bits = like_inputs(bits, calibration)

        def integers(model: FloatModel) -> QuantizedModel:
            return quantize_model(model, calibration, bits, self._rows, gains=True)

        model = self._model
        if self._options.bias_correction:
            some = slice(None, None, -(-len(self._x) // CORRECTED_WINDOWS))
            lengths = None if self._lengths is None else self._lengths[some]
            model = corrected(model, integers, self._x[some], lengths)
        quantized = integers(model)
        if self._noise:
            quantized = replace(quantized, provenance={**quantized.provenance, "calibration": RANDOM_WARNING})
        return quantized
