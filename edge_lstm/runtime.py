"""The NumPy backend: batched ``execute``, and ``Stream`` for one sample at a time. Needs NumPy alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution, States, Trace, checked_input, initial_state, traced
from edge_lstm.fixedpoint import Integers
from edge_lstm.lower import Lowered, lower
from edge_lstm.model import QuantizedModel
from edge_lstm.numpy_plan import Plan
from edge_lstm.ops import NUMPY
from edge_lstm.program import Executor, Port

STATE_MAGIC = b"ELS1"
TAG_BYTES = 8
BLOCK_MIN, BLOCK = 256, 1024
"""Fewest and most windows computed at a time, where there are so many: bounds the memory."""
BLOCK_ELEMENTS = 2**14
"""Elements of the longest state in the windows of a block: a step stays in a core's cache, and calls are few."""


def execute(model: QuantizedModel, x: Integers, *, state: States | None = None, trace: Trace = "none") -> Execution:
    """Run in NumPy; see ``execution.Backend``. Only a trace of all intermediates computes them one by one."""
    return _execute(_Table if trace == "all" else _Planned, model, x, state, trace)


def execute_table(
    model: QuantizedModel, x: Integers, *, state: States | None = None, trace: Trace = "none"
) -> Execution:
    """``execute``, every instruction by itself as ``ops.NUMPY`` means it: what the plan is compared with."""
    return _execute(_Table, model, x, state, trace)


def _execute(
    kind: type[_Table] | type[_Planned], model: QuantizedModel, x: Integers, state: States | None, trace: Trace
) -> Execution:
    x = checked_input(model, x)
    lowered = lower(model)
    start = initial_state(lowered, len(x), state)
    run = kind(lowered, [name for names in traced(lowered, trace) for name in names])
    parts = [
        run(x[part], {name: value[part] for name, value in start.items()}) for part in _blocks(len(x), lowered.states)
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


class _Table:
    """Executes windows in lockstep, all of them at once, with the table of operations."""

    def __init__(self, lowered: Lowered, recorded: list[str]) -> None:
        self._step, self._head = Executor(lowered.step, NUMPY), Executor(lowered.head, NUMPY)
        self._next = {s.port.name: s.next for s in lowered.step.states}
        self._outputs, self._recorded = lowered.outputs, recorded

    def __call__(self, x: Integers, states: dict[str, Integers]) -> Execution:
        trace: dict[str, list[Integers]] = {name: [] for name in self._recorded}
        for t in range(x.shape[1]):
            values = self._step({**states, "x": x[:, t]})
            states = {name: values[following] for name, following in self._next.items()}
            if trace:
                values.update(self._head(dict(states)))
                for name, steps in trace.items():
                    steps.append(values[name])
        outputs = self._head(dict(states))
        return Execution(
            outputs={name: outputs[name] for name in self._outputs},
            state=states,
            trace={name: np.stack(steps, axis=1) for name, steps in trace.items()},
        )


class _Planned:
    """Executes windows in lockstep with a plan; records states and outputs."""

    def __init__(self, lowered: Lowered, recorded: list[str]) -> None:
        self._lowered, self._head, self._recorded = lowered, Executor(lowered.head, NUMPY), recorded
        self._plans: dict[int, Plan] = {}

    def __call__(self, x: Integers, states: dict[str, Integers]) -> Execution:
        if len(x) not in self._plans:
            self._plans[len(x)] = Plan(self._lowered.step, len(x))
        plan = self._plans[len(x)]
        for name, value in states.items():
            plan.ports[name][:] = value.T
        trace: dict[str, list[Integers]] = {name: [] for name in states}
        for sample in np.ascontiguousarray(x.transpose(1, 2, 0)):  # steps of (channels, windows)
            plan.ports["x"][:] = sample
            plan.step()
            if self._recorded:
                for name, steps in trace.items():
                    steps.append(plan.ports[name].T.copy())
        final = {name: plan.ports[name].T.copy() for name in states}
        outputs = self._head(dict(final))
        values: dict[str, Integers] = {}
        if self._recorded:
            values = self._head({name: np.stack(steps, axis=1) for name, steps in trace.items()})
        return Execution(
            outputs={name: outputs[name] for name in self._lowered.outputs},
            state=final,
            trace={name: values[name] for name in self._recorded},
        )


class Stream:
    """One sample at a time, with explicit state (rule R9): N steps equal one N-step run.

    Example:
        >>> stream = Stream(model)                            # doctest: +SKIP
        >>> for sample in recording: result = stream.step(sample)   # doctest: +SKIP
    """

    def __init__(self, model: QuantizedModel) -> None:
        self._model = model
        self._lowered = lower(model)
        self._step, self._head = Plan(self._lowered.step, 1), Plan(self._lowered.head, 1)
        self._tag = bytes.fromhex(digest(model))[:TAG_BYTES]
        self.reset()

    def reset(self) -> None:
        """Set every state to zero."""
        self._put({s.name: np.zeros(s.length, np.int32) for s in self._lowered.states})

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
        """The state as bytes: magic, first 8 bytes of the model's SHA-256, then each state little-endian.

        The generated C reads and writes the same bytes.
        """
        parts = [STATE_MAGIC, self._tag]
        parts += [self._step.ports[s.name].astype(_little_endian(s)).tobytes() for s in self._lowered.states]
        return b"".join(parts)

    def restore(self, blob: bytes) -> None:
        """Go on from a saved state.

        Raises:
            EdgeLstmError: The bytes are no state of this model; the present state is kept.
        """
        header = STATE_MAGIC + self._tag
        types = [_little_endian(s) for s in self._lowered.states]
        sizes = [s.length * t.itemsize for s, t in zip(self._lowered.states, types, strict=True)]
        expected = len(header) + sum(sizes)
        if len(blob) != expected:
            raise EdgeLstmError(f"a saved state of {self._model.signature.name} has {expected} bytes, not {len(blob)}")
        if blob[: len(header)] != header:
            found, wanted = blob[: len(header)].hex(), header.hex()
            raise EdgeLstmError(f"these bytes are a state of another model or version ({found}, not {wanted})")
        offset, state = len(header), {}
        for port, dtype, size in zip(self._lowered.states, types, sizes, strict=True):
            state[port.name] = np.frombuffer(blob, dtype, port.length, offset)[None].astype(np.int32)
            offset += size
        self._put({name: value[0] for name, value in initial_state(self._lowered, 1, state).items()})


def real_outputs(model: QuantizedModel, outputs: Any) -> dict[str, NDArray[Any]]:
    """Outputs as users read them: ``scores`` as logits, ``class_index`` as an index without its axis of length 1."""
    real = {"scores": outputs["scores"] * model.score_scale}
    if "class_index" in outputs:
        real["class_index"] = outputs["class_index"][..., 0]
    return real


def _little_endian(port: Port) -> np.dtype[Any]:
    return np.dtype(f"<i{port.bits // 8}")
