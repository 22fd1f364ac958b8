"""Penalties on open gates while a network is trained: given, or found so that a target is met.

A closed output gate leaves h at 0, so that a column of the next step's recurrent product need not be read; a closed
input gate needs no candidate, so that a row need not be computed (rule R7). Training can make both rare: the loss gets
``sum over gates of weight * mean value``.

A weight is either given, or the multiplier of the constraint "mean value <= target" (the method of multipliers by dual
ascent: D. P. Bertsekas, Nonlinear Programming, section 7.2): in each step it grows with what is above the target and
shrinks with what is below, and is never negative. So a target that costs nothing gets no penalty.

With a budget of products the constraint is on the share of a dense layer's products that is executed,

    (B - 1 + i) (X + o (L + H)) / (B (X + L + H))

where B is the number of blocks (one of them the candidate), X and L the inputs that are samples and those that are h of
other layers, H the units, i and o the mean values of the gates. Its derivatives by i and o are what the two gates'
weights are to each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_lstm.cells import CELLS, Cell, cell
from edge_lstm.errors import EdgeLstmError

GAIN = 16.0
"""What a multiplier would grow in a whole run in which a mean value of 1 is to be 0."""
LARGEST = 10.0
"""Of the multipliers."""
BUDGET = "products"
"""Name of the multiplier of a budget."""


def parse_weights(name: str, text: str, gates: Sequence[str], largest: float) -> dict[str, float]:
    """Gate to number, from such as ``"o=0.3,i=0.1"``; one number is for all gates.

    Args:
        name: Of the option.
        text: Empty for none.
        gates: Of the cell.
        largest: That is accepted.

    Raises:
        EdgeLstmError: Not so written, no such gate, or a number outside of 0 to ``largest``.
    """
    accepted = f"gates {', '.join(gates) or 'none'} with numbers from 0 to {largest:g}, such as o=0.25"
    found: dict[str, float] = {}
    for part in text.split(",") if text else []:
        gate, equals, number = part.strip().rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        named = [gate] if equals else list(gates)
        if not 0 <= value <= largest or not named or not set(named) <= set(gates) - set(found):
            raise EdgeLstmError(f"{name} is {text!r}; accepted are {accepted}")
        found |= dict.fromkeys(named, value)
    return found


def check_budget(kind: Cell) -> None:
    """Refuse a cell whose products a budget can't count.

    Raises:
        EdgeLstmError: It has no input or no output gate, or its h is projected.
    """
    if not has_budget(kind):
        accepted = ", ".join(name for name in CELLS if has_budget(cell(name)))
        raise EdgeLstmError(f"budget_macs with a {kind.name}: accepted are cells with gates i and o: {accepted}")


def has_budget(kind: Cell) -> bool:
    """Whether closed gates leave out products as the formula says."""
    return {"i", "o"} <= set(kind.gates) and not kind.projected


@dataclass(frozen=True)
class Size:
    """Of a layer.

    Attributes:
        blocks: Of weight rows.
        samples: Inputs that are samples.
        fed: Inputs that are h of other layers.
        units: Rows of a block.
    """

    blocks: int
    samples: int
    fed: int
    units: int

    @property
    def dense(self) -> int:
        """Products of a step."""
        return self.blocks * self.units * (self.samples + self.fed + self.units)

    def executed(self, i: float, o: float) -> float:
        """Those that are executed at these mean values of the gates."""
        return (self.blocks - 1 + i) * self.units * (self.samples + o * (self.fed + self.units))

    def derivatives(self, i: float, o: float) -> tuple[float, float]:
        """Of ``executed`` by i and by o."""
        columns = self.fed + self.units
        return self.units * (self.samples + o * columns), (self.blocks - 1 + i) * self.units * columns


class OpenGates:
    """The weights of the penalties in a run.

    Args:
        given: Gate to weight.
        targets: Gate to the largest mean value.
        budget: Largest share of the products that is executed; 0 for none.
        sizes: Of the layers.
        steps: Of the run.

    Attributes:
        moving: What changes in a run: the multiplier of each constraint by its gate, or ``BUDGET``, and for a budget
            ``rate.i`` and ``rate.o``, the last mean values.
    """

    def __init__(
        self,
        given: Mapping[str, float],
        targets: Mapping[str, float],
        budget: float,
        sizes: Sequence[Size],
        steps: int,
    ) -> None:
        self._given, self._targets, self._budget, self._sizes = given, targets, budget, sizes
        self._gain = GAIN / steps
        self.moving = dict.fromkeys([*targets, *([BUDGET] if budget else [])], 0.0)
        self.moving |= {"rate.i": 0.5, "rate.o": 0.5} if budget else {}

    @property
    def weights(self) -> dict[str, float]:
        """Gate to the weight of its mean value in the next step."""
        found = dict(self._given)
        for gate in self._targets:
            found[gate] = found.get(gate, 0.0) + self.moving[gate]
        if self._budget:
            for gate, derivative in self._derivatives().items():
                found[gate] = found.get(gate, 0.0) + self.moving[BUDGET] * derivative
        return found

    def observe(self, rates: Mapping[str, float]) -> None:
        """Take note of a step's mean values of the gates that have a weight."""
        for gate, target in self._targets.items():
            self._move(gate, rates[gate] - target)
        if self._budget:
            self.moving |= {"rate.i": rates["i"], "rate.o": rates["o"]}
            self._move(BUDGET, self.share(rates) - self._budget)

    def share(self, rates: Mapping[str, float]) -> float:
        """Of a dense network's products, those that are executed at these mean values of gates i and o."""
        return sum(size.executed(rates["i"], rates["o"]) for size in self._sizes) / self._dense

    def _move(self, name: str, above: float) -> None:
        self.moving[name] = min(LARGEST, max(0.0, self.moving[name] + self._gain * above))

    @property
    def _dense(self) -> int:
        return sum(size.dense for size in self._sizes)

    def _derivatives(self) -> dict[str, float]:
        i, o = self.moving["rate.i"], self.moving["rate.o"]
        by_i, by_o = zip(*(size.derivatives(i, o) for size in self._sizes), strict=True)
        return {"i": sum(by_i) / self._dense, "o": sum(by_o) / self._dense}
