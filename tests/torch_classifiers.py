"""Users' models of PyTorch, with recurrent layers that ``edge_lstm.nn.prepare`` swaps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CHANNELS, STEPS, CLASSES = 3, 9, 4
torch.set_num_threads(1)  # of models this small more only wait for each other


class Spec(NamedTuple):
    """A classifier: recurrent layers, pooling, dense layers."""

    kind: str = "LSTM"
    pooling: str = "mean"
    bidirectional: bool = False
    layers: int = 1
    relu: bool = False
    proj_size: int = 0
    before: str = ""


class Classifier(nn.Module):
    """As its users write it: windows (windows, steps, channels) to scores."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec, width = spec, CHANNELS
        if "conv" in spec.before:
            self.conv, width = nn.Conv1d(CHANNELS, 8, 3, padding=1), 8
        options = {"proj_size": spec.proj_size} if spec.proj_size else {}
        self.recurrent = getattr(nn, spec.kind)(
            width, 6, spec.layers, batch_first=True, bidirectional=spec.bidirectional, **options
        )
        width = (spec.proj_size or 6) * (2 if spec.bidirectional else 1)
        self.score = nn.Linear(width, 1)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, CLASSES))
        if spec.relu:
            self.head = nn.Sequential(nn.Linear(width, 7), nn.ReLU(), nn.Dropout(0.2), nn.Linear(7, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        spec = self.spec
        if "scale" in spec.before:
            x = (x - 0.3) / 1.7
        if "conv" in spec.before:
            x = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        y, state = self.recurrent(x)
        h = state[0] if isinstance(state, tuple) else state
        if spec.pooling == "last":
            value = y[:, -1]
        elif spec.pooling == "state":
            value = torch.cat([h[-2], h[-1]], -1) if spec.bidirectional else h[-1]
        elif spec.pooling == "mean":
            value = y.mean(1)
        elif spec.pooling == "max":
            value = y.max(1).values
        elif spec.pooling == "attention":
            value = (torch.softmax(self.score(y), 1) * y).sum(1)
        else:
            value = y
        scores: Tensor = self.head(value)
        return scores


class Two(nn.Module):
    """Two recurrent modules; the second begins with a state that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"lstm": nn.LSTM(CHANNELS, 5, batch_first=True, bidirectional=True)})
        self.between = nn.Dropout(0.3)
        self.gru = nn.GRU(10, 6, 2)
        self.start = nn.Parameter(torch.randn(2, 1, 6) / 2)
        self.dense = nn.Linear(6, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.between(self.encoder["lstm"](x)[0]).transpose(0, 1)
        _, h = self.gru(y, self.start.expand(-1, len(x), -1).contiguous())
        scores: Tensor = self.dense(h[-1])
        return scores


class OfSeveralLengths(nn.Module):
    """Packs its windows."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.recurrent = nn.LSTM(CHANNELS, 6, 2, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, (h, _) = self.recurrent(pack_padded_sequence(x, lengths, batch_first=True))
        if self.pooling == "each":
            value, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        else:
            value = torch.cat([h[-2], h[-1]], -1)
        scores: Tensor = self.dense(value)
        return scores
