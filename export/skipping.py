"""Which layers skip columns whose element is 0: they that can, as one asks for, or as recordings make it pay.

The integers are the same. Weights take two bytes instead of one on cores that have a kernel which skips.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export.kernels.dsp_skipping import is_gated, skipping_refusal
from edge_lstm.export.kernels.groups import row_groups
from edge_lstm.export.kernels.selection import made_of
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.program import Program
from edge_lstm.runtime import execute

MOST_NONZERO = 0.5
"""Share of elements that are not 0 up to which a layer skips columns if nobody says. On a Cortex-M4 it is as fast as
computing all at about 0.8."""


def refusals(model: IntegerModel) -> dict[str, str | None]:
    """Name of each layer with products to why it can't skip columns; None where it can."""
    found: dict[str, str | None] = {}
    for stage in lower(model).stages:
        for group in row_groups(stage.program.instructions):
            layer = group.products[0].out.partition(".")[0]
            refusal = skipping_refusal(stage.program, group)
            if refusal is None or found.get(layer, "") is not None:
                found[layer] = refusal
    return found


def skipped_layers(
    model: IntegerModel, skip: bool | None = None, *, x: Any = None, lengths: Any = None
) -> frozenset[str]:
    """Layers that skip columns.

    Args:
        model: The model.
        skip: All layers that can, or none. Where None: those that can, and of whose elements at most half are not 0 in
            the recordings.
        x: (windows, steps, channels) samples in the channels' units; without them nothing is skipped unless asked for.
        lengths: (windows,) steps of each window.

    Raises:
        EdgeLstmError: It is asked for, and no layer can; or bad samples.
    """
    if skip is False or (skip is None and x is None):
        return frozenset()
    refused = refusals(model)
    able = frozenset(layer for layer, why in refused.items() if why is None)
    if skip is None:
        return frozenset(layer for layer, share in _nonzero(model, x, lengths).items() if share <= MOST_NONZERO) & able
    if not able:
        reasons = "; ".join(f"{layer}: {why}" for layer, why in refused.items())
        raise EdgeLstmError(f"no layer of {model.signature.name} can skip columns: {reasons}")
    return able


def _nonzero(model: IntegerModel, x: Any, lengths: Any) -> dict[str, float]:
    """Of each layer that reads gated states, the share of these that are not 0."""
    trace = execute(model, model.quantize_input(x), trace="states", lengths=lengths).trace
    values: dict[str, list[bool]] = {}
    for stage in lower(model).stages:
        for group in row_groups(stage.program.instructions):
            layer = group.products[0].out.partition(".")[0]
            for part in made_of(stage.program, group.vector):
                if is_gated(stage.program, part) and (state := _state(stage.program, part)) in trace:
                    values.setdefault(layer, []).extend((np.asarray(trace[state]) != 0).ravel().tolist())
    return {layer: float(np.mean(found)) for layer, found in values.items()}


def _state(program: Program, value: str) -> str:
    """The state that a value is, or becomes."""
    return next((s.port.name for s in program.states if value in (s.port.name, s.next)), value)
