"""The decoder of a sequence-to-sequence model in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from edge_lstm.gates import GateMode
from edge_lstm.heads import FloatDecoder
from edge_lstm.layers import Squashing
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.layer import Layer, Watch

States = Mapping[str, Tensor]


class Decoder(nn.Module):
    """Layers that begin with the encoder's last states and are fed the network's own last output, at first zero.

    Training feeds back what the model will be fed where it ships, and not the targets. The gradient through what is
    fed back is cut: an output is trained by its own step's loss, and by those of later steps through the states.

    Args:
        encoder: Of whose cells and sizes the layers are.
        steps: Outputs that it gives.
        scale: (outputs,) size of the outputs: they are divided by it before the first layer is given them.
    """

    def __init__(self, encoder: Sequence[Layer], steps: int, scale: Tensor) -> None:
        super().__init__()
        self.steps, self.scale = steps, scale
        widths = [len(scale), *(layer.outputs for layer in encoder)]
        self.layers = [
            Layer(layer.kind, width, layer.hidden, layer.outputs)
            for layer, width in zip(encoder, widths[:-1], strict=True)
        ]
        self.recurrent = nn.ModuleList(self.layers)

    def forward_float(
        self,
        initial: Sequence[States],
        scores: Callable[[Tensor], Tensor],
        activations: Activations,
        watch: Watch | None = None,
    ) -> Tensor:
        """h of the last layer by the float equations, (steps, windows, outputs).

        Args:
            initial: Of each layer, the encoder's last states.
            scores: From such an h to the outputs.
            activations: Gates and functions.
            watch: As of ``Layer.forward_float``.
        """
        value, traces = self._free_run(initial, scores, activations)
        for layer, trace, before in zip(self.layers, traces, initial, strict=True):
            value = layer.replayed(value, activations, trace, before, watch)["h"]
        return value

    @torch.no_grad()
    def _free_run(
        self, initial: Sequence[States], scores: Callable[[Tensor], Tensor], activations: Activations
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """What the first layer is given, and the trace of each layer."""
        states = list(initial)
        windows = len(states[0]["h"])
        fed, given = states[0]["h"].new_zeros(1, windows, len(self.scale)), []
        traces: list[list[dict[str, Tensor]]] = [[] for _ in self.layers]
        for _ in range(self.steps):
            given.append(fed)
            value = fed
            for k, layer in enumerate(self.layers):
                trace = layer.trace(value, activations, states[k])
                traces[k].append(trace)
                states[k] = {s: trace[s][0] for s in layer.kind.states}
                value = trace["h"]
            fed = scores(value) / self.scale
        together = [{name: torch.cat([step[name] for step in of]) for name in of[0]} for of in traces]
        return torch.cat(given), together

    def value(self, modes: Mapping[str, GateMode], squash: Squashing) -> FloatDecoder:
        """As a value."""
        scales = [self.scale, *[None] * (len(self.layers) - 1)]
        made = (layer.float_layer(modes, squash, scale) for layer, scale in zip(self.layers, scales, strict=True))
        return FloatDecoder(tuple(made), self.steps)
