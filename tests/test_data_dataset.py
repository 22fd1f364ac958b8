"""`Dataset` accepts what is sound and names what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError


def dataset(**changes: Any) -> Dataset:
    """Four windows of two steps and three channels, in two classes, with `changes`."""
    fields: dict[str, Any] = {
        "name": "toy",
        "x": np.arange(24.0).reshape(4, 2, 3),
        "y": np.array([0, 1, 0, 1]),
        "classes": ("still", "moving"),
        "channels": ("acc_x", "acc_y", "acc_z"),
        "units": ("g", "g", "g"),
        "rate_hz": 50.0,
    }
    return Dataset(**(fields | changes))


def with_sample(value: float) -> Any:
    x = np.zeros((4, 2, 3))
    x[2, 1, 0] = value
    return x


def with_target(value: float) -> Any:
    y = np.zeros((4, 2, 2))
    y[3, 1, 0] = value
    return y


@pytest.mark.parametrize(
    ("y", "task", "steps", "shape"),
    [
        (np.zeros(4, np.uint8), "classify", None, (4,)),
        (np.zeros((4, 2), int), "classify", 2, (4, 2)),
        (np.zeros((4, 7), int), "classify", 7, (4, 7)),
        (np.zeros((4, 2)), "regress", None, (4, 2)),
        (np.zeros((4, 5, 2), np.float32), "regress", 5, (4, 5, 2)),
    ],
)
def test_what_y_holds_is_the_task(y: Any, task: str, steps: int | None, shape: tuple[int, ...]) -> None:
    made = dataset(y=y)
    assert (made.task, made.target_steps, made.y.shape) == (task, steps, shape)
    assert made.y.dtype == (np.int64 if task == "classify" else np.float64)
    assert made.strata.shape == (4,)


def test_one_output_needs_no_axis() -> None:
    made = dataset(y=np.array([0.5, 1.0, 2.0, 4.0]), classes=("level",))
    assert (made.task, made.y.tolist()) == ("regress", [[0.5], [1.0], [2.0], [4.0]])


def test_lengths_say_which_steps_count_and_go_with_their_windows() -> None:
    made = dataset(lengths=np.array([2, 1, 2, 1], np.uint8))
    assert made.inside.tolist() == [[True, True], [True, False]] * 2
    assert made.take(np.array([1, 2])).lengths.tolist() == [1, 2]
    assert dataset().inside.all()


def test_conversion() -> None:
    made = dataset(y=np.array([0, 1, 0, 1], dtype=np.uint8), groups=np.array([1, 1, 2, 2], dtype=np.int8))
    assert (made.x.dtype, made.y.dtype) == (np.float32, np.int64)
    assert made.groups is not None
    assert made.groups.dtype == np.int64
    assert (len(made), made.steps) == (4, 2)
    assert made.counts.tolist() == [2, 2]


def test_take_by_mask_and_by_index() -> None:
    made = dataset(groups=np.array([1, 2, 3, 4]), is_test=np.array([False, True, False, True]))
    for which in (np.array([False, True, False, True]), np.array([1, 3])):
        part = made.take(which)
        assert part.groups is not None
        assert (part.x.tolist(), part.y.tolist()) == (made.x[[1, 3]].tolist(), [1, 1])
        assert (part.groups.tolist(), part.is_test) == ([2, 4], None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x": np.zeros((4, 2))},
            r"toy: x must have shape \(windows, time, channels\), .* found \(4, 2\)",
        ),
        ({"x": np.zeros((4, 0, 3))}, r"toy: x must .*, none of them 0, found \(4, 0, 3\)"),
        ({"x": np.zeros((4, 2, 3), dtype=complex)}, "toy: x must be real numbers, found complex128"),
        ({"x": with_sample(np.nan)}, "toy: x must be finite in float32, found nan in window 2, step 1, channel 0"),
        ({"x": with_sample(-np.inf)}, "toy: x must be finite in float32, found -inf in window 2, step 1, channel 0"),
        ({"x": with_sample(1e39)}, r"toy: x must be finite in float32, found 1e\+39 in window 2, step 1, channel 0"),
        (
            {"y": np.array([0, 1])},
            r"toy: y must have shape \(4,\) or \(4, steps\), for the 4 windows of x, found \(2,\)",
        ),
        (
            {"y": np.zeros((4, 2, 2, 2))},
            r"toy: y must have shape \(4, outputs\) or \(4, steps, outputs\), for the 4 windows of x, .*",
        ),
        ({"y": np.zeros((4, 0), int)}, r"toy: y must have shape .*, found \(4, 0\)"),
        ({"y": np.array(["a"] * 4)}, r"toy: y must be integers \(classes\) or floats \(targets\), found <U1"),
        ({"y": np.array([0.0, 1.0, 0.0, 1.0])}, "toy: classes must name the 1 outputs of y, found 2 names"),
        ({"y": np.full((4, 2), np.nan)}, "toy: y must be finite, found nan in window 0, output 0"),
        ({"y": with_target(np.inf)}, "toy: y must be finite, found inf in window 3, step 1, output 0"),
        (
            {"y": np.array([[0, 1], [1, 1], [0, 2], [0, 0]])},
            "toy: y must be an index into the 2 classes, found 2 in window 2, step 1",
        ),
        ({"lengths": np.array([1, 2, 2])}, r"toy: lengths must have shape \(4,\), .*, found \(3,\)"),
        ({"lengths": np.array([1.0, 2, 2, 2])}, "toy: lengths must be integers, found float64"),
        ({"lengths": np.array([1, 2, 3, 2])}, "toy: lengths must be 1 to 2, found 3 in window 2"),
        ({"lengths": np.array([1, 2, 2, 0])}, "toy: lengths must be 1 to 2, found 0 in window 3"),
        ({"y": np.array([0, 1, 2, 1])}, "toy: y must be an index into the 2 classes, found 2 in window 2"),
        ({"y": np.array([0, 1, 0, -1])}, "toy: y must be an index into the 2 classes, found -1 in window 3"),
        ({"groups": np.array([1, 2, 3])}, r"toy: groups must have shape \(4,\), .*, found \(3,\)"),
        ({"groups": np.array([1.0, 2, 3, 4])}, "toy: groups must be integers, found float64"),
        ({"is_test": np.array([0, 1, 0, 1])}, "toy: is_test must be booleans, found int64"),
        ({"channels": ("a", "b")}, "toy: channels must name the 3 channels of x, found 2 names"),
        ({"channels": ("a", "b", "a")}, "toy: channels must differ from each other, found 'a' twice"),
        ({"units": ("g",)}, "toy: units must name the 3 channels of x, found 1 names"),
        ({"units": "ggg"}, "toy: units must be a sequence of names, found the single string 'ggg'"),
        ({"classes": ()}, "toy: classes must hold at least one name, found none"),
        ({"classes": ("a", "a")}, "toy: classes must differ from each other, found 'a' twice"),
        ({"rate_hz": 0.0}, r"toy: rate_hz must be a positive number or None, found 0\.0"),
        ({"rate_hz": float("nan")}, "toy: rate_hz must be a positive number or None, found nan"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeLstmError, match=f"^{message}$"):
        dataset(**changes)


def test_blocks_are_the_windows_in_order() -> None:
    data = dataset(lengths=np.array([1, 2, 2, 1]), groups=np.array([5, 6, 7, 8]))
    blocks = list(data.blocks(3))
    assert [len(block) for block in blocks] == [3, 1]
    for field in ("x", "y", "lengths", "groups"):
        assert np.array_equal(np.concatenate([getattr(block, field) for block in blocks]), getattr(data, field))
    assert [len(block) for block in data.blocks()] == [4]
