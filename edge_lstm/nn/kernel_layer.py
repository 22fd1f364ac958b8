"""A recurrent layer's forward pass, gradient and open gates by compiled kernels.

Tensors with steps are (steps, windows, length) to the outside, and lie in memory as (length, steps, windows): lanes are
windows, and the products with weights take what they are given as it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from edge_lstm.cells import Cell
from edge_lstm.nn import kernel_float
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.kernel_code import Code
from edge_lstm.nn.kernel_run import Kernel, kernel, stream, streamed, usable

if TYPE_CHECKING:
    from edge_lstm.nn.gradient import Parameters, Record


def sites(kind: Cell) -> tuple[str, ...]:
    """Names of a cell's matrix products: its blocks, a split one in two parts."""
    return tuple(n for k in kind.blocks for n in ((f"{k}.x", f"{k}.h") if k in kind.split else (k,)))


def fed(kind: Cell) -> tuple[str, ...]:
    """The matrix product of each block's recurrent weights."""
    return tuple(f"{k}.h" if k in kind.split else k for k in kind.blocks)


def given(kind: Cell) -> tuple[str, ...]:
    """The matrix product of each block's input weights."""
    return tuple(f"{k}.x" if k in kind.split else k for k in kind.blocks)


def outside(stored: Tensor) -> Tensor:
    """(length, steps, windows) as (steps, windows, length)."""
    return stored.permute(1, 2, 0)


def matrix(values: Tensor) -> Tensor:
    """(steps, windows, length) as (length, steps * windows); a view, however the values lie."""
    return values.permute(2, 0, 1).flatten(1)


