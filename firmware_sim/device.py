"""The generated C99 as a backend: compiled for a Cortex-M and run by the emulator."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edge_lstm.execution import Execution, States, Trace, checked_input
from edge_lstm.fixedpoint import Integers
from edge_lstm.model import QuantizedModel

from .cores import Core
from .emulator import Machine
from .generated import WORD, Exchange, write_sources
from .toolchain import compile_device


def execute(
    core: Core,
    model: QuantizedModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    optimize: str = "-O2",
) -> Execution:
    """Run the generated C on an emulated core; see ``execution.Backend``.

    Raises:
        MissingExtraError: The compiler or the emulator is not installed.
        EdgeLstmError: Bad input, or the program faulted.
    """
    x = checked_input(model, x)
    exchange = Exchange(model, trace)
    windows, steps, channels = x.shape
    states = exchange.pack_states(windows, state)
    record = np.zeros((windows, steps, exchange.record_length), WORD)
    final = np.zeros((windows, exchange.output_length), WORD)
    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as name:
        folder = Path(name)
        paths = write_sources(model, trace, folder)
        sources = [paths[f"{model.signature.name}.c"], paths["harness.c"]]
        image = folder / "model.elf"
        compile_device(core, sources, image, include_dirs=[folder], entry_points=["harness_window"], optimize=optimize)
        machine = Machine(core, image)
    x_at = machine.alloc(steps * channels * model.input_type.itemsize)
    states_at = machine.alloc(4 * exchange.state_length)
    record_at = machine.alloc(record[0].nbytes) if record.size else 0
    final_at = machine.alloc(4 * exchange.output_length)
    for w in range(windows):
        machine.write(x_at, x[w].astype(model.input_type).tobytes())
        machine.write(states_at, states[w].tobytes())
        machine.call("harness_window", steps, x_at, states_at, record_at, final_at)
        states[w] = np.frombuffer(machine.read(states_at, states[w].nbytes), WORD)
        final[w] = np.frombuffer(machine.read(final_at, final[w].nbytes), WORD)
        if record.size:
            record[w] = np.frombuffer(machine.read(record_at, record[w].nbytes), WORD).reshape(steps, -1)
    return exchange.unpack(record, final, states)
