"""What follows the recurrent layers in training: pooling, dense layers, and the unit of the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from edge_lstm.heads import EXP_RANGE, FloatAttention
from edge_lstm.layers import FloatDense
from edge_lstm.model import Pooling
from edge_lstm.nn.layer import Layer
from edge_lstm.nn.steps import Steps

ATTENTION_BIAS = -EXP_RANGE / 2
"""At first: scores may then grow and shrink alike before a limit cuts their gradient off."""


def together(parts: Sequence[Tensor]) -> Tensor:
    """Side by side; of one part that itself, without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-1)


class Attention(nn.Module):
    """Parameters of ``heads.FloatAttention``.

    Args:
        width: Of what is pooled.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(width) / width**0.5)
        self.bias = nn.Parameter(torch.full((1,), ATTENTION_BIAS))

    def pooled(self, h: Tensor, steps: Steps) -> Tensor:
        """(steps, windows, width) to (windows, width)."""
        score = h @ self.weights + self.bias
        weight = steps.inside(torch.exp(torch.clamp(score, -EXP_RANGE, 0.0)))[..., None]
        return (weight * h).sum(dim=0) / weight.sum(dim=0)

    def value(self) -> FloatAttention:
        """As a value."""
        weights, bias = (p.detach().double().numpy().copy() for p in (self.weights, self.bias))
        return FloatAttention(weights, bias)


class Head(nn.Module):
    """Pooling, dense layers with relu, a dense layer; its results times ``scale`` plus ``mean`` are the outputs.

    Args:
        width: Of the last level of layers.
        relu: Widths of the dense layers with relu.
        pooling: As of a ``FloatModel``.
        dropout: Share of the features that training hides.
        mean, scale: (outputs,) as of the targets of a regression; 0 and 1 of a classifier.
    """

    def __init__(
        self, width: int, relu: Sequence[int], pooling: Pooling, dropout: float, mean: Tensor, scale: Tensor
    ) -> None:
        super().__init__()
        widths = [width, *relu]
        self.relu_layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.dense = nn.Linear(widths[-1], len(mean))
        self.attention = Attention(width) if pooling == "attention" else None
        self.dropout = nn.Dropout(dropout)
        self.pooling, self.mean, self.scale = pooling, mean, scale

    def pool(self, layers: Sequence[Layer], h: Sequence[Tensor], steps: Steps) -> Tensor:
        """What the dense layers read: (windows, width), or (steps, windows, width) where there is no pooling.

        Args:
            layers: Of the last level.
            h: Of each of them, (steps, windows, length) in the order of time.
            steps: Of the windows.
        """
        if self.pooling == "last":
            ends = [v[0] if k.reverse else steps.last(v) for k, v in zip(layers, h, strict=True)]
            return together(ends)
        if self.pooling == "newest":
            return together([steps.last(v) for v in h])
        every = together(h)
        if self.attention is not None:
            return self.attention.pooled(every, steps)
        if self.pooling == "max":
            return steps.inside(every, -torch.inf).max(dim=0).values
        return steps.mean(every) if self.pooling == "mean" else every

    def forward(self, features: Tensor) -> Tensor:
        """Scores, in the unit of the outputs, of features of which training hides some."""
        return self.scores(self.dropout(features))

    def scores(self, value: Tensor) -> Tensor:
        """Scores of all features."""
        for layer in self.relu_layers:
            value = torch.relu(layer(value))
        return cast(Tensor, self.dense(value) * self.scale + self.mean)

    def float_relu(self) -> tuple[FloatDense, ...]:
        """The dense layers with relu as values."""
        made = (cast(nn.Linear, layer) for layer in self.relu_layers)
        return tuple(
            FloatDense(*(p.detach().double().numpy().copy() for p in (layer.weight, layer.bias))) for layer in made
        )

    def float_dense(self) -> FloatDense:
        """The last dense layer as a value, whose results are in the unit of the outputs. Float32 values."""
        weights = self.dense.weight.detach() * self.scale[:, None]
        bias = self.dense.bias.detach() * self.scale + self.mean
        return FloatDense(weights.double().numpy(), bias.double().numpy())
