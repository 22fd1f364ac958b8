"""``edge-lstm cross-validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edge_lstm.commands.common import json_option, note, print_json, print_table, progress
from edge_lstm.commands.recipe import parts_of, recipe_of, recipe_options, sized, teacher_of
from edge_lstm.errors import check_installed

if TYPE_CHECKING:
    from edge_lstm.cross_validation import CrossValidation

MAX_NAMED = 6
"""Subjects of a fold in the table."""


@click.command("cross-validate", epilog="Example: edge-lstm cross-validate basic-motions --folds 5 --hidden 16")
@click.argument("data", metavar="DATA")
@click.option("--folds", default=5, show_default=True, help="Parts, each of which is held out once.")
@recipe_options
@json_option
def command(data: str, folds: int, as_json: bool, **options: Any) -> None:
    """Measure a recipe on subjects that it was not trained on: for choosing one. The test windows play no part.

    The training windows of DATA are cut into folds that share no subject; where subjects are unknown, each class is
    divided by itself. Writes nothing.
    """
    from edge_lstm.cross_validation import cross_validate
    from edge_lstm.study import Progress

    check_installed("torch", extra="train", purpose="to train")
    training, _ = parts_of(data, options)
    recipe, teacher = sized(recipe_of(options), training, options), teacher_of(options)
    if training.groups is None:
        note(f"{training.name} does not say who was recorded: windows of a subject may be on both sides of a fold")
    done: dict[int, int] = {}
    with progress("cross-validate") as update:

        def show(event: Progress) -> None:
            done[event.job] = event.epoch.number
            text = f"fold {event.job + 1}, {event.epoch.phase}, loss {event.epoch.loss:.3f}"
            update(sum(done.values()), folds * recipe.epochs, text)

        found = cross_validate(training, recipe, folds, teacher=teacher, on_progress=show)
    if as_json:
        print_json(found.to_json())
    else:
        _print(training.name, found)


def _print(name: str, found: CrossValidation) -> None:
    measures = list(found.folds[0].scores["int8"])
    rows = []
    for number, fold in enumerate(found.folds, 1):
        held_out = _named(fold.subjects) if fold.subjects is not None else "each class divided"
        values = [f"{of[measure]:.4f}" for measure in measures for of in fold.scores.values()]
        rows.append([f"fold {number}", held_out, fold.windows, *values])
    summary = found.summary()
    for label, key in (("mean", "mean"), ("± s.d.", "spread")):
        values = [f"{summary[form][measure][key]:.4f}" for measure in measures for form in ("float", "int8")]
        rows.append([label, "", "", *values])
    columns = [f"{measure.replace('_', ' ')}, {form}" for measure in measures for form in ("float", "int8")]
    print_table(
        f"{name}: windows that were held out of training, by {found.unit}",
        ["", "subjects" if found.unit == "subject" else "", "windows", *columns],
        rows,
    )


def _named(subjects: tuple[int, ...]) -> str:
    more = f" and {len(subjects) - MAX_NAMED} more" if len(subjects) > MAX_NAMED else ""
    return ", ".join(map(str, subjects[:MAX_NAMED])) + more
