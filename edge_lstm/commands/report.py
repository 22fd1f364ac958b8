"""``edge-lstm report``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm.commands.common import json_option, load_model, note, print_json
from edge_lstm.errors import EdgeLstmError


@click.command(
    epilog="Example: edge-lstm report demo-run --out report.html\n\n"
    "Example: edge-lstm report m.elstm --float model.onnx --input x.npz --out error.html"
)
@click.argument("runs", metavar="RUN...|M.elstm", nargs=-1, required=True)
@click.option("--out", required=True, metavar="REPORT.html", help="File to write.")
@click.option(
    "--float",
    "float_path",
    metavar="MODEL.onnx|RUN",
    help="Of M.elstm: the float model that it was made of.",
)
@click.option(
    "--input",
    "source",
    metavar="X.npz|DATA",
    help="Of M.elstm: the samples on which both are compared, an .npz with an array x (windows, steps, channels), and "
    "lengths (windows,) where they differ, or a data set's name for its test windows.",
)
@json_option
def command(runs: tuple[str, ...], out: str, float_path: str | None, source: str | None, as_json: bool) -> None:
    """Write one self-contained HTML page: about training runs, or about the error of a quantized model.

    The second one says where M.elstm differs from its float model: signal-to-noise ratio and clipping of every value,
    the layer that contributes most, and the errors of the states over time. The page of a run has that, too.
    """
    from edge_lstm.report import write_report

    models = [run for run in runs if Path(run).is_file()]
    if not models:
        _refuse_of_runs(float_path, source)
        write_report([Path(run) for run in runs], Path(out))
    elif len(runs) > 1:
        raise EdgeLstmError(f"{models[0]} is a file, and not alone; accepted are run folders, or one M.elstm")
    elif float_path is None or source is None:
        raise EdgeLstmError(
            f"{models[0]} is compared with its float model on recordings: give --float MODEL.onnx and --input X.npz"
        )
    else:
        _report_error(models[0], float_path, source, Path(out))
    if as_json:
        print_json({"out": out, "bytes": Path(out).stat().st_size})
    else:
        note(f"wrote {out}")


def _refuse_of_runs(float_path: str | None, source: str | None) -> None:
    for option, value in (("--float", float_path), ("--input", source)):
        if value is not None:
            raise EdgeLstmError(f"{option} {value} goes with a file M.elstm; a run's folder has its own")


def _report_error(path: str, float_path: str, source: str, out: Path) -> None:
    """The page about one file."""
    from edge_lstm.codec import digest
    from edge_lstm.report import write_error_report
    from edge_lstm.report.comparison import compare
    from edge_lstm.samples import read_samples

    model = load_model(path)
    samples = read_samples(source, model.signature)
    facts = {
        "model": f"{path}, {Path(path).stat().st_size:,} bytes",
        "SHA-256": digest(model),
        "float model": float_path,
        "recordings": source,
        **model.provenance,
    }
    write_error_report(compare(Path(float_path), model, samples, "quantize"), facts, out)
