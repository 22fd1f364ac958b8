"""Builders of models and of input integers, as fixtures that give functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.gates import parse_gates
from edge_lstm.model import FloatLayer, FloatModel, QuantizedModel, Signature
from edge_lstm.ptq import quantize

BLOCKS = "ifgo"


def build_float_model(
    gates: str = "soft",
    *,
    hidden: int = 8,
    inputs: int = 3,
    classes: int = 4,
    layers: int = 1,
    pooling: str = "last",
    steps: int = 12,
    seed: int = 0,
    name: str = "m",
) -> FloatModel:
    """A random float LSTM; ``gates`` as on the command line."""
    rng = np.random.default_rng(seed)
    modes = parse_gates(gates, ("i", "f", "o"))
    stack, width = [], inputs
    for _ in range(layers):
        stack.append(
            FloatLayer(
                "lstm",
                {k: rng.normal(0, 0.8, (hidden, width)) for k in BLOCKS},
                {k: rng.normal(0, 0.4, (hidden, hidden)) for k in BLOCKS},
                {k: rng.normal(0, 0.3, hidden) + (k == "f") for k in BLOCKS},
                modes,
            )
        )
        width = hidden
    channels, labels = tuple(f"channel{k}" for k in range(inputs)), tuple(f"class{k}" for k in range(classes))
    return FloatModel(
        signature=Signature(name, channels, ("g",) * inputs, 10.0, steps, labels),
        mean=rng.normal(0, 1, inputs),
        std=rng.uniform(0.5, 2, inputs),
        clip=4.0,
        layers=tuple(stack),
        pooling=pooling,
        dense_weights=rng.normal(0, 1, (classes, hidden)),
        dense_bias=rng.normal(0, 1, classes),
    )


def build_quantized(gates: str = "soft", *, seed: int = 0, **options: Any) -> QuantizedModel:
    """A random integer LSTM, calibrated on small samples so that livelier ones saturate the cell state."""
    model = build_float_model(gates, seed=seed, **options)
    samples = np.random.default_rng(seed + 1).normal(0, 1, (8, 12, len(model.signature.channels)))
    return quantize(model, calibration=samples)


def build_windows(model: QuantizedModel, steps: int, *, seed: int = 0) -> np.ndarray:
    """Input integers (windows, steps, channels): all +127, all -127, zero, an impulse, alternating extremes, random."""
    shape = (steps, len(model.signature.channels))
    impulse, alternating = np.zeros(shape, np.int32), np.full(shape, 127, np.int32)
    impulse[0] = 127
    alternating[1::2] = -127
    extremes = [np.full(shape, v, np.int32) for v in (127, -127, 0)]
    random = np.random.default_rng(seed).integers(-127, 128, (2, *shape)).astype(np.int32)
    return np.stack([*extremes, impulse, alternating, *random])


@pytest.fixture(scope="session")
def make_float_model() -> Callable[..., FloatModel]:
    return build_float_model


@pytest.fixture(scope="session")
def make_quantized() -> Callable[..., QuantizedModel]:
    return build_quantized


@pytest.fixture(scope="session")
def make_windows() -> Callable[..., np.ndarray]:
    return build_windows
