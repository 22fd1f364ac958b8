"""Verification: the integer backends against each other, exactly; each step against the exact equations, within a
bound; and the scores and classes against float ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.backends import DEFAULT, backend, checked_names
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution
from edge_lstm.float_run import run_float
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.runtime import real_outputs
from edge_lstm.step_error import StepError, step_errors
from edge_lstm.timeline import timeline


@dataclass(frozen=True)
class Mismatch:
    """The first integer that differs: earliest step, then earliest in the Program.

    Attributes:
        backend: Where it differs from the first backend.
        value: Name, such as ``lstm0.c_next``; its first part is the layer.
        window, step, unit: Indices.
        expected: What the first backend has.
        found: What this backend has.
    """

    backend: str
    value: str
    window: int
    step: int
    unit: int
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"{self.backend}: {self.value}, window {self.window}, step {self.step}, unit {self.unit} "
            f"is {self.found}, and {self.expected} in the first backend"
        )


@dataclass(frozen=True)
class FloatComparison:
    """Integer scores against float scores, as logits.

    Attributes:
        max_abs: Largest absolute difference.
        rms: Root of the mean square difference.
        agreement: Share of the windows, or of all steps where each has an output, with the same class; None of a
            regression.
    """

    max_abs: float
    rms: float
    agreement: float | None


@dataclass(frozen=True)
class Verification:
    """What was compared and what differs.

    Attributes:
        equal: No integer differs.
        backends: In the order compared; all against the first.
        windows, steps: Of the input.
        compared: Pairs of integers compared.
        mismatches: Pairs that differ.
        first_mismatch: None where nothing differs.
        float: None where no float model was given.
        step_errors: Of each layer: one integer step against the exact step, with the bound (``step_error``).
        within_bound: Every one of these is within its bound.
    """

    equal: bool
    backends: tuple[str, ...]
    windows: int
    steps: int
    compared: int
    mismatches: int
    first_mismatch: Mismatch | None
    float: FloatComparison | None
    step_errors: tuple[StepError, ...]
    within_bound: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values, with stable keys."""
        return asdict(self)


def verify(
    model: IntegerModel,
    x: Any,
    *,
    lengths: Any = None,
    backends: Sequence[str] = DEFAULT,
    trace: Literal["states", "all"] = "states",
    float_model: FloatModel | None = None,
    float_scores: Callable[[Any], NDArray[Any]] | None = None,
    normalized: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Run the same windows in several backends and compare every integer of every time step.

    Args:
        model: The model.
        x: (windows, steps, channels) samples in the channels' units.
        lengths: (windows,) steps of each window, of a model for windows of several lengths.
        backends: Two or more names; the first is what the others are compared with.
        trace: ``"states"`` compares all states and outputs of each step, ``"all"`` every intermediate.
        float_model: Also compare with the float evaluation of this model in NumPy.
        float_scores: Also compare with these float logits: a function from x to (windows, classes).
        normalized: The float scores are log-softmax, and so are the integer ones made before they are compared.
        progress: Told the name of each backend before it runs.

    Raises:
        EdgeLstmError: Bad input, fewer than two backends, or an unknown one.
    """
    names = checked_names(backends)
    integers = model.quantize_input(x)
    if integers.ndim != 3 or 0 in integers.shape:
        raise EdgeLstmError(f"samples have shape {integers.shape}; accepted is (windows, steps, channels)")
    reference, compared, mismatches, first = None, 0, 0, None
    for name in names:
        progress(name)
        execution = backend(name)(model, integers, trace=trace, lengths=lengths)
        if reference is None:
            reference = execution
            continue
        count, wrong, where = _compare(name, reference, execution)
        compared, mismatches, first = compared + count, mismatches + wrong, first or where
    assert reference is not None
    comparison = None
    if float_scores is None and float_model is not None:
        float_scores = lambda samples: run_float(float_model, samples, lengths=lengths)["scores"]  # noqa: E731
    if float_scores is not None:
        progress("float")
        scores = real_outputs(model, reference.outputs)["scores"]
        comparison = compare_scores(model, scores, float_scores(x), lengths=lengths, normalized=normalized)
    errors = step_errors(model, integers, lengths=lengths)
    return Verification(
        equal=mismatches == 0,
        backends=names,
        windows=len(integers),
        steps=integers.shape[1],
        compared=compared,
        mismatches=mismatches,
        first_mismatch=first,
        float=comparison,
        step_errors=errors,
        within_bound=all(e.within for e in errors),
    )


def _compare(name: str, expected: Execution, found: Execution) -> tuple[int, int, Mismatch | None]:
    """Pairs compared, pairs that differ, and the first of these."""
    compared, mismatches, first = 0, 0, None
    for value, wanted in expected.trace.items():
        got = found.trace[value]
        if got.shape != wanted.shape:
            raise EdgeLstmError(f"{name}: {value} has shape {got.shape}, and must have {wanted.shape}")
        compared += wanted.size
        different = np.argwhere(got != wanted)
        mismatches += len(different)
        if len(different):
            window, step, unit = (int(k) for k in min(different, key=lambda at: at[1]))
            if first is None or step < first.step:
                at = (window, step, unit)
                first = Mismatch(name, value, window, step, unit, int(wanted[at]), int(got[at]))
    return compared, mismatches, first


def compare_scores(
    model: IntegerModel, scores: NDArray[Any], real: NDArray[Any], *, lengths: Any = None, normalized: bool = False
) -> FloatComparison:
    """Compare the scores of a model with float ones.

    Args:
        model: The model.
        scores: Of its integers, in real units: (windows, classes), or (windows, steps, classes).
        real: The float ones.
        lengths, normalized: As of ``verify``.

    Raises:
        EdgeLstmError: Other shapes.
    """
    if scores.shape != real.shape:
        raise EdgeLstmError(f"the float scores have shape {real.shape}, and those of the model {scores.shape}")
    if normalized:
        scores = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    if lengths is not None and isinstance(model, QuantizedModel) and model.pooling == "each":
        inside = timeline(model.signature, len(scores), scores.shape[1], lengths).valid
        scores, real = scores[inside], real[inside]
    difference = scores - real
    classes = model.signature.task == "classify"
    return FloatComparison(
        max_abs=float(np.abs(difference).max()),
        rms=float(np.sqrt((difference**2).mean())),
        agreement=float((scores.argmax(axis=-1) == real.argmax(axis=-1)).mean()) if classes else None,
    )
