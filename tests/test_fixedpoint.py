"""Formats and rounding, against exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN, QFormat, half, saturate, shift_right_floor, shift_right_half_up

DECISIVE = settings(derandomize=True, deadline=None)
HALF_UP_OVERFLOW = 2**29

# v, n, floor, half_up: ties go up, for negative values too.
ROUNDING = (
    (5, 0, 5, 5),
    (-5, 0, -5, -5),
    (1, 1, 0, 1),
    (-1, 1, -1, 0),
    (3, 1, 1, 2),
    (-3, 1, -2, -1),
    (5, 2, 1, 1),
    (6, 2, 1, 2),
    (7, 2, 1, 2),
    (-5, 2, -2, -1),
    (-6, 2, -2, -1),
    (-7, 2, -2, -2),
    (2**29, 30, 0, 1),
    (2**29 - 1, 30, 0, 0),
    (-(2**29), 30, -1, 0),
    (-(2**29) - 1, 30, -1, -1),
    (INT32_MIN, 30, -2, -2),
)


@pytest.mark.parametrize(("v", "n", "down", "nearest"), ROUNDING)
def test_rounding_of_sample_values(v: int, n: int, down: int, nearest: int) -> None:
    vector = np.array([v], np.int32)
    assert shift_right_floor(v, n) == shift_right_floor(vector, n)[0] == down
    assert shift_right_half_up(v, n) == shift_right_half_up(vector, n)[0] == nearest


@DECISIVE
@given(v=st.integers(INT32_MIN, INT32_MAX - HALF_UP_OVERFLOW), n=st.integers(0, 30))
def test_rounding_shifts_are_the_exact_quotient_rounded(v: int, n: int) -> None:
    quotient = Fraction(v, 2**n)
    vector = np.array([v], np.int32)
    assert shift_right_floor(vector, n)[0] == floor(quotient)
    assert shift_right_half_up(vector, n)[0] == floor(quotient + Fraction(1, 2))
    assert shift_right_half_up(vector, n).dtype == np.int32


def test_half_is_half_of_the_divisor_and_nothing_for_a_shift_by_zero() -> None:
    assert [half(n) for n in (0, 1, 2, 15, 30)] == [0, 1, 2, 2**14, 2**29]


def test_saturate_limits_both_sides_and_keeps_the_limits() -> None:
    values = np.array([INT32_MIN, -4, -3, 0, 5, 6, INT32_MAX], np.int32)
    assert saturate(values, -3, 5).tolist() == [-3, -3, -3, 0, 5, 5, 5]


@pytest.mark.parametrize(
    ("q", "low", "high", "scale", "name"),
    [
        (QFormat(8, 7), -128, 127, 1 / 128, "Q0.7"),
        (QFormat(8, 7, symmetric=True), -127, 127, 1 / 128, "Q0.7"),
        (QFormat(16, 15), -32768, 32767, 1 / 32768, "Q0.15"),
        (QFormat(16, 11), -32768, 32767, 1 / 2048, "Q4.11"),
        (QFormat(8, 0, symmetric=True), -127, 127, 1.0, "Q7.0"),
        (QFormat(16, -2), -32768, 32767, 4.0, "Q17.-2"),
        (QFormat(8, 10), -128, 127, 1 / 1024, "Q-3.10"),
        (QFormat(32, 0), INT32_MIN, INT32_MAX, 1.0, "Q31.0"),
        (QFormat(2, 0), -2, 1, 1.0, "Q1.0"),
    ],
)
def test_limits_scale_and_name_of_a_format(q: QFormat, low: int, high: int, scale: float, name: str) -> None:
    assert (q.min, q.max, q.scale, str(q)) == (low, high, scale, name)


@pytest.mark.parametrize(
    ("bits", "fraction_bits", "message"),
    [
        (1, 0, "a format has 2 to 32 bits, not 1"),
        (33, 0, "a format has 2 to 32 bits, not 33"),
        (8, 33, "a format has -32 to 32 fraction bits, not 33"),
        (8, -33, "a format has -32 to 32 fraction bits, not -33"),
    ],
)
def test_a_format_out_of_range_is_refused(bits: int, fraction_bits: int, message: str) -> None:
    with pytest.raises(EdgeLstmError) as error:
        QFormat(bits, fraction_bits)
    assert str(error.value) == message


@pytest.mark.parametrize("q", [QFormat(8, 7), QFormat(8, 7, symmetric=True), QFormat(16, 11), QFormat(16, -3)], ids=str)
def test_quantize_inverts_dequantize_for_every_integer(q: QFormat) -> None:
    integers = np.arange(q.min, q.max + 1)
    assert np.array_equal(q.quantize(q.dequantize(integers)), integers)


def test_quantize_saturates_and_rounds_ties_to_even() -> None:
    q = QFormat(8, 1, symmetric=True)
    real = [0.25, 0.75, -0.25, -0.75, 0.3, 63.4, 64.0, 1e30, -1e30, np.inf, -np.inf]
    assert q.quantize(real).tolist() == [0, 2, 0, -2, 1, 127, 127, 127, -127, 127, -127]


@DECISIVE
@given(real=st.floats(-300, 300), bits=st.integers(2, 16), fraction_bits=st.integers(0, 16))
def test_quantize_is_off_by_at_most_half_a_unit_inside_the_range(real: float, bits: int, fraction_bits: int) -> None:
    q = QFormat(bits, fraction_bits)
    inside = min(max(real, q.min * q.scale), q.max * q.scale)
    assert abs(float(q.dequantize(q.quantize(real))) - inside) <= q.scale / 2
