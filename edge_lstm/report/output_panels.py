"""What a model gave for a recording beside what is true of it: scores, classes, and the outputs of a regression."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.report import svg
from edge_lstm.report.activity import Activity
from edge_lstm.report.formats import plural, short
from edge_lstm.report.panels import PANEL_POINTS, Panel, TimeAxis
from edge_lstm.report.recording import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_OUTPUTS = 6
"""Panels of a regression; of more outputs the others are not shown."""
_SCORES_HEIGHT, _STRIP_HEIGHT, _OUTPUT_HEIGHT = 1.5, 0.3, 1.0
_LETTER_POINTS = 6.4
"""Width of a letter: a class is named where it holds for long enough."""
_FEW_STEPS = 40
"""Up to so many steps a curve has a dot at each."""


def output_panels(names: Sequence[str], recording: Recording, activity: Activity, axis: TimeAxis) -> list[Panel]:
    """Panels over the steps for which there are outputs; none of a model that gives them once.

    Args:
        names: Of the classes, or of the outputs of a regression.
        recording, activity: What is shown.
        axis: Of the steps of ``activity.scores``.
    """
    if activity.given == "once":
        return []
    if activity.predicted is None:
        return _regression(names, recording, activity, axis)
    true = int(recording.y) if activity.given == "running" else None
    scores = partial(_scores, axis=axis, scores=activity.scores, names=names, true=true)
    seen = ", from what was seen so far" if activity.given == "running" else ""
    found = partial(_strip, axis=axis, classes=activity.predicted, names=names, title=f"predicted class{seen}")
    panels = [Panel(_SCORES_HEIGHT, axis, scores), Panel(_STRIP_HEIGHT, axis, found)]
    if true is None:
        truth = partial(_strip, axis=axis, classes=recording.y, names=names, title="true class")
        panels.append(Panel(_STRIP_HEIGHT, axis, truth))
    return panels


def in_words(activity: Activity) -> list[str]:
    """What ``output_panels`` shows, for those who can't see it."""
    regression, so_far = activity.predicted is None, activity.given == "running"
    if activity.given == "once":
        return []
    if regression:
        return ["the outputs so far" if so_far else "the outputs", "their true values"]
    return ["the class scores", "the predicted class", *([] if so_far else ["the true class"])]


def _regression(names: Sequence[str], recording: Recording, activity: Activity, axis: TimeAxis) -> list[Panel]:
    """A panel for each output: their units may differ."""
    true = np.broadcast_to(recording.y, activity.scores.shape)
    seen = ", from what was seen so far" if activity.given == "running" else ""
    panels = []
    for k, name in enumerate(names[:MAX_OUTPUTS]):
        title = f"output {short(name)}{seen}"
        if k == MAX_OUTPUTS - 1 and len(names) > MAX_OUTPUTS:
            title += f"; {plural(len(names) - MAX_OUTPUTS, 'more output')} not shown"
        paint = partial(_curves, axis=axis, found=activity.scores[:, k], true=true[:, k], title=title)
        panels.append(Panel(_OUTPUT_HEIGHT, axis, paint))
    return panels


def _scores(axes: Axes, *, axis: TimeAxis, scores: NDArray[np.float64], names: Sequence[str], true: int | None) -> None:
    lines = [axes.plot(axis.middles, scores[:, k], **_dots(axis), **svg.series(k))[0] for k in range(scores.shape[1])]
    title = "class scores [logit]"
    if true is not None:
        lines[true].set_linewidth(3.0)
        title += f"; bold: the true class, {short(names[true])}"
    axes.set_title(title)
    axes.grid(axis="both")
    axes.locator_params(axis="y", nbins=5)
    svg.key_beside(axes, lines, names)


def _strip(axes: Axes, *, axis: TimeAxis, classes: NDArray[np.intp], names: Sequence[str], title: str) -> None:
    """A class over time: each stretch a bar, named where there is room."""
    changes = [0, *(np.flatnonzero(np.diff(classes)) + 1), len(classes)]
    for start, end in itertools.pairwise(changes):
        index = int(classes[start])
        left, width = axis.edge(start), (end - start) * axis.step
        style = svg.series(index)
        axes.barh(0, width, left=left, height=1, color=style["color"], edgecolor=svg.PAPER, linewidth=0.8, alpha=0.4)
        text = short(names[index], 40)
        if width / (axis.end - axis.start) * PANEL_POINTS > _LETTER_POINTS * (len(text) + 1):
            axes.text(left + width / 2, 0, text, ha="center", va="center")
    axes.set_title(title)
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _curves(axes: Axes, *, axis: TimeAxis, found: NDArray[np.float64], true: NDArray[np.float64], title: str) -> None:
    lines = [
        axes.plot(axis.middles, found, color=svg.BLUE, zorder=3, **_dots(axis))[0],
        axes.plot(axis.middles, true, color=svg.ORANGE, linewidth=4.0, alpha=0.6)[0],
    ]
    if len(true) == 1:
        lines[1].set(marker="o", markersize=9.0)
    axes.set_title(title)
    axes.grid(axis="both")
    axes.locator_params(axis="y", nbins=4)
    svg.key_beside(axes, lines, ["model", "true"])


def _dots(axis: TimeAxis) -> dict[str, Any]:
    """Dots for a few outputs that come one after the other, without a time between them."""
    few = axis.start != 0 and axis.steps <= _FEW_STEPS
    return {"marker": "o", "markersize": 3.5} if few else {}
