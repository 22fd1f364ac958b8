"""Numbers as readers see them: with thousands separators and units, and never rounded to a claim that is not so."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def number(value: float) -> str:
    """With thousands separators: integers whole, others with 4 digits or so; as a power of 10 from 10^15.

    >>> number(1234567), number(21345.25), number(344.75), number(0.02134), number(-2e30)
    ('1,234,567', '21,345', '344.8', '0.0213', '-2e+30')
    """
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    if float(value).is_integer():
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.3g}" if size < 1 else f"{value:.2f}"


def percent(share: float) -> str:
    """A share as a percentage with one decimal; 0 and 100 only where exact.

    >>> percent(0.975), percent(1.0), percent(0.99999), percent(0.0001)
    ('97.5 %', '100 %', '> 99.9 %', '< 0.1 %')
    """
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    if share > 0.9995:
        return "> 99.9 %"
    if share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of shares, in percentage points without the unit.

    >>> points(0.0126)
    '1.3'
    """
    return f"{100 * share:.1f}"


def explained(r2: float, spread: float | None = None) -> str:
    """R², the share of variance explained, with three decimals and its spread; 1 only where exact.

    >>> explained(0.5333), explained(0.75, 0.0707), explained(0.99999), explained(1.0), explained(-2.5)
    ('0.533', '0.750 ± 0.071', '> 0.999', '1', '-2.500')
    """
    text = "1" if r2 == 1 else "> 0.999" if r2 > 0.9995 else number(r2) if r2 < -10 else f"{r2:.3f}"
    if spread is None:
        return text
    return f"{text} ± {number(spread) if spread > 10 else f'{spread:.3f}'}"


def plural(count: float, noun: str, many: str = "") -> str:
    """A count with its noun.

    >>> plural(1, "seed"), plural(1200, "class", "classes")
    ('1 seed', '1,200 classes')
    """
    return f"{number(count)} {noun if count == 1 else many or noun + 's'}"


def unit(text: str) -> str:
    """A unit with its powers raised.

    >>> unit("m/s^2")
    'm/s²'
    """
    return text.replace("^2", "²").replace("^3", "³")


def listing(items: Sequence[str]) -> str:
    """Items as a phrase.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def short(text: str, length: int = 28) -> str:
    """Text for a figure: one line of printable characters, cut to ``length`` with an ellipsis.

    >>> short("a\\nb"), short("walking upstairs", 8)
    ('a b', 'walking…')
    """
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= length else f"{line[: length - 1]}…"


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and the standard deviation of the sample (n - 1); None for one value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return math.fsum(values) / len(values), spread
