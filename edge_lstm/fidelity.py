"""How far a quantized model is from its float model, on recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.importing.graph_model import GraphModel
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.timeline import timeline


@dataclass(frozen=True)
class Distance:
    """Of a quantized model from its float model.

    Attributes:
        agreement: Share of the outputs with the same class; None of a regression.
        accuracy: Of the quantized classifier; None without labels.
        float_accuracy: Of the float classifier; None without labels.
        score_error: Root mean squared error of the scores, in units of the float scores' standard deviation.
    """

    agreement: float | None
    accuracy: float | None
    float_accuracy: float | None
    score_error: float

    @property
    def drop(self) -> float:
        """Points lost: of accuracy where there are labels, else of agreement; of a regression ``score_error`` in %."""
        if self.accuracy is not None and self.float_accuracy is not None:
            return 100 * (self.float_accuracy - self.accuracy)
        return 100 * (self.score_error if self.agreement is None else 1 - self.agreement)


class Fidelity:
    """Measures quantized models on the same recordings.

    Args:
        model: The float model.
        x: (windows, steps, channels) in the channels' units.
        lengths: (windows,) steps of each, of a model for windows of several lengths.
        labels: Class index of each window (windows,), or of each step (windows, steps) where each has an output.

    Raises:
        EdgeLstmError: Labels of a regression, of another shape, or that are no class.
    """

    def __init__(
        self,
        model: FloatModel | GraphModel,
        x: NDArray[Any],
        lengths: NDArray[np.int64] | None = None,
        labels: Any = None,
    ) -> None:
        self._x, self._lengths = x, lengths
        scores = model.run(x, lengths=lengths)["scores"]
        self._counted = np.ones(scores.shape[:-1], bool)
        if isinstance(model, FloatModel) and model.pooling == "each" and lengths is not None:
            self._counted = timeline(model.signature, len(x), x.shape[1], lengths).valid
        self._scores = scores[self._counted]
        self._classes = self._scores.argmax(axis=-1) if model.signature.task == "classify" else None
        self._labels = None if labels is None else self._checked(model, np.asarray(labels))[self._counted]

    def _checked(self, model: FloatModel | GraphModel, labels: NDArray[Any]) -> NDArray[np.int64]:
        if self._classes is None:
            raise EdgeLstmError(f"{model.signature.name} is a regression and has no classes; labels must be None")
        if labels.shape != self._counted.shape or labels.dtype.kind not in "iu":
            raise EdgeLstmError(
                f"labels are {labels.dtype} {labels.shape}; accepted are integers {self._counted.shape}"
            )
        classes = len(model.signature.classes)
        if labels.min() < 0 or labels.max() >= classes:
            raise EdgeLstmError(f"labels reach from {labels.min()} to {labels.max()}; accepted are 0 to {classes - 1}")
        return labels.astype(np.int64)

    def of(self, quantized: IntegerModel) -> Distance:
        """Of one of them."""
        found = execute(quantized, quantized.quantize_input(self._x), lengths=self._lengths)
        scores = real_outputs(quantized, found.outputs)["scores"][self._counted]
        agreement = accuracy = float_accuracy = None
        if self._classes is not None:
            classes = scores.argmax(axis=-1)
            agreement = float((classes == self._classes).mean())
            if self._labels is not None:
                accuracy = float((classes == self._labels).mean())
                float_accuracy = float((self._classes == self._labels).mean())
        spread = max(float(self._scores.std()), 1e-12)
        error = float(np.sqrt(((scores - self._scores) ** 2).mean())) / spread
        return Distance(agreement, accuracy, float_accuracy, error)
