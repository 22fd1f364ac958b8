"""Back-propagation through time of a recurrent layer whose forward pass was done elsewhere.

The forward values may come from the float equations or from the integer Program: the gradient is that of the cell's
float equations, linearised at the recorded pre-activations and states (straight-through estimator, Bengio et al. 2013).

Between its matrix products a cell works element by element. So one evaluation of its equations, on all steps at once
and with the recorded values as leaves, gives by automatic differentiation every partial derivative as a vector, and
what remains to be done step by step is

    d z     = sum over states s   d s'  ds'/dz                     for each pre-activation z
    d z    += d v  dv/dz,   d v = R^T d z_v                        where a product's operand v is not the last h
    d c     = sum over s          d s'  ds'/dc
    d h     = sum over s          d s'  ds'/dh  +  sum over z  R_z^T d z

where d c and d h begin with what is given from outside for the states after the step, and end as the gradients of the
states before the first one.

On a CPU this is compiled (``kernel_float.backward``); what is here serves everywhere, and is the reference.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from edge_lstm.cells import Cell
from edge_lstm.nn import kernel_layer
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.kernel_layer import fed, given, matrix


@dataclass(frozen=True)
class Parameters:
    """Of a layer; rows are the cell's blocks, one after the other.

    Attributes:
        W: (blocks * hidden, inputs).
        R: (blocks * hidden, outputs).
        b: (blocks * hidden,).
        rb: (split blocks * hidden,), or None.
        p: (blocks with peephole * hidden,), or None.
        P: (outputs, hidden), or None.
    """

    W: Tensor
    R: Tensor
    b: Tensor
    rb: Tensor | None = None
    p: Tensor | None = None
    P: Tensor | None = None

    def detached(self) -> Parameters:
        """The values without their history."""
        return Parameters(*(None if v is None else v.detach() for v in self.tuple()))  # type: ignore[arg-type]

    def tuple(self) -> tuple[Tensor | None, ...]:
        """In the order of the attributes."""
        return self.W, self.R, self.b, self.rb, self.p, self.P


@dataclass(frozen=True)
class Record:
    """What a forward pass computed, in real units; each is (steps, windows, length).

    Attributes:
        kind: The cell.
        activations: Its functions.
        used: The parameters that were used, quantized or not.
        z: Result of each matrix product: name of a block, and of a split one ``<block>.x`` and ``<block>.h``.
        states: h and c after each step.
        m: What was projected, of a projected cell.
        initial: State name to (windows, length) before the first step; zero where there is none.
        penalties: Gate name to the gradient that each value of the gate has beside that of the states.
        lengths: (windows,) steps of each window, beyond which there are no penalties; None: all have all.
    """

    kind: Cell
    activations: Activations
    used: Parameters
    z: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    m: Tensor | None = None
    initial: Mapping[str, Tensor] = field(default_factory=dict)
    penalties: Mapping[str, float] = field(default_factory=dict)
    lengths: Tensor | None = None

    @property
    def inside(self) -> Tensor:
        """1 where a window has a step, else 0, (steps, windows, 1)."""
        h = self.states["h"]
        if self.lengths is None:
            return torch.ones_like(h[..., :1])
        steps = torch.arange(len(h), device=self.lengths.device)
        return (steps[:, None] < self.lengths).to(h.dtype)[..., None]

    @property
    def count(self) -> float:
        """Units times steps of windows."""
        hidden = len(self.used.b) // len(self.kind.blocks)
        return float(self.inside.sum()) * hidden

    def before(self, state: str) -> Tensor:
        """A state before each step, (steps, windows, length)."""
        after = self.states[state]
        first = self.initial[state][None] if state in self.initial else torch.zeros_like(after[:1])
        return torch.cat([first, after[:-1]])


@dataclass
class _Leaves:
    """``cells.Machine`` on leaves: every matrix product's result is one, and so is every peephole's weight."""

    record: Record
    values: dict[str, Tensor]
    operands: dict[str, Tensor | None] = field(default_factory=dict)
    gates: dict[str, Tensor] = field(default_factory=dict)

    def affine(self, block: str, operand: Tensor | None = None) -> Tensor:
        self.operands[block] = operand
        return self.values[block]

    def inputs(self, block: str) -> Tensor:
        return self.values[f"{block}.x"]

    def recurrent(self, block: str) -> Tensor:
        self.operands[f"{block}.h"] = None
        return self.values[f"{block}.h"]

    def peephole(self, block: str, c: Tensor) -> Tensor:
        return self.values[f"p.{block}"] * c

    def gate(self, name: str, z: Tensor) -> Tensor:
        self.gates[name] = self.record.activations.gate(name, z, differentiable=True)
        return self.gates[name]

    def squash(self, name: str, v: Tensor) -> Tensor:
        return self.record.activations.squash(name, v)

    def state(self, name: str, v: Tensor) -> Tensor:  # noqa: ARG002
        return v

    def project(self, v: Tensor) -> Tensor:
        return v


class _Linearized:
    """The partial derivatives of one layer's steps.

    Attributes:
        names: Of the leaves: pre-activations first, then peepholes, then states.
        of_states: (steps, states, leaves, windows, hidden).
        of_operands: Site to the derivatives of its operand (steps, leaves, windows, hidden).
        plain: Sites whose operand is the last h.
        penalty: Gradient of the penalties by the leaves (steps, leaves, windows, hidden); None where there are none.
    """

    def __init__(self, record: Record) -> None:
        kind = record.kind
        last = {s: record.before(s) for s in record.states}
        if kind.projected:
            last.pop("h")  # of another length: no equation uses it element by element
        leaves = dict(record.z)
        if record.used.p is not None:
            rows = record.used.p.view(len(kind.peepholes), 1, 1, -1)
            shape = next(iter(record.z.values())).shape
            leaves |= {f"p.{k}": row.expand(shape) for k, row in zip(kind.peepholes, rows, strict=True)}
        leaves |= {f"last.{s}": v for s, v in last.items()}
        with torch.enable_grad():
            leaves = {name: value.detach().clone().requires_grad_() for name, value in leaves.items()}
            machine = _Leaves(record, leaves)
            following = kind.step(machine, {s: leaves[f"last.{s}"] for s in last} | _absent(kind))
            operands = {n: v for n, v in machine.operands.items() if v is not None}
            values = [*(following[s] for s in kind.states), *operands.values()]
            found = [
                torch.autograd.grad(v.sum(), list(leaves.values()), retain_graph=True, allow_unused=True)
                for v in values
            ]
            of_gates = [(p * record.inside * machine.gates[g]).sum() for g, p in record.penalties.items()]
            penalty = torch.autograd.grad(of_gates, list(leaves.values()), allow_unused=True) if of_gates else ()
        needed = [
            k
            for k, name in enumerate(leaves)
            if name in record.z or any(g[k] is not None for g in (*found, penalty) if g)
        ]
        zero = torch.zeros_like(values[0])
        partials = [torch.stack([zero if (d := g[k]) is None else d for k in needed], dim=1) for g in found]
        self.names = [name for k, name in enumerate(leaves) if k in needed]
        self.of_states = torch.stack(partials[: len(kind.states)], dim=1).detach()
        self.operands = {n: v.detach() for n, v in operands.items()}
        self.of_operands = dict(zip(operands, partials[len(kind.states) :], strict=True))
        self.plain = [n for n, v in machine.operands.items() if v is None]
        of_penalty = [zero if (d := penalty[k]) is None else d for k in needed] if penalty else []
        self.penalty = torch.stack(of_penalty, dim=1) if of_penalty else None


def _absent(kind: Cell) -> dict[str, Any]:
    return {"h": None} if kind.projected else {}


class _Replay(torch.autograd.Function):
    """Of the cell's states, in their order: a value for each before the first step, or None; to all that it was."""

    @staticmethod
    def forward(ctx: Any, record: Record, x: Tensor, *others: Tensor | None) -> tuple[Tensor, ...]:  # noqa: ARG004
        ctx.save_for_backward(x)
        ctx.record = record
        ctx.set_materialize_grads(False)
        return tuple(record.states[s].detach() for s in record.kind.states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        (x,) = ctx.saved_tensors
        record: Record = ctx.record
        kind, used = record.kind, record.used
        by_state = dict(zip(kind.states, gradients, strict=True))
        found = kernel_layer.back(record, by_state) or _by_torch(record, by_state)
        of_x, of_z, every, operands, d_initial, d_p = found
        hidden = len(used.b) // len(kind.blocks)
        d_r = [_recurrent(record, z, operands.get(site)) for site, z in _fed(kind, of_z, hidden, operands)]
        d_rb = None
        if kind.split:
            split = [
                z
                for block, z in zip(kind.blocks, torch.split(of_z, hidden, dim=-1), strict=True)
                if block in kind.split
            ]
            d_rb = torch.cat([matrix(z).sum(1) for z in split])
        d_proj = None
        if record.m is not None:
            assert every is not None
            d_proj = matrix(every) @ matrix(record.m).T
        rows = matrix(of_x)
        d_parameters = (rows @ matrix(x).T, torch.cat(d_r), rows.sum(1), d_rb, d_p, d_proj)
        d_x = None
        if ctx.needs_input_grad[1]:
            d_x = (used.W.T @ rows).view(-1, *x.shape[:2]).permute(1, 2, 0)
        wanted = ctx.needs_input_grad[2:]
        d_before = (d_initial[s] if needed else None for s, needed in zip(kind.states, wanted, strict=False))
        return None, d_x, *d_before, *d_parameters


def _fed(kind: Cell, of_z: Tensor, hidden: int, operands: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The gradients that belong to rows of the recurrent weights: of all at once where all are given h."""
    if not operands:
        return [("", of_z)]
    return list(zip(fed(kind), torch.split(of_z, hidden, dim=-1), strict=True))


def _recurrent(record: Record, of_z: Tensor, operand: Tensor | None) -> Tensor:
    """Gradient of recurrent weights by those of their products with the last h, or with an operand."""
    if operand is not None:
        return matrix(of_z) @ matrix(operand).T
    found = matrix(of_z[1:]) @ matrix(record.states["h"][:-1]).T
    return found + of_z[0].T @ record.initial["h"] if "h" in record.initial else found


def _by_torch(record: Record, gradients: Mapping[str, Tensor | None]) -> kernel_layer.Gradients:
    """``kernel_layer.back`` by tensors of all steps, and a loop through them."""
    kind, lines = record.kind, _Linearized(record)
    d_h = gradients["h"]
    given_h = torch.zeros_like(record.states["h"]) if d_h is None else d_h
    dz, dh, d_initial = _through_time(record, lines, given_h, gradients.get("c"))

    def of(names: tuple[str, ...]) -> Tensor:
        return torch.cat([dz[:, lines.names.index(name)] for name in names], dim=-1)

    d_p = torch.cat([of((f"p.{k}",)).sum((0, 1)) for k in kind.peepholes]) if kind.peepholes else None
    return kernel_layer.Gradients(of(given(kind)), of(fed(kind)), dh, lines.operands, d_initial, d_p)


def _through_time(
    record: Record, lines: _Linearized, d_out: Tensor, d_cells: Tensor | None
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Back through the steps.

    Args:
        record: Of the forward pass.
        lines: Its partial derivatives.
        d_out: Gradient of h after each step, (steps, windows, outputs).
        d_cells: Of c after each step, (steps, windows, hidden); None for zero.

    Returns:
        Gradients of all leaves (steps, leaves, windows, hidden), of h (steps, windows, outputs) with what comes
        through later steps, and of the states before the first step by name.
    """
    kind, used, names = record.kind, record.used, lines.names
    hidden = lines.of_states.shape[-1]
    rows = {
        f"{k}.h" if k in kind.split else k: r for k, r in zip(kind.blocks, torch.split(used.R, hidden), strict=True)
    }
    plain = [names.index(n) for n in lines.plain]
    together = torch.cat([rows[n] for n in lines.plain]) if plain else used.R[:0]
    first = plain == list(range(len(plain)))
    steps, windows, _ = d_out.shape
    dz = d_out.new_empty(steps, len(names), windows, hidden)
    every = torch.empty_like(d_out)
    dh, dc = torch.zeros_like(d_out[0]), d_out.new_zeros(windows, hidden)
    for t in reversed(range(steps)):
        dh = dh + d_out[t]
        if d_cells is not None:
            dc = dc + d_cells[t]
        every[t] = dh
        to_h = dh if used.P is None else dh @ used.P
        of_states = torch.stack([to_h, dc])[: len(kind.states), None]
        found = torch.sum(lines.of_states[t] * of_states, dim=0, out=dz[t])
        if lines.penalty is not None:
            found += lines.penalty[t]
        for site in reversed(lines.of_operands):
            d_operand = found[names.index(site)] @ rows[site]
            found += lines.of_operands[site][t] * d_operand
        chosen = found[: len(plain)] if first else found[plain]
        dh = chosen.transpose(0, 1).reshape(windows, -1) @ together
        if "last.h" in names:
            dh = dh + found[names.index("last.h")]
        dc = found[names.index("last.c")] if "last.c" in names else torch.zeros_like(dc)
    return dz, every, {"h": dh, "c": dc}


def replay(
    x: Tensor, parameters: Parameters, record: Record, initial: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The recorded states, with gradients for the input, the states before the first step and the parameters.

    Args:
        x: (steps, windows, inputs).
        parameters: Those that want gradients.
        record: Of the forward pass.
        initial: State name to what wants the gradient of ``record.initial``.

    Returns:
        State name to (steps, windows, length).
    """
    states = record.kind.states
    before = [(initial or {}).get(s) for s in states]
    found = _Replay.apply(record, x, *before, *parameters.tuple())  # type: ignore[no-untyped-call]
    return dict(zip(states, found, strict=True))


def gate_means(record: Record, gates: Collection[str]) -> dict[str, float]:
    """Mean value of each gate in a forward pass, over units and the steps of windows."""
    sums = kernel_layer.rates(record, gates)
    if sums is None:
        last: dict[str, Any] = {s: record.before(s) for s in record.states} | _absent(record.kind)
        values = dict(record.z)
        if record.used.p is not None:
            rows = record.used.p.view(len(record.kind.peepholes), 1, 1, -1)
            values |= {f"p.{k}": row for k, row in zip(record.kind.peepholes, rows, strict=True)}
        machine = _Leaves(record, values)
        with torch.no_grad():
            record.kind.step(machine, last)
            sums = {g: record.inside * machine.gates[g] for g in gates}
    return {g: float(v.sum()) / record.count for g, v in sums.items()}


class StraightThrough(torch.autograd.Function):
    """``StraightThrough.apply(surrogate, value)``: the value forward, the surrogate's gradient backward."""

    @staticmethod
    def forward(ctx: Any, surrogate: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None
