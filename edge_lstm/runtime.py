"""The NumPy backend: batched ``execute``, and ``Stream`` for one sample at a time. Needs NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution, States, Trace, checked_input, initial_state, traced
from edge_lstm.fixedpoint import Integers
from edge_lstm.lower import Lowered, lower
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import NUMPY
from edge_lstm.program import Executor, Port

STATE_MAGIC = b"ELS1"
TAG_BYTES = 8
BLOCK = 1024
"""Windows computed at a time: bounds the memory of intermediates."""


def execute(model: QuantizedModel, x: Integers, *, state: States | None = None, trace: Trace = "none") -> Execution:
    """Run in NumPy; see ``execution.Backend``."""
    x = checked_input(model, x)
    lowered = lower(model)
    start = initial_state(lowered, len(x), state)
    recorded = [name for names in traced(lowered, trace) for name in names]
    run = _Run(lowered, recorded)
    parts = [
        run(x[k : k + BLOCK], {name: value[k : k + BLOCK] for name, value in start.items()})
        for k in range(0, len(x), BLOCK)
    ]
    return Execution(
        outputs=_joined([p.outputs for p in parts]),
        state=_joined([p.state for p in parts]),
        trace=_joined([p.trace for p in parts]),
    )


def _joined(parts: list[States]) -> States:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


class _Run:
    """Executes windows in lockstep, all of them at once."""

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
        parts += [self._state[s.name].astype(_little_endian(s)).tobytes() for s in self._lowered.states]
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
        self._state = {name: value[0] for name, value in initial_state(self._lowered, 1, state).items()}


def real_outputs(model: QuantizedModel, outputs: Any) -> dict[str, NDArray[Any]]:
    """Outputs as users read them: ``scores`` as logits, ``class_index`` as an index without its axis of length 1."""
    return {"scores": outputs["scores"] * model.score_scale, "class_index": outputs["class_index"][..., 0]}


def _little_endian(port: Port) -> np.dtype[Any]:
    return np.dtype(f"<i{port.bits // 8}")
