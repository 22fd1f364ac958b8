"""Recurrent modules with the signature of ``torch.nn.LSTM`` that compute the runtime's integers in training.

They take what ``torch.nn.LSTM`` takes and give what it gives: batch first or not, one window without an axis of
windows, packed windows of several lengths, initial states, layers, dropout between layers, two directions. They compute
in the type of their parameters, float32 or float64, under autocast too, and give the type that they were given.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from edge_lstm.bits import Bits, Choice, layer_bits
from edge_lstm.calibrate import Calibration
from edge_lstm.cells import Cell, cell, projected
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import STEPS, format_gates, parse_gates
from edge_lstm.layers import FloatLayer, Squashing
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gradient import StraightThrough
from edge_lstm.nn.integer_layer import run_layer
from edge_lstm.nn.layer import Layer
from edge_lstm.nn.observer import Observer
from edge_lstm.nn.packed import Given, Sequences, data, given
from edge_lstm.nn.phases import Phased
from edge_lstm.nn.stack import Stack, stack_alone

States = dict[str, Tensor]
Hidden = Tensor | tuple[Tensor, Tensor]
"""h of all layers, (layers, windows, length); or h and c."""


class Recurrent(Phased):
    """Recurrent layers of any cell.

    Args:
        input_size: Input channels.
        hidden_size: Units of each layer.
        num_layers: Levels of layers, one after the other.
        bias: Whether there are biases; without, they stay zero.
        batch_first: Sequences are (windows, steps, channels).
        dropout: Share of each level's h, but the last one's, that training hides from the next; not in the phase
            ``quantized``.
        bidirectional: Each level has two layers, of which one goes from the last step to the first.
        proj_size: Length of h of a projected cell; 0: half of ``hidden_size``.
        cell: Name of the cell; that of the class where None.
        gates: Gate modes, such as ``"hard"`` or ``"i=hard,f=soft,o=hard"``.
        squash: ``exact`` functions, or their ``hard`` (piecewise linear) forms.
        weight_bits: 8, 4 or 2 (ternary); or one for each level.
        activation_bits: Of inputs and hidden states, 8 or 16; or one for each level.
        activations: ``lut``, or ``lut-interp`` to interpolate in tables.
        device, dtype: Of the parameters, float32 or float64.

    Attributes:
        phase, slope: See ``phases.Phase``; at first ``hard``.
        input_max: (channels,) largest absolute input of the calibration; 0 before it.
        cell_max, hidden_max: (layers,) largest absolute states.

    Raises:
        EdgeLstmError: A value that is not accepted.
    """

    cell: ClassVar[str] = "lstm"
    input_max: Tensor
    cell_max: Tensor
    hidden_max: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        cell: str | None = None,
        gates: str = "hard",
        squash: Squashing = "exact",
        weight_bits: Choice = 8,
        activation_bits: Choice = 8,
        activations: str = "lut",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if value < 1:
                raise EdgeLstmError(f"{name} is {value}; accepted are positive numbers")
        if not 0 <= dropout <= 1:
            raise EdgeLstmError(f"dropout is {dropout}; accepted are 0 to 1")
        if squash not in ("exact", "hard"):
            raise EdgeLstmError(f"squash is {squash!r}; accepted are exact, hard")
        self.kind = _kind(cell or self.cell, hidden_size, proj_size)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional = bidirectional
        self.output_size = (proj_size or max(1, hidden_size // 2)) if self.kind.projected else hidden_size
        self.proj_size = self.output_size if self.kind.projected else 0
        self.modes, self.squash = parse_gates(gates, self.kind.gates), squash
        self.bits: list[Bits] = layer_bits(num_layers, weight_bits, activation_bits, activations)
        ways = (False, True) if bidirectional else (False,)
        widths = [input_size, *[self.output_size * len(ways)] * (num_layers - 1)]
        self.recurrent = nn.ModuleList(
            Layer(self.kind, width, hidden_size, self.output_size, reverse=reverse, beside=reverse)
            for width in widths
            for reverse in ways
        )
        if not bias:
            for layer in self.layers:
                for vector in (layer.b, layer.rb):
                    if vector is not None:
                        nn.init.zeros_(vector).requires_grad_(False)
        for name, length in (
            ("input_max", input_size),
            ("cell_max", len(self.recurrent)),
            ("hidden_max", len(self.recurrent)),
        ):
            self.register_buffer(name, torch.zeros(length))
        self._observer: Observer | None = None
        self.to(device=device, dtype=dtype)

    @property
    def layers(self) -> list[Layer]:
        """All layers, level by level, in each the one that goes forwards first."""
        return [layer for layer in self.recurrent if isinstance(layer, Layer)]

    @property
    def two_states(self) -> bool:
        """Whether its state is h and c; where no function stands between them, c is h with more bits."""
        return "c" in self.kind.states and any(state == "h" for _, state in self.kind.functions.values())

    @property
    def anneals(self) -> bool:
        """Whether there are gates with steps."""
        return any(mode in STEPS for mode in self.modes.values())

    @property
    def calibrated(self) -> bool:
        """Whether its ranges are known."""
        return bool(self.input_max.max() > 0)

    def flatten_parameters(self) -> None:
        """Nothing; as ``torch.nn.LSTM`` has it."""

    def extra_repr(self) -> str:
        """As of ``torch.nn.LSTM``."""
        text = f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, cell={self.kind.name}"
        text += f", gates={format_gates(self.modes)}, phase={self.phase}"
        return text + (", bidirectional=True" if self.bidirectional else "")

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, input: Sequences, hx: Hidden | None = None) -> tuple[Sequences, Hidden]:
        """The h of the last level after each step, and the last states.

        Args:
            input: (steps, windows, channels), with ``batch_first`` (windows, steps, channels); one window (steps,
                channels); or a ``PackedSequence``.
            hx: (layers, windows, length) h before the first step, or a pair of h and c; zero where None.

        Returns:
            h of the last level, laid out as the input, and the last states as ``hx``. Of a ``GRU`` in the phase
            ``quantized`` h is rounded to its 8 or 16 bits, and going on from it loses what its cell had beyond them.

        Raises:
            EdgeLstmError: A wrong shape; or the phase is ``quantized``, and no range is known.
            RangeError: The integers could overflow.
        """
        kept = data(input).dtype
        with torch.autocast(data(input).device.type, enabled=False):
            read = given(input, batch_first=self.batch_first, channels=self.input_size)
            x = read.values.to(self.layers[0].W.dtype)
            initial = self._initial(read, hx)
            found = self._quantized(x, read, initial) if self.phase == "quantized" else self._float(x, read, initial)
            h = torch.cat([states["h"] for states in found[-self._ways :]], dim=-1)
            output = read.output(h.to(kept))
            last = {
                s: read.last(torch.stack([self._end(k, v[s], read) for k, v in enumerate(found)])) for s in found[0]
            }
        if self.two_states:
            return output, (last["h"].to(kept), last["c"].to(kept))
        return output, last["h"].to(kept)

    @property
    def _ways(self) -> int:
        return 2 if self.bidirectional else 1

    def _end(self, k: int, state: Tensor, read: Given) -> Tensor:
        """What a layer computes last, (windows, length)."""
        return state[0] if self.layers[k].reverse else read.steps.last(state)

    def _initial(self, read: Given, hx: Hidden | None) -> list[States | None]:
        """The states of each layer before the first step."""
        if hx is None:
            return [None] * len(self.layers)
        if isinstance(hx, Tensor) == self.two_states:
            wanted = "a pair of h and c" if self.two_states else "one tensor, h"
            raise EdgeLstmError(f"hx is {type(hx).__name__}; a {self.kind.name} takes {wanted}")
        h, c = (hx, hx) if isinstance(hx, Tensor) else hx
        named = {"h": read.initial(h, "h_0", len(self.layers), self.output_size)}
        if "c" in self.kind.states:
            named["c"] = read.initial(c, "c_0", len(self.layers), self.hidden_size)
        dtype = self.layers[0].W.dtype
        return [{s: v[k].to(dtype) for s, v in named.items()} for k in range(len(self.layers))]

    def _float(self, x: Tensor, read: Given, initial: Sequence[States | None]) -> list[States]:
        """States of each layer by the float equations, in the order of time, 0 beyond a window's end."""
        slope = self.slope if self.phase == "float" else None
        activations = Activations(self.kind, self.modes, self.squash, slope)
        found: list[States] = []
        if self._observer is not None:
            self._observer.inputs(x)
        for first in range(0, len(self.layers), self._ways):
            if first:
                x = torch.cat([states["h"] for states in found[-self._ways :]], dim=-1)
                x = nn.functional.dropout(x, self.dropout, self.training)
            for k in range(first, first + self._ways):
                order = read.steps.backwards if self.layers[k].reverse else _as_it_is
                states = self.layers[k].forward_float(order(x), activations, initial[k])
                found.append({s: read.steps.inside(order(v)) for s, v in states.items()})
                if self._observer is not None:
                    self._observer.states(k, found[-1])
        return found

    def _quantized(self, x: Tensor, read: Given, initial: Sequence[States | None]) -> list[States]:
        """As ``_float``, in integers."""
        stack, steps = self.quantized(), read.steps
        on_cpu = type(steps)(steps.when)
        activations = Activations(self.kind, self.modes, self.squash)
        values = torch.from_numpy(stack.quantize(x.detach().double().cpu().numpy()))
        unit, bits = stack.unit, stack.bits
        reach = torch.from_numpy(unit * (2 ** (bits - 1) - 1)).to(x)
        x = StraightThrough.apply(x.clamp(-reach, reach), (values.double() * torch.from_numpy(unit)).to(x))  # type: ignore[no-untyped-call]
        found: list[States] = []
        for first in range(0, len(self.layers), self._ways):
            made = []
            for k in range(first, first + self._ways):
                reverse = self.layers[k].reverse
                order, order_integers = (steps.backwards, on_cpu.backwards) if reverse else (_as_it_is, _as_it_is)
                states, h = run_layer(
                    self.layers[k],
                    stack.layers[k],
                    activations,
                    order(x),
                    order_integers(values),
                    unit,
                    bits,
                    steps.when,
                    initial[k],
                )
                found.append({s: steps.inside(order(v)) for s, v in states.items()})
                made.append(order_integers(h))
            x, values = torch.cat([v["h"] for v in found[-self._ways :]], dim=-1), torch.cat(made, dim=-1)
            h_format = stack.layers[first].h
            unit, bits = np.full(values.shape[-1], h_format.scale), h_format.bits
        return found

    def float_layers(self) -> tuple[FloatLayer, ...]:
        """The layers as values."""
        on_cpu = self.input_max.device.type == "cpu"
        layers = self.layers if on_cpu else [copy.deepcopy(layer).cpu() for layer in self.layers]
        return tuple(layer.float_layer(self.modes, self.squash) for layer in layers)

    def calibration(self) -> Calibration:
        """The ranges as a value.

        Raises:
            EdgeLstmError: They are not known.
        """
        if not self.calibrated:
            raise EdgeLstmError("the ranges of a recurrent module are not known: calibrate the model first")
        ranges = (v.detach().double().cpu() for v in (self.input_max, self.cell_max, self.hidden_max))
        inputs, cells, hidden = ranges
        return Calibration(inputs.numpy(), tuple(cells.tolist()), tuple(hidden.tolist()))

    def quantized(self) -> Stack:
        """The layers in integers: what the phase ``quantized`` computes, and what ``convert`` ships.

        Raises:
            EdgeLstmError: The ranges are not known.
        """
        if self.place is not None:
            return self.place.stack()
        return stack_alone(self.float_layers(), self.calibration(), self.bits)

    def observe(self) -> None:
        """See ``Phased``."""
        self._observer = Observer(self.kind, self.input_size, len(self.layers))

    def observed(self) -> None:
        """See ``Phased``."""
        if self._observer is not None:
            bits = [self.bits[k // self._ways] for k in range(len(self.layers))]
            ranges: Mapping[str, Tensor] = dict(
                zip(("input_max", "cell_max", "hidden_max"), self._observer.found(bits), strict=True)
            )
            for name, found in ranges.items():
                getattr(self, name).copy_(found)
        self._observer = None


class LSTM(Recurrent):
    """``torch.nn.LSTM``; with ``proj_size`` that with a projection."""


class GRU(Recurrent):
    """``torch.nn.GRU``, whose reset gate acts after the matrix product."""

    cell = "gru-after"


class GRUResetBefore(Recurrent):
    """The GRU whose reset gate acts before the matrix product."""

    cell = "gru"


class RNN(Recurrent):
    """``torch.nn.RNN``.

    Args:
        nonlinearity: ``tanh`` or ``relu``.
        sizes, options: As of ``Recurrent``.
    """

    cell = "rnn"

    def __init__(self, *sizes: Any, nonlinearity: str = "tanh", **options: Any) -> None:
        names = {"tanh": "rnn", "relu": "rnn-relu"}
        if nonlinearity not in names:
            raise EdgeLstmError(f"nonlinearity is {nonlinearity!r}; accepted are {', '.join(names)}")
        super().__init__(*sizes, **{"cell": names[nonlinearity], **options})


class PeepholeLSTM(Recurrent):
    """The LSTM whose gates see its cells."""

    cell = "peephole"


class CIFG(Recurrent):
    """The LSTM whose input gate is what its forget gate leaves."""

    cell = "cifg"


class LSTM1997(Recurrent):
    """The LSTM without a forget gate."""

    cell = "lstm-1997"


def _kind(name: str, hidden: int, proj_size: int) -> Cell:
    """The cell of that name, with a projection where one is asked for.

    Raises:
        EdgeLstmError: It has no projection, or that has no such size.
    """
    if name == "lstm" and proj_size:
        name = "lstmp"
    kind = cell(name)
    if proj_size and not kind.projected:
        raise EdgeLstmError(f"proj_size is {proj_size}, and a {name} has no projection; {projected()} has one")
    if not 0 <= proj_size <= hidden:
        raise EdgeLstmError(f"proj_size is {proj_size}; accepted are 0 to {hidden}")
    return kind


def _as_it_is(values: Tensor) -> Tensor:
    return values
