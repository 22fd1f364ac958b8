"""``View``: a tensor of a file as a value of the graph, with its axes in the file's order.

In the graph a value is (windows, steps, features) or (windows, features). In a file the axes stand in any order, the
features may be several axes, and there are axes of length 1. Transposing, reshaping and squeezing change the view and
compute nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.importing.errors import LayoutError


@dataclass(frozen=True, eq=False)
class Features:
    """An axis of features, of so many. Two axes of one length are not the same axis."""

    size: int


Axis = str | Features
"""``B`` windows, ``T`` steps, ``BT`` both, ``1`` an axis of length 1, or features."""


@dataclass(frozen=True)
class View:
    """A value of the graph as a tensor of the file.

    Attributes:
        node: Whose value it is.
        axes: In the file's order.
        features: The axes of features, in the order in which the value has them.
        batch, steps: Lengths with which shapes are computed.
    """

    node: int
    axes: tuple[Axis, ...]
    features: tuple[Features, ...]
    batch: int
    steps: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return tuple(self.length(axis) for axis in self.axes)

    @property
    def width(self) -> int:
        """All features."""
        return math.prod(f.size for f in self.features)

    @property
    def in_order(self) -> bool:
        """Whether the axes of features stand in the order of the value's features."""
        visible = [axis for axis in self.axes if isinstance(axis, Features)]
        return visible == [f for f in self.features if f in visible]

    def length(self, axis: Axis) -> int:
        """Of an axis."""
        if isinstance(axis, Features):
            return axis.size
        return {"B": self.batch, "T": self.steps, "BT": self.batch * self.steps, "1": 1}[axis]

    def at(self, axis: int) -> int:
        """An axis counted from the front, of one that may be counted from the back."""
        if not -len(self.axes) <= axis < len(self.axes):
            raise LayoutError(f"axis {axis} of a tensor of {len(self.axes)} axes")
        return axis % len(self.axes)

    def transposed(self, order: Sequence[int]) -> View:
        """With the axes in another order."""
        if sorted(order) != list(range(len(self.axes))):
            raise LayoutError(f"the order of axes {list(order)} of a tensor of {len(self.axes)} axes")
        return replace(self, axes=tuple(self.axes[k] for k in order))

    def squeezed(self, axes: Sequence[int] | None) -> View:
        """Without axes of length 1: those, or all. A value keeps its windows and steps, where a file hides them."""
        if axes is None:
            gone = {k for k, axis in enumerate(self.axes) if axis == "1" or _is_one(axis)}
        else:
            gone = {self.at(k) for k in axes}
        if any(self.length(self.axes[k]) != 1 for k in gone):
            raise LayoutError(f"axes {sorted(gone)} of {self.shape} are squeezed, and have not all the length 1")
        rest = tuple(axis for k, axis in enumerate(self.axes) if k not in gone)
        return replace(self, axes=rest, features=tuple(f for f in self.features if f in rest))

    def unsqueezed(self, axes: Sequence[int]) -> View:
        """With more axes of length 1, at these places of the result."""
        rank = len(self.axes) + len(axes)
        places = {k % rank for k in axes if -rank <= k < rank}
        if len(places) != len(axes):
            raise LayoutError(f"axes {list(axes)} are inserted into {self.shape}")
        rest = iter(self.axes)
        return replace(self, axes=tuple("1" if k in places else next(rest) for k in range(rank)))

    def reshaped(self, shape: Sequence[int]) -> View:
        """With another shape of as many elements, in which neither windows nor steps are mixed with features."""
        if math.prod(shape) != math.prod(self.shape):
            raise LayoutError(f"{self.shape} is reshaped to {tuple(shape)}")
        if self.batch == 1 and [n for n in shape if n != 1] == [n for n in self.shape if n != 1]:
            return self._with_ones_at(shape)
        axes, changed = list[Axis](), dict[Features, list[Features]]()
        old, new = [axis for axis in self.axes if axis != "1"], list(shape)
        while old or new:
            group, lengths = old[:1], new[:1]
            while math.prod(map(self.length, group)) != math.prod(lengths):
                if math.prod(map(self.length, group)) < math.prod(lengths):
                    group = old[: len(group) + 1]
                else:
                    lengths = new[: len(lengths) + 1]
            old, new = old[len(group) :], new[len(lengths) :]
            axes += self._regrouped(group, lengths, changed)
        features = [part for f in self.features for part in changed.get(f, [f])]
        return replace(self, axes=tuple(axes), features=tuple(features))

    def _with_ones_at(self, shape: Sequence[int]) -> View:
        """With the axes of length 1 elsewhere; those that mean something come first."""
        long = iter([axis for axis in self.axes if self.length(axis) != 1])
        short = iter([axis for axis in self.axes if self.length(axis) == 1 and axis != "1"])
        axes = tuple(next(long) if n != 1 else next(short, "1") for n in shape)
        return replace(self, axes=axes, features=tuple(f for f in self.features if f in axes))

    def _regrouped(self, group: list[Axis], lengths: list[int], changed: dict[Features, list[Features]]) -> list[Axis]:
        """The axes of these lengths that take the place of ``group``; collects what becomes of axes of features."""
        numbers = [axis for axis in group if isinstance(axis, Features)]
        if len(numbers) == len(group) > 0:
            first = self.features.index(numbers[0])
            if tuple(numbers) == self.features[first : first + len(numbers)]:
                made = [Features(n) for n in lengths]
                changed |= {f: made if f is numbers[0] else [] for f in numbers}
                return list(made)
        changed |= {axis: [] for axis in numbers if axis.size == 1}
        group = [axis for axis in group if not _is_one(axis)]
        if group == ["B", "T"] and len(lengths) == 1:
            return ["BT"]
        parts: list[Axis] = ["B", "T"] if group == ["BT"] else list(group)
        found: list[Axis] = []
        for n in lengths:
            found.append(parts.pop(0) if parts and self.length(parts[0]) == n else "1")
        if any(self.length(axis) != 1 for axis in parts) or [self.length(axis) for axis in found] != lengths:
            words = " and ".join("features" if isinstance(axis, Features) else _WORDS[axis] for axis in group)
            raise LayoutError(f"a reshape of {self.shape} to {lengths} mixes {words or 'nothing'}")
        return found

    def render(self, value: NDArray[Any]) -> NDArray[Any]:
        """The tensor, of the value (windows, steps, features) or (windows, features)."""
        windows, *steps, _ = value.shape
        names: list[Axis] = ["B", *(["T"] if steps else []), *self.features]
        whole = value.reshape(windows, *steps, *(f.size for f in self.features))
        wanted: list[Axis] = []
        for axis in self.axes:
            wanted += ["B", "T"] if axis == "BT" else [] if axis == "1" else [axis]
        hidden = [axis for axis in names if axis not in wanted]
        lengths = dict(zip(names, whole.shape, strict=True))
        if any(lengths[axis] != 1 for axis in hidden):
            raise LayoutError(f"{whole.shape} is more than one window, or one step, and the file takes one")
        moved = whole.transpose([names.index(axis) for axis in (*hidden, *wanted)])
        lengths |= {"1": 1, "BT": windows * math.prod(steps)}
        return np.asarray(moved.reshape([lengths[axis] for axis in self.axes]))


_WORDS = {"B": "windows", "T": "steps", "BT": "windows and steps", "1": "an axis of length 1"}


def _is_one(axis: Axis) -> bool:
    return isinstance(axis, Features) and axis.size == 1
