"""A set of labelled sensor windows: what every loader returns and the trainer takes.

A `Dataset` is checked once, when it is made, and never changes: whoever holds one holds finite float32 windows
with a class each. Cutting it up (`train_test`, `split`, `folds`) is in `edge_lstm.data.splits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled windows of one sensor, all of one length.

    `x` is converted to float32 and `y`, `groups` to int64; anything that conversion would change in kind
    (fractional labels, complex samples) is refused with an `EdgeLstmError` that names what was found.
    """

    name: str
    x: FloatArray  # (windows, time, channels), in `units`
    y: IntArray  # (windows,), indices into `classes`
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]  # one per channel, such as "g" or "rad/s"; "" where unknown
    rate_hz: float | None = None  # samples per second and channel; None where unknown
    groups: IntArray | None = None  # (windows,), who was recorded (a subject, a patient); None where unknown
    is_test: BoolArray | None = None  # (windows,), the official test windows; None where no split is official
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "x", _samples(self.name, self.x))
        for field in ("classes", "channels", "units"):
            put(self, field, _texts(self.name, field, getattr(self, field)))
        put(self, "y", self._per_window("y", self.y, "integers", np.int64))
        if self.groups is not None:
            put(self, "groups", self._per_window("groups", self.groups, "integers", np.int64))
        if self.is_test is not None:
            put(self, "is_test", self._per_window("is_test", self.is_test, "booleans", np.bool_))
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
    def counts(self) -> IntArray:
        """Windows of each class, shape (classes,)."""
        return np.bincount(self.y, minlength=len(self.classes)).astype(np.int64)

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
        )

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

    def _check_labels(self) -> None:
        if not self.classes:
            raise EdgeLstmError(f"{self.name}: classes must hold at least one name, found none")
        outside = (self.y < 0) | (self.y >= len(self.classes))
        if outside.any():
            window = int(outside.argmax())
            raise EdgeLstmError(
                f"{self.name}: y must be an index into the {len(self.classes)} classes, "
                f"found {self.y[window]} in window {window}"
            )


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
