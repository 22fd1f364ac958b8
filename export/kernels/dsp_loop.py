"""A loop over units for cores with the DSP extension: row groups by kernels, the rest by ``dsp_units``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_lstm.export.c99_ops import Vector, identifier
from edge_lstm.export.kernels.choices import Choices
from edge_lstm.export.kernels.dsp_rows import MOST_CONSTANTS, RowCode
from edge_lstm.export.kernels.dsp_scales import Scale, scales
from edge_lstm.export.kernels.dsp_skipping import Listed, is_skipping, skipping_operands
from edge_lstm.export.kernels.dsp_units import Units, accumulator
from edge_lstm.export.kernels.groups import RowGroup, row_groups
from edge_lstm.export.kernels.kernel import Words
from edge_lstm.export.kernels.loop import KernelLoop
from edge_lstm.export.kernels.prepared import Preparation, Prepared
from edge_lstm.export.kernels.selection import operands
from edge_lstm.export.kernels.uses import Uses
from edge_lstm.fixedpoint import Integers
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program


def dsp_loop(
    program: Program,
    prefix: str,
    instructions: Sequence[Instruction],
    places: Mapping[str, Vector],
    element: Callable[[str], str],
    preparation: Preparation,
    layers: Collection[str] = (),
) -> KernelLoop | None:
    """Write a loop, or None where no kernel fits any of its groups.

    Args:
        program: The loop is of.
        prefix: Of the model's names.
        instructions: Of the loop.
        places: Values that are wanted in memory, and where.
        element: C of element j of a value, in memory or made in the loop.
        preparation: Of the vectors.
        layers: That skip columns where they can.
    """
    every = [(g, skipping_operands(program, g, layers) or operands(program, g)) for g in row_groups(instructions)]
    found = [(g, o) for g, o in every if o is not None]
    groups = [(g, o) for g, o in found if not is_skipping(o)]
    if not found:
        return None
    uses = Uses(program, instructions, places)
    choices = Choices(program, instructions, uses)
    lessened = choices.only_signs([p.out for g, _ in found for p in g.products])
    length = program.length(instructions[0].out)
    skipping = [
        listed.part(g, length, lessened) for g, o in found if isinstance(listed := preparation.of(g, o), Listed)
    ]
    accumulators = {p.out: o[0].kernel.scale for g, o in groups for p in g.products}
    accumulators |= {p.out: r.scale for s in skipping for p, r in zip(s.group.products, s.rows, strict=True)}
    requantized = scales(program, instructions, uses, accumulators)
    loaded = _loaded(program, instructions, uses, requantized, MOST_CONSTANTS * max(1, len(groups)))
    requantized = {out: s for out, s in requantized.items() if s.constant in loaded}
    units = Units(
        program=program,
        prefix=prefix,
        instructions=instructions,
        uses=uses,
        choices=choices,
        places=places,
        element=element,
        accumulators=accumulators,
        lessened=lessened,
        scales=requantized,
        loaded=frozenset(loaded),
    )
    body = units.lines()
    stream = f"{prefix}_{identifier(found[0][0].products[0].out)}_stream"
    parts = [_Part(g, preparation.of(g, o)) for g, o in groups]
    names = list(loaded)
    codes, calls, words = [], list[str](), list[Words]()
    for n, part in enumerate(parts):
        mine = names[MOST_CONSTANTS * (len(parts) - 1 - n) :][:MOST_CONSTANTS]
        code = RowCode(len(part.group.products), part.prepared.segments, len(mine))
        values = ", ".join([*(accumulator(p.out) for p in part.group.products), *map(identifier, mine)])
        calls += [f"int32_t {values};", f"{prefix.upper()}_{code.macro}({part.pointer}, words, {values});"]
        codes.append(code)
        words += [part.words(program, lessened), *(_column(loaded[c]) for c in mine)]
    if not parts:
        calls += [f"const int32_t {identifier(c)} = (int32_t)*words++;" for c in names]
        words += [_column(loaded[c]) for c in names]
    return KernelLoop(
        head=(
            *([f"const uint32_t *words = {stream};"] if words else []),
            *(line for part in skipping for line in part.head(prefix)),
            *(
                f"const uint32_t *{p} = scratch->{m};"
                for p, m in {q.pointer: q.prepared.member.c for q in parts}.items()
            ),
            *(
                f"const int{h.bits}_t *{h.c} = {h.table}{f' + {h.offset}' if h.offset else ''};"
                for h in units.held.values()
            ),
            *(f"{prefix.upper()}_HOLD({h.c});" for h in units.held.values()),
        ),
        lines=(*(line for part in skipping for line in part.lines(prefix)), *calls, *body),
        codes=tuple(dict.fromkeys(codes)),
        stream=stream,
        words=np.concatenate(words, axis=1) if words else np.zeros((length, 0), np.uint32),
        tables=units.tables,
        columns={f"{prefix}_{part.columns}": part.words(program) for part in skipping},
        column_codes=tuple(dict.fromkeys(part.code for part in skipping)),
    )


@dataclass(frozen=True)
class _Part:
    """A group with its vector."""

    group: RowGroup
    prepared: Prepared

    @property
    def pointer(self) -> str:
        """C of the pointer to the prepared vector."""
        return f"from_{self.prepared.member.c}"

    def words(self, program: Program, lessened: Collection[str]) -> Words:
        """(units, words) of the biases and the weights."""
        biases = [
            (b.astype(np.int64) << self.prepared.scale) - (p.out in lessened)
            for p, b in zip(self.group.products, self.group.biases(program), strict=True)
        ]
        rows = np.stack([self.prepared.packed(program, w) for w in self.group.weights(program)], axis=2)
        start = np.stack(biases, axis=1) & 0xFFFFFFFF
        return np.concatenate([start.astype(np.uint32), rows.reshape(len(rows), -1)], axis=1)


def _loaded(
    program: Program, instructions: Sequence[Instruction], uses: Uses, requantized: Mapping[str, Scale], most: int
) -> dict[str, Integers]:
    """Constants that go into the stream, as they are needed."""
    shifted = {s.constant: s.words for s in requantized.values()}
    found = {}
    for i in instructions:
        if i.op is Op.CONST and uses.constant(i.out) is None and not uses.stored(i.out):
            found[i.out] = shifted.get(i.out, program.constants[str(i.attributes["value"])])
    # What does not fit is read from its own array; multipliers that are shifted come first, for they have none.
    order = sorted(found, key=lambda c: c not in shifted)
    return {c: found[c] for c in order[:most]}


def _column(values: Integers) -> Words:
    return np.asarray(values.astype(np.int64) & 0xFFFFFFFF, np.uint32)[:, None]
