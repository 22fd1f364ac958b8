"""A network that begins with the weights of a float model instead of random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel
from edge_lstm.nn.layer import Layer
from edge_lstm.nn.network import Network
from edge_lstm.nn.pruning import pruned
from edge_lstm.nn.quantized import real

WINDOWS = 128
"""On which units are compared."""


def begin(network: Network, model: FloatModel, dataset: Dataset) -> None:
    """Give a network the weights of a model, and the scale of its inputs; gates and functions stay the network's.

    Where the model has more units than the network, the most important ones are kept (``pruning``).

    Args:
        network: Its parameters are overwritten.
        model: Of the same inputs and outputs, the same cells and as many layers.
        dataset: Training windows, on which units are compared.

    Raises:
        EdgeLstmError: The model is of another kind, or has fewer units.
    """
    _check(network, model)
    first = network.layers[0]
    if any((layer.hidden, layer.outputs) != (first.hidden, first.outputs) for layer in model.layers):
        chosen = np.unique(np.linspace(0, len(dataset) - 1, WINDOWS).astype(np.int64))
        model = pruned(replace(model, signature=network.signature), dataset.take(chosen), first.hidden, first.outputs)
    network.mean, network.std = (np.asarray(v, np.float32).astype(np.float64) for v in (model.mean, model.std))
    _take(network, model)


def _check(network: Network, model: FloatModel) -> None:
    its, ours, first = model.signature, network.signature, network.layers[0]
    wanted: dict[str, tuple[Any, Any]] = {
        name: (getattr(its, name), getattr(ours, name)) for name in ("task", "channels", "units", "classes")
    }
    wanted |= {
        "cell": (tuple(dict.fromkeys(layer.cell for layer in model.layers)), (first.kind.name,)),
        "layers": (_wiring(model.layers), _wiring(network.layers)),
        "pooling": (model.pooling, network.pooling),
        "relu": (
            tuple(len(layer.weights) for layer in model.relu_layers),
            tuple(len(layer.bias) for layer in network.head.relu_layers if isinstance(layer, nn.Linear)),
        ),
        "decoder": (_decoded(model), _decoded(network)),
    }
    for what, (found, accepted) in wanted.items():
        if found != accepted:
            raise EdgeLstmError(
                f"the model to start from, {its.name}, has {what} {_shown(found)}; accepted are {_shown(accepted)}"
            )
    for layer in model.all_layers:
        if layer.initial or layer.clip is not None:
            raise EdgeLstmError(
                f"the model to start from, {its.name}, has initial states or a clip, which are not trained; "
                "accepted are models without"
            )
    for what, most, asked in (
        ("hidden", min(layer.hidden for layer in model.layers), first.hidden),
        ("outputs", min(layer.outputs for layer in model.layers), first.outputs),
    ):
        if asked > most:
            raise EdgeLstmError(
                f"{what} is {asked}, and the model to start from, {its.name}, has {most}; accepted are 1 to {most}"
            )
    if model.attention is not None and not model.attention.bounded:
        raise EdgeLstmError(
            f"the attention of the model to start from, {its.name}, has no limits; accepted are those with"
        )


def _decoded(of: FloatModel | Network) -> int:
    """Steps of the decoder, 0 where there is none."""
    return 0 if of.decoder is None else of.decoder.steps


def _wiring(layers: Any) -> tuple[str, ...]:
    """Of each layer, which way it goes."""
    return tuple(f"{'beside ' if k.beside else ''}{'reverse' if k.reverse else 'forward'}" for k in layers)


def _shown(value: Any) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


@torch.no_grad()
def _take(network: Network, model: FloatModel) -> None:
    for layer, of in zip(network.layers, model.layers, strict=True):
        _take_layer(layer, of)
    if network.decoder is not None and model.decoder is not None:
        scales = [network.decoder.scale, *[None] * (len(network.decoder.layers) - 1)]
        for layer, of, scale in zip(network.decoder.layers, model.decoder.layers, scales, strict=True):
            _take_layer(layer, of, scale)
    head = network.head
    for relu, dense in zip(head.relu_layers, model.relu_layers, strict=True):
        assert isinstance(relu, nn.Linear)
        relu.weight.copy_(real(dense.weights))
        relu.bias.copy_(real(dense.bias))
    head.dense.weight.copy_(real(model.dense_weights) / head.scale[:, None])
    head.dense.bias.copy_((real(model.dense_bias) - head.mean) / head.scale)
    if head.attention is not None and model.attention is not None:
        head.attention.weights.copy_(real(model.attention.weights))
        head.attention.bias.copy_(real(model.attention.bias))


def _take_layer(layer: Layer, of: FloatLayer, scale: Tensor | None = None) -> None:
    """The inverse of ``Layer.float_layer``."""
    kind = layer.kind

    def packed(parameter: Tensor | None, by_block: Mapping[str, NDArray[np.float64]], names: tuple[str, ...]) -> None:
        if parameter is not None:
            parameter.copy_(real(np.concatenate([by_block[name] for name in names])))

    packed(layer.W, of.W, kind.matrices)
    packed(layer.R, of.R, kind.matrices)
    packed(layer.b, of.b, kind.blocks)
    packed(layer.rb, of.rb, kind.split)
    packed(layer.p, of.p, kind.peepholes)
    if scale is not None:
        layer.W.mul_(scale)
    if layer.P is not None and of.P is not None:
        layer.P.copy_(real(of.P))
