"""Recipes for known data sets."""

from __future__ import annotations

from edge_lstm.train_options import TrainOptions

BASIC_MOTIONS = TrainOptions(validation=0.0, epochs=40)
