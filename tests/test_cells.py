"""The float equations of the cells, unit by unit against Python's math."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.cells import CELLS, LSTM, cell, register
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import run_float, run_layer
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel

GATE_SPECS = ["soft", "hard", "i=hard,o=hard", "f=hard", "i=three-level,f=hard-sigmoid"]
KNOWN = "lstm, lstm-1997, peephole, cifg, lstmp, gru, gru-after, fastgrnn, rnn, rnn-relu"


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


VALUE: dict[str, Callable[[float], float]] = {
    "soft": sigmoid,
    "hard": lambda z: float(z > 0),
    "three-level": lambda z: 0.0 if z <= -1 else 1.0 if z > 1 else 0.5,
    "hard-sigmoid": lambda z: min(max(0.25 * z + 0.5, 0.0), 1.0),
}


def lstm_layer(layer: FloatLayer, window: list[list[float]]) -> list[dict[str, list[float]]]:
    """Every value of each step, by the equations of Gers et al. 1999, one number at a time."""
    gate = {g: VALUE[m] for g, m in layer.modes.items()}
    h, c = [0.0] * layer.hidden, [0.0] * layer.hidden
    steps = []
    for x in window:
        z = {
            k: [
                math.fsum(
                    [layer.b[k][j], *(w * v for w, v in zip([*layer.W[k][j], *layer.R[k][j]], [*x, *h], strict=True))]
                )
                for j in range(layer.hidden)
            ]
            for k in "ifgo"
        }
        v: dict[str, Any] = {g: [gate[g](z[g][j]) for j in range(layer.hidden)] for g in "ifo"}
        v["g"] = [math.tanh(z["g"][j]) for j in range(layer.hidden)]
        v["c"] = c = [v["f"][j] * c[j] + v["i"][j] * v["g"][j] for j in range(layer.hidden)]
        v["t"] = [math.tanh(c[j]) for j in range(layer.hidden)]
        v["h"] = h = [v["o"][j] * v["t"][j] for j in range(layer.hidden)]
        steps.append(v)
    return steps


@pytest.mark.parametrize("gates", GATE_SPECS)
def test_every_value_of_an_lstm_step(gates: str, make_float_model: Callable[..., FloatModel]) -> None:
    layer = make_float_model(gates, hidden=4, inputs=3).layers[0]
    x = np.random.default_rng(5).normal(0, 1, (2, 7, 3))
    trace = run_layer(layer, x)
    for window in range(2):
        for step, values in enumerate(lstm_layer(layer, x[window].tolist())):
            for name, wanted in values.items():
                # Sums in another order differ by a few units of float64's last place.
                assert trace[name][window, step] == pytest.approx(wanted, rel=1e-12, abs=1e-12), (name, step)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_scores_are_dense_on_the_pooled_output_of_the_last_layer(
    pooling: str, make_float_model: Callable[..., FloatModel]
) -> None:
    model = make_float_model("soft", hidden=3, inputs=2, layers=2, pooling=pooling, classes=3)
    x = np.random.default_rng(5).normal(0, 3, (1, 6, 2))
    value = [
        [min(max((v - m) / s, -model.clip), model.clip) for v, m, s in zip(row, model.mean, model.std, strict=True)]
        for row in x[0].tolist()
    ]
    for layer in model.layers:
        value = [v["h"] for v in lstm_layer(layer, value)]
    pooled = value[-1] if pooling == "last" else [math.fsum(column) / len(value) for column in zip(*value, strict=True)]
    scores = [
        math.fsum([b, *(w * v for w, v in zip(row, pooled, strict=True))])
        for row, b in zip(model.dense_weights.tolist(), model.dense_bias.tolist(), strict=True)
    ]
    found = run_float(model, x)
    assert found["scores"][0] == pytest.approx(scores, rel=1e-12, abs=1e-12)
    assert found["class_index"].tolist() == [max(range(3), key=scores.__getitem__)]


def test_names_of_the_lstm() -> None:
    assert (LSTM.blocks, LSTM.gates, LSTM.states) == (("i", "f", "g", "o"), ("i", "f", "o"), ("h", "c"))
    assert ", ".join(CELLS) == KNOWN
    assert all(cell(name) is kind and kind.name == name for name, kind in CELLS.items())


def test_names_of_every_cell_fit_together() -> None:
    for kind in CELLS.values():
        assert kind.states[0] == "h"
        assert {*kind.gates, *kind.peepholes, *kind.split} <= set(kind.blocks)
        assert not set(kind.functions) & set(kind.gates)
        assert set(kind.blocks) <= {*kind.gates, *kind.functions}
        assert {state for _, state in kind.functions.values()} <= set(kind.states)


def test_a_name_is_registered_once() -> None:
    assert register(LSTM) is LSTM
    with pytest.raises(EdgeLstmError, match=r"^there is a cell 'lstm' already$"):
        register(replace(LSTM, unit_cell=True))
    assert cell("lstm") is LSTM


def test_an_unknown_cell_is_refused_by_name() -> None:
    with pytest.raises(EdgeLstmError, match=rf"^no cell 'elman'; accepted are {KNOWN}$"):
        cell("elman")
