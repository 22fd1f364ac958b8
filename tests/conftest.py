"""Builders of models and of input integers, as fixtures that give functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.cells import CELLS
from edge_lstm.gates import parse_gates
from edge_lstm.heads import FloatAttention, FloatDecoder
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel, QuantizedModel
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
                {k: rng.normal(0, 0.8, (hidden, width)) for k in kind.matrices},
                {k: rng.normal(0, 0.4, (hidden, outputs)) for k in kind.matrices},
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


FORMS: dict[str, dict[str, Any]] = {
    "reversed": {"levels": "<"},
    "bidirectional": {"levels": "<>"},
    "bidirectional mean": {"levels": "<>", "pooling": "mean"},
    "bidirectional max": {"levels": "><", "pooling": "max"},
    "bidirectional attention": {"levels": "><", "pooling": "attention"},
    "bidirectional newest": {"levels": "><", "pooling": "newest", "variable": True},
    "bidirectional each": {"levels": "><", "pooling": "each"},
    "bidirectional stack": {"levels": "><,><,>", "pooling": "mean", "cells": ("lstm", "gru", "peephole")},
    "there and back": {"levels": ">,<,>", "pooling": "last", "cells": ("lstm-1997", "gru-after", "rnn")},
    "beside": {"levels": ">>", "pooling": "attention", "cells": ("lstmp",)},
    "initial": {"initial": True},
    "bidirectional initial": {"levels": "><", "initial": True, "variable": True, "cells": ("cifg",)},
    "clip": {"clip": 0.7, "cells": ("peephole", "gru-after"), "levels": ">,>"},
    "clip relu": {"clip": 0.7, "cells": ("rnn-relu",)},
    "attention": {"pooling": "attention"},
    "each": {"pooling": "each"},
    "each softmax": {"pooling": "each", "probabilities": True},
    "softmax": {"probabilities": True},
    "variable": {"variable": True},
    "variable mean": {"variable": True, "pooling": "mean"},
    "variable max": {"variable": True, "pooling": "max"},
    "variable attention": {"variable": True, "pooling": "attention"},
    "variable each": {"variable": True, "pooling": "each", "levels": ">,<"},
    "variable bidirectional": {"variable": True, "levels": "><,><", "pooling": "mean", "cells": ("lstm", "rnn")},
    "variable bidirectional attention": {"variable": True, "levels": "><", "pooling": "attention"},
    "decoder": {"decoder": 7},
    "decoder stack": {"decoder": 5, "levels": ">,>", "cells": ("lstm", "gru"), "task": "regress"},
    "decoder variable": {"decoder": 15, "variable": True, "cells": ("rnn",), "probabilities": True},
}
"""What a model may be beside a stack of forward layers with one output: options of ``build_form``."""


def build_form(
    form: str,
    gates: str = "soft",
    *,
    cells: tuple[str, ...] = (),
    hidden: int = 6,
    inputs: int = 3,
    classes: int = 4,
    steps: int = 12,
    seed: int = 0,
) -> FloatModel:
    """A random float model of a form of ``FORMS``: levels of layers, of which ``<`` go backwards."""
    options = FORMS[form]
    rng = np.random.default_rng([seed, *form.encode()])
    levels = options.get("levels", ">").split(",")
    cells = cells or options.get("cells", ("lstm",))

    def layer(kind: Any, width: int, **where: Any) -> FloatLayer:
        outputs = hidden - 1 if kind.projected else hidden
        begun = {s: rng.uniform(-0.9, 0.9, outputs if s == "h" else hidden) for s in kind.states}
        if kind.unit_cell:
            begun["h"] = begun["c"]
        return FloatLayer(
            kind.name,
            {k: rng.normal(0, 0.8, (hidden, width)) for k in kind.matrices},
            {k: rng.normal(0, 0.4, (hidden, outputs)) for k in kind.matrices},
            {k: rng.normal(0, 0.3, hidden) + (k == "f") for k in kind.blocks},
            parse_gates(gates, kind.gates) if kind.gates else {},
            rb={k: rng.normal(0, 0.3, hidden) for k in kind.split},
            p={k: rng.normal(0, 0.3, hidden) for k in kind.peepholes},
            P=rng.normal(0, 0.5, (outputs, hidden)) if kind.projected else None,
            clip=options.get("clip"),
            initial=begun if options.get("initial") else {},
            **where,
        )

    layers: list[FloatLayer] = []
    width = inputs
    for k, level in enumerate(levels):
        kind = CELLS[cells[k % len(cells)]]
        layers += [layer(kind, width, reverse=sign == "<", beside=j > 0) for j, sign in enumerate(level)]
        width = sum(of.outputs for of in layers[-len(level) :])
    decoder = None
    if "decoder" in options:
        decoded, given = [], classes
        for of in layers:
            decoded.append(layer(CELLS[of.cell], given))
            given = of.outputs
        decoder = FloatDecoder(tuple(decoded), options["decoder"])
    attention = None
    if options.get("pooling") == "attention":
        attention = FloatAttention(rng.normal(0, 2, width), np.array([-3.0]))
    channels, labels = tuple(f"channel{k}" for k in range(inputs)), tuple(f"class{k}" for k in range(classes))
    return FloatModel(
        signature=Signature(
            "m",
            channels,
            ("g",) * inputs,
            10.0,
            steps,
            labels,
            task=options.get("task", "classify"),
            variable=options.get("variable", False),
            probabilities=options.get("probabilities", False),
        ),
        mean=rng.normal(0, 1, inputs),
        std=rng.uniform(0.5, 2, inputs),
        clip=4.0,
        layers=tuple(layers),
        pooling=options.get("pooling", "last"),
        dense_weights=rng.normal(0, 0.3 if decoder else 1, (classes, width)),  # what is fed back must not grow
        dense_bias=rng.normal(0, 0.3 if decoder else 1, classes),
        attention=attention,
        decoder=decoder,
    )


def build_quantized_form(
    form: str, gates: str = "soft", *, weight_bits: int = 8, activation_bits: int = 8, **options: Any
) -> QuantizedModel:
    """``build_form`` in integers, calibrated on small samples."""
    model = build_form(form, gates, **options)
    samples = np.random.default_rng(1).normal(0, 1, (8, model.signature.steps, len(model.signature.channels)))
    return quantize(model, calibration=samples, weight_bits=weight_bits, activation_bits=activation_bits)


def build_lengths(model: FloatModel | QuantizedModel, windows: int, steps: int, *, seed: int = 0) -> np.ndarray | None:
    """Of a model for windows of several lengths: the longest, the shortest and others; else None."""
    if not model.signature.variable:
        return None
    lengths = np.random.default_rng(seed).integers(1, steps + 1, windows)
    lengths[:2] = steps, 1
    return lengths


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``form`` runs for each of ``FORMS``."""
    if "form" in metafunc.fixturenames:
        metafunc.parametrize("form", list(FORMS))


@pytest.fixture(scope="session")
def make_form() -> Callable[..., FloatModel]:
    return build_form


@pytest.fixture(scope="session")
def make_quantized_form() -> Callable[..., QuantizedModel]:
    return build_quantized_form


@pytest.fixture(scope="session")
def make_lengths() -> Callable[..., np.ndarray | None]:
    return build_lengths


@pytest.fixture(scope="session")
def make_float_model() -> Callable[..., FloatModel]:
    return build_float_model


@pytest.fixture(scope="session")
def make_quantized() -> Callable[..., QuantizedModel]:
    return build_quantized


@pytest.fixture(scope="session")
def make_windows() -> Callable[..., np.ndarray]:
    return build_windows
