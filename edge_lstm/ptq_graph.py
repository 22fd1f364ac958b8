"""``ptq`` of models of strangers that are no ``FloatModel``: graphs, such as convolutions before recurrent layers."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_lstm.calibrate import Progress, checked_calibration
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fidelity import Distance, Fidelity
from edge_lstm.format_search import model_bytes
from edge_lstm.gates import format_gates
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.graph_model import GraphModel
from edge_lstm.importing.load import ImportedModel
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.integer_graph.quantize import known_ranges, quantize_graph
from edge_lstm.known_ranges import KnownRange
from edge_lstm.ptq_options import FITTED_WINDOWS, RANDOM_NORMAL, RANDOM_WARNING, RANDOM_WINDOWS, PtqOptions


@dataclass(frozen=True)
class GraphPostTraining:
    """What quantization after training of a graph gave; as ``ptq.PostTraining``.

    Attributes:
        quantized: The integers.
        options: What was asked.
        distance: From the float graph, on the calibration.
        known: Ranges that the model's file said, which were taken instead of the recordings' ones.
    """

    quantized: QuantizedGraph
    options: PtqOptions
    distance: Distance
    known: tuple[KnownRange, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values: what was chosen, and what it gives on the calibration."""
        return {
            "range": self.options.range,
            "percentile": self.options.percentile if self.options.range == "percentile" else None,
            "file_ranges": [{"value": k.value, "name": k.name, "largest": k.largest} for k in self.known],
            "rounding": "nearest",
            "bias_correction": False,
            "equalization": False,
            "layers": [
                {
                    "layers": [k],
                    "weight_bits": next(iter(layer.blocks.values())).weight_bits,
                    "activation_bits": layer.h.bits,
                    "gates": format_gates(layer.modes),
                    "h": str(layer.h),
                }
                for k, layer in enumerate(self.quantized.all_layers)
            ],
            "nodes": [type(node).__name__.lower() for node in self.quantized.nodes],
            "thresholds_searched": 0,
            "model_bytes": model_bytes(self.quantized),
            **asdict(self.distance),
        }


def graph_of(model: Any, calibration: Any) -> GraphModel | None:
    """The graph that an imported model is, where it is no ``FloatModel``; None of all others.

    Raises:
        UnsupportedError: It is neither; see ``ImportedModel.any_model``.
    """
    if not isinstance(model, ImportedModel):
        return None
    steps = None if isinstance(calibration, str) else int(np.shape(checked_calibration(calibration))[1])
    found = model.any_model(steps=steps)
    return found if isinstance(found, GraphModel) else None


def post_training_graph(
    model: GraphModel,
    options: PtqOptions,
    *,
    calibration: Any,
    lengths: Any = None,
    labels: Any = None,
    progress: Progress = lambda _done, _all: None,
) -> GraphPostTraining:
    """See ``ptq.post_training``."""
    x = calibration
    if isinstance(x, str):
        if x != RANDOM_NORMAL:
            raise EdgeLstmError(f"calibration is {x!r}; accepted are recordings, or {RANDOM_NORMAL!r}")
        warnings.warn(RANDOM_WARNING, stacklevel=3)
        shape = (RANDOM_WINDOWS, model.signature.steps, len(model.signature.channels))
        x = np.random.default_rng(0).standard_normal(shape)
    if lengths is not None:
        raise EdgeLstmError(f"lengths are given, and {model.signature.name} takes windows of one length")
    try:
        quantized = quantize_graph(model, options, x, progress)
    except UnsupportedError as error:
        raise UnsupportedError(f"{error}; recurrent layers, then pooling, then dense layers always have one") from None
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), FITTED_WINDOWS)).astype(int))
    classes = None if labels is None else np.asarray(labels)[chosen]
    distance = Fidelity(model, np.asarray(x[chosen]), None, classes).of(quantized)
    return GraphPostTraining(quantized, options, distance, known_ranges(model))
