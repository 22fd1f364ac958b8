"""The trainable network: float parameters, a float forward pass and one that computes the runtime's integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from edge_lstm.calibrate import Calibration
from edge_lstm.cells import Cell, cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import GateMode
from edge_lstm.model import GATE, FloatLayer, FloatModel, Pooling, QuantizedModel, Signature
from edge_lstm.nn.gradient import Record, StraightThrough, replay
from edge_lstm.nn.integers import integers
from edge_lstm.ptq import quantize_model

SURROGATE_SLOPE = 2.0
"""k of the surrogate derivative k s(kz) (1 - s(kz)) of a hard gate."""


class Gates:
    """Values and derivatives of the gates in a forward pass.

    Args:
        modes: Gate name to mode.
        slope: While a hard gate is annealed it is the sigmoid s(slope z); None: it is the threshold.
    """

    def __init__(self, modes: Mapping[str, GateMode], slope: float | None = None) -> None:
        self._modes, self._slope = modes, slope

    def gate(self, name: str, z: Tensor) -> Tensor:
        """Value of a gate."""
        if self._modes[name] == "soft":
            return torch.sigmoid(z)
        return (z > 0).to(z.dtype) if self._slope is None else torch.sigmoid(self._slope * z)

    def tanh(self, v: Tensor) -> Tensor:
        """Hyperbolic tangent."""
        return torch.tanh(v)

    def slope(self, name: str, z: Tensor, value: Tensor) -> Tensor:
        """Derivative of a gate's value by z; of a threshold, its surrogate."""
        if self._modes[name] == "soft":
            return value * (1 - value)
        k = SURROGATE_SLOPE if self._slope is None else self._slope
        s = torch.sigmoid(k * z)
        return k * s * (1 - s)


