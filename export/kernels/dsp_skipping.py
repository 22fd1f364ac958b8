"""Which row groups skip columns whose element is 0, and the list of the others.

Worth it where most elements are 0: of a state that a hard gate makes, ``SELECT`` by a ``THRESHOLD``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edge_lstm.export.c99_ops import Vector
from edge_lstm.export.kernels.dsp_columns import BLOCK_WORDS, COLUMN_BYTES, SUM_END, ColumnCode, ColumnPart, rows_of
from edge_lstm.export.kernels.groups import MOST_ROWS, RowGroup
from edge_lstm.export.kernels.kernel import Kernel
from edge_lstm.export.kernels.prepared import Prepared
from edge_lstm.export.kernels.proof import MOST_COLUMNS, sums_within, weights_within
from edge_lstm.export.kernels.selection import Operand, Operands, made_of
from edge_lstm.ops import Op
from edge_lstm.program import Instruction, Program

WEIGHT_MAX = 127
ELEMENT_BITS = (8, 16)
LISTED = Kernel("listed", 0, lambda weights: weights.astype("uint32"), lambda _: [], columns=1, vector_words=2)
DENSE = Kernel("dense", 0, lambda weights: weights.astype("uint32"), lambda _: [], columns=1, vector_words=0)
"""How an operand is read; ``dsp_columns`` multiplies both."""


def skipping_refusal(program: Program, group: RowGroup) -> str | None:
    """Why a group can't skip columns, or None."""
    parts = made_of(program, group.vector)
    gated = [part for part in parts if is_gated(program, part)]
    if not gated:
        return f"no hard gate makes elements of {group.vector} 0"
    if len(dense := [part for part in parts if part not in gated]) > 1:
        return f"{group.vector} is made of {len(dense)} vectors that no hard gate makes 0; the kernel takes 1"
    states = {s.port.name for s in program.states}
    for part in parts:
        if part in states and part not in gated:
            return f"{part} changes while it is read"
        if (bits := program.bits(part)) not in ELEMENT_BITS:
            return f"{part} has {bits} bits; the kernel takes {' or '.join(map(str, ELEMENT_BITS))}"
    reading = [i for i in program.instructions if i.op is Op.MATVEC and i.args[0] == group.vector]
    if len(reading) > len(group.products):
        return f"{group.vector} is read by {len(reading)} products; the kernel takes {MOST_ROWS}"
    if (columns := program.length(group.vector)) > MOST_COLUMNS:
        return f"{group.vector} has {columns} elements; a kernel takes {MOST_COLUMNS}"
    return weights_within(program, group, -WEIGHT_MAX, WEIGHT_MAX) or sums_within(program, group, SUM_END)


def is_gated(program: Program, value: str) -> bool:
    """Whether a hard gate makes a vector: a state, or what is to be one."""
    following = {s.port.name: s.next for s in program.states}.get(value, value)
    made = {i.out: i for i in program.instructions}
    chosen = made.get(following)
    if chosen is None or chosen.op is not Op.SELECT:
        return False
    choice: Instruction | None = made.get(chosen.args[0])
    if choice is not None and choice.op is Op.SUB:
        choice = made.get(choice.args[1])
    return choice is not None and choice.op is Op.THRESHOLD


def skipping_operands(program: Program, group: RowGroup, layers: Collection[str]) -> Operands | None:
    """The parts of a group's vector where its layer is one of those that skip columns, and can; else None."""
    if group.products[0].out.partition(".")[0] not in layers or skipping_refusal(program, group) is not None:
        return None
    parts = made_of(program, group.vector)
    return tuple(Operand(part, LISTED if is_gated(program, part) else DENSE) for part in parts)


def is_skipping(found: Operands) -> bool:
    """Whether columns of these operands are skipped."""
    return any(operand.kernel is LISTED for operand in found)


@dataclass(frozen=True)
class Listed(Prepared):
    """Memory of a group that skips columns: sums of a block of units, and the list behind them."""

    @property
    def listed(self) -> list[Vector]:
        """Vectors of which the elements that are not 0 are listed."""
        return [s for o, s in zip(self.operands, self.sources, strict=True) if o.kernel is LISTED]

    @property
    def dense(self) -> Vector | None:
        """The vector that is read as it is."""
        return next((s for o, s in zip(self.operands, self.sources, strict=True) if o.kernel is DENSE), None)

    @property
    def member(self) -> Vector:
        """Of the scratch structure. The list ends with an entry of two words."""
        return Vector(f"prepared{self.slot}", BLOCK_WORDS + 2 * sum(s.length for s in self.listed) + 2, 32)

    def lines(self, prefix: str) -> list[str]:
        """C that makes the list."""
        made, columns = f"scratch->{self.member.c} + {BLOCK_WORDS}", 0
        for source in self.listed:
            at = f"{COLUMN_BYTES * columns}"
            made = f"{prefix}_nonzero_s{source.bits}({source.c}, {made}, {source.length}, {at})"
            columns += source.length
        return [f"{made};"]

    def part(self, group: RowGroup, units: int, sign_only: Collection[str]) -> ColumnPart:
        """How a group is computed, of which some products are asked for their sign alone."""
        order: dict[Kernel, list[int]] = {DENSE: [], LISTED: []}
        first = 0
        for operand, source in zip(self.operands, self.sources, strict=True):
            order[operand.kernel] += range(first, first + source.length)
            first += source.length
        dense = self.dense
        return ColumnPart(
            group,
            units,
            ColumnCode(len(order[DENSE]), 8 if dense is None else dense.bits, len(order[LISTED])),
            tuple(rows_of([p.out in sign_only for p in group.products])),
            (*order[DENSE], *order[LISTED]),
            f"scratch->{self.member.c}",
            "0" if dense is None else dense.c,
        )


def prepared(found: Operands, sources: tuple[Vector, ...], first: int, slot: int) -> Prepared:
    """A vector in the form that its kernels read."""
    return (Listed if is_skipping(found) else Prepared)(found, sources, first, slot)
