"""Accuracy, or R² of a regression: a dot for every seed, the mean and its spread, one row per model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edge_lstm.report import svg
from edge_lstm.report.formats import explained, listing, mean_and_spread, percent, points, short
from edge_lstm.report.forms import counted_of
from edge_lstm.report.results import AccuracyRow, ErrorRow, GateForm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"soft": svg.VERMILLION, "hard": svg.BLUE}
_LEAST_R2 = -1.0
"""Dots farther to the left are at the edge, and drawn mean and spread are of these."""


@dataclass(frozen=True)
class _Dots:
    """A row.

    Attributes:
        model, gates, form: As of an ``AccuracyRow``.
        values: Of each seed, at their places on the axis.
        text: Mean and spread.
    """

    model: str
    gates: str
    form: GateForm
    values: Sequence[float]
    text: str


def accuracy_figure(name: str, rows: Sequence[AccuracyRow], counted: str) -> str:
    """As SVG; ``counted`` as ``forms.counted`` gives it."""
    dots = []
    for row in rows:
        values = [100 * v for v in row.by_seed.values()]
        mean, spread = mean_and_spread(values)
        text = percent(mean / 100) + (f" ± {points(spread / 100)}" if spread is not None else "")
        dots.append(_Dots(row.model, row.gates, row.form, values, text))
    means = [f"{row.model} {percent(mean_and_spread(list(row.by_seed.values()))[0])}" for row in rows]
    label = f"Dot plot of the test accuracy of each model, one dot per seed. Means: {listing(means)}."
    lowest = min(_lowest(row) for row in dots)
    limits = (max(0.0, 5 * np.floor((lowest - 2) / 5)), 100.0)
    return _draw(name, label, dots, limits, f"accuracy on the {counted_of(counted, 'test windows')} [%]")


def r2_figure(name: str, rows: Sequence[ErrorRow]) -> str:
    """As SVG."""
    dots, means = [], []
    for row in rows:
        values = [v.r2 for v in row.by_seed.values()]
        mean, spread = mean_and_spread(values)
        dots.append(_Dots(row.model, row.gates, row.form, [max(v, _LEAST_R2) for v in values], explained(mean, spread)))
        means.append(f"{row.model} {explained(mean)}")
    label = f"Dot plot of R squared of each model on the test windows, one dot per seed. Means: {listing(means)}."
    lowest = min(_lowest(row) for row in dots)
    limits = (max(_LEAST_R2, 0.1 * np.floor((lowest - 0.04) / 0.1)), 1.0)
    return _draw(name, label, dots, limits, "R² on the test windows")


def _lowest(row: _Dots) -> float:
    mean, spread = mean_and_spread(row.values)
    return min([*row.values, mean - (spread or 0.0)])


def _draw(name: str, label: str, rows: Sequence[_Dots], limits: tuple[float, float], axis: str) -> str:
    paint = partial(_paint, rows=rows, limits=limits, axis=axis)
    return svg.draw(name, label, 0.75 + 0.52 * len(rows), paint)


def _paint(figure: Figure, rows: Sequence[_Dots], limits: tuple[float, float], axis: str) -> None:
    axes = figure.add_subplot()
    for y, row in enumerate(rows):
        _row(axes, y, row)
    axes.set_yticks(range(len(rows)), [short(row.model) for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(*limits)
    axes.set_xlabel(axis)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _row(axes: Axes, y: int, row: _Dots) -> None:
    mean, spread = mean_and_spread(row.values)
    colour = _COLOURS.get(row.gates, svg.GREEN)
    axes.axhline(y, color=svg.GRID, linewidth=0.8, zorder=0)
    if spread is not None:
        axes.plot([mean - spread, mean + spread], [y, y], color=colour, linewidth=7, alpha=0.28, zorder=1)
    axes.plot([mean, mean], [y - 0.3, y + 0.3], color=colour, linewidth=2.6, zorder=2)
    axes.plot(
        row.values,
        y + _apart(row.values),
        linestyle="none",
        marker="o",
        markersize=7.5,
        markerfacecolor=colour if row.form == "int8" else svg.PAPER,
        markeredgecolor=colour,
        markeredgewidth=1.6,
        clip_on=False,
        zorder=3,
    )
    axes.text(1.02, y, row.text, transform=axes.get_yaxis_transform(), va="center", fontweight="bold")


def _apart(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Vertical offsets that keep equal values apart."""
    total, seen, offsets = Counter(values), Counter[float](), []
    for value in values:
        step = min(0.26, 0.78 / total[value])
        offsets.append((seen[value] - (total[value] - 1) / 2) * step)
        seen[value] += 1
    return np.array(offsets)
