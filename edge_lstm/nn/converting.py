"""A prepared model's ranges, and its integers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from edge_lstm.bits import Bits
from edge_lstm.calibrate import calibrate as float_ranges
from edge_lstm.errors import EdgeLstmError
from edge_lstm.importing.graph_model import GraphModel
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.integer_graph.quantize import quantize_graph
from edge_lstm.lower import lower
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.nn.modules import Recurrent
from edge_lstm.nn.phases import phased, set_phase
from edge_lstm.nn.recordings import Recordings, recordings
from edge_lstm.nn.stand_ins import Source
from edge_lstm.nn.trace import Traced, traced
from edge_lstm.ptq_options import PtqOptions
from edge_lstm.signature import Signature
from edge_lstm.to_integers import quantize_model
from edge_lstm.wiring import levels


def calibrate(model: nn.Module, calibration: Any, *, lengths: Any = None, batch_first: bool = True) -> None:
    """Find the ranges of a prepared model, with which its modules compute integers in the phase ``quantized``.

    The model runs over the recordings in evaluation, with its gates hard. Then it is traced: where it is recurrent
    modules, pooling over time and dense layers, its modules learn which of them reads what, and compute together the
    integers of the model that ``convert`` makes. Ranges are kept in ``state_dict``; what was traced is not.

    Args:
        model: Prepared. It takes recordings (windows, steps, channels), float32, and ``lengths`` where there are any.
        calibration: (windows, steps, channels) recordings like those that the device will see.
        lengths: (windows,) steps of each window, of a model that takes these as its second argument. It is given
            windows the longest first, and packs them with ``enforce_sorted``.
        batch_first: The model takes (windows, steps, channels), else (steps, windows, channels).

    Raises:
        EdgeLstmError: The model is not prepared, bad recordings, or a state that grows without limit.
    """
    x = recordings(calibration, lengths, batch_first=batch_first)
    _observe(model, x)
    _join(model, traced(model, x))


def convert(
    model: nn.Module,
    calibration: Any,
    *,
    lengths: Any = None,
    batch_first: bool = True,
    signature: Signature | None = None,
) -> QuantizedModel | QuantizedGraph:
    """The integers of a prepared model, to ship.

    Where the model is recurrent modules, pooling over time (last, mean, max, or none) and dense layers with relu
    between them, it gives the ``QuantizedModel`` whose integers the phase ``quantized`` computes: all of h and c, and
    the scores. Where the model standardizes samples itself, in float32, a sample that lies between two integers may
    become the other one. With attention, or a normalization behind the recurrent modules, h and c are these, and the
    scores are near. Where other factors, offsets or normalizations stand before a recurrent module, they are multiplied
    into the weights, and inputs have other formats than in training; where the model holds anything else, such as
    convolutions, it gives a ``QuantizedGraph``, whose formats are found on the calibration alone: there all integers
    are near those of training, and not the same.

    Args:
        model: Prepared; trained in the phase ``quantized``, or not: ranges that are not known are found here. It is not
            changed.
        calibration: (windows, steps, channels) recordings; the length of windows is theirs.
        lengths, batch_first: As of ``calibrate``.
        signature: Names of channels and classes, and probabilities; made up where None.

    Returns:
        A model that is proved free of overflow.

    Raises:
        EdgeLstmError: The model is not prepared, can't be exported, or holds what has no integer form.
        RangeError: The model could overflow.
    """
    x = recordings(calibration, lengths, batch_first=batch_first)
    model = copy.deepcopy(model).cpu()
    if not all(module.calibrated for module in _recurrent(model)):
        _observe(model, x)
    found = traced(model, x, signature)
    if isinstance(found.model, GraphModel):
        return _graph(found.model, found.sources, x)
    quantized = found.chain.quantized() if found.chain is not None else _alike(found.model, found.sources, x)
    lower(quantized)
    return quantized


def _recurrent(model: nn.Module) -> list[Recurrent]:
    """The recurrent modules of a prepared model.

    Raises:
        EdgeLstmError: There is none.
    """
    found = [module for module in phased(model) if isinstance(module, Recurrent)]
    if not found:
        raise EdgeLstmError("the model has no recurrent module of edge-lstm: prepare it first")
    return found


def _join(model: nn.Module, found: Traced) -> None:
    """Tell the modules which of them reads what."""
    for module in phased(model):
        module.place = None
    if found.chain is not None:
        found.chain.join()


@torch.no_grad()
def _observe(model: nn.Module, x: Recordings) -> None:
    """Find the ranges of all modules."""
    _recurrent(model)
    training = [(module, module.training) for module in model.modules()]
    phases = [(module, module.phase, module.slope) for module in phased(model)]
    model.eval()
    set_phase(model, "hard")
    for module in phased(model):
        module.observe()
    try:
        for given in x.blocks(model):
            model(*given)
    finally:
        for module in phased(model):
            module.observed()
        for module, phase, slope in phases:
            module.phase, module.slope = phase, slope
        for each, was in training:
            each.training = was


def _bits(source: Source | None) -> Bits:
    """Of a layer."""
    if source is None:
        return Bits()
    module, k = source
    return module.bits[k * module.num_layers // len(module.layers)]


def _alike(model: FloatModel, sources: Sequence[Source | None], x: Recordings) -> QuantizedModel:
    """Of a model whose layers don't all read what its modules read: ranges of inputs are found anew."""
    ranges = float_ranges(model, x.x, lengths=x.lengths)
    cells, hidden = list(ranges.cell_max), list(ranges.hidden_max)
    for at, source in enumerate(sources):
        if source is not None:
            own = source[0].calibration()
            cells[at], hidden[at] = own.cell_max[source[1]], own.hidden_max[source[1]]
    known = replace(ranges, cell_max=tuple(cells), hidden_max=tuple(hidden))
    return quantize_model(model, known, [_bits(sources[level[0]]) for level in levels(model.layers)])


def _graph(model: GraphModel, sources: Sequence[Source | None], x: Recordings) -> QuantizedGraph:
    """Of a graph, whose layers all have the same bits.

    Raises:
        EdgeLstmError: They have not, or windows have several lengths.
    """
    if x.lengths is not None:
        raise EdgeLstmError("lengths are given, and the model is a graph; accepted are windows of one length")
    chosen = {_bits(source) for source in sources if source is not None}
    if len(chosen) != 1:
        raise EdgeLstmError(f"the model is a graph, and its layers have {len(chosen)} choices of bits; accepted is one")
    (bits,) = chosen
    options = PtqOptions(
        weight_bits=bits.weights,
        activation_bits=bits.activations,
        activations="lut-interp" if bits.between else "lut",
    )
    return quantize_graph(model, options, x.x)
