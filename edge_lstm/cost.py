"""Cost of a model on a core, from a run of its firmware in the emulator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import c99
from edge_lstm.firmware_sim.cores import Core
from edge_lstm.firmware_sim.cores import core as find_core
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.generated import write_sources
from edge_lstm.firmware_sim.toolchain import compile_device, compiler_version
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute


@dataclass(frozen=True)
class Spread:
    """Mean, 95th percentile and maximum."""

    mean: float
    p95: float
    max: float

    @staticmethod
    def of(values: NDArray[Any]) -> Spread:
        """Of a non-empty array."""
        return Spread(float(values.mean()), float(np.percentile(values, 95)), float(values.max()))


@dataclass(frozen=True)
class Cost:
    """Measured by executing the firmware.

    Attributes:
        core: Name of the core.
        compiler: What compiled the firmware, and with which optimization.
        windows, steps: Executed.
        instructions_per_step: Of ``NAME_step``.
        instructions_per_result: Of ``NAME_result``: the classifier.
        instructions_per_window: All steps of a window and one result.
        instructions_by_function: Mean per step; callees that the compiler inlined count for their caller.
        flash_bytes: ``code``, ``tables``, ``weights`` and ``total``.
        ram_bytes: ``state``, ``scratch``, ``stack`` and ``total``; the stack is the deepest of step and result.
        nonzero_hidden: Share of the hidden values that are not zero.
    """

    core: str
    compiler: str
    windows: int
    steps: int
    instructions_per_step: Spread
    instructions_per_result: Spread
    instructions_per_window: Spread
    instructions_by_function: dict[str, float]
    flash_bytes: dict[str, int]
    ram_bytes: dict[str, int]
    nonzero_hidden: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, with stable keys."""
        return asdict(self)


def simulate(
    model: QuantizedModel,
    x: Any,
    *,
    device: str = "cortex-m4",
    optimize: str = "-O2",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Cost:
    """Execute the firmware over windows on an emulated core and count.

    Args:
        model: The model.
        x: (windows, steps, channels) samples in the channels' units.
        device: Name of a core.
        optimize: Compiler optimization.
        progress: Told windows done and all windows.

    Raises:
        MissingExtraError: The compiler or the emulator is not installed.
        EdgeLstmError: Bad samples or an unknown core.
    """
    processor = find_core(device)
    integers = model.quantize_input(x)
    if integers.ndim != 3 or 0 in integers.shape:
        raise EdgeLstmError(f"samples have shape {integers.shape}; accepted is (windows, steps, channels)")
    firmware = _Firmware(model, processor, optimize, integers[0].size * model.input_type.itemsize)
    windows, steps, _ = integers.shape
    per_step, per_result = np.zeros((windows, steps)), np.zeros(windows)
    for w in range(windows):
        per_step[w], per_result[w] = firmware.window(integers[w].astype(model.input_type))
        progress(w + 1, windows)
    hidden = execute(model, integers, trace="states").trace
    values = np.concatenate([v.ravel() for name, v in hidden.items() if name.endswith(".h")])
    return Cost(
        core=processor.name,
        compiler=f"{compiler_version()} {optimize}",
        windows=windows,
        steps=windows * steps,
        instructions_per_step=Spread.of(per_step),
        instructions_per_result=Spread.of(per_result),
        instructions_per_window=Spread.of(per_step.sum(axis=1) + per_result),
        instructions_by_function={name: count / per_step.size for name, count in firmware.functions.items()},
        flash_bytes=firmware.flash,
        ram_bytes=firmware.ram,
        nonzero_hidden=float((values != 0).mean()),
    )


class _Firmware:
    """The compiled model in the emulator, called as an application would: reset, step by step, result.

    Args:
        model: The model.
        processor: What it runs on.
        optimize: Compiler optimization.
        samples: Bytes of the longest window.
    """

    def __init__(self, model: QuantizedModel, processor: Core, optimize: str, samples: int) -> None:
        name = self._name = model.signature.name
        entries = [f"{name}_reset", f"{name}_step", f"{name}_result"]
        with tempfile.TemporaryDirectory(prefix="edge-lstm-") as temporary:
            folder = Path(temporary)
            paths = write_sources(model, "none", folder)
            image = folder / "model.elf"
            compile_device(
                processor,
                [paths[f"{name}.c"]],
                image,
                include_dirs=[folder],
                entry_points=entries,
                optimize=optimize,
            )
            self._machine = Machine(processor, image)
        lowered, sizes = lower(model), c99.memory(model)
        self._state = self._machine.alloc(sizes["state"])
        self._scratch = self._machine.alloc(sizes["scratch"])
        self._output = self._machine.alloc(4 * sum(lowered.head.length(o) for o in lowered.outputs))
        self._samples = self._machine.alloc(samples)
        self._sizes, self._stack = sizes, 0
        self.functions: dict[str, int] = {}
        by = self._machine.image.flash_by(lambda symbol: c99.symbol_category(model, symbol))
        by = {"code": by.get("code", 0) + by.get("padding", 0), **{k: by.get(k, 0) for k in ("tables", "weights")}}
        self.flash = {**by, "total": sum(by.values())}

    @property
    def ram(self) -> dict[str, int]:
        """Bytes; the stack as deep as any call so far went."""
        parts = {"state": self._sizes["state"], "scratch": self._sizes["scratch"], "stack": self._stack}
        return {**parts, "total": sum(parts.values())}

    def window(self, x: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
        """Instructions of each step and of the result."""
        sample = x[0].nbytes
        self._machine.write(self._samples, x.tobytes())
        self._call("reset", self._state)
        self._machine.counter.reset()
        counts = [self._call("step", self._state, self._scratch, self._samples + t * sample) for t in range(len(x))]
        for name, count in self._machine.counter.by_function().items():
            self.functions[name] = self.functions.get(name, 0) + count
        return np.array(counts), self._call("result", self._state, self._scratch, self._output)

    def _call(self, function: str, *arguments: int) -> int:
        self._machine.call(f"{self._name}_{function}", *arguments)
        self._stack = max(self._stack, self._machine.stack_used)
        return self._machine.instructions
