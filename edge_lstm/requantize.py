"""Requantization: an accumulator to another scale, in 32 bits (rule R4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.arrays import Int32Tensor
from edge_lstm.errors import EdgeLstmError


@dataclass(frozen=True)
class Requantize:
    """R4: ``((acc >> pre_shift) * multiplier + half) >> post_shift``, every intermediate in 32 bits.

    Args:
        pre_shift: 0 to 30; rounds by ``floor``.
        multiplier: (rows,) int32, not negative.
        post_shift: 0 to 30; rounds by ``half_up``.
    """

    pre_shift: int
    multiplier: Int32Tensor
    post_shift: int

    def __post_init__(self) -> None:
        for name in ("pre_shift", "post_shift"):
            value = getattr(self, name)
            if not 0 <= value <= 30:
                raise EdgeLstmError(f"{name} is {value}; accepted are 0 to 30")
        if self.multiplier.ndim != 1 or self.multiplier.dtype != np.int32 or (self.multiplier < 0).any():
            raise EdgeLstmError("a requantization multiplier is a vector of non-negative int32")

    @staticmethod
    def from_real(factors: NDArray[Any], accumulator_max: int, *, multiplier_bits: int = 15) -> Requantize:
        """Closest requantization to ``acc * factor`` for ``|acc| <= accumulator_max``.

        The pre-shift is the smallest that leaves ``31 - multiplier_bits`` bits for the accumulator;
        the largest multiplier takes ``multiplier_bits`` bits. A factor of ``2**(multiplier_bits - pre_shift)`` or
        more is limited to that: its results are far outside of what any table or format holds.

        Args:
            factors: (rows,) positive real factors.
            accumulator_max: Largest absolute accumulator.
        """
        pre_shift = max(0, int(accumulator_max).bit_length() - (30 - multiplier_bits))
        largest = float(np.max(factors)) * 2.0**pre_shift
        post_shift = int(np.clip(multiplier_bits - math.frexp(largest)[1], 0, 30))
        multiplier = np.rint(np.asarray(factors, np.float64) * 2.0 ** (pre_shift + post_shift))
        return Requantize(pre_shift, np.clip(multiplier, 0, 2**multiplier_bits - 1).astype(np.int32), post_shift)
