"""``edge-lstm train``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.commands.common import json_option, note, print_json, print_table, progress
from edge_lstm.commands.recipe import DEFAULTS, parts_of, recipe_of, recipe_options, sized, teacher_of
from edge_lstm.errors import EdgeLstmError, check_installed
from edge_lstm.train_options import TrainOptions

if TYPE_CHECKING:
    from edge_lstm.data import Dataset
    from edge_lstm.epoch import Epoch
    from edge_lstm.model import FloatModel
    from edge_lstm.report.results import Results
    from edge_lstm.run_writer import Run
    from edge_lstm.training import Trained

MAX_SEEDS = 1000


@click.command(epilog="Example: edge-lstm train basic-motions --out run --gates hard --hidden 32 --seeds 5")
@click.argument("data", metavar="DATA")
@click.option("--out", required=True, metavar="RUN", help="Folder to write.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other things, which are kept.")
@click.option("--resume", is_flag=True, help="Go on where this command was killed; RUN.checkpoint says where.")
@click.option(
    "--seeds",
    default="",
    help="Train so many times from --seed on, such as 5, or with these, such as 0,7: the best "
    "on the windows held out ships.",
)
@click.option(
    "--from",
    "start",
    default="",
    metavar="MODEL",
    help="Begin with the weights of this run, or .safetensors file; of more units than --hidden the most "
    "important are kept.",
)
@click.option("--log-dir", default="", metavar="DIR", help="Write event files for TensorBoard.")
@recipe_options
@json_option
def command(
    data: str,
    out: str,
    force: bool,
    resume: bool,
    seeds: str,
    start: str,
    log_dir: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a recurrent network on DATA: a data set's name, an .npz file or a UCI HAR folder.

    It becomes a classifier where y holds classes, and a regression where y holds real numbers. Ctrl-C ends the
    training and keeps the best model so far.

    A training that is killed leaves RUN.checkpoint beside RUN, and no RUN: the same command with --resume goes on
    with it, and gives what it would have given.
    """
    from edge_lstm.codec import digest
    from edge_lstm.files import check_output_folder, output_folder, remove_staged
    from edge_lstm.run_writer import Run, best_run, results, write_model, write_models, write_results

    check_installed("torch", "onnx", extra="train", purpose="to train")
    if log_dir:
        check_installed("tensorboardX", extra="tensorboard", purpose="to write a log for TensorBoard")
    training, test = parts_of(data, options)
    begun = _start_of(start)
    recipe, teacher = sized(recipe_of(options), training, options), teacher_of(options)
    if begun is not None and options["max_bytes"]:
        recipe = _at_most(recipe, begun)
    recipes = [replace(recipe, seed=seed) for seed in _seeds(seeds, recipe.seed)]
    check_output_folder(out, force=force)
    checkpoints = _checkpoints(out, recipes, resume=resume)
    trained = _train(training, recipes, checkpoints, log_dir, teacher, begun)
    runs = [Run(one, result) for one, result in zip(recipes, trained, strict=True)]
    shipped = best_run(runs)
    if shipped.trained.interrupted:
        note(f"interrupted: keeping epoch {shipped.trained.best_epoch}")
    title = f"{training.name}, {recipe.cell} of {recipe.hidden} units, {shipped.gates} gates"
    found = results(title, training, test, runs, shipped, started_from="" if begun is None else digest(begun))
    with output_folder(out, force=force) as folder:
        write_models(folder, shipped, test)
        write_results(folder, found)
        for run in runs if len(runs) > 1 else []:
            part = folder / f"seed-{run.options.seed}"
            part.mkdir()
            write_model(part, run.trained)
    _remove(checkpoints)
    if resume:
        remove_staged(out)
    _check_size(shipped, options["max_bytes"])
    if as_json:
        print_json({"out": out, **_told(found, runs, shipped)})
    else:
        _say(out, found, runs, shipped)


def _start_of(path: str) -> FloatModel | None:
    """The float model of a run, or in a file.

    Raises:
        EdgeLstmError: There is none.
    """
    from edge_lstm import run_files
    from edge_lstm.storage import load_float

    if not path:
        return None
    return load_float(Path(path, run_files.FLOAT) if Path(path).is_dir() else path)


