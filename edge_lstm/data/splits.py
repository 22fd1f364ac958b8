"""Cutting a `Dataset` into parts that share no subject.

A model that has seen a person's gait knows that person, not the activity. So wherever the subjects are known, the
unit that moves between parts is the subject; the classes are kept as balanced as whole subjects allow. Where they
are unknown the unit is the window, and every class is divided by itself. Windows without just one class are all alike.

Each function is a pure function of its arguments: the same seed gives the same parts on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_lstm.data.dataset import BoolArray, Dataset, FloatArray, IntArray
from edge_lstm.errors import EdgeLstmError


def train_test(dataset: Dataset, *, share: float = 0.3, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The official split where there is one (`share` and `seed` play no part then), else `split`.

    Raises `EdgeLstmError` if an official side is empty or a subject is on both sides of it.
    """
    if dataset.is_test is None:
        return split(dataset, share, seed)
    if dataset.is_test.all() or not dataset.is_test.any():
        side = "training" if dataset.is_test.all() else "test"
        raise EdgeLstmError(f"{dataset.name}: the official split has no {side} windows")
    if dataset.groups is not None:
        both = np.intersect1d(dataset.groups[dataset.is_test], dataset.groups[~dataset.is_test])
        if both.size:
            raise EdgeLstmError(f"{dataset.name}: subject {both[0]} is on both sides of the official split")
    return dataset.take(~dataset.is_test), dataset.take(dataset.is_test)


def split(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Hold out about `share` of the windows: (the rest, the held-out part), neither of them empty.

    With subjects: whole subjects, chosen so that the held-out count of each class is near its share. Without: at
    least one window of each class that has two or more.

    Raises `EdgeLstmError` if `share` is not between 0 and 1, if there is too little to divide, or if the official
    test windows are still inside.
    """
    _refuse_official(dataset, "split")
    if not 0 < share < 1:
        raise EdgeLstmError(f"share must be above 0 and below 1, found {share}")
    rng = np.random.default_rng(seed)
    if dataset.groups is None:
        held_out = _windows_out(dataset, share, rng)
    else:
        held_out = _subjects_out(dataset, dataset.groups, share, rng)
    return dataset.take(~held_out), dataset.take(held_out)


def folds(dataset: Dataset, k: int, seed: int) -> Iterator[tuple[Dataset, Dataset]]:
    """`k` pairs (training, validation); every window is in exactly one validation part.

    Raises `EdgeLstmError`, at the call, if there are fewer than `k` subjects (or windows, where subjects are
    unknown), or if the official test windows are still inside.
    """
    _refuse_official(dataset, "folds")
    available = len(dataset) if dataset.groups is None else len(np.unique(dataset.groups))
    if not 2 <= k <= available:
        unit = "windows" if dataset.groups is None else "subjects"
        raise EdgeLstmError(f"{dataset.name}: k must be 2 to {available}, the number of {unit}, found {k}")
    rng = np.random.default_rng(seed)
    groups = dataset.groups
    fold = _deal_windows(dataset, k, rng) if groups is None else _deal_subjects(dataset, groups, k, rng)
    return ((dataset.take(fold != i), dataset.take(fold == i)) for i in range(k))


def _refuse_official(dataset: Dataset, function: str) -> None:
    if dataset.is_test is not None and dataset.is_test.any():
        raise EdgeLstmError(
            f"{dataset.name}: {function} would mix the official test windows into training; "
            "pass the first part of train_test(dataset)"
        )


def _windows_out(dataset: Dataset, share: float, rng: np.random.Generator) -> BoolArray:
    """Mask (windows,): of n windows of a class, round(share n) are held out, at least 1 and at most n - 1."""
    held_out = np.zeros(len(dataset), dtype=np.bool_)
    for label in range(len(dataset.classes)):
        windows = rng.permutation(np.flatnonzero(dataset.strata == label))
        count = min(max(1, round(share * len(windows))), len(windows) - 1)
        held_out[windows[: max(0, count)]] = True
    if not held_out.any():
        raise EdgeLstmError(f"{dataset.name}: no class has two windows to divide")
    return held_out


def _subjects_out(dataset: Dataset, groups: IntArray, share: float, rng: np.random.Generator) -> BoolArray:
    """Mask (windows,): subjects in random order join while that brings the class counts nearer to their shares."""
    subjects, rows, counts = _subject_counts(dataset, groups)
    if len(subjects) < 2:
        raise EdgeLstmError(f"{dataset.name}: a split by subject needs two subjects, found {len(subjects)}")
    missing = share * counts.sum(0)  # (classes,), windows still wanted
    chosen = np.zeros(len(subjects), dtype=np.bool_)
    order = rng.permutation(len(subjects))
    for subject in order:
        left = missing - counts[subject]
        if left @ left < missing @ missing and chosen.sum() < len(subjects) - 1:
            chosen[subject] = True
            missing = left
    if not chosen.any():  # a share smaller than any subject: the one that overshoots least
        excess = ((missing - counts[order]) ** 2).sum(1)
        chosen[order[excess.argmin()]] = True
    return np.asarray(chosen[rows])


def _deal_windows(dataset: Dataset, k: int, rng: np.random.Generator) -> IntArray:
    """Fold (windows,): the shuffled windows, class after class, dealt like cards."""
    order = np.concatenate(
        [rng.permutation(np.flatnonzero(dataset.strata == label)) for label in range(len(dataset.classes))]
    )
    fold = np.empty(len(dataset), dtype=np.int64)
    fold[order] = np.arange(len(dataset)) % k
    return fold


def _deal_subjects(dataset: Dataset, groups: IntArray, k: int, rng: np.random.Generator) -> IntArray:
    """Fold (windows,): large subjects first, each to the fold that holds least of the classes it brings.

    Adding s to a fold that holds a raises the sum of squared class shares by 2 a·s / total² plus a constant, so
    the fold with the smallest a·s / total² is taken; ties, and so the first k subjects, go to the smallest fold.
    """
    subjects, rows, counts = _subject_counts(dataset, groups)
    weight = 1 / np.maximum(counts.sum(0), 1) ** 2  # (classes,)
    held = np.zeros((k, counts.shape[1]))  # (folds, classes)
    fold_of = np.empty(len(subjects), dtype=np.int64)
    order = rng.permutation(len(subjects))
    for subject in order[np.argsort(-counts[order].sum(1), kind="stable")]:
        overlap = held @ (counts[subject] * weight)
        fold = np.lexsort((held.sum(1), overlap))[0]
        held[fold] += counts[subject]
        fold_of[subject] = fold
    return np.asarray(fold_of[rows])


def _subject_counts(dataset: Dataset, groups: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
    """The subjects (subjects,), the row of each window's subject (windows,), windows (subjects, classes)."""
    subjects, rows = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(subjects), len(dataset.classes)), dtype=np.float32)
    np.add.at(counts, (rows, dataset.strata), 1)
    return subjects, rows, counts