def trace(
    kind: Cell, used: Parameters, x: Tensor, activations: Activations, initial: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """Results of the matrix products, states and what is projected, (steps, windows, length); None without a kernel.

    Args:
        kind: The cell.
        used: Parameters, without history.
        x: (steps, windows, inputs).
        activations: Gates and functions.
        initial: State name to (windows, length); zero where there is none.
    """
    run = _kernel("forward", kind, activations, x, lambda: kernel_float.forward(kind, activations))
    if run is None:
        return None
    (steps, windows, _), hidden, outputs = x.shape, len(used.b) // len(kind.blocks), used.R.shape[1]
    wx = stream(len(used.b), steps, windows, x.dtype)
    torch.addmm(used.b[:, None], used.W, matrix(x), out=wx.flatten(1))
    parts = dict(zip(kind.blocks, torch.split(wx, hidden), strict=True))
    for block, values in parts.items():
        activations.disturb(block, values)
    found = {s: stream(outputs if s == "h" else hidden, steps, windows, x.dtype) for s in kind.states}
    if kind.projected:
        found["m"] = stream(hidden, steps, windows, x.dtype)
    for site in sites(kind):
        block, _, part = site.partition(".")
        found[site] = stream(hidden, steps, windows, x.dtype) if part == "h" else parts[block]
    arrays: dict[str, Tensor | None] = {f"x.{k}": v for k, v in parts.items()}
    arrays |= {f"to {name}" if name in ("h", "c", "m") else f"to z.{name}": v for name, v in found.items()}
    arrays |= {s: v.detach().T.contiguous() for s, v in initial.items()}
    arrays |= _matrices(kind, used, transposed=False)
    run(_sizes(steps, windows, hidden, outputs), arrays, _slope(activations))
    return {name: outside(v) for name, v in found.items()}


class Gradients(NamedTuple):
    """What a way back through the steps gives.

    Attributes:
        given: Of the results of the matrix products with input weights, (steps, windows, blocks * hidden).
        fed: Of those with recurrent weights.
        h: Of h with what comes through later steps, (steps, windows, outputs); needed of a projected cell.
        operands: Site to what its recurrent weights were multiplied with, where that is not the last h.
        initial: Of the states before the first step.
        p: Of the peepholes, (blocks with peephole * hidden,).
    """

    given: Tensor
    fed: Tensor
    h: Tensor | None
    operands: Mapping[str, Tensor]
    initial: Mapping[str, Tensor]
    p: Tensor | None


def back(record: Record, gradients: Mapping[str, Tensor | None]) -> Gradients | None:
    """Back through the steps; None without a kernel.

    Args:
        record: Of the forward pass.
        gradients: Of the states after each step (steps, windows, length); None for zero.
    """
    kind, used = record.kind, record.used
    z, h = record.z, record.states["h"]
    names = tuple(record.penalties)
    run = _kernel(
        ("backward", names), kind, record.activations, h, lambda: kernel_float.backward(kind, record.activations, names)
    )
    if run is None:
        return None
    (steps, windows, outputs), hidden, rows = h.shape, len(used.b) // len(kind.blocks), len(kind.blocks)
    d_given = stream(rows * hidden, steps, windows, h.dtype)
    d_of = dict(zip(given(kind), torch.split(d_given, hidden), strict=True))
    d_of |= {f"{k}.h": stream(hidden, steps, windows, h.dtype) for k in kind.split}
    operands = {site: stream(hidden, steps, windows, h.dtype) for site in operand_sites(run)}
    final = {s: h.new_empty(outputs if s == "h" else hidden, windows) for s in kind.states}
    every = stream(outputs, steps, windows, h.dtype) if kind.projected else None
    d_p = h.new_empty(len(kind.peepholes), hidden)
    arrays: dict[str, Tensor | None] = {f"d.{s}": None if d is None else streamed(d) for s, d in gradients.items()}
    arrays |= {f"z.{site}": streamed(v) for site, v in z.items()}
    arrays |= {s: streamed(v) for s, v in record.states.items()}
    arrays |= {f"initial {s}": v.detach().T.contiguous() for s, v in record.initial.items()}
    arrays |= {f"to d.z.{site}": v for site, v in d_of.items()}
    arrays |= {f"to operand.{site}": v for site, v in operands.items()}
    arrays |= {f"final later.{s}": v for s, v in final.items()}
    arrays |= {f"sum d.p.{block}": d_p[k] for k, block in enumerate(kind.peepholes)}
    arrays |= {"to every": every, **_matrices(kind, used, transposed=True)}
    numbers = {**_slope(record.activations), **{f"penalty.{g}": w for g, w in record.penalties.items()}}
    run(_sizes(steps, windows, hidden, outputs), arrays, numbers, record.lengths)
    d_fed = outside(torch.cat([d_of[site] for site in fed(kind)]) if kind.split else d_given)
    return Gradients(
        outside(d_given),
        d_fed,
        None if every is None else outside(every),
        {site: outside(v) for site, v in operands.items()},
        {s: v.T for s, v in final.items()},
        d_p.flatten() if kind.peepholes else None,
    )


def rates(record: Record, gates: Collection[str]) -> dict[str, Tensor] | None:
    """Sum of each gate's value over the steps and windows, (hidden,); None without a kernel."""
    kind, h, names = record.kind, record.states["h"], tuple(gates)
    run = _kernel(
        ("rates", names), kind, record.activations, h, lambda: kernel_float.rates(kind, record.activations, names)
    )
    if run is None:
        return None
    hidden = len(record.used.b) // len(kind.blocks)
    found = {name: h.new_empty(hidden) for name in names}
    arrays: dict[str, Tensor | None] = {f"sum rate.{name}": v for name, v in found.items()}
    arrays |= {f"z.{site}": streamed(v) for site, v in record.z.items()}
    arrays |= {s: streamed(v) for s, v in record.states.items()}
    arrays |= {f"initial {s}": v.detach().T.contiguous() for s, v in record.initial.items()}
    arrays |= _matrices(kind, record.used, transposed=True)
    run(_sizes(h.shape[0], h.shape[1], hidden, h.shape[2]), arrays, _slope(record.activations), record.lengths)
    return found


def operand_sites(run: Kernel) -> list[str]:
    """Matrix products of something else than the last h."""
    prefix = "to operand."
    return [name.removeprefix(prefix) for name in run.names if name.startswith(prefix)]


def _kernel(
    purpose: Hashable, kind: Cell, activations: Activations, like: Tensor, make: Callable[[], Code]
) -> Kernel | None:
    if not usable(like):
        return None
    modes = tuple(activations.mode(gate) for gate in kind.gates)
    equations = (kind.step, kind.blocks, kind.split, kind.states, tuple(kind.functions.items()), kind.projected)
    key = (purpose, kind.name, equations, modes, activations.squash_mode, activations.slope is not None)
    return kernel(key, make, like.dtype)


def _sizes(steps: int, windows: int, hidden: int, outputs: int) -> dict[str, int]:
    return {"steps": steps, "windows": windows, "hidden": hidden, "outputs": outputs}


def _slope(activations: Activations) -> dict[str, float]:
    """Of annealed gates, or of the derivative that steps are given."""
    return {"slope": activations.surrogate_slope if activations.slope is None else activations.slope}


def _matrices(kind: Cell, used: Parameters, *, transposed: bool) -> dict[str, Tensor | None]:
    """Recurrent weights, and vectors, by the names of a kernel."""
    hidden = len(used.b) // len(kind.blocks)
    recurrent = dict(zip(kind.blocks, torch.split(used.R, hidden), strict=True))
    if transposed:
        found: dict[str, Tensor | None] = {f"R'.{k}": v.T.contiguous() for k, v in recurrent.items()}
    else:
        found = {f"R.{k}": v.contiguous() for k, v in recurrent.items()}
    if used.P is not None:
        found |= {"P'": used.P.T.contiguous()} if transposed else {"P": used.P.contiguous()}
    for prefix, packed, names in (("rb", used.rb, kind.split), ("p", used.p, kind.peepholes)):
        if packed is not None:
            found |= {f"{prefix}.{k}": v for k, v in zip(names, torch.split(packed.contiguous(), hidden), strict=True)}
    return found
