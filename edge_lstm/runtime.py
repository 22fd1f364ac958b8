"""The NumPy backend: batched ``execute``, and ``Stream`` for one sample at a time. Needs NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution, States, Trace, checked_input, initial_state
from edge_lstm.fixedpoint import Integers
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import NUMPY
from edge_lstm.program import Executor

STATE_MAGIC = b"ELS1"
TAG_BYTES = 8
BLOCK = 1024
"""Windows computed at a time: bounds the memory of intermediates."""


def execute(model: QuantizedModel, x: Integers, *, state: States | None = None, trace: Trace = "none") -> Execution:
    """Run in NumPy; see ``execution.Backend``."""
    x = checked_input(model, x)
    lowered = lower(model)
    step, head = Executor(lowered.step, NUMPY), Executor(lowered.head, NUMPY)
    start = initial_state(lowered, len(x), state)
    parts = [
        _execute_block(step, head, x[k : k + BLOCK], {n: v[k : k + BLOCK] for n, v in start.items()}, trace)
        for k in range(0, max(len(x), 1), BLOCK)
    ]
    return Execution(
        outputs=_joined([p.outputs for p in parts]),
        state=_joined([p.state for p in parts]),
        trace=_joined([p.trace for p in parts]),
    )


def _joined(parts: list[Any]) -> dict[str, Integers]:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _execute_block(step: Executor, head: Executor, x: Integers, states: dict[str, Integers], trace: Trace) -> Execution:
    names = {s.port.name: s.next for s in step.program.states}
    lowered_trace = trace != "none"
    recorded: dict[str, list[Integers]] = {}
    values: dict[str, Any] = {}
    for t in range(x.shape[1]):
        values = step({**states, "x": x[:, t]})
        states = {name: values[following] for name, following in names.items()}
        if lowered_trace:
            every = {**values, **head(dict(states))} if trace == "all" else {**states, **head(dict(states))}
            for name, value in {**every, **states}.items():
                recorded.setdefault(name, []).append(value)
    outputs = head(dict(states))
    return Execution(
        outputs={name: outputs[name] for name in head.program.outputs},
        state=states,
        trace={name: np.stack(steps, axis=1) for name, steps in recorded.items()},
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
        self._step = Executor(self._lowered.step, NUMPY)
        self._head = Executor(self._lowered.head, NUMPY)
        self._next = {s.port.name: s.next for s in self._lowered.step.states}
        self._tag = bytes.fromhex(digest(model))[:TAG_BYTES]
        self.reset()

    def reset(self) -> None:
        """Set every state to zero."""
        self._state = {s.name: np.zeros(s.length, np.int32) for s in self._lowered.states}

    def step(self, sample: Any) -> dict[str, NDArray[Any]]:
        """Take one sample (channels,) in the channels' units; give the outputs so far, as ``run`` does."""
        return real_outputs(self._model, self.step_raw(self._model.quantize_input(sample)))

    def step_raw(self, x: Integers) -> dict[str, Integers]:
        """Take input integers (channels,); give the outputs' integers."""
        x = checked_input(self._model, np.asarray(x)[None, None])[0, 0]
        values = self._step({**self._state, "x": x})
        self._state = {name: values[following] for name, following in self._next.items()}
        outputs = self._head(dict(self._state))
        return {name: outputs[name] for name in self._lowered.outputs}

    @property
    def state(self) -> dict[str, Integers]:
        """State name to a copy of its integers (length,)."""
        return {name: value.copy() for name, value in self._state.items()}

    def save(self) -> bytes:
        """The state as bytes: magic, first 8 bytes of the model's SHA-256, then each state little-endian.

        The generated C reads and writes the same bytes.
        """
        parts = [STATE_MAGIC, self._tag]
        parts += [self._state[s.name].astype(_storage(s.lo, s.hi)).tobytes() for s in self._lowered.states]
        return b"".join(parts)

    def restore(self, blob: bytes) -> None:
        """Go on from a saved state.

        Raises:
            EdgeLstmError: The bytes are no state of this model; the present state is kept.
        """
        header = STATE_MAGIC + self._tag
        types = [_storage(s.lo, s.hi) for s in self._lowered.states]
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
        self._state = {name: value[0] for name, value in initial_state(self._lowered, 1, state).items()}


def real_outputs(model: QuantizedModel, outputs: Any) -> dict[str, NDArray[Any]]:
    """Outputs as users read them: ``scores`` as logits, ``class`` as an index without its axis of length 1."""
    return {"scores": outputs["scores"] * model.score_scale, "class": outputs["class"][..., 0]}


def _storage(lo: int, hi: int) -> np.dtype[Any]:
    """Little-endian type of 8, 16 or 32 bits that holds [lo, hi]."""
    bits = next(b for b in (8, 16, 32) if lo >= -(2 ** (b - 1)) and hi < 2 ** (b - 1))
    return np.dtype(f"<i{bits // 8}")
