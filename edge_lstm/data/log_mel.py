"""Log-mel frames of sound: what a wearable computes of a microphone's samples before a network hears them. NumPy only.

Frame t holds the samples s(n) = pcm(t·hop + n) / 32768 for n = 0 to N - 1. With the window w(n) = ½ - ½ cos(2πn / N)
(Hann) and its spectrum of K ≥ N points, zeros after the samples,

    X(k) = Σ_n w(n) s(n) exp(-2πi kn / K) / Σ_n w(n)
    E(b) = Σ_k F(b, k) |X(k)|²
    frame(b) = 10 log10(E(b) + 10^-9)                                                                    [dB]

so a sine of full scale has |X|² = ¼ at its peak, and silence is -90 dB. F are triangles over frequency whose corners
lie at equal distances on the mel scale m = 2595 log10(1 + f / 700 Hz): the triangle b rises from corner b to corner
b + 1, where it is 1, and falls to corner b + 2.

The scale is that of D. O'Shaughnessy, "Speech communication: human and machine", 1987; the filters are those of
S. Davis, P. Mermelstein, "Comparison of parametric representations for monosyllabic word recognition in continuously
spoken sentences", IEEE TASSP 28(4), 1980, before their cosine transform, as the Hidden Markov Model Toolkit has them
(S. Young et al., "The HTK book", section 5.4), without its pre-emphasis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.dataset import FloatArray, RealArray
from edge_lstm.errors import EdgeLstmError

FLOOR = 1e-9
"""Power that is added to that of every band: -90 dB."""


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """A front-end.

    Attributes:
        rate_hz: Samples per second.
        length: N, samples of a frame.
        hop: Samples from the begin of a frame to that of the next.
        points: K, of the spectrum; at least N.
        bands: Number of triangles.
        lowest_hz: First corner; the last is half of the rate.

    Raises:
        EdgeLstmError: A value out of range, or a triangle so narrow that no point of the spectrum is in it.
    """

    rate_hz: int = 8000
    length: int = 200
    hop: int = 160
    points: int = 256
    bands: int = 16
    lowest_hz: float = 100.0

    def __post_init__(self) -> None:
        for name in ("rate_hz", "length", "hop", "bands"):
            if getattr(self, name) < 1:
                raise EdgeLstmError(f"log-mel: {name} must be 1 or more, found {getattr(self, name)}")
        if self.points < self.length:
            raise EdgeLstmError(f"log-mel: points must be at least the {self.length} of a frame, found {self.points}")
        if not 0 <= self.lowest_hz < self.rate_hz / 2:
            raise EdgeLstmError(
                f"log-mel: lowest_hz must be 0 to below half of the rate of {self.rate_hz}, found {self.lowest_hz}"
            )
        empty = np.flatnonzero(self.filters.sum(axis=1) == 0)
        if empty.size:
            raise EdgeLstmError(
                f"log-mel: {self.bands} bands are too many for {self.points} points, found none in band {empty[0]}"
            )

    @property
    def frames_per_second(self) -> float:
        """Of the network's input."""
        return self.rate_hz / self.hop

    @cached_property
    def corners_hz(self) -> RealArray:
        """Of the triangles, (bands + 2,)."""
        lowest, highest = (2595 * np.log10(1 + f / 700) for f in (self.lowest_hz, self.rate_hz / 2))
        return np.asarray(700 * (10 ** (np.linspace(lowest, highest, self.bands + 2) / 2595) - 1), np.float64)

    @cached_property
    def filters(self) -> RealArray:
        """F, (bands, points // 2 + 1)."""
        f = np.arange(self.points // 2 + 1) * self.rate_hz / self.points
        low, middle, high = (self.corners_hz[k : k + self.bands, None] for k in range(3))
        rising, falling = (f - low) / (middle - low), (high - f) / (high - middle)
        return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), np.float64)

    def frames(self, samples: int) -> int:
        """Whole frames in so many samples."""
        return 0 if samples < self.length else 1 + (samples - self.length) // self.hop

    def __call__(self, pcm: NDArray[np.int16], *, at_most: int | None = None) -> FloatArray:
        """Frames (frames, bands) in dB of a recording.

        Args:
            pcm: (samples,) of 16 bits.
            at_most: Frames; what is beyond is left out.

        Raises:
            EdgeLstmError: It is not one-dimensional int16, or shorter than a frame.
        """
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise EdgeLstmError(f"log-mel: samples must be int16 of shape (samples,), found {pcm.dtype} {pcm.shape}")
        count = self.frames(len(pcm))
        if count < 1:
            raise EdgeLstmError(f"log-mel: a recording must hold a frame of {self.length} samples, found {len(pcm)}")
        count = count if at_most is None else min(count, at_most)
        used = pcm[: self.length + (count - 1) * self.hop].astype(np.float64) / 2**15
        cut = np.lib.stride_tricks.sliding_window_view(used, self.length)[:: self.hop]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.length) / self.length)
        spectrum = np.fft.rfft(cut * window, self.points, axis=1) / window.sum()
        return np.asarray(10 * np.log10(np.abs(spectrum) ** 2 @ self.filters.T + FLOOR), np.float32)
