"""Penalties on open gates, and how open the gates were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from edge_lstm.cells import Cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.nn.gradient import Record, gate_means


class Gates:
    """Of one forward pass of a network.

    Args:
        kind: The cell.
        penalties: Gate name to the weight of its mean value in what is made small.
        layers: How many have such gates.

    Attributes:
        open_rates: Mean value of each gate with a penalty, over the layers that were watched.

    Raises:
        EdgeLstmError: No such gate, or a weight that is no finite number.
    """

    def __init__(self, kind: Cell, penalties: Mapping[str, float], layers: int) -> None:
        for gate, weight in penalties.items():
            if gate not in kind.gates:
                has = ", ".join(kind.gates) or "none"
                raise EdgeLstmError(f"a penalty on gate {gate!r} of a {kind.name} layer; accepted are {has}")
            if not abs(weight) < float("inf"):
                raise EdgeLstmError(f"the penalty on gate {gate!r} is {weight}; accepted are finite numbers")
        self._penalties, self._layers = penalties, layers
        self.open_rates = dict.fromkeys(penalties, 0.0)

    def watched(self, record: Record, lengths: Tensor | None = None) -> Record:
        """The record of a layer with its share of the penalties.

        Args:
            record: Of a forward pass.
            lengths: (windows,) steps of each window; None: all have all.
        """
        if not self._penalties:
            return record
        made = replace(record, lengths=lengths)
        for gate, mean in gate_means(made, list(self._penalties)).items():
            self.open_rates[gate] += mean / self._layers
        share = 1 / (made.count * self._layers)
        return replace(made, penalties={gate: weight * share for gate, weight in self._penalties.items()})
