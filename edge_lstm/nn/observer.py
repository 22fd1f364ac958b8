"""Ranges that a recurrent module sees while it is calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edge_lstm.bits import Bits
from edge_lstm.calibrate import NARROW_BITS
from edge_lstm.cells import Cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.ranges import Histogram, exactly

LEAST = 1e-6
"""Range of an input that is always zero."""


class Observer:
    """Largest absolute inputs and states of a module; the ranges are those of ``calibrate`` by minimum and maximum.

    Args:
        kind: The cell.
        inputs: Input channels.
        layers: Of the module.
    """

    def __init__(self, kind: Cell, inputs: int, layers: int) -> None:
        self._bounded = kind.unit_hidden
        self._inputs = torch.zeros(inputs, dtype=torch.float64)
        self._cells, self._hidden = [0.0] * layers, [0.0] * layers
        self._histograms = [Histogram(1) for _ in range(layers)]

    def inputs(self, x: Tensor) -> None:
        """Look at inputs (steps, windows, channels), 0 beyond a window's end."""
        self._inputs = torch.maximum(self._inputs, x.detach().abs().amax((0, 1)).double().cpu())

    def states(self, k: int, states: Mapping[str, Tensor]) -> None:
        """Look at the states of a layer, (steps, windows, length), 0 beyond a window's end.

        Raises:
            EdgeLstmError: A state is not finite.
        """
        for name, largest in (("c", self._cells), ("h", self._hidden)):
            if name in states:
                found = float(states[name].detach().abs().max())
                if not found < float("inf"):
                    raise EdgeLstmError(f"state {name} of layer {k} grows without limit over the calibration samples")
                largest[k] = max(largest[k], found)
        if not self._bounded:
            self._histograms[k].add(states["h"].detach().double().cpu().numpy())

    def found(self, bits: Sequence[Bits]) -> tuple[Tensor, Tensor, Tensor]:
        """Ranges of the inputs (channels,), and of c and h (layers,); float64.

        Args:
            bits: Of each layer.
        """
        hidden = [
            exactly(float(histogram.power_of_two(b.activations)[0]))
            if not self._bounded and b.activations <= NARROW_BITS
            else largest
            for histogram, largest, b in zip(self._histograms, self._hidden, bits, strict=True)
        ]
        cells = torch.tensor(self._cells, dtype=torch.float64)
        return self._inputs.clamp(min=LEAST), cells, torch.tensor(hidden, dtype=torch.float64)
