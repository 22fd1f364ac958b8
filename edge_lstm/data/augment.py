"""Plausible variants of sensor windows, for training.

Each function takes windows `x` (windows, time, channels), a strength and a seeded generator, draws afresh for every
window, and returns float32 of the same shape; strength 0 returns the windows unchanged. What each imitates:

========= ========================================================================
gain      sensitivity that differs from sensor to sensor and axis to axis
offset    a bias that differs from sensor to sensor (a gyroscope's drift above all)
jitter    noise
magnitude the same movement done harder or softer, on all channels at once
rotate    a device worn slightly turned
shift     a window that starts earlier or later
warp      the same movement done faster and slower within the window
mute      a sensor that fails: all its axes stay at their mean
========= ========================================================================

After T. T. Um et al., "Data augmentation of wearable sensor data for Parkinson's disease monitoring using
convolutional neural networks", ICMI 2017, arXiv:1706.00527 (jitter, scaling, rotation, time warping).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.dataset import FloatArray
from edge_lstm.errors import EdgeLstmError

Triad = tuple[int, int, int]  # the channels that are x, y and z of one three-axis sensor
Scale = float | NDArray[Any]  # one value, or (channels,): what strength 1 means for a channel, usually its deviation
_WAVES = 3  # a warp's speed is made of this many cosines


def gain(x: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Multiply every channel of a window by its own 1 + strength·N(0, 1)."""
    return x * (1 + strength * _normal(rng, len(x), 1, x.shape[2]))


def offset(x: FloatArray, strength: float, rng: np.random.Generator, scale: Scale = 1.0) -> FloatArray:
    """Add to every channel of a window its own strength·scale·N(0, 1)."""
    return x + _scaled(strength, scale) * _normal(rng, len(x), 1, x.shape[2])


def jitter(x: FloatArray, strength: float, rng: np.random.Generator, scale: Scale = 1.0) -> FloatArray:
    """Add strength·scale·N(0, 1) to every sample."""
    return x + _scaled(strength, scale) * _normal(rng, *x.shape)


def magnitude(x: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Multiply a whole window by one factor exp(strength·N(0, 1)), which is never negative."""
    return np.asarray(x * np.exp(strength * _normal(rng, len(x), 1, 1)))


def rotate(x: FloatArray, strength: float, rng: np.random.Generator, triads: tuple[Triad, ...]) -> FloatArray:
    """Turn the device: one rotation per window, shared by its sensors, other channels unchanged.

    The axis is uniform on the sphere, the angle is strength·N(0, 1) radians. Meant for physical units, where a
    sensor's three axes share one scale; not for channels standardized one by one.
    """
    turn = rotations(len(x), strength, rng)  # (windows, 3, 3)
    turned = x.copy()
    for triad in triads:
        turned[:, :, triad] = np.matmul(x[:, :, triad], turn)
    return turned


def rotations(count: int, strength: float, rng: np.random.Generator) -> FloatArray:
    """Rotation matrices (count, 3, 3), by Rodrigues' formula I + sin(a)·K + (1 - cos(a))·K²."""
    axis = _normal(rng, count, 3)
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), np.float32(1e-12))
    angle = strength * _normal(rng, count, 1, 1)
    cross = np.zeros((count, 3, 3), dtype=np.float32)
    for row, column, component, sign in ((0, 1, 2, -1), (0, 2, 1, 1), (1, 2, 0, -1)):
        cross[:, row, column] = sign * axis[:, component]
        cross[:, column, row] = -sign * axis[:, component]
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return np.asarray(turn, dtype=np.float32)