def _at_most(recipe: TrainOptions, start: FloatModel) -> TrainOptions:
    """The recipe with no more units than the model to start from has."""
    most = min(layer.hidden for layer in start.layers)
    if recipe.hidden > most:
        note(f"the model to start from has {most} units: takes all of them")
    return replace(recipe, hidden=min(recipe.hidden, most))


def _check_size(shipped: Run, most: int) -> None:
    from edge_lstm.format_search import model_bytes

    found = model_bytes(shipped.trained.quantized)
    if most and found > most:
        note(f"the model has {found} bytes, more than {most}: its ranges want longer tables; take fewer units")


def _seeds(text: str, first: int) -> list[int]:
    """From what ``--seeds`` says, and ``--seed``."""
    if not text:
        return [first]
    parts = [part.strip() for part in text.split(",")]
    accepted = f"a number from 1 to {MAX_SEEDS}, or different seeds such as 0,7"
    if not all(part.isascii() and part.isdecimal() and len(part) <= 10 for part in parts):
        raise EdgeLstmError(f"--seeds is {text!r}; accepted are {accepted}")
    numbers = [int(part) for part in parts]
    if len(parts) == 1:
        if not 1 <= numbers[0] <= MAX_SEEDS:
            raise EdgeLstmError(f"--seeds is {text!r}; accepted are {accepted}")
        return list(range(first, first + numbers[0]))
    if len(set(numbers)) < len(numbers) or len(numbers) > MAX_SEEDS:
        raise EdgeLstmError(f"--seeds is {text!r}; accepted are {accepted}")
    if first != DEFAULTS.seed:
        raise EdgeLstmError(f"--seeds {text} and --seed {first} can't both be given")
    return numbers


def _checkpoints(out: str, recipes: Sequence[TrainOptions], *, resume: bool) -> list[Path]:
    """Files beside the folder, one for each training.

    Raises:
        EdgeLstmError: One is there, and nobody asked for it.
    """
    target = Path(os.path.realpath(out))
    names = [f"{target.name}.checkpoint"]
    if len(recipes) > 1:
        names = [f"{target.name}.seed-{recipe.seed}.checkpoint" for recipe in recipes]
    found = [target.parent / name for name in names]
    there = [path for path in found if path.exists()]
    if there and not resume:
        raise EdgeLstmError(
            f"{there[0].name} beside {out} is of a training that was killed; --resume goes on with it, or delete it"
        )
    if resume and not there:
        note(f"no {names[0]} beside {out}: starts from the beginning")
    return found


def _remove(checkpoints: Sequence[Path]) -> None:
    from edge_lstm.checkpoint import remove

    for path in checkpoints:
        remove(path)


def _train(
    dataset: Dataset,
    recipes: Sequence[TrainOptions],
    checkpoints: Sequence[Path],
    log: str,
    teacher: FloatModel | None,
    start: FloatModel | None,
) -> list[Trained]:
    """One training in this process, several in processes of their own."""
    from edge_lstm.study import Job, Progress, train_jobs
    from edge_lstm.training import train

    try:
        checkpoints[0].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLstmError(f"can't write {checkpoints[0].parent}: {error.strerror or error}") from error
    with ExitStack() as stack:
        logs = []
        if log:
            from edge_lstm.tensorboard_log import Log

            several = len(recipes) > 1
            logs = [Log(Path(log, f"seed-{recipe.seed}") if several else Path(log)) for recipe in recipes]
            for one in logs:
                stack.callback(one.close)
        update = stack.enter_context(progress("train"))
        done = [0] * len(recipes)

        def show(job: int, epoch: Epoch) -> None:
            done[job] = epoch.number
            seed = f"seed {recipes[job].seed}, " if len(recipes) > 1 else ""
            update(sum(done), sum(recipe.epochs for recipe in recipes), f"{seed}{_in_words(epoch)}")
            if logs:
                logs[job](epoch)

        if len(recipes) == 1:
            opened = bool(log)
            return [
                train(
                    dataset,
                    recipes[0],
                    lambda e: show(0, e),
                    teacher=teacher,
                    start=start,
                    checkpoint=checkpoints[0],
                    open_rates=opened,
                )
            ]
        jobs = [
            Job(dataset, recipe, checkpoint, bool(log), teacher, start)
            for recipe, checkpoint in zip(recipes, checkpoints, strict=True)
        ]

        def report(event: Progress) -> None:
            show(event.job, event.epoch)

        return train_jobs(jobs, on_progress=report)