class Layer(nn.Module):
    """Parameters of a recurrent layer; rows are the cell's blocks, one after the other."""

    def __init__(self, kind: Cell, inputs: int, hidden: int) -> None:
        super().__init__()
        self.kind, self.hidden = kind, hidden
        rows = len(kind.blocks) * hidden
        self.W = nn.Parameter(torch.randn(rows, inputs) * (0.7 / math.sqrt(inputs)))
        self.R = nn.Parameter(torch.cat([0.8 * torch.linalg.qr(torch.randn(hidden, hidden))[0] for _ in kind.blocks]))
        bias = torch.zeros(rows)
        if "f" in kind.blocks:
            start = kind.blocks.index("f") * hidden
            bias[start : start + hidden] = 1.0  # remember at first (Gers et al. 1999)
        self.b = nn.Parameter(bias)

    def blocks(self, packed: Tensor) -> dict[str, Tensor]:
        """Block name to its part of the last axis."""
        return dict(zip(self.kind.blocks, torch.split(packed, self.hidden, dim=-1), strict=True))

    def forward_float(self, x: Tensor, gates: Gates) -> Tensor:
        """(steps, windows, inputs) to h, (steps, windows, hidden)."""
        with torch.no_grad():
            inputs = x @ self.W.T + self.b
            states = {s: x.new_zeros(x.shape[1], self.hidden) for s in self.kind.states}
            trace: list[dict[str, Tensor]] = []
            for row in inputs:
                z = self.blocks(torch.addmm(row, states["h"], self.R.T))
                values = self.kind.step(z, states, gates)
                states = {s: values[s] for s in self.kind.states}
                trace.append({**values, **{f"z_{gate}": z[gate] for gate in self.kind.gates}})
            v = {name: torch.stack([step[name] for step in trace]) for name in trace[0]}
            slopes = {g: gates.slope(g, v[f"z_{g}"], v[g]) for g in self.kind.gates}
            record = Record(v, slopes, self.W.detach(), self.R.detach())
        return replay(x, self.W, self.R, self.b, record)

    def float_layer(self, modes: Mapping[str, GateMode]) -> FloatLayer:
        """The layer as a value."""
        groups = []
        for packed in (self.W, self.R, self.b):
            rows = torch.split(packed.detach().double(), self.hidden)
            groups.append({k: r.numpy().copy() for k, r in zip(self.kind.blocks, rows, strict=True)})
        return FloatLayer(self.kind.name, groups[0], groups[1], groups[2], dict(modes))


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
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.signature, self.clip, self.modes, self.pooling = signature, clip, dict(modes), pooling
        # Float32 values, so that the float ONNX file holds exactly these.
        self.mean, self.std = (np.asarray(v, np.float32).astype(np.float64) for v in (mean, std))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = [len(signature.channels)] + [hidden] * layers
            self.layers = [Layer(cell(cell_name), widths[k], hidden) for k in range(layers)]
            self.recurrent = nn.ModuleList(self.layers)
            self.dense = nn.Linear(hidden, len(signature.classes))
        self.dropout = nn.Dropout(dropout)
        self.calibration: Calibration | None = None

    def _standardize(self, x: np.ndarray) -> Tensor:
        z = np.clip((x - self.mean) / self.std, -self.clip, self.clip)
        return torch.from_numpy(z.astype(np.float32)).transpose(0, 1)

    def _pool(self, h: Tensor) -> Tensor:
        return h[-1] if self.pooling == "last" else h.mean(dim=0)

    def forward(self, x: np.ndarray, slope: float | None = None) -> Tensor:
        """Logits (windows, classes) by the float equations.

        Args:
            x: (windows, steps, channels) in the channels' units.
            slope: See ``Gates``.
        """
        value, gates = self._standardize(x), Gates(self.modes, slope)
        for layer in self.layers:
            value = layer.forward_float(value, gates)
        return cast(Tensor, self.dense(self.dropout(self._pool(value))))

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
        recorded = [n for k, q in enumerate(model.layers) for n in _recorded(f"{q.cell}{k}", cell(q.cell))]
        trace, outputs, _ = integers(model, x_integers, recorded)
        standardized = x_integers * (model.input_scale / self.std)
        value = torch.from_numpy(standardized.astype(np.float32)).transpose(0, 1)
        for k, layer in enumerate(self.layers):
            value = replay(value, layer.W, layer.R, layer.b, self._record(layer, model, k, trace))
        pooled = self.dropout(self._pool(value))
        scores = outputs["scores"].double() * model.score_scale
        if self.training and self.dropout.p:
            return cast(Tensor, self.dense(pooled))
        return cast(Tensor, StraightThrough.apply(self.dense(pooled), scores.float()))  # type: ignore[no-untyped-call]

    def _record(self, layer: Layer, model: QuantizedModel, k: int, trace: Mapping[str, Tensor]) -> Record:
        quantized = model.layers[k]
        name = f"{quantized.cell}{k}"
        gates = Gates(self.modes)
        scales = {g: 1.0 if m == "hard" else GATE.scale for g, m in self.modes.items()}
        scales |= {"g": quantized.c.scale, "t": quantized.squash.output.scale}
        v = {key: trace[f"{name}.{key}"].float() * scale for key, scale in scales.items()}
        v["c"] = trace[f"{name}.c_next"].float() * quantized.c.scale
        v["h"] = trace[f"{name}.h_next"].float() * quantized.h.scale
        slopes, used = {}, []
        for block in layer.kind.blocks:
            rows = quantized.blocks[block]
            used.append(torch.from_numpy((rows.weights * rows.scale[:, None]).astype(np.float32)))
            if block in layer.kind.gates:
                z = trace[f"{name}.a_{block}"].float() * torch.from_numpy(rows.scale.astype(np.float32))
                slopes[block] = gates.slope(block, z, v[block])
        inputs = torch.from_numpy((model.input_scale / self.std).astype(np.float32)) if k == 0 else quantized.h.scale
        weights = torch.cat(used)
        W = weights[:, : quantized.inputs] / inputs
        return Record(v, slopes, W, weights[:, quantized.inputs :] / quantized.h.scale)

    def float_model(self) -> FloatModel:
        """The float model as a value."""
        return FloatModel(
            signature=self.signature,
            mean=self.mean,
            std=self.std,
            clip=self.clip,
            layers=tuple(k.float_layer(self.modes) for k in self.layers),
            pooling=self.pooling,
            dense_weights=self.dense.weight.detach().double().numpy().copy(),
            dense_bias=self.dense.bias.detach().double().numpy().copy(),
        )

    def quantized(self) -> QuantizedModel:
        """The integer model of the present parameters: what ``forward_quantized`` computes, and what ships.

        Raises:
            EdgeLstmError: The network is not calibrated.
        """
        if self.calibration is None:
            raise EdgeLstmError("calibrate the network before it is quantized: set network.calibration")
        return quantize_model(self.float_model(), self.calibration)


def _recorded(name: str, kind: Cell) -> list[str]:
    values = [*kind.blocks, *(f"a_{gate}" for gate in kind.gates), "t", "c_next", "h_next"]
    return [f"{name}.{value}" for value in values]
