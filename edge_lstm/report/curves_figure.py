"""Learning curves: loss, and accuracy or R², by epoch, one line per training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.report import svg
from edge_lstm.report.formats import listing, plural
from edge_lstm.report.forms import counted_of
from edge_lstm.report.results import Curve
from edge_lstm.signature import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEASURES: dict[Task, str] = {"classify": "accuracy", "regress": "R²"}
_LEAST_R2 = -1.0
"""What is lower is below the panel."""


def curves_figure(name: str, curves: Sequence[Curve], task: Task, counted: str) -> str:
    """As SVG; ``counted`` as ``forms.counted`` gives it."""
    models = list(dict.fromkeys(c.model for c in curves))
    label = f"Learning curves of {plural(len(curves), 'training')} ({listing(models)}): loss by epoch"
    label += f", and {_MEASURES[task]} by epoch." if _measured(curves, task) else "."
    return svg.draw(name, label, 3.5, lambda figure: _paint(figure, curves, models, task, counted))


def _paint(figure: Figure, curves: Sequence[Curve], models: Sequence[str], task: Task, counted: str) -> None:
    styles = {model: _style(model, k) for k, model in enumerate(models)}
    panels = figure.subplots(1, 2 if _measured(curves, task) else 1, squeeze=False)[0]
    losses = [loss for c in curves for loss in c.loss]
    for c in curves:
        panels[0].plot(c.epoch, c.loss, alpha=0.85, linewidth=1.2, **styles[c.model])
    if losses and min(losses) > 0 and max(losses) > 20 * min(losses):
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[0].yaxis.set_minor_formatter(lambda *_: "")
    _dress(panels[0], "loss [nat]" if task == "classify" else "loss [mean squared error, standardized]")
    if len(panels) > 1:
        for c in curves:
            values = _values(c, task)
            shown = ~np.isnan(values)
            if shown.any():
                epochs = np.asarray(c.epoch)[shown]
                panels[1].plot(epochs, values[shown], alpha=0.85, linewidth=1.2, **styles[c.model])
        if task == "classify":
            measured_on = {counted_of(counted, c.accuracy_on) for c in curves if c.accuracy_on}
            _dress(panels[1], f"accuracy on {listing(sorted(measured_on))} [%]" if measured_on else "accuracy [%]")
            panels[1].set_ylim(top=101)
        else:
            _dress(panels[1], "R² on the validation windows")
            panels[1].set_ylim(max(panels[1].get_ylim()[0], _LEAST_R2), 1.01)
    seeds = [sum(c.model == model for c in curves) for model in models]
    lines = [panels[0].plot([], [], linewidth=2, **styles[model])[0] for model in models]
    labels = [f"{model}, {plural(n, 'seed')}" for model, n in zip(models, seeds, strict=True)]
    svg.key(panels[0], lines, labels, loc="upper right")


def _values(curve: Curve, task: Task) -> NDArray[np.float64]:
    """Accuracy [%] or R² by epoch, NaN where not measured; (0,) where never."""
    if task == "regress":
        return np.array(curve.r2, np.float64)
    return np.array([np.nan if a is None else 100 * a for a in curve.accuracy], np.float64)


def _measured(curves: Sequence[Curve], task: Task) -> bool:
    return any(not np.isnan(_values(c, task)).all() for c in curves)


def _dress(axes: Axes, label: str) -> None:
    axes.set_title(label)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")


def _style(model: str, index: int) -> dict[str, Any]:
    """Hard and soft look as they do in the dot plot of the accuracy."""
    for gates, style in (
        ("hard", {"color": svg.BLUE, "linestyle": "-"}),
        ("soft", {"color": svg.VERMILLION, "linestyle": svg.DASHES[1]}),
    ):
        if gates in model.lower() and index < 2:
            return style
    return svg.series(index + 2)
