"""What the gates and units of a model do during one recording, and its statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.cells import cell
from edge_lstm.gates import GateMode
from edge_lstm.heads import PROBABILITY
from edge_lstm.layers import QuantizedLayer
from edge_lstm.lower import lower, named_layers
from edge_lstm.model import QuantizedModel
from edge_lstm.report.recording import MAX_SHOWN_STEPS, Recording
from edge_lstm.runtime import execute
from edge_lstm.statistics import gate_scale

Given = Literal["running", "each", "sequence", "once"]
"""When a model gives its outputs: after each step of the window, for what it saw so far; for each step of the
window; for each step of its decoder; or once, for a window that it had to see as a whole."""


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
        role: Its direction, and whether it is of an encoder or a decoder; "" where nothing needs to be said.
        decodes: Its steps are those of a decoder, and not of the window.
        gates: In the cell's order.
        hidden: The hidden state, as ``Raster``.
        order: (units,) the units, those first whose output is most often not zero.
    """

    name: str
    role: str
    decodes: bool
    gates: tuple[Raster, ...]
    hidden: Raster
    order: NDArray[np.intp]

    @property
    def title(self) -> str:
        """Name and role."""
        return f"{self.name} ({self.role})" if self.role else self.name


@dataclass(frozen=True)
class Activity:
    """Of a model during a recording.

    Attributes:
        layers: First to last; those of a decoder last.
        given: When it gave its outputs, which is what the steps below are.
        scores: (steps, classes) logits, or outputs of a regression.
        predicted: (steps,) index of the class with the highest score; None of a regression.
        probabilities: (steps, classes), of a classifier that gives them.
    """

    layers: tuple[LayerActivity, ...]
    given: Given
    scores: NDArray[np.float64]
    predicted: NDArray[np.intp] | None
    probabilities: NDArray[np.float64] | None

    @property
    def needs_titles(self) -> bool:
        """Whether the layers have to be told apart, or something has to be said of the only one."""
        return len(self.layers) > 1 or self.layers[0].role != ""


def observe(model: QuantizedModel, recording: Recording) -> Activity:
    """Run the integer model in NumPy over the recording, from reset, and keep what it did.

    Of a decoder no more than ``MAX_SHOWN_STEPS`` steps are kept.
    """
    trace = execute(model, model.quantize_input(recording.x[None]), trace="all").trace
    values = {name: array[0, :MAX_SHOWN_STEPS] for name, array in trace.items()}
    layers = []
    for k, (name, layer) in enumerate(named_layers(model)):
        gates = tuple(_gate(gate, layer.modes[gate], values[f"{name}.{gate}"]) for gate in cell(layer.cell).gates)
        nonzero = values[f"{name}.h"] != 0
        order = np.argsort(-nonzero.sum(axis=0), kind="stable")
        hidden = Raster("h", None, nonzero.astype(np.float64), nonzero)
        decodes = k >= len(model.layers)
        layers.append(LayerActivity(name, _role(model, layer, decodes), decodes, gates, hidden, order))
    probabilities = values.get("probabilities")
    return Activity(
        tuple(layers),
        given(model),
        np.asarray(values["scores"] * model.score_scale, np.float64),
        values["class_index"][:, 0].astype(np.intp) if model.signature.task == "classify" else None,
        None if probabilities is None else np.asarray(probabilities * PROBABILITY.scale, np.float64),
    )


def given(model: QuantizedModel) -> Given:
    """When a model gives its outputs."""
    if model.decoder is not None:
        return "sequence"
    if model.pooling == "each":
        return "each"
    return "running" if lower(model).streams else "once"


def _role(model: QuantizedModel, layer: QuantizedLayer, decodes: bool) -> str:
    part = "" if model.decoder is None else "decoder" if decodes else "encoder"
    direction = "reverse" if layer.reverse else "forward"
    if decodes or not any(k.reverse for k in model.layers):
        return part
    return ", ".join(k for k in (part, direction) if k)


def _gate(name: str, mode: GateMode, integers: NDArray[np.int32]) -> Raster:
    level = np.clip(integers * gate_scale(mode), 0.0, 1.0)
    return Raster(name, mode, level, level > 0.5)
