"""``edge-lstm run``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from edge_lstm.commands.common import json_option, load_float_model, load_model, note, print_json
from edge_lstm.errors import EdgeLstmError
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel


@click.command(epilog="Example: edge-lstm run m.elstm --input x.npz --out y.npz --backend c")
@click.argument("model", metavar="M.elstm|MODEL.onnx|RUN")
@click.option(
    "--input",
    "source",
    required=True,
    metavar="X.npz|DATA",
    help="An .npz with x (windows, steps, channels), or of an .onnx of others one array for each input, laid out as in "
    "the file; and lengths (windows,) where they differ; or a data set's name "
    "for its test windows.",
)
@click.option("--out", required=True, metavar="Y.npz", help="File to write: scores, and of a classifier class_index.")
@click.option(
    "--backend",
    default="numpy",
    show_default=True,
    help="numpy, onnxruntime, c, device, or a core's name; a float .onnx is evaluated in numpy.",
)
@click.option("--raw", is_flag=True, help="Write the integers of a quantized model.")
@json_option
def command(model: str, source: str, out: str, backend: str, raw: bool, as_json: bool) -> None:
    """Compute a model's outputs."""
    from edge_lstm.api import run
    from edge_lstm.npz import write_arrays
    from edge_lstm.samples import file_inputs, read_samples

    loaded = load_float_model(model) if Path(model).suffix == ".onnx" else load_model(model)
    if not isinstance(loaded, FloatModel | IntegerModel):
        if backend != "numpy" or raw:
            raise EdgeLstmError(f"a float model runs in numpy and has no integers; backend {backend!r}, raw {raw}")
        outputs = loaded.run(file_inputs(loaded, Path(source)))
        write_arrays(Path(out), **outputs)
        if as_json:
            print_json({"out": out, "outputs": {name: list(value.shape) for name, value in outputs.items()}})
        else:
            note(f"wrote {out}: {', '.join(f'{name} {value.shape}' for name, value in outputs.items())}")
        return
    x, lengths = read_samples(source, loaded.signature)
    outputs = run(loaded, x, lengths=lengths, backend=backend, raw=raw)
    write_arrays(Path(out), **outputs)
    if as_json:
        found = {"out": out, "windows": len(x)}
        if "class_index" in outputs:
            counts = np.bincount(np.ravel(outputs["class_index"]), minlength=len(loaded.signature.classes))
            found["classes"] = dict(zip(loaded.signature.classes, counts.tolist(), strict=True))
        print_json(found)
    else:
        note(f"wrote {out}: {len(x)} windows")
