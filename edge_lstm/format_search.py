"""Search of each level's weight bits under a budget of accuracy or of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edge_lstm.bits import Bits
from edge_lstm.blocks import WEIGHT_MAX
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fidelity import Distance
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.program import constant_bytes

NARROWER = dict(zip(WEIGHT_MAX, list(WEIGHT_MAX)[1:], strict=False))
"""Weight bits to the next fewer."""


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Args:
        max_drop: Points; see ``fidelity.Distance.drop``. None for no limit.
        max_bytes: Of weights, biases and tables together; None for no limit.
    """

    max_drop: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise EdgeLstmError(f"max_drop is {self.max_drop}; accepted are 0 to 100 points")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise EdgeLstmError(f"max_bytes is {self.max_bytes}; accepted are positive numbers")

    @property
    def given(self) -> bool:
        """Whether there is a limit."""
        return self.max_drop is not None or self.max_bytes is not None


@dataclass(frozen=True)
class Candidate:
    """Formats, and what they give.

    Attributes:
        bits: Of each level.
        model: The integers.
        bytes: Of its constants.
        distance: From the float model.
    """

    bits: tuple[Bits, ...]
    model: QuantizedModel
    bytes: int
    distance: Distance


def model_bytes(model: IntegerModel) -> int:
    """Weights, biases, multipliers and tables, as the C stores them."""
    return sum({k: constant_bytes(p, k) for p in lower(model).programs for k in p.constants}.values())


def search(
    start: Sequence[Bits],
    make: Callable[[Sequence[Bits]], QuantizedModel],
    distance: Callable[[QuantizedModel], Distance],
    budget: Budget,
) -> Candidate:
    """Narrow the weights of one level after the other, from ``start``.

    With a limit of points: as long as one can be narrowed inside it, the one that saves most; where not even ``start``
    is inside, hidden states get 16 bits first. With a limit of bytes alone: the one that costs the least error of the
    scores for each byte, until the model is small enough.

    Args:
        start: Formats of each level to begin with.
        make: The integers in given formats.
        distance: Of these from the float model.
        budget: At least one limit.

    Raises:
        EdgeLstmError: Nothing is inside the budget; says how near one comes.
    """

    def candidate(bits: Sequence[Bits]) -> Candidate:
        model = make(bits)
        return Candidate(tuple(bits), model, model_bytes(model), distance(model))

    now = candidate(start)
    if budget.max_drop is None:
        return _small_enough(now, candidate, budget)
    if now.distance.drop > budget.max_drop and any(b.activations == 8 for b in start):
        now = candidate([replace(b, activations=16) for b in start])
    if now.distance.drop > budget.max_drop:
        raise EdgeLstmError(
            f"max_drop is {budget.max_drop:g} points; the widest weights asked for lose {now.distance.drop:.2f}"
        )
    while True:
        inside = [c for c in map(candidate, _narrower(now.bits)) if c.distance.drop <= budget.max_drop]
        if not inside:
            break
        now = min(inside, key=lambda c: (c.bytes, c.distance.score_error))
    if budget.max_bytes is not None and now.bytes > budget.max_bytes:
        raise EdgeLstmError(
            f"max_bytes is {budget.max_bytes}; within {budget.max_drop:g} points the model has {now.bytes} bytes"
        )
    return now


def _small_enough(now: Candidate, candidate: Callable[[Sequence[Bits]], Candidate], budget: Budget) -> Candidate:
    assert budget.max_bytes is not None
    while now.bytes > budget.max_bytes:
        before = now
        found = [candidate(bits) for bits in _narrower(now.bits)]
        if not found:
            raise EdgeLstmError(f"max_bytes is {budget.max_bytes}; the smallest model found has {now.bytes} bytes")

        def price(c: Candidate, before: Candidate = before) -> float:
            return (c.distance.score_error - before.distance.score_error) / max(before.bytes - c.bytes, 1)

        now = min(found, key=price)
    return now


def _narrower(bits: Sequence[Bits]) -> list[tuple[Bits, ...]]:
    return [
        (*bits[:k], replace(b, weights=NARROWER[b.weights]), *bits[k + 1 :])
        for k, b in enumerate(bits)
        if b.weights in NARROWER
    ]