def shift(x: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Roll a window in time by a whole number of steps, uniform in ± strength·time: its end comes before its start."""
    time = x.shape[1]
    reach = round(strength * time)
    steps = rng.integers(-reach, reach + 1, size=(len(x), 1))
    source = (np.arange(time) - steps) % time  # (windows, time)
    return np.take_along_axis(x, source[:, :, None], axis=1)


def warp(x: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Bend a window's time axis: first and last sample stay, the order stays, the speed in between varies.

    The speed is exp(strength·w(t)) with w a random sum of slow cosines of unit variance; samples between steps are
    interpolated linearly.
    """
    count, time = x.shape[:2]
    if time < 2:
        return x.copy()
    wave = np.cos(np.pi * np.outer(np.arange(1, _WAVES + 1), np.linspace(0, 1, time - 1)))  # (waves, time - 1)
    speed = np.exp(strength * math.sqrt(2 / _WAVES) * (_normal(rng, count, _WAVES) @ wave))  # (windows, time - 1)
    place = np.concatenate([np.zeros((count, 1)), np.cumsum(speed, axis=1)], axis=1)
    place *= (time - 1) / place[:, -1:]
    before = np.minimum(place.astype(np.int64), time - 2)
    part = (place - before).astype(np.float32)[:, :, None]
    left = np.take_along_axis(x, before[:, :, None], axis=1)
    right = np.take_along_axis(x, before[:, :, None] + 1, axis=1)
    return np.asarray(left + part * (right - left))


def mute(
    x: FloatArray,
    share: float,
    rng: np.random.Generator,
    triads: tuple[Triad, ...] = (),
    mean: Scale = 0.0,
) -> FloatArray:
    """Put `mean` in place of all samples of a sensor, in a `share` of the windows for each (channel drop-out).

    A sensor is a triad, or a channel that is in none.
    """
    alone = sorted(set(range(x.shape[2])) - {k for triad in triads for k in triad})
    muted = np.zeros((len(x), x.shape[2]), dtype=np.bool_)
    for sensor in (*map(list, triads), *([k] for k in alone)):
        muted[:, sensor] = rng.random((len(x), 1)) < share
    still = np.broadcast_to(np.asarray(mean, dtype=np.float32), x.shape)
    return np.asarray(np.where(muted[:, None], still, x), dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Strengths of every augmentation, applied together: `augmentation(x, rng)`.

    0, the default, leaves an augmentation out. `scale` is what `offset` and `jitter` count in, usually the standard
    deviation of each channel over the training windows, and `mean` what a muted channel gives, usually its mean.

    Raises `EdgeLstmError` for a strength that is negative or not finite, a shift by more than the window, and a
    rotation without triads.
    """

    gain: float = 0.0  # relative
    offset: float = 0.0  # in `scale`
    jitter: float = 0.0  # in `scale`
    magnitude: float = 0.0  # relative, on a log scale
    rotation: float = 0.0  # rad
    shift: float = 0.0  # share of the window
    warp: float = 0.0  # relative speed, on a log scale
    mute: float = 0.0  # share of the windows, for each sensor
    triads: tuple[Triad, ...] = ()
    scale: float | tuple[float, ...] = 1.0  # one value, or one per channel
    mean: float | tuple[float, ...] = 0.0  # the same

    def __post_init__(self) -> None:
        for name in ("gain", "offset", "jitter", "magnitude", "rotation", "shift", "warp", "mute"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise EdgeLstmError(f"augmentation: {name} must be 0 or more, found {value}")
        for name in ("shift", "mute"):
            if getattr(self, name) > 1:
                raise EdgeLstmError(f"augmentation: {name} must be between 0 and 1, found {getattr(self, name)}")
        if self.rotation and not self.triads:
            raise EdgeLstmError("augmentation: rotation needs the channels of a three-axis sensor, found no triads")

    def __call__(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Augmented copies of the windows `x` (windows, time, channels), float32."""
        out = np.array(x, dtype=np.float32)
        scale = np.asarray(self.scale, dtype=np.float32)
        if self.warp:
            out = warp(out, self.warp, rng)
        if self.shift:
            out = shift(out, self.shift, rng)
        if self.rotation:
            out = rotate(out, self.rotation, rng, self.triads)
        if self.magnitude:
            out = magnitude(out, self.magnitude, rng)
        if self.gain:
            out = gain(out, self.gain, rng)
        if self.offset:
            out = offset(out, self.offset, rng, scale)
        if self.jitter:
            out = jitter(out, self.jitter, rng, scale)
        if self.mute:
            out = mute(out, self.mute, rng, self.triads, np.asarray(self.mean))
        return out


def triads(channels: tuple[str, ...]) -> tuple[Triad, ...]:
    """The three-axis sensors among `channels`: those named <sensor>_x, <sensor>_y and <sensor>_z, in any order.

    >>> triads(("acc_x", "acc_y", "acc_z", "pulse"))
    ((0, 1, 2),)
    """
    at = {name: i for i, name in enumerate(channels)}
    stems = [name.removesuffix("_x") for name in channels if name.endswith("_x")]
    return tuple(
        (at[f"{stem}_x"], at[f"{stem}_y"], at[f"{stem}_z"]) for stem in stems if {f"{stem}_y", f"{stem}_z"} <= at.keys()
    )


def _normal(rng: np.random.Generator, *shape: int) -> FloatArray:
    return rng.standard_normal(shape, dtype=np.float32)


def _scaled(strength: float, scale: Scale) -> FloatArray:
    return np.asarray(strength * np.asarray(scale), dtype=np.float32)
