"""The quantization error as pictures: what each level contributes, and the states' errors over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_lstm.quantization_error import Drift
from edge_lstm.report import svg
from edge_lstm.report.comparison import Comparison
from edge_lstm.report.error_sentences import level_name
from edge_lstm.report.error_tables import STATE_NAMES
from edge_lstm.report.formats import number, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR = 0.36
_WIDE = 100
"""Errors that differ by more are shown on a logarithmic axis: two powers of ten, or more, are named on it."""


def level_figure(name: str, c: Comparison) -> str:
    """Bars of the error of the scores, without and with each level alone; "" where that was not measured."""
    if not c.found.levels:
        return ""
    texts = [
        f"{level_name(level)}: {number(level.without_rms)} without it, {number(level.alone_rms)} alone"
        for level in c.found.levels
    ]
    label = f"Bars of the rms error of the {c.result} by layer. All in integers: {number(c.found.scores_rms)}. "
    height = 1.25 + 0.62 * len(c.found.levels)
    return svg.draw(name, f"{label}{'; '.join(texts)}.", height, lambda figure: _paint_levels(figure, c))


def _paint_levels(figure: Figure, c: Comparison) -> None:
    axes, levels, total = figure.add_subplot(), c.found.levels, c.found.scores_rms
    widest = max(total, *(v for level in levels for v in (level.alone_rms, level.without_rms))) or 1.0
    handles = []
    for shift, colour, values in (
        (-_BAR / 2, svg.BLUE, [level.without_rms for level in levels]),
        (_BAR / 2, svg.ORANGE, [level.alone_rms for level in levels]),
    ):
        places = [k + shift for k in range(len(levels))]
        handles.append(axes.barh(places, values, height=_BAR, color=colour, edgecolor=svg.PAPER, linewidth=1.2)[0])
        for y, value in zip(places, values, strict=True):
            axes.text(value + 0.01 * widest, y, number(value), va="center", backgroundcolor=svg.PAPER)
    line = axes.axvline(total, color=svg.INK, linewidth=1.4, linestyle=svg.DASHES[1], zorder=0)
    axes.set_yticks(range(len(levels)), [short(level_name(level), 40) for level in levels])
    axes.set_ylim(len(levels) - 0.45, -0.55)
    axes.set_xlim(0, 1.12 * widest)
    axes.set_xlabel(f"rms error of the {c.result}")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    svg.key(
        axes,
        [*handles, line],
        ["all but it in integers", "it alone in integers", "all in integers"],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=3,
        borderaxespad=0.1,
        handlelength=1.4,
        columnspacing=1.6,
    )


def drift_figure(name: str, c: Comparison) -> str:
    """The error of each state by step: a panel for each kind of state."""
    ends = [f"{d.layer}.{d.state} from {number(d.rms[0])} to {number(d.rms[-1])}" for d in c.found.drift]
    label = f"Lines of the rms error of each state by step: {'; '.join(ends)}."
    return svg.draw(name, label, 3.4, lambda figure: _paint_drift(figure, c.found.drift))


def _paint_drift(figure: Figure, drift: Sequence[Drift]) -> None:
    states = [state for state in STATE_NAMES if any(d.state == state for d in drift)]
    layers = list(dict.fromkeys(d.layer for d in drift))
    panels = figure.subplots(1, len(states), squeeze=False)[0]
    for axes, state in zip(panels, states, strict=True):
        _lines(axes, [d for d in drift if d.state == state], layers)
        axes.set_title(f"rms error of the {STATE_NAMES[state]}")
    if len(layers) > 1:
        lines = [panels[0].plot([], [], **svg.series(k))[0] for k in range(len(layers))]
        shown = slice(0, svg.MAX_NAMED)
        svg.key(panels[0], lines[shown], layers[shown], loc="best", ncols=1 + len(layers) // 5)


def _lines(axes: Axes, drift: Sequence[Drift], layers: Sequence[str]) -> None:
    for d in drift:
        style: dict[str, Any] = {"marker": "o", "markersize": 4.0} | svg.series(layers.index(d.layer))
        axes.plot([step + 1 for step in d.steps], d.rms, **style)
    values = [v for d in drift for v in d.rms]
    if min(values) > 0 and max(values) > _WIDE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.grid(axis="y")
