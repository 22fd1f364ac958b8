"""Cost of a model on a core, from a run of its firmware in the emulator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import c99
from edge_lstm.export.c99_layout import check_steps
from edge_lstm.firmware_sim.cores import Core
from edge_lstm.firmware_sim.cores import core as find_core
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.generated import write_sources
from edge_lstm.firmware_sim.toolchain import compile_device, compiler_version
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.runtime import execute
from edge_lstm.timeline import timeline


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
        instructions_per_step: Of ``NAME_step``; of a model that looks at whole windows, those of a window divided by
            its steps.
        instructions_per_result: Of ``NAME_result``: the classifier; 0 of a model that looks at whole windows.
        instructions_per_window: All steps of a window and one result, or ``NAME_run``. A model with outputs for each
            step that streams gives a result after each of them.
        instructions_per_step_by_layer: The same of each layer alone, from its first instruction to the next layer's; of
            a model that looks at whole windows also ``head``. Pooling counts for the layer whose loop it is in.
        instructions_by_function: Mean per step, with the results where each step has one; callees that the compiler
            inlined count for their caller.
        flash_bytes: ``code``, ``tables``, ``weights`` and ``total``.
        ram_bytes: ``state``, ``scratch``, ``stack`` and ``total``; the stack is the deepest of all calls. A model that
            looks at whole windows has no state, and in scratch what it keeps of every step.
        nonzero_hidden: Share of the hidden values that are not zero.
    """

    core: str
    compiler: str
    windows: int
    steps: int
    instructions_per_step: Spread
    instructions_per_result: Spread
    instructions_per_window: Spread
    instructions_per_step_by_layer: dict[str, Spread]
    instructions_by_function: dict[str, float]
    flash_bytes: dict[str, int]
    ram_bytes: dict[str, int]
    nonzero_hidden: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, with stable keys."""
        return asdict(self)


def simulate(
    model: IntegerModel,
    x: Any,
    *,
    lengths: Any = None,
    device: str = "cortex-m4",
    optimize: str = "-O2",
    skip: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Cost:
    """Execute the firmware over windows on an emulated core and count.

    Args:
        model: The model.
        x: (windows, steps, channels) samples in the channels' units.
        lengths: (windows,) steps of each window, of a model for windows of several lengths.
        device: Name of a core.
        optimize: Compiler optimization.
        skip: Layers that skip columns whose element is 0; see ``export.skipping``.
        progress: Told windows done and all windows.

    Raises:
        MissingExtraError: The compiler or the emulator is not installed.
        EdgeLstmError: Bad samples, windows that the model's C does not take, or an unknown core.
    """
    processor = find_core(device)
    integers = model.quantize_input(x)
    if integers.ndim != 3 or 0 in integers.shape:
        raise EdgeLstmError(f"samples have shape {integers.shape}; accepted is (windows, steps, channels)")
    windows, steps, _ = integers.shape
    check_steps(model, steps)
    when = timeline(model.signature, windows, steps, lengths)
    per_window = np.full(windows, steps) if when.lengths is None else when.lengths
    firmware = _Firmware(model, processor, optimize, integers[0].size * model.input_type.itemsize, skip)
    counts = []
    for w in range(windows):
        counts.append(firmware.window(integers[w, : per_window[w]].astype(model.input_type)))
        progress(w + 1, windows)
    executed = int(per_window.sum())
    return Cost(
        core=processor.name,
        compiler=f"{compiler_version()} {optimize}",
        windows=windows,
        steps=executed,
        instructions_per_step=Spread.of(np.concatenate([c.steps for c in counts])),
        instructions_per_result=Spread.of(np.concatenate([c.results for c in counts])),
        instructions_per_window=Spread.of(np.array([c.window for c in counts])),
        instructions_per_step_by_layer={
            layer: Spread.of(np.concatenate([c.layers[layer] for c in counts])) for layer in firmware.layers
        },
        instructions_by_function={name: count / executed for name, count in firmware.functions.items()},
        flash_bytes=firmware.flash,
        ram_bytes=firmware.ram,
        nonzero_hidden=_nonzero_hidden(model, integers, lengths, executed),
    )


def _nonzero_hidden(model: IntegerModel, x: Integers, lengths: Any, executed: int) -> float:
    """What is beyond a window's end is zero, and does not count."""
    trace = execute(model, x, trace="states", lengths=lengths).trace
    nonzero = values = 0
    for stage in lower(model).stages:
        steps = executed if stage.steps is None else len(x) * stage.steps
        for port in stage.states:
            if port.name.endswith(".h"):
                nonzero += int(np.count_nonzero(trace[port.name]))
                values += steps * port.length
    return nonzero / values


