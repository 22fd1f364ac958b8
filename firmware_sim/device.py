"""The generated C99 as a backend: compiled for a Cortex-M and run by the emulator."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.execution import Execution, States, Trace, checked_input
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_model import IntegerModel

from .cores import Core
from .emulator import Machine
from .generated import WORD, Exchange, write_sources
from .toolchain import compile_device


def execute(
    core: Core,
    model: IntegerModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    lengths: Any = None,
    optimize: str = "-O2",
    skip: Collection[str] = (),
) -> Execution:
    """Run the generated C on an emulated core; see ``execution.Backend``.

    Layers in ``skip`` skip columns whose element is 0, see ``c99.sources``.

    Raises:
        MissingExtraError: The compiler or the emulator is not installed.
        EdgeLstmError: Bad input, or the program faulted.
    """
    x = checked_input(model, x)
    windows, steps, channels = x.shape
    exchange = Exchange(model, trace, steps)
    counts = exchange.pack_steps(windows, lengths)
    states = exchange.pack_states(windows, state)
    record = np.zeros((windows, *exchange.record_shape), WORD)
    outputs = np.zeros((windows, *exchange.output_shape), WORD)
    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as name:
        folder = Path(name)
        paths = write_sources(model, trace, folder, skip)
        sources = [paths[f"{model.signature.name}.c"], paths["harness.c"]]
        image = folder / "model.elf"
        compile_device(core, sources, image, include_dirs=[folder], entry_points=["harness_window"], optimize=optimize)
        machine = Machine(core, image)
    x_at = machine.alloc(steps * channels * model.input_type.itemsize)
    states_at = machine.alloc(4 * exchange.state_length)
    record_at = machine.alloc(record[0].nbytes) if record.size else 0
    outputs_at = machine.alloc(outputs[0].nbytes)
    exchanged = [(states, states_at), (outputs, outputs_at), *([(record, record_at)] if record.size else [])]
    for w in range(windows):
        machine.write(x_at, x[w].astype(model.input_type).tobytes())
        for values, address in exchanged:
            machine.write(address, values[w].tobytes())
        machine.call("harness_window", int(counts[w]), x_at, states_at, record_at, outputs_at, outputs.shape[1])
        for values, address in exchanged:
            values[w] = np.frombuffer(machine.read(address, values[w].nbytes), WORD).reshape(values[w].shape)
    return exchange.unpack(record, outputs, states)
