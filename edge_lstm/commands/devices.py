"""``edge-lstm devices``."""

from __future__ import annotations

import click

from edge_lstm.commands.common import json_option, print_json, print_table


@click.command(epilog="Example: edge-lstm devices --json")
@json_option
def command(as_json: bool) -> None:
    """List the cores that can be emulated."""
    from edge_lstm.firmware_sim.cores import CORES

    rows = [
        {"name": c.name, "title": c.title, "architecture": c.architecture, "dsp": c.has_dsp} for c in CORES.values()
    ]
    if as_json:
        print_json({"devices": rows})
    else:
        table = [[r["name"], r["title"], r["architecture"], "yes" if r["dsp"] else "no"] for r in rows]
        print_table("Emulated cores", ["name", "title", "architecture", "DSP extension"], table)
