"""``edge-lstm verify``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm import run_files
from edge_lstm.backends import DEFAULT
from edge_lstm.commands.common import (
    input_option,
    json_option,
    load_float_model,
    load_model,
    model_samples,
    print_json,
    print_table,
    progress,
)
from edge_lstm.errors import is_installed


@click.command(
    epilog="Example: edge-lstm verify demo-run --json\n\n"
    "Example: edge-lstm verify m.elstm --input x.npz --float model.onnx --backends numpy,c"
)
@click.argument("model", metavar="M.elstm|RUN")
@input_option
@click.option(
    "--float",
    "float_path",
    metavar="MODEL.onnx",
    help="Also compare with this float model on onnxruntime; that of RUN is the default.",
)
@click.option("--backends", default=",".join(DEFAULT), show_default=True, help="Two or more, separated by commas.")
@click.option(
    "--trace",
    type=click.Choice(["states", "all"]),
    default="states",
    show_default=True,
    help="Compare the states and outputs of every step, or every intermediate value.",
)
@json_option
def command(model: str, source: str | None, float_path: str | None, backends: str, trace: str, as_json: bool) -> None:
    """Compare the integers of all backends, at every time step, and each step with the exact equations.

    Exits with 1 where an integer differs or a step is out of its bound.
    """
    from edge_lstm.against_float import onnx_scores
    from edge_lstm.step_error import describe
    from edge_lstm.verification import verify

    quantized = load_model(model)
    samples = model_samples(model, quantized, source)
    names = [name.strip() for name in backends.split(",")]
    scores, normalized = None, False
    if float_path is None and Path(model, run_files.ONNX).is_file() and is_installed("onnx", "onnxruntime"):
        float_path = str(Path(model, run_files.ONNX))
    if float_path is not None:
        scores, normalized = onnx_scores(Path(float_path), load_float_model(float_path), samples)
    with progress("verify") as update:
        done = iter(range(len(names) + 1))
        result = verify(
            quantized,
            samples.x,
            lengths=samples.lengths,
            backends=names,
            trace="all" if trace == "all" else "states",
            float_scores=scores,
            normalized=normalized,
            progress=lambda name: update(next(done), len(names) + (scores is not None), name),
        )
    if as_json:
        print_json(result.to_json())
    else:
        rows: list[list[object]] = [
            ["equal", "yes" if result.equal else "NO"],
            ["backends", ", ".join(result.backends)],
            ["windows x steps", f"{result.windows} x {result.steps}"],
            ["integers compared", result.compared],
            ["integers that differ", result.mismatches],
        ]
        if result.first_mismatch is not None:
            rows.append(["first difference", str(result.first_mismatch)])
        rows += [[label, text] for label, text in describe(result.step_errors)]
        if result.float is not None:
            rows.append(["float scores: largest difference", f"{result.float.max_abs:.4f}"])
            rows.append(["float scores: rms difference", f"{result.float.rms:.4f}"])
            if result.float.agreement is not None:
                rows.append(["float classes: agreement", f"{result.float.agreement:.1%}"])
        print_table("Verification", ["", ""], rows)
    if not (result.equal and result.within_bound):
        raise click.exceptions.Exit(1)
