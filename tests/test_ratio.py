"""The ratio without a division: exhaustive or at its edges, against the exact quotient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge_lstm.heads import EXP_OUTPUT, PROBABILITY
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import NUMPY
from edge_lstm.program import Executor, Port, Program, ProgramBuilder, RangeError
from edge_lstm.ratio import FACTOR_BITS, ratio

LONGEST = 65536
SHORT, LONG = 0.63 * 2**-13, 1.13 * 2**-13
"""Of the result: the reciprocal's error where its argument is d, and where it is d without its lowest bits."""
INT8, INT16 = 127, 32767


def program(*, least: int = 1, most: int, bound: int, shift: int, width: int = 1) -> Program:
    builder = ProgramBuilder("ratio")
    n = builder.port(Port("n", width, -bound * most, bound * most))
    d = builder.port(Port("d", 1, 0, most))
    out = ratio(builder, "q", n.name, d.name, least=least, most=most, bound=bound, shift=shift)
    return Program("ratio", (n, d), (), (out,), builder.constants, tuple(builder.instructions))


def run(made: Program, n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Of numerators (cases,) or (cases, width), and denominators (cases,)."""
    values = {"n": n.reshape(len(d), -1).astype(np.int32), "d": d[:, None].astype(np.int32)}
    return np.asarray(Executor(made, NUMPY)(values)[made.outputs[0]], np.int64).reshape(n.shape)


def largest_error(*, most: int, bound: int, shift: int, exact: np.ndarray) -> np.ndarray:
    """What the docstring of ``ratio`` says."""
    top = (most - 1).bit_length()
    dropped = max(0, (bound << top).bit_length() - FACTOR_BITS)
    of_result = np.abs(exact) * (SHORT if top <= FACTOR_BITS else LONG)
    return np.asarray(of_result + 0.5 + (2.0 ** (dropped + shift - top) if dropped else 0.0))


def check(n: np.ndarray, d: np.ndarray, **options: int) -> None:
    found = run(program(**options), n, d)
    of_error = {k: v for k, v in options.items() if k in ("most", "bound", "shift")}
    exact = n / d * 2.0 ** options["shift"]
    assert (np.abs(found - exact) <= largest_error(exact=exact, **of_error)).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 9, 100, 128])
def test_every_mean_of_int8(steps: int) -> None:
    every = np.arange(1, steps + 1)
    d = np.repeat(every, 2 * INT8 * every + 1)
    n = np.concatenate([np.arange(-INT8 * k, INT8 * k + 1) for k in every])
    check(n, d, most=steps, bound=INT8, shift=8)


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_every_share_of_small_numbers(shift: int) -> None:
    every = np.arange(1, 301)
    d = np.repeat(every, every + 1)
    n = np.concatenate([np.arange(k + 1) for k in every])
    check(n, d, most=300, bound=1, shift=shift)


LONG_WINDOWS = {
    "int8 mean, 1000": {"most": 1000, "bound": INT8, "shift": 8},
    "int8 mean, 40000": {"most": 40000, "bound": INT8, "shift": 8},
    "int8 mean, longest": {"most": LONGEST, "bound": INT8, "shift": 8},
    "int16 mean, 10": {"most": 10, "bound": INT16, "shift": 0},
    "int16 mean, 1000": {"most": 1000, "bound": INT16, "shift": 0},
    "int16 mean, 32768": {"most": 32768, "bound": INT16, "shift": 0},
    "2 probabilities": {"least": 8192, "most": 2 << EXP_OUTPUT.fraction_bits, "bound": 1, "shift": 15},
    "4096 probabilities": {"least": 8192, "most": 4096 << EXP_OUTPUT.fraction_bits, "bound": 1, "shift": 15},
    "int8 attention, 12": {"least": 5, "most": 12 << EXP_OUTPUT.fraction_bits, "bound": 128, "shift": 8},
    "int16 attention, 12": {"least": 5, "most": 12 << EXP_OUTPUT.fraction_bits, "bound": 512, "shift": 6},
    "attention, longest": {"least": 5, "most": LONGEST << EXP_OUTPUT.fraction_bits, "bound": 1, "shift": 18},
}
"""Least and most d, largest n/d and the shift of what ``lower_heads`` asks for."""


@pytest.mark.parametrize("name", LONG_WINDOWS)
def test_random_and_extreme_ratios(name: str) -> None:
    options = {"least": 1, **LONG_WINDOWS[name]}
    least, most, bound = (options[k] for k in ("least", "most", "bound"))
    rng, count = np.random.default_rng(0), 50_000
    powers = 2 ** np.arange(most.bit_length())
    edges = np.concatenate([powers - 1, powers, powers + 1, [least, most]])
    of_every_size = np.exp(rng.uniform(np.log(least), np.log(most), count)).astype(np.int64)
    d = np.concatenate([rng.integers(least, most + 1, count), of_every_size, edges]).clip(least, most)
    for n in (
        bound * d,
        -bound * d,
        np.zeros_like(d),
        np.rint(rng.uniform(-1, 1, len(d)) * bound * d).astype(np.int64),
    ):
        check(n, d, **options)


@pytest.mark.parametrize("name", LONG_WINDOWS)
def test_nothing_over_nothing_is_zero(name: str) -> None:
    assert run(program(**LONG_WINDOWS[name]), np.zeros(1, np.int64), np.zeros(1, np.int64)).tolist() == [0]


def test_every_numerator_of_a_vector_is_divided_by_the_one_denominator() -> None:
    d = np.arange(1, 101)
    n = np.stack([127 * d, -d, np.zeros_like(d)], axis=1)
    wide = run(program(most=100, bound=INT8, shift=8, width=3), n, d)
    one = program(most=100, bound=INT8, shift=8)
    np.testing.assert_array_equal(wide, np.stack([run(one, n[:, k], d) for k in range(3)], axis=1))


@pytest.mark.parametrize("steps", [1, 2, 255, 256, 257, 32767, 32768, 32769, 65535, LONGEST])
def test_windows_of_int8_are_proved_up_to_the_longest(steps: int) -> None:
    program(most=steps, bound=INT8, shift=8)


@pytest.mark.parametrize("steps", [32769, LONGEST])
def test_windows_of_int16_that_do_not_fit_are_refused(steps: int) -> None:
    with pytest.raises(RangeError, match=r"^ratio: q\.n\d+_sum \(add\): its result can reach .*, and 32 bits hold"):
        program(most=steps, bound=INT16, shift=0)


def longer(model: QuantizedModel, steps: int) -> QuantizedModel:
    return replace(model, signature=replace(model.signature, steps=steps))


def test_models_are_refused_by_the_name_of_what_does_not_fit(
    make_quantized_form: Callable[..., QuantizedModel],
) -> None:
    lower(longer(make_quantized_form("variable mean"), LONGEST))
    wide = make_quantized_form("variable mean", activation_bits=16)
    lower(longer(wide, 32768))
    with pytest.raises(
        RangeError, match=r"^m\.head: pool\.n\d+_sum \(add\): its result can reach .*, and 32 bits hold"
    ):
        lower(longer(wide, LONGEST))


def test_the_result_may_exceed_its_bound_and_is_to_be_saturated() -> None:
    found = run(program(most=8, bound=INT16, shift=0), np.array([7 * INT16]), np.array([7]))
    assert found.tolist() == [INT16 + 1]
    assert PROBABILITY.max < INT16 + 1
