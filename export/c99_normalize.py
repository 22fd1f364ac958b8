"""Raw samples of a sensor, 16-bit integers, to a model's input integers, in 32-bit integers alone.

Of each channel, with the gain g = raw_scale / input_scale and the zero z = (raw_offset - input_offset) / input_scale,
the input integer is the nearest to g * raw + z. Multiplier and offset are g * 2^shift and z * 2^shift, rounded, with
the largest shift of at most 30 at which

    q = (raw * multiplier + offset + 2^(shift - 1)) >> shift, saturated

has no intermediate beyond 32 bits: product and sum are monotone in raw, so it is enough to look at both ends. That q is
within 1 of the integer that floating point gives is checked for each of the 65,536 raw values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import Integers, half
from edge_lstm.integer_model import IntegerModel

RAW_MIN, RAW_MAX = -(2**15), 2**15 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
MAX_SHIFT = 30


@dataclass(frozen=True)
class Normalization:
    """What ``NAME_normalize`` computes; each field of numbers has one for each channel.

    Attributes:
        raw_scale: Real value of one raw unit, in the channel's unit.
        raw_offset: Real value of the raw value 0.
        multiplier, offset: 32-bit integers; the offset holds the half that rounds.
        shift: 0 to 30.
        limit: Largest input integer.
    """

    raw_scale: tuple[float, ...]
    raw_offset: tuple[float, ...]
    multiplier: tuple[int, ...]
    offset: tuple[int, ...]
    shift: tuple[int, ...]
    limit: int

    def apply(self, raw: Integers) -> Integers:
        """Input integers of raw samples, (..., channels)."""
        sums = raw.astype(np.int64) * np.array(self.multiplier) + np.array(self.offset)
        return np.asarray(np.clip(sums >> np.array(self.shift), -self.limit, self.limit), np.int32)


def normalization(
    model: IntegerModel, raw_scale: Sequence[float], raw_offset: Sequence[float] = (0.0,)
) -> Normalization:
    """Find the integers of a sensor.

    Args:
        model: The model.
        raw_scale: Real value of one raw unit in the channel's unit, not 0: one number for each channel, or one for all.
        raw_offset: Real value of the raw value 0, likewise.

    Raises:
        EdgeLstmError: A wrong count of numbers, or a channel that can't be computed so; it is named.
    """
    scales = _for_channels(model, "raw_scale", raw_scale)
    offsets = _for_channels(model, "raw_offset", raw_offset)
    found = [
        _channel(name, *values)
        for name, *values in zip(
            model.signature.channels,
            (scales / model.input_scale).tolist(),
            ((offsets - model.input_offset) / model.input_scale).tolist(),
            strict=True,
        )
    ]
    multiplier, offset, shift = (tuple(part) for part in zip(*found, strict=True))
    limit = model.input_format.max
    made = Normalization(tuple(scales.tolist()), tuple(offsets.tolist()), multiplier, offset, shift, limit)
    _check_all(model, made)
    return made


def _for_channels(model: IntegerModel, what: str, values: Sequence[float]) -> np.ndarray:
    channels = len(model.signature.channels)
    if len(values) not in (1, channels):
        raise EdgeLstmError(f"{what} has {len(values)} numbers; accepted are 1, or {channels}: one for each channel")
    for value in values:
        if not isfinite(value) or (value == 0 and what == "raw_scale"):
            raise EdgeLstmError(f"{what} is {value}; accepted are finite numbers{' but 0' * (what == 'raw_scale')}")
    return np.broadcast_to(np.array(values, np.float64), channels)


def _channel(name: str, gain: float, zero: float) -> tuple[int, int, int]:
    """Multiplier, offset and shift of a channel, from its gain and its zero in input integers."""
    if isfinite(gain) and isfinite(zero):
        for shift in range(MAX_SHIFT, -1, -1):
            multiplier, offset = round(gain * 2**shift), round(zero * 2**shift) + half(shift)
            products = [raw * multiplier for raw in (RAW_MIN, RAW_MAX)]
            if all(INT32_MIN <= v <= INT32_MAX for p in products for v in (p, p + offset)):
                return multiplier, offset, shift
    raise EdgeLstmError(
        f"channel {name}: raw samples would need more than 32 bits: one raw unit is {gain:.6g} input integers, and "
        f"raw 0 is the input integer {zero:.6g}; check raw_scale and raw_offset"
    )


def _check_all(model: IntegerModel, made: Normalization) -> None:
    """Raise where an input integer is not within 1 of that of floating point, or is the same for all raw values."""
    raw = np.arange(RAW_MIN, RAW_MAX + 1)[:, None]
    found = made.apply(np.broadcast_to(raw, (len(raw), len(made.shift))))
    wanted = model.quantize_input(raw * np.array(made.raw_scale) + np.array(made.raw_offset))
    for c, name in enumerate(model.signature.channels):
        difference = int(np.abs(found[:, c] - wanted[:, c]).max())
        if difference > 1:
            raise EdgeLstmError(
                f"channel {name}: raw samples in 32 bits would be {difference} input integers off, and 1 is accepted; "
                "check raw_scale and raw_offset"
            )
        if (found[:, c] == found[0, c]).all():
            raise EdgeLstmError(
                f"channel {name}: every raw sample would be the input integer {found[0, c]}; "
                "check raw_scale and raw_offset"
            )
