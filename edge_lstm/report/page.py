"""Runs to a page: gathers what the template shows and renders it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from edge_lstm._version import __version__
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.files import write_text
from edge_lstm.report import error_sentences, error_tables, formats, forms, observed, sentences, tables
from edge_lstm.report.comparison import Comparison
from edge_lstm.report.curves_figure import curves_figure
from edge_lstm.report.dots_figure import accuracy_figure, r2_figure
from edge_lstm.report.error_figures import drift_figure, level_figure
from edge_lstm.report.memory_figure import memory_figure
from edge_lstm.report.raster_figure import raster_figure
from edge_lstm.report.run_folder import Run, read_run

TEMPLATE, ERROR_TEMPLATE, STYLE = "report.html.j2", "error_report.html.j2", "report.css"
_CODE = re.compile("`([^`]*)`")


@dataclass(frozen=True)
class Figures:
    """The figures of a run as SVG, "" where the run has nothing to show."""

    quality: str
    curves: str
    memory: str
    raster: str
    levels: str
    drift: str


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
    environment, markup = _environment()
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
        errors=error_sentences,
        error_tables=error_tables,
    )
    return text


def write_error_report(comparison: Comparison, facts: Mapping[str, str], out: Path) -> None:
    """Write one self-contained HTML page about the quantization error of a model.

    Args:
        comparison: With the float model.
        facts: What else stands at its head, by name.
        out: Of the page; it appears whole or not at all.

    Raises:
        EdgeLstmError: ``out`` can't be written.
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    environment, markup = _environment()
    text = environment.get_template(ERROR_TEMPLATE).render(
        title=f"{comparison.model.signature.name}: integers against float",
        c=comparison,
        facts=list(facts.items()),
        levels=markup(level_figure("levels", comparison)),
        drift=markup(drift_figure("drift", comparison)),
        style=markup(_resource(STYLE)),
        version=__version__,
        errors=error_sentences,
        error_tables=error_tables,
    )
    write_text(out, text)


def _environment() -> tuple[Any, Any]:
    """Jinja's environment with our filters, and ``Markup``."""
    jinja2 = require("jinja2", extra="report", purpose="to write a report")
    markup = require("markupsafe", extra="report", purpose="to write a report")
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
        "coded": lambda text: markup.Markup(_CODE.sub(r"<code>\1</code>", str(markup.escape(text)))),
    }
    return environment, markup.Markup


def confusion_rows(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[ConfusionRow]:
    """A confusion matrix by true class."""
    rows: list[ConfusionRow] = []
    for k, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        total = sum(counts)
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
        levels=level_figure(f"{name}-levels", run.comparison) if run.comparison else "",
        drift=drift_figure(f"{name}-drift", run.comparison) if run.comparison else "",
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
