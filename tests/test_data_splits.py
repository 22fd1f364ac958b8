"""Parts cover every window once and share no subject."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.data import Dataset, folds, split, train_test
from edge_lstm.errors import EdgeLstmError


def dataset(y: Any, **changes: Any) -> Dataset:
    """Windows of one sample, which is the window's number, so that every part can be traced."""
    labels = np.asarray(y)
    return Dataset(
        name="toy",
        x=np.arange(len(labels)).reshape(-1, 1, 1),
        y=labels,
        classes=tuple(str(i) for i in range(int(labels.max()) + 1)),
        channels=("number",),
        units=("",),
        **changes,
    )


def numbers(part: Dataset) -> list[int]:
    return [int(number) for number in part.x.ravel()]


def subjects(part: Dataset) -> set[int]:
    assert part.groups is not None
    return set(part.groups.tolist())


def recordings(subjects_needed: int) -> st.SearchStrategy[Dataset]:
    """Any windows of one to four classes by at least so many subjects."""
    window = st.tuples(st.integers(0, 3), st.integers(0, 9))
    enough = st.lists(window, min_size=subjects_needed, max_size=60).filter(
        lambda rows: len({subject for _, subject in rows}) >= subjects_needed
    )
    return enough.map(lambda rows: dataset([y for y, _ in rows], groups=np.array([subject for _, subject in rows])))


@given(recordings(2), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_split_by_subject(data: Dataset, share: float, seed: int) -> None:
    rest, held_out = split(data, share, seed)
    assert len(rest)
    assert len(held_out)
    assert not subjects(rest) & subjects(held_out)
    assert sorted(numbers(rest) + numbers(held_out)) == list(range(len(data)))


@given(recordings(3), st.integers(2, 3), st.integers(0, 2**32))
def test_folds_by_subject(data: Dataset, k: int, seed: int) -> None:
    pairs = list(folds(data, k, seed))
    for training, validation in pairs:
        assert not subjects(training) & subjects(validation)
        assert sorted(numbers(training) + numbers(validation)) == list(range(len(data)))
    assert sorted(n for _, validation in pairs for n in numbers(validation)) == list(range(len(data)))
    assert len(pairs) == k
    assert all(len(training) and len(validation) for training, validation in pairs)


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.floats(0.1, 0.9), st.integers(0, 2**32))
def test_split_by_class_where_subjects_are_unknown(y: list[int], share: float, seed: int) -> None:
    data = dataset(y)
    rest, held_out = split(data, share, seed)
    assert sorted(numbers(rest) + numbers(held_out)) == list(range(len(data)))
    for count, out in zip(data.counts.tolist(), held_out.counts.tolist(), strict=True):
        assert out == (min(max(1, round(share * count)), count - 1) if count else 0)


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.integers(2, 8), st.integers(0, 2**32))
def test_folds_by_class_where_subjects_are_unknown(y: list[int], k: int, seed: int) -> None:
    counts = np.array([validation.counts for _, validation in folds(dataset(y), k, seed)])
    assert (counts.max(0) - counts.min(0) <= 1).all()
    assert np.ptp(counts.sum(1)) <= 1


def test_classes_stay_balanced_over_subjects() -> None:
    """Twelve subjects with both classes in unlike amounts: a third of the subjects holds a third of each class."""
    y = np.concatenate([[0] * (3 + s) + [1] * (14 - s) for s in range(12)])
    groups = np.repeat(np.arange(12), 17)
    data = dataset(y, groups=groups)
    for part in (split(data, 1 / 3, seed=0)[1], *(validation for _, validation in folds(data, 3, seed=0))):
        assert np.abs(part.counts / data.counts - 1 / 3).max() < 0.1


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(4), 3)])
@pytest.mark.parametrize("y", [np.zeros((12, 1, 2)), np.linspace(0, 1, 12), np.arange(24).reshape(12, 2) % 3])
def test_windows_without_one_class_are_divided_and_keep_their_lengths(y: Any, groups: Any) -> None:
    x, lengths = np.arange(48.0).reshape(12, 4, 1), np.arange(12) % 4 + 1
    classes = tuple("pqr"[: 3 if y.dtype.kind == "i" else y[0].size])
    names: dict[str, Any] = {"classes": classes, "channels": ("a",), "units": ("",)}
    data = Dataset(name="toy", x=x, y=y, lengths=lengths, groups=groups, **names)
    pairs = [split(data, 0.25, 3), *folds(data, 4, 3)]
    for rest, held_out in pairs:
        assert (len(rest), len(held_out)) == (9, 3)
        for part in (rest, held_out):
            assert part.lengths is not None
            assert part.lengths.tolist() == (part.x[:, 0, 0].astype(int) // 4 % 4 + 1).tolist()


def test_same_seed_same_parts() -> None:
    data = dataset([0, 1] * 20)
    assert numbers(split(data, 0.5, 1)[1]) == numbers(split(data, 0.5, 1)[1])
    assert numbers(split(data, 0.5, 1)[1]) != numbers(split(data, 0.5, 2)[1])


def test_official_split_wins() -> None:
    training, test = train_test(dataset([0, 1, 0, 1], is_test=np.array([True, False, False, True])))
    assert (numbers(training), numbers(test)) == ([1, 2], [0, 3])


def test_train_test_by_subject_without_an_official_split() -> None:
    data = dataset([0, 1] * 10, groups=np.repeat(np.arange(5), 4))
    training, test = train_test(data, share=0.2, seed=3)
    assert (len(subjects(training)), len(subjects(test))) == (4, 1)


def test_refused() -> None:
    official = dataset([0, 1, 0, 1], is_test=np.array([False, True, False, True]), groups=np.array([1, 2, 2, 3]))
    plain = dataset([0, 1, 0, 1])
    alone = dataset([0, 1], groups=np.array([7, 7]))
    message = "toy: {} would mix the official test windows into training; pass the first part of train_test"
    with pytest.raises(EdgeLstmError, match="^" + message.format("split")):
        split(official, 0.5, 0)
    with pytest.raises(EdgeLstmError, match="^" + message.format("folds")):
        folds(official, 2, 0)
    with pytest.raises(EdgeLstmError, match=r"^toy: subject 2 is on both sides of the official split$"):
        train_test(official)
    with pytest.raises(EdgeLstmError, match=r"^toy: the official split has no test windows$"):
        train_test(dataset([0, 1], is_test=np.array([False, False])))
    with pytest.raises(EdgeLstmError, match=r"^toy: the official split has no training windows$"):
        train_test(dataset([0, 1], is_test=np.array([True, True])))
    with pytest.raises(EdgeLstmError, match=r"^share must be above 0 and below 1, found 1\.0$"):
        split(plain, 1.0, 0)
    with pytest.raises(EdgeLstmError, match=r"^toy: no class has two windows to divide$"):
        split(dataset([0, 1]), 0.5, 0)
    with pytest.raises(EdgeLstmError, match=r"^toy: a split by subject needs two subjects, found 1$"):
        split(alone, 0.5, 0)
    with pytest.raises(EdgeLstmError, match=r"^toy: k must be 2 to 1, the number of subjects, found 2$"):
        folds(alone, 2, 0)
    with pytest.raises(EdgeLstmError, match=r"^toy: k must be 2 to 4, the number of windows, found 5$"):
        folds(plain, 5, 0)
