"""What a prepared model computes, by its float ONNX file, in which other modules of PyTorch are understood too."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_lstm.calibrate import Calibration
from edge_lstm.calibrate import calibrate as float_ranges
from edge_lstm.errors import EdgeLstmError
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.graph.over_time import Recurrent as Level
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.graph_model import GraphModel
from edge_lstm.importing.interpreter import interpret
from edge_lstm.importing.load import ImportedModel
from edge_lstm.importing.reader import read
from edge_lstm.layers import FloatDense, FloatLayer
from edge_lstm.model import FloatModel
from edge_lstm.nn.chain import Chain, dense_of
from edge_lstm.nn.linear import Linear
from edge_lstm.nn.modules import Recurrent
from edge_lstm.nn.recordings import Recordings
from edge_lstm.nn.stand_ins import Source, number_of, with_stand_ins
from edge_lstm.nn.standardized import standardized
from edge_lstm.signature import Signature

TRACED_WINDOWS = 2
OPSET = 17


@dataclass(frozen=True)
class Traced:
    """A prepared model as a value.

    Attributes:
        model: In float, with the cells and gates of its modules.
        sources: Of each of its recurrent layers, the module's; None of one that is not edge-lstm's.
        chain: Where it is recurrent modules one after the other that read what is before them as it is.
    """

    model: FloatModel | GraphModel
    sources: Sequence[Source | None]
    chain: Chain | None = None


def traced(model: nn.Module, x: Recordings, signature: Signature | None = None) -> Traced:
    """A prepared model.

    Args:
        model: It.
        x: Recordings that it takes.
        signature: Of it; made up where None.

    Raises:
        EdgeLstmError: It can't be exported, it holds what the importer does not know, or the signature is of another.
    """
    like, sources = with_stand_ins(model)
    found = _imported(like, x).any_model(steps=int(x.x.shape[1]))
    if signature is not None:
        _check_signature(signature, found.signature)
        found = replace(found, signature=signature)
    if isinstance(found, GraphModel):
        return _graph(found, sources)
    of = [_source(layer, sources) for layer in found.layers]
    if all(source is not None for source in of):
        own = [_layer(k, s) for k, s in zip(found.layers, of, strict=True)]
        found = standardized(found, own) or found
    made = replace(found, layers=tuple(_own(k, s) for k, s in zip(found.layers, of, strict=True)))
    return Traced(made, of, _chain(model, made, of, x))


def _imported(model: nn.Module, x: Recordings) -> ImportedModel:
    given = x.given(model, slice(0, TRACED_WINDOWS))
    names = ["x", "lengths"][: len(given)]
    axes = {"x": {0 if x.batch_first else 1: "windows"}}
    if len(given) > 1:
        axes["x"][1 if x.batch_first else 0] = "steps"
        axes["lengths"] = {0: "windows"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        options: dict[str, Any] = {"opset_version": OPSET, "input_names": names, "dynamic_axes": axes}
        try:
            torch.onnx.export(model, given, path, dynamo=False, **options)
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            raise EdgeLstmError(f"PyTorch can't export the model to ONNX: {said}") from error
        proto = read(path)
    try:
        return ImportedModel("model", interpret(proto))
    except UnsupportedError as error:
        if len(given) == 1:
            raise
        raise UnsupportedError(
            f"{error}; windows are packed with enforce_sorted, and given the longest first"
        ) from None


def _source(layer: FloatLayer, sources: Mapping[int, Source]) -> Source | None:
    number = number_of(layer)
    return None if number is None else sources.get(number)


def _layer(found: FloatLayer, source: Source | None) -> FloatLayer:
    """The module's layer in the place of one that was found."""
    if source is None:
        return found
    module, k = source
    return replace(module.float_layers()[k], reverse=found.reverse, beside=found.beside, initial=found.initial)


def _own(found: FloatLayer, source: Source | None) -> FloatLayer:
    """The layer that another stands for; factors and offsets before it are in the weights of the one that was found.

    Raises:
        EdgeLstmError: They are, and the layer is projected: then not all of them are known.
    """
    if source is None:
        return found
    own = _layer(found, source)
    if _as_given(found, own):
        return own
    if own.P is not None:
        raise EdgeLstmError(
            "a factor, offset or normalization stands right before a projected layer; move it elsewhere"
        )
    return replace(own, W={k: found.W[k] for k in own.W}, b={k: found.b[k] for k in own.b})


def _as_given(found: FloatLayer, own: FloatLayer) -> bool:
    """Whether a layer reads its inputs without a factor or an offset."""
    units = found.hidden
    return all(
        np.array_equal(found.W[block], own.W[block][:units]) and np.array_equal(found.b[block], own.b[block][:units])
        for block in own.W
    )


def _chain(model: nn.Module, found: FloatModel, sources: Sequence[Source | None], x: Recordings) -> Chain | None:
    modules: list[Recurrent] = []
    for source, layer in zip(sources, found.layers, strict=True):
        if source is None:
            return None
        module, k = source
        own = module.float_layers()[k]
        if not all(np.array_equal(layer.W[b], own.W[b]) and np.array_equal(layer.b[b], own.b[b]) for b in own.W):
            return None
        if not modules or modules[-1] is not module:
            modules.append(module)
    if [(m, k) for m in modules for k in range(len(m.layers))] != [*sources]:
        return None
    linears = _linears(model, found)
    others = Calibration(np.zeros(len(found.signature.channels)), (), ())
    if found.attention is not None or (found.relu_layers and not linears):
        others = float_ranges(found, x.x, lengths=x.lengths)
    return Chain(found, tuple(modules), linears, others)


def _check_signature(given: Signature, found: Signature) -> None:
    for name in ("steps", "variable"):
        if getattr(given, name) != getattr(found, name):
            raise EdgeLstmError(
                f"{name} of the signature is {getattr(given, name)}; accepted is {getattr(found, name)}"
            )
    for name in ("channels", "classes"):
        wanted = len(getattr(found, name))
        if len(getattr(given, name)) != wanted:
            raise EdgeLstmError(f"the signature has {len(getattr(given, name))} {name}; the model has {wanted}")


def _linears(model: nn.Module, found: FloatModel) -> tuple[Linear, ...]:
    """The modules that are the model's dense layers; none where one is not."""
    if found.pooling == "attention":
        return ()
    left = [module for module in model.modules() if isinstance(module, Linear)]
    chosen: list[Linear] = []
    for wanted in (*found.relu_layers, FloatDense(found.dense_weights, found.dense_bias)):
        same = [module for module in left if _same(dense_of(module), wanted)]
        if not same:
            return ()
        chosen.append(same[0])
        left.remove(same[0])
    return tuple(chosen)


def _same(dense: FloatDense, other: FloatDense) -> bool:
    return np.array_equal(dense.weights, other.weights) and np.array_equal(dense.bias, other.bias)


def _graph(found: GraphModel, sources: Mapping[int, Source]) -> Traced:
    of: list[Source | None] = []
    nodes = []
    for node in found.graph.nodes:
        if isinstance(node, Level):
            here = [_source(layer, sources) for layer in node.layers]
            for source in here:
                if source is not None and source[0].kind.projected:
                    raise EdgeLstmError("a projected layer in a model that is a graph; accepted are other cells")
            of += here
            node = replace(node, layers=tuple(_own(k, s) for k, s in zip(node.layers, here, strict=True)))
        nodes.append(node)
    return Traced(replace(found, graph=FloatGraph(tuple(nodes), found.graph.outputs)), of)
