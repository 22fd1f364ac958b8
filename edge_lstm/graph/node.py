"""What every node of a graph is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Of a value.

    Attributes:
        width: Features.
        steps: Whether it has an axis of steps.
    """

    width: int
    steps: bool

    def __str__(self) -> str:
        return f"(windows, {'steps, ' if self.steps else ''}{self.width})"


class Node(Protocol):
    """A node of a graph."""

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the nodes that it reads."""

    @property
    def shape(self) -> Callable[..., Shape]:
        """Of its value, from those of its sources; raises `EdgeLstmError` where these don't fit."""

    @property
    def compute(self) -> Callable[..., Any]:
        """Its value, from those of its sources."""


_SOURCES = ("source", "left", "right", "lengths", "mask", "parts", "begins")
"""Fields that are other nodes."""


def need(holds: bool, what: str) -> None:
    """Raise `EdgeLstmError` unless something holds."""
    if not holds:
        raise EdgeLstmError(what)


@dataclass(frozen=True)
class Unary:
    """A node that reads one other.

    Args:
        source: Its index.
    """

    source: int

    @property
    def sources(self) -> tuple[int, ...]:
        """See ``Node``."""
        return (self.source,)


def moved(node: Node, where: Sequence[int] | Mapping[int, int]) -> Any:
    """A node that reads its sources where they are now."""
    changes: dict[str, Any] = {}
    for f in fields(node):  # type: ignore[arg-type]
        value = getattr(node, f.name)
        if f.name in ("source", "left", "right", "lengths", "mask"):
            changes[f.name] = None if value is None else where[value]
        elif f.name == "parts":
            changes[f.name] = tuple(where[k] for k in value)
        elif f.name == "begins":
            changes[f.name] = {key: where[k] for key, k in value.items()}
    return replace(node, **changes)  # type: ignore[type-var]


def alike(node: Any, other: Any) -> bool:
    """Whether two nodes do the same with their sources."""
    if type(node) is not type(other):
        return False
    pairs = [(getattr(node, f.name), getattr(other, f.name)) for f in fields(node) if f.name not in _SOURCES]
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)
