"""A ``FloatGraph`` with known ranges to the nodes of a ``QuantizedGraph``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.graph import by_step, masks, over_time
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.integer_graph import convert_by_step as stepwise
from edge_lstm.integer_graph import convert_over_time as timewise
from edge_lstm.integer_graph.making import VECTOR_BITS, Maker, Quantized

KINDS: Mapping[type[Any], Callable[[Maker, int, Any], Quantized]] = {
    by_step.Input: stepwise.samples,
    by_step.Linear: stepwise.linear,
    by_step.Scale: lambda m, k, node: m.gain(k, m.made[node.source], node.factor, node.offset),
    by_step.Features: stepwise.features,
    by_step.Concat: stepwise.concat,
    by_step.Function: stepwise.function,
    by_step.Binary: stepwise.binary,
    by_step.Softmax: stepwise.softmax,
    by_step.Normalize: stepwise.normalize,
    by_step.Embedding: stepwise.embedding,
    masks.Differs: timewise.differs,
    over_time.Recurrent: timewise.recurrent,
    over_time.Conv: timewise.conv,
    over_time.Pool: timewise.pool,
    over_time.Step: lambda m, _k, node: stepwise.step_of(m, m.made[node.source], node),
    over_time.Steps: timewise.moved,
    over_time.Pad: timewise.pad,
    over_time.Reduce: timewise.reduce,
    over_time.Repeat: timewise.repeat,
}
"""Float nodes that have an integer form."""


def convert(m: Maker) -> Quantized:
    """Make all nodes; gives the last, which has the scores, in one unit.

    Raises:
        UnsupportedError: A node that has no integer form; names it, and says why.
    """
    for k, node in enumerate(m.graph.nodes):
        if k not in m.needed or k in m.made or stepwise.is_picked(m, k):
            continue
        try:
            m.made[m.fused.get(k, k)] = _convert(m, k, node)
        except EdgeLstmError as error:
            what = f"node {k} ({type(node).__name__.lower()}) of the imported graph"
            raise UnsupportedError(f"{what} has no integer form: {error}") from None
    last = m.made[m.scores]
    if len(set(last.unit.tolist())) > 1:
        last = m.uniform(m.scores, last, VECTOR_BITS)
    if last.at != len(m.nodes) - 1:
        last = m.gain(m.scores, last, np.ones(len(last.unit)), np.zeros(len(last.unit)), bits=VECTOR_BITS)
    return last


def _convert(m: Maker, k: int, node: Any) -> Quantized:
    if type(node) not in KINDS:
        if isinstance(node, masks.Compare):
            raise EdgeLstmError(
                "it compares; accepted is the mask of steps, in which some feature is not that of padding"
            )
        raise EdgeLstmError("it writes a window out step by step, or depends on lengths of windows")
    return KINDS[type(node)](m, k, node)
