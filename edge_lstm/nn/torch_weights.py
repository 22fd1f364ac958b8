"""Weights of PyTorch's own recurrent modules, from and to those of edge-lstm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edge_lstm.errors import EdgeLstmError
from edge_lstm.nn.layer import Layer
from edge_lstm.nn.modules import GRU, LSTM, RNN, Recurrent

TORCH_CELLS = ("lstm", "lstmp", "gru-after", "rnn", "rnn-relu")
"""Cells that PyTorch has."""
ORDERS: Mapping[type[nn.RNNBase], tuple[str, ...]] = {
    nn.LSTM: ("i", "f", "g", "o"),
    nn.GRU: ("r", "z", "n"),
    nn.RNN: ("t",),
}
"""In which PyTorch packs the rows of a layer's blocks."""


class Direction(NamedTuple):
    """Parameters of one layer in one direction, as PyTorch names them; without ``bias`` there are no biases."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    weight_hr: Tensor | None


def directions(module: nn.RNNBase) -> Iterator[Direction]:
    """The parameters of a module, in the order of ``Recurrent.layers``."""
    for level in range(module.num_layers):
        for reverse in ("", "_reverse") if module.bidirectional else ("",):
            yield Direction(*(getattr(module, f"{name}_l{level}{reverse}", None) for name in Direction._fields))  # type: ignore[arg-type]


def from_torch(module: nn.RNNBase, **options: Any) -> Recurrent:
    """A module of edge-lstm with the weights of one of PyTorch; its two biases are added, but where a gate is between.

    Args:
        module: ``torch.nn.LSTM``, ``GRU`` or ``RNN``.
        options: ``gates``, ``squash``, ``weight_bits``, ``activation_bits`` and ``activations`` of ``Recurrent``. With
            soft gates it computes the same.

    Raises:
        EdgeLstmError: Another module, or an option that is not accepted.
    """
    made = _like(module, options)
    order = ORDERS[type(module)]
    with torch.no_grad():
        for layer, of in zip(made.layers, directions(module), strict=True):
            layer.W.copy_(_reordered(of.weight_ih, order, layer.kind.blocks))
            layer.R.copy_(_reordered(of.weight_hh, order, layer.kind.blocks))
            if layer.P is not None and of.weight_hr is not None:
                layer.P.copy_(of.weight_hr)
            layer.b.zero_()
            if of.bias_ih is None or of.bias_hh is None:
                continue
            biases = (of.bias_ih.chunk(len(order)), of.bias_hh.chunk(len(order)))
            for block, of_x, of_h in zip(order, *biases, strict=True):
                split = block in layer.kind.split
                layer.rows(layer.b, block).copy_(of_x if split else of_x + of_h)
                if split:
                    assert layer.rb is not None
                    layer.rows(layer.rb, block, layer.kind.split).copy_(of_h)
    return made.train(module.training)


def to_torch(module: Recurrent) -> nn.RNNBase:
    """PyTorch's own module that computes the same.

    Raises:
        EdgeLstmError: The cell is none of PyTorch, or its gates or functions are not.
    """
    name = module.kind.name
    if name not in TORCH_CELLS:
        raise EdgeLstmError(f"PyTorch has no cell {name!r}; accepted are {', '.join(TORCH_CELLS)}")
    if module.squash != "exact" or any(mode != "soft" for mode in module.modes.values()):
        raise EdgeLstmError("PyTorch has soft gates and exact functions only; those of this module are others")
    kind = {"gru-after": nn.GRU, "rnn": nn.RNN, "rnn-relu": nn.RNN}.get(name, nn.LSTM)
    made = like_torch(module, kind, module.hidden_size, module.proj_size)
    for of, layer in zip(directions(made), module.layers, strict=True):
        fill(of, ORDERS[kind], layer)
        if layer.P is not None and of.weight_hr is not None:
            with torch.no_grad():
                of.weight_hr.copy_(layer.P)
    return made.train(module.training)


def like_torch(module: Recurrent, kind: type[nn.RNNBase], hidden: int, proj_size: int = 0) -> nn.RNNBase:
    """A module of PyTorch of a kind with the layers of another module, its parameters on the same device."""
    options: dict[str, Any] = {"proj_size": proj_size} if proj_size else {}
    if module.kind.name == "rnn-relu":
        options["nonlinearity"] = "relu"
    made: Callable[..., nn.RNNBase] = kind
    return made(
        module.input_size,
        hidden,
        num_layers=module.num_layers,
        bias=module.bias,
        batch_first=module.batch_first,
        dropout=module.dropout,
        bidirectional=module.bidirectional,
        device=module.input_max.device,
        dtype=module.layers[0].W.dtype,
        **options,
    )


@torch.no_grad()
def fill(of: Direction, order: tuple[str, ...], layer: Layer) -> None:
    """Copy what a layer of PyTorch has of a layer's blocks: W, R and biases; zero what it does not have.

    Args:
        of: To fill, of at most as many units.
        order: Of its blocks.
        layer: From where.
    """
    units = len(of.weight_ih) // len(order)
    kind, packed = layer.kind, layer.packed
    for number, block in enumerate(order):
        rows = slice(number * units, (number + 1) * units)
        has = block in kind.blocks
        of.weight_ih[rows] = layer.rows(packed.W, block)[:units] if has else 0
        of.weight_hh[rows] = layer.rows(packed.R, block)[:units] if has else 0
        if of.bias_ih is not None and of.bias_hh is not None:
            of.bias_ih[rows] = layer.rows(layer.b, block)[:units] if has else 0
            of.bias_hh[rows] = 0
            if block in kind.split and layer.rb is not None:
                of.bias_hh[rows] = layer.rows(layer.rb, block, kind.split)


def _like(module: nn.RNNBase, options: dict[str, Any]) -> Recurrent:
    if type(module) not in ORDERS:
        raise EdgeLstmError(
            f"{type(module).__module__}.{type(module).__name__} can't be swapped; accepted are torch.nn.LSTM, GRU, RNN"
        )
    given: dict[str, Any] = {
        name: getattr(module, name)
        for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
    }
    given |= {"device": module.weight_ih_l0.device, "dtype": module.weight_ih_l0.dtype, **options}
    if isinstance(module, nn.LSTM):
        return LSTM(**given, proj_size=module.proj_size)
    if isinstance(module, nn.GRU):
        return GRU(**given)
    return RNN(**given, nonlinearity=str(module.nonlinearity))


def _reordered(packed: Tensor, order: tuple[str, ...], wanted: tuple[str, ...]) -> Tensor:
    """Rows of blocks in another order."""
    rows = dict(zip(order, packed.chunk(len(order)), strict=True))
    return torch.cat([rows[block] for block in wanted])
