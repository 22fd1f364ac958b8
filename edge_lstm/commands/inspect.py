"""``edge-lstm inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_lstm import run_files
from edge_lstm.commands.common import (
    input_option,
    json_option,
    load_model,
    model_samples,
    print_json,
    print_table,
)
from edge_lstm.errors import EdgeLstmError


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
    from edge_lstm.against_float import error_against
    from edge_lstm.lower import lower, named_layers
    from edge_lstm.statistics import describe, gate_statistics

    quantized = load_model(model)
    found = describe(quantized)
    if source is not None or (Path(model) / run_files.TEST).is_file():
        samples = model_samples(model, quantized, source)
        found["gate_statistics"] = gate_statistics(quantized, samples.x, lengths=samples.lengths)
        if float_path is not None or (Path(model) / run_files.FLOAT).is_file():
            found["quantization_error"] = error_against(Path(float_path or model), quantized, samples).to_json()
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
        f"{found['multiply_accumulates_per_step']:,} multiply-accumulates a step, "
        + (quantized.title if found["pooling"] is None else f"{found['pooling']} pooling"),
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
    names = [name for name, _ in named_layers(quantized)]
    print_table(
        "Functions: tables of 256 entries (nearest, interpolated) and linear forms, against the exact function",
        ["result", "function", "form", "format", "largest error", "mean error"],
        [
            [
                f"{names[n]}.{name}",
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


def _print_error(found: dict[str, Any]) -> None:
    agreement = "" if found["agreement"] is None else f"; classes agree in {found['agreement']:.1%}"
    if found["onnxruntime"] is not None and agreement:
        agreement += f" ({found['onnxruntime']['agreement']:.1%} on onnxruntime)"
    print_table(
        f"Against float: scores {found['scores_sqnr_db']:.1f} dB, rms {found['scores_rms']:.4f}{agreement}; "
        f"inputs at their limits {found['inputs_clipped']:.2%}",
        ["value", "format", "signal to noise [dB]", "rms", "at its limits", "beyond them"],
        [
            [f"{t['layer']}.{t['value']}", t["stored"], f"{t['sqnr_db']:.1f}", f"{t['rms']:.5f}"]
            + [f"{t[share]:.2%}" for share in ("clipped", "beyond")]
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
        least = min(v["without_rms"] for v in found["levels"])
        most = f": most is that of {' and '.join(found['largest'])}" if least < found["scores_rms"] else ""
        print_table(
            f"Error of the scores by layer{most}",
            ["layer", "alone in integers", "all but it in integers"],
            [[" ".join(v["layers"]), f"{v['alone_rms']:.4f}", f"{v['without_rms']:.4f}"] for v in found["levels"]],
        )
