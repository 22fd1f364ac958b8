"""Windows, and each augmentation's own law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.data import Augmentation, augment, triads, windows
from edge_lstm.errors import EdgeLstmError


def some_windows() -> Any:
    return np.random.default_rng(1).standard_normal((40, 30, 7), dtype=np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(2)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
def test_windows_are_the_signals_samples(samples: int, length: int, hop: int) -> None:
    signal = np.arange(2 * samples, dtype=np.int16).reshape(samples, 2)
    if length > samples:
        with pytest.raises(EdgeLstmError, match=f"^signal must hold a window of {length} samples, found {samples}$"):
            windows(signal, length, hop)
        return
    cut = windows(signal, length, hop)
    assert (cut.dtype, len(cut)) == (np.int16, 1 + (samples - length) // hop)
    for k, window in enumerate(cut):
        assert np.array_equal(window, signal[k * hop : k * hop + length])


def test_windows_refused() -> None:
    with pytest.raises(EdgeLstmError, match=r"^signal must have shape \(samples, channels\), found \(5,\)$"):
        windows(np.zeros(5), 2, 1)
    with pytest.raises(EdgeLstmError, match=r"^length and hop must be 1 or more, found length 2 and hop 0$"):
        windows(np.zeros((5, 1)), 2, 0)


def test_gain_offset_magnitude_are_constant_within_a_window() -> None:
    x = some_windows()
    for ratio in (augment.gain(x, 0.1, rng()) / x, augment.magnitude(x, 0.1, rng()) / x):
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], x.shape), rtol=1e-4)  # float32 rounding
        assert 0.05 < ratio[:, 0].std() < 0.15
    added = augment.offset(x, 0.1, rng(), scale=np.array([1, 1, 1, 1, 1, 1, 100])) - x
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1], x.shape), atol=1e-4)  # float32 rounding
    assert 5 < added[..., 6].std() < 15


def test_magnitude_is_shared_by_the_channels() -> None:
    ratio = augment.magnitude(some_windows(), 0.1, rng()) / some_windows()
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape), rtol=1e-4)  # float32 rounding


def test_jitter_has_the_stated_deviation() -> None:
    noise = augment.jitter(some_windows(), 0.5, rng()) - some_windows()
    assert noise.std() == pytest.approx(0.5, rel=0.05)  # 8400 samples: 0.8 % standard error


def test_rotations_are_rotations() -> None:
    turn = augment.rotations(100, 0.7, rng())
    identity = np.broadcast_to(np.eye(3), turn.shape)
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), identity, atol=1e-5)  # float32 rounding
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-5)  # float32 rounding
    angle = np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.sqrt((angle**2).mean()) == pytest.approx(0.7, rel=0.3)  # 100 draws: 7 % standard error


def test_rotate_turns_triads_together_and_nothing_else() -> None:
    x = some_windows()
    x[:, :, 3:6] = x[:, :, 0:3]
    turned = augment.rotate(x, 0.5, rng(), ((0, 1, 2), (3, 4, 5)))
    assert np.array_equal(turned[:, :, 3:6], turned[:, :, 0:3])
    assert np.array_equal(turned[:, :, 6], x[:, :, 6])
    before, after = (np.linalg.norm(values[:, :, :3], axis=2) for values in (x, turned))
    np.testing.assert_allclose(after, before, rtol=1e-4)  # float32 rounding
    assert np.abs(turned - x).max() > 0.5


def test_shift_rolls_within_its_reach() -> None:
    x = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None], (40, 30, 2))
    shifted = augment.shift(x, 0.1, rng())
    steps = {(int(window[0, 0]) + 15) % 30 - 15 for window in shifted}
    assert steps == set(range(-3, 4))
    assert all(np.array_equal(window, np.roll(x[0], -int(window[0, 0]), axis=0)) for window in shifted)


def test_warp_keeps_ends_and_order() -> None:
    x = np.broadcast_to(np.linspace(0, 1, 30, dtype=np.float32)[:, None], (40, 30, 2))
    warped = augment.warp(x, 0.5, rng())
    assert warped.dtype == np.float32
    np.testing.assert_allclose(warped[:, [0, -1]], x[:, [0, -1]], atol=1e-6)  # float32 rounding
    assert (np.diff(warped, axis=1) > 0).all()
    assert 0.03 < np.abs(warped - x).max() < 0.5
    assert np.array_equal(augment.warp(x[:, :1], 0.5, rng()), x[:, :1])


ALL = Augmentation(
    gain=0.1, offset=0.1, jitter=0.05, magnitude=0.1, rotation=0.2, shift=0.1, warp=0.2, triads=((0, 1, 2), (3, 4, 5))
)


def test_mute_keeps_sensors_whole_and_mutes_each_in_its_share() -> None:
    x = np.random.default_rng(1).standard_normal((4000, 3, 4), dtype=np.float32)
    found = augment.mute(x, 0.25, rng(), ((0, 1, 2),), np.array([1, 2, 3, 4]))
    still = found == np.array([1, 2, 3, 4], dtype=np.float32)
    assert np.array_equal(found[~still], x[~still])
    by_window = still.all(axis=1)
    assert np.array_equal(still.any(axis=1), by_window)  # all steps, or none
    assert np.array_equal(by_window[:, 0], by_window[:, 1])
    assert np.array_equal(by_window[:, 0], by_window[:, 2])
    # Five standard deviations of a share of 4000 windows.
    assert np.abs(by_window[:, [0, 3]].mean(axis=0) - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 4000)
    assert not np.array_equal(by_window[:, 0], by_window[:, 3])


def test_all_together_differ_per_window_and_repeat_per_seed() -> None:
    x = np.repeat(some_windows()[:1], 8, axis=0)
    kept = x.copy()
    once = ALL(x, rng())
    assert (once.dtype, once.shape) == (np.float32, x.shape)
    assert np.array_equal(once, ALL(x, rng()))
    assert len({window.tobytes() for window in once}) == 8
    assert np.array_equal(x, kept)


def test_none_changes_nothing_and_returns_a_copy() -> None:
    x = some_windows()
    same = Augmentation()(x, rng())
    assert np.array_equal(same, x)
    assert not np.shares_memory(same, x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gain": -0.1}, r"augmentation: gain must be 0 or more, found -0\.1"),
        ({"mute": 1.5}, r"augmentation: mute must be between 0 and 1, found 1\.5"),
        ({"warp": float("nan")}, "augmentation: warp must be 0 or more, found nan"),
        ({"rotation": 0.1}, "augmentation: rotation needs the channels of a three-axis sensor, found no triads"),
    ],
)
def test_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(EdgeLstmError, match=f"^{message}$"):
        Augmentation(**fields)  # type: ignore[arg-type]


def test_triads_are_found_by_name() -> None:
    assert triads(("gyro_z", "acc_x", "acc_y", "acc_z", "pulse", "gyro_x", "gyro_y", "tilt_x")) == (
        (1, 2, 3),
        (5, 6, 0),
    )
