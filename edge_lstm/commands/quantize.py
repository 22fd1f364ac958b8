"""``edge-lstm quantize``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm.commands.common import json_option, load_float_model, note, print_json
from edge_lstm.gates import MODES


@click.command(epilog="Example: edge-lstm quantize model.onnx --calibration x.npz --out m.elstm")
@click.argument("model", metavar="MODEL.onnx|RUN")
@click.option(
    "--calibration",
    "--calib",
    required=True,
    metavar="X.npz|DATA",
    help="Recordings like those that the device will see: an .npz with x (windows, steps, channels), or a data "
    "set's name for its training windows.",
)
@click.option("--out", required=True, metavar="M.elstm", help="File to write.")
@click.option(
    "--gates",
    help=f"Gate modes: {', '.join(MODES)}, or a list such as i=hard,f=soft,o=hard; as trained by default.",
)
@click.option("--weight-bits", default="8", show_default=True, help="8, 4 or 2 (ternary), or one for each layer: 8,4.")
@click.option(
    "--activation-bits",
    default="8",
    show_default=True,
    help="Of inputs and hidden states: 8 or 16, or one for each layer.",
)
@click.option("--activations", default="lut", show_default=True, help="Tables: lut (nearest entry) or lut-interp.")
@json_option
def command(
    model: str,
    calibration: str,
    out: str,
    gates: str | None,
    weight_bits: str,
    activation_bits: str,
    activations: str,
    as_json: bool,
) -> None:
    """Quantize a float model after training."""
    from edge_lstm.codec import digest
    from edge_lstm.ptq import quantize
    from edge_lstm.samples import read_samples

    float_model = load_float_model(model)
    x = read_samples(calibration, float_model.signature, part="train")
    quantized = quantize(
        float_model,
        calibration=x,
        gates=gates,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        activations=activations,
    )
    quantized.save(out)
    if as_json:
        print_json({"out": out, "bytes": Path(out).stat().st_size, "sha256": digest(quantized), "windows": len(x)})
    else:
        note(f"wrote {out}, calibrated on {len(x)} windows")
