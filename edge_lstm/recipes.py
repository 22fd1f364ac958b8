"""Recipes for known data sets."""

from __future__ import annotations

from edge_lstm.train_options import TrainOptions

BASIC_MOTIONS = TrainOptions(
    epochs=40,
    validation=0.0,
    averaging=0.98,
    magnitude=0.2,
    rotation=0.3,
    shift=0.2,
    warp=0.2,
)
"""Chosen by cross-validation inside the training windows: ``benchmarks/choose_recipe.py``."""
