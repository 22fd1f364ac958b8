"""What the shipped model gave for the recording: in a sentence, and in a table."""

from __future__ import annotations

import numpy as np

from edge_lstm.report.formats import listing, number, percent, plural
from edge_lstm.report.run_folder import Run
from edge_lstm.report.tables import Row, Table

MAX_ROWS = 40
"""Of a table."""
MAX_NAMED = 3
"""Outputs in a sentence."""


def observed(run: Run) -> str:
    """The recording, and how the model did on it."""
    results, recording, activity = run.results, run.recording, run.activity
    names = results.dataset.classes
    text = f"The shipped model on one recording of {results.dataset.name}"
    text += f" ({results.recording})" if results.recording else ""
    if activity.predicted is not None and recording.y.ndim == 0:
        text += f", true class {names[int(recording.y)]}"
    text += ", from reset." if activity.given in ("running", "each") and not run.model.looks_ahead else "."
    return f"{text} {_outcome(run)}{_cut(run)}"


def _outcome(run: Run) -> str:
    activity, y = run.activity, run.recording.y
    if activity.predicted is None:
        if activity.given in ("running", "once"):
            names = run.results.dataset.classes
            said = [
                f"{name} = {_signed(found)} (true: {_signed(true)})"
                for name, found, true in zip(names, activity.scores[-1].tolist(), y.tolist(), strict=True)
            ]
            when = "At the end it gives" if activity.given == "running" else "After the whole window it gives"
            return f"{when} {listing(said)}." if len(said) <= MAX_NAMED else f"{when} what the table below says."
        difference = activity.scores - y
        return (
            f"Its outputs differ from the true values by {number(float(np.abs(difference).mean()))} in "
            f"the mean, and by {number(float(np.sqrt((difference**2).mean())))} root mean square."
        )
    if activity.given in ("each", "sequence"):
        right = int((activity.predicted == y).sum())
        where = "step" if activity.given == "each" else "output"
        return f"It gives the right class at {number(right)} of {plural(y.size, where)}."
    index = int(activity.predicted[-1])
    when = "At the end it predicts" if activity.given == "running" else "After the whole window it predicts"
    text = f"{when} {run.results.dataset.classes[index]}"
    if activity.probabilities is not None:
        text += f", with a probability of {percent(float(activity.probabilities[-1, index]))}"
    return f"{text}."


def _cut(run: Run) -> str:
    shown, steps = len(run.recording.x), run.recording.steps
    text = f" Shown are the first {plural(shown, 'step')} of {number(steps)}." if shown < steps else ""
    if text and run.activity.given != "running":
        text += " The model was given no others."
    decoder = run.model.decoder
    if decoder is not None and len(run.activity.scores) < decoder.steps:
        text += f" Shown are the first {plural(len(run.activity.scores), 'output')} of {number(decoder.steps)}."
    return text


def final_table(run: Run) -> Table | None:
    """What the model gave for the whole window; None where the figure says it all."""
    activity = run.activity
    if activity.predicted is None and activity.given in ("running", "once"):
        table = _outputs(run)
    elif activity.given == "once":
        table = _scores(run)
    else:
        return None
    if len(table.rows) <= MAX_ROWS:
        return table
    return Table(
        f"{table.caption} Shown are the first {MAX_ROWS} of {number(len(table.rows))}.",
        table.head,
        table.rows[:MAX_ROWS],
    )


def _outputs(run: Run) -> Table:
    values = zip(run.results.dataset.classes, run.activity.scores[-1].tolist(), run.recording.y.tolist(), strict=True)
    rows = tuple(Row(name, (_signed(found), _signed(true), _signed(found - true))) for name, found, true in values)
    return Table("Outputs for this recording.", ("output", "model", "true", "difference"), rows)


def _scores(run: Run) -> Table:
    activity, true = run.activity, int(run.recording.y)
    head, columns = ["class", "score [logit]"], [[_signed(v) for v in activity.scores[-1].tolist()]]
    if activity.probabilities is not None:
        head.append("probability")
        columns.append([percent(v) for v in activity.probabilities[-1].tolist()])
    cells = zip(run.results.dataset.classes, *columns, strict=True)
    rows = tuple(Row(name, tuple(of), "shipped" if k == true else "") for k, (name, *of) in enumerate(cells))
    return Table("Class scores for this recording; in bold: the true class.", tuple(head), rows)


def _signed(value: float) -> str:
    return number(value).replace("-", "−")
