"""``edge-lstm report``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm.commands.common import json_option, note, print_json


@click.command(epilog="Example: edge-lstm report demo-run --out report.html")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", required=True, metavar="REPORT.html", help="File to write.")
@json_option
def command(runs: tuple[str, ...], out: str, as_json: bool) -> None:
    """Write one self-contained HTML page about training runs."""
    from edge_lstm.report import write_report

    write_report([Path(run) for run in runs], Path(out))
    if as_json:
        print_json({"out": out, "bytes": Path(out).stat().st_size})
    else:
        note(f"wrote {out}")
