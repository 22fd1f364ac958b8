"""Programs: proved free of overflow at construction, or refused with the value and its range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import NUMPY, Op
from edge_lstm.program import Executor, Instruction, Port, Program, ProgramBuilder, RangeError, State, storage_bits

X = Port("x", 2, -127, 127)
C = Port("c", 2, -200, 200)


def program(*instructions: Instruction, states: tuple[State, ...] = (), outputs: tuple[str, ...] = ()) -> Program:
    constants = {
        "big": np.full((1, 2), 2**30, np.int32),
        "one": np.ones(1, np.int32),
        "t": np.arange(9, dtype=np.int32),
    }
    return Program("m.step", (X,), states, outputs, constants, instructions)


def shifted(out: str, v: str, n: int) -> Instruction:
    return Instruction(Op.SHIFT_RIGHT_FLOOR, out, (v,), {"n": n})


def squared(out: str, v: str) -> Instruction:
    return Instruction(Op.MUL, out, (v, v))


@pytest.mark.parametrize(
    ("instructions", "options", "message"),
    [
        (
            [Instruction(Op.MATVEC, "a", ("x",), {"weights": "big", "bias": "one"})],
            {},
            "m.step: a (matvec): its accumulator can reach [-272730423297, 272730423297], "
            "and 32 bits hold [-2147483648, 2147483647]",
        ),
        (
            [squared("x2", "x"), squared("x4", "x2"), squared("x8", "x4")],
            {},
            "m.step: x8 (mul): its result can reach [-67675234241018881, 67675234241018881], "
            "and 32 bits hold [-2147483648, 2147483647]",
        ),
        (
            [Instruction(Op.LUT, "y", ("x",), {"table": "t", "lo": -4})],
            {},
            "m.step: y (lut): its index can reach [-127, 127], and the table holds [-4, 4]",
        ),
        ([shifted("y", "x", 31)], {}, "m.step: y (shift_right_floor): it shifts by 31; accepted are 0 to 30"),
        ([shifted("y", "x", 1), shifted("y", "x", 2)], {}, "m.step: y is assigned twice"),
        ([shifted("x", "x", 1)], {}, "m.step: x is assigned twice"),
        ([shifted("y", "z", 1), shifted("z", "x", 1)], {}, "m.step: y needs z, which nothing before it makes"),
        ([], {"outputs": ("y",)}, "m.step: y is an output or the next value of a state, and nothing makes it"),
        ([], {"states": (State(C, "x"),)}, "m.step: x is an output or the next value of a state, and nothing makes it"),
        (
            [Instruction(Op.ADD, "c2", ("c", "x"))],
            {"states": (State(C, "c2"),)},
            "m.step: c2 can reach [-327, 327] in 2 elements, and state c holds [-200, 200] in 2",
        ),
        (
            [Instruction(Op.CONCAT, "v", ("x", "x"))],
            {"states": (State(C, "v"),)},
            "m.step: v can reach [-127, 127] in 4 elements, and state c holds [-200, 200] in 2",
        ),
    ],
)
def test_what_is_not_proved_is_refused(instructions: list[Instruction], options: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError) as error:
        program(*instructions, **options)
    assert str(error.value) == message


def test_a_state_at_the_ends_of_its_range_is_accepted() -> None:
    limit = Instruction(Op.SATURATE, "c2", ("sum",), {"lo": -200, "hi": 200})
    made = program(Instruction(Op.ADD, "sum", ("c", "x")), limit, states=(State(C, "c2"),), outputs=("c2",))
    assert (made.length("sum"), made.bits("x"), made.bits("sum"), made.bits("c2")) == (2, 8, 16, 16)
    assert made.intervals["sum"].lo.tolist() == [-327, -327]


@pytest.mark.parametrize(
    ("lo", "hi", "bits"),
    [
        *((-128, 127, 8), (0, 128, 16), (-129, 0, 16), (-32768, 32767, 16)),
        *((0, 32768, 32), (-32769, 0, 32), (-(2**31), 2**31 - 1, 32)),
    ],
)
def test_storage_is_the_narrowest_that_holds_the_range(lo: int, hi: int, bits: int) -> None:
    assert storage_bits(lo, hi) == bits
    assert Port("p", 1, lo, hi).bits == bits


def test_a_constant_may_be_registered_twice_only_with_the_same_value() -> None:
    builder = ProgramBuilder()
    assert builder.constant("k", [1, 2]) == builder.constant("k", np.array([1, 2])) == "k"
    with pytest.raises(EdgeLstmError, match=r"^two different constants are called k$"):
        builder.constant("k", [1, 3])


def test_an_executor_leaves_every_intermediate() -> None:
    made = program(shifted("y", "x", 1), Instruction(Op.ADD, "z", ("y", "x")))
    values = Executor(made, NUMPY)({"x": np.array([5, -5], np.int32)})
    assert {name: value.tolist() for name, value in values.items()} == {"x": [5, -5], "y": [2, -3], "z": [7, -8]}


def test_a_program_reads_like_its_equations(make_quantized: Callable[..., QuantizedModel]) -> None:
    lowered = lower(make_quantized("i=hard,f=soft,o=hard", hidden=2, inputs=1, pooling="mean", steps=5))
    lines = str(lowered.step).splitlines()
    assert lines[:10] == [
        "program m.step",
        "  x: input (1,) in [-127, 127]",
        "  lstm0.h: state (2,) in [-127, 127]",
        "  lstm0.c: state (2,) in [-32768, 32767]",
        "  pool.p: state (2,) in [-635, 635]",
        "  lstm0.gain_v = const(value=lstm0.gain)",
        "  lstm0.x_gained = mul(x, lstm0.gain_v)",
        "  lstm0.v = concat(lstm0.x_gained, lstm0.h)",
        "  lstm0.a_i = matvec(lstm0.v, weights=lstm0.W_i, bias=lstm0.b_i)",
        "  lstm0.i = threshold(lstm0.a_i)",
    ]
    assert [line for line in lines if "lstm0.c" in line and "=" in line] == [
        "  lstm0.fc = mul(lstm0.f, lstm0.c)",
        "  lstm0.c_next = saturate(lstm0.sum, lo=-32768, hi=32767)",
        "  lstm0.t_shifted = shift_right_half_up(lstm0.c_next, n=9)",
    ]
    assert "  lstm0.sum = add(lstm0.fc_rounded, lstm0.ig)" in lines
    assert lines[-3:] == ["  lstm0.h <- lstm0.ot", "  lstm0.c <- lstm0.c_next", "  pool.p <- pool.p_next"]
    assert str(lowered.head).splitlines()[-2:] == [
        "  scores = matvec(pool.mean, weights=dense.D, bias=dense.d)",
        "  class_index = argmax(scores)",
    ]
