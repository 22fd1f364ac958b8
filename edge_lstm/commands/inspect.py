"""``edge-lstm inspect``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm import run_files
from edge_lstm.commands.common import input_option, json_option, load_model, model_samples, print_json, print_table


@click.command(epilog="Example: edge-lstm inspect demo-run --input basic-motions")
@click.argument("model", metavar="M.elstm|RUN")
@input_option
@click.option("--program", is_flag=True, help="Also print the integer operations of one time step.")
@json_option
def command(model: str, source: str | None, program: bool, as_json: bool) -> None:
    """Show layers, formats, sizes, table errors and, on recordings, what the gates do."""
    from edge_lstm.lower import layer_name, lower
    from edge_lstm.statistics import describe, gate_statistics

    quantized = load_model(model)
    found = describe(quantized)
    if source is not None or (Path(model) / run_files.TEST).is_file():
        found["gate_statistics"] = gate_statistics(quantized, model_samples(model, quantized, source))
    lowered = lower(quantized)
    if program:
        found["program"] = {"step": str(lowered.step).splitlines(), "head": str(lowered.head).splitlines()}
    if as_json:
        print_json(found)
        return
    print_table(
        f"{found['name']}: {found['parameters']:,} parameters, {found['model_bytes']:,} bytes, "
        f"{found['multiply_accumulates_per_step']:,} multiply-accumulates a step, {found['pooling']} pooling",
        ["layer", "inputs", "hidden", "gates", "weight bits", "activation bits", "h", "c"],
        [
            [
                k["cell"],
                k["inputs"],
                k["hidden"],
                k["gates"],
                k["weight_bits"],
                k["activation_bits"],
                k["formats"]["h"],
                k["formats"].get("c", ""),
            ]
            for k in found["layers"]
        ],
    )
    print_table(
        "Functions: tables of 256 entries (nearest, interpolated) and linear forms, against the exact function",
        ["result", "function", "form", "format", "largest error", "mean error"],
        [
            [
                f"{layer_name(quantized, n)}.{name}",
                t["function"],
                t["form"],
                t["format"],
                f"{t['largest_error']:.5f}",
                f"{t['mean_error']:.5f}",
            ]
            for n, k in enumerate(found["layers"])
            for name, t in k["tables"].items()
        ],
    )
    for layer in found.get("gate_statistics", []):
        print_table(
            f"Gates of {layer['layer']}; h is zero {layer['h_zero']:.1%} and unchanged "
            f"{layer['h_unchanged']:.1%} of the time, c at its limits {layer['c_saturated']:.2%}",
            ["gate", "open", "changes per step"],
            [[g, f"{v['open']:.1%}", f"{v['changes']:.1%}"] for g, v in layer["gates"].items()],
        )
    if program:
        click.echo(f"\n{lowered.step}\n{lowered.head}")
