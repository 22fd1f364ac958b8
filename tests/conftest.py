"""Builders of models and of input integers, as fixtures that give functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.cells import CELLS
from edge_lstm.gates import parse_gates
from edge_lstm.model import FloatLayer, FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.signature import Signature


def build_float_model(
    gates: str = "soft",
    *,
    cell: str = "lstm",
    squash: str = "exact",
    hidden: int = 8,
    inputs: int = 3,
    classes: int = 4,
    layers: int = 1,
    pooling: str = "last",
    steps: int = 12,
    seed: int = 0,
    name: str = "m",
) -> FloatModel:
    """A random float model; ``gates`` as on the command line. A projected cell has one output less than units."""
    rng, kind = np.random.default_rng(seed), CELLS[cell]
    modes = parse_gates(gates, kind.gates)
    outputs = hidden - 1 if kind.projected else hidden
    stack, width = [], inputs
    for _ in range(layers):
        stack.append(
            FloatLayer(
                cell,
                {k: rng.normal(0, 0.8, (hidden, width)) for k in kind.blocks},
                {k: rng.normal(0, 0.4, (hidden, outputs)) for k in kind.blocks},
                {k: rng.normal(0, 0.3, hidden) + (k == "f") for k in kind.blocks},
                modes,
                rb={k: rng.normal(0, 0.3, hidden) for k in kind.split},
                p={k: rng.normal(0, 0.3, hidden) for k in kind.peepholes},
                P=rng.normal(0, 0.5, (outputs, hidden)) if kind.projected else None,
                squash=squash,
            )
        )
        width = outputs
    channels, labels = tuple(f"channel{k}" for k in range(inputs)), tuple(f"class{k}" for k in range(classes))
    return FloatModel(
        signature=Signature(name, channels, ("g",) * inputs, 10.0, steps, labels),
        mean=rng.normal(0, 1, inputs),
        std=rng.uniform(0.5, 2, inputs),
        clip=4.0,
        layers=tuple(stack),
        pooling=pooling,
        dense_weights=rng.normal(0, 1, (classes, width)),
        dense_bias=rng.normal(0, 1, classes),
    )


def build_quantized(
    gates: str = "soft",
    *,
    seed: int = 0,
    weight_bits: int | str = 8,
    activation_bits: int | str = 8,
    activations: str = "lut",
    **options: Any,
) -> QuantizedModel:
    """A random integer model, calibrated on small samples so that livelier ones saturate the cell state."""
    model = build_float_model(gates, seed=seed, **options)
    samples = np.random.default_rng(seed + 1).normal(0, 1, (8, 12, len(model.signature.channels)))
    return quantize(
        model, calibration=samples, weight_bits=weight_bits, activation_bits=activation_bits, activations=activations
    )


def build_windows(model: QuantizedModel, steps: int, *, seed: int = 0) -> np.ndarray:
    """Input integers (windows, steps, channels): all largest, all smallest, zero, an impulse, alternating, random."""
    shape, largest = (steps, len(model.signature.channels)), model.input_format.max
    impulse, alternating = np.zeros(shape, np.int32), np.full(shape, largest, np.int32)
    impulse[0] = largest
    alternating[1::2] = -largest
    extremes = [np.full(shape, v, np.int32) for v in (largest, -largest, 0)]
    random = np.random.default_rng(seed).integers(-largest, largest + 1, (2, *shape)).astype(np.int32)
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