def _in_words(epoch: Epoch) -> str:
    validation = "" if epoch.accuracy is None else f", validation {epoch.accuracy:.1%}"
    validation += "" if epoch.r2 is None else f", validation R² {epoch.r2:.3f}"
    return f"{epoch.phase}, loss {epoch.loss:.3f}{validation}"


def _told(found: Results, runs: Sequence[Run], shipped: Run) -> dict[str, Any]:
    """What ``--json`` says: of the training that ships, and of all seeds where there are several."""
    trained, seed = shipped.trained, shipped.options.seed
    told: dict[str, Any] = {"epochs": len(trained.epochs), "best_epoch": trained.best_epoch}
    if found.errors:
        told["errors"] = {row.form: row.by_seed[seed].model_dump() for row in found.errors}
    else:
        told["accuracy"] = {row.form: row.by_seed[seed] for row in found.accuracy}
        told["macro_f1"] = {row.form: row.macro_f1[seed] for row in found.accuracy}
        told["confusion"] = {"float": found.confusion_float, "int8": found.confusion}
        told["by_class"] = {form: [one.model_dump() for one in scores] for form, scores in found.by_class.items()}
    if len(runs) > 1:
        told |= {"shipped_seed": seed, "seeds": _of_seeds(found)}
    return told


def _of_seeds(found: Results) -> dict[str, dict[str, Any]]:
    """Form to metric to its mean, spread and value of each seed."""
    from edge_lstm.report.formats import mean_and_spread

    values: dict[str, dict[str, dict[int, float]]] = {}
    for row in found.accuracy:
        values[row.form] = {"accuracy": row.by_seed, "macro_f1": row.macro_f1}
    for of in found.errors:
        values[of.form] = {
            name: {seed: getattr(one, name) for seed, one in of.by_seed.items()} for name in ("r2", "mae", "mse")
        }
    told: dict[str, dict[str, Any]] = {}
    for form, metrics in values.items():
        told[form] = {}
        for name, by_seed in metrics.items():
            mean, spread = mean_and_spread(list(by_seed.values()))
            told[form][name] = {"mean": mean, "spread": spread, "by_seed": by_seed}
    return told


def _say(out: str, found: Results, runs: Sequence[Run], shipped: Run) -> None:
    """The same for people."""
    seed = shipped.options.seed
    if found.errors:
        measure, shown = "R²", {row.form: f"{row.by_seed[seed].r2:.3f}" for row in found.errors}
    else:
        measure, shown = "accuracy", {row.form: f"{row.by_seed[seed]:.1%}" for row in found.accuracy}
    if len(runs) > 1:
        rows = [
            [
                form,
                name,
                *(f"{of[key]:.4f}" for key in ("mean", "spread")),
                *(f"{v:.4f}" for v in of["by_seed"].values()),
            ]
            for form, metrics in _of_seeds(found).items()
            for name, of in metrics.items()
        ]
        seeds = [f"seed {run.options.seed}" for run in runs]
        print_table("On the test windows, by seed", ["form", "measure", "mean", "± s.d.", *seeds], rows)
        why = (
            "best on its validation windows"
            if shipped.trained.measure is not None
            else "the first, none was validated in its last phase"
        )
        note(f"shipped is seed {seed}: {why}")
    epoch = f"epoch {shipped.trained.best_epoch} of {len(shipped.trained.epochs)}"
    note(f"wrote {out}: {epoch}, test {measure} {shown['int8']} in int8, {shown['float']} in float")
