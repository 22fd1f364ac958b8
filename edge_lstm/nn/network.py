"""The trainable network: float parameters, a float forward pass and one that computes the runtime's integers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from edge_lstm.blocks import Block
from edge_lstm.calibrate import Calibration
from edge_lstm.cells import Cell, cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import GateMode
from edge_lstm.lower import layer_name
from edge_lstm.model import FloatDense, FloatLayer, FloatModel, Pooling, QuantizedLayer, QuantizedModel, Squashing
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gradient import Parameters, Record, StraightThrough, replay
from edge_lstm.nn.integers import integers
from edge_lstm.ptq import Bits, quantize_model
from edge_lstm.signature import Signature


class _Forward:
    """``cells.Machine`` on tensors, for one step; keeps what ``gradient.Record`` wants.

    Args:
        layer: Parameters.
        activations: Gates and functions.
        wx: Block name to W x + b of the step.
        h: Last h.
        kept: Filled with the results of the matrix products by name.
    """

    def __init__(
        self, layer: Layer, activations: Activations, wx: Mapping[str, Tensor], h: Tensor, kept: dict[str, Tensor]
    ) -> None:
        self._layer, self._activations, self._wx, self._h, self._kept = layer, activations, wx, h, kept

    def affine(self, block: str, operand: Tensor | None = None) -> Tensor:
        """See ``cells.Machine``."""
        recurrent = (self._h if operand is None else operand) @ self._layer.rows(self._layer.R, block).T
        return self._keep(block, self._wx[block] + recurrent)

    def inputs(self, block: str) -> Tensor:
        """See ``cells.Machine``."""
        return self._keep(f"{block}.x", self._wx[block])

    def recurrent(self, block: str) -> Tensor:
        """See ``cells.Machine``."""
        layer = self._layer
        assert layer.rb is not None
        bias = layer.rows(layer.rb, block, layer.kind.split)
        return self._keep(f"{block}.h", self._h @ layer.rows(layer.R, block).T + bias)

    def peephole(self, block: str, c: Tensor) -> Tensor:
        """See ``cells.Machine``."""
        assert self._layer.p is not None
        return self._layer.rows(self._layer.p, block, self._layer.kind.peepholes) * c

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
        assert self._layer.P is not None
        return torch.matmul(self._keep("m", v), self._layer.P.T)

    def _keep(self, name: str, value: Tensor) -> Tensor:
        self._kept[name] = value
        return value


class Layer(nn.Module):
    """Parameters of a recurrent layer; rows are the cell's blocks, one after the other.

    Args:
        kind: The cell.
        inputs: Number of inputs.
        hidden: Number of units.
        outputs: Length of h of a projected cell, else ``hidden``.
    """

    def __init__(self, kind: Cell, inputs: int, hidden: int, outputs: int | None = None) -> None:
        super().__init__()
        self.kind, self.hidden, self.outputs = kind, hidden, outputs or hidden
        rows = len(kind.blocks) * hidden
        self.W = nn.Parameter(torch.randn(rows, inputs) * (0.7 / math.sqrt(inputs)))
        self.R = nn.Parameter(torch.cat([0.8 * self._orthogonal() for _ in kind.blocks]))
        bias = torch.zeros(rows)
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
        """All parameters."""
        return Parameters(self.W, self.R, self.b, self.rb, self.p, self.P)

    def forward_float(self, x: Tensor, activations: Activations) -> Tensor:
        """(steps, windows, inputs) to h, (steps, windows, outputs)."""
        with torch.no_grad():
            lengths = {"h": self.outputs, "c": self.hidden}
            states = {s: x.new_zeros(x.shape[1], lengths[s]) for s in self.kind.states}
            trace: list[dict[str, Tensor]] = []
            for row in x @ self.W.T + self.b:
                wx = dict(zip(self.kind.blocks, torch.split(row, self.hidden, dim=-1), strict=True))
                kept: dict[str, Tensor] = {}
                states = self.kind.step(_Forward(self, activations, wx, states["h"], kept), states)
                trace.append({**kept, **states})
            v = {name: torch.stack([step[name] for step in trace]) for name in trace[0]}
            record = self.record(activations, self.packed.detached(), v, v)
        return replay(x, self.packed, record)

    def record(
        self, activations: Activations, used: Parameters, products: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Record:
        """What the gradient needs, from the values of a forward pass by name."""
        states = {s: values[s] for s in self.kind.states}
        return Record(self.kind, activations, used, {n: products[n] for n in sites(self.kind)}, states, values.get("m"))

    def float_layer(self, modes: Mapping[str, GateMode], squash: Squashing = "exact") -> FloatLayer:
        """The layer as a value."""

        def split(packed: Tensor | None, names: tuple[str, ...]) -> dict[str, np.ndarray]:
            if packed is None:
                return {}
            rows = torch.split(packed.detach().double(), self.hidden)
            return {k: r.numpy().copy() for k, r in zip(names, rows, strict=True)}

        kind = self.kind
        W, R, b = (split(packed, kind.blocks) for packed in (self.W, self.R, self.b))
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
        )


def sites(kind: Cell) -> tuple[str, ...]:
    """Names of a cell's matrix products: its blocks, a split one in two parts."""
    return tuple(n for k in kind.blocks for n in ((f"{k}.x", f"{k}.h") if k in kind.split else (k,)))


