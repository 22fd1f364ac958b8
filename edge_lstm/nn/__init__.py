"""PyTorch: recurrent modules whose forward pass computes the runtime's integers, with straight-through gradients.

``prepare`` puts them in the place of the recurrent layers of a user's own model, ``calibrate`` finds their ranges,
``set_phase`` or a ``Schedule`` chooses what their forward pass computes, and ``convert`` gives the integers to ship.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_lstm.nn.converting import calibrate as calibrate
    from edge_lstm.nn.converting import convert as convert
    from edge_lstm.nn.linear import Linear as Linear
    from edge_lstm.nn.modules import CIFG as CIFG
    from edge_lstm.nn.modules import GRU as GRU
    from edge_lstm.nn.modules import LSTM as LSTM
    from edge_lstm.nn.modules import LSTM1997 as LSTM1997
    from edge_lstm.nn.modules import RNN as RNN
    from edge_lstm.nn.modules import GRUResetBefore as GRUResetBefore
    from edge_lstm.nn.modules import PeepholeLSTM as PeepholeLSTM
    from edge_lstm.nn.modules import Recurrent as Recurrent
    from edge_lstm.nn.phases import Phase as Phase
    from edge_lstm.nn.phases import set_phase as set_phase
    from edge_lstm.nn.preparing import Config as Config
    from edge_lstm.nn.preparing import prepare as prepare
    from edge_lstm.nn.schedule import Schedule as Schedule
    from edge_lstm.nn.torch_weights import from_torch as from_torch
    from edge_lstm.nn.torch_weights import to_torch as to_torch

_HOME = {
    "CIFG": "modules",
    "Config": "preparing",
    "GRU": "modules",
    "GRUResetBefore": "modules",
    "LSTM": "modules",
    "LSTM1997": "modules",
    "Linear": "linear",
    "PeepholeLSTM": "modules",
    "Phase": "phases",
    "RNN": "modules",
    "Recurrent": "modules",
    "Schedule": "schedule",
    "calibrate": "converting",
    "convert": "converting",
    "from_torch": "torch_weights",
    "prepare": "preparing",
    "set_phase": "phases",
    "to_torch": "torch_weights",
}

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edge_lstm.nn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edge_lstm.nn.{_HOME[name]}"), name)
