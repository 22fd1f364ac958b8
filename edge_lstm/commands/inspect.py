"""``edge-lstm inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_lstm import run_files
from edge_lstm.commands.common import (
    input_option,
    json_option,
    load_float_model,
    load_model,
    load_run,
    model_samples,
    print_json,
    print_table,
)
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import FloatModel


@click.command(epilog="Example: edge-lstm inspect demo-run --input basic-motions")
@click.argument("model", metavar="M.elstm|RUN")
@input_option
@click.option(
    "--float",
    "float_path",
    metavar="MODEL.onnx",
    help="Also say where the integers differ from this float model, and by how much; that of RUN is the default.",
)
@click.option("--program", is_flag=True, help="Also print the integer operations of one time step.")
@json_option
def command(model: str, source: str | None, float_path: str | None, program: bool, as_json: bool) -> None:
    """Show layers, formats, sizes, table errors and, on recordings, what the gates do and how far floats are."""
    from edge_lstm.lower import layer_name, lower
    from edge_lstm.quantization_error import quantization_error
    from edge_lstm.statistics import describe, gate_statistics

    quantized = load_model(model)
    found = describe(quantized)
    if source is not None or (Path(model) / run_files.TEST).is_file():
        x, lengths = model_samples(model, quantized, source)
        found["gate_statistics"] = gate_statistics(quantized, x, lengths=lengths)
        floating = _float_model(model, float_path, x.shape[1])
        if floating is not None:
            found["quantization_error"] = quantization_error(floating, quantized, x, lengths=lengths).to_json()
    elif float_path is not None:
        raise EdgeLstmError(f"--float {float_path} is compared on recordings: give --input too")
    lowered = lower(quantized)
    if program:
        found["program"] = {p.name.partition(".")[2]: str(p).splitlines() for p in lowered.programs}
    if as_json:
        print_json(found)
        return
    print_table(
        f"{found['name']}: {found['parameters']:,} parameters, {found['model_bytes']:,} bytes, "
        f"{found['multiply_accumulates_per_step']:,} multiply-accumulates a step, {found['pooling']} pooling",
        ["layer", "direction", "inputs", "hidden", "gates", "weight bits", "activation bits", "h", "c"],
        [
            [
                k["cell"],
                k["direction"],
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
    if "quantization_error" in found:
        _print_error(found["quantization_error"])
    if program:
        click.echo("\n" + "\n".join(map(str, lowered.programs)))


def _float_model(model: str, path: str | None, steps: int) -> FloatModel | None:
    """The float model of a file, or of a training run; None where there is neither."""
    if path is None:
        return load_run(model) if (Path(model) / run_files.FLOAT).is_file() else None
    loaded = load_float_model(path)
    return loaded if isinstance(loaded, FloatModel) else loaded.float_model(steps=steps)


def _print_error(found: dict[str, Any]) -> None:
    agreement = "" if found["agreement"] is None else f"; classes agree in {found['agreement']:.1%}"
    print_table(
        f"Against float: scores {found['scores_sqnr_db']:.1f} dB, rms {found['scores_rms']:.4f}{agreement}; "
        f"inputs at their limits {found['inputs_clipped']:.2%}",
        ["value", "signal to noise [dB]", "rms", "at its limits"],
        [
            [f"{t['layer']}.{t['value']}", f"{t['sqnr_db']:.1f}", f"{t['rms']:.5f}", f"{t['clipped']:.2%}"]
            for t in found["tensors"]
        ],
    )
    print_table(
        "States over time",
        ["state", "rms at first", "in the middle", "at last", "growth"],
        [
            [f"{d['layer']}.{d['state']}"]
            + [f"{d['rms'][k]:.5f}" for k in (0, len(d["rms"]) // 2, -1)]
            + [f"{d['growth']:.2f}"]
            for d in found["drift"]
        ],
    )
    if found["levels"]:
        print_table(
            f"Error of the scores by layer: most is that of {' and '.join(found['largest'])}",
            ["layer", "alone in integers", "all but it in integers"],
            [[" ".join(v["layers"]), f"{v['alone_rms']:.4f}", f"{v['without_rms']:.4f}"] for v in found["levels"]],
        )