class Network(nn.Module):
    """Standardize, recurrent layers, pooling, dense.

    Args:
        signature: Inputs and classes.
        mean: (channels,) of the training data.
        std: (channels,) of the training data.
        clip: Limit of standardized inputs.
        cell_name: Kind of every layer.
        modes: Gate name to mode.
        hidden: Units of every layer.
        layers: Number of layers.
        pooling: ``last`` or ``mean``.
        outputs: Length of h of a projected cell.
        relu: Widths of dense layers with relu before the last one.
        squash: Exact squashing functions or their hard forms.
        bits: Storage of each layer in integers; int8 where None.
        dropout: Share of the pooled features that training hides.
        seed: Of the initial parameters.
    """

    def __init__(
        self,
        signature: Signature,
        mean: np.ndarray,
        std: np.ndarray,
        clip: float,
        *,
        cell_name: str,
        modes: Mapping[str, GateMode],
        hidden: int,
        layers: int,
        pooling: Pooling,
        outputs: int | None = None,
        relu: Sequence[int] = (),
        squash: Squashing = "exact",
        bits: Sequence[Bits] | None = None,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.signature, self.clip, self.modes, self.pooling = signature, clip, dict(modes), pooling
        self.squash, self.bits = squash, bits
        # Float32 values, so that the float ONNX file holds exactly these.
        self.mean, self.std = (np.asarray(v, np.float32).astype(np.float64) for v in (mean, std))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            kind = cell(cell_name)
            length = (outputs or hidden) if kind.projected else hidden
            widths = [len(signature.channels)] + [length] * layers
            self.layers = [Layer(kind, widths[k], hidden, length) for k in range(layers)]
            self.recurrent = nn.ModuleList(self.layers)
            widths = [length, *relu]
            self.relu_layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
            self.dense = nn.Linear(widths[-1], len(signature.classes))
        self.dropout = nn.Dropout(dropout)
        self.calibration: Calibration | None = None

    def _standardize(self, x: np.ndarray) -> Tensor:
        z = np.clip((x - self.mean) / self.std, -self.clip, self.clip)
        return torch.from_numpy(z.astype(np.float32)).transpose(0, 1)

    def _pool(self, h: Tensor) -> Tensor:
        if self.pooling == "max":
            return h.max(dim=0).values
        return h[-1] if self.pooling == "last" else h.mean(dim=0)

    def _head(self, h: Tensor) -> Tensor:
        """All h of the last layer (steps, windows, hidden) to scores."""
        value = self.dropout(self._pool(h))
        for layer in self.relu_layers:
            value = torch.relu(layer(value))
        return cast(Tensor, self.dense(value))

    def forward(self, x: np.ndarray, slope: float | None = None) -> Tensor:
        """Logits (windows, classes) by the float equations.

        Args:
            x: (windows, steps, channels) in the channels' units.
            slope: See ``Activations``.
        """
        value = self._standardize(x)
        for layer in self.layers:
            value = layer.forward_float(value, Activations(layer.kind, self.modes, self.squash, slope))
        return self._head(value)

    def forward_quantized(self, x: np.ndarray) -> Tensor:
        """Logits (windows, classes) that are the runtime's scores; gradients are straight-through (rule R8).

        Args:
            x: (windows, steps, channels) in the channels' units.

        Raises:
            EdgeLstmError: The network is not calibrated.
            RangeError: The model could overflow.
        """
        model = self.quantized()
        x_integers = model.quantize_input(x)
        names = [layer_name(model, k) for k in range(len(model.layers))]
        recorded = [n for layer, name in zip(self.layers, names, strict=True) for n in _recorded(layer.kind, name)]
        trace, outputs, _ = integers(model, x_integers, recorded)
        standardized = x_integers * (model.input_scale / self.std)
        value = torch.from_numpy(standardized.astype(np.float32)).transpose(0, 1)
        inputs = model.input_scale / self.std
        for layer, quantized, name in zip(self.layers, model.layers, names, strict=True):
            value = replay(value, layer.packed, self._record(layer, quantized, name, inputs, trace))
            inputs = np.full(layer.outputs, quantized.h.scale)
        surrogate = self._head(value)
        scores = outputs["scores"].double() * model.score_scale
        if self.training and self.dropout.p:
            return surrogate
        return cast(Tensor, StraightThrough.apply(surrogate, scores.float()))  # type: ignore[no-untyped-call]

    def _record(
        self, layer: Layer, quantized: QuantizedLayer, name: str, inputs: np.ndarray, trace: Mapping[str, Tensor]
    ) -> Record:
        """What the integers did, in real units, and the weights that they stand for."""
        kind, h = layer.kind, quantized.h
        products = {}
        for site in sites(kind):
            block, _, part = site.partition(".")
            products[site] = trace[f"{name}.a{part}_{block}"].float() * _real(quantized.blocks[block].scale)
        formats = {"h": h, "c": quantized.c, "m": quantized.operand}
        values = {
            key: trace[f"{name}.{key}"].float() * f.scale
            for key, f in formats.items()
            if f is not None and f"{name}.{key}" in trace
        }
        rows = [quantized.blocks[block] for block in kind.blocks]
        weights = _real(np.concatenate([r.weights * r.scale[:, None] for r in rows]))
        W = weights[:, : quantized.inputs] / _real(inputs)
        p = None
        if kind.peepholes:
            assert quantized.c is not None
            p = _real(np.concatenate([_peepholes(quantized.blocks[k], quantized.c.scale) for k in kind.peepholes]))
        P = None if layer.P is None else layer.P.detach()
        used = Parameters(W, weights[:, quantized.inputs :] / h.scale, layer.b.detach(), p=p, P=P)
        return layer.record(Activations(kind, self.modes, self.squash), used, products, values)

    def float_model(self) -> FloatModel:
        """The float model as a value."""
        return FloatModel(
            signature=self.signature,
            mean=self.mean,
            std=self.std,
            clip=self.clip,
            layers=tuple(k.float_layer(self.modes, self.squash) for k in self.layers),
            pooling=self.pooling,
            dense_weights=self.dense.weight.detach().double().numpy().copy(),
            dense_bias=self.dense.bias.detach().double().numpy().copy(),
            relu_layers=tuple(_float_dense(layer) for layer in self.relu_layers),
        )

    def quantized(self) -> QuantizedModel:
        """The integer model of the present parameters: what ``forward_quantized`` computes, and what ships.

        Raises:
            EdgeLstmError: The network is not calibrated.
        """
        if self.calibration is None:
            raise EdgeLstmError("calibrate the network before it is quantized: set network.calibration")
        return quantize_model(self.float_model(), self.calibration, self.bits)


def _recorded(kind: Cell, name: str) -> list[str]:
    products = [f"a{part}_{block}" for block, _, part in (site.partition(".") for site in sites(kind))]
    values = [*products, *kind.states, *(["m"] if kind.projected else [])]
    return [f"{name}.{value}" for value in values]


def _float_dense(layer: nn.Module) -> FloatDense:
    assert isinstance(layer, nn.Linear)
    return FloatDense(*(p.detach().double().numpy().copy() for p in (layer.weight, layer.bias)))


def _real(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _peepholes(block: Block, c_scale: float) -> np.ndarray:
    """Real weights of an integer peephole."""
    assert block.peephole is not None
    return np.asarray(block.peephole.multiplier * 2.0**-block.peephole.shift * block.scale / c_scale)
