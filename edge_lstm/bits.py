"""Storage of each layer, from options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_lstm import luts
from edge_lstm.blocks import WEIGHT_MAX
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.integer_model import ACTIVATION_BITS

ACTIVATIONS = ("lut", "lut-interp")
LEAST_FRACTION = 12
"""Fraction bits of an h of 16 bits, at least."""
Choice = int | str | Sequence[int]
"""For all layers, or one for each; in text such as ``"8,4"``."""


@dataclass(frozen=True)
class Bits:
    """Storage of a layer.

    Args:
        weights: 8, 4 or 2.
        activations: Of h, 8 or 16.
        between: Of tables: 0, or ``luts.BETWEEN_BITS`` to interpolate.
        fraction: Fraction bits of an h that can't leave [-1, 1]; as many as there are where None. A row of weights has
            one scale for the columns of x and of h, so that its weights lose least where a unit of both is alike.
    """

    weights: int = 8
    activations: int = 8
    between: int = 0
    fraction: int | None = None

    @property
    def unit(self) -> QFormat:
        """Format of an h that can't leave [-1, 1]."""
        fraction = self.activations - 1 if self.fraction is None else self.fraction
        return QFormat(self.activations, fraction, symmetric=True)


def near_inputs(bits: Bits, unit: float) -> Bits:
    """With an h of 16 bits whose unit is about as large as the inputs', in [2**-15, 2**-12].

    Inputs may reach farther than h, and a row has one scale: units of h that are far smaller would leave the recurrent
    weights few of the row's integers.
    """
    if bits.activations != 16:
        return bits
    return replace(bits, fraction=round(min(max(-math.log2(unit), LEAST_FRACTION), 15)))


def layer_bits(
    layers: int, weight_bits: Choice = 8, activation_bits: Choice = 8, activations: str = "lut"
) -> list[Bits]:
    """Storage of each layer, from options.

    Raises:
        EdgeLstmError: A value that is not accepted, or not one for each layer.
    """
    if activations not in ACTIVATIONS:
        raise EdgeLstmError(f"activations is {activations!r}; accepted are {', '.join(map(repr, ACTIVATIONS))}")
    chosen = []
    for option, value, accepted in (
        ("weight_bits", weight_bits, tuple(WEIGHT_MAX)),
        ("activation_bits", activation_bits, ACTIVATION_BITS),
    ):
        values = _numbers(option, value)
        values = values * layers if len(values) == 1 else values
        if len(values) != layers:
            raise EdgeLstmError(f"{option} names {len(values)} layers; the model has {layers}")
        for each in values:
            if each not in accepted:
                raise EdgeLstmError(f"{option} is {each!r}; accepted are {', '.join(map(repr, accepted))}")
        chosen.append(values)
    between = luts.BETWEEN_BITS if activations == "lut-interp" else 0
    return [Bits(w, a, between) for w, a in zip(*chosen, strict=True)]


def _numbers(option: str, value: Choice) -> list[int]:
    if isinstance(value, str):
        if not all(part.strip().isdecimal() and len(part) < 8 for part in value.split(",")):
            raise EdgeLstmError(f"{option} is {value!r}; accepted are a number, or one for each layer such as 8,4")
        return [int(part) for part in value.split(",")]
    return [value] if isinstance(value, int) else list(value)
