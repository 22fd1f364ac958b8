"""The generated C99 as a backend: compiled for this computer and run as a process."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution, States, Trace, checked_input
from edge_lstm.fixedpoint import Integers
from edge_lstm.model import QuantizedModel

from .generated import WORD, Exchange, write_sources
from .toolchain import compile_host

_TIMEOUT_S = 600


def execute(
    model: QuantizedModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    optimize: str = "-O2",
    sanitize: bool = False,
) -> Execution:
    """Run the generated C on this computer; see ``execution.Backend``.

    Args:
        model, x, state, trace: As for every backend.
        optimize: ``"-O0"`` to ``"-O3"`` or ``"-Os"``.
        sanitize: Stop at undefined behaviour.

    Raises:
        MissingExtraError: There is no compiler.
        EdgeLstmError: Bad input, or the program failed.
    """
    x = checked_input(model, x)
    exchange = Exchange(model, trace)
    windows, steps, _ = x.shape
    states = exchange.pack_states(windows, state)
    head = np.array([windows, steps, exchange.record_length], WORD)
    samples = x.astype(model.input_type)
    feed = head.tobytes() + b"".join(states[w].tobytes() + samples[w].tobytes() for w in range(windows))
    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as name:
        folder = Path(name)
        paths = write_sources(model, trace, folder)
        sources = [path for path in paths.values() if path.suffix == ".c"]
        program = compile_host(sources, folder / "model", optimize=optimize, sanitize=sanitize)
        done = subprocess.run([program], input=feed, capture_output=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().splitlines()
        raise EdgeLstmError(f"the compiled model ended with status {done.returncode}: {' '.join(message[:3])}")
    lengths = [steps * exchange.record_length, exchange.output_length, exchange.state_length]
    values = np.frombuffer(done.stdout, WORD).reshape(windows, sum(lengths))
    record, final, last = np.split(values, np.cumsum(lengths)[:-1], axis=1)
    return exchange.unpack(record.reshape(windows, steps, -1) if exchange.record_length else record, final, last)
