"""What a training run leaves in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm import run_files, storage
from edge_lstm.data import Dataset
from edge_lstm.evaluation import confusion, counted, errors, outputs, predictions
from edge_lstm.files import write_text
from edge_lstm.gates import format_gates
from edge_lstm.metrics import Counts, accuracy_of, class_scores, macro_f1
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.npz import write_arrays
from edge_lstm.report.results import (
    AccuracyRow,
    ClassScore,
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
from edge_lstm.training import Trained

FORMS: tuple[GateForm, ...] = ("float", "int8")


@dataclass(frozen=True)
class Run:
    """A recipe and what came of it."""

    options: TrainOptions
    trained: Trained

    @property
    def gates(self) -> str:
        """Shortest specification of the gate modes."""
        return format_gates(self.options.modes)

    def model(self, form: GateForm) -> FloatModel | QuantizedModel:
        """In one of ``FORMS``."""
        return self.trained.float_model if form == "float" else self.trained.quantized


def best_run(runs: Sequence[Run]) -> Run:
    """The one that did best on its validation windows; the first where there are none, or several did."""
    return max(runs, key=lambda run: -np.inf if run.trained.measure is None else run.trained.measure)


def write_model(folder: Path, trained: Trained) -> None:
    """The models of a training, in the forms in which they are kept."""
    from edge_lstm.export.onnx_float import write

    trained.quantized.save(folder / run_files.MODEL)
    storage.save(trained.float_model, folder / run_files.FLOAT)
    write(trained.float_model, folder / run_files.ONNX)


def write_models(folder: Path, shipped: Run, test: Dataset) -> None:
    """The models of a run, the test windows, and one of them for the gate raster."""
    trained = shipped.trained
    write_model(folder, trained)
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


def results(
    title: str,
    train: Dataset,
    test: Dataset,
    runs: Sequence[Run],
    shipped: Run,
    *,
    started_from: str = "",
    **measured: Any,
) -> Results:
    """What is written to ``results.json``.

    Args:
        title: Of the run.
        train, test: The data.
        runs: All trainings, the shipped one among them.
        shipped: Whose integers are ``model.elstm``.
        started_from: Digest of the float model whose weights the trainings began with; "" where they were random.
        measured: ``verify`` and ``simulate``, where they were done.
    """
    model = shipped.trained.quantized
    found: dict[str, Any] = {}
    if train.task == "regress":
        found |= {"errors": error_rows(runs, test)}
    else:
        found |= _of_classes(runs, shipped, test)
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
            **({"started_from": started_from} if started_from else {}),
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


def _of_classes(runs: Sequence[Run], shipped: Run, test: Dataset) -> dict[str, Any]:
    """What ``Results`` says of a classifier."""
    found = {(*_name(run), form): confusion(run.model(form), test) for run, form in product(runs, FORMS)}
    rows = [
        AccuracyRow(
            model=f"{gates} gates, {form}",
            gates=gates,
            form=form,
            by_seed={run.options.seed: accuracy_of(found[(*_name(run), form)]) for run in group},
            macro_f1={run.options.seed: macro_f1(found[(*_name(run), form)]) for run in group},
        )
        for gates, group in _by_gates(runs).items()
        for form in FORMS
    ]
    of_shipped = {form: found[(*_name(shipped), form)] for form in FORMS}
    return {
        "accuracy": rows,
        "confusion": of_shipped["int8"].tolist(),
        "confusion_float": of_shipped["float"].tolist(),
        "by_class": {form: _class_scores(of_shipped[form], test.classes) for form in FORMS},
    }


def _name(run: Run) -> tuple[str, int]:
    """Which of the runs: its gates and seed."""
    return run.gates, run.options.seed


def _class_scores(counts: Counts, classes: Sequence[str]) -> list[ClassScore]:
    scores = class_scores(counts)
    columns = (scores.precision.tolist(), scores.recall.tolist(), scores.f1.tolist(), scores.support.tolist())
    return [
        ClassScore(name=name, precision=precision, recall=recall, f1=f1, support=support)
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    ]


def error_rows(runs: Sequence[Run], test: Dataset) -> list[ErrorRow]:
    """One row for each gate mode and form of a regression, with the errors of each seed."""
    return [
        ErrorRow(
            model=f"{gates} gates, {form}",
            gates=gates,
            form=form,
            by_seed={run.options.seed: ErrorValues(**asdict(errors(run.model(form), test))) for run in group},
        )
        for gates, group in _by_gates(runs).items()
        for form in FORMS
    ]


def _by_gates(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each gate mode."""
    return {gates: [run for run in runs if run.gates == gates] for gates in dict.fromkeys(run.gates for run in runs)}


def _curve(run: Run) -> Curve:
    epochs = run.trained.epochs
    measured = any(epoch.accuracy is not None for epoch in epochs)
    explained = [epoch.r2 for epoch in epochs if epoch.r2 is not None]
    f1 = [epoch.macro_f1 for epoch in epochs if epoch.macro_f1 is not None]
    validation = [epoch.validation_loss for epoch in epochs if epoch.validation_loss is not None]
    return Curve(
        model=f"{run.gates} gates",
        seed=run.options.seed,
        epoch=[epoch.number for epoch in epochs],
        loss=[epoch.loss for epoch in epochs],
        accuracy=[epoch.accuracy for epoch in epochs] if measured else [],
        accuracy_on="validation windows" if measured else "",
        **({"r2": explained} if explained else {}),
        **({"macro_f1": f1} if f1 else {}),
        **({"validation_loss": validation} if validation else {}),
    )


def write_results(folder: Path, found: Results) -> None:
    """Write ``results.json``."""
    write_text(folder / run_files.RESULTS, found.to_json())
