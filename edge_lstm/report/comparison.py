"""A quantized model beside its float model, as the page on the quantization error shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_lstm import run_files
from edge_lstm.against_float import error_against, of_layers
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import QuantizedModel
from edge_lstm.quantization_error import LevelError, QuantizationError
from edge_lstm.report import forms
from edge_lstm.samples import Samples, read_samples

MUCH_CLIPPED = 0.001
"""Share of a value beyond its format, or of the inputs at their limit, above which a reader is told."""


@dataclass(frozen=True)
class Comparison:
    """A quantized model and how far it is from its float model.

    Attributes:
        model: The integers.
        found: The differences.
        windows, steps: Of the recordings on which they were found.
        command: That sets the options of such a model: ``quantize`` or ``train``.
    """

    model: QuantizedModel
    found: QuantizationError
    windows: int
    steps: int
    command: str

    @property
    def counted(self) -> str:
        """What has a class: windows, steps or outputs."""
        return forms.counted(self.model)

    @property
    def result(self) -> str:
        """What the model gives: scores of classes, or outputs."""
        return "scores" if self.model.signature.task == "classify" else "outputs"

    def explained(self, level: LevelError) -> float:
        """Share of the mean square error that goes where a level computes in float; below 0 where it grows."""
        total = self.found.scores_rms
        return 1.0 - (level.without_rms / total) ** 2 if total else 0.0


def compare(path: Path, model: IntegerModel, samples: Samples, command: str) -> Comparison:
    """Compare a quantized model with the float one of a file or a run folder; see ``error_against``."""
    found = error_against(path, model, samples)
    return Comparison(of_layers(model), found, len(samples.x), samples.x.shape[1], command)


def compare_run(folder: Path, model: QuantizedModel) -> Comparison | None:
    """Of a run folder, on its test windows; None where it has none, or no float model."""
    if not ((folder / run_files.FLOAT).is_file() and (folder / run_files.TEST).is_file()):
        return None
    samples = read_samples(str(folder / run_files.TEST), model.signature)
    return compare(folder, model, samples, "train")
