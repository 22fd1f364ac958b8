"""Text of C: templates, comments, string literals and initializers."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from edge_lstm.errors import require
from edge_lstm.fixedpoint import Integers

LINE = 110
"""Columns of a constant's line."""


def render(template: str, context: dict[str, Any]) -> str:
    """A template of this package, filled in."""
    jinja2 = require("jinja2", extra="sim", purpose="to write C")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edge_lstm.export"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return str(environment.get_template(template).render(context))


def comment(text: str) -> str:
    """Text of a user inside a comment: can't end it, begin another, or form a trigraph."""
    return re.sub(r"(?<=[*/?])(?=[*/?])", " ", "".join(c if c.isprintable() else "_" for c in text).replace("\\", "_"))


def literal(text: str) -> str:
    """Text of a user as a C string in UTF-8; what needs it is an octal escape, which ends after three digits."""
    plain = [chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode(errors="replace")]
    return '"' + "".join(plain) + '"'


def initializer(values: Integers) -> str:
    """What stands between the braces of an array of one or two dimensions."""
    if values.ndim == 2:
        return "\n" + "".join(f"{_wrapped(row, '    { ', '      ')} }},\n" for row in values)
    return "\n" + _wrapped(values, "    ", "    ") + ",\n"


def _wrapped(values: Integers, first: str, following: str) -> str:
    return textwrap.fill(", ".join(map(str, values.tolist())), LINE, initial_indent=first, subsequent_indent=following)
