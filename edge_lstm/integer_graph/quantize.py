"""Quantization after training of a graph: what ``ptq`` does of models that are no ``FloatModel``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edge_lstm._version import __version__
from edge_lstm.bits import layer_bits
from edge_lstm.calibrate import Progress, checked_calibration
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import parse_gates
from edge_lstm.graph.by_step import Input
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.over_time import Recurrent
from edge_lstm.heads import EXP_BETWEEN_BITS, EXP_INDEX_BITS, Softmax, exp_table
from edge_lstm.importing.graph_model import GraphModel
from edge_lstm.integer_graph.convert import convert
from edge_lstm.integer_graph.making import Maker
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.integer_graph.observe import parts, ranges
from edge_lstm.known_ranges import KnownRange
from edge_lstm.ptq_options import PtqOptions
from edge_lstm.ranges import exactly
from edge_lstm.requantize import Requantize


def quantize_graph(
    model: GraphModel, options: PtqOptions, x: Any, progress: Progress = lambda _done, _all: None
) -> QuantizedGraph:
    """A graph in integers.

    Weights are rounded to the nearest: reconstruction, bias correction and equalization are of recurrent models only.

    Args:
        model: The float graph.
        options: ``gates``, bits of weights and activations, tables and ranges.
        x: (windows, steps, channels) calibration.
        progress: Told how many windows were seen.

    Raises:
        UnsupportedError: A node has no integer form; names it, and says why.
        EdgeLstmError: Bad calibration, or an option that a graph does not take.
    """
    x, signature = checked_calibration(x), model.signature
    if options.budget.given:
        raise EdgeLstmError(
            "max_drop or max_bytes is given; formats are searched for in models of recurrent layers, pooling and dense "
            f"layers, and {signature.name} has other nodes"
        )
    wanted = (signature.steps, len(signature.channels))
    if np.shape(x)[1:] != wanted:
        raise EdgeLstmError(
            f"calibration has shape {np.shape(x)}; {signature.name} takes (windows, {wanted[0]}, {wanted[1]})"
        )
    (bits,) = layer_bits(1, options.weight_bits, options.activation_bits, options.activations)
    graph = model.graph if options.gates is None else _with_gates(model.graph, options.gates)
    seen = ranges(graph, model.input, x, options.range_choice, bits.activations, progress)
    for known in known_ranges(model):
        reach = known.largest if isinstance(graph.nodes[known.index], Input) else exactly(known.largest)
        for part in parts(graph, known.index):
            seen[known.index, part] = seen[known.index, part].known(reach)
    made = Maker(graph, model.scores, seen, signature.steps, bits)
    last = convert(made)
    unit, softmax = float(last.unit[0]), None
    if signature.probabilities:
        factor = np.full(len(last.unit), unit * 2.0 ** (EXP_INDEX_BITS + EXP_BETWEEN_BITS))
        softmax = Softmax(Requantize.from_real(factor, 2 * int(last.limit.max())), exp_table())
    quantized = QuantizedGraph(
        signature=signature,
        input_offset=np.zeros(len(signature.channels)),
        input_scale=made.units[0],
        nodes=tuple(made.nodes),
        units=tuple(made.units),
        score_scale=unit,
        input_bits=made.input_bits,
        softmax=softmax,
        provenance={"edge_lstm": __version__},
    )
    _ = quantized.lowered  # proves that nothing overflows
    return quantized


def known_ranges(model: GraphModel) -> tuple[KnownRange, ...]:
    """Ranges that the file says of nodes; not of recurrent layers, whose states have formats of their own."""
    found: dict[int, KnownRange] = {}
    for name, at in model.imported.places.items():
        largest = model.imported.ranges[name]
        plain = at < len(model.graph.nodes) and not isinstance(model.graph.nodes[at], Recurrent)
        if plain and (at not in found or found[at].largest < largest):
            found[at] = KnownRange("node", at, f"node {at}", name, largest)
    return tuple(found.values())


def _with_gates(graph: FloatGraph, gates: str) -> FloatGraph:
    """With other gate modes of all recurrent layers."""
    nodes = [
        replace(node, layers=tuple(replace(k, modes=parse_gates(gates, tuple(k.modes))) for k in node.layers))
        if isinstance(node, Recurrent)
        else node
        for node in graph.nodes
    ]
    return FloatGraph(tuple(nodes), graph.outputs)
