"""The rows of the page's tables, as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from edge_lstm.report import forms
from edge_lstm.report.activity import Raster
from edge_lstm.report.formats import explained, mean_and_spread, number, percent, points, short
from edge_lstm.report.raster_figure import GATE_NAMES
from edge_lstm.report.results import AccuracyRow, ErrorRow, Results, SimulateInfo
from edge_lstm.report.run_folder import Run
from edge_lstm.report.sentences import core, errors_of, shipped_errors, shipped_row

ABSENT = "–"
MAX_FUNCTIONS = 8


@dataclass(frozen=True)
class Row:
    """A table row.

    Attributes:
        head: Its header cell.
        cells: The others.
        kind: CSS class: ``total``, ``group`` (a heading inside the table), ``shipped`` (bold) or "".
    """

    head: str
    cells: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: Under which it stands.
        head: Header cells, the first that of the row headers.
        rows: From top to bottom.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]


def accuracy_table(rows: Sequence[AccuracyRow], windows: int, counted: str) -> Table:
    """Mean, spread, range and every seed; ``counted`` as ``forms.counted`` gives it."""
    seeds = sorted({seed for row in rows for seed in row.by_seed})
    lines = []
    with_f1 = any(row.macro_f1 for row in rows)
    for row in rows:
        values = list(row.by_seed.values())
        mean, spread = mean_and_spread(values)
        lines.append(
            Row(
                row.model,
                (
                    percent(mean),
                    ABSENT if spread is None else f"± {points(spread)}",
                    f"{percent(min(values))} to {percent(max(values))}" if len(values) > 1 else ABSENT,
                    *([_macro_f1(row)] if with_f1 else []),
                    *(percent(row.by_seed[s]) if s in row.by_seed else ABSENT for s in seeds),
                ),
            )
        )
    where = forms.counted_of(counted, f"{number(windows)} test windows")
    caption = f"Accuracy on {where}: mean over {_seed_count(rows)}, "
    caption += "± standard deviation of the seeds in percentage points, lowest to highest, and every seed."
    if windows and counted == "windows":
        caption += f" One window is {points(1 / windows)} percentage points."
    caption += " Macro F1 is the mean F1 of the classes, ± the same of it." if with_f1 else ""
    head = ("model", "mean", "± s.d.", "range", *(["macro F1"] if with_f1 else []), *(f"seed {s}" for s in seeds))
    return Table(caption, head, tuple(lines))


def _macro_f1(row: AccuracyRow) -> str:
    if not row.macro_f1:
        return ABSENT
    mean, spread = mean_and_spread(list(row.macro_f1.values()))
    return percent(mean) + ("" if spread is None else f" ± {points(spread)}")


def class_table(results: Results) -> Table | None:
    """Precision, recall and F1 of each class and form of the shipped model, and their means; None where unknown."""
    shown = {form: scores for form, scores in results.by_class.items() if scores}
    if not shown:
        return None
    head = ("class", *(f"{measure}, {form}" for form in shown for measure in ("precision", "recall", "F1")))
    lines = []
    for k, name in enumerate(results.dataset.classes):
        scores = [of[k] for of in shown.values()]
        lines.append(Row(name, tuple(percent(v) for s in scores for v in (s.precision, s.recall, s.f1))))
    macro = [
        next(
            (row.macro_f1.get(results.shipped.seed) for row in results.accuracy if _is_shipped(row, results, form)),
            None,
        )
        if results.shipped
        else None
        for form in shown
    ]
    cells = tuple(cell for value in macro for cell in ("", "", ABSENT if value is None else percent(value)))
    lines.append(Row("macro F1", cells, "total"))
    caption = (
        "The shipped model by class. Precision: share of what is predicted to be of a class that is; recall: share "
    )
    caption += (
        "of what is of a class that is predicted to be; F1: their harmonic mean, whose mean over the classes that "
    )
    caption += "occur is the macro F1."
    return Table(caption, head, tuple(lines))


def _is_shipped(row: AccuracyRow, results: Results, form: str) -> bool:
    return row.form == form and results.shipped is not None and row.gates == results.shipped.gates


def error_table(rows: Sequence[ErrorRow], windows: int) -> Table:
    """Mean and spread of each error, and R² of every seed."""
    seeds = sorted({seed for row in rows for seed in row.by_seed})
    lines = []
    for row in rows:
        means = errors_of(row)
        lines.append(
            Row(
                row.model,
                (
                    explained(*means["r2"]),
                    *(_with_spread(*means[name]) for name in ("mae", "rmse")),
                    *(explained(row.by_seed[s].r2) if s in row.by_seed else ABSENT for s in seeds if len(seeds) > 1),
                ),
            )
        )
    caption = f"Errors on {number(windows)} test windows: mean over {_seed_count(rows)}"
    caption += ", ± their standard deviation, and R² of every seed." if len(seeds) > 1 else "."
    caption += " R² is the share of the variance that is explained, the mean over the outputs; errors are in the unit "
    caption += "of the targets."
    head = ("model", "R²", "mean absolute error", "root mean square error")
    return Table(caption, (*head, *(f"R², seed {s}" for s in seeds if len(seeds) > 1)), tuple(lines))


def _with_spread(mean: float, spread: float | None) -> str:
    return number(mean) + ("" if spread is None else f" ± {number(spread)}")


def _seed_count(rows: Sequence[AccuracyRow] | Sequence[ErrorRow]) -> str:
    counts = sorted({len(row.by_seed) for row in rows})
    of = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{of} {'seed' if counts == [1] else 'seeds'}"


def instruction_table(costs: Sequence[SimulateInfo]) -> Table:
    """Instructions, a column for each core."""
    rows = []
    for title, spreads in (
        ("per step", [c.instructions_per_step for c in costs]),
        ("per window", [c.instructions_per_window for c in costs]),
    ):
        if any(s is not None for s in spreads):
            rows.append(Row(title, kind="group"))
            for label, name in (("mean", "mean"), ("95th percentile", "p95"), ("maximum", "max")):
                rows.append(Row(label, tuple(ABSENT if s is None else number(getattr(s, name)) for s in spreads)))
    shares = [c.nonzero_hidden for c in costs]
    rows.append(Row("data", kind="group"))
    rows.append(Row("hidden values not zero", tuple(ABSENT if s is None else percent(s) for s in shares)))
    rows.append(Row("steps executed", tuple(number(c.steps) for c in costs)))
    for name in sorted({name for c in costs for name, value in (c.model_extra or {}).items() if _is_number(value)}):
        values = [(c.model_extra or {}).get(name) for c in costs]
        rows.append(Row(name.replace("_", " "), tuple(number(v) if _is_number(v) else ABSENT for v in values)))
    return Table("Instructions executed", ("", *(core(c.core) for c in costs)), tuple(rows))


def memory_table(costs: Sequence[SimulateInfo]) -> Table:
    """Flash and RAM, a column for each core."""
    rows = []
    for field, title, parts in (
        ("flash_bytes", "flash", ("weights", "tables", "code", "total")),
        ("ram_bytes", "RAM", ("state", "scratch", "stack", "total")),
    ):
        rows.append(Row(title, kind="group"))
        for part in parts:
            cells = tuple(number(getattr(getattr(c, field), part)) for c in costs)
            rows.append(Row(part, cells, "total" if part == "total" else ""))
    return Table("Memory [bytes]", ("", *(core(c.core) for c in costs)), tuple(rows))


def function_table(cost: SimulateInfo) -> Table | None:
    """Where the instructions of one core go: the most expensive functions; None where there is but one."""
    counts = sorted(cost.instructions_by_function.items(), key=lambda item: (-item[1], item[0]))
    total = sum(count for _, count in counts)
    if not total or len(counts) < 2:
        return None
    rows = [Row(name, (number(count), percent(count / total))) for name, count in counts[:MAX_FUNCTIONS]]
    rest = sum(count for _, count in counts[MAX_FUNCTIONS:])
    if rest:
        rows.append(Row(f"{len(counts) - MAX_FUNCTIONS} others", (number(rest), percent(rest / total))))
    return Table(core(cost.core), ("function", "per step", "share"), tuple(rows))


def gate_table(run: Run) -> Table:
    """Statistics of every gate during the recording."""
    rate = run.results.dataset.rate_hz
    rows = []
    for layer in run.activity.layers:
        where = f"{layer.title}: " if run.activity.needs_titles else ""
        per_second = None if layer.decodes else rate
        for raster in (*layer.gates, layer.hidden):
            shares = raster.share_by_unit
            rows.append(
                Row(
                    where + _gate_name(raster),
                    (
                        percent(raster.share),
                        _length(raster.run_length(True), per_second),
                        _length(raster.run_length(False), per_second),
                        f"{int((shares == 1).sum())} of {len(shares)}",
                        f"{int((shares == 0).sum())} of {len(shares)}",
                    ),
                )
            )
    head = ("gate", "open", "mean run open", "mean run closed", "units always open", "units never open")
    return Table(
        "During this recording. A soft gate counts as open above 0.5, a hidden unit where it is not zero. A run is an "
        "unbroken stretch of steps of one unit; the ends of the recording cut runs short.",
        head,
        tuple(rows),
    )


def comparison_table(runs: Sequence[Run]) -> Table:
    """One column per run."""
    rows = [Row(label, tuple(cell(run) for run in runs)) for label, cell in _COMPARED]
    tasks = {run.results.dataset.task for run in runs}
    unsaid = {"form"} if not any(forms.short_form(run.model) for run in runs) else set[str]()
    unsaid |= {"test accuracy, int8"} if tasks == {"regress"} else set()
    unsaid |= {"test R², int8", "root mean square error, int8"} if tasks == {"classify"} else set()
    rows = [row for row in rows if row.head not in unsaid]
    for name in dict.fromkeys(c.core for run in runs for c in run.results.simulate):
        rows.append(Row(core(name), kind="group"))
        costs = [next((c for c in run.results.simulate if c.core == name), None) for run in runs]
        for label, size in _COSTS:
            rows.append(Row(label, tuple(ABSENT if c is None else number(size(c)) for c in costs)))
    means = {
        "classify": "Accuracy is the mean over the seeds, ± their standard deviation in percentage points.",
        "regress": "R² and errors are means over the seeds, ± their standard deviation.",
    }
    return Table(
        " ".join(means[task] for task in sorted(tasks)),
        ("", *run_titles(runs)),
        tuple(rows),
    )


def run_titles(runs: Sequence[Run]) -> list[str]:
    """The titles; where two are the same, with the folder."""
    titles = [run.results.title for run in runs]
    return [
        f"{title} ({run.folder.name})" if titles.count(title) > 1 else title
        for title, run in zip(titles, runs, strict=True)
    ]


def _accuracy(run: Run) -> str:
    row = shipped_row(run.results)
    if row is None:
        return ABSENT
    mean, spread = mean_and_spread(list(row.by_seed.values()))
    return percent(mean) + ("" if spread is None else f" ± {points(spread)}")


def _r2(run: Run) -> str:
    row = shipped_errors(run.results)
    if row is None:
        return ABSENT
    return explained(*errors_of(row)["r2"])


def _rmse(run: Run) -> str:
    row = shipped_errors(run.results)
    return ABSENT if row is None else _with_spread(*errors_of(row)["rmse"])


def _seeds(run: Run) -> str:
    row = shipped_row(run.results) or shipped_errors(run.results)
    return ABSENT if row is None else str(len(row.by_seed))


def _equal(run: Run) -> str:
    verify = run.results.verify
    if verify is None:
        return ABSENT
    return f"all {len(verify.backends)}" if verify.equal else f"no: {number(verify.mismatches)} integers differ"


def _nonzero(run: Run) -> str:
    shares = [c.nonzero_hidden for c in run.results.simulate if c.nonzero_hidden is not None]
    return percent(shares[0]) if shares else ABSENT


_COMPARED: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ("data", lambda run: run.results.dataset.name),
    ("cell", lambda run: run.results.training.cell),
    ("layers × units", lambda run: f"{run.results.training.layers} × {run.results.training.hidden}"),
    ("form", lambda run: forms.short_form(run.model) or ABSENT),
    ("gates", lambda run: ABSENT if run.results.shipped is None else run.results.shipped.gates),
    ("parameters", lambda run: number(run.results.training.parameters)),
    ("test accuracy, int8", _accuracy),
    ("test R², int8", _r2),
    ("root mean square error, int8", _rmse),
    ("seeds", _seeds),
    ("model file [bytes]", lambda run: number(run.model_bytes)),
    ("backends with equal integers", _equal),
    ("hidden values not zero", _nonzero),
)
_COSTS: tuple[tuple[str, Callable[[SimulateInfo], float]], ...] = (
    ("instructions per step, mean", lambda c: c.instructions_per_step.mean),
    ("instructions per step, maximum", lambda c: c.instructions_per_step.max),
    ("flash [bytes]", lambda c: c.flash_bytes.total),
    ("RAM [bytes]", lambda c: c.ram_bytes.total),
)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _gate_name(raster: Raster) -> str:
    if raster.mode is None:
        return "hidden state h"
    return f"{GATE_NAMES.get(raster.name, f'gate {short(raster.name)}')}, {raster.mode}"


def _length(steps: float | None, rate_hz: float | None) -> str:
    if steps is None:
        return ABSENT
    seconds = f" = {steps / rate_hz:.2f} s" if rate_hz else ""
    return f"{steps:.1f} steps{seconds}"
