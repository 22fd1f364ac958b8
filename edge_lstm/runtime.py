"""The NumPy backend: batched ``execute``, and ``Stream`` for one sample at a time. Needs NumPy alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution, States, Trace, checked_input, initial_state, traced, traced_at_each
from edge_lstm.fixedpoint import Integers
from edge_lstm.heads import PROBABILITY
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.numpy_plan import Plan
from edge_lstm.ops import NUMPY
from edge_lstm.program import Executor, Port, Program
from edge_lstm.stages import SAMPLES, Lowered, Tap
from edge_lstm.timeline import Timeline, timeline

STATE_MAGIC = b"ELS2"
"""Of a saved state; its last byte is the version of the format."""
TAG_BYTES = 8
CHECKSUM_BYTES = 4
BLOCK_MIN, BLOCK = 256, 1024
"""Fewest and most windows computed at a time, where there are so many: bounds the memory."""
BLOCK_ELEMENTS = 2**14
"""Elements of the longest state in the windows of a block: a step stays in a core's cache, and calls are few."""


def execute(
    model: IntegerModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    lengths: Any = None,
) -> Execution:
    """Run in NumPy; see ``execution.Backend``. Only a trace of all intermediates computes them one by one."""
    return _execute(_Table if trace == "all" else _Planned, model, x, state, trace, lengths)


def execute_table(
    model: IntegerModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    lengths: Any = None,
) -> Execution:
    """``execute``, every instruction by itself as ``ops.NUMPY`` means it: what the plan is compared with."""
    return _execute(_Table, model, x, state, trace, lengths)


def _execute(
    kind: Callable[[Program], _Runner],
    model: IntegerModel,
    x: Integers,
    state: States | None,
    trace: Trace,
    lengths: Any,
) -> Execution:
    x = checked_input(model, x)
    lowered = lower(model)
    when = timeline(model.signature, len(x), x.shape[1], lengths)
    start = initial_state(lowered, len(x), state)
    run = _Windows(lowered, trace, kind)
    parts = [
        run(x[part], {name: value[part] for name, value in start.items()}, when.part(part))
        for part in _blocks(len(x), lowered.states)
    ]
    return Execution(
        outputs=_joined([p.outputs for p in parts]),
        state=_joined([p.state for p in parts]),
        trace=_joined([p.trace for p in parts]),
    )


