"""How well a classifier does, from its confusion matrix.

In NumPy: these are a few quotients of counts, and scikit-learn, with which the tests compare them, is more than ten
times as large as what else a training needs beside PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScores:
    """Of each class; 0 where a quotient has no denominator.

    Attributes:
        precision: (classes,) share of what was predicted to be of the class that is.
        recall: (classes,) share of what is of the class that was predicted to be.
        f1: (classes,) their harmonic mean.
        support: (classes,) how many are of the class.
    """

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    support: Counts


def confusion_matrix(labels: NDArray[Any], found: NDArray[Any], classes: int) -> Counts:
    """(classes, classes) counts by true class (row) and predicted class (column).

    Args:
        labels, found: Class indices, of the same shape.
        classes: How many there are.
    """
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, found), 1)
    return confusion


def class_scores(confusion: Counts) -> ClassScores:
    """Precision, recall and F1 of each class."""
    right, found, support = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return ClassScores(
        _quotient(right, found), _quotient(right, support), _quotient(2 * right, found + support), support
    )


def accuracy_of(confusion: Counts) -> float:
    """Share on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: Counts) -> float:
    """Mean F1 over the classes that occur, as true or as predicted class; each counts alike, however rare."""
    occurs = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(class_scores(confusion).f1[occurs].mean())


def _quotient(count: Counts, of: Counts) -> FloatArray:
    return np.divide(count, of, out=np.zeros(len(of)), where=of > 0)
