"""A loop over units for cores with Thumb-1 alone: row groups by kernels, the rest by ``v6m_units``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge_lstm.export.c99_ops import Vector, identifier
from edge_lstm.export.kernels.choices import Choices
from edge_lstm.export.kernels.groups import row_groups
from edge_lstm.export.kernels.kernel import Words
from edge_lstm.export.kernels.loop import KernelLoop
from edge_lstm.export.kernels.prepared import Preparation
from edge_lstm.export.kernels.uses import Uses
from edge_lstm.export.kernels.v6m_rows import RESULTS, RowCode
from edge_lstm.export.kernels.v6m_selection import BEFORE, columns, kernel_of
from edge_lstm.export.kernels.v6m_units import Units
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program


def v6m_loop(
    program: Program,
    prefix: str,
    instructions: Sequence[Instruction],
    places: Mapping[str, Vector],
    element: Callable[[str], str],
    preparation: Preparation,
) -> KernelLoop | None:
    """As ``dsp_loop``."""
    groups = [(g, k) for g in row_groups(instructions) if (k := kernel_of(program, g)) is not None]
    if not groups:
        return None
    uses = Uses(program, instructions, places)
    values = {
        i.out: str(i.attributes["value"])
        for i in instructions
        if i.op is Op.CONST and uses.constant(i.out) is None and not uses.stored(i.out)
    }
    constants = list(values)
    codes, calls, words, head = list[RowCode](), list[str](), list[Words](), dict[str, None]()
    for group, kernel in groups:
        read = columns(program, group)
        assert read is not None
        vector = preparation.of(group, read).member
        mine, constants = (
            constants[: len(RESULTS) - len(group.products)],
            constants[len(RESULTS) - len(group.products) :],
        )
        code = RowCode(kernel, len(group.products), vector.length - BEFORE, len(mine))
        start, end = f"from_{vector.c}", f"{vector.c}_to_{code.turned}"
        head[f"const uint32_t *const {start} = scratch->{vector.c};"] = None
        if code.turned:
            head[f"const uint32_t *const {end} = scratch->{vector.c} + {BEFORE + code.turned};"] = None
        names = ", ".join(identifier(v) for v in (*(p.out for p in group.products), *mine))
        arguments = ", ".join([start, *([end] if code.turned else []), "words", names])
        calls += [f"int32_t {names};", f"{prefix.upper()}_{code.macro}({arguments});"]
        codes.append(code)
        words.append(kernel.pack(group.weights(program), group.biases(program)))
        words += [_column(program, values[c]) for c in mine]
    given = {p.out for g, _ in groups for p in g.products} | (set(values) - set(constants))
    units = Units(program, prefix, instructions, uses, Choices(program, instructions, uses), places, element)
    stream = f"{prefix}_{identifier(groups[0][0].products[0].out)}_rows"
    return KernelLoop(
        head=(f"const uint32_t *words = {stream};", *head),
        lines=(*calls, *units.lines(given)),
        codes=tuple(dict.fromkeys(codes)),
        stream=stream,
        words=np.concatenate(words, axis=1),
        tables={},
    )


def _column(program: Program, constant: str) -> Words:
    values = program.constants[constant].astype(np.int64)
    return np.asarray(values & 0xFFFFFFFF, np.uint32)[:, None]
