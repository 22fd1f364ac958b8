"""``edge-lstm export``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edge_lstm import run_files
from edge_lstm.api import C_FORMATS, FORMATS, export_model
from edge_lstm.commands.common import input_option, json_option, load_model, load_run, note, print_json, skip_option
from edge_lstm.errors import EdgeLstmError
from edge_lstm.integer_model import IntegerModel


class _Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them."""

    name = "NUMBER[,NUMBER...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number, or numbers with commas between them.", param, ctx)


@click.command(epilog="Example: edge-lstm export demo-run --format c99 --out firmware")
@click.argument("model", metavar="M.elstm|RUN")
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option("--out", required=True, metavar="DIR", help="Folder to write.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other things, which are kept.")
@input_option
@click.option("--name", help="Another name for the model. States that its C saves belong to a model of that name.")
@click.option(
    "--raw-scale",
    type=_Numbers(),
    help="C for raw 16-bit samples: what one unit is worth in the channel's unit; one number, or one for each channel.",
)
@click.option("--raw-offset", type=_Numbers(), help="What a raw 0 is worth in the channel's unit.  [default: 0]")
@click.option(
    "--device",
    help="A core or a part of `edge-lstm devices`: C is measured on it, and must fit.  [default: cortex-m4]",
)
@click.option("--flash", type=click.IntRange(min=1), metavar="BYTES", help="Flash that the model may take.")
@click.option("--ram", type=click.IntRange(min=1), metavar="BYTES", help="RAM that the model may take, with its stack.")
@skip_option
@json_option
def command(
    model: str,
    format_: str,
    out: str,
    force: bool,
    source: str | None,
    name: str | None,
    raw_scale: tuple[float, ...] | None,
    raw_offset: tuple[float, ...] | None,
    device: str | None,
    flash: int | None,
    ram: int | None,
    skip: bool | None,
    as_json: bool,
) -> None:
    """Write a model for another tool."""
    if Path(out).resolve() in (Path(model).resolve(), *Path(model).resolve().parents):
        raise EdgeLstmError(f"{out} holds {model}, which would be replaced; write to another folder")
    if raw_offset is not None and raw_scale is None:
        raise click.UsageError("--raw-offset needs --raw-scale")
    if source is not None and format_ not in C_FORMATS:
        raise click.UsageError(f"--input is what C replays; format {format_} has none")
    options: dict[str, Any] = {"format": format_, "out": out, "force": force, "raw_scale": raw_scale}
    options |= {"raw_offset": raw_offset or (0.0,), "device": device, "flash": flash, "ram": ram}
    options["skip"] = False if skip is None and source is None and format_ in C_FORMATS else skip
    if format_ == "float-onnx":
        if not Path(model).is_dir():
            raise click.UsageError(f"format float-onnx takes the folder of a training run, not {model}")
        written = export_model(load_run(model), **options)
    else:
        quantized = load_model(model)
        if name is not None:
            quantized = _renamed(quantized, name)
        written = export_model(quantized, window=_window(model, quantized, source), **options)
    if as_json:
        print_json({"files": [str(path) for path in written]})
    else:
        for path in written:
            note(f"wrote {path}")


def _renamed(model: Any, name: str) -> IntegerModel:
    """A model of any kind with another name."""
    renamed = replace(model, signature=replace(model.signature, name=name))
    assert isinstance(renamed, IntegerModel)
    return renamed


def _window(path: str, model: IntegerModel, source: str | None) -> Any:
    """The first window of what was asked for, else of a run's test windows; None where there is neither."""
    from edge_lstm.samples import read_samples

    test = Path(path) / run_files.TEST
    if source is None and not test.is_file():
        return None
    samples = read_samples(source or str(test), model.signature)
    return samples.x[0] if samples.lengths is None else samples.x[0, : samples.lengths[0]]
