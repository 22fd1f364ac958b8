"""What the integers of a forward pass were in real units: at these values the gradient is linearised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lstm.blocks import Block
from edge_lstm.cells import Cell
from edge_lstm.layers import QuantizedLayer
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gradient import Parameters, Record
from edge_lstm.nn.layer import Layer, sites

Order = Callable[[Tensor], Tensor]


def recorded(kind: Cell, name: str) -> Iterator[str]:
    """Values of a layer's Program that ``record`` needs.

    Args:
        kind: The cell.
        name: Of the layer in the Program.
    """
    products = [f"a{part}_{block}" for block, _, part in (site.partition(".") for site in sites(kind))]
    values = [*products, *kind.states, *(["m"] if kind.projected else [])]
    return (f"{name}.{value}" for value in values)


def record(
    layer: Layer,
    quantized: QuantizedLayer,
    name: str,
    inputs: NDArray[np.float64],
    activations: Activations,
    trace: Mapping[str, Tensor],
    *,
    order: Order,
    initial: Mapping[str, Tensor] | None = None,
) -> Record:
    """What the integers did, in real units, and the weights that they stand for.

    Args:
        layer: The parameters.
        quantized: These in integers.
        name: Of the layer in the Program.
        inputs: (inputs,) what one unit of each integer input is in what the layer is given.
        activations: Gates and functions.
        trace: The ``recorded`` values, (steps, windows, length) in the order of time.
        order: From the order of time to that in which the layer goes through the steps.
        initial: Real states before the first step; zero where None.
    """
    kind, h = layer.kind, quantized.h
    products = {}
    for site in sites(kind):
        block, _, part = site.partition(".")
        products[site] = order(trace[f"{name}.a{part}_{block}"]).float() * real(quantized.blocks[block].scale)
    formats = {"h": h, "c": quantized.c, "m": quantized.operand}
    values = {
        key: order(trace[f"{name}.{key}"]).float() * f.scale
        for key, f in formats.items()
        if f is not None and f"{name}.{key}" in trace
    }
    rows = [quantized.blocks[block] for block in kind.blocks]
    weights = real(np.concatenate([r.weights * r.scale[:, None] for r in rows]))
    gain = 1 if quantized.input_gain is None else quantized.input_gain
    W = weights[:, : quantized.inputs] / real(inputs / gain)
    p = None
    if kind.peepholes:
        assert quantized.c is not None
        p = real(np.concatenate([_peepholes(quantized.blocks[k], quantized.c.scale) for k in kind.peepholes]))
    P = None if layer.P is None else layer.P.detach()
    used = Parameters(W, weights[:, quantized.inputs :] / h.scale, layer.b.detach(), p=p, P=P)
    return layer.record(activations, used, products, values, initial)


def real(values: NDArray[Any]) -> Tensor:
    """Real values as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _peepholes(block: Block, c_scale: float) -> NDArray[np.float64]:
    """Real weights of an integer peephole."""
    assert block.peephole is not None
    return np.asarray(block.peephole.multiplier * 2.0**-block.peephole.shift * block.scale / c_scale)
