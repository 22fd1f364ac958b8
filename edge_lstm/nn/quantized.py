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
from edge_lstm.fixedpoint import QFormat
from edge_lstm.layers import QuantizedLayer
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gradient import Parameters, Record
from edge_lstm.nn.kernel_layer import sites
from edge_lstm.nn.layer import Layer

Order = Callable[[Tensor], Tensor]


def _as_it_is(values: Tensor) -> Tensor:
    return values


def recorded(kind: Cell, name: str) -> Iterator[str]:
    """Values of a layer's Program that ``record`` needs.

    Args:
        kind: The cell.
        name: Of the layer in the Program.
    """
    yield from (_product(name, site) for site in sites(kind))
    yield from (f"{name}.{value}" for value in (*kind.states, *(["m"] if kind.projected else [])))


def _product(name: str, site: str) -> str:
    """Name of the accumulators of a matrix product in the Program."""
    block, _, part = site.partition(".")
    return f"{name}.a{part}_{block}"


def units(kind: Cell, quantized: QuantizedLayer, name: str) -> dict[str, Tensor]:
    """The real value of one unit of each element of the ``recorded`` values, float32 (length,).

    Args:
        kind: The cell.
        quantized: The layer.
        name: Of the layer in the Program.
    """
    found = {_product(name, site): real(quantized.blocks[site.partition(".")[0]].scale) for site in sites(kind)}
    lengths = {"h": quantized.outputs}
    formats = {s: f for s, f in _formats(quantized).items() if s in kind.states or (s == "m" and kind.projected)}
    for s, f in formats.items():
        assert f is not None
        found[f"{name}.{s}"] = torch.full((lengths.get(s, quantized.hidden),), f.scale)
    return found


def _formats(quantized: QuantizedLayer) -> dict[str, QFormat | None]:
    return {"h": quantized.h, "c": quantized.c, "m": quantized.operand}


def record(
    layer: Layer,
    quantized: QuantizedLayer,
    name: str,
    inputs: NDArray[np.float64],
    activations: Activations,
    trace: Mapping[str, Tensor],
    *,
    order: Order = _as_it_is,
    initial: Mapping[str, Tensor] | None = None,
) -> Record:
    """What the integers did, in real units, and the weights that they stand for.

    Args:
        layer: The parameters.
        quantized: These in integers.
        name: Of the layer in the Program.
        inputs: (inputs,) what one unit of each integer input is in what the layer is given.
        activations: Gates and functions.
        trace: The ``recorded`` values, (steps, windows, length); float32 in real units, or int32.
        order: From the order of the trace to that in which the layer goes through the steps.
        initial: Real states before the first step; zero where None.
    """
    kind = layer.kind

    def in_units(value: str, unit: Tensor) -> Tensor:
        found = order(trace[value])
        return found if found.is_floating_point() else found.float() * unit

    of_trace = units(kind, quantized, name)
    products = {site: in_units(v, of_trace[v]) for site in sites(kind) for v in [_product(name, site)]}
    values = {s: in_units(v, of_trace[v]) for s in _formats(quantized) if (v := f"{name}.{s}") in of_trace}
    return layer.record(activations, rounded(layer, quantized, inputs), products, values, initial)


def rounded(layer: Layer, quantized: QuantizedLayer, inputs: NDArray[np.float64]) -> Parameters:
    """The real values that a layer's integer weights stand for; what is not narrow is as it is.

    Args:
        layer: The parameters.
        quantized: These in integers.
        inputs: (inputs,) as of ``record``.
    """
    kind = layer.kind
    rows = [quantized.blocks[kind.owner(block)] for block in kind.blocks]
    weights = real(np.concatenate([r.weights * r.scale[:, None] for r in rows]))
    gain = 1 if quantized.input_gain is None else quantized.input_gain
    W = weights[:, : quantized.inputs] / real(inputs / gain)
    p = None
    if kind.peepholes:
        assert quantized.c is not None
        p = real(np.concatenate([_peepholes(quantized.blocks[k], quantized.c.scale) for k in kind.peepholes]))
    left = layer.packed.detached()
    return Parameters(W, weights[:, quantized.inputs :] / quantized.h.scale, left.b, left.rb, p, left.P)


def real(values: NDArray[Any]) -> Tensor:
    """Real values as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _peepholes(block: Block, c_scale: float) -> NDArray[np.float64]:
    """Real weights of an integer peephole."""
    assert block.peephole is not None
    return np.asarray(block.peephole.multiplier * 2.0**-block.peephole.shift * block.scale / c_scale)
