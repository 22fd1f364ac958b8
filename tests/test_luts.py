"""Tables: their entries, and that the error they report is their largest."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_lstm.blocks import Linear, Table
from edge_lstm.fixedpoint import QFormat
from edge_lstm.luts import INDEX_BITS, build, build_linear, evaluate, largest_error, mean_error, sigmoid

REAL = {
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
    "tanh": math.tanh,
    "squash1": lambda v: 2 / (1 + math.exp(-v)) - 1,
    "squash2": lambda v: 4 / (1 + math.exp(-v)) - 2,
    "relu": lambda v: max(v, 0.0),
}
HARD = {
    "sigmoid": lambda v: min(max(v / 4 + 0.5, 0.0), 1.0),
    "tanh": lambda v: min(max(v, -1.0), 1.0),
    "squash1": lambda v: min(max(v / 2, -1.0), 1.0),
    "squash2": lambda v: min(max(v, -2.0), 2.0),
    "relu": lambda v: max(v, 0.0),
}
OUTPUTS = (QFormat(16, 15), QFormat(16, 11), QFormat(8, 7, symmetric=True))
TABLES = [build(function, output) for function in ("sigmoid", "tanh", "squash1", "squash2") for output in OUTPUTS]
BETWEEN = [build(function, output, between_bits=8) for function in ("sigmoid", "tanh", "squash1") for output in OUTPUTS]
LINEAR = [build_linear(function, output) for function in HARD for output in OUTPUTS]
DENSE = np.linspace(-10, 10, 400_001)


def label(table: Table | Linear) -> str:
    return f"{table.function}-{table.output.bits}-{table.output}"


@pytest.mark.parametrize("table", TABLES, ids=label)
def test_an_entry_is_the_function_rounded_and_saturated(table: Table) -> None:
    q = table.output
    for index, entry in zip(range(-128, 128), table.values.tolist(), strict=True):
        exact = REAL[table.function](index / 2**table.index_bits) * 2**q.fraction_bits
        assert abs(entry - min(max(exact, q.min), q.max)) <= 0.5 + 1e-6


@pytest.mark.parametrize("table", TABLES, ids=label)
def test_the_reported_error_is_the_largest(table: Table) -> None:
    edges = (np.arange(-130, 130) + 0.5) / 2**table.index_bits
    points = np.concatenate([DENSE, edges - 1e-9, edges + 1e-9, [-700.0, 700.0]])
    index = np.clip(np.floor(points * 2**table.index_bits + 0.5), -128, 127).astype(int)
    exact = np.array([REAL[table.function](v) for v in points.tolist()])
    found = np.abs(table.values[index + 128] * table.output.scale - exact).max()
    assert found <= largest_error(table) + 1e-12
    assert found == pytest.approx(largest_error(table), abs=1e-8)


@pytest.mark.parametrize(
    ("function", "output", "error"),
    [
        ("sigmoid", QFormat(16, 15), "0.00781314"),
        ("tanh", QFormat(16, 15), "0.0156263"),
        ("tanh", QFormat(16, 11), "0.0156792"),
        ("tanh", QFormat(8, 7, symmetric=True), "0.0183733"),
    ],
)
def test_the_errors_of_the_tables_in_use(function: str, output: QFormat, error: str) -> None:
    assert f"{largest_error(build(function, output)):.6g}" == error


@pytest.mark.parametrize("table", BETWEEN, ids=label)
def test_between_two_entries_is_on_the_line_through_them(table: Table) -> None:
    asked = np.arange(-140 * 256, 140 * 256)
    found = evaluate(table, asked / 2**table.input_bits) / table.output.scale
    inside = np.clip(asked, -128 * 256, 127 * 256 - 1) / 256
    exact = np.interp(inside, np.arange(-128, 128), table.values)
    assert np.array_equal(found, np.floor(exact + 0.5))


@pytest.mark.parametrize("table", BETWEEN, ids=label)
def test_the_reported_error_of_an_interpolated_table_is_the_largest(table: Table) -> None:
    points = np.concatenate([DENSE, [-700.0, 700.0]])
    exact = np.array([REAL[table.function](v) for v in points.tolist()])
    found = np.abs(evaluate(table, points) - exact).max()
    assert found <= largest_error(table) < found * 1.1 + 2e-5
    assert largest_error(table) < largest_error(build(table.function, table.output)) or table.output.max == 127


@pytest.mark.parametrize("linear", LINEAR, ids=label)
def test_a_linear_form_is_off_its_real_one_by_half_a_unit_and_the_limits(linear: Linear) -> None:
    q = linear.output
    points = np.concatenate([DENSE, [-700.0, 700.0]])
    exact = np.clip([HARD[linear.function](v) for v in points.tolist()], q.min * q.scale, q.max * q.scale)
    assert np.abs(evaluate(linear, points) - exact).max() <= q.scale


@pytest.mark.parametrize("linear", LINEAR, ids=label)
def test_the_reported_error_of_a_linear_form_is_the_largest(linear: Linear) -> None:
    reach = linear.hi * linear.output.scale
    points = np.linspace(-reach, reach, 100_001) if linear.function == "relu" else np.concatenate([DENSE, [-7e2, 7e2]])
    exact = np.array([REAL[linear.function](v) for v in points.tolist()])
    found = np.abs(evaluate(linear, points) - exact).max()
    assert found <= largest_error(linear) < found + 2e-4


@pytest.mark.parametrize("activation", [*TABLES, *BETWEEN, *LINEAR], ids=label)
def test_the_mean_error_is_below_the_largest(activation: Table | Linear) -> None:
    assert 0 < mean_error(activation) < largest_error(activation)


def test_the_mean_error_is_a_mean() -> None:
    good = build("tanh", QFormat(16, 15))
    points = np.linspace(-4, 4, 100_001)
    index = np.clip(np.floor(points * 32 + 0.5), -128, 127).astype(int)
    wanted = np.abs(good.values[index + 128] / 2**15 - np.tanh(points)).mean()
    assert mean_error(good) == pytest.approx(wanted, rel=1e-3)


def test_a_wrong_entry_is_the_largest_error() -> None:
    good = build("tanh", QFormat(16, 15))
    values = good.values.copy()
    values[128] = 20000  # index 0 stands for tanh(0)
    bad = Table("tanh", good.index_bits, good.output, values)
    assert largest_error(bad) == pytest.approx(20000 / 2**15 + math.tanh(0.5 / 2**good.index_bits))


def test_the_tables_reach_where_the_functions_are_flat() -> None:
    assert dict(INDEX_BITS) == {"sigmoid": 4, "tanh": 5, "squash1": 4, "squash2": 4}
    assert 1 - sigmoid(127 / 2**4) < 4e-4
    assert 1 - math.tanh(127 / 2**5) < 8e-4
    assert 1 - REAL["squash1"](127 / 2**4) < 8e-4
    assert 2 - REAL["squash2"](127 / 2**4) < 16e-4


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e308, -745.0, 0.0, 745.0, 1e308])).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    dense = np.linspace(-30, 30, 1001)
    assert np.allclose(sigmoid(dense), [REAL["sigmoid"](v) for v in dense], rtol=0, atol=1e-15)
