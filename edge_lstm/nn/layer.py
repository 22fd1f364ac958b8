"""A recurrent layer that is trained: its parameters, and the float equations with a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_lstm.cells import Cell
from edge_lstm.gates import GateMode
from edge_lstm.layers import FloatLayer, Squashing
from edge_lstm.nn import kernel_layer
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gradient import Parameters, Record, replay
from edge_lstm.nn.kernel_layer import sites

Watch = Callable[[Record], Record]


class _Forward:
    """``cells.Machine`` on tensors, for one step; keeps what ``gradient.Record`` wants.

    Args:
        layer: Names of the rows.
        used: Parameters.
        activations: Gates and functions.
        wx: Block name to W x + b of the step.
        h: Last h.
        kept: Filled with the results of the matrix products by name.
    """

    def __init__(
        self,
        layer: Layer,
        used: Parameters,
        activations: Activations,
        wx: Mapping[str, Tensor],
        h: Tensor,
        kept: dict[str, Tensor],
    ) -> None:
        self._layer, self._used, self._activations = layer, used, activations
        self._wx, self._h, self._kept = wx, h, kept

    def affine(self, block: str, operand: Tensor | None = None) -> Tensor:
        """See ``cells.Machine``."""
        recurrent = (self._h if operand is None else operand) @ self._layer.rows(self._used.R, block).T
        return self._keep(block, self._wx[block] + recurrent)

    def inputs(self, block: str) -> Tensor:
        """See ``cells.Machine``."""
        return self._keep(f"{block}.x", self._wx[block])

    def recurrent(self, block: str) -> Tensor:
        """See ``cells.Machine``."""
        layer, used = self._layer, self._used
        assert used.rb is not None
        bias = layer.rows(used.rb, block, layer.kind.split)
        return self._keep(f"{block}.h", self._h @ layer.rows(used.R, block).T + bias)

    def peephole(self, block: str, c: Tensor) -> Tensor:
        """See ``cells.Machine``."""
        assert self._used.p is not None
        return self._layer.rows(self._used.p, block, self._layer.kind.peepholes) * c

    def gate(self, name: str, z: Tensor) -> Tensor:
        """See ``cells.Machine``."""
        return self._activations.gate(name, z)

    def squash(self, name: str, v: Tensor) -> Tensor:
        """See ``cells.Machine``."""
        return self._activations.squash(name, v)

    def state(self, name: str, v: Tensor) -> Tensor:
        """See ``cells.Machine``."""
        return self._keep(name, v)

    def project(self, v: Tensor) -> Tensor:
        """See ``cells.Machine``."""
        assert self._used.P is not None
        return torch.matmul(self._keep("m", v), self._used.P.T)

    def _keep(self, name: str, value: Tensor) -> Tensor:
        self._kept[name] = value
        return value


class Layer(nn.Module):
    """Parameters of a recurrent layer; rows are the cell's blocks, one after the other, of W and R its ``matrices``.

    Args:
        kind: The cell.
        inputs: Number of inputs.
        hidden: Number of units.
        outputs: Length of h of a projected cell, else ``hidden``.
        reverse, beside: As of a ``FloatLayer``.
    """

    def __init__(
        self,
        kind: Cell,
        inputs: int,
        hidden: int,
        outputs: int | None = None,
        *,
        reverse: bool = False,
        beside: bool = False,
    ) -> None:
        super().__init__()
        self.kind, self.inputs, self.hidden, self.outputs = kind, inputs, hidden, outputs or hidden
        self.reverse, self.beside = reverse, beside
        rows = len(kind.matrices) * hidden
        self.W = nn.Parameter(torch.randn(rows, inputs) * (0.7 / math.sqrt(inputs)))
        self.R = nn.Parameter(torch.cat([0.8 * self._orthogonal() for _ in kind.matrices]))
        bias = torch.zeros(len(kind.blocks) * hidden)
        for gate in kind.keeps:
            self.rows(bias, gate)[:] = 1.0  # remember at first (Gers et al. 1999)
        self.b = nn.Parameter(bias)
        self.rb = nn.Parameter(torch.zeros(len(kind.split) * hidden)) if kind.split else None
        self.p = nn.Parameter(torch.zeros(len(kind.peepholes) * hidden)) if kind.peepholes else None
        self.P = nn.Parameter(torch.randn(self.outputs, hidden) / math.sqrt(hidden)) if kind.projected else None

    def _orthogonal(self) -> Tensor:
        square: Tensor = torch.linalg.qr(torch.randn(self.hidden, self.hidden)).Q
        return square[:, : self.outputs]

    def rows(self, packed: Tensor, block: str, among: tuple[str, ...] | None = None) -> Tensor:
        """A block's part of the first axis of a packed parameter."""
        start = (among or self.kind.blocks).index(block) * self.hidden
        return packed[start : start + self.hidden]

    @property
    def packed(self) -> Parameters:
        """All parameters, those that blocks share for each of them."""
        W, R = (self._of_blocks(matrix) for matrix in (self.W, self.R))
        return Parameters(W, R, self.b, self.rb, self.p, self.P)

    def _of_blocks(self, matrices: Tensor) -> Tensor:
        kind = self.kind
        if not kind.shares:
            return matrices
        return torch.cat([self.rows(matrices, kind.owner(block), kind.matrices) for block in kind.blocks])

    def forward_float(
        self,
        x: Tensor,
        activations: Activations,
        initial: Mapping[str, Tensor] | None = None,
        watch: Watch | None = None,
        used: Parameters | None = None,
    ) -> dict[str, Tensor]:
        """The states after each step by the float equations.

        Args:
            x: (steps, windows, inputs), in the order in which the layer goes through them.
            activations: Gates and functions.
            initial: State name to (windows, length) before the first step; zero where None.
            watch: What to do with the record of the forward pass before its gradient is taken.
            used: Parameters in place of the layer's own, which get their gradient (straight-through).

        Returns:
            State name to (steps, windows, length), with gradients.
        """
        return self.replayed(x, activations, self.trace(x, activations, initial, used), initial, watch, used)

    @torch.no_grad()
    def trace(
        self,
        x: Tensor,
        activations: Activations,
        initial: Mapping[str, Tensor] | None = None,
        used: Parameters | None = None,
    ) -> dict[str, Tensor]:
        """Results of the matrix products, and states, by name, (steps, windows, length); see ``forward_float``."""
        used = used or self.packed.detached()
        found = kernel_layer.trace(self.kind, used, x, activations, initial or {})
        if found is not None:
            return found
        states: Mapping[str, Tensor] = initial or self._zeros(x)
        trace: list[dict[str, Tensor]] = []
        given = x @ used.W.T + used.b
        for block, part in zip(self.kind.blocks, torch.split(given, self.hidden, dim=-1), strict=True):
            activations.disturb(block, part)
        for row in given:
            wx = dict(zip(self.kind.blocks, torch.split(row, self.hidden, dim=-1), strict=True))
            kept: dict[str, Tensor] = {}
            states = self.kind.step(_Forward(self, used, activations, wx, states["h"], kept), states)
            trace.append({**kept, **states})
        return {name: torch.stack([step[name] for step in trace]) for name in trace[0]}

    def replayed(
        self,
        x: Tensor,
        activations: Activations,
        trace: Mapping[str, Tensor],
        initial: Mapping[str, Tensor] | None = None,
        watch: Watch | None = None,
        used: Parameters | None = None,
    ) -> dict[str, Tensor]:
        """The states of a ``trace``, with gradients."""
        record = self.record(activations, used or self.packed.detached(), trace, trace, initial)
        record = record if watch is None else watch(record)
        return replay(x, self.packed, record, initial)

    def _zeros(self, x: Tensor) -> dict[str, Tensor]:
        lengths = {"h": self.outputs, "c": self.hidden}
        return {s: x.new_zeros(x.shape[1], lengths[s]) for s in self.kind.states}

    def record(
        self,
        activations: Activations,
        used: Parameters,
        products: Mapping[str, Tensor],
        values: Mapping[str, Tensor],
        initial: Mapping[str, Tensor] | None = None,
    ) -> Record:
        """What the gradient needs, from the values of a forward pass by name."""
        states = {s: values[s] for s in self.kind.states}
        before = {s: v.detach() for s, v in (initial or {}).items()}
        products = {n: products[n] for n in sites(self.kind)}
        return Record(self.kind, activations, used, products, states, values.get("m"), before)

    def float_layer(
        self, modes: Mapping[str, GateMode], squash: Squashing = "exact", scale: Tensor | None = None
    ) -> FloatLayer:
        """The layer as a value.

        Args:
            modes: Gate name to mode.
            squash: Exact functions or their hard forms.
            scale: (inputs,) by which what the value will be given is divided before the layer is given it.
        """

        def split(packed: Tensor | None, names: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
            if packed is None:
                return {}
            rows = torch.split(packed.detach().double(), self.hidden)
            return {k: r.numpy().copy() for k, r in zip(names, rows, strict=True)}

        kind = self.kind
        given = self.W if scale is None else self.W / scale
        W, R = (split(packed, kind.matrices) for packed in (given, self.R))
        b = split(self.b, kind.blocks)
        return FloatLayer(
            kind.name,
            W,
            R,
            b,
            dict(modes),
            rb=split(self.rb, kind.split),
            p=split(self.p, kind.peepholes),
            P=None if self.P is None else self.P.detach().double().numpy().copy(),
            squash=squash,
            reverse=self.reverse,
            beside=self.beside,
        )
