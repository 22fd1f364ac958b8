"""Runs to a page: gathers what the template shows and renders it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from edge_lstm._version import __version__
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.files import write_text
from edge_lstm.report import formats, forms, observed, sentences, tables
from edge_lstm.report.curves_figure import curves_figure
from edge_lstm.report.dots_figure import accuracy_figure, r2_figure
from edge_lstm.report.memory_figure import memory_figure
from edge_lstm.report.raster_figure import raster_figure
from edge_lstm.report.results import Results
from edge_lstm.report.run_folder import Run, read_run

TEMPLATE, STYLE = "report.html.j2", "report.css"


@dataclass(frozen=True)
class Figures:
    """The figures of a run as SVG, "" where the run has nothing to show."""

    quality: str
    curves: str
    memory: str
    raster: str


@dataclass(frozen=True)
class ConfusionRow:
    """Test windows, or steps of them, of one class.

    Attributes:
        name: Of the class.
        counts: By predicted class: the count, and how dark to show it, 0 to 100.
        total: Of this class.
        recall: Share classified correctly, as text.
    """

    name: str
    counts: tuple[tuple[int, int], ...]
    total: int
    recall: str


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Write one self-contained HTML page about one or more run folders.

    The page loads nothing from anywhere. The same runs give the same bytes.

    Args:
        runs: Folders with ``results.json``, ``model.elstm`` and ``recording.npz``.
        out: Of the page; it appears whole or not at all.

    Raises:
        EdgeLstmError: No runs, or a file of a run is missing or broken (names it), or ``out`` can't be written.
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    if not runs:
        raise EdgeLstmError("no runs to report on; accepted are one or more run folders")
    write_text(out, render([read_run(Path(run)) for run in runs]))


def render(runs: Sequence[Run]) -> str:
    """The page.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    jinja2 = require("jinja2", extra="report", purpose="to write a report")
    markup = require("markupsafe", extra="report", purpose="to write a report").Markup
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": formats.number,
        "percent": formats.percent,
        "plural": formats.plural,
        "listing": formats.listing,
        "backend": sentences.backend,
        "function_table": tables.function_table,
    }
    figures = [_figures(run, f"run{k + 1}") for k, run in enumerate(runs)]
    safe = [{name: markup(svg) for name, svg in vars(figure).items()} for figure in figures]
    text: str = environment.get_template(TEMPLATE).render(
        runs=runs,
        figures=safe,
        style=markup(_resource(STYLE)),
        comparison=tables.comparison_table(runs),
        titles=tables.run_titles(runs),
        version=__version__,
        sentences=sentences,
        tables=tables,
        forms=forms,
        observed=observed,
        confusion=confusion_rows,
    )
    return text


def confusion_rows(results: Results) -> list[ConfusionRow]:
    """The confusion matrix by true class; empty where the run has none."""
    rows: list[ConfusionRow] = []
    for name, counts in zip(results.dataset.classes, results.confusion or [], strict=False):
        total, k = sum(counts), len(rows)
        shades = tuple((count, round(100 * count / total) if total else 0) for count in counts)
        recall = formats.percent(counts[k] / total) if total else tables.ABSENT
        rows.append(ConfusionRow(name, shades, total, recall))
    return rows


def _figures(run: Run, name: str) -> Figures:
    results = run.results
    return Figures(
        quality=_quality_figure(f"{name}-dots", run),
        curves=_curves_figure(f"{name}-curves", run),
        memory=memory_figure(f"{name}-memory", results.simulate) if results.simulate else "",
        raster=raster_figure(f"{name}-raster", results.dataset, run.recording, run.activity),
    )


def _curves_figure(name: str, run: Run) -> str:
    results = run.results
    if not results.curves:
        return ""
    return curves_figure(name, results.curves, results.dataset.task, forms.counted(run.model))


def _quality_figure(name: str, run: Run) -> str:
    results = run.results
    if results.accuracy:
        return accuracy_figure(name, results.accuracy, forms.counted(run.model))
    return r2_figure(name, results.errors) if results.errors else ""


def _resource(name: str) -> str:
    return files("edge_lstm.report").joinpath(name).read_text(encoding="utf-8")
