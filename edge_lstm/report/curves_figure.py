"""Learning curves: loss and accuracy by epoch, one line per training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.report import svg
from edge_lstm.report.formats import listing, plural
from edge_lstm.report.results import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves_figure(name: str, curves: Sequence[Curve]) -> str:
    """As SVG."""
    models = list(dict.fromkeys(c.model for c in curves))
    label = f"Learning curves of {plural(len(curves), 'training')} ({listing(models)}): loss by epoch"
    label += ", and accuracy by epoch." if _measured(curves) else "."
    return svg.draw(name, label, 3.5, lambda figure: _paint(figure, curves, models))


def _paint(figure: Figure, curves: Sequence[Curve], models: Sequence[str]) -> None:
    styles = {model: _style(model, k) for k, model in enumerate(models)}
    panels = figure.subplots(1, 2 if _measured(curves) else 1, squeeze=False)[0]
    losses = [loss for c in curves for loss in c.loss]
    for c in curves:
        panels[0].plot(c.epoch, c.loss, alpha=0.85, linewidth=1.2, **styles[c.model])
    if losses and min(losses) > 0 and max(losses) > 20 * min(losses):
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[0].yaxis.set_minor_formatter(lambda *_: "")
    _dress(panels[0], "loss [nat]")
    if len(panels) > 1:
        for c in curves:
            accuracy = np.array([np.nan if a is None else 100 * a for a in c.accuracy])
            shown = ~np.isnan(accuracy)
            if shown.any():
                epochs = np.asarray(c.epoch)[shown]
                panels[1].plot(epochs, accuracy[shown], alpha=0.85, linewidth=1.2, **styles[c.model])
        measured_on = {c.accuracy_on for c in curves if c.accuracy_on}
        _dress(panels[1], f"accuracy on {listing(sorted(measured_on))} [%]" if measured_on else "accuracy [%]")
        panels[1].set_ylim(top=101)
    seeds = [sum(c.model == model for c in curves) for model in models]
    lines = [panels[0].plot([], [], linewidth=2, **styles[model])[0] for model in models]
    labels = [f"{model}, {plural(n, 'seed')}" for model, n in zip(models, seeds, strict=True)]
    svg.key(panels[0], lines, labels, loc="upper right")


def _measured(curves: Sequence[Curve]) -> bool:
    return any(a is not None for c in curves for a in c.accuracy)


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
