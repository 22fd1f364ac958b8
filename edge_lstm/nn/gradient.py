"""Back-propagation through time of an LSTM layer whose forward pass was done elsewhere.

The forward values may come from the float equations or from the integer Program: the gradient is that of the
float equations, linearised at those values (straight-through estimator, Bengio et al. 2013).

For one step, with dh and dc the gradients that reach h and c from later steps and from the output:

    dc  += dh o (1 - t^2)
    dz_o = dh t  o'        dz_f = dc c_prev f'
    dz_i = dc g  i'        dz_g = dc i (1 - g^2)
    dc_prev = dc f         dh_prev = sum_k R_k^T dz_k

where o', f' and i' are the derivatives of the gates, or their surrogates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Record:
    """What a forward pass computed, in real units; each is (steps, windows, hidden).

    Attributes:
        values: i, f, o, g, t, c, h by name.
        slopes: Derivative, or its surrogate, of each gate.
        W: (blocks * hidden, inputs) input weights that were used.
        R: (blocks * hidden, hidden) recurrent weights that were used.
    """

    values: dict[str, Tensor]
    slopes: dict[str, Tensor]
    W: Tensor
    R: Tensor


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, R: Tensor, b: Tensor, record: Record) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(x)
        ctx.record = record
        return record.values["h"].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        (x,) = ctx.saved_tensors
        record: Record = ctx.record
        dz = _through_time(record, gradients[0])
        h = record.values["h"]
        h_before = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
        flat = dz.flatten(0, 1)
        return dz @ record.W, flat.T @ x.flatten(0, 1), flat.T @ h_before.flatten(0, 1), flat.sum(0), None


def _through_time(record: Record, d_out: Tensor) -> Tensor:
    """Gradients of the pre-activations, (steps, windows, 4 * hidden), blocks in the order i, f, g, o."""
    v, slopes = record.values, record.slopes
    c_before = torch.cat([torch.zeros_like(v["c"][:1]), v["c"][:-1]])
    to_c = v["o"] * (1 - v["t"] ** 2)
    from_c = torch.stack([v["g"] * slopes["i"], c_before * slopes["f"], v["i"] * (1 - v["g"] ** 2)], dim=2)
    from_h = v["t"] * slopes["o"]
    steps, windows, hidden = d_out.shape
    dz = torch.empty(steps, windows, 4, hidden, dtype=d_out.dtype)
    dh, dc = torch.zeros_like(d_out[0]), torch.zeros_like(d_out[0])
    for t in reversed(range(steps)):
        dh = dh + d_out[t]
        dc = torch.addcmul(dc, dh, to_c[t])
        torch.mul(from_c[t], dc[:, None], out=dz[t, :, :3])
        torch.mul(from_h[t], dh, out=dz[t, :, 3])
        dh = dz[t].flatten(1) @ record.R
        dc = dc * v["f"][t]
    return dz.flatten(2)


def replay(x: Tensor, W: Tensor, R: Tensor, b: Tensor, record: Record) -> Tensor:
    """The recorded h, with gradients for the input and the parameters.

    Args:
        x: (steps, windows, inputs).
        W: (4 * hidden, inputs) parameters, blocks in the order i, f, g, o.
        R: (4 * hidden, hidden).
        b: (4 * hidden,).
        record: Of the forward pass.

    Returns:
        (steps, windows, hidden).
    """
    result: Tensor = _Replay.apply(x, W, R, b, record)  # type: ignore[no-untyped-call]
    return result


class StraightThrough(torch.autograd.Function):
    """``StraightThrough.apply(surrogate, value)``: the value forward, the surrogate's gradient backward."""

    @staticmethod
    def forward(ctx: Any, surrogate: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None
