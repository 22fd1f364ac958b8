"""What the commands share: arguments, tables, JSON and progress."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np

from edge_lstm import run_files
from edge_lstm.errors import EdgeLstmError
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel

if TYPE_CHECKING:
    from edge_lstm.importing.load import ImportedModel
    from edge_lstm.samples import Samples

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLE_WINDOWS = 8


def json_option(function: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON on standard output.")(
        function
    )


def skip_option(function: F) -> F:
    """``--skip`` and ``--no-skip``."""
    return click.option(
        "--skip/--no-skip",
        default=None,
        help="C for a Cortex-M4, M7 or M33 skips columns of hidden values that are 0: faster where a hard gate makes "
        "most of them 0, at two bytes for a weight.  [default: where at least half are 0 in --input]",
    )(function)


def input_option(function: F) -> F:
    """``--input``."""
    return click.option(
        "--input",
        "source",
        metavar="X.npz|DATA",
        help="Samples: an .npz with an array x (windows, steps, channels), and lengths (windows,) where they differ, "
        "or a data set's name for its test windows. "
        "Without it, the test windows of a training run, or made-up samples.",
    )(function)


def load_model(path: str) -> IntegerModel:
    """The quantized model of an ``.elstm`` file or of a training run's folder."""
    from edge_lstm.storage import load

    return load(Path(path) / run_files.MODEL if Path(path).is_dir() else path)


def load_float_model(path: str) -> FloatModel | ImportedModel:
    """The float model of an ``.onnx`` file, anybody's, or of a training run's folder."""
    if Path(path).is_dir():
        return load_run(path)
    from edge_lstm.importing.load import import_onnx

    return import_onnx(path)


def load_run(path: str) -> FloatModel:
    """The float model of a training run's folder."""
    from edge_lstm.storage import load_float

    return load_float(Path(path) / run_files.FLOAT)


def model_samples(path: str, model: IntegerModel, source: str | None) -> Samples:
    """Samples for a model: as asked for, else a run's test windows, else made up (and said so)."""
    from edge_lstm.samples import Samples, example_samples, read_samples

    if source is None and (Path(path) / run_files.TEST).is_file():
        source = str(Path(path) / run_files.TEST)
    if source is not None:
        return read_samples(source, model.signature)
    note(f"no --input: {EXAMPLE_WINDOWS} windows of made-up samples")
    return Samples(example_samples(model, EXAMPLE_WINDOWS))


def note(text: str) -> None:
    """A line for people, on standard error."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, default=_plain, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on standard output; all but the first column are aligned right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        click.echo(f"\n{title}")
    table = Table(box=box.SIMPLE_HEAD, show_header=any(columns), pad_edge=False)
    for k, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if k and any(columns) else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(_text(cell)) for cell in row])  # Text: [bytes] is no markup
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width
        console = Console(width=140)
    console.print(table)


@contextlib.contextmanager
def progress(description: str) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error, where that is a terminal: yields ``update(done, total, text)``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)

        def update(done: int, total: int, text: str = description) -> None:
            bar.update(task, completed=done, total=total, description=text)

        yield update


def spread(values: Mapping[str, float]) -> list[str]:
    """A spread of counts as cells."""
    return [f"{values[key]:,.0f}" for key in ("mean", "p95", "max")]


def _text(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise EdgeLstmError(f"{type(value).__name__} can't be written as JSON")
