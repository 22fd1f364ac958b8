"""Flash and RAM of each core, as stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edge_lstm.report import svg
from edge_lstm.report.formats import number, short
from edge_lstm.report.results import SimulateInfo
from edge_lstm.report.sentences import core

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "weights": svg.BLUE,
    "tables": svg.SKY,
    "code": svg.ORANGE,
    "state": svg.GREEN,
    "scratch": svg.PURPLE,
    "stack": svg.VERMILLION,
}


def memory_figure(name: str, cores: Sequence[SimulateInfo]) -> str:
    """As SVG."""
    texts = [
        f"{c.core}: {number(c.flash_bytes.total)} bytes of flash, {number(c.ram_bytes.total)} bytes of RAM"
        for c in cores
    ]
    return svg.draw(
        name,
        f"Stacked bars of flash and RAM by core. {'; '.join(texts)}.",
        1.3 + 0.5 * len(cores),
        lambda figure: _paint(figure, cores),
    )


def _paint(figure: Figure, cores: Sequence[SimulateInfo]) -> None:
    figure.set_layout_engine("constrained", wspace=0.06)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, what, parts in (
        (panels[0], "flash", ("weights", "tables", "code")),
        (panels[1], "RAM", ("state", "scratch", "stack")),
    ):
        field = f"{what.lower()}_bytes"
        _stack(axes, [getattr(c, field).model_dump() for c in cores], parts)
        axes.set_title(f"{what} [bytes]", pad=24)
    panels[0].set_yticks(range(len(cores)), [short(core(c.core)) for c in cores])
    panels[0].set_ylim(len(cores) - 0.5, -0.5)


def _stack(axes: Axes, sizes: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> None:
    widest = max([*(s["total"] for s in sizes), 1])
    handles = []
    for part in parts:
        start = [sum(s[p] for p in parts[: parts.index(part)]) for s in sizes]
        bars = axes.barh(
            range(len(sizes)),
            [s[part] for s in sizes],
            left=start,
            height=0.55,
            color=_COLOURS[part],
            edgecolor=svg.PAPER,
            linewidth=1.2,
        )
        handles.append(bars[0])
    for y, s in enumerate(sizes):
        axes.text(s["total"] + 0.015 * widest, y, number(s["total"]), va="center", fontweight="bold")
    axes.set_xlim(0, 1.14 * widest)
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.locator_params(axis="x", nbins=5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    svg.key(
        axes,
        handles,
        parts,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(parts),
        borderaxespad=0.1,
        handlelength=1.0,
        handletextpad=0.5,
        columnspacing=1.4,
    )
