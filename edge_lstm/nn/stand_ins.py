"""PyTorch's own modules in the place of those of edge-lstm, so that any exporter can write a model.

A stand-in has the shapes of what it stands for, its input weights and biases, and a number in all of its recurrent
weights, by which it is known again in the file.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from edge_lstm.layers import FloatLayer
from edge_lstm.nn.linear import Linear
from edge_lstm.nn.modules import Recurrent
from edge_lstm.nn.swap import swapped
from edge_lstm.nn.torch_weights import ORDERS, directions, fill, like_torch

Source = tuple[Recurrent, int]
"""A module, and the index of one of its layers."""


def with_stand_ins(model: nn.Module) -> tuple[nn.Module, Mapping[int, Source]]:
    """A copy on the CPU, and which layer each number stands for."""
    sources: dict[int, Source] = {}
    first: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, Recurrent):
            first[name] = len(sources) + 1
            sources |= {len(sources) + 1 + k: (module, k) for k in range(len(module.layers))}

    def replacement(name: str, module: nn.Module) -> nn.Module | None:
        if isinstance(module, Recurrent):
            return _recurrent(module, first[name])
        if isinstance(module, Linear):
            made = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
            made.weight, made.bias = module.weight, module.bias
            return made
        return None

    return swapped(copy.deepcopy(model).cpu(), replacement).eval(), sources


def number_of(layer: FloatLayer) -> int | None:
    """The number of a layer of a file; None of one that is no stand-in."""
    weights = np.concatenate([rows.ravel() for rows in layer.R.values()])
    number = float(weights[0])
    return int(number) if number == int(number) and number > 0 and (weights == number).all() else None


def _recurrent(module: Recurrent, number: int) -> nn.Module:
    kind = nn.RNN if "c" not in module.kind.states else nn.LSTM if module.two_states else nn.GRU
    made = like_torch(module, kind, module.output_size)
    for k, (of, layer) in enumerate(zip(directions(made), module.layers, strict=True)):
        fill(of, ORDERS[kind], layer)
        with torch.no_grad():
            of.weight_hh.fill_(number + k)
    return made
