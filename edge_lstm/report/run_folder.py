"""A run folder, read and checked: results, shipped model, recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import QuantizedModel
from edge_lstm.report.activity import Activity, observe
from edge_lstm.report.recording import RECORDING_FILE, Recording, read_recording
from edge_lstm.report.results import RESULTS_FILE, Results, read_results
from edge_lstm.storage import load

MODEL_FILE = "model.elstm"


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        folder: Where.
        results: Of ``results.json``.
        model: Of ``model.elstm``.
        model_bytes: Size of that file.
        sha256: Of the model's content.
        recording: Of ``recording.npz``.
        activity: Of the model during the recording.
    """

    folder: Path
    results: Results
    model: QuantizedModel
    model_bytes: int
    sha256: str
    recording: Recording
    activity: Activity

    @property
    def model_path(self) -> Path:
        """Of ``model.elstm``."""
        return self.folder / MODEL_FILE


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        EdgeLstmError: It is no folder, or a file in it is missing, broken or does not fit the others; names the file.
    """
    if not folder.is_dir():
        raise EdgeLstmError(f"{folder} is no folder; a run folder holds {RESULTS_FILE}, {MODEL_FILE}, {RECORDING_FILE}")
    results = read_results(folder / RESULTS_FILE)
    path = folder / MODEL_FILE
    model = load(path)
    _check_same(folder, "channels", results.dataset.channels, model.signature.channels)
    _check_same(folder, "classes", results.dataset.classes, model.signature.classes)
    recording = read_recording(folder / RECORDING_FILE, model.signature)
    return Run(folder, results, model, path.stat().st_size, digest(model), recording, observe(model, recording))


def _check_same(folder: Path, what: str, results: list[str], model: tuple[str, ...]) -> None:
    if tuple(results) != model:
        raise EdgeLstmError(
            f"{folder / RESULTS_FILE}: {what} are {', '.join(results)}, and those of {MODEL_FILE} {', '.join(model)}"
        )
