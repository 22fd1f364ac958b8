"""A user's own model with modules of edge-lstm in the place of PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from edge_lstm.bits import Choice
from edge_lstm.errors import EdgeLstmError
from edge_lstm.layers import Squashing
from edge_lstm.nn.linear import Linear
from edge_lstm.nn.swap import swapped
from edge_lstm.nn.torch_weights import ORDERS, from_torch


@dataclass(frozen=True, kw_only=True)
class Config:
    """What becomes of a recurrent module.

    Args:
        gates: Gate modes, such as ``"hard"`` or ``"i=hard,f=soft,o=hard"``.
        squash: ``exact`` functions, or their ``hard`` (piecewise linear) forms.
        weight_bits: 8, 4 or 2 (ternary); or one for each level of layers.
        activation_bits: Of inputs and hidden states, 8 or 16; or one for each level.
        activations: ``lut``, or ``lut-interp`` to interpolate in tables.
    """

    gates: str = "hard"
    squash: Squashing = "exact"
    weight_bits: Choice = 8
    activation_bits: Choice = 8
    activations: str = "lut"

    def options(self, module: nn.RNNBase) -> dict[str, Any]:
        """For ``from_torch``; a cell without gates has none."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return given | ({"gates": "soft"} if isinstance(module, nn.RNN) else {})


def prepare(
    model: nn.Module, config: Config | Mapping[str, Config | None] | None = None, *, inplace: bool = False
) -> nn.Module:
    """A model whose recurrent layers, and dense layers, are those of edge-lstm, with the same weights.

    It computes what it did, but for gates that are not soft. Then: ``calibrate``, training with ``set_phase`` or a
    ``Schedule``, ``convert``.

    Args:
        model: Any, with ``torch.nn.LSTM``, ``GRU`` or ``RNN`` in it.
        config: Of all recurrent modules; or by qualified name, where ``""`` is for all that nothing else names, a name
            is for all modules in it too, the longest name counts, and None leaves a module as it is.
        inplace: Change the model itself.

    Returns:
        A copy; with ``inplace`` the model, or what takes its place where it is a recurrent module itself.

    Raises:
        EdgeLstmError: A module that can't be swapped, which it names, or a name in ``config`` that no module has.
    """
    chosen = dict(config) if isinstance(config, Mapping) else {"": config or Config()}
    _check_names(model, chosen)
    known = [name for name, module in model.named_modules() if _swappable(name, module, chosen)]
    if not known:
        raise EdgeLstmError("the model has no recurrent module to swap; accepted are torch.nn.LSTM, GRU, RNN")

    def replacement(name: str, module: nn.Module) -> nn.Module | None:
        if type(module) is nn.Linear:
            return Linear.of(module)
        if name not in known or not isinstance(module, nn.RNNBase):
            return None
        of = _config(name, chosen)
        assert of is not None
        try:
            return from_torch(module, **of.options(module))
        except EdgeLstmError as error:
            raise EdgeLstmError(f"module {name!r}: {error}") from None

    return swapped(model if inplace else copy.deepcopy(model), replacement)


def _config(name: str, chosen: Mapping[str, Config | None]) -> Config | None:
    """Of a module: that of the longest name that is it, or in which it is."""
    names = [given for given in chosen if given in ("", name) or name.startswith(f"{given}.")]
    return chosen[max(names, key=len)] if names else None


def _swappable(name: str, module: nn.Module, chosen: Mapping[str, Config | None]) -> bool:
    """Whether a module is to be swapped.

    Raises:
        EdgeLstmError: It is, and can't be.
    """
    if not isinstance(module, nn.RNNBase | nn.RNNCellBase) or _config(name, chosen) is None:
        return False
    if type(module) not in ORDERS:
        raise EdgeLstmError(
            f"module {name!r} is {type(module).__name__}, which can't be swapped; accepted are torch.nn.LSTM, GRU, RNN "
            "themselves, or None for it in config"
        )
    return True


def _check_names(model: nn.Module, chosen: Mapping[str, Config | None]) -> None:
    names = [name for name, _ in model.named_modules()]
    for name in chosen:
        if name not in names:
            recurrent = [n for n, m in model.named_modules() if isinstance(m, nn.RNNBase)]
            raise EdgeLstmError(
                f"config names {name!r}, and no module has this name; recurrent are {', '.join(map(repr, recurrent))}"
            )
