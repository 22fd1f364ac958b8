"""Requantization (R4): within a stated bound of the real product, and inside 32 bits for every accumulator."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN
from edge_lstm.requantize import Requantize


def apply(r: Requantize, acc: int, row: int) -> int:
    """R4 in Python's integers; asserts that every intermediate has 32 bits."""
    narrow = acc >> r.pre_shift
    product = narrow * int(r.multiplier[row])
    rounded = product + (2**r.post_shift >> 1)
    assert INT32_MIN <= product <= INT32_MAX
    assert INT32_MIN <= rounded <= INT32_MAX
    return rounded >> r.post_shift


@st.composite
def accumulators_and_factors(draw: st.DrawFn) -> tuple[list[float], int, int]:
    """Factors up to 2**15 whose products stay below 2**30, the largest accumulator, and one accumulator."""
    largest = draw(st.integers(1, INT32_MAX))
    exponents = st.integers(-28, min(15, 29 - largest.bit_length()))
    factors = draw(st.lists(st.builds(lambda m, e: m * 2.0**e, st.floats(0.5, 1), exponents), min_size=1, max_size=4))
    acc = draw(st.one_of(st.sampled_from([largest, -largest]), st.integers(-largest, largest)))
    return factors, largest, acc


@settings(derandomize=True, deadline=None, max_examples=500)
@given(accumulators_and_factors())
def test_result_is_within_the_bound_of_the_real_product(case: tuple[list[float], int, int]) -> None:
    """Error: what the floor drops, less than one narrowed unit; half a unit of the multiplier (one at its limit);
    half a unit of the result."""
    factors, largest, acc = case
    r = Requantize.from_real(np.array(factors), largest)
    for row, factor in enumerate(factors):
        narrow = abs(acc >> r.pre_shift)
        bound = Fraction(2**r.pre_shift) * Fraction(factor) + Fraction(narrow, 2**r.post_shift) + Fraction(1, 2)
        assert abs(apply(r, acc, row) - acc * Fraction(factor)) <= bound


@settings(derandomize=True, deadline=None, max_examples=500)
@given(
    factors=st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=4),
    largest=st.integers(1, INT32_MAX),
    share=st.floats(-1, 1),
)
def test_nothing_leaves_32_bits_however_large_the_factor(factors: list[float], largest: int, share: float) -> None:
    r = Requantize.from_real(np.array(factors), largest)
    for row in range(len(factors)):
        for acc in (largest, -largest, int(largest * share)):
            apply(r, acc, row)  # asserts


def test_a_factor_beyond_the_multiplier_is_limited_to_its_largest() -> None:
    r = Requantize.from_real(np.array([2.0**17, 2.0**10]), 2)
    assert (r.pre_shift, r.multiplier.tolist(), r.post_shift) == (0, [2**15 - 1, 2**10], 0)


def test_small_accumulators_are_not_narrowed_and_use_all_bits_of_the_multiplier() -> None:
    r = Requantize.from_real(np.array([0.75, 0.25]), 32767)
    assert (r.pre_shift, r.multiplier.tolist(), r.post_shift) == (0, [24576, 8192], 15)


def test_large_accumulators_lose_the_fewest_bits_that_make_room() -> None:
    assert [Requantize.from_real(np.array([2.0**-16]), m).pre_shift for m in (2**15 - 1, 2**15, 2**16, 2**20)] == [
        0,
        1,
        2,
        6,
    ]


def test_fewer_multiplier_bits_leave_more_for_the_accumulator() -> None:
    r = Requantize.from_real(np.array([0.3]), 2**20, multiplier_bits=8)
    assert r.pre_shift == 0
    assert 128 <= int(r.multiplier[0]) <= 255
    assert abs(apply(r, 1000, 0) - 300) <= 1000 / 2**r.post_shift + 0.5


@pytest.mark.parametrize(
    ("pre", "multiplier", "post", "message"),
    [
        (-1, np.ones(1, np.int32), 0, "pre_shift is -1; accepted are 0 to 30"),
        (0, np.ones(1, np.int32), 31, "post_shift is 31; accepted are 0 to 30"),
        (0, np.ones((1, 1), np.int32), 0, "a requantization multiplier is a vector of non-negative int32"),
        (0, np.ones(1, np.int64), 0, "a requantization multiplier is a vector of non-negative int32"),
        (0, -np.ones(1, np.int32), 0, "a requantization multiplier is a vector of non-negative int32"),
    ],
)
def test_what_is_out_of_range_is_refused(pre: int, multiplier: np.ndarray, post: int, message: str) -> None:
    with pytest.raises(EdgeLstmError) as error:
        Requantize(pre, multiplier, post)
    assert str(error.value) == message
