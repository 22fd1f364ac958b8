"""``edge-lstm simulate``."""

from __future__ import annotations

from typing import Any

import click

from edge_lstm.commands.common import (
    input_option,
    json_option,
    load_model,
    model_samples,
    print_json,
    print_table,
    progress,
    skip_option,
    spread,
)


@click.command(epilog="Example: edge-lstm simulate demo-run --device cortex-m0plus")
@click.argument("model", metavar="M.elstm|RUN")
@click.option("--device", default="cortex-m4", show_default=True, help="A core; see `edge-lstm devices`.")
@input_option
@click.option(
    "--optimize",
    type=click.Choice(["-O1", "-O2", "-O3", "-Os"]),
    default="-O2",
    show_default=True,
    help="Compiler optimization.",
)
@skip_option
@json_option
def command(model: str, device: str, source: str | None, optimize: str, skip: bool | None, as_json: bool) -> None:
    """Run the generated firmware on an emulated core and count instructions, flash and RAM."""
    from edge_lstm.cost import simulate
    from edge_lstm.export.skipping import refusals, skipped_layers

    quantized = load_model(model)
    x, lengths = model_samples(model, quantized, source)
    layers = skipped_layers(quantized, skip, x=x if source else None, lengths=lengths)
    options: dict[str, Any] = {"device": device, "optimize": optimize, "skip": layers}
    with progress("windows") as update:
        cost = simulate(quantized, x, lengths=lengths, progress=update, **options).to_json()
    cost["skipping"] = {layer: layer in layers for layer in refusals(quantized)}
    if as_json:
        print_json(cost)
        return
    counts = [
        [what.replace("_", " ").removeprefix("instructions per "), *spread(cost[what])]
        for what in ("instructions_per_step", "instructions_per_result", "instructions_per_window")
    ]
    print_table(f"Instructions on {cost['core']}", ["per", "mean", "95th percentile", "largest"], counts)
    rows = [[name, *spread(count)] for name, count in cost["instructions_per_step_by_layer"].items()]
    print_table("Instructions per step", ["layer", "mean", "95th percentile", "largest"], rows)
    if skip or layers:
        reasons = [[k, "skipped" if k in layers else why or "not skipped"] for k, why in refusals(quantized).items()]
        print_table("Columns of zeros, on Cortex-M4, M7 and M33", ["layer", ""], reasons)
    print_table("Flash [bytes]", list(cost["flash_bytes"]), [list(cost["flash_bytes"].values())])
    print_table("RAM [bytes]", list(cost["ram_bytes"]), [list(cost["ram_bytes"].values())])
    print_table(
        "", ["", ""], [["non-zero hidden values", f"{cost['nonzero_hidden']:.1%}"], ["compiler", cost["compiler"]]]
    )
