"""A set of labelled sensor windows: what every loader returns and the trainer takes.

A `Dataset` is checked once, when it is made, and never changes: whoever holds one holds finite float32 windows
with a class or targets each. What `y` holds says what is to be learned:

========= =========================== ==============================================================
y         shape                       task
========= =========================== ==============================================================
integers  (windows,)                  the class of each window
integers  (windows, steps)            a class for each step of the window, or of a decoder
floats    (windows, outputs)          a regression; (windows,) is one output
floats    (windows, steps, outputs)   a regression with targets for each step of the window, or of a decoder
========= =========================== ==============================================================

Cutting it up (`train_test`, `split`, `folds`) is in `edge_lstm.data.splits`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.signature import Task

FloatArray = NDArray[np.float32]
RealArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

BLOCK = 512  # windows that are evaluated at a time, so that memory does not grow with the recordings


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled windows of one sensor.

    `x` is converted to float32, labels, `groups` and `lengths` to int64, targets of a regression to float64; anything
    that conversion would change in kind (fractional subjects, complex samples) is refused with an `EdgeLstmError`
    that names what was found.
    """

    name: str
    x: FloatArray  # (windows, time, channels), in `units`
    y: IntArray | RealArray  # see above: indices into `classes`, or real targets
    classes: tuple[str, ...]  # names; of a regression, of its outputs
    channels: tuple[str, ...]
    units: tuple[str, ...]  # one per channel, such as "g" or "rad/s"; "" where unknown
    rate_hz: float | None = None  # samples per second and channel; None where unknown
    groups: IntArray | None = None  # (windows,), who was recorded (a subject, a patient); None where unknown
    is_test: BoolArray | None = None  # (windows,), the official test windows; None where no split is official
    lengths: IntArray | None = None  # (windows,), steps that count, the rest is padding; None: all do
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "x", _samples(self.name, self.x))
        for field in ("classes", "channels", "units"):
            put(self, field, _texts(self.name, field, getattr(self, field)))
        put(self, "y", self._labels())
        if self.groups is not None:
            put(self, "groups", self._per_window("groups", self.groups, "integers", np.int64))
        if self.is_test is not None:
            put(self, "is_test", self._per_window("is_test", self.is_test, "booleans", np.bool_))
        if self.lengths is not None:
            put(self, "lengths", self._per_window("lengths", self.lengths, "integers", np.int64))
            self._check_lengths(self.lengths)
        self._check_names()
        self._check_labels()
        if self.rate_hz is not None and not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise EdgeLstmError(f"{self.name}: rate_hz must be a positive number or None, found {self.rate_hz}")

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.x)

    @property
    def steps(self) -> int:
        """Samples per window and channel."""
        return int(self.x.shape[1])

    @property
    def task(self) -> Task:
        """Whether `y` holds classes or real targets."""
        return "classify" if self.y.dtype.kind == "i" else "regress"

    @property
    def labels(self) -> IntArray:
        """`y` where it holds classes.

        Raises:
            EdgeLstmError: It holds targets of a regression.
        """
        if self.task != "classify":
            raise EdgeLstmError(f"{self.name}: y holds targets of a regression; accepted are classes")
        return self.y.astype(np.int64)

    @property
    def target_steps(self) -> int | None:
        """Steps for each of which `y` has something; None where it has one thing for a window."""
        axes = 2 if self.task == "classify" else 3
        return int(self.y.shape[1]) if self.y.ndim == axes else None

    @property
    def inside(self) -> BoolArray:
        """Which steps count, (windows, time)."""
        if self.lengths is None:
            return np.ones(self.x.shape[:2], dtype=np.bool_)
        return np.asarray(np.arange(self.steps) < self.lengths[:, None])

    @property
    def strata(self) -> IntArray:
        """(windows,) what parts keep in balance: the class of a window, 0 where it has not just one."""
        return self.labels if self.y.ndim == 1 else np.zeros(len(self), dtype=np.int64)

    @property
    def counts(self) -> IntArray:
        """How often `y` holds each class, shape (classes,); 0 in a regression."""
        labels = self.labels.ravel() if self.task == "classify" else np.zeros(0, dtype=np.int64)
        return np.bincount(labels, minlength=len(self.classes)).astype(np.int64)

    def take(self, windows: NDArray[Any]) -> Dataset:
        """These windows only: `windows` is an array of indices or a mask of shape (windows,).

        The result carries no official split: whoever takes a part has decided what it is for.
        """
        return replace(
            self,
            x=self.x[windows],
            y=self.y[windows],
            groups=None if self.groups is None else self.groups[windows],
            is_test=None,
            lengths=None if self.lengths is None else self.lengths[windows],
        )

    def blocks(self, windows: int = BLOCK) -> Iterator[Dataset]:
        """The windows in their order, so many at a time; fewer in the last block."""
        for start in range(0, len(self), windows):
            yield self.take(np.arange(start, min(start + windows, len(self))))

    def _labels(self) -> IntArray | RealArray:
        """`y` in the type of its task, with as many axes as its kind has."""
        y = np.asarray(self.y)
        if not (np.issubdtype(y.dtype, np.integer) or np.issubdtype(y.dtype, np.floating)):
            raise EdgeLstmError(f"{self.name}: y must be integers (classes) or floats (targets), found {y.dtype}")
        classes = np.issubdtype(y.dtype, np.integer)
        if not classes and y.ndim == 1:
            y = y[:, None]
        accepted = (1, 2) if classes else (2, 3)
        if y.ndim not in accepted or len(y) != len(self.x) or 0 in y.shape:
            n = len(self.x)
            shapes = f"({n},) or ({n}, steps)" if classes else f"({n}, outputs) or ({n}, steps, outputs)"
            raise EdgeLstmError(f"{self.name}: y must have shape {shapes}, for the {n} windows of x, found {y.shape}")
        return y.astype(np.int64) if classes else y.astype(np.float64)

    def _per_window(self, field: str, values: Any, kind: str, dtype: type[np.generic]) -> NDArray[Any]:
        array = np.asarray(values)
        if not np.issubdtype(array.dtype, np.bool_ if dtype is np.bool_ else np.integer):
            raise EdgeLstmError(f"{self.name}: {field} must be {kind}, found {array.dtype}")
        if array.shape != (len(self.x),):
            raise EdgeLstmError(
                f"{self.name}: {field} must have shape ({len(self.x)},), one value per window of x, found {array.shape}"
            )
        return array.astype(dtype)

    def _check_names(self) -> None:
        width = self.x.shape[2]
        for field in ("channels", "units"):
            found = len(getattr(self, field))
            if found != width:
                raise EdgeLstmError(f"{self.name}: {field} must name the {width} channels of x, found {found} names")
        for field in ("channels", "classes"):
            names: tuple[str, ...] = getattr(self, field)
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise EdgeLstmError(f"{self.name}: {field} must differ from each other, found {twice[0]!r} twice")

    def _check_lengths(self, lengths: IntArray) -> None:
        outside = (lengths < 1) | (lengths > self.steps)
        if outside.any():
            window = int(outside.argmax())
            raise EdgeLstmError(
                f"{self.name}: lengths must be 1 to {self.steps}, found {lengths[window]} in window {window}"
            )

    def _check_labels(self) -> None:
        if not self.classes:
            raise EdgeLstmError(f"{self.name}: classes must hold at least one name, found none")
        if self.task == "regress":
            self._check_targets()
            return
        outside = (self.y < 0) | (self.y >= len(self.classes))
        if outside.any():
            where = tuple(int(i) for i in np.argwhere(outside)[0])
            raise EdgeLstmError(
                f"{self.name}: y must be an index into the {len(self.classes)} classes, "
                f"found {self.y[where]} in {_place(where, ('window', 'step'))}"
            )

    def _check_targets(self) -> None:
        if self.y.shape[-1] != len(self.classes):
            raise EdgeLstmError(
                f"{self.name}: classes must name the {self.y.shape[-1]} outputs of y, found {len(self.classes)} names"
            )
        bad = ~np.isfinite(self.y)
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            axes = ("window", "output") if self.y.ndim == 2 else ("window", "step", "output")
            raise EdgeLstmError(f"{self.name}: y must be finite, found {self.y[where]} in {_place(where, axes)}")


def _place(where: tuple[int, ...], axes: tuple[str, ...]) -> str:
    return ", ".join(f"{axis} {at}" for axis, at in zip(axes, where, strict=False))


def _texts(name: str, field: str, values: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise EdgeLstmError(f"{name}: {field} must be a sequence of names, found the single string {values!r}")
    return tuple(str(value) for value in values)


def _samples(name: str, values: Any) -> FloatArray:
    """`values` as float32 (windows, time, channels), all finite."""
    x = np.asarray(values)
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        raise EdgeLstmError(f"{name}: x must be real numbers, found {x.dtype}")
    if x.ndim != 3 or 0 in x.shape:
        raise EdgeLstmError(f"{name}: x must have shape (windows, time, channels), none of them 0, found {x.shape}")
    with np.errstate(over="ignore"):  # what does not fit a float32 becomes infinite and is refused below
        single = np.ascontiguousarray(x, dtype=np.float32)
    bad = ~np.isfinite(single)
    if bad.any():
        window, step, channel = (int(i) for i in np.unravel_index(int(bad.argmax()), x.shape))
        raise EdgeLstmError(
            f"{name}: x must be finite in float32, found {x[window, step, channel]} "
            f"in window {window}, step {step}, channel {channel}"
        )
    return single
