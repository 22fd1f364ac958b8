"""A prepared model that is recurrent modules, pooling and dense layers, as the integer model that it ships as."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lstm.calibrate import Calibration
from edge_lstm.layers import FloatDense
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.nn.linear import Linear
from edge_lstm.nn.modules import Recurrent
from edge_lstm.nn.stack import Stack, part_of
from edge_lstm.to_integers import quantize_model


@dataclass(frozen=True)
class Chain:
    """Modules, each of which reads what the one before it gives.

    Attributes:
        template: The model with the weights that it had when it was traced.
        modules: Recurrent ones; the first reads the samples.
        linears: Dense layers with relu, then the last one; none where the model's are not just modules.
        others: Ranges of what is no module.
    """

    template: FloatModel
    modules: tuple[Recurrent, ...]
    linears: tuple[Linear, ...]
    others: Calibration
    _last: list[tuple[list[Tensor], QuantizedModel]] = field(default_factory=list, repr=False, compare=False)

    def join(self) -> None:
        """Make it known to its modules, which compute its integers from then on."""
        for k, module in enumerate(self.modules):
            module.place = Place(self, k)
        for k, linear in enumerate(self.linears):
            linear.place = Place(self, k)

    def float_model(self) -> FloatModel:
        """The model with the present weights."""
        layers = [layer for module in self.modules for layer in module.float_layers()]
        begun = (replace(k, initial=of.initial) for k, of in zip(layers, self.template.layers, strict=True))
        model = replace(self.template, layers=tuple(begun))
        if not self.linears:
            return model
        *relu, last = (dense_of(linear) for linear in self.linears)
        return replace(model, relu_layers=tuple(relu), dense_weights=last.weights, dense_bias=last.bias)

    def calibration(self) -> Calibration:
        """The ranges of its modules."""
        found = [module.calibration() for module in self.modules]
        relu = tuple(float(linear.output_max) for linear in self.linears[:-1])
        return replace(
            self.others,
            input_max=found[0].input_max,
            cell_max=tuple(v for of in found for v in of.cell_max),
            hidden_max=tuple(v for of in found for v in of.hidden_max),
            relu_max=relu if self.linears else self.others.relu_max,
        )

    def quantized(self) -> QuantizedModel:
        """The integers of the present weights; kept until these change, as each module asks for them."""
        now = [v.detach() for module in (*self.modules, *self.linears) for v in module.state_dict().values()]
        if self._last:
            before, model = self._last[0]
            if all(v.device == w.device and torch.equal(v, w) for v, w in zip(before, now, strict=True)):
                return model
        bits = [of_level for module in self.modules for of_level in module.bits]
        model = quantize_model(self.float_model(), self.calibration(), bits)
        self._last[:] = [([v.clone() for v in now], model)]
        return model


@dataclass(frozen=True)
class Place:
    """Where a module stands in a chain.

    Attributes:
        chain: It.
        index: Among its recurrent modules, or among its dense layers.
    """

    chain: Chain
    index: int

    def stack(self) -> Stack:
        """A recurrent module's layers in integers."""
        before = sum(len(module.layers) for module in self.chain.modules[: self.index])
        layers = len(self.chain.modules[self.index].layers)
        return part_of(self.chain.quantized(), self.chain.template.std, before, layers)


def dense_of(linear: Linear) -> FloatDense:
    """A dense layer as a value."""
    weights: NDArray[np.float64] = linear.weight.detach().double().cpu().numpy().copy()
    bias: Tensor | None = linear.bias
    if bias is None:
        return FloatDense(weights, np.zeros(len(weights)))
    return FloatDense(weights, bias.detach().double().cpu().numpy().copy())
