"""The dense layers behind recurrent modules, in the runtime's integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_lstm.fixedpoint import shift_right_floor, shift_right_half_up
from edge_lstm.model import QuantizedModel
from edge_lstm.nn.gradient import StraightThrough
from edge_lstm.nn.phases import Phased
from edge_lstm.requantize import Requantize

if TYPE_CHECKING:
    from edge_lstm.nn.chain import Place


class Linear(nn.Linear, Phased):
    """``torch.nn.Linear``, which in the phase ``quantized`` computes the integers of a model's dense layer.

    It does so behind recurrent modules and pooling, where ``calibrate`` found it there; else it stays in float. Behind
    the mean over a window it finds the sum again, exactly where that has less than 2**23 units: 8-bit h of any window,
    16-bit h of 256 steps, and of more where they are not all near the ends of their range.

    Attributes:
        output_max: Largest output of the calibration.
    """

    output_max: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.register_buffer("output_max", torch.zeros((), device=device, dtype=dtype))
        self._observing = False

    @staticmethod
    def of(module: nn.Linear) -> Linear:
        """A module with the same parameters."""
        weight = module.weight
        bias = module.bias is not None
        made = Linear(module.in_features, module.out_features, bias=bias, device=weight.device, dtype=weight.dtype)
        made.weight, made.bias = module.weight, module.bias
        return made.train(module.training)

    def forward(self, input: Tensor) -> Tensor:
        """Values (..., outputs), of values (..., inputs)."""
        if self.phase == "quantized" and self.place is not None:
            integers: Tensor = self._quantized(input, self.place)
            return integers
        found: Tensor = functional.linear(input, self.weight, self.bias)
        if self._observing:
            self.output_max.copy_(torch.maximum(self.output_max, found.detach().amax().to(self.output_max)))
        return found

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _quantized(self, input: Tensor, place: Place) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            value = input.to(self.weight.dtype)
            integers = dense(place.chain.quantized(), place.index, value.detach().double())
            surrogate = functional.linear(value, self.weight, self.bias)
            found: Tensor = StraightThrough.apply(surrogate, integers.to(surrogate))  # type: ignore[no-untyped-call]
            return found

    def observe(self) -> None:
        """See ``Phased``."""
        self._observing = True
        self.output_max.zero_()

    def observed(self) -> None:
        """See ``Phased``."""
        self._observing = False


def dense(model: QuantizedModel, k: int, value: Tensor) -> Tensor:
    """What a dense layer of a model gives, in real units.

    Args:
        model: In integers; pooling is not attention, and windows have one length where it is the mean.
        k: Index of the layer, among those with relu and the last one.
        value: (..., inputs) float64 of what it reads: h that was pooled, or what the layer before gives.
    """
    read = _pooled(model, value) if k == 0 else torch.round(value / model.relu_layers[k - 1].output.scale)
    if k == len(model.relu_layers):
        weights, bias = (torch.from_numpy(v).to(value) for v in (model.dense_weights, model.dense_bias))
        return (read @ weights.T + bias) * model.score_scale
    layer = model.relu_layers[k]
    weights, bias = (torch.from_numpy(v).to(value) for v in (layer.weights, layer.bias))
    wide = _requantized(read @ weights.T + bias, layer.requantize)
    return wide.clamp(0, layer.output.max) * layer.output.scale


def _pooled(model: QuantizedModel, value: Tensor) -> Tensor:
    """Integers that the first dense layer reads."""
    unit = model.layers[-1].h.scale
    if model.pool is None:
        return torch.round(value / unit)
    total = torch.round(value * (model.signature.steps / unit))
    return _requantized(total, model.pool).clamp(model.pooled.min, model.pooled.max)


def _requantized(accumulator: Tensor, to: Requantize) -> Tensor:
    """R4, of whole numbers in float64."""
    multiplier = torch.from_numpy(to.multiplier).to(accumulator.device).long()
    product = shift_right_floor(accumulator.long(), to.pre_shift) * multiplier
    rounded: Tensor = shift_right_half_up(product, to.post_shift)
    return rounded.double()
