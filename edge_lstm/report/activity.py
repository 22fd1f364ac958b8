"""What the gates and units of a model do during one recording, and its statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lstm.cells import cell
from edge_lstm.gates import GateMode
from edge_lstm.lower import layer_name
from edge_lstm.model import QuantizedModel
from edge_lstm.report.recording import Recording
from edge_lstm.runtime import execute
from edge_lstm.statistics import gate_scale


@dataclass(frozen=True)
class Raster:
    """Values of one vector over time.

    Attributes:
        name: Gate, or ``h`` for the hidden state.
        mode: Of the gate; None for the hidden state.
        level: (steps, units) from 0 to 1; only 0 and 1 where hard, and for ``h``: 1 where not zero.
        is_open: (steps, units).
    """

    name: str
    mode: GateMode | None
    level: NDArray[np.float64]
    is_open: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Share of all (step, unit) pairs that are open."""
        return float(self.is_open.mean())

    @property
    def share_by_unit(self) -> NDArray[np.float64]:
        """(units,)"""
        return np.asarray(self.is_open.mean(axis=0), np.float64)

    def run_length(self, value: bool) -> float | None:
        """Mean number of steps for which a unit stays open (True) or closed (False); None if it never is.

        Runs that the ends of the recording cut short count with the length seen.
        """
        same = self.is_open == value
        starts = int(same[0].sum()) + int((same[1:] & ~same[:-1]).sum())
        return float(same.sum()) / starts if starts else None


@dataclass(frozen=True)
class LayerActivity:
    """Of one recurrent layer.

    Attributes:
        name: As in the Program, for example ``lstm0``.
        gates: In the cell's order.
        hidden: The hidden state, as ``Raster``.
        order: (units,) the units, those first whose output is most often not zero.
    """

    name: str
    gates: tuple[Raster, ...]
    hidden: Raster
    order: NDArray[np.intp]


@dataclass(frozen=True)
class Activity:
    """Of a model during a recording.

    Attributes:
        layers: First to last.
        logits: (steps, classes) scores after each step.
        predicted: (steps,) index of the class with the highest score.
    """

    layers: tuple[LayerActivity, ...]
    logits: NDArray[np.float64]
    predicted: NDArray[np.intp]


def observe(model: QuantizedModel, recording: Recording) -> Activity:
    """Run the integer model in NumPy over the recording, from reset, and keep what it did."""
    trace = execute(model, model.quantize_input(recording.x[None]), trace="all").trace
    values = {name: array[0] for name, array in trace.items()}
    layers = []
    for k, layer in enumerate(model.layers):
        name = layer_name(model, k)
        gates = tuple(_gate(gate, layer.modes[gate], values[f"{name}.{gate}"]) for gate in cell(layer.cell).gates)
        nonzero = values[f"{name}.h"] != 0
        order = np.argsort(-nonzero.sum(axis=0), kind="stable")
        layers.append(LayerActivity(name, gates, Raster("h", None, nonzero.astype(np.float64), nonzero), order))
    return Activity(
        tuple(layers),
        values["scores"] * model.score_scale,
        values["class_index"][:, 0].astype(np.intp),
    )


def _gate(name: str, mode: GateMode, integers: NDArray[np.int32]) -> Raster:
    level = np.clip(integers * gate_scale(mode), 0.0, 1.0)
    return Raster(name, mode, level, level > 0.5)
