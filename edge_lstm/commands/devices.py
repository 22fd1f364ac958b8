"""``edge-lstm devices``."""

from __future__ import annotations

from dataclasses import asdict

import click

from edge_lstm.commands.common import json_option, print_json, print_table


@click.command(epilog="Example: edge-lstm devices --json")
@json_option
def command(as_json: bool) -> None:
    """List the cores that can be emulated, and parts whose memory is known."""
    from edge_lstm.firmware_sim.cores import CORES
    from edge_lstm.parts import PARTS

    rows = [
        {"name": c.name, "title": c.title, "architecture": c.architecture, "dsp": c.has_dsp} for c in CORES.values()
    ]
    if as_json:
        print_json({"devices": rows, "parts": [asdict(part) for part in PARTS.values()]})
    else:
        table = [[r["name"], r["title"], r["architecture"], "yes" if r["dsp"] else "no"] for r in rows]
        print_table("Emulated cores", ["name", "title", "architecture", "DSP extension"], table)
        parts = [[p.name, p.core, p.flash, p.ram] for p in PARTS.values()]
        print_table("Parts, for `export --device`", ["name", "core", "flash [bytes]", "RAM [bytes]"], parts)
