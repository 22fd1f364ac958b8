"""Tables: their entries, and that the error they report is their largest."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_lstm.fixedpoint import QFormat
from edge_lstm.luts import INDEX_BITS, build, largest_error, sigmoid
from edge_lstm.model import Table

REAL = {"sigmoid": lambda v: 1 / (1 + math.exp(-v)), "tanh": math.tanh}
TABLES = [
    build(function, output)
    for function in ("sigmoid", "tanh")
    for output in (QFormat(16, 15), QFormat(16, 11), QFormat(8, 7, symmetric=True))
]


def label(table: Table) -> str:
    return f"{table.function}-{table.output.bits}-{table.output}"


@pytest.mark.parametrize("table", TABLES, ids=label)
def test_an_entry_is_the_function_rounded_and_saturated(table: Table) -> None:
    q = table.output
    for index, entry in zip(range(-128, 128), table.values.tolist(), strict=True):
        exact = REAL[table.function](index / 2**table.index_bits) * 2**q.fraction_bits
        assert abs(entry - min(max(exact, q.min), q.max)) <= 0.5 + 1e-6


@pytest.mark.parametrize("table", TABLES, ids=label)
def test_the_reported_error_is_the_largest(table: Table) -> None:
    dense = np.linspace(-10, 10, 400_001)
    edges = (np.arange(-130, 130) + 0.5) / 2**table.index_bits
    points = np.concatenate([dense, edges - 1e-9, edges + 1e-9, [-700.0, 700.0]])
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


def test_a_wrong_entry_is_the_largest_error() -> None:
    good = build("tanh", QFormat(16, 15))
    values = good.values.copy()
    values[128] = 20000  # index 0 stands for tanh(0)
    bad = Table("tanh", good.index_bits, good.output, values)
    assert largest_error(bad) == pytest.approx(20000 / 2**15 + math.tanh(0.5 / 2**good.index_bits))


def test_the_tables_reach_where_the_functions_are_flat() -> None:
    assert dict(INDEX_BITS) == {"sigmoid": 4, "tanh": 5}
    assert 1 - sigmoid(127 / 2**4) < 4e-4
    assert 1 - math.tanh(127 / 2**5) < 8e-4


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e308, -745.0, 0.0, 745.0, 1e308])).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    dense = np.linspace(-30, 30, 1001)
    assert np.allclose(sigmoid(dense), [REAL["sigmoid"](v) for v in dense], rtol=0, atol=1e-15)
