"""The trainable network: float parameters, a float forward pass and one that computes the runtime's integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_lstm.bits import Bits
from edge_lstm.calibrate import Calibration
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import GateMode
from edge_lstm.layers import Squashing
from edge_lstm.lower import layer_name, lower
from edge_lstm.model import FloatModel, Pooling, QuantizedModel
from edge_lstm.nn.activations import SURROGATE_SLOPE, Activations
from edge_lstm.nn.decoder import Decoder
from edge_lstm.nn.gates import Gates
from edge_lstm.nn.gradient import Parameters, Record, StraightThrough, replay
from edge_lstm.nn.head import Head, together
from edge_lstm.nn.integers import Found, integers
from edge_lstm.nn.layer import Layer
from edge_lstm.nn.quantized import real, record, rounded, units
from edge_lstm.nn.steps import Steps
from edge_lstm.open_gates import Size
from edge_lstm.signature import Signature
from edge_lstm.timeline import timeline
from edge_lstm.to_integers import quantize_model
from edge_lstm.train_options import Direction
from edge_lstm.wiring import levels

States = dict[str, Tensor]


class Network(nn.Module):
    """Standardize, recurrent layers, pooling or a decoder, dense.

    Args:
        signature: Inputs and classes.
        mean: (channels,) of the training data.
        std: (channels,) of the training data.
        clip: Limit of standardized inputs.
        cell_name: Kind of every layer.
        modes: Gate name to mode.
        hidden: Units of every layer.
        layers: Number of levels of layers, one after the other.
        pooling: As of a ``FloatModel``.
        outputs: Length of h of a projected cell.
        relu: Widths of dense layers with relu before the last one.
        squash: Exact squashing functions or their hard forms.
        bits: Storage of each level in integers; int8 where None.
        dropout: Share of the pooled features that training hides.
        directions: Of each level; a bidirectional one has two layers. Forward where empty.
        decoder: Steps of a decoder, whose layers are as those of the (forward) encoder; 0 for none.
        output_mean, output_std: (outputs,) of the targets of a regression, in their unit; 0 and 1 where None. The
            parameters of the last dense layer give standardized outputs; ``float_model`` folds these two in.
        surrogate_slope: Of ``Activations``.
        gate_noise: The noise of ``Activations`` in training.
        gains: The integers have an input gain where that helps, see ``rows.input_gain``.
        seed: Of the initial parameters.

    Attributes:
        calibration: Ranges of the float model; integers need them.
        open_rates: Of the last forward pass, the mean value of each gate that had a penalty, over layers, units and
            the steps of windows.
        rounds: Float forward passes use the values that the integer weights of the encoder stand for, with
            straight-through gradients; needs a calibration.
        counts_changes: Forward passes give ``changes``.
        changes: Of the last forward pass, the mean of |h - h of the step before| over the encoder's layers, units and
            the steps of windows, with its gradient.
    """

    def __init__(
        self,
        signature: Signature,
        mean: NDArray[Any],
        std: NDArray[Any],
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
        directions: Sequence[Direction] = (),
        decoder: int = 0,
        output_mean: NDArray[Any] | None = None,
        output_std: NDArray[Any] | None = None,
        surrogate_slope: float = SURROGATE_SLOPE,
        gate_noise: float = 0.0,
        gains: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.signature, self.clip, self.modes, self.pooling = signature, clip, dict(modes), pooling
        self.squash, self.bits = squash, bits
        self._gains = gains
        self._surrogate_slope, self._gate_noise = surrogate_slope, gate_noise
        # Float32 values, so that the float ONNX file holds exactly these.
        self.mean, self.std = (np.asarray(v, np.float32).astype(np.float64) for v in (mean, std))
        classes = len(signature.classes)
        to_mean = torch.zeros(classes) if output_mean is None else real(output_mean)
        to_std = torch.ones(classes) if output_std is None else real(output_std)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            kind = cell(cell_name)
            length = (outputs or hidden) if kind.projected else hidden
            self.layers: list[Layer] = []
            width = len(signature.channels)
            for direction in directions or ["forward"] * layers:
                ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
                level = [Layer(kind, width, hidden, length, reverse=r, beside=k > 0) for k, r in enumerate(ways)]
                self.layers += level
                width = length * len(level)
            self.recurrent = nn.ModuleList(self.layers)
            self.head = Head(width, relu, pooling, dropout, to_mean, to_std)
            size = torch.sqrt(to_mean.square() + to_std.square())
            self.decoder = Decoder(self.layers, decoder, size) if decoder else None
        self.calibration: Calibration | None = None
        self.open_rates: dict[str, float] = {}
        self.rounds = self.counts_changes = False
        self.changes = torch.zeros(())

    @property
    def dense(self) -> nn.Linear:
        """The last dense layer."""
        return self.head.dense

    @property
    def sizes(self) -> list[Size]:
        """Of the recurrent layers."""
        found = []
        for at, level in enumerate(levels(self.layers)):
            for layer in (self.layers[k] for k in level):
                samples, fed = (layer.inputs, 0) if at == 0 else (0, layer.inputs)
                found.append(Size(len(layer.kind.matrices), samples, fed, layer.hidden))
        return found

    def _steps(self, x: NDArray[Any], lengths: Any) -> Steps:
        return Steps(timeline(self.signature, len(x), x.shape[1], lengths))

    def _encoded(self, value: Tensor, steps: Steps, through: Callable[[int, Tensor, Any], States]) -> list[States]:
        """The states of each layer, (steps, windows, length) in the order of time, and 0 beyond a window's end.

        Args:
            value: (steps, windows, channels) that the first level is given.
            steps: Of the windows.
            through: From a layer's index, what it is given in the order in which it goes through the steps, and the
                function that makes this order, to its states in this order.
        """
        states: list[States] = []
        value = steps.inside(value)
        for level in levels(self.layers):
            for k in level:
                order = steps.backwards if self.layers[k].reverse else _as_it_is
                found = through(k, order(value), order)
                states.append({s: steps.inside(order(v)) for s, v in found.items()})
            value = together([states[k]["h"] for k in level])
        if self.counts_changes:
            self.changes = torch.stack([_changes(of["h"], steps) for of in states]).mean()
        return states

    def _pooled(self, states: Sequence[States], steps: Steps) -> Tensor:
        last = levels(self.layers)[-1]
        return self.head.pool([self.layers[k] for k in last], [states[k]["h"] for k in last], steps)

    def _logits(self, features: Tensor, steps: Steps) -> Tensor:
        """(windows, classes), or (windows, steps, classes) where the features have steps."""
        scores = cast(Tensor, self.head(features))
        if scores.ndim == 2:
            return scores
        return (scores if self.decoder is not None else steps.inside(scores)).transpose(0, 1)

    def forward(
        self,
        x: NDArray[Any],
        slope: float | None = None,
        lengths: Any = None,
        penalties: Mapping[str, float] | None = None,
    ) -> Tensor:
        """Logits, or the outputs of a regression in their unit, by the float equations.

        Args:
            x: (windows, steps, channels) in the channels' units.
            slope: See ``Activations``.
            lengths: (windows,) steps of each window, of a model for windows of several lengths.
            penalties: Gate name to weight: the gradient is that of the loss and the weighted ``open_rates``.

        Returns:
            (windows, classes); or (windows, steps, classes) where there are some for each step, 0 beyond a window's
            end. What is beyond a window's end has no influence, on gradients neither.
        """
        activations = self._activations(slope)
        z = np.clip((x - self.mean) / self.std, -self.clip, self.clip)
        value = torch.from_numpy(z.astype(np.float32)).transpose(0, 1)
        return self.scores(value, self._steps(x, lengths), activations, penalties)

    def scores(
        self,
        value: Tensor,
        steps: Steps,
        activations: Activations,
        penalties: Mapping[str, float] | None = None,
    ) -> Tensor:
        """``forward`` of standardized samples (steps, windows, channels)."""
        gates = self._gates(penalties)

        def watched(record: Record) -> Record:
            return gates.watched(record, steps.lengths)

        used = self._rounded() if self.rounds else [None] * len(self.layers)
        states = self._encoded(
            value,
            steps,
            lambda k, given, _: self.layers[k].forward_float(given, activations, watch=watched, used=used[k]),
        )
        if self.decoder is None:
            features = self._pooled(states, steps)
        else:
            ends = [{s: steps.last(v) for s, v in of.items()} for of in states]
            features = self.decoder.forward_float(ends, self.head.scores, activations, gates.watched)
        self.open_rates = gates.open_rates
        return self._logits(features, steps)

    def _activations(self, slope: float | None) -> Activations:
        return Activations(
            self.layers[0].kind,
            self.modes,
            self.squash,
            slope,
            surrogate_slope=self._surrogate_slope,
            noise=self._gate_noise if self.training else 0.0,
        )

    def _gates(self, penalties: Mapping[str, float] | None) -> Gates:
        layers = len(self.layers) + (0 if self.decoder is None else len(self.decoder.layers))
        return Gates(self.layers[0].kind, penalties or {}, layers)

    def forward_quantized(
        self, x: NDArray[Any], lengths: Any = None, penalties: Mapping[str, float] | None = None
    ) -> Tensor:
        """``forward`` with the runtime's scores; gradients are straight-through (rule R8).

        Args:
            x: (windows, steps, channels) in the channels' units.
            lengths: (windows,) steps of each window, of a model for windows of several lengths.
            penalties: As of ``forward``.

        Raises:
            EdgeLstmError: The network is not calibrated, or there is no such gate.
            RangeError: The model could overflow.
        """
        model, steps, gates = self.quantized(), self._steps(x, lengths), self._gates(penalties)
        kind = self.layers[0].kind
        x_integers = model.quantize_input(x)
        names = [layer_name(model, k) for k in range(len(model.all_layers))]
        of_layers = [units(kind, layer, name) for layer, name in zip(model.all_layers, names, strict=True)]
        wanted = {name: unit for of_layer in of_layers for name, unit in of_layer.items()}
        fed = ["decoder.x"] if self.decoder is not None else []
        found = integers(lower(model), x_integers, fed, steps.when, units=wanted, compiled=True)
        activations = self._activations(None)
        unit = model.input_scale / self.std
        inputs = self._inputs(model)
        value = torch.from_numpy((x_integers * unit).astype(np.float32)).transpose(0, 1)

        def through(k: int, given: Tensor, _: Callable[[Tensor], Tensor]) -> States:
            layer = self.layers[k]
            made = record(layer, model.layers[k], names[k], inputs[k], activations, found.real)
            return replay(given, layer.packed, gates.watched(made, steps.lengths))

        states = self._encoded(value, steps, through)
        features = self._pooled(states, steps)
        if self.decoder is not None:
            features = self._decoded(self.decoder, model, found, states, steps, activations, gates)
        self.open_rates = gates.open_rates
        surrogate = self._logits(features, steps)
        if self.training and self.head.dropout.p:
            return surrogate
        scores = found.head["scores"].double() * model.score_scale
        if surrogate.ndim == 3:
            scores = scores.transpose(0, 1)
        return cast(Tensor, StraightThrough.apply(surrogate, scores.float()))  # type: ignore[no-untyped-call]

    def _inputs(self, model: QuantizedModel) -> list[NDArray[np.float64]]:
        """Of each layer, what one unit of each of its integer inputs is in what it is given in float."""
        units: list[NDArray[np.float64]] = []
        unit = np.asarray(model.input_scale / self.std)
        for level in levels(self.layers):
            units += [unit] * len(level)
            unit = np.full(sum(self.layers[k].outputs for k in level), model.layers[level[0]].h.scale)
        return units

    def _rounded(self) -> list[Parameters]:
        model = self.quantized()
        return [rounded(*of) for of in zip(self.layers, model.layers, self._inputs(model), strict=True)]

    def _decoded(
        self,
        decoder: Decoder,
        model: QuantizedModel,
        found: Found,
        states: Sequence[States],
        steps: Steps,
        activations: Activations,
        gates: Gates,
    ) -> Tensor:
        """h of the decoder's last layer, (steps, windows, outputs), from the encoder's states."""
        assert model.decoder is not None
        after = found.every["decoder.x"].float()
        unit = model.decoder.fed.scale / decoder.scale.double().numpy()
        value = torch.cat([torch.zeros_like(after[:1]), after[:-1]]) * real(unit)
        for k, (layer, quantized) in enumerate(zip(decoder.layers, model.decoder.layers, strict=True)):
            name = layer_name(model, len(model.layers) + k)
            initial = {s: steps.last(v) for s, v in states[k].items()}
            made = record(layer, quantized, name, unit, activations, found.real, initial=initial)
            value = replay(value, layer.packed, gates.watched(made), initial)["h"]
            unit = np.full(layer.outputs, quantized.h.scale)
        return value

    def float_model(self) -> FloatModel:
        """The float model as a value."""
        dense = self.head.float_dense()
        return FloatModel(
            signature=self.signature,
            mean=self.mean,
            std=self.std,
            clip=self.clip,
            layers=tuple(k.float_layer(self.modes, self.squash) for k in self.layers),
            pooling=self.pooling,
            dense_weights=dense.weights,
            dense_bias=dense.bias,
            relu_layers=self.head.float_relu(),
            attention=None if self.head.attention is None else self.head.attention.value(),
            decoder=None if self.decoder is None else self.decoder.value(self.modes, self.squash),
        )

    def quantized(self) -> QuantizedModel:
        """The integer model of the present parameters: what ``forward_quantized`` computes, and what ships.

        Raises:
            EdgeLstmError: The network is not calibrated.
        """
        if self.calibration is None:
            raise EdgeLstmError("calibrate the network before it is quantized: set network.calibration")
        return quantize_model(self.float_model(), self.calibration, self.bits, gains=self._gains)


def _changes(h: Tensor, steps: Steps) -> Tensor:
    """Mean of |h - h of the step before|, which is 0 before the first; (steps, windows, units) to a number."""
    before = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    return steps.mean((h - before).abs()).mean()


def _as_it_is(values: Tensor) -> Tensor:
    return values