@dataclass(frozen=True)
class _Counts:
    """Instructions of a window.

    Attributes:
        steps: (steps,) of each step, or their mean.
        results: Of each result; 0 where there is no such call.
        window: Of the whole window.
        layers: As ``steps``, of each layer.
    """

    steps: NDArray[Any]
    results: NDArray[Any]
    window: int
    layers: dict[str, NDArray[Any]]


class _Firmware:
    """The compiled model in the emulator, called as an application would: reset, step by step, result; or run.

    Args:
        model: The model.
        processor: What it runs on.
        optimize: Compiler optimization.
        samples: Bytes of the longest window.
        skip: Layers that skip columns whose element is 0.
    """

    def __init__(
        self, model: IntegerModel, processor: Core, optimize: str, samples: int, skip: Collection[str] = ()
    ) -> None:
        name, lowered = model.signature.name, lower(model)
        self._name, self._lowered = name, lowered
        functions = ("reset", "step", "result") if lowered.streams else ("run",)
        with tempfile.TemporaryDirectory(prefix="edge-lstm-") as temporary:
            folder = Path(temporary)
            paths = write_sources(model, "none", folder, skip)
            image = folder / "model.elf"
            compile_device(
                processor,
                [paths[f"{name}.c"]],
                image,
                include_dirs=[folder],
                entry_points=[f"{name}_{function}" for function in functions],
                optimize=optimize,
            )
            self._machine = Machine(processor, image)
        sizes = c99.memory(model, processor.kernels, skip)
        rows = 1 if lowered.streams or not lowered.each else lowered.stages[-1].steps or model.signature.steps
        self._layer_of = c99.layer_functions(model, skip)
        self.layers = tuple(dict.fromkeys(self._layer_of.values()))
        for function in self._layer_of:
            self._machine.watch(function)
        self._state = self._machine.alloc(sizes["state"])
        self._scratch = self._machine.alloc(sizes["scratch"])
        self._output = self._machine.alloc(4 * rows * sum(lowered.head.length(o) for o in lowered.outputs))
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

    def window(self, x: NDArray[Any]) -> _Counts:
        """Instructions of a window of samples (steps, channels)."""
        self._machine.write(self._samples, x.tobytes())
        return self._stream(x) if self._lowered.streams else self._run(len(x))

    def _stream(self, x: NDArray[Any]) -> _Counts:
        sample = x[0].nbytes
        self._call("reset", self._state)
        self._machine.counter.reset()
        steps, results, layers = [], [], []
        for t in range(len(x)):
            steps.append(self._call("step", self._state, self._scratch, self._samples + t * sample))
            layers.append(self._by_layer())
            if self._lowered.each:
                results.append(self._result())
        self._add_functions()
        if not self._lowered.each:
            results.append(self._result())
        of_layers = {layer: np.array([counts[layer] for counts in layers]) for layer in self.layers}
        return _Counts(np.array(steps), np.array(results), sum(steps) + sum(results), of_layers)

    def _result(self) -> int:
        return self._call("result", self._state, self._scratch, self._output)

    def _run(self, steps: int) -> _Counts:
        self._machine.counter.reset()
        window = self._call("run", self._scratch, self._samples, steps, self._output)
        self._add_functions()
        of_layers = {layer: np.array([count / steps]) for layer, count in self._by_layer().items()}
        return _Counts(np.array([window / steps]), np.zeros(1), window, of_layers)

    def _by_layer(self) -> dict[str, int]:
        """Instructions of each layer in the latest call, each up to where the next begins."""
        found = dict.fromkeys(self.layers, 0)
        ends = [*(start for _, start in self._machine.visits[1:]), self._machine.instructions]
        for (function, start), end in zip(self._machine.visits, ends, strict=True):
            found[self._layer_of[function]] += end - start
        return found

    def _add_functions(self) -> None:
        """Add what was executed since the counter was reset."""
        for name, count in self._machine.counter.by_function().items():
            self.functions[name] = self.functions.get(name, 0) + count

    def _call(self, function: str, *arguments: int) -> int:
        self._machine.call(f"{self._name}_{function}", *arguments)
        self._stack = max(self._stack, self._machine.stack_used)
        return self._machine.instructions
