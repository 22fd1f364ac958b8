"""The operations spelled in C99.

An operation that works unit by unit is an *expression* for element ``j`` in ``int32_t``; one that needs whole
vectors is a *statement*. Shifts are of ``int32_t``: the generated code asserts that ``>>`` is arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_lstm.fixedpoint import half
from edge_lstm.ops import Op


@dataclass(frozen=True)
class Vector:
    """A vector in memory.

    Attributes:
        c: C expression of its first element's array.
        length: Elements.
        bits: 8, 16 or 32 of each.
    """

    c: str
    length: int
    bits: int


@dataclass(frozen=True)
class Unit:
    """Element j of the result from element j of each argument: ``expression(prefix, *arguments, **attributes)``.

    Attributes:
        expression: Gives C text.
        whole: The arguments are whole vectors (``Vector``) all the same; the result's element j needs all of them.
    """

    expression: Callable[..., str]
    whole: bool = False


@dataclass(frozen=True)
class Whole:
    """A result that is made as a whole: ``statements(result, arguments, **attributes)`` gives lines of C."""

    statements: Callable[..., Sequence[str]]


def _matvec(prefix: str, v: Vector, *, weights: str, bias: str, bits: int = 8) -> str:
    helper = "dot" if bits == 8 else f"dot{bits}"
    return f"{prefix}_{helper}_s{v.bits}({weights}[j], {v.c}, {v.length}, {bias}[j])"


def _concat(out: Vector, vs: Sequence[Vector]) -> list[str]:
    starts = [sum(v.length for v in vs[:k]) for k in range(len(vs))]
    return [
        f"for (j = 0; j < {v.length}; j++) {out.c}[{f'{start} + ' if start else ''}j] = {v.c}[j];"
        for start, v in zip(starts, vs, strict=True)
    ]


def _argmax(out: Vector, vs: Sequence[Vector]) -> list[str]:
    (v,) = vs
    return [
        f"{out.c}[0] = 0;",
        f"for (j = 1; j < {v.length}; j++) if ({v.c}[j] > {v.c}[{out.c}[0]]) {out.c}[0] = j;",
    ]


def _max_element(out: Vector, vs: Sequence[Vector]) -> list[str]:
    """Through an ``int32_t``: the type of the result need not hold what is smaller than the largest."""
    (v,) = vs
    return [
        "{",
        f"    int32_t largest = {v.c}[0];",
        f"    for (j = 1; j < {v.length}; j++) if ({v.c}[j] > largest) largest = {v.c}[j];",
        f"    {out.c}[0] = (int{out.bits}_t)largest;",
        "}",
    ]


def _offset(v: str, lo: int) -> str:
    return f"{v} + {-lo}" if lo < 0 else f"{v} - {lo}"


def _lut_interp(prefix: str, v: str, *, table: str, lo: int, n: int) -> str:
    t0, t1 = (f"{table}[{_offset(f'({v} >> {n})', first)}]" for first in (lo, lo - 1))
    return f"{prefix}_interpolate({t0}, {t1}, {v} & {(1 << n) - 1}, {n})"


C99: Mapping[Op, Unit | Whole] = {
    Op.CONST: Unit(lambda _, *, value: f"{value}[j]"),
    Op.CONCAT: Whole(_concat),
    Op.MATVEC: Unit(_matvec, whole=True),
    Op.ADD: Unit(lambda _, v, w: f"{v} + {w}"),
    Op.SUB: Unit(lambda _, v, w: f"{v} - {w}"),
    Op.MAX: Unit(lambda p, v, w: f"{p}_max({v}, {w})"),
    Op.MUL: Unit(lambda _, v, w: f"{v} * {w}"),
    Op.SHIFT_RIGHT_FLOOR: Unit(lambda _, v, *, n: f"{v} >> {n}"),
    Op.SHIFT_RIGHT_HALF_UP: Unit(lambda _, v, *, n: f"({v} + {half(n)}) >> {n}"),
    Op.SATURATE: Unit(lambda p, v, *, lo, hi: f"{p}_saturate({v}, {lo}, {hi})"),
    Op.THRESHOLD: Unit(lambda _, v: f"{v} > 0"),
    Op.SELECT: Unit(lambda _, v, w: f"{v} ? {w} : 0"),
    Op.LUT: Unit(lambda _, v, *, table, lo: f"{table}[{_offset(v, lo)}]"),
    Op.LUT_INTERP: Unit(_lut_interp),
    Op.MAX_ELEMENT: Whole(_max_element),
    Op.ARGMAX: Whole(_argmax),
}


def identifier(value: str) -> str:
    """A value's name as a C identifier."""
    return value.replace(".", "_")


def bound(attributes: Mapping[str, int | str], prefix: str) -> dict[str, Any]:
    """Attributes with the C names of constants."""
    return {k: f"{prefix}_{identifier(v)}" if isinstance(v, str) else v for k, v in attributes.items()}
