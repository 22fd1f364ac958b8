"""Quotients by a root without a division: at their edges and at random, against the exact quotient."""

from __future__ import annotations

import numpy as np
import pytest

from edge_lstm.integer_graph.roots import OUTPUT_BITS, TOP, over_root
from edge_lstm.ops import NUMPY
from edge_lstm.program import Executor, Port, Program, ProgramBuilder

OF_RESULT = 3.5 * 2.0**-14
MOST = 2**TOP - 1


def program(width: int = 1) -> Program:
    builder = ProgramBuilder("root")
    d, q = builder.port(Port("d", width, -(2**15), 2**15)), builder.port(Port("q", 1, 1, MOST))
    out = over_root(builder, "r", d.name, q.name)
    return Program("root", (d, q), (), (out,), builder.constants, tuple(builder.instructions))


def run(d: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Of d (cases,) or (cases, width), and q (cases,)."""
    made = program(1 if d.ndim == 1 else d.shape[1])
    values = {"d": d.reshape(len(q), -1).astype(np.int32), "q": q[:, None].astype(np.int32)}
    return np.asarray(Executor(made, NUMPY)(values)[made.outputs[0]], np.int64).reshape(d.shape)


def check(d: np.ndarray, q: np.ndarray) -> None:
    """What the docstring of ``over_root`` says."""
    exact = d / np.sqrt(q) * 2.0**OUTPUT_BITS
    error = np.abs(run(d, q) - exact)
    assert (error <= OF_RESULT * np.abs(exact) + 0.5).all()
    assert (error < 2.0 ** (OUTPUT_BITS - 12)).all()


def roots(q: np.ndarray) -> np.ndarray:
    """The largest d with d * d <= q."""
    found = np.sqrt(q.astype(np.float64)).astype(np.int64)
    return np.asarray(found - (found * found > q))


def test_every_small_square() -> None:
    every = np.arange(1, 2001)
    largest = roots(every)
    q = np.repeat(every, 2 * largest + 1)
    d = np.concatenate([np.arange(-k, k + 1) for k in largest])
    check(d, q)


@pytest.mark.parametrize("bits", range(1, TOP + 1))
def test_random_and_extreme_squares_of_every_size(bits: int) -> None:
    rng, least, most = np.random.default_rng(bits), 2 ** (bits - 1), 2**bits - 1
    edges = np.array([least, least + 1, most - 1, most]).clip(least, most)
    q = np.concatenate([edges, rng.integers(least, most + 1, 20_000)])
    largest = roots(q)
    for d in (largest, -largest, np.minimum(1, largest), rng.integers(-largest, largest + 1)):
        check(d, q)


def test_squares_at_the_entries_of_the_table_and_beside_them() -> None:
    entries = np.arange(32, 128) * 2 ** (TOP - 7)
    q = np.concatenate([entries + k for k in (-1, 0, 1, 2 ** (TOP - 8), 2 ** (TOP - 15) - 1)])
    q = q[q <= MOST]
    for scale in (1, 4, 16, 4**10):
        smaller = np.maximum(q // scale, 1)
        check(roots(smaller), smaller)
        check(-roots(smaller), smaller)


def test_the_bound_is_no_more_than_is_needed() -> None:
    q = np.random.default_rng(0).integers(2**28, 2**28 + 2**24, 200_000)
    d = roots(q)
    error = np.abs(run(d, q) / 2.0**OUTPUT_BITS - d / np.sqrt(q))
    assert error.max() > 2.0**-13


def test_all_of_a_vector_are_divided_by_the_one_root() -> None:
    q = np.array([1, 2, 3, 1000, 2**20 + 5, MOST])
    d = np.stack([roots(q), -roots(q) // 2, np.zeros_like(q)], axis=1)
    np.testing.assert_array_equal(run(d, q), np.stack([run(d[:, k], q) for k in range(3)], axis=1))


def test_nothing_over_a_root_is_nothing() -> None:
    q = np.array([1, 7, 2**28, MOST])
    assert not run(np.zeros_like(q), q).any()
