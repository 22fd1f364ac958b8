"""What a training run leaves in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm import run_files, storage
from edge_lstm.data import Dataset
from edge_lstm.files import write_text
from edge_lstm.gates import format_gates
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.npz import write_arrays
from edge_lstm.report.results import (
    AccuracyRow,
    Curve,
    DatasetInfo,
    ErrorRow,
    ErrorValues,
    GateForm,
    Results,
    ShippedInfo,
    TrainingInfo,
)
from edge_lstm.statistics import describe
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Trained, accuracy, counted, errors, outputs, predictions


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
    lengths = {} if test.lengths is None else {"lengths": test.lengths}
    write_arrays(folder / run_files.TEST, x=test.x, y=test.y, **lengths)
    chosen = liveliest_window(trained.quantized, test)
    x, y = test.x[chosen], test.y[chosen]
    if test.lengths is not None:
        steps = test.lengths[chosen]
        x, y = x[:steps], y[:steps] if trained.quantized.pooling == "each" else y
    write_arrays(folder / run_files.RECORDING, x=x, y=np.asarray(y))


def liveliest_window(model: QuantizedModel, test: Dataset) -> int:
    """The liveliest window (largest variance, in units of the model's input) that the model does well.

    That is one that it classifies right; else one with no more wrong steps, or no larger error, than most.
    """
    inside = test.inside[..., None]
    liveliness = (test.x / model.input_scale).var(axis=1, where=inside).sum(axis=1)
    wrong = _wrong(model, test)
    good = wrong <= (0 if test.y.ndim == 1 else np.median(wrong))
    return int(np.argmax(np.where(good, liveliness, -1.0)))


def _wrong(model: QuantizedModel, test: Dataset) -> NDArray[np.float64]:
    """How wrong a model is about each window, (windows,): share of wrong classes, or mean squared error."""
    if test.task == "classify":
        found = (predictions(model, test) != test.labels).astype(np.float64)
    else:
        found = ((outputs(model, test) - test.y) ** 2).mean(axis=-1)
    mask = counted(test, each=model.pooling == "each")
    return np.asarray(found.reshape(len(test), -1).mean(axis=1, where=mask.reshape(len(test), -1)))


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
    found: dict[str, Any] = {}
    if train.task == "regress":
        found |= {"errors": error_rows(runs, test)}
    else:
        found |= {"accuracy": accuracy_rows(runs, test), "confusion": _confusion(model, test)}
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
            task=train.task,
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
        curves=[_curve(run) for run in runs],
        shipped=ShippedInfo(gates=shipped.gates, seed=options.seed),
        recording=_recording(test),
        **found,
        **measured,
    )


def _recording(test: Dataset) -> str:
    """How ``liveliest_window`` chose."""
    if test.y.ndim == 1:
        return "the test window with the largest variance among those classified correctly"
    least = "classified best" if test.task == "classify" else "with the smallest errors"
    return f"the test window with the largest variance among the half {least}"


def _confusion(model: QuantizedModel, test: Dataset) -> list[list[int]]:
    confusion = np.zeros((len(test.classes), len(test.classes)), int)
    mask = counted(test, each=model.pooling == "each")
    np.add.at(confusion, (test.labels[mask], predictions(model, test)[mask]), 1)
    rows: list[list[int]] = confusion.tolist()
    return rows


def accuracy_rows(runs: Sequence[Run], test: Dataset) -> list[AccuracyRow]:
    """One row for each gate mode and form, with the accuracy of each seed."""

    def of(models: dict[int, FloatModel | QuantizedModel]) -> dict[int, float]:
        return {seed: accuracy(model, test) for seed, model in models.items()}

    return [
        AccuracyRow(model=f"{gates} gates, {form}", gates=gates, form=form, by_seed=of(models))
        for gates, form, models in _kinds(runs)
    ]


def error_rows(runs: Sequence[Run], test: Dataset) -> list[ErrorRow]:
    """One row for each gate mode and form of a regression, with the errors of each seed."""

    def of(models: dict[int, FloatModel | QuantizedModel]) -> dict[int, ErrorValues]:
        return {seed: ErrorValues(**asdict(errors(model, test))) for seed, model in models.items()}

    return [
        ErrorRow(model=f"{gates} gates, {form}", gates=gates, form=form, by_seed=of(models))
        for gates, form, models in _kinds(runs)
    ]


def _kinds(runs: Sequence[Run]) -> Iterator[tuple[str, GateForm, dict[int, FloatModel | QuantizedModel]]]:
    """Gate mode, form, and the model of each seed."""
    for gates in dict.fromkeys(run.gates for run in runs):
        group = [run for run in runs if run.gates == gates]
        yield gates, "float", {run.options.seed: run.trained.float_model for run in group}
        yield gates, "int8", {run.options.seed: run.trained.quantized for run in group}


def _curve(run: Run) -> Curve:
    epochs = run.trained.epochs
    measured = any(epoch.accuracy is not None for epoch in epochs)
    explained = [epoch.r2 for epoch in epochs if epoch.r2 is not None]
    return Curve(
        model=f"{run.gates} gates",
        seed=run.options.seed,
        epoch=[epoch.number for epoch in epochs],
        loss=[epoch.loss for epoch in epochs],
        accuracy=[epoch.accuracy for epoch in epochs] if measured else [],
        accuracy_on="validation windows" if measured else "",
        **({"r2": explained} if explained else {}),
    )


def write_results(folder: Path, found: Results) -> None:
    """Write ``results.json``."""
    write_text(folder / run_files.RESULTS, found.to_json())
