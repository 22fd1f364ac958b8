"""The operations spelled in PyTorch on int32 tensors: the forward pass of quantization-aware training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from edge_lstm.fixedpoint import Integers, shift_right_floor, shift_right_half_up
from edge_lstm.ops import Op


def tensor(constant: Integers) -> Tensor:
    """A Program's constant as an int32 tensor."""
    return torch.from_numpy(constant)


def _matvec(v: Tensor, *, weights: Tensor, bias: Tensor, **_storage: int) -> Tensor:
    # Exact in float64, as in ops.NUMPY; torch has no integer matrix product that is quick on a CPU.
    return (v.double() @ weights.double().T).int() + bias


def _lut(v: Tensor, *, table: Tensor, lo: int) -> Tensor:
    return table[(v - lo).long()]


def _lut_interp(v: Tensor, *, table: Tensor, lo: int, n: int) -> Tensor:
    entry = (shift_right_floor(v, n) - lo).long()
    t0, t1, r = table[entry], table[entry + 1], v & ((1 << n) - 1)
    rise: Tensor = shift_right_half_up((t1 - t0) * r, n)
    return t0 + rise


TORCH: Mapping[Op, Callable[..., Any]] = {
    Op.CONST: lambda *, value: value,
    Op.CONCAT: lambda *vs: torch.cat(vs, dim=-1),
    Op.MATVEC: _matvec,
    Op.ADD: lambda v, w: v + w,
    Op.SUB: lambda v, w: v - w,
    Op.MAX: torch.maximum,
    Op.MUL: lambda v, w: v * w,
    Op.SHIFT_RIGHT_FLOOR: lambda v, *, n: shift_right_floor(v, n),
    Op.SHIFT_RIGHT_HALF_UP: lambda v, *, n: shift_right_half_up(v, n),
    Op.SATURATE: lambda v, *, lo, hi: torch.clamp(v, lo, hi),
    Op.THRESHOLD: lambda v: (v > 0).int(),
    Op.SELECT: lambda v, w: w * (v != 0),
    Op.LUT: _lut,
    Op.LUT_INTERP: _lut_interp,
    Op.MAX_ELEMENT: lambda v: torch.amax(v, dim=-1, keepdim=True),
    Op.ARGMAX: lambda v: torch.argmax(v, dim=-1, keepdim=True).int(),
}
