"""``edge-lstm train``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from edge_lstm.cells import CELLS
from edge_lstm.commands.common import F, json_option, note, print_json, progress
from edge_lstm.errors import EdgeLstmError, check_installed
from edge_lstm.gates import MODES
from edge_lstm.model import POOLINGS
from edge_lstm.train_options import DIRECTIONS, TrainOptions

DEFAULTS = TrainOptions()


def _option(name: str, text: str) -> Callable[[F], F]:
    default, option = getattr(DEFAULTS, name), f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        return click.option(option, is_flag=True, help=text)
    return click.option(option, type=type(default), default=default, show_default=True, help=text)


@click.command(epilog="Example: edge-lstm train basic-motions --out run --gates hard --hidden 32")
@click.argument("data", metavar="DATA")
@click.option("--out", required=True, metavar="RUN", help="Folder to write.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other things, which are kept.")
@_option("cell", f"Cell: {', '.join(CELLS)}.")
@_option("gates", f"Gate modes: {', '.join(MODES)}, or a list such as i=hard,f=soft,o=hard.")
@_option("squash", "Squashing functions: exact, or hard (piecewise linear).")
@_option("weight_bits", "Of weights: 8, 4 or 2 (ternary), or one for each layer, such as 8,4.")
@_option("activation_bits", "Of inputs and hidden states: 8 or 16, or one for each layer.")
@_option("activations", "Tables: lut (nearest entry) or lut-interp.")
@_option("hidden", "Units of each layer.")
@_option("outputs", "Length of h of the cell lstmp; 0: half of the units.")
@_option("layers", "Number of layers.")
@_option("direction", f"Of the layers: {', '.join(DIRECTIONS)}, or one for each, such as bidirectional,forward.")
@click.option("--bidirectional", is_flag=True, help="The same as --direction bidirectional.")
@_option("pooling", f"What the dense layer reads of h over time: {', '.join(POOLINGS)} (each: h at each step).")
@_option("decoder", "Outputs of a sequence-to-sequence model; 0: it is none.")
@_option("probabilities", "The classifier also gives softmax of its scores.")
@_option("relu", "Widths of dense layers with relu before the last one, such as 32,16.")
@_option("epochs", "Of all phases together.")
@_option("quantized_from", "Share of the epochs after which the forward pass computes integers; 1: never.")
@_option("batch", "Windows of a step.")
@_option("learning_rate", "Largest of the schedule.")
@_option("gain", "Augmentation: scale each channel by about so much.")
@_option("offset", "Augmentation: add to each channel about so many standard deviations.")
@_option("jitter", "Augmentation: add noise of so many standard deviations.")
@_option("magnitude", "Augmentation: scale the window by about so much.")
@_option("rotation", "Augmentation: turn the sensor by so many radians.")
@_option("shift", "Augmentation: move by so much of the window.")
@_option("warp", "Augmentation: vary the speed by so much.")
@_option("validation", "Share of the training windows held out; 0: none, and no early stopping.")
@_option("patience", "Stop after so many epochs that were no better on the windows held out.")
@_option("seed", "Of all that is random.")
@json_option
def command(data: str, out: str, force: bool, as_json: bool, bidirectional: bool, **options: Any) -> None:
    """Train a recurrent network on DATA: a data set's name, an .npz file or a UCI HAR folder.

    It becomes a classifier where y holds classes, and a regression where y holds real numbers. Ctrl-C ends the
    training and keeps the best model so far.
    """
    from edge_lstm.data import load, train_test
    from edge_lstm.files import check_output_folder, output_folder
    from edge_lstm.run_writer import Run, results, write_models, write_results
    from edge_lstm.training import Epoch, train

    check_installed("torch", "onnx", extra="train", purpose="to train")
    if bidirectional:
        if options["direction"] != DEFAULTS.direction:
            raise EdgeLstmError(f"--bidirectional and --direction {options['direction']} can't both be given")
        options["direction"] = "bidirectional"
    recipe = TrainOptions(**options)
    check_output_folder(out, force=force)
    training, test = train_test(load(data))
    with progress("train") as update:

        def show(epoch: Epoch) -> None:
            validation = "" if epoch.accuracy is None else f", validation {epoch.accuracy:.1%}"
            validation += "" if epoch.r2 is None else f", validation R² {epoch.r2:.3f}"
            update(epoch.number, recipe.epochs, f"{epoch.phase}, loss {epoch.loss:.3f}{validation}")

        trained = train(training, recipe, show)
    if trained.interrupted:
        note(f"interrupted: keeping epoch {trained.best_epoch}")
    run = Run(recipe, trained)
    title = f"{training.name}, {recipe.cell} of {recipe.hidden} units, {run.gates} gates"
    found = results(title, training, test, [run], run)
    with output_folder(out, force=force) as folder:
        write_models(folder, run, test)
        write_results(folder, found)
    told: dict[str, Any] = {"out": out, "epochs": len(trained.epochs), "best_epoch": trained.best_epoch}
    if training.task == "regress":
        told["errors"] = {row.form: row.by_seed[recipe.seed].model_dump() for row in found.errors}
        measure, shown = "R²", {form: f"{of['r2']:.3f}" for form, of in told["errors"].items()}
    else:
        told["accuracy"] = {row.form: row.by_seed[recipe.seed] for row in found.accuracy}
        measure, shown = "accuracy", {form: f"{of:.1%}" for form, of in told["accuracy"].items()}
    if as_json:
        print_json(told)
    else:
        epoch = f"epoch {trained.best_epoch} of {len(trained.epochs)}"
        note(f"wrote {out}: {epoch}, test {measure} {shown['int8']} in int8, {shown['float']} in float")
