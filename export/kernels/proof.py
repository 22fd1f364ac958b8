"""What must hold before a kernel may compute a row group, proved from the Program's ranges and weights.

Each function gives None, or a sentence that says what does not hold and by which figure.
"""

from __future__ import annotations

from edge_lstm.export.kernels.groups import RowGroup, weight_bits
from edge_lstm.program import Program

MOST_COLUMNS = 1020
"""Columns of which the prepared vector's bytes, 16 for 8 columns in parts, fit an immediate of 12 bits."""


def fits_registers(program: Program, group: RowGroup, bits: int = 8) -> str | None:
    """Weights of so many bits each, and not too many columns."""
    if (columns := program.length(group.vector)) > MOST_COLUMNS:
        return f"{group.vector} has {columns} elements; a kernel takes {MOST_COLUMNS}"
    limit = 2 ** (bits - 1) - 1
    return weights_within(program, group, -limit, limit, bits)


def weights_within(program: Program, group: RowGroup, lo: int, hi: int, bits: int = 8) -> str | None:
    """Weights of so many bits each, from lo to hi."""
    for product, weights in zip(group.products, group.weights(program), strict=True):
        if (found := weight_bits(product)) != bits:
            return f"{product.out} has weights of {found} bits; the kernel takes {bits}"
        if weights.min() < lo or weights.max() > hi:
            return f"{product.out} has weights from {weights.min()} to {weights.max()}; a kernel takes {lo} to {hi}"
    return None


def vector_within(program: Program, vector: str, limit: int) -> str | None:
    """Elements of a vector from -limit to limit."""
    found = program.intervals[vector]
    low, high = int(found.lo.min()), int(found.hi.max())
    if low < -limit or high > limit:
        return f"{vector} reaches [{low}, {high}]; the kernel takes [-{limit}, {limit}]"
    return None


def elements_within(program: Program, vector: str, limit: int) -> str | None:
    """The sum of a vector's elements, of whatever sign, strictly below limit."""
    found = program.intervals[vector]
    most = max(-int(found.lo.min()), int(found.hi.max())) * program.length(vector)
    return None if most < limit else f"{vector} has elements of up to {most} in sum; the kernel takes less than {limit}"


def sums_within(program: Program, group: RowGroup, limit: int) -> str | None:
    """Accumulators, with their bias, strictly between -limit and limit."""
    for product in group.products:
        found = program.intervals[product.out]
        low, high = int(found.lo.min()), int(found.hi.max())
        if low <= -limit or high >= limit:
            return f"{product.out} reaches [{low}, {high}]; the kernel takes less than {limit} either way"
    return None
