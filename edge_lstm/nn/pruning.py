"""A float model with fewer units in each layer: those that matter most to what comes after them.

The importance of a unit is the mean square of what it gives, on windows, times the sum of the squares of the weights
that read it: how large its share of the pre-activations after it is. The second factor is the output-weights norm of T.
He, Y. Fan, Y. Qian, T. Tan and K. Yu, "Reshaping deep neural network for fast decoding by node-pruning", ICASSP 2014,
squared. With a unit go all its rows and columns, so that what is left is a dense, smaller layer: W. Wen et al.,
"Learning intrinsic sparse structures within long short-term memory", ICLR 2018, arXiv:1709.05027.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import FloatArray, evaluate, standardize
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel
from edge_lstm.timeline import timeline
from edge_lstm.wiring import levels

Chosen = NDArray[np.int64]


@dataclass(frozen=True)
class Kept:
    """What is kept of a layer, in ascending order.

    Attributes:
        units: Of its units.
        outputs: Of the elements of h: the units, but of a projected cell.
    """

    units: Chosen
    outputs: Chosen


def pruned(model: FloatModel, part: Dataset, hidden: int, outputs: int | None = None) -> FloatModel:
    """The model with the most important units of each layer.

    Args:
        model: The model.
        part: Windows on which units are compared.
        hidden: Units to keep of each layer.
        outputs: Of h to keep, of projected cells; ``hidden`` where None.

    Raises:
        EdgeLstmError: A layer has fewer.
    """
    outputs = hidden if outputs is None else outputs
    for k, layer in enumerate(model.all_layers):
        for what, found, wanted in (("units", layer.hidden, hidden), ("outputs", layer.outputs, outputs)):
            if not 1 <= wanted <= found:
                raise EdgeLstmError(
                    f"layer {k} of {model.signature.name} has {found} {what}, and {wanted} are to be kept; "
                    f"accepted are 1 to {found}"
                )
    return _only(model, _kept(model, part, hidden, outputs))


def _kept(model: FloatModel, part: Dataset, hidden: int, outputs: int) -> list[Kept]:
    """Of each layer of the encoder; a decoder's layer goes on with its states, and keeps the same."""
    when = timeline(model.signature, len(part), part.steps, part.lengths)
    traces = evaluate(model, standardize(model, part.x), when).layers
    found = [
        _importance(layer, trace, read)
        for layer, trace, read in zip(model.all_layers, traces, _readers(model), strict=True)
    ]
    count = len(model.layers)
    if model.decoder is not None:
        found = [(a + c, b + d) for (a, b), (c, d) in zip(found[:count], found[count:], strict=True)]
    kept = []
    for layer, (of_units, of_h) in zip(model.layers, found, strict=True):
        chosen = _most(of_h, outputs)
        kept.append(Kept(chosen if layer.P is None else _most(of_units, hidden), chosen))
    return kept


def _importance(
    layer: FloatLayer, trace: Mapping[str, FloatArray], readers: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Of the units (hidden,), and of the elements of h (outputs,)."""
    of_h = _mean_square(trace["h"]) * _column_squares(readers)
    return (of_h, of_h) if layer.P is None else (_mean_square(trace["m"]) * _column_squares([layer.P]), of_h)


def _mean_square(values: FloatArray) -> FloatArray:
    """Over windows and steps, (length,)."""
    return np.asarray(np.square(values).mean(axis=(0, 1)))


def _column_squares(matrices: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(sum(np.square(matrix).sum(axis=0) for matrix in matrices))


def _readers(model: FloatModel) -> list[list[FloatArray]]:
    """Of each layer, the weights (rows, outputs) that read its h."""
    head = [model.relu_layers[0].weights if model.relu_layers else model.dense_weights]
    head += [model.attention.weights[None]] if model.attention is not None else []
    if model.decoder is None:
        return _in_chain(model.layers, head)
    return _in_chain(model.layers, []) + _in_chain(model.decoder.layers, head)


def _in_chain(layers: Sequence[FloatLayer], head: list[FloatArray]) -> list[list[FloatArray]]:
    grouped = levels(layers)
    found = []
    for at, level in enumerate(grouped):
        last = at + 1 == len(grouped)
        after = head if last else [W for k in grouped[at + 1] for W in layers[k].W.values()]
        start = 0
        for k in level:
            end = start + layers[k].outputs
            found.append([*layers[k].R.values(), *(weights[:, start:end] for weights in after)])
            start = end
    return found


def _most(importance: FloatArray, count: int) -> Chosen:
    """Indices of the largest, in ascending order; of equal ones the first."""
    return np.sort(np.argsort(-importance, kind="stable")[:count])


def _only(model: FloatModel, kept: Sequence[Kept]) -> FloatModel:
    """The model with nothing but what is kept."""
    layers, columns = _layers(model.layers, kept)
    changes: dict[str, object] = {}
    if model.relu_layers:
        first = model.relu_layers[0]
        changes["relu_layers"] = (replace(first, weights=first.weights[:, columns]), *model.relu_layers[1:])
    else:
        changes["dense_weights"] = model.dense_weights[:, columns]
    if model.attention is not None:
        changes["attention"] = replace(model.attention, weights=model.attention.weights[columns])
    if model.decoder is not None:
        changes["decoder"] = replace(model.decoder, layers=_layers(model.decoder.layers, kept)[0])
    return replace(model, layers=layers, **changes)  # type: ignore[arg-type]


def _layers(layers: Sequence[FloatLayer], kept: Sequence[Kept]) -> tuple[tuple[FloatLayer, ...], Chosen]:
    """The layers, and what is kept of what the last level gives."""
    made: list[FloatLayer] = []
    columns = np.arange(layers[0].inputs)
    for level in levels(layers):
        made += [_layer(layers[k], kept[k], columns) for k in level]
        starts = np.cumsum([0, *(layers[k].outputs for k in level)])
        columns = np.concatenate([kept[k].outputs + start for k, start in zip(level, starts, strict=False)])
    return tuple(made), columns


def _layer(layer: FloatLayer, kept: Kept, columns: Chosen) -> FloatLayer:
    units, outputs = kept.units, kept.outputs
    return replace(
        layer,
        W={block: W[units][:, columns] for block, W in layer.W.items()},
        R={block: R[units][:, outputs] for block, R in layer.R.items()},
        b={block: b[units] for block, b in layer.b.items()},
        rb={block: rb[units] for block, rb in layer.rb.items()},
        p={block: p[units] for block, p in layer.p.items()},
        P=None if layer.P is None else layer.P[outputs][:, units],
        initial={state: v[outputs if state == "h" else units] for state, v in layer.initial.items()},
    )
