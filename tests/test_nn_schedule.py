"""Phases of a training loop of one's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch_classifiers import CHANNELS, STEPS, Classifier, Spec

from edge_lstm.errors import EdgeLstmError
from edge_lstm.nn import Config, Schedule, prepare, set_phase


def model(gates: str = "hard") -> nn.Module:
    torch.manual_seed(0)
    return prepare(Classifier(Spec()), Config(gates=gates))


X = torch.randn(8, STEPS, CHANNELS, generator=torch.Generator().manual_seed(0))


def test_gates_grow_steeper_then_are_steps_then_integers() -> None:
    prepared = model()
    schedule = Schedule(prepared, 10, X)
    seen = []
    for epoch in range(10):
        phase = schedule.step(epoch)
        assert prepared.recurrent.phase == phase
        seen.append((phase, round(prepared.recurrent.slope, 3)))
        assert prepared.recurrent.calibrated == (phase == "quantized")
        prepared(X).sum().backward()
    slopes = [round(5 ** (k / 5), 3) for k in range(5)]
    assert seen[:5] == [("float", slope) for slope in slopes]
    assert [phase for phase, _ in seen[5:]] == ["hard"] * 2 + ["quantized"] * 3


def test_ranges_are_found_once() -> None:
    prepared = model()
    schedule = Schedule(prepared, 4, X)
    schedule.step(3)
    found = prepared.recurrent.hidden_max.clone()
    with torch.no_grad():
        for parameter in prepared.recurrent.parameters():
            parameter.mul_(5)
    schedule.step(3)
    assert torch.equal(prepared.recurrent.hidden_max, found)


@pytest.mark.parametrize(
    ("gates", "options", "phases"),
    [
        ("soft", {}, ["hard"] * 3 + ["quantized"]),
        ("hard", {}, ["float", "float", "hard", "quantized"]),
        ("hard", {"quantized_from": 1}, ["float", "float", "hard", "hard"]),
        ("hard", {"hard_from": 0, "quantized_from": 0.5}, ["hard", "hard", "quantized", "quantized"]),
        ("hard", {"hard_from": 1, "quantized_from": 0.9}, ["float"] * 3 + ["quantized"]),
    ],
)
def test_which_phases_there_are(gates: str, options: dict[str, Any], phases: list[str]) -> None:
    schedule = Schedule(model(gates), 4, X, **options)
    assert [schedule.phase(epoch) for epoch in range(4)] == phases


def test_annealed_gates_of_a_small_slope_are_half_open() -> None:
    prepared = model().eval()
    set_phase(prepared, "float", 1e-6)
    half = prepared(X)
    set_phase(prepared, "float", 1e6)
    steep = prepared(X)
    set_phase(prepared, "hard")
    assert not torch.allclose(half, steep)
    assert torch.allclose(prepared(X), steep, atol=1e-5)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Schedule(model(), 0, X), "epochs is 0; accepted are positive numbers"),
        (lambda: Schedule(model(), 4, X, hard_from=2), "hard_from is 2; accepted are 0 to 1"),
        (
            lambda: Schedule(Classifier(Spec()), 4, X),
            "the model has no recurrent module of edge-lstm: prepare it first",
        ),
        (lambda: set_phase(model(), "soft"), "phase is 'soft'; accepted are float, hard, quantized"),
        (lambda: set_phase(model(), "float", 0), "slope is 0; accepted are positive numbers"),
    ],
)
def test_what_is_refused(made: Any, message: str) -> None:
    with pytest.raises(EdgeLstmError) as caught:
        made()
    assert str(caught.value) == message
