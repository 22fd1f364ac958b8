"""Fixed-point formats and the three primitives that all arithmetic is made of.

Qm.n follows gemmlowp: m integer bits *without* the sign bit, n fraction bits, one sign bit.
Rounding modes are named by their formula, because names such as "half up" are read in two ways:

=================  =============================
``floor``          ``v >> n``
``half_up``        ``(v + (1 << (n - 1))) >> n``
=================  =============================

``>>`` is the arithmetic shift (rounds towards minus infinity).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError

Integers = NDArray[np.int32]

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1


def shift_right_floor(v: Any, n: int) -> Any:
    """``v >> n``: divide by 2**n, round towards minus infinity. 0 <= n <= 30."""
    return v >> n


def half(n: int) -> int:
    """What ``half_up`` adds before it shifts by ``n``: 2**(n-1), and 0 for n = 0."""
    return (1 << n) >> 1


def shift_right_half_up(v: Any, n: int) -> Any:
    """``(v + half(n)) >> n``: divide by 2**n, round to nearest, ties towards plus infinity.

    The caller proves that ``v + half(n)`` fits (rule R6).
    """
    return (v + half(n)) >> n


def saturate(v: Any, lo: int, hi: int) -> Any:
    """``min(max(v, lo), hi)``."""
    return np.minimum(np.maximum(v, lo), hi)


@dataclass(frozen=True, slots=True)
class QFormat:
    """A signed fixed-point format: ``real = integer * 2**-fraction_bits``.

    Args:
        bits: Storage width with the sign bit, 2 to 32.
        fraction_bits: n of Qm.n; may exceed ``bits`` or be negative.
        symmetric: Leaves out the most negative integer, so that ``|v| <= max``.

    Raises:
        EdgeLstmError: ``bits`` or ``fraction_bits`` out of range.
    """

    bits: int
    fraction_bits: int
    symmetric: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32:
            raise EdgeLstmError(f"a format has 2 to 32 bits, not {self.bits}")
        if not -32 <= self.fraction_bits <= 32:
            raise EdgeLstmError(f"a format has -32 to 32 fraction bits, not {self.fraction_bits}")

    @property
    def max(self) -> int:
        """Largest integer."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def min(self) -> int:
        """Smallest integer."""
        return -self.max if self.symmetric else -self.max - 1

    @property
    def scale(self) -> float:
        """Real value of one least significant bit."""
        return float(2.0**-self.fraction_bits)

    def quantize(self, real: Any) -> Integers:
        """Nearest representable integer (ties to even), saturated. Any shape; int32."""
        scaled = np.rint(np.asarray(real, np.float64) / self.scale)
        return np.clip(scaled, self.min, self.max).astype(np.int32)

    def dequantize(self, integer: Any) -> NDArray[np.float64]:
        """Real values. Any shape; float64."""
        return np.asarray(integer, np.float64) * self.scale

    def __str__(self) -> str:
        return f"Q{self.bits - 1 - self.fraction_bits}.{self.fraction_bits}"
