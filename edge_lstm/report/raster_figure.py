"""The gate raster: a recording, every gate of every unit over time, the hidden units, and what the model gave."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_lstm.report import svg
from edge_lstm.report.activity import Activity, LayerActivity, Raster
from edge_lstm.report.formats import listing, percent, short, unit
from edge_lstm.report.output_panels import in_words, output_panels
from edge_lstm.report.panels import Panel, TimeAxis, height, stack
from edge_lstm.report.recording import Recording
from edge_lstm.report.results import DatasetInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GATE_NAMES = {
    "i": "input gate i",
    "f": "forget gate f",
    "o": "output gate o",
    "z": "update gate z",
    "r": "reset gate r",
}
_AXIS = re.compile(r"[ _.-]?[xyzXYZ]$")
_SIGNAL_HEIGHT = 1.15


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
    step = 1 / dataset.rate_hz if dataset.rate_hz else 1.0
    window = TimeAxis("time [s]" if dataset.rate_hz else "time [steps]", len(recording.x), step)
    decoded = TimeAxis("number of the output", len(activity.scores), start=0.5)
    panels = [
        Panel(_SIGNAL_HEIGHT, window, partial(_signals, axis=window, recording=recording, dataset=dataset, group=group))
        for group in groups
    ]
    for layer in activity.layers:
        axis = decoded if layer.decodes else window
        where = f"{layer.title}: " if activity.needs_titles else ""
        panels += [_raster_panel(layer, raster, axis, where) for raster in (*layer.gates, layer.hidden)]
    panels += output_panels(dataset.classes, recording, activity, decoded if activity.given == "sequence" else window)
    label = _label(dataset, recording, activity)
    return svg.draw(name, label, height(panels), partial(stack, panels=panels))


def _label(dataset: DatasetInfo, recording: Recording, activity: Activity) -> str:
    """What the figure shows, for those who can't see it."""
    shares = [
        f"{GATE_NAMES.get(g.name, f'gate {g.name}')} of {layer.title} open {percent(g.share)}"
        for layer in activity.layers
        for g in layer.gates
    ]
    of = f" of {dataset.classes[int(recording.y)]}" if activity.predicted is not None and recording.y.ndim == 0 else ""
    gates = "for each gate a grid of units by time that is filled where the gate is open"
    below = ([f"{gates} ({listing(shares)})"] if shares else []) + ["the hidden units that are not zero"]
    axes = "axes of time of encoder and decoder" if activity.given == "sequence" else "a common time axis"
    return (
        f"Gate raster of a recording{of}: the sensor signals, below them "
        f"{listing(below + in_words(activity))}, over {axes}."
    )


def _raster_panel(layer: LayerActivity, raster: Raster, axis: TimeAxis, where: str) -> Panel:
    units = raster.level.shape[1]
    colour = svg.GREEN if raster.mode is None else svg.BLUE
    title = "share of time, by unit" if raster is (*layer.gates, layer.hidden)[0] else ""
    shares = raster.share_by_unit[layer.order]
    return Panel(
        float(min(max(0.55, 0.042 * units), 2.4)),
        axis,
        partial(_raster, axis=axis, level=raster.level[:, layer.order], colour=colour, title=where + _headline(raster)),
        partial(_shares, shares=shares, colour=colour, title=title, last=raster is layer.hidden),
    )


def _signals(axes: Axes, *, axis: TimeAxis, recording: Recording, dataset: DatasetInfo, group: ChannelGroup) -> None:
    x = recording.x[:, list(group.channels)]
    lines = [axes.plot(axis.middles, x[:, k], **svg.series(k))[0] for k in range(x.shape[1])]
    axes.set_title(group.title)
    axes.grid(axis="both")
    axes.locator_params(axis="y", nbins=4)
    svg.key_beside(axes, lines, [dataset.channels[k] for k in group.channels])


def _raster(axes: Axes, *, axis: TimeAxis, level: NDArray[np.float64], colour: str, title: str) -> None:
    units = level.shape[1]
    axes.imshow(
        _ink(colour, level.T),
        extent=(axis.start, axis.end, units, 0),
        aspect="auto",
        interpolation="none",
    )
    axes.set_facecolor(svg.PANEL)
    axes.spines[:].set_visible(False)
    axes.set_yticks([0, units], ["1", str(units)] if units > 1 else ["", "1"])
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("unit", labelpad=-8)
    axes.set_title(title)


def _shares(axes: Axes, *, shares: NDArray[np.float64], colour: str, title: str, last: bool) -> None:
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
