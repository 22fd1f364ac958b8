"""The cores that have kernels, by what the preprocessor asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edge_lstm.export.c99_ops import Vector
from edge_lstm.export.kernels.dsp_loop import dsp_loop
from edge_lstm.export.kernels.dsp_skipping import prepared, skipping_operands
from edge_lstm.export.kernels.groups import RowGroup
from edge_lstm.export.kernels.loop import KernelLoop
from edge_lstm.export.kernels.prepared import Preparation, Prepared
from edge_lstm.export.kernels.selection import Operands, operands
from edge_lstm.export.kernels.v6m_loop import v6m_loop
from edge_lstm.export.kernels.v6m_selection import Columns, columns
from edge_lstm.program import Instruction, Program

Element = Callable[[str], str]
Loop = Callable[
    [Program, str, Sequence[Instruction], Mapping[str, Vector], Element, Preparation],
    KernelLoop | None,
]


@dataclass(frozen=True)
class Target:
    """Cores that compute loops alike.

    Attributes:
        name: ``PREFIX_NAME`` is 1 where code is compiled for them.
        cores: What the preprocessor knows of the cores, whether or not they are used.
        operands: How a group is computed; None where plain C has to.
        prepared: Of the vectors.
        loop: Writes a loop; None where there is no kernel for it.
    """

    name: str
    cores: str
    operands: Callable[[Program, RowGroup], Operands | None]
    prepared: Callable[[Operands, tuple[Vector, ...], int, int], Prepared]
    loop: Loop


TARGETS = (
    Target("DSP", "defined(__ARM_FEATURE_DSP)", operands, Prepared, dsp_loop),
    Target("V6M", "defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)", columns, Columns, v6m_loop),
)


def skipping(layers: Collection[str]) -> tuple[Target, ...]:
    """The targets, where these layers skip columns whose element is 0, if they can."""
    dsp, *others = TARGETS
    chosen = dsp.operands

    def operands_of(program: Program, group: RowGroup) -> Operands | None:
        return skipping_operands(program, group, layers) or chosen(program, group)

    return (replace(dsp, operands=operands_of, prepared=prepared, loop=partial(dsp_loop, layers=layers)), *others)
