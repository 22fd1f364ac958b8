"""The gate raster: a recording, every gate of every unit over time, the hidden units, and the class scores."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.report import svg
from edge_lstm.report.activity import Activity, LayerActivity, Raster
from edge_lstm.report.formats import listing, percent, short, unit
from edge_lstm.report.recording import Recording
from edge_lstm.report.results import DatasetInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GATE_NAMES = {
    "i": "input gate i",
    "f": "forget gate f",
    "o": "output gate o",
    "z": "update gate z",
    "r": "reset gate r",
}
MAX_NAMED = 14
"""Lines in a key; in data with more channels or classes the others are not named."""
_AXIS = re.compile(r"[ _.-]?[xyzXYZ]$")
_SIGNAL_HEIGHT, _SCORES_HEIGHT, _STRIP_HEIGHT = 1.15, 1.5, 0.3
_PANEL_POINTS, _LETTER_POINTS = 560, 6.4
"""Width of the time axis and of a letter: a predicted class is named where it holds for long enough."""


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that share a panel.

    Attributes:
        title: For example ``acc [m/s^2]``.
        channels: Indices.
    """

    title: str
    channels: tuple[int, ...]


def channel_groups(channels: Sequence[str], units: Sequence[str]) -> list[ChannelGroup]:
    """One group per unit, and within it one per sensor where names tell: ``acc_x`` and ``acc_y`` are of ``acc``."""
    groups: dict[tuple[str, str], list[int]] = {}
    for k, (channel, of) in enumerate(zip(channels, units, strict=True)):
        sensor = _AXIS.sub("", channel) if _AXIS.search(channel) else ""
        groups.setdefault((of, sensor), []).append(k)
    return [
        ChannelGroup((short(sensor) or "signals") + (f" [{short(unit(of))}]" if of else ""), tuple(found))
        for (of, sensor), found in groups.items()
    ]


def raster_figure(name: str, dataset: DatasetInfo, recording: Recording, activity: Activity) -> str:
    """As SVG."""
    groups = channel_groups(dataset.channels, dataset.units)
    heights = [_SIGNAL_HEIGHT] * len(groups)
    for layer in activity.layers:
        heights += [_raster_height(layer)] * (len(layer.gates) + 1)
    heights += [_SCORES_HEIGHT, _STRIP_HEIGHT]
    page = _Page(dataset, recording, activity, groups, heights)
    shares = [
        f"{GATE_NAMES.get(g.name, f'gate {g.name}')} of {layer.name} open {percent(g.share)}"
        for layer in activity.layers
        for g in layer.gates
    ]
    label = (
        f"Gate raster of a recording of {dataset.classes[recording.y]}: the sensor signals, below them for each gate a "
        f"grid of units by time that is filled where the gate is open ({listing(shares)}), the hidden units that are "
        "not zero, the class scores and the predicted class, over a common time axis."
    )
    return svg.draw(name, label, sum(heights) + 0.36 * len(heights) + 0.5, page.paint)


def _raster_height(layer: LayerActivity) -> float:
    units = layer.hidden.level.shape[1]
    return float(min(max(0.55, 0.042 * units), 2.4))


