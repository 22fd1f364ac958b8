"""Statistics of the gates, on rasters small enough to count by hand; and what a model did, against single steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.report.activity import Raster, observe
from edge_lstm.report.recording import Recording
from edge_lstm.runtime import Stream, execute
from edge_lstm.signature import Signature


def raster(*units: str) -> Raster:
    """One text per unit, one letter per step: # is open."""
    is_open = np.array([[letter == "#" for letter in unit] for unit in units]).T
    return Raster("i", "hard", is_open.astype(float), is_open)


@pytest.mark.parametrize(
    ("units", "share", "run_open", "run_closed"),
    [
        (("####",), 1.0, 4.0, None),
        (("....",), 0.0, None, 4.0),
        (("#..#",), 0.5, 1.0, 2.0),
        (("#.#.", "####"), 0.75, 2.0, 1.0),
        (("##", "##"), 1.0, 2.0, None),  # a run is of one unit: it does not go on in the next
        (("#",), 1.0, 1.0, None),
    ],
)
def test_share_and_runs(units: tuple[str, ...], share: float, run_open: float | None, run_closed: float | None) -> None:
    made = raster(*units)
    assert (made.share, made.run_length(True), made.run_length(False)) == (share, run_open, run_closed)


def test_share_by_unit() -> None:
    assert raster("####", "#...", "....").share_by_unit.tolist() == [1.0, 0.25, 0.0]


def model(gates: Literal["soft", "hard"]) -> QuantizedModel:
    r = np.random.default_rng(3)

    def layer(inputs: int) -> FloatLayer:
        def normal(*shape: int) -> dict[str, Any]:
            return {k: r.normal(0, 1, shape) for k in "ifgo"}

        return FloatLayer("lstm", normal(4, inputs), normal(4, 4), normal(4), dict.fromkeys("ifo", gates))

    signature = Signature("toy", ("a", "b"), ("", ""), 10.0, 30, ("x", "y", "z"))
    trained = FloatModel(
        signature, np.zeros(2), np.ones(2), 4.0, (layer(2), layer(4)), "last", r.normal(0, 1, (3, 4)), np.zeros(3)
    )
    return quantize(trained, calibration=r.normal(0, 1, (4, 30, 2)))


@pytest.mark.parametrize("gates", ["soft", "hard"])
def test_observed_is_what_single_steps_compute(gates: Literal["soft", "hard"]) -> None:
    quantized = model(gates)
    x = np.random.default_rng(5).normal(0, 1, (30, 2))
    seen = observe(quantized, Recording(x, np.array(0), 30))
    assert seen.predicted is not None
    stream = Stream(quantized)
    for t, sample in enumerate(x):
        out = stream.step(sample)
        assert out["scores"].tolist() == seen.scores[t].tolist()
        assert out["class_index"] == seen.predicted[t]
        for layer in seen.layers:
            assert (stream.state[f"{layer.name}.h"] != 0).tolist() == layer.hidden.is_open[t].tolist()
    assert [layer.title for layer in seen.layers] == ["lstm0", "lstm1"]
    for layer in seen.layers:
        assert [g.name for g in layer.gates] == ["i", "f", "o"]
        assert sorted(layer.order.tolist()) == [0, 1, 2, 3]
        assert (np.diff(layer.hidden.share_by_unit[layer.order]) <= 0).all()
        for gate in layer.gates:
            assert gate.mode == gates
            assert (gate.is_open == (gate.level > 0.5)).all()
            assert set(np.unique(gate.level)) <= {0.0, 1.0} or gates == "soft"


def test_a_closed_output_gate_means_zero() -> None:
    seen = observe(model("hard"), Recording(np.random.default_rng(5).normal(0, 1, (30, 2)), np.array(0), 30))
    for layer in seen.layers:
        output = layer.gates[2]
        assert not layer.hidden.is_open[~output.is_open].any()


def test_every_form(make_quantized_form: Callable[..., QuantizedModel], form: str) -> None:
    quantized = make_quantized_form(form)
    x = np.random.default_rng(5).normal(0, 1, (12, 3))
    seen = observe(quantized, Recording(x, np.array(0), 12))  # what is true changes nothing
    outputs = execute(quantized, quantized.quantize_input(x[None])).outputs
    whole = outputs["scores"][0] * quantized.score_scale
    assert np.array_equal(seen.scores[-1:] if whole.ndim == 1 else seen.scores, np.atleast_2d(whole))
    assert len(seen.scores) == {"once": 1, "sequence": quantized.decoder.steps if quantized.decoder else 0}.get(
        seen.given, 12
    )
    assert (seen.predicted is None) == (quantized.signature.task == "regress")
    assert (seen.probabilities is None) == (quantized.softmax is None)
    assert len(seen.layers) == len(quantized.all_layers)
    for layer in seen.layers:
        assert len(layer.hidden.level) == (len(seen.scores) if layer.decodes else 12)


@pytest.mark.parametrize(
    ("name", "given", "titles"),
    [
        ("attention", "running", ["lstm0"]),
        ("reversed", "once", ["lstm0 (reverse)"]),
        ("bidirectional", "once", ["lstm0 (reverse)", "lstm1 (forward)"]),
        ("each", "each", ["lstm0"]),
        ("bidirectional each", "each", ["lstm0 (forward)", "lstm1 (reverse)"]),
        ("decoder", "sequence", ["lstm0 (encoder)", "lstm1 (decoder)"]),
    ],
)
def test_layers_are_told_apart(
    make_quantized_form: Callable[..., QuantizedModel], name: str, given: str, titles: list[str]
) -> None:
    seen = observe(make_quantized_form(name), Recording(np.zeros((12, 3)), np.array(0), 12))
    assert (seen.given, [layer.title for layer in seen.layers]) == (given, titles)


def test_probabilities_add_up(make_quantized_form: Callable[..., QuantizedModel]) -> None:
    x = np.random.default_rng(5).normal(0, 1, (12, 3))
    seen = observe(make_quantized_form("each softmax"), Recording(x, np.zeros(12, int), 12))
    assert seen.probabilities is not None
    assert np.abs(seen.probabilities.sum(axis=1) - 1).max() < 0.01  # each is rounded to a table of exp in 16 bits


def test_a_long_decoder_is_cut(
    make_quantized_form: Callable[..., QuantizedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_lstm.report.activity.MAX_SHOWN_STEPS", 3)
    seen = observe(make_quantized_form("decoder"), Recording(np.zeros((3, 3)), np.zeros(3, int), 12))
    assert (len(seen.scores), len(seen.layers[1].hidden.level)) == (3, 3)
