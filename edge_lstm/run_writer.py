"""What a training run leaves in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_lstm import run_files, storage
from edge_lstm.data import Dataset
from edge_lstm.files import write_text
from edge_lstm.gates import format_gates
from edge_lstm.model import QuantizedModel
from edge_lstm.npz import write_arrays
from edge_lstm.report.results import AccuracyRow, Curve, DatasetInfo, Results, ShippedInfo, TrainingInfo
from edge_lstm.statistics import describe
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Trained, accuracy, predictions


@dataclass(frozen=True)
class Run:
    """A recipe and what came of it."""

    options: TrainOptions
    trained: Trained

    @property
    def gates(self) -> str:
        """Shortest specification of the gate modes."""
        return format_gates(self.options.modes)


def write_models(folder: Path, shipped: Run, test: Dataset) -> None:
    """The models of a run, the test windows, and one of them for the gate raster."""
    from edge_lstm.export.onnx_float import write

    trained = shipped.trained
    trained.quantized.save(folder / run_files.MODEL)
    storage.save(trained.float_model, folder / run_files.FLOAT)
    write(trained.float_model, folder / run_files.ONNX)
    write_arrays(folder / run_files.TEST, x=test.x, y=test.y)
    chosen = liveliest_window(trained.quantized, test)
    write_arrays(folder / run_files.RECORDING, x=test.x[chosen], y=test.y[chosen])


def liveliest_window(model: QuantizedModel, test: Dataset) -> int:
    """The liveliest window (largest variance, in units of the model's input) that the model classifies right."""
    right = predictions(model, test) == test.y
    liveliness = (test.x / model.input_scale).var(axis=1).sum(axis=1)
    return int(np.argmax(np.where(right, liveliness, -1.0)))


def results(title: str, train: Dataset, test: Dataset, runs: Sequence[Run], shipped: Run, **measured: Any) -> Results:
    """What is written to ``results.json``.

    Args:
        title: Of the run.
        train, test: The data.
        runs: All trainings, the shipped one among them.
        shipped: Whose integers are ``model.elstm``.
        measured: ``verify`` and ``simulate``, where they were done.
    """
    model = shipped.trained.quantized
    confusion = np.zeros((len(test.classes), len(test.classes)), int)
    np.add.at(confusion, (test.y, predictions(model, test)), 1)
    options = shipped.options
    named = ("cell", "hidden", "layers", "pooling", "epochs", "seed", "gates")
    return Results(
        title=title,
        dataset=DatasetInfo(
            name=train.name,
            source=train.source,
            licence=train.licence,
            train_windows=len(train),
            test_windows=len(test),
            steps=train.steps,
            rate_hz=train.rate_hz,
            channels=list(train.channels),
            units=list(train.units),
            classes=list(train.classes),
        ),
        training=TrainingInfo(
            cell=options.cell,
            hidden=options.hidden,
            layers=options.layers,
            pooling=options.pooling,
            parameters=describe(model)["parameters"],
            epochs=options.epochs,
            seeds=sorted({run.options.seed for run in runs}),
            options={k: v for k, v in options.to_json().items() if k not in named},
        ),
        accuracy=accuracy_rows(runs, test),
        curves=[_curve(run) for run in runs],
        shipped=ShippedInfo(gates=shipped.gates, seed=options.seed),
        confusion=confusion.tolist(),
        recording="the test window with the largest variance among those classified correctly",
        **measured,
    )


def accuracy_rows(runs: Sequence[Run], test: Dataset) -> list[AccuracyRow]:
    """One row for each gate mode and form, with the accuracy of each seed."""
    rows = []
    for gates in dict.fromkeys(run.gates for run in runs):
        group = [run for run in runs if run.gates == gates]
        forms: dict[Literal["float", "int8"], dict[int, float]] = {
            "float": {run.options.seed: accuracy(run.trained.float_model, test) for run in group},
            "int8": {run.options.seed: accuracy(run.trained.quantized, test) for run in group},
        }
        for form, by_seed in forms.items():
            rows.append(AccuracyRow(model=f"{gates} gates, {form}", gates=gates, form=form, by_seed=by_seed))
    return rows


def _curve(run: Run) -> Curve:
    epochs = run.trained.epochs
    measured = any(epoch.accuracy is not None for epoch in epochs)
    return Curve(
        model=f"{run.gates} gates",
        seed=run.options.seed,
        epoch=[epoch.number for epoch in epochs],
        loss=[epoch.loss for epoch in epochs],
        accuracy=[epoch.accuracy for epoch in epochs] if measured else [],
        accuracy_on="validation windows" if measured else "",
    )


def write_results(folder: Path, found: Results) -> None:
    """Write ``results.json``."""
    write_text(folder / run_files.RESULTS, found.to_json())
