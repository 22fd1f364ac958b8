"""Range rules: a result of values inside the arguments' intervals lies in the rule's interval (soundness), and a rule
refuses exactly where 32 bits can overflow."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.fixedpoint import INT32_MAX, INT32_MIN
from edge_lstm.ops import RANGES, Interval, Op

EDGES = [
    INT32_MIN,
    INT32_MIN + 1,
    -(2**16),
    -129,
    -128,
    -127,
    -1,
    0,
    1,
    127,
    128,
    2**15,
    2**30,
    INT32_MAX - 1,
    INT32_MAX,
]
BINARY = {Op.ADD: operator.add, Op.SUB: operator.sub, Op.MUL: operator.mul}
INT32 = st.one_of(st.sampled_from(EDGES), st.integers(INT32_MIN, INT32_MAX), st.integers(-300, 300))
CHECKED = settings(derandomize=True, deadline=None, max_examples=300)
LENGTH = 3


@st.composite
def ranges_with_a_value(draw: st.DrawFn, length: int = LENGTH) -> tuple[Interval, list[int]]:
    """A random interval of each element, and a value in it, often at one of its ends."""
    ends = [sorted((draw(INT32), draw(INT32))) for _ in range(length)]
    values = [draw(st.one_of(st.sampled_from([lo, hi]), st.integers(lo, hi))) for lo, hi in ends]
    lo, hi = np.array(ends, np.int64).T
    return Interval(lo, hi), values


def rule(op: Op, *arguments: Interval, **attributes: Any) -> Interval | None:
    """The range of a result; None where the rule refuses because of an overflow."""
    try:
        return RANGES[op](*arguments, **attributes)
    except OverflowError:
        return None


def fits(*values: int) -> bool:
    return all(INT32_MIN <= v <= INT32_MAX for v in values)


def inside(result: Interval, values: list[int]) -> bool:
    return len(result.lo) == len(values) and all(
        lo <= v <= hi for lo, v, hi in zip(result.lo.tolist(), values, result.hi.tolist(), strict=True)
    )


@CHECKED
@given(ranges_with_a_value(), ranges_with_a_value(), st.sampled_from(list(BINARY)))
def test_sums_differences_and_products_are_refused_exactly_where_one_can_overflow(v: Any, w: Any, op: Op) -> None:
    (v_range, v_value), (w_range, w_value) = v, w
    ends = itertools.product(map(np.ndarray.tolist, v_range), map(np.ndarray.tolist, w_range))
    corners = [list(map(BINARY[op], a, b)) for a, b in ends]
    result = rule(op, v_range, w_range)
    assert (result is not None) == all(fits(*corner) for corner in corners)
    if result is not None:
        assert inside(result, list(map(BINARY[op], v_value, w_value)))
        assert result.lo.tolist() == [min(column) for column in zip(*corners, strict=True)]
        assert result.hi.tolist() == [max(column) for column in zip(*corners, strict=True)]


@CHECKED
@given(ranges_with_a_value(), st.integers(0, 30))
def test_shifts_are_refused_exactly_where_the_sum_before_can_overflow(v: Any, n: int) -> None:
    interval, value = v
    floor, rounded = rule(Op.SHIFT_RIGHT_FLOOR, interval, n=n), rule(Op.SHIFT_RIGHT_HALF_UP, interval, n=n)
    assert floor is not None
    assert inside(floor, [a // 2**n for a in value])
    assert (rounded is not None) == fits(*(hi + (2**n >> 1) for hi in interval.hi.tolist()))
    if rounded is not None:
        assert inside(rounded, [(2 * a + 2**n) // 2 ** (n + 1) for a in value])


@CHECKED
@given(ranges_with_a_value(), ranges_with_a_value(), INT32, INT32)
def test_selections_and_limits_never_overflow_and_stay_in_range(v: Any, w: Any, a: int, b: int) -> None:
    (v_range, v_value), (w_range, w_value) = v, w
    lo, hi = sorted((a, b))
    assert inside(RANGES[Op.SATURATE](v_range, lo=lo, hi=hi), [min(max(a, lo), hi) for a in v_value])
    assert inside(RANGES[Op.THRESHOLD](v_range), [int(a > 0) for a in v_value])
    assert inside(RANGES[Op.MAX](v_range, w_range), list(map(max, v_value, w_value)))
    assert inside(RANGES[Op.SELECT](v_range, w_range), [b if a else 0 for a, b in zip(v_value, w_value, strict=True)])
    assert inside(RANGES[Op.CONCAT](v_range, w_range), v_value + w_value)
    assert inside(RANGES[Op.MAX_ELEMENT](v_range), [max(v_value)])
    assert inside(RANGES[Op.ARGMAX](v_range), [v_value.index(max(v_value))])
    constant = np.array(v_value, np.int32)
    assert inside(RANGES[Op.CONST](value=constant), v_value)


@CHECKED
@given(
    v=st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=1, max_size=4),
    table=st.lists(st.integers(-9, 9), min_size=1, max_size=80),
    lo=st.integers(-50, 50),
    share=st.floats(0, 1),
)
def test_a_table_is_refused_exactly_where_its_index_can_leave_it(
    v: list[tuple[int, int]], table: list[int], lo: int, share: float
) -> None:
    ends = np.array([sorted(pair) for pair in v], np.int64).T
    result = rule(Op.LUT, Interval(*ends), table=np.array(table, np.int32), lo=lo)
    assert (result is not None) == bool(ends[0].min() >= lo and ends[1].max() < lo + len(table))
    if result is not None:
        value = [int(a + round((b - a) * share)) for a, b in ends.T.tolist()]
        assert inside(result, [table[a - lo] for a in value])


@CHECKED
@given(
    n=st.integers(1, 12),
    first=st.integers(-9, 9),
    span=st.integers(0, 9),
    table=st.lists(st.one_of(INT32, st.integers(-(2**20), 2**20)), min_size=2, max_size=14),
    lo=st.integers(-12, 9),
    data=st.data(),
)
def test_an_interpolation_is_refused_where_its_index_can_leave_the_table_or_a_step_can_overflow(
    n: int, first: int, span: int, table: list[int], lo: int, data: st.DataObject
) -> None:
    ends = [data.draw(st.integers(k * 2**n, (k + 1) * 2**n - 1)) for k in (first, first + span)]
    low, high = min(ends), max(ends)
    result = rule(Op.LUT_INTERP, Interval.of(low, high, LENGTH), table=np.array(table, np.int32), lo=lo, n=n)
    held = lo <= first and first + span + 1 < lo + len(table)
    reachable = table[first - lo : first + span + 2 - lo] if held else []
    products = [(b - a) * (2**n - 1) for a, b in itertools.pairwise(reachable)]
    assert (result is not None) == (held and all(fits(p, p + 2 ** (n - 1)) for p in products))
    if result is not None:
        assert (result.lo.tolist(), result.hi.tolist()) == ([min(reachable)] * LENGTH, [max(reachable)] * LENGTH)
        for v in {low, high, data.draw(st.integers(low, high))}:
            k, r = divmod(v, 2**n)
            t0, t1 = table[k - lo], table[k - lo + 1]
            rise = (2 * (t1 - t0) * r + 2**n) // 2 ** (n + 1)
            assert fits(t1 - t0, (t1 - t0) * r, (t1 - t0) * r + 2 ** (n - 1))
            assert inside(result, [t0 + rise] * LENGTH)


WEIGHT = st.one_of(st.integers(-128, 127), st.sampled_from([INT32_MIN, INT32_MAX]))


@CHECKED
@given(v=ranges_with_a_value(), weights=st.lists(st.tuples(*[WEIGHT] * LENGTH), min_size=2, max_size=2), data=st.data())
def test_products_with_a_matrix_are_refused_exactly_where_the_sum_of_magnitudes_overflows(
    v: Any, weights: list[tuple[int, ...]], data: st.DataObject
) -> None:
    """Every partial sum, in any order, stays below the sum of magnitudes; so none overflows where that fits."""
    interval, value = v
    bias = data.draw(st.lists(INT32, min_size=2, max_size=2))
    result = rule(Op.MATVEC, interval, weights=np.array(weights, np.int32), bias=np.array(bias, np.int32))
    largest = [max(abs(a), abs(b)) for a, b in zip(*map(np.ndarray.tolist, interval), strict=True)]
    reach = [
        sum(abs(w) * m for w, m in zip(row, largest, strict=True)) + abs(b)
        for row, b in zip(weights, bias, strict=True)
    ]
    assert (result is not None) == (max(reach) <= INT32_MAX)
    if result is not None:
        assert inside(result, [b + sum(map(operator.mul, row, value)) for row, b in zip(weights, bias, strict=True)])
        for row, b in zip(weights, bias, strict=True):
            terms = data.draw(st.permutations([b, *(w * x for w, x in zip(row, value, strict=True))]))
            assert fits(*itertools.accumulate(terms))


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_bits_of_weights_change_no_range(bits: int) -> None:
    limit = 2 ** (bits - 1) - 1
    attributes = weights_of(-limit, limit, bits)
    declared = RANGES[Op.MATVEC](Interval.of(-128, 127, 2), **attributes)
    del attributes["bits"]
    plain = RANGES[Op.MATVEC](Interval.of(-128, 127, 2), **attributes)
    assert (declared.lo.tolist(), declared.hi.tolist()) == (plain.lo.tolist(), plain.hi.tolist())


def weights_of(low: int, high: int, bits: int) -> dict[str, Any]:
    return {"weights": np.array([[low, high]], np.int32), "bias": np.zeros(1, np.int32), "bits": bits}


INTERPOLATED = "its index has {} fraction bits; accepted are 1 to 12"


@pytest.mark.parametrize(
    ("op", "lengths", "attributes", "message"),
    [
        (Op.ADD, (1, 3), {}, "its arguments have 1 and 3 elements, and must have equally many"),
        (Op.SUB, (1, 2), {}, "its arguments have 1 and 2 elements, and must have equally many"),
        (Op.MAX, (2, 1), {}, "its arguments have 2 and 1 elements, and must have equally many"),
        (Op.LUT_INTERP, (1,), {"table": np.zeros(4), "lo": 0, "n": 0}, INTERPOLATED.format(0)),
        (Op.LUT_INTERP, (1,), {"table": np.zeros(4), "lo": 0, "n": 13}, INTERPOLATED.format(13)),
        (Op.MATVEC, (2,), weights_of(-128, 3, 8), "its weights lie in [-128, 3], and 8 bits hold [-127, 127]"),
        (Op.MATVEC, (2,), weights_of(-3, 8, 4), "its weights lie in [-3, 8], and 4 bits hold [-7, 7]"),
        (Op.MATVEC, (2,), weights_of(-8, 7, 4), "its weights lie in [-8, 7], and 4 bits hold [-7, 7]"),
        (Op.MATVEC, (2,), weights_of(-2, 1, 2), "its weights lie in [-2, 1], and 2 bits hold [-1, 1]"),
        (Op.MATVEC, (2,), weights_of(0, 1, 16), "its weights have 16 bits; accepted are 8, 4 and 2"),
        (Op.MUL, (3, 1), {}, "its arguments have 3 and 1 elements, and must have equally many"),
        (Op.SELECT, (2, 3), {}, "its arguments have 2 and 3 elements, and must have equally many"),
        (Op.SHIFT_RIGHT_FLOOR, (1,), {"n": -1}, "it shifts by -1; accepted are 0 to 30"),
        (Op.SHIFT_RIGHT_HALF_UP, (1,), {"n": 31}, "it shifts by 31; accepted are 0 to 30"),
        (
            Op.MATVEC,
            (3,),
            {"weights": np.zeros((2, 4)), "bias": np.zeros(2)},
            "its weights are (2, 4), and must be (2, 3)",
        ),
    ],
)
def test_operands_that_do_not_fit_are_refused(
    op: Op, lengths: tuple[int, ...], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        RANGES[op](*(Interval.of(0, 1, n) for n in lengths), **attributes)
    assert str(error.value) == message
