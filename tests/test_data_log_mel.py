"""The front-end of sound against sums written out, and against tones whose level is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_lstm.data.log_mel import FLOOR, LogMel
from edge_lstm.errors import EdgeLstmError


def tone(hz: float, amplitude: float, samples: int) -> Any:
    return np.round(amplitude * 32767 * np.sin(2 * np.pi * hz * np.arange(samples) / 8000)).astype(np.int16)


def directly(front: LogMel, pcm: Any) -> list[list[float]]:
    """The equations of the module, sum by sum."""

    def mel(f: float) -> float:
        return 2595 * math.log10(1 + f / 700)

    span = mel(front.rate_hz / 2) - mel(front.lowest_hz)
    mels = [mel(front.lowest_hz) + span * k / (front.bands + 1) for k in range(front.bands + 2)]
    corners = [700 * (10 ** (m / 2595) - 1) for m in mels]
    n = range(front.length)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * j / front.length) for j in n]
    frames = []
    for begin in range(0, len(pcm) - front.length + 1, front.hop):
        samples = [window[j] * float(pcm[begin + j]) / 32768 for j in n]
        energy = [0.0] * front.bands
        for k in range(front.points // 2 + 1):
            turn = 2 * math.pi * k / front.points
            real = sum(samples[j] * math.cos(turn * j) for j in n) / sum(window)
            imaginary = sum(samples[j] * math.sin(turn * j) for j in n) / sum(window)
            f = k * front.rate_hz / front.points
            for b in range(front.bands):
                low, middle, high = corners[b : b + 3]
                if low < f <= middle:
                    energy[b] += (f - low) / (middle - low) * (real**2 + imaginary**2)
                elif middle < f < high:
                    energy[b] += (high - f) / (high - middle) * (real**2 + imaginary**2)
        frames.append([10 * math.log10(e + FLOOR) for e in energy])
    return frames


@pytest.mark.parametrize("front", [LogMel(), LogMel(length=64, hop=50, points=64, bands=5, lowest_hz=0.0)])
def test_frames_are_the_sums_of_the_definition(front: LogMel) -> None:
    pcm = np.random.default_rng(0).integers(-(2**15), 2**15, front.length + front.hop + 7).astype(np.int16)
    found = front(pcm)
    assert found.shape == (2, front.bands)
    np.testing.assert_allclose(found, directly(front, pcm), atol=1e-3)  # dB: of float32 and of the order of sums


def test_a_tone_is_in_the_band_of_its_frequency_at_its_level() -> None:
    front = LogMel()
    for band, hz in enumerate(front.corners_hz[1:-1]):
        assert front(tone(hz, 0.5, 2000)).mean(axis=0).argmax() == band
    one, tenth = (front(tone(1000.0, amplitude, 2000)) for amplitude in (0.9, 0.09))
    np.testing.assert_allclose((one - tenth)[:, one[0].argmax()], 20.0, atol=0.05)  # dB; samples are rounded


def test_silence_is_at_the_floor() -> None:
    assert LogMel()(np.zeros(400, np.int16)).tolist() == [[-90.0] * 16] * 2


def test_whole_frames_only() -> None:
    front = LogMel()
    assert [front.frames(n) for n in (199, 200, 359, 360)] == [0, 1, 1, 2]
    assert front(np.zeros(8000, np.int16)).shape == (49, 16)
    assert front(np.zeros(8000, np.int16), at_most=10).shape == (10, 16)
    assert front.frames_per_second == 50.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop": 0}, "hop must be 1 or more, found 0"),
        ({"points": 128}, "points must be at least the 200 of a frame, found 128"),
        ({"lowest_hz": 4000.0}, "lowest_hz must be 0 to below half of the rate of 8000, found 4000.0"),
        ({"bands": 120}, "120 bands are too many for 256 points, found none in band [0-9]+"),
    ],
)
def test_odd_front_ends_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeLstmError, match=f"^log-mel: {message}$"):
        LogMel(**changes)


@pytest.mark.parametrize(
    ("pcm", "message"),
    [
        (np.zeros(400), r"samples must be int16 of shape \(samples,\), found float64 \(400,\)"),
        (np.zeros((400, 1), np.int16), r"samples must be int16 of shape \(samples,\), found int16 \(400, 1\)"),
        (np.zeros(199, np.int16), "a recording must hold a frame of 200 samples, found 199"),
    ],
)
def test_odd_samples_are_refused(pcm: Any, message: str) -> None:
    with pytest.raises(EdgeLstmError, match=f"^log-mel: {message}$"):
        LogMel()(pcm)
