"""What a loop over units is made of where kernels compute its row groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edge_lstm.export.kernels.dsp_columns import ColumnCode
from edge_lstm.export.kernels.kernel import Words
from edge_lstm.fixedpoint import Integers


class Code(Protocol):
    """The machine code of a row group, as a macro."""

    @property
    def macro(self) -> str:
        """Its name, without the model's."""

    @property
    def lines(self) -> list[str]:
        """Assembly."""


@dataclass(frozen=True)
class KernelLoop:
    """A loop for some cores.

    Attributes:
        head: Lines before the loop.
        lines: Its body.
        codes: Macros of its row groups.
        stream: Name of the array with its weights, biases and constants; of no words where there is nothing in it.
        words: (units, words) of the stream.
        tables: Name of the array to values, of tables that are made for it.
        columns: As ``tables``, of the weights of groups that skip columns.
        column_codes: Functions of these groups.
    """

    head: tuple[str, ...]
    lines: tuple[str, ...]
    codes: tuple[Code, ...]
    stream: str
    words: Words
    tables: Mapping[str, Integers]
    columns: Mapping[str, Integers] = field(default_factory=dict)
    column_codes: tuple[ColumnCode, ...] = ()
