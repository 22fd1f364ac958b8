"""The generated C99 as a backend: compiled for this computer and run as a process."""

from __future__ import annotations

import subprocess
import tempfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution, States, Trace, checked_input
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_model import IntegerModel

from .generated import WORD, Exchange, write_sources
from .toolchain import compile_host

_TIMEOUT_S = 600


def execute(
    model: IntegerModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    lengths: Any = None,
    optimize: str = "-O2",
    sanitize: bool = False,
) -> Execution:
    """Run the generated C on this computer; see ``execution.Backend``.

    Args:
        model, x, state, trace, lengths: As for every backend.
        optimize: ``"-O0"`` to ``"-O3"`` or ``"-Os"``.
        sanitize: Stop at undefined behaviour.

    Raises:
        MissingExtraError: There is no compiler.
        EdgeLstmError: Bad input, or the program failed.
    """
    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as name:
        folder = Path(name)
        paths = write_sources(model, trace, folder)
        sources = [path for path in paths.values() if path.suffix == ".c"]
        program = compile_host(sources, folder / "model", optimize=optimize, sanitize=sanitize)
        return run_program(program, model, x, state=state, trace=trace, lengths=lengths)


def run_program(
    program: Path,
    model: IntegerModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    lengths: Any = None,
) -> Execution:
    """Run what a compiler made of ``generated.write_sources``.

    Args:
        program: The executable.
        model, x, state, trace, lengths: As for every backend; the trace is that of the sources.

    Raises:
        EdgeLstmError: Bad input, or the program failed.
    """
    x = checked_input(model, x)
    windows, steps, _ = x.shape
    exchange = Exchange(model, trace, steps)
    counts = exchange.pack_steps(windows, lengths)
    states = exchange.pack_states(windows, state)
    samples = x.astype(model.input_type)
    sizes = [prod(exchange.record_shape), prod(exchange.output_shape), exchange.state_length]
    head = np.array([windows, steps, sizes[0], exchange.output_shape[0]], WORD)
    feed = head.tobytes() + b"".join(part[w].tobytes() for w in range(windows) for part in (counts, states, samples))
    done = subprocess.run([program], input=feed, capture_output=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().splitlines()
        raise EdgeLstmError(f"the compiled model ended with status {done.returncode}: {' '.join(message[:3])}")
    values = np.frombuffer(done.stdout, WORD).reshape(windows, sum(sizes))
    record, outputs, last = np.split(values, np.cumsum(sizes)[:-1], axis=1)
    return exchange.unpack(
        record.reshape(windows, *exchange.record_shape), outputs.reshape(windows, *exchange.output_shape), last
    )
