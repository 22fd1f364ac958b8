"""The options of a recipe, which the commands that train share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edge_lstm.cells import CELLS
from edge_lstm.commands.common import F, note
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import MODES
from edge_lstm.model import POOLINGS
from edge_lstm.recipes import ANNEALED, RECIPES, options_of
from edge_lstm.train_options import CLASS_WEIGHTS, DIRECTIONS, METRICS, TrainOptions

if TYPE_CHECKING:
    from edge_lstm.data import Dataset
    from edge_lstm.model import FloatModel

DEFAULTS = TrainOptions()
BIDIRECTIONAL = "bidirectional"
_OTHER = ("recipe", "average", "max_bytes", "teacher")


def _option(name: str, text: str) -> Callable[[F], F]:
    default, option = getattr(DEFAULTS, name), f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        return click.option(option, is_flag=True, help=text)
    return click.option(option, type=type(default), default=default, show_default=True, help=text)


def _average(_context: click.Context, _parameter: click.Parameter, value: int) -> int:
    if value < 1:
        raise EdgeLstmError(f"--average is {value}; accepted are 1 and more")
    return value


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--recipe",
        default=ANNEALED,
        show_default=True,
        metavar="NAMES",
        help=f"What sets the options that are not given: {', '.join(RECIPES)}; or several, such as inertial,sparse.",
    ),
    click.option(
        "--average",
        default=1,
        show_default=True,
        callback=_average,
        help="Make each step the mean of so many samples: a lower rate and fewer steps.",
    ),
    click.option("--max-bytes", default=0, help="As many units as the integer model has room for in so many bytes."),
    click.option("--teacher", default="", metavar="RUN", help="Learn from this run's float model, too (--distill)."),
    _option("cell", f"Cell: {', '.join(CELLS)}."),
    _option("gates", f"Gate modes: {', '.join(MODES)}, or a list such as i=hard,f=soft,o=hard."),
    _option("squash", "Squashing functions: exact, or hard (piecewise linear)."),
    _option("weight_bits", "Of weights: 8, 4 or 2 (ternary), or one for each layer, such as 8,4."),
    _option("activation_bits", "Of inputs and hidden states: 8 or 16, or one for each layer."),
    _option("input_gain", "Multiply inputs by integers first, so that few bits hold recurrent weights as finely."),
    _option("activations", "Tables: lut (nearest entry) or lut-interp."),
    _option("hidden", "Units of each layer."),
    _option("outputs", "Length of h of the cell lstmp; 0: half of the units."),
    _option("layers", "Number of layers."),
    _option("direction", f"Of the layers: {', '.join(DIRECTIONS)}, or one for each, such as bidirectional,forward."),
    click.option("--bidirectional", is_flag=True, help="The same as --direction bidirectional."),
    _option("pooling", f"What the dense layer reads of h over time: {', '.join(POOLINGS)} (each: h at each step)."),
    _option("decoder", "Outputs of a sequence-to-sequence model; 0: it is none."),
    _option("probabilities", "The classifier also gives softmax of its scores."),
    _option("relu", "Widths of dense layers with relu before the last one, such as 32,16."),
    _option("epochs", "Of all phases together."),
    _option("quantized_from", "Share of the epochs after which the forward pass computes integers; 1: never."),
    _option("rounded_from", "Share of the epochs after which float forward passes use the integer weights' values."),
    _option("hard_from", "Share of the epochs after which annealed gates are thresholds."),
    _option("slope_first", "Of annealed gates, at first."),
    _option("slope_last", "Of annealed gates, at last."),
    _option("gate_noise", "Logistic noise of annealed gates (Gumbel-sigmoid)."),
    _option("surrogate_slope", "Of the derivative that thresholds are given."),
    _option("averaging", "Decay of the average of the weights that ships; 0: the last ones; 1: the mean of all."),
    _option("distill", "Share of the loss that is what the teacher says."),
    _option("temperature", "Of what the teacher says."),
    _option("open_penalty", "Weights of the gates' mean values in the loss, such as o=0.3."),
    _option("open_rate", "Mean values that gates are to come down to, such as o=0.25."),
    _option("change_penalty", "Weight in the loss of the mean change of h from step to step."),
    _option("budget_macs", "Share of the products that closed gates are to leave, such as 0.3."),
    _option("batch", "Windows of a step."),
    _option("learning_rate", "Largest of the schedule."),
    _option("gain", "Augmentation: scale each channel by about so much."),
    _option("offset", "Augmentation: add to each channel about so many standard deviations."),
    _option("jitter", "Augmentation: add noise of so many standard deviations."),
    _option("magnitude", "Augmentation: scale the window by about so much."),
    _option("rotation", "Augmentation: turn the sensor by so many radians."),
    _option("shift", "Augmentation: move by so much of the window."),
    _option("warp", "Augmentation: vary the speed by so much."),
    _option("mute", "Augmentation: silence each sensor in so much of the windows."),
    _option("validation", "Share of the training windows held out; 0: none, and no early stopping."),
    _option("patience", "Stop after so many epochs that were no better on the windows held out."),
    _option(
        "metric", f"What is better on them: {', '.join(METRICS)}; auto: accuracy of a classifier, r2 of a regression."
    ),
    _option("class_weights", f"Of the loss: {', '.join(CLASS_WEIGHTS)} (classes count alike, however rare)."),
    _option("seed", "Of all that is random."),
)


def recipe_options(function: F) -> F:
    """All of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def recipe_of(options: dict[str, Any]) -> TrainOptions:
    """What they say.

    Raises:
        EdgeLstmError: Two contradict each other, or one is refused.
    """
    context = click.get_current_context()
    said = {name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    options, names = dict(options), options["recipe"]
    for name in _OTHER:
        options.pop(name)
    if options.pop(BIDIRECTIONAL):
        said.add("direction")
        if options["direction"] != DEFAULTS.direction:
            raise EdgeLstmError(f"--bidirectional and --direction {options['direction']} can't both be given")
        options["direction"] = BIDIRECTIONAL
    return options_of(names, {name: options[name] for name in options if name in said})


def parts_of(data: str, options: dict[str, Any]) -> tuple[Dataset, Dataset]:
    """Training and test windows of a data set, averaged as the options say.

    Raises:
        EdgeLstmError: There is no such data set, or its samples can't be averaged.
    """
    from edge_lstm.data import averaged, load, train_test

    training, test = train_test(averaged(load(data), options["average"]))
    return training, test


def sized(recipe: TrainOptions, training: Dataset, options: dict[str, Any]) -> TrainOptions:
    """The recipe with as many units as there is room for, where a number of bytes is given.

    Raises:
        EdgeLstmError: There is room for none.
    """
    from edge_lstm.nn.sizing import widest

    most = options["max_bytes"]
    if not most:
        return recipe
    if click.get_current_context().get_parameter_source("hidden") is not ParameterSource.DEFAULT:
        raise EdgeLstmError(f"--max-bytes {most} and --hidden {recipe.hidden} can't both be given")
    found = widest(training, recipe, most)
    note(f"{found.hidden} units fit into {most} bytes")
    return found


def teacher_of(options: dict[str, Any]) -> FloatModel | None:
    """The float model of the run that is the teacher.

    Raises:
        EdgeLstmError: There is no such run.
    """
    from edge_lstm import run_files
    from edge_lstm.storage import load_float

    return load_float(Path(options["teacher"], run_files.FLOAT)) if options["teacher"] else None
