"""Calibration: which ranges the recordings need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import pool, relu_outputs, run_layer, standardize
from edge_lstm.model import FloatModel


@dataclass(frozen=True)
class Calibration:
    """Observed ranges.

    Attributes:
        input_max: (channels,) largest absolute standardized input, at most the model's clip.
        cell_max: Largest absolute cell state of each layer; 0 for a cell without one.
        hidden_max: Largest absolute hidden state of each layer.
        relu_max: Largest output of each dense layer with relu.
    """

    input_max: NDArray[np.float64]
    cell_max: tuple[float, ...]
    hidden_max: tuple[float, ...]
    relu_max: tuple[float, ...] = ()


def calibrate(model: FloatModel, x: Any, *, block: int = 256) -> Calibration:
    """Run the float model over recordings, ``block`` windows at a time, and keep the extremes (min/max calibration).

    Args:
        model: The float model.
        x: (windows, steps, channels) in the channels' units.

    Raises:
        EdgeLstmError: No window, wrong shape, or a sample that is not finite.
    """
    if np.ndim(x) != 3 or len(x) == 0:
        raise EdgeLstmError(f"calibration samples have shape {np.shape(x)}; accepted is (windows, steps, channels)")
    input_max = np.zeros(len(model.signature.channels))
    cell_max, hidden_max = np.zeros(len(model.layers)), np.zeros(len(model.layers))
    relu_max = np.zeros(len(model.relu_layers))
    for start in range(0, len(x), block):
        value = standardize(model, x[start : start + block])
        input_max = np.maximum(input_max, np.abs(value).max(axis=(0, 1)))
        for k, layer in enumerate(model.layers):
            trace = run_layer(layer, value)
            if "c" in trace:
                cell_max[k] = max(cell_max[k], np.abs(trace["c"]).max())
            value = trace["h"]
            hidden_max[k] = max(hidden_max[k], np.abs(value).max())
        for k, output in enumerate(relu_outputs(model, pool(model.pooling, value))):
            relu_max[k] = max(relu_max[k], output.max())
    if not (np.isfinite(cell_max).all() and np.isfinite(hidden_max).all()):
        raise EdgeLstmError("a state of the float model grows without limit over the calibration samples")
    extremes = (tuple(float(v) for v in array) for array in (cell_max, hidden_max, relu_max))
    return Calibration(np.maximum(input_max, 1e-6), *extremes)