@dataclass(frozen=True)
class _Page:
    """Paints the panels of one raster from top to bottom: time on the left, shares and keys on the right."""

    dataset: DatasetInfo
    recording: Recording
    activity: Activity
    groups: Sequence[ChannelGroup]
    heights: Sequence[float]

    @property
    def step_s(self) -> float:
        """Duration of a step [s], or 1 [step] where the rate is unknown."""
        return 1 / self.dataset.rate_hz if self.dataset.rate_hz else 1.0

    @property
    def end(self) -> float:
        """Of the time axis."""
        return len(self.recording.x) * self.step_s

    def paint(self, figure: Figure) -> None:
        """All panels."""
        figure.set_layout_engine("constrained", h_pad=0.06, w_pad=0.04, hspace=0.0, wspace=0.01)
        grid = figure.add_gridspec(len(self.heights), 2, height_ratios=self.heights, width_ratios=(1, 0.16))
        row = 0
        first: Axes | None = None
        for group in self.groups:
            axes = figure.add_subplot(grid[row, 0], sharex=first)
            first = first or axes
            self._signals(axes, group)
            row += 1
        for layer in self.activity.layers:
            for raster in (*layer.gates, layer.hidden):
                side = figure.add_subplot(grid[row, 1])
                self._raster(figure.add_subplot(grid[row, 0], sharex=first), side, layer, raster)
                row += 1
        self._scores(figure.add_subplot(grid[row, 0], sharex=first))
        self._predicted(figure.add_subplot(grid[row + 1, 0], sharex=first))
        for axes in figure.axes:
            if axes.get_subplotspec().colspan.start == 0:  # type: ignore[union-attr]
                last = axes.get_subplotspec().is_last_row()  # type: ignore[union-attr]
                axes.tick_params(axis="x", labelbottom=last, length=3.5 if last else 0)

    def _signals(self, axes: Axes, group: ChannelGroup) -> None:
        x = self.recording.x[:, list(group.channels)]
        time = (np.arange(len(x)) + 0.5) * self.step_s
        lines = [axes.plot(time, x[:, k], **svg.series(k))[0] for k in range(x.shape[1])]
        axes.set_title(group.title)
        axes.grid(axis="both")
        axes.locator_params(axis="y", nbins=4)
        axes.set_xlim(0, self.end)
        names = [self.dataset.channels[k] for k in group.channels]
        _beside(axes, lines, names)

    def _raster(self, axes: Axes, side: Axes, layer: LayerActivity, raster: Raster) -> None:
        colour = svg.GREEN if raster.mode is None else svg.BLUE
        units = raster.level.shape[1]
        axes.imshow(
            _ink(colour, raster.level[:, layer.order].T),
            extent=(0, self.end, units, 0),
            aspect="auto",
            interpolation="none",
        )
        axes.set_facecolor(svg.PANEL)
        axes.spines[:].set_visible(False)
        axes.set_yticks([0, units], ["1", str(units)] if units > 1 else ["", "1"])
        axes.tick_params(axis="y", length=0)
        axes.set_ylabel("unit", labelpad=-8)
        where = f"{layer.name}: " if len(self.activity.layers) > 1 else ""
        axes.set_title(where + _headline(raster))
        title = "share of time, by unit" if raster is (*layer.gates, layer.hidden)[0] else ""
        self._shares(side, raster.share_by_unit[layer.order], colour, title=title, last=raster is layer.hidden)

    def _shares(self, axes: Axes, shares: NDArray[np.float64], colour: str, *, title: str, last: bool) -> None:
        """Share of the time for which each unit is open, beside its row."""
        units = len(shares)
        edges = np.repeat(np.arange(units + 1), 2)[1:-1]
        axes.fill_betweenx(edges, 0, np.repeat(100 * shares, 2), color=colour, alpha=0.55, linewidth=0)
        axes.set_ylim(units, 0)
        axes.set_xlim(0, 100)
        axes.set_yticks([])
        axes.set_xticks([0, 50, 100], ["0", "50", "100 %"])
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="x", length=0, labelbottom=last)
        if title:
            axes.set_title(title, fontweight="normal")

    def _scores(self, axes: Axes) -> None:
        logits = self.activity.logits
        time = (np.arange(len(logits)) + 0.5) * self.step_s
        lines = [axes.plot(time, logits[:, k], **svg.series(k))[0] for k in range(logits.shape[1])]
        lines[self.recording.y].set_linewidth(3.0)
        axes.set_title(f"class scores [logit]; bold: the true class, {short(self.dataset.classes[self.recording.y])}")
        axes.grid(axis="both")
        axes.locator_params(axis="y", nbins=5)
        _beside(axes, lines, self.dataset.classes)

    def _predicted(self, axes: Axes) -> None:
        predicted = self.activity.predicted
        changes = [0, *(np.flatnonzero(np.diff(predicted)) + 1), len(predicted)]
        for start, end in itertools.pairwise(changes):
            index = int(predicted[start])
            left, width = start * self.step_s, (end - start) * self.step_s
            style = svg.series(index)
            axes.barh(
                0, width, left=left, height=1, color=style["color"], edgecolor=svg.PAPER, linewidth=0.8, alpha=0.4
            )
            text = short(self.dataset.classes[index], 40)
            if width / self.end * _PANEL_POINTS > _LETTER_POINTS * (len(text) + 1):
                axes.text(left + width / 2, 0, text, ha="center", va="center")
        axes.set_title("predicted class, from what was seen so far")
        axes.set_ylim(-0.5, 0.5)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_xlabel("time [s]" if self.dataset.rate_hz else "time [steps]")


def _headline(raster: Raster) -> str:
    if raster.mode is None:
        return f"hidden state h: {percent(raster.share)} not zero"
    name = GATE_NAMES.get(raster.name, f"gate {raster.name}")
    if raster.mode == "hard":
        return f"{name}, hard: open {percent(raster.share)}"
    return f"{name}, {raster.mode}: {percent(raster.share)} above 0.5, mean {raster.level.mean():.2f}"


def _ink(colour: str, level: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(units, steps, 4) pixels of one colour, as opaque as the level: they suit a light and a dark page."""
    pixels = np.empty((*level.shape, 4), np.uint8)
    pixels[..., :3] = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    pixels[..., 3] = np.rint(255 * level)
    return pixels


def _beside(axes: Axes, lines: Sequence[Any], names: Sequence[str]) -> None:
    """A key to the right of a panel, in the column of the shares."""
    shown = [short(name, 16) for name in names[:MAX_NAMED]]
    if len(names) > MAX_NAMED:
        shown[-1] = f"… {len(names) - MAX_NAMED + 1} more"
    svg.key(
        axes,
        lines[:MAX_NAMED],
        shown,
        loc="center left",
        bbox_to_anchor=(1.005, 0.5),
        handlelength=1.6,
        handletextpad=0.5,
        labelspacing=0.3,
        borderaxespad=0.2,
        ncols=1 + (len(shown) > 7),
    )
    axes.get_legend().set_in_layout(False)  # type: ignore[union-attr]
