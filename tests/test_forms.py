"""Every form of a model in NumPy: directions, lengths, initial states, clip, attention, decoders, probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import run_float, run_layer, standardize
from edge_lstm.lower import lower
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import Stream, execute, execute_table, real_outputs
from edge_lstm.storage import load, load_float, save

MakeForm = Callable[..., FloatModel]
MakeQuantized = Callable[..., QuantizedModel]
MakeWindows = Callable[..., np.ndarray]
MakeLengths = Callable[..., np.ndarray]

FLOAT = 0.3
"""Largest difference of a score from float: scores reach 5, and states of 8 bits are fed back for 12 steps."""


def samples(model: FloatModel | QuantizedModel, windows: int = 7, seed: int = 3) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return np.random.default_rng(seed).normal(0, 1, shape)


def test_the_plan_computes_what_the_table_says(
    form: str, make_quantized_form: MakeQuantized, make_windows: MakeWindows, make_lengths: MakeLengths
) -> None:
    model = make_quantized_form(form)
    x = make_windows(model, model.signature.steps)
    lengths = make_lengths(model, len(x), x.shape[1])
    planned = execute(model, x, trace="states", lengths=lengths)
    table = execute_table(model, x, trace="states", lengths=lengths)
    for group in ("outputs", "state", "trace"):
        found, wanted = getattr(planned, group), getattr(table, group)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value, err_msg=f"{group} {name}")


def test_integers_are_near_the_float_model(
    form: str, make_form: MakeForm, make_quantized_form: MakeQuantized, make_lengths: MakeLengths
) -> None:
    model, x = make_form(form), samples(make_form(form))
    lengths = make_lengths(model, len(x), x.shape[1])
    exact = run_float(model, x, lengths=lengths)
    quantized = make_quantized_form(form, activation_bits=16)
    found = real_outputs(quantized, execute(quantized, quantized.quantize_input(x), lengths=lengths).outputs)
    assert found.keys() == exact.keys()
    for name in ("scores", "probabilities"):
        if name in exact:
            assert found[name].shape == exact[name].shape
            assert np.abs(found[name] - exact[name]).max() < FLOAT, name
    assert np.abs(found["scores"] - exact["scores"]).mean() < FLOAT / 4


def test_a_window_is_the_same_alone_and_among_longer_ones(
    form: str, make_form: MakeForm, make_quantized_form: MakeQuantized, make_lengths: MakeLengths
) -> None:
    for model in (make_form(form), make_quantized_form(form)):
        x = samples(model)
        if not model.signature.variable:
            with pytest.raises(EdgeLstmError, match="takes windows of one length"):
                outputs(model, x, np.full(len(x), 3))
            continue
        lengths = make_lengths(model, len(x), x.shape[1])
        together = outputs(model, x, lengths)
        for k, length in enumerate(lengths):
            for name, value in outputs(model, x[k : k + 1, :length], None).items():
                of_all = together[name][k : k + 1]
                if model.pooling == "each":
                    assert not of_all[:, length:].any()
                    of_all = of_all[:, :length]
                np.testing.assert_allclose(of_all, value, rtol=0, atol=1e-12, err_msg=f"{name} of {length} steps")


def outputs(model: FloatModel | QuantizedModel, x: np.ndarray, lengths: np.ndarray | None) -> dict[str, np.ndarray]:
    if isinstance(model, FloatModel):
        return run_float(model, x, lengths=lengths)
    return dict(execute(model, model.quantize_input(x), lengths=lengths).outputs)


def test_a_file_gives_the_same_model(
    form: str, make_form: MakeForm, make_quantized_form: MakeQuantized, tmp_path
) -> None:
    quantized, model = make_quantized_form(form), make_form(form)
    save(quantized, tmp_path / "m.elstm")
    save(model, tmp_path / "m.float")
    x = samples(model)
    a, b = (execute(m, m.quantize_input(x)) for m in (quantized, load(tmp_path / "m.elstm")))
    for name, value in a.outputs.items():
        np.testing.assert_array_equal(b.outputs[name], value)
    again = load_float(tmp_path / "m.float").run(x)
    np.testing.assert_array_equal(again["scores"], model.run(x)["scores"])


def test_what_streams_does_and_what_looks_back_says_so(form: str, make_quantized_form: MakeQuantized) -> None:
    model = make_quantized_form(form)
    assert lower(model).streams != model.looks_ahead
    if model.looks_ahead:
        with pytest.raises(EdgeLstmError, match="looks at whole windows"):
            Stream(model)
        return
    x = model.quantize_input(samples(model, 1))
    stream = Stream(model)
    steps = [stream.step_raw(sample) for sample in x[0]]
    whole = execute(model, x).outputs
    for name, value in whole.items():
        wanted = value[0] if model.pooling == "each" else value
        found = np.stack([step[name] for step in steps]) if model.pooling == "each" else steps[-1][name][None]
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3], r"lengths are int64 \(1,\)"),
        ([0] * 7, "reach from 0 to 0"),
        ([13] * 7, "accepted are 1 to 12"),
        ([2.5] * 7, "float64"),
    ],
)
def test_wrong_lengths(lengths: list[float], message: str, make_quantized_form: MakeQuantized) -> None:
    model = make_quantized_form("variable")
    with pytest.raises(EdgeLstmError, match=message):
        execute(model, model.quantize_input(samples(model)), lengths=lengths)


def test_attention_without_limits_is_softmax_over_time(make_form: MakeForm) -> None:
    model, x = make_form("attention"), samples(make_form("attention"))
    assert model.attention is not None
    calm = replace(model, attention=replace(model.attention, weights=model.attention.weights / 4))
    each = replace(calm, pooling="each", attention=None, dense_weights=np.eye(6)[:4], dense_bias=np.zeros(4))
    full = replace(calm, dense_weights=np.eye(6)[:4], dense_bias=np.zeros(4))
    h = run_layer(calm.layers[0], standardize(calm, x))["h"]
    score = h @ calm.attention.weights
    weights = np.exp(score - score.max(axis=1, keepdims=True))
    wanted = (weights[..., None] * h).sum(axis=1) / weights.sum(axis=1)[:, None]
    assert np.abs(full.run(x)["scores"] - wanted[:, :4]).max() < 1e-12
    assert each.run(x)["scores"].shape == (7, 12, 4)


@pytest.mark.parametrize("gates", ["soft", "hard", "three-level", "hard-sigmoid"])
def test_clip_limits_every_pre_activation(gates: str, make_form: MakeForm) -> None:
    """A limit that nothing reaches changes nothing; one that is always reached leaves two values of each function."""
    model = make_form("clip", gates)
    x = samples(model)

    def clipped(clip: float | None) -> tuple[np.ndarray, np.ndarray]:
        changed = replace(model, layers=tuple(replace(layer, clip=clip) for layer in model.layers))
        quantized = quantize(changed, calibration=x, activation_bits=16, activations="lut-interp")
        found = execute(quantized, quantized.quantize_input(x), trace="states")
        return found.trace["peephole0.h"] * quantized.layers[0].h.scale, run_layer(
            changed.layers[0], standardize(changed, x)
        )["h"]

    for clip in (None, 0.2, 1e-6, 1e6):
        integer, exact = clipped(clip)
        decisions = 0.05 if gates in ("hard", "three-level") else 0.0  # one near a step may differ, and what follows
        assert np.mean(np.abs(integer - exact) > 0.02) <= decisions, clip
    np.testing.assert_array_equal(clipped(None)[0], clipped(1e6)[0])
    assert not np.array_equal(clipped(None)[0], clipped(0.2)[0])
