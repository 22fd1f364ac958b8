"""What a model finds on a data set, and how well: classes, outputs, accuracy, confusion and errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import run_float
from edge_lstm.metrics import Counts, accuracy_of, confusion_matrix, macro_f1
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.runtime import execute, real_outputs


def accuracy(model: FloatModel | QuantizedModel, dataset: Dataset) -> float:
    """Share of the windows, or of their steps, whose class a model finds.

    Raises:
        EdgeLstmError: The model is a regression, or the data set is for one.
    """
    right = predictions(model, dataset) == dataset.labels
    return float(right[counted(dataset, each=model.pooling == "each")].mean())


def predictions(model: FloatModel | QuantizedModel, dataset: Dataset) -> NDArray[np.int64]:
    """Class index of each window, (windows,); or of each step, (windows, steps).

    Raises:
        EdgeLstmError: The model is a regression.
    """
    if model.signature.task != "classify":
        raise EdgeLstmError(f"{model.signature.name} is a regression and finds no classes; accepted is a classifier")
    return np.concatenate([_classes(model, block) for block in dataset.blocks()])


def _classes(model: FloatModel | QuantizedModel, block: Dataset) -> NDArray[np.int64]:
    if isinstance(model, FloatModel):
        return run_float(model, block.x, lengths=block.lengths)["class_index"].astype(np.int64)
    found = execute(model, model.quantize_input(block.x), lengths=block.lengths).outputs
    return found["class_index"][..., 0].astype(np.int64)


def confusion(model: FloatModel | QuantizedModel, dataset: Dataset) -> Counts:
    """(classes, classes) windows, or steps of them, by true class (row) and predicted class (column).

    Raises:
        EdgeLstmError: The model is a regression, or the data set is for one.
    """
    mask = counted(dataset, each=model.pooling == "each")
    return confusion_matrix(dataset.labels[mask], predictions(model, dataset)[mask], len(dataset.classes))


@dataclass(frozen=True)
class Errors:
    """Of a regression, over all windows and steps that count.

    Attributes:
        mse: Mean squared error, in the square of the targets' unit.
        mae: Mean absolute error, in the targets' unit.
        r2: Coefficient of determination: 1 less the squared error in units of the targets' variance; the mean over the
            outputs whose targets vary, 0 where none does.
    """

    mse: float
    mae: float
    r2: float


def errors(model: FloatModel | QuantizedModel, dataset: Dataset) -> Errors:
    """Errors of a regression.

    Raises:
        EdgeLstmError: The model is a classifier, or the data set is for one.
    """
    if model.signature.task != "regress" or dataset.task != "regress":
        raise EdgeLstmError(f"errors of {model.signature.name} on {dataset.name}: accepted are regressions")
    mask = counted(dataset, each=model.pooling == "each")
    wanted = dataset.y[mask]
    wrong = outputs(model, dataset)[mask] - wanted
    around, variance = (wrong**2).mean(axis=0), wanted.var(axis=0)
    explained = 1 - around[variance > 0] / variance[variance > 0]
    r2 = float(explained.mean()) if explained.size else 0.0
    return Errors(mse=float((wrong**2).mean()), mae=float(np.abs(wrong).mean()), r2=r2)


def quality(model: FloatModel | QuantizedModel, dataset: Dataset) -> dict[str, float]:
    """``accuracy`` and ``macro_f1`` of a classifier; ``r2``, ``mae`` and ``mse`` of a regression."""
    if model.signature.task == "regress":
        found = errors(model, dataset)
        return {"r2": found.r2, "mae": found.mae, "mse": found.mse}
    counts = confusion(model, dataset)
    return {"accuracy": accuracy_of(counts), "macro_f1": macro_f1(counts)}


def outputs(model: FloatModel | QuantizedModel, dataset: Dataset) -> NDArray[np.float64]:
    """Logits, or the outputs of a regression in their unit; (windows, outputs) or (windows, steps, outputs)."""
    return np.concatenate([_scores(model, block) for block in dataset.blocks()])


def _scores(model: FloatModel | QuantizedModel, block: Dataset) -> NDArray[np.float64]:
    if isinstance(model, FloatModel):
        return run_float(model, block.x, lengths=block.lengths)["scores"]
    found = execute(model, model.quantize_input(block.x), lengths=block.lengths).outputs
    return np.asarray(real_outputs(model, found)["scores"], np.float64)


def counted(dataset: Dataset, *, each: bool) -> NDArray[np.bool_]:
    """Which of the targets count, (windows,) or (windows, steps): with outputs at ``each`` step none that is padding.

    Args:
        dataset: The data.
        each: The steps of the targets are those of the windows.
    """
    shape = dataset.y.shape if dataset.task == "classify" else dataset.y.shape[:-1]
    return dataset.inside if each else np.ones(shape, np.bool_)
