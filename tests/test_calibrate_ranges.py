"""Histograms, and ranges from them, against the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.ranges import BINS, Histogram, RangeChoice, exactly
from edge_lstm.to_integers import calibrated_format


def filled(values: np.ndarray) -> Histogram:
    found = Histogram(values.shape[1])
    found.add(values)
    return found


@settings(derandomize=True, deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), parts=st.integers(1, 6), magnitude=st.floats(-8, 8))
def test_counts_do_not_depend_on_the_order_of_the_values(seed: int, parts: int, magnitude: float) -> None:
    rng = np.random.default_rng(seed)
    values = 10**magnitude * rng.standard_t(2, (200, 2))
    whole, pieces = filled(values), Histogram(2)
    for part in np.array_split(rng.permutation(values), parts):
        pieces.add(part)
    assert np.array_equal(whole.counts, pieces.counts)
    assert whole.counts.sum(axis=1).tolist() == [200, 200]
    assert (whole.reach >= whole.largest).all()
    assert np.array_equal(whole.largest, np.abs(values).max(axis=0))
    assert whole.counts.shape == (2, BINS)


@pytest.mark.parametrize("percentile", [60.0, 99.0, 99.9, 100.0])
def test_a_percentile_is_that_of_the_values_within_a_bin(percentile: float) -> None:
    values = np.random.default_rng(0).normal(0, 1, (5000, 3))
    histogram = filled(values)
    found = histogram.extremes(RangeChoice("percentile", percentile), 8)
    wanted = np.percentile(np.abs(values), percentile, axis=0, method="inverted_cdf")
    assert (found >= wanted - 1e-12).all()
    assert (found - wanted <= 2 * histogram.reach / BINS).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_the_least_squared_error_is_least(bits: int) -> None:
    values = np.random.default_rng(1).standard_t(3, (20000, 1))
    found = float(filled(values).extremes(RangeChoice("mse"), bits)[0])
    levels = 2 ** (bits - 1) - 1

    def error(reach: float) -> float:
        step = reach / levels
        return float(((np.clip(np.rint(values / step), -levels, levels) * step - values) ** 2).mean())

    assert all(error(found) <= 1.02 * error(reach) for reach in found * np.linspace(0.5, 2, 31))
    assert found < np.abs(values).max()


def test_fewer_bits_give_a_narrower_range() -> None:
    values = filled(np.random.default_rng(2).normal(0, 1, (20000, 1)))
    for method in ("mse", "entropy"):
        narrow, wide = (float(values.extremes(RangeChoice(method), bits)[0]) for bits in (4, 8))
        assert narrow < wide, method


def test_what_is_always_zero_has_no_range() -> None:
    for method in ("minmax", "percentile", "mse", "entropy"):
        assert filled(np.zeros((5, 1))).extremes(RangeChoice(method), 8).tolist() == [0.0]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tail", [1.5, 3.0, 100.0])
def test_a_power_of_two_is_that_of_least_squared_error(bits: int, tail: float) -> None:
    values = np.maximum(np.random.default_rng(3).standard_t(tail, (20000, 1)), 0)
    found = float(filled(values).power_of_two(bits)[0])

    def error(reach: float) -> float:
        unit = reach / 2 ** (bits - 1)
        return float(((np.clip(np.rint(values / unit) * unit, -reach, reach) - values) ** 2).mean())

    assert np.log2(found) % 1 == 0
    assert all(error(found) <= 1.05 * error(2.0**n) for n in range(-6, 16))


def test_a_format_with_headroom_reaches_exactly_to_a_power_of_two() -> None:
    for n in range(-8, 9):
        assert calibrated_format(8, exactly(2.0**n), symmetric=True).fraction_bits == 7 - n