def _blocks(windows: int, states: tuple[Port, ...]) -> list[slice]:
    """Windows in parts of nearly equal size, so that plans for two sizes do."""
    most = min(BLOCK, max(BLOCK_MIN, BLOCK_ELEMENTS // max(s.length for s in states)))
    edges = np.linspace(0, windows, -(-windows // most) + 1).astype(int).tolist()
    return [slice(first, last) for first, last in pairwise(edges)]


def _joined(parts: list[States]) -> States:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


class _Runner(Protocol):
    """Takes windows in lockstep through the steps of one Program, from the first to the last."""

    def __call__(self, inputs: States, states: States, when: Timeline, kept: Collection[str]) -> tuple[States, States]:
        """Run.

        Args:
            inputs: Name to (windows, steps, length).
            states: Name to (windows, length) before the first step.
            when: Of the windows.
            kept: Values to give of each step; a state is what it is after the step.

        Returns:
            Each kept value by name, (windows, steps, length), and each state after its window's last step.
        """


class _Windows:
    """Executes windows in lockstep.

    Args:
        lowered: The model's Programs.
        trace: What to record.
        kind: Of the runners of its stages.
    """

    def __init__(self, lowered: Lowered, trace: Trace, kind: Callable[[Program], _Runner]) -> None:
        self._lowered, self._head = lowered, Executor(lowered.head, NUMPY)
        self._stages = [kind(stage.program) for stage in lowered.stages]
        self._recorded, self._of_head = traced(lowered, trace)
        self._kept = set(lowered.kept)
        if self._of_head and traced_at_each(lowered):
            self._kept |= {port.name for port in lowered.head.inputs}

    def __call__(self, x: Integers, states: States, when: Timeline) -> Execution:
        """Run the windows ``x`` from ``states``."""
        lowered = self._lowered
        every: dict[str, Integers] = {SAMPLES: x}
        final: dict[str, Integers] = {}
        for stage, run, recorded in zip(lowered.stages, self._stages, self._recorded, strict=True):
            time = when if stage.steps is None else Timeline(stage.steps)
            inputs = {p.name: tapped(stage.tap(p.name), every, final, time.steps) for p in stage.program.inputs}
            if stage.reverse:
                inputs = {name: time.backwards(values) for name, values in inputs.items()}
            names = [p.name for p in stage.states]
            start = {name: final[stage.starts[name]] if name in stage.starts else states[name] for name in names}
            kept, last = run(inputs, start, time, [*recorded, *(self._kept & set(names) - set(recorded))])
            final |= last
            for name, value in kept.items():
                inside = time.inside(value)
                every[name] = time.backwards(inside) if stage.reverse else inside
        outputs = self._head(dict(every if lowered.each else final))
        results = {name: outputs[name] for name in lowered.outputs}
        if lowered.each:
            results = {name: time.inside(value) for name, value in results.items()}
        trace = {name: every[name] for names in self._recorded for name in names}
        if self._of_head and traced_at_each(lowered):
            values = self._head(dict(every))
            trace |= {name: time.inside(values[name]) for name in self._of_head}
        else:
            trace |= {name: outputs[name][:, None] for name in self._of_head}
        return Execution(outputs=results, state=final, trace=trace)


def tapped(tap: Tap, every: States, final: States, steps: int) -> Integers:
    """What an input of a stage is at each step, (windows, steps, length).

    Args:
        tap: Where it comes from.
        every: What each source is after each of its steps.
        final: What each state is after the last.
        steps: Of the stage.
    """
    if tap.last:
        return np.repeat(final[tap.source][:, None], steps, axis=1)
    values = every[tap.source]
    if tap.plain and values.shape[1] == steps:
        return values
    at = np.array(tap.steps(steps))
    found = values[:, at.clip(0, values.shape[1] - 1)]
    found[:, (at < 0) | (at >= values.shape[1])] = 0 if tap.fill is None else tap.fill
    return found


class _Table:
    """Every instruction by itself, with the table of operations."""

    def __init__(self, program: Program) -> None:
        self._step = Executor(program, NUMPY)
        self._next = {s.port.name: s.next for s in program.states}

    def __call__(self, inputs: States, states: States, when: Timeline, kept: Collection[str]) -> tuple[States, States]:
        """See ``_Runner``."""
        trace: dict[str, list[Integers]] = {name: [] for name in kept}
        final = {name: value.copy() for name, value in states.items()}
        for t in range(when.steps):
            values = self._step({**states, **{name: value[:, t] for name, value in inputs.items()}})
            states = {name: values[following] for name, following in self._next.items()}
            values.update(states)
            for name, steps in trace.items():
                steps.append(values[name])
            ends = when.ends(t)
            for name, value in states.items():
                final[name][ends] = value[ends]
        return {name: np.stack(steps, axis=1) for name, steps in trace.items()}, final


class _Planned:
    """A compiled plan; keeps states only."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._plans: dict[int, Plan] = {}

    def __call__(self, inputs: States, states: States, when: Timeline, kept: Collection[str]) -> tuple[States, States]:
        """See ``_Runner``."""
        windows = len(next(iter(states.values())))
        if windows not in self._plans:
            self._plans[windows] = Plan(self._program, windows)
        plan = self._plans[windows]
        for name, value in states.items():
            plan.ports[name][:] = value.T
        final = {name: value.copy() for name, value in states.items()}
        trace: dict[str, list[Integers]] = {name: [] for name in kept}
        samples = {name: np.ascontiguousarray(value.transpose(1, 2, 0)) for name, value in inputs.items()}
        for t in range(when.steps):
            for name, of_step in samples.items():
                plan.ports[name][:] = of_step[t]
            plan.step()
            for name, steps in trace.items():
                steps.append(plan.ports[name].T.copy())
            if when.lengths is not None:
                ends = when.ends(t)
                for name, value in final.items():
                    value[ends] = plan.ports[name].T[ends]
        if when.lengths is None:
            final = {name: plan.ports[name].T.copy() for name in final}
        return {name: np.stack(steps, axis=1) for name, steps in trace.items()}, final


class Stream:
    """One sample at a time, with explicit state (rule R9): N steps equal one N-step run.

    Example:
        >>> stream = Stream(model)                            # doctest: +SKIP
        >>> for sample in recording: result = stream.step(sample)   # doctest: +SKIP
    """

    def __init__(self, model: IntegerModel) -> None:
        self._model = model
        self._lowered = lower(model)
        if not self._lowered.streams:
            raise EdgeLstmError(
                f"{model.signature.name} looks at whole windows (a reversed layer, or a decoder), "
                "and can't take one sample at a time; run it on windows"
            )
        self._step, self._head = Plan(self._lowered.step, 1), Plan(self._lowered.head, 1)
        self._tag = bytes.fromhex(digest(model))[:TAG_BYTES]
        self.reset()

    def reset(self) -> None:
        """Set every state to what it is before the first step."""
        step = self._lowered.step
        self._put({s.port.name: step.initial(s) for s in step.states})

    def step(self, sample: Any) -> dict[str, NDArray[Any]]:
        """Take one sample (channels,) in the channels' units; give the outputs so far, as ``run`` does."""
        return real_outputs(self._model, self.step_raw(self._model.quantize_input(sample)))

    def step_raw(self, x: Integers) -> dict[str, Integers]:
        """Take input integers (channels,); give the outputs' integers."""
        x = checked_input(self._model, np.asarray(x)[None, None])[0, 0]
        self._step.ports["x"][:, 0] = x
        self._step.step()
        for name, value in self._head.ports.items():
            value[:] = self._step.ports[name]
        self._head.step()
        return {name: self._head.output(name)[:, 0].copy() for name in self._lowered.outputs}

    def _put(self, state: States) -> None:
        for name, value in state.items():
            self._step.ports[name][:, 0] = value

    @property
    def state(self) -> dict[str, Integers]:
        """State name to a copy of its integers (length,)."""
        return {s.name: self._step.ports[s.name][:, 0].copy() for s in self._lowered.states}

    def save(self) -> bytes:
        """The state as bytes, little-endian: magic, first 8 bytes of the model's SHA-256, each state, CRC-32 of these.

        The generated C reads and writes the same bytes.
        """
        parts = [STATE_MAGIC, self._tag]
        parts += [self._step.ports[s.name].astype(_little_endian(s)).tobytes() for s in self._lowered.states]
        content = b"".join(parts)
        return content + _checksum(content)

    def restore(self, blob: bytes) -> None:
        """Go on from a saved state.

        Raises:
            EdgeLstmError: The bytes are no state of this model; the present state is kept.
        """
        header = STATE_MAGIC + self._tag
        types = [_little_endian(s) for s in self._lowered.states]
        sizes = [s.length * t.itemsize for s, t in zip(self._lowered.states, types, strict=True)]
        expected = len(header) + sum(sizes) + CHECKSUM_BYTES
        if len(blob) != expected:
            raise EdgeLstmError(f"a saved state of {self._model.signature.name} has {expected} bytes, not {len(blob)}")
        if blob[: len(header)] != header:
            found, wanted = blob[: len(header)].hex(), header.hex()
            raise EdgeLstmError(f"these bytes are a state of another model or version ({found}, not {wanted})")
        content, checksum = blob[:-CHECKSUM_BYTES], blob[-CHECKSUM_BYTES:]
        if checksum != _checksum(content):
            found, wanted = checksum.hex(), _checksum(content).hex()
            raise EdgeLstmError(f"these bytes were changed since they were saved (checksum {found}, not {wanted})")
        offset, state = len(header), {}
        for port, dtype, size in zip(self._lowered.states, types, sizes, strict=True):
            state[port.name] = np.frombuffer(blob, dtype, port.length, offset)[None].astype(np.int32)
            offset += size
        self._put({name: value[0] for name, value in initial_state(self._lowered, 1, state).items()})


def real_outputs(model: IntegerModel, outputs: Any) -> dict[str, NDArray[Any]]:
    """Outputs as users read them: ``scores`` as logits, ``class_index`` as an index without its axis of length 1."""
    real = {"scores": outputs["scores"] * model.score_scale}
    if "class_index" in outputs:
        real["class_index"] = outputs["class_index"][..., 0]
    if "probabilities" in outputs:
        real["probabilities"] = outputs["probabilities"] * PROBABILITY.scale
    return real


def _checksum(content: bytes) -> bytes:
    """CRC-32 (IEEE 802.3)."""
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little")


def _little_endian(port: Port) -> np.dtype[Any]:
    return np.dtype(f"<i{port.bits // 8}")
