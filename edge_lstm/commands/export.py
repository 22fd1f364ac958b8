"""``edge-lstm export``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm import run_files
from edge_lstm.api import FORMATS, export_model
from edge_lstm.commands.common import json_option, load_model, load_run, note, print_json
from edge_lstm.errors import EdgeLstmError


@click.command(epilog="Example: edge-lstm export demo-run --format c99 --out firmware")
@click.argument("model", metavar="M.elstm|RUN")
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option("--out", required=True, metavar="DIR", help="Folder to write.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other things, which are kept.")
@json_option
def command(model: str, format_: str, out: str, force: bool, as_json: bool) -> None:
    """Write a model for another tool."""
    from edge_lstm.samples import read_samples

    if Path(out).resolve() in (Path(model).resolve(), *Path(model).resolve().parents):
        raise EdgeLstmError(f"{out} holds {model}, which would be replaced; write to another folder")
    window = None
    if format_ == "float-onnx":
        if not Path(model).is_dir():
            raise click.UsageError(f"format float-onnx takes the folder of a training run, not {model}")
        written = export_model(load_run(model), format=format_, out=out, force=force)
    else:
        quantized = load_model(model)
        test = Path(model) / run_files.TEST
        if test.is_file():
            window = read_samples(str(test), quantized.signature).x[0]
        written = export_model(quantized, format=format_, out=out, window=window, force=force)
    if as_json:
        print_json({"files": [str(path) for path in written]})
    else:
        for path in written:
            note(f"wrote {path}")
