"""Which layer reads what: levels of layers, one after the other, with one or several layers beside each other in each.

A model's layers are one list. A layer that stands *beside* the one before it reads what that one reads, and the h of a
level is that of its layers, one after the other. A bidirectional layer is a level of two, of which one is reversed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge_lstm.errors import EdgeLstmError

MAX_LAYERS = 256


class Wired(Protocol):
    """What wiring knows of a layer."""

    @property
    def beside(self) -> bool:
        """It reads what the layer before it reads."""

    @property
    def inputs(self) -> int:
        """Number of inputs."""

    @property
    def outputs(self) -> int:
        """Length of h."""


def levels(layers: Sequence[Wired]) -> tuple[tuple[int, ...], ...]:
    """Indices of the layers of each level, first to last."""
    found: list[tuple[int, ...]] = []
    for k, layer in enumerate(layers):
        if layer.beside and found:
            found[-1] += (k,)
        else:
            found.append((k,))
    return tuple(found)


def width(layers: Sequence[Wired]) -> int:
    """Length of what the last level gives."""
    return sum(layers[k].outputs for k in levels(layers)[-1])


def check_chain(layers: Sequence[Wired], channels: int) -> None:
    """Raise unless every layer takes what it is given.

    Raises:
        EdgeLstmError: Naming the layer.
    """
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise EdgeLstmError(f"a model has {len(layers)} recurrent layers; accepted are 1 to {MAX_LAYERS}")
    if layers[0].beside:
        raise EdgeLstmError("layer 0 stands beside the layer before it, and there is none")
    for level in levels(layers):
        for k in level:
            if layers[k].inputs != channels:
                raise EdgeLstmError(f"layer {k} takes {layers[k].inputs} inputs, and is given {channels}")
        channels = sum(layers[k].outputs for k in level)
