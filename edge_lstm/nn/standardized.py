"""Factors and offsets of the samples, out of the weights that the importer multiplied them into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel
from edge_lstm.wiring import levels

EXACT = 1e-9
"""What float64 leaves of weights and biases, relative to the largest."""
Array = NDArray[np.float64]


def standardized(model: FloatModel, own: Sequence[FloatLayer]) -> FloatModel | None:
    """The model whose first level has its modules' weights, and whose samples are standardized before it.

    Args:
        model: As imported.
        own: The modules' layers.

    Returns:
        None where the weights are not these with a positive factor and an offset of each channel.
    """
    level = levels(model.layers)[0]
    W_found, b_found = _stacked([(model.layers[k], model.layers[k].hidden) for k in level], own[0])
    W, b = _stacked([(own[k], model.layers[k].hidden) for k in level], own[0])
    squares = (W**2).sum(axis=0)
    if not squares.all():
        return None
    factor = (W_found * W).sum(axis=0) / squares
    offset = np.linalg.lstsq(W, b_found - b, rcond=None)[0] if (b_found != b).any() else np.zeros(W.shape[1])
    away = np.abs(W_found - W * factor).max() / np.abs(W_found).max()
    missed = np.abs(W @ offset - (b_found - b)).max() / max(np.abs(b_found).max(), np.abs(b).max(), 1e-30)
    if not (factor > 0).all() or away > EXACT or missed > EXACT:
        return None
    layers = tuple(own[k] if k in level else layer for k, layer in enumerate(model.layers))
    return replace(model, mean=0 - offset / factor, std=1 / factor, layers=layers)


def _stacked(layers: Sequence[tuple[FloatLayer, int]], like: FloatLayer) -> tuple[Array, Array]:
    """W and b of the blocks of all layers, of each so many rows."""
    rows = [(layer, units, block) for layer, units in layers for block in like.W]
    W = np.concatenate([layer.W[block][:units] for layer, units, block in rows])
    return W, np.concatenate([layer.b[block][:units] for layer, units, block in rows])
