"""Panels of the gate raster, one below the other, and the axes of time that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_POINTS = 560
"""Width of a panel [point]."""
_TITLE_HEIGHT, _AXIS_HEIGHT = 0.36, 0.5


@dataclass(frozen=True)
class TimeAxis:
    """Steps as places on an axis.

    Attributes:
        label: Of the axis.
        steps: How many.
        step: Length of one.
        start: Where the first begins.
    """

    label: str
    steps: int
    step: float = 1.0
    start: float = 0.0

    @property
    def end(self) -> float:
        """Where the last one ends."""
        return self.edge(self.steps)

    def edge(self, k: int) -> float:
        """Where step ``k`` begins."""
        return self.start + k * self.step

    @property
    def middles(self) -> NDArray[np.float64]:
        """(steps,)"""
        return np.asarray(self.start + (np.arange(self.steps) + 0.5) * self.step, np.float64)


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        height: [inch].
        axis: Of its time.
        paint: Fills it.
        paint_side: Fills what is to the right of it.
    """

    height: float
    axis: TimeAxis
    paint: Callable[[Axes], None]
    paint_side: Callable[[Axes], None] | None = None


def height(panels: Sequence[Panel]) -> float:
    """Of a figure of these panels [inch]."""
    axes = len({panel.axis for panel in panels})
    return sum(panel.height for panel in panels) + _TITLE_HEIGHT * len(panels) + _AXIS_HEIGHT * axes


def stack(figure: Figure, panels: Sequence[Panel]) -> None:
    """Paint panels from top to bottom; the last one of each axis of time has its label."""
    figure.set_layout_engine("constrained", h_pad=0.06, w_pad=0.04, hspace=0.0, wspace=0.01)
    grid = figure.add_gridspec(len(panels), 2, height_ratios=[panel.height for panel in panels], width_ratios=(1, 0.16))
    first: dict[TimeAxis, Axes] = {}
    last = {panel.axis: row for row, panel in enumerate(panels)}
    for row, panel in enumerate(panels):
        if panel.paint_side is not None:
            panel.paint_side(figure.add_subplot(grid[row, 1]))
        axes = figure.add_subplot(grid[row, 0], sharex=first.get(panel.axis))
        first.setdefault(panel.axis, axes)
        panel.paint(axes)
        axes.set_xlim(panel.axis.start, panel.axis.end)
        ends = row == last[panel.axis]
        axes.tick_params(axis="x", labelbottom=ends, length=3.5 if ends else 0)
        if ends:
            axes.set_xlabel(panel.axis.label)
