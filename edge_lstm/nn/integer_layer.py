"""One recurrent layer in the runtime's integers, with any states before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lstm.layers import QuantizedLayer
from edge_lstm.lower import layer_name, lower
from edge_lstm.model import QuantizedModel
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gradient import Parameters, Record, replay
from edge_lstm.nn.integers import integers
from edge_lstm.nn.layer import Layer
from edge_lstm.nn.quantized import record, units
from edge_lstm.signature import Signature
from edge_lstm.timeline import Timeline


def run_layer(
    layer: Layer,
    quantized: QuantizedLayer,
    activations: Activations,
    x: Tensor,
    x_integers: Tensor,
    unit: NDArray[np.float64],
    input_bits: int,
    when: Timeline,
    initial: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """The states after each step, in the order in which the layer goes through them.

    Args:
        layer: The parameters.
        quantized: These in integers.
        activations: Gates and functions.
        x: (steps, windows, inputs) real values of the inputs; the gradient goes there.
        x_integers: int32 of the same shape, on the CPU.
        unit: (inputs,) real value of one unit of these.
        input_bits: Of these.
        when: Of the windows.
        initial: State name to real values (windows, length) before the first step; zero where None.

    Returns:
        State name to real values (steps, windows, length), with gradients; and h in integers, on the CPU.
    """
    model = _alone(quantized, input_bits)
    name = layer_name(model, 0)
    formats = {"h": quantized.h, "c": quantized.c}
    state, before = None, None
    if initial is not None:
        given = {s: f.quantize(initial[s].detach().cpu().numpy()) for s, f in formats.items() if f and s in initial}
        state = {f"{name}.{s}": v for s, v in given.items()}
        before = {s: f.dequantize(given[s]) for s, f in formats.items() if f and s in given}
    samples = x_integers.transpose(0, 1).contiguous().numpy()
    wanted, h = units(layer.kind, quantized, name), f"{name}.h"
    found = integers(lower(model), samples, [h], when, units=wanted, state=state, compiled=True)
    start = None if before is None else {s: torch.from_numpy(v) for s, v in before.items()}
    made = record(layer, quantized, name, unit, activations, found.real, initial=start)
    return replay(x, layer.packed, _like(made, x), initial), found.every[h]


def _alone(layer: QuantizedLayer, input_bits: int) -> QuantizedModel:
    """A model that is this layer, forwards, whose scores are nothing."""
    return QuantizedModel(
        signature=_signature(layer.inputs),
        input_offset=np.zeros(layer.inputs),
        input_scale=np.ones(layer.inputs),
        layers=(replace(layer, reverse=False, beside=False),),
        pooling="last",
        pool=None,
        pooled=layer.h,
        dense_weights=np.zeros((1, layer.outputs), np.int8),
        dense_bias=np.zeros(1, np.int32),
        score_scale=1.0,
        input_bits=input_bits,
    )


@lru_cache(maxsize=64)
def _signature(inputs: int) -> Signature:
    return Signature("layer", tuple(f"x{k}" for k in range(inputs)), ("",) * inputs, None, 1, ("y",), "regress")


def _like(made: Record, x: Tensor) -> Record:
    """On the device of other values, and of their type."""

    def values(of: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(x) for name, value in of.items()}

    used = Parameters(*(None if v is None else v.to(x) for v in made.used.tuple()))  # type: ignore[arg-type]
    m = None if made.m is None else made.m.to(x)
    return replace(made, used=used, z=values(made.z), states=values(made.states), m=m, initial=values(made.initial))
