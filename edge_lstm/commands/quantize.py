"""``edge-lstm quantize``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from edge_lstm.commands.common import json_option, load_float_model, note, print_json, progress
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import MODES
from edge_lstm.model import FloatModel

if TYPE_CHECKING:
    from edge_lstm.importing.load import ImportedModel

F = Callable[..., Any]


def _calibration_options(function: F) -> F:
    """What is quantized, on what, and to where."""
    for option in (
        click.option(
            "--calibration",
            "--calib",
            required=True,
            metavar="X.npz|X.npy|DATA|random-normal",
            help="Recordings like those that the device will see: an .npz with x (windows, steps, channels), a .npy of "
            "it, which is read piece by piece, or a data set's name for its training windows. Where windows differ in "
            "length, also lengths (windows,). Where there are none, random-normal: white noise, good for a first try.",
        ),
        click.option("--out", required=True, metavar="M.elstm", help="File to write."),
    )[::-1]:  # the last one applied is shown first
        function = option(function)
    return function


def _format_options(function: F) -> F:
    """Which formats."""
    for option in (
        click.option(
            "--gates",
            help=f"Gate modes: {', '.join(MODES)}, or a list such as i=hard,f=soft,o=hard; as trained by default. Hard "
            "gates that were trained soft get thresholds by a search; training them hard does better.",
        ),
        click.option(
            "--weight-bits", default="8", show_default=True, help="8, 4 or 2 (ternary), or one for each layer: 8,4."
        ),
        click.option(
            "--activation-bits",
            default="8",
            show_default=True,
            help="Of inputs and hidden states: 8 or 16, or one for each layer.",
        ),
        click.option(
            "--activations", default="lut", show_default=True, help="Tables: lut (nearest entry) or lut-interp."
        ),
        click.option(
            "--max-drop",
            type=float,
            help="Narrow weights as long as no more points are lost: of accuracy where the calibration has labels "
            "(y, or a data set's), else of agreement with the float model.",
        ),
        click.option("--max-bytes", type=int, help="Narrow weights until the model has no more bytes."),
    )[::-1]:  # the last one applied is shown first
        function = option(function)
    return function


def _fit_options(function: F) -> F:
    """How the integers are fitted to the recordings."""
    for option in (
        click.option(
            "--range",
            "range_method",
            default="minmax",
            show_default=True,
            help="Of inputs and states: minmax, percentile, mse or entropy.",
        ),
        click.option("--percentile", default=99.99, show_default=True, help="Of --range percentile."),
        click.option(
            "--rounding",
            default="reconstruct",
            show_default=True,
            help="Of weights: reconstruct, what comes nearest on the recordings, or nearest.",
        ),
        click.option(
            "--bias-correction/--no-bias-correction",
            default=True,
            show_default=True,
            help="Biases give mean pre-activations as in float.",
        ),
        click.option(
            "--equalization/--no-equalization",
            default=True,
            show_default=True,
            help="Scale units without a bound (relu, projection) to one range.",
        ),
    )[::-1]:  # the last one applied is shown first
        function = option(function)
    return function


@click.command(epilog="Example: edge-lstm quantize model.onnx --calibration x.npz --out m.elstm")
@click.argument("model", metavar="MODEL.onnx|RUN")
@_calibration_options
@_format_options
@_fit_options
@json_option
def command(
    model: str, calibration: str, out: str, range_method: Any, as_json: bool, max_drop: float | None, **options: Any
) -> None:
    """Quantize a float model after training."""
    from edge_lstm.codec import digest
    from edge_lstm.ptq import post_training
    from edge_lstm.ptq_options import RANDOM_NORMAL, RANDOM_WARNING, RANDOM_WINDOWS, PtqOptions

    asked = PtqOptions(range=range_method, max_drop=max_drop, **options)
    loaded = load_float_model(model)
    noise = calibration == RANDOM_NORMAL
    x: Any = RANDOM_NORMAL
    lengths = labels = None
    if noise:
        note(f"WARNING: {RANDOM_WARNING}")
    else:
        x, lengths = _recordings(loaded, calibration)
        labels = _labels(calibration) if max_drop is not None else None
    with progress("calibration") as update, warnings.catch_warnings():
        warnings.simplefilter("ignore" if noise else "default")  # said above
        found = post_training(loaded, asked, calibration=x, lengths=lengths, labels=labels, progress=update)
    found.quantized.save(out)
    windows = RANDOM_WINDOWS if noise else len(x)
    if as_json:
        written = {"out": out, "bytes": Path(out).stat().st_size, "sha256": digest(found.quantized)}
        on = {"windows": windows, "calibration": RANDOM_NORMAL if noise else "recordings"}
        print_json({**written, **on, **found.to_json()})
        return
    note(f"wrote {out}, calibrated on {windows} windows{' of white noise' if noise else ''}")
    for line in (*map(str, found.known), *_sentences(found.to_json())):
        note(line)


def _sentences(chosen: dict[str, Any]) -> list[str]:
    """What was chosen, for people."""
    layers = ", ".join(f"{k['weight_bits']}/{k['activation_bits']}" for k in chosen["layers"])
    lines = [f"bits of weights/activations: {layers}; {chosen['model_bytes']:,} bytes of weights, biases and tables"]
    if chosen["agreement"] is not None:
        lines.append(f"agrees with the float model on {chosen['agreement']:.1%} of the calibration")
    if chosen["thresholds_searched"]:
        lines.append(
            f"{chosen['thresholds_searched']} gates became thresholds after training; training them hard does better"
        )
    return lines


def _recordings(model: FloatModel | ImportedModel, source: str) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Samples like those of the model, and lengths of windows where these differ."""
    from edge_lstm.samples import read_samples, window_steps

    if source.endswith(".npy") and Path(source).is_file():
        return _mapped(source), None
    if not isinstance(model, FloatModel):
        return read_samples(source, model.any_model(steps=window_steps(source, part="train")).signature, part="train")
    return read_samples(source, model.signature, part="train")


def _mapped(path: str) -> NDArray[Any]:
    """An array that stays in its file."""
    try:
        x: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise EdgeLstmError(f"{path}: can't be read as a .npy file of a plain array: {error}") from None
    if x.ndim != 3 or 0 in x.shape:
        raise EdgeLstmError(f"{path}: x has shape {x.shape}; accepted is (windows, steps, channels)")
    return x


def _labels(source: str) -> NDArray[np.int64] | None:
    """Class indices of the recordings, where they have some."""
    from edge_lstm.data import load, names, train_test
    from edge_lstm.npz import read_arrays

    if source in names():
        training, _ = train_test(load(source))
        return training.labels if training.task == "classify" else None
    if source.endswith(".npy"):
        return None
    y = read_arrays(Path(source)).get("y")
    return y if y is not None and y.dtype.kind in "iu" else None
