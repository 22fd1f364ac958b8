"""A run folder, read and checked: results, shipped model, recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_lstm import run_files
from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import QuantizedModel
from edge_lstm.report.activity import Activity, observe
from edge_lstm.report.comparison import Comparison, compare_run
from edge_lstm.report.recording import Recording, read_recording
from edge_lstm.report.results import Results, read_results
from edge_lstm.storage import load


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
        comparison: With the float model on the test windows; None where the folder has not got both.
    """

    folder: Path
    results: Results
    model: QuantizedModel
    model_bytes: int
    sha256: str
    recording: Recording
    activity: Activity
    comparison: Comparison | None

    @property
    def model_path(self) -> Path:
        """Of ``model.elstm``."""
        return self.folder / run_files.MODEL


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        EdgeLstmError: It is no folder, or a file in it is missing, broken or does not fit the others; names the file.
    """
    if not folder.is_dir():
        needed = ", ".join((run_files.RESULTS, run_files.MODEL, run_files.RECORDING))
        raise EdgeLstmError(f"{folder} is no folder; a run folder holds {needed}")
    results = read_results(folder / run_files.RESULTS)
    path = folder / run_files.MODEL
    model = load(path)
    if not isinstance(model, QuantizedModel):
        raise EdgeLstmError(f"{path} is {model.title}; a run's is recurrent layers, pooling and dense layers")
    _check_same(folder, "channels", results.dataset.channels, model.signature.channels)
    _check_same(folder, "classes", results.dataset.classes, model.signature.classes)
    if results.dataset.task != model.signature.task:
        raise EdgeLstmError(
            f"{folder / run_files.RESULTS}: task is {results.dataset.task}, "
            f"and that of {run_files.MODEL} {model.signature.task}"
        )
    recording = read_recording(folder / run_files.RECORDING, model)
    activity, comparison = observe(model, recording), compare_run(folder, model)
    return Run(folder, results, model, path.stat().st_size, digest(model), recording, activity, comparison)


def _check_same(folder: Path, what: str, results: list[str], model: tuple[str, ...]) -> None:
    if tuple(results) != model:
        raise EdgeLstmError(
            f"{folder / run_files.RESULTS}: {what} are {', '.join(results)}, "
            f"and those of {run_files.MODEL} {', '.join(model)}"
        )
