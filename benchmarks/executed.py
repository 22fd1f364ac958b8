"""Which products of a recurrent network a device has to execute, on recordings.

A layer's matrices are (rows, inputs + h). In one step, two kinds of products contribute nothing:

* a column of h that is 0 (a closed output gate), in the rows of all blocks; in a ``gru``'s candidate a column of r h;
* a row of the candidate whose gate lets nothing of it in: i = 0, or f = 1 (``cifg``), or z = 1 (``gru``).

All others are executed, those with the layer's inputs and with a projection among them. Dense is the count of all. No
device here skips anything yet (``edge-lstm simulate`` counts what is executed); these counts say what there is to skip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.cells import cell
from edge_lstm.data import Dataset
from edge_lstm.fixedpoint import Integers
from edge_lstm.layers import QuantizedLayer
from edge_lstm.lower import named_layers
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute
from edge_lstm.statistics import gate_scale
from edge_lstm.timeline import Timeline, timeline

BLOCK = 64
"""Windows at a time: a trace of all values takes about 100 bytes for each unit and step."""
CANDIDATES: Mapping[str, tuple[str, str, bool]] = {
    **dict.fromkeys(("lstm", "lstm-1997", "peephole", "lstmp"), ("g", "i", False)),
    "cifg": ("g", "f", True),
    "gru": ("n", "z", True),
    "gru-after": ("n", "z", True),
}
"""Cell to its candidate's block, the gate that lets it in, and whether that gate is closed to it at 1 and not at 0."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Activity:
    """Means over the windows' steps.

    Attributes:
        dense: Products of a step if none is skipped.
        executed: Products of a step.
        open: Gate to its mean value, 0 to 1; a gate of a later layer has the layer's name before it.
        h_zero: Share of the hidden values that are 0.
        windows: On how many windows.
    """

    dense: int
    executed: float
    open: Mapping[str, float]
    h_zero: float
    windows: int


def activity(model: QuantizedModel, dataset: Dataset, *, at_most: int = 1024) -> Activity:
    """What the gates did, and which products were needed.

    Args:
        model: Without a decoder.
        dataset: Windows in the channels' units.
        at_most: Windows; of more, so many are taken at equal distances.
    """
    assert model.decoder is None
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), at_most)).astype(np.int64))
    part, layers = dataset.take(chosen), list(named_layers(model))
    executed, steps, zeros, states = 0.0, 0, 0, 0
    opened = {_label(name, gate, layers): 0.0 for name, layer in layers for gate in layer.modes}
    for block in part.blocks(BLOCK):
        integers = model.quantize_input(block.x)
        trace = execute(model, integers, trace="all", lengths=block.lengths).trace
        when, inside = timeline(model.signature, len(block), block.steps, block.lengths), block.inside
        for name, layer in layers:
            executed += float(_needed(name, layer, trace, when)[inside].sum())
            h = trace[f"{name}.h"][inside]
            zeros, states = zeros + int((h == 0).sum()), states + h.size
            for gate, mode in layer.modes.items():
                values = trace[f"{name}.{gate}"][inside] * gate_scale(mode)
                opened[_label(name, gate, layers)] += float(values.mean(axis=-1).sum())
        steps += int(inside.sum())
    return Activity(
        dense=sum(block.weights.size for _, layer in layers for block in layer.blocks.values())
        + sum(layer.projection.weights.size for _, layer in layers if layer.projection is not None),
        executed=executed / steps,
        open={gate: total / steps for gate, total in opened.items()},
        h_zero=zeros / states,
        windows=len(part),
    )


def _label(name: str, gate: str, layers: list[tuple[str, QuantizedLayer]]) -> str:
    return gate if name == layers[0][0] else f"{name}.{gate}"


def _needed(name: str, layer: QuantizedLayer, trace: Mapping[str, Integers], when: Timeline) -> NDArray[np.int64]:
    """Products (windows, steps) of a layer."""
    used = _before(layer, trace[f"{name}.h"], when) != 0  # (windows, steps, h): columns that are no zero
    candidate, rows = CANDIDATES.get(layer.cell, ("", "", False))[0], layer.hidden
    needed = np.full(used.shape[:2], 0 if layer.projection is None else layer.projection.weights.size, np.int64)
    for block in cell(layer.cell).matrices:
        columns, open_rows = layer.inputs + used.sum(axis=-1), np.full(used.shape[:2], rows)
        if block == candidate:
            open_rows = _let_in(name, layer, trace).sum(axis=-1)
            if layer.cell == "gru":
                columns = layer.inputs + (used & (trace[f"{name}.r"] != 0)).sum(axis=-1)
        needed += open_rows * columns
    return needed


def _let_in(name: str, layer: QuantizedLayer, trace: Mapping[str, Integers]) -> Bools:
    """(windows, steps, hidden) where something of the candidate is let in."""
    _, gate, keeps = CANDIDATES[layer.cell]
    values = trace[f"{name}.{gate}"]
    return np.asarray(values * gate_scale(layer.modes[gate]) < 1 if keeps else values != 0)


def _before(layer: QuantizedLayer, h: Integers, when: Timeline) -> Any:
    """h of the step before, in the layer's direction; (windows, steps, h)."""
    ordered = when.backwards(h) if layer.reverse else h
    first = np.broadcast_to(layer.initial.get("h", np.zeros(layer.outputs, np.int32)), ordered[:, :1].shape)
    shifted = np.concatenate([first, ordered[:, :-1]], axis=1)
    return when.backwards(shifted) if layer.reverse else shifted
