"""The usual int8 recipe of microcontroller libraries for an LSTM, simulated in NumPy, to compare with.

Of TensorFlow Lite Micro and CMSIS-NN (`arm_lstm_unidirectional_s8`), after J. Li and R. Alvarez, "On the quantization
of recurrent neural networks", arXiv:2101.05453: weights with one scale per gate and matrix, inputs and hidden states in
int8 with one scale and zero point each, the products with x and with h requantized to Q3.12 apart and added with
saturation, gates in Q0.15, the cell in int16 with a power-of-two scale. The sigmoid and tanh are rounded exact values,
little better than their tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lstm.layers import FloatLayer

Array = NDArray[np.float64]
Q3_12, Q0_15 = 2.0**-12, 2.0**-15
INT16 = (-32768, 32767)
INT8 = (-128, 127)


@dataclass(frozen=True)
class Asymmetric:
    """``real = scale * (integer - zero)``, int8."""

    scale: float
    zero: int

    @staticmethod
    def of(values: Array) -> Asymmetric:
        """That covers all values, and 0."""
        lo, hi = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        scale = (hi - lo) / 255
        return Asymmetric(scale, int(np.clip(round(-128 - lo / scale), *INT8)))

    def centred(self, values: Array) -> Array:
        """Integers less the zero point."""
        return np.clip(np.rint(values / self.scale) + self.zero, *INT8) - self.zero


class Incumbent:
    """An LSTM layer in the recipe.

    Args:
        layer: Float weights, soft gates.
        x: (windows, steps, inputs) of the calibration.
        h, c: (windows, steps, hidden) float states of it.
    """

    def __init__(self, layer: FloatLayer, x: Array, h: Array, c: Array) -> None:
        self._x, self._h = Asymmetric.of(x), Asymmetric.of(h)
        self._c = 2.0 ** (math.ceil(math.log2(np.abs(c).max())) - 15)
        self._blocks = {}
        for name in layer.W:
            w, r = (np.abs(m[name]).max() / 127 for m in (layer.W, layer.R))
            bias = np.rint(layer.b[name] / (w * self._x.scale))
            self._blocks[name] = (w, np.rint(layer.W[name] / w), bias, r, np.rint(layer.R[name] / r))
        self._hidden = layer.hidden

    def run(self, x: Array) -> Array:
        """Real hidden states (windows, steps, hidden) of (windows, steps, inputs)."""
        given = self._x.centred(x)
        h, c = np.zeros((len(x), self._hidden)), np.zeros((len(x), self._hidden))
        found = []
        for t in range(x.shape[1]):
            z = {name: self._pre_activation(name, given[:, t], h) * Q3_12 for name in self._blocks}
            i, f, o = (np.clip(np.rint(1 / (1 + np.exp(-z[n])) / Q0_15), *INT16) for n in "ifo")
            g = np.clip(np.rint(np.tanh(z["g"]) / Q0_15), *INT16)
            kept, new = np.rint(f * c * Q0_15), np.rint(i * g * Q0_15 * Q0_15 / self._c)
            c = np.clip(np.clip(kept, *INT16) + new, *INT16)
            squashed = np.clip(np.rint(np.tanh(c * self._c) / Q0_15), *INT16)
            h = self._h.centred(o * squashed * Q0_15 * Q0_15)
            found.append(h * self._h.scale)
        return np.stack(found, axis=1)

    def _pre_activation(self, name: str, x: Array, h: Array) -> Array:
        w, W, bias, r, R = self._blocks[name]
        of_x = np.clip(np.rint((x @ W.T + bias) * (w * self._x.scale / Q3_12)), *INT16)
        of_h = np.clip(np.rint(h @ R.T * (r * self._h.scale / Q3_12)), *INT16)
        return np.asarray(np.clip(of_x + of_h, *INT16))
