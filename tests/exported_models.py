"""Models whose generated C together has every helper and macro of the templates, and all files of an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from conftest import build_quantized, build_quantized_form
from random_networks import random_network

from edge_lstm.export import c99, c99_selftest
from edge_lstm.export.c99_normalize import normalization
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute

MODELS: Mapping[str, Callable[[], QuantizedModel]] = {
    "two layers": lambda: build_quantized("i=hard,o=hard", layers=2, hidden=5, inputs=3, pooling="mean"),
    "gru int4 16 bits": lambda: build_quantized(
        "soft", cell="gru", hidden=5, weight_bits=4, activation_bits=16, activations="lut-interp"
    ),
    "peephole ternary": lambda: build_quantized("f=hard", cell="peephole", hidden=5, weight_bits=2),
    "bidirectional": lambda: build_quantized_form("variable bidirectional attention"),
    "each softmax": lambda: build_quantized_form("each softmax"),
    "decoder": lambda: build_quantized_form("decoder stack"),
    **{f"random {k}": lambda k=k: random_network(k)[0].quantized() for k in (0, 7, 11, 27)},
}
RAW_SCALE = 0.003
QUICK = ("two layers", "gru int4 16 bits", "bidirectional")
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]
"""For tests that compile each several times; the others are slow."""


def exported(name: str) -> dict[str, str]:
    """File name to text: the model, its self-test and its example."""
    model = MODELS[name]()
    raw = normalization(model, [RAW_SCALE])
    window = c99_selftest.golden_window(model)
    scores = execute(model, window[None]).outputs["scores"][0]
    return {
        **c99.sources(model, normalization=raw),
        **c99_selftest.sources(model, normalization=raw),
        **c99.example(model, window, scores),
    }


def entry_points(model: QuantizedModel) -> list[str]:
    """The functions that a caller has."""
    streams = ("reset", "step", "result", "save", "restore") if lower(model).streams else ()
    return [f"{model.signature.name}_{function}" for function in ("run", "normalize", "selftest", *streams)]
