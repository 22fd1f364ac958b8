"""Recurrent networks on wearables: hard-gate, fixed-point LSTMs whose desktop integers are the device's integers.

Everything here is imported when it is first used, so that ``import edge_lstm`` needs nothing but Python.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edge_lstm._version import __version__

if TYPE_CHECKING:
    from edge_lstm.api import export_model as export_model
    from edge_lstm.api import run as run
    from edge_lstm.cost import Cost as Cost
    from edge_lstm.cost import simulate as simulate
    from edge_lstm.errors import EdgeLstmError as EdgeLstmError
    from edge_lstm.importing.load import ImportedModel as ImportedModel
    from edge_lstm.importing.load import import_onnx as import_onnx
    from edge_lstm.model import FloatModel as FloatModel
    from edge_lstm.model import QuantizedModel as QuantizedModel
    from edge_lstm.ptq import quantize as quantize
    from edge_lstm.runtime import Stream as Stream
    from edge_lstm.storage import load as load
    from edge_lstm.train_options import TrainOptions as TrainOptions
    from edge_lstm.training import train as train
    from edge_lstm.verification import Verification as Verification
    from edge_lstm.verification import verify as verify

_HOME = {
    "Cost": "cost",
    "EdgeLstmError": "errors",
    "FloatModel": "model",
    "ImportedModel": "importing.load",
    "QuantizedModel": "model",
    "Stream": "runtime",
    "TrainOptions": "train_options",
    "Verification": "verification",
    "export_model": "api",
    "import_onnx": "importing.load",
    "load": "storage",
    "quantize": "ptq",
    "run": "api",
    "simulate": "cost",
    "train": "training",
    "verify": "verification",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edge_lstm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edge_lstm.{_HOME[name]}"), name)
