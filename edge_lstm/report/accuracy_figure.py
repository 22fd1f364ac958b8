"""Accuracy: a dot for every seed, the mean and its spread, one row per model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_lstm.report import svg
from edge_lstm.report.formats import listing, mean_and_spread, percent, points, short
from edge_lstm.report.results import AccuracyRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"soft": svg.VERMILLION, "hard": svg.BLUE}


def accuracy_figure(name: str, rows: Sequence[AccuracyRow]) -> str:
    """As SVG."""
    means = [f"{row.model} {percent(mean_and_spread(list(row.by_seed.values()))[0])}" for row in rows]
    label = f"Dot plot of the test accuracy of each model, one dot per seed. Means: {listing(means)}."
    return svg.draw(name, label, 0.75 + 0.52 * len(rows), lambda figure: _paint(figure, rows))


def _paint(figure: Figure, rows: Sequence[AccuracyRow]) -> None:
    axes = figure.add_subplot()
    lowest = 100.0
    for y, row in enumerate(rows):
        values = [100 * v for v in row.by_seed.values()]
        mean, spread = mean_and_spread(values)
        lowest = min(lowest, min(values), mean - (spread or 0))
        colour = _COLOURS.get(row.gates, svg.GREEN)
        axes.axhline(y, color=svg.GRID, linewidth=0.8, zorder=0)
        if spread is not None:
            axes.plot([mean - spread, mean + spread], [y, y], color=colour, linewidth=7, alpha=0.28, zorder=1)
        axes.plot([mean, mean], [y - 0.3, y + 0.3], color=colour, linewidth=2.6, zorder=2)
        axes.plot(
            values,
            y + _apart(values),
            linestyle="none",
            marker="o",
            markersize=7.5,
            markerfacecolor=colour if row.form == "int8" else svg.PAPER,
            markeredgecolor=colour,
            markeredgewidth=1.6,
            clip_on=False,
            zorder=3,
        )
        text = percent(mean / 100) + (f" ± {points(spread / 100)}" if spread is not None else "")
        axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center", fontweight="bold")
    axes.set_yticks(range(len(rows)), [short(row.model) for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(max(0.0, 5 * np.floor((lowest - 2) / 5)), 100)
    axes.set_xlabel("accuracy on the test windows [%]")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _apart(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Vertical offsets that keep equal values apart."""
    total, seen, offsets = Counter(values), Counter[float](), []
    for value in values:
        step = min(0.26, 0.78 / total[value])
        offsets.append((seen[value] - (total[value] - 1) / 2) * step)
        seen[value] += 1
    return np.array(offsets)
