"""The program ``edge-lstm``. A command's module is imported when the command is called."""

from __future__ import annotations

import importlib
import sys

import click

from edge_lstm._version import __version__
from edge_lstm.errors import EdgeLstmError

COMMANDS = {
    "demo": "the main job, on real smart-watch recordings: train, quantize, verify, simulate, report",
    "train": "train a recurrent network whose integers ship",
    "cross-validate": "train on all subjects but some, in turns, and measure on those",
    "quantize": "float ONNX and recordings to a fixed-point model",
    "export": "write ONNX or C99",
    "run": "compute a model's outputs",
    "verify": "compare the integers of all backends",
    "simulate": "instructions, flash and RAM on an emulated Cortex-M",
    "inspect": "layers, formats, sizes, table errors, gate statistics",
    "report": "an HTML page of training runs, or of a model's error against float",
    "devices": "the cores that can be emulated",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"edge_lstm.commands.{name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: edge-lstm demo --out demo-run",
)
@click.version_option(__version__, prog_name="edge-lstm")
def group() -> None:
    """Recurrent networks on wearables: hard-gate, fixed-point LSTMs whose desktop integers are the device's integers.

    Exit status: 0 success, 1 a check failed, 2 bad usage or bad input.
    """


def main() -> None:
    """Entry point."""
    try:
        status = group.main(prog_name="edge-lstm", standalone_mode=False)
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except click.ClickException as error:
        error.show()
        status = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("edge-lstm: interrupted", err=True)
        status = 130
    except EdgeLstmError as error:
        click.echo(f"edge-lstm: {' '.join(str(error).split())}", err=True)
        status = 2
    except OSError as error:  # a name that the system refuses, a full disk behind standard output
        named = f"{error.filename}: " if error.filename else ""
        click.echo(f"edge-lstm: {named}{error.strerror or error}", err=True)
        status = 2
    sys.exit(status if isinstance(status, int) else 0)
