"""Post-training quantization: rows, formats, calibration, and how near the integers are to the floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.calibrate import calibrate
from edge_lstm.cells import CELLS
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.float_run import run_layer, standardize
from edge_lstm.model import FloatModel
from edge_lstm.ptq import quantize
from edge_lstm.rows import BIAS_MAX, accumulator_max, input_gain, quantize_rows
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.to_integers import cell_format, quantize_model

MakeFloat = Callable[..., FloatModel]


def samples_of(model: FloatModel, windows: int = 20, *, seed: int = 0, amplitude: float = 1.0) -> np.ndarray:
    shape = (windows, model.signature.steps, len(model.signature.channels))
    return model.mean + amplitude * model.std * np.random.default_rng(seed).normal(0, 1, shape)


@settings(derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 5),
    columns=st.integers(1, 6),
    magnitude=st.floats(-6, 6),
    bias_magnitude=st.floats(-6, 6),
    shared=st.booleans(),
)
def test_rows_are_off_by_at_most_half_a_unit_of_their_scale(
    seed: int, rows: int, columns: int, magnitude: float, bias_magnitude: float, shared: bool
) -> None:
    rng = np.random.default_rng(seed)
    weights, bias = 10**magnitude * rng.normal(0, 1, (rows, columns)), 10**bias_magnitude * rng.normal(0, 1, rows)
    column_scale = rng.uniform(0.001, 1, columns)
    found = quantize_rows(weights, bias, column_scale, shared=shared)
    assert (found.weights.dtype, found.bias.dtype) == (np.int8, np.int32)
    assert np.abs(found.weights.astype(int)).max() <= 127
    assert np.abs(found.bias).max() <= BIAS_MAX
    half = 0.5 * found.scale * (1 + 1e-9)
    assert (np.abs(found.weights * found.scale[:, None] - weights * column_scale) <= half[:, None]).all()
    assert (np.abs(found.bias * found.scale - bias) <= half).all()
    assert len(set(found.scale)) == 1 or not shared


def test_a_row_of_zeros_has_a_scale_all_the_same() -> None:
    found = quantize_rows(np.zeros((1, 2)), np.zeros(1), np.ones(2))
    assert (found.weights.tolist(), found.bias.tolist()) == ([[0, 0]], [0])
    assert found.scale[0] > 0


def test_the_largest_accumulator_is_reached_and_not_passed() -> None:
    rng = np.random.default_rng(0)
    rows = quantize_rows(rng.normal(0, 1, (4, 6)), rng.normal(0, 1, 4), np.full(6, 0.01))
    reach = np.array([127] * 5 + [50])
    largest = accumulator_max(rows, reach)
    worst = np.sign(rows.weights) * np.sign(rows.bias)[:, None] * reach  # every product has the sign of the bias
    assert np.abs((rows.weights.astype(int) * worst).sum(axis=1) + rows.bias).max() == largest


@pytest.mark.parametrize(
    ("cell_max", "fraction_bits"),
    [(0.0, 15), (0.7, 15), (0.81, 14), (1.0, 14), (1.6, 14), (1.61, 13), (12.0, 11), (25.6, 10), (700.0, 5), (1e9, 5)],
)
def test_the_cell_format_holds_the_extreme_with_headroom(cell_max: float, fraction_bits: int) -> None:
    found = cell_format(cell_max)
    assert found == QFormat(16, fraction_bits)
    assert cell_max > 800 or cell_max * 1.25 <= 2**15 * found.scale


def test_calibration_keeps_the_extremes_whatever_the_block(make_float_model: MakeFloat) -> None:
    model = make_float_model("soft", layers=2, inputs=3, steps=5)
    x = samples_of(model, 7, amplitude=3)
    value = standardize(model, x)
    wanted, wanted_hidden = [], []
    for layer in model.layers:
        trace = run_layer(layer, value)
        wanted.append(np.abs(trace["c"]).max())
        value = trace["h"]
        wanted_hidden.append(np.abs(value).max())
    for block in (1, 3, 256):
        found = calibrate(model, x, block=block)
        assert found.input_max.tolist() == np.abs(standardize(model, x)).max(axis=(0, 1)).tolist()
        assert found.cell_max == pytest.approx(wanted, rel=1e-12)
        assert found.hidden_max == pytest.approx(wanted_hidden, rel=1e-12)
    assert calibrate(model, samples_of(model, 3, amplitude=100)).input_max.tolist() == [model.clip] * 3


def test_a_cell_without_a_cell_state_has_none_to_calibrate(make_float_model: MakeFloat) -> None:
    model = make_float_model(cell="rnn-relu", inputs=3)
    found = calibrate(model, samples_of(model))
    assert found.cell_max == (0.0,)
    assert found.hidden_max[0] > 1
    quantized = quantize(model, calibration=samples_of(model))
    h = quantized.layers[0].h
    assert quantized.layers[0].c is None
    assert h.max * h.scale >= 1.24 * found.hidden_max[0]
    assert h.max * h.scale < 2.6 * found.hidden_max[0]


def test_states_that_grow_without_limit_are_refused(make_float_model: MakeFloat) -> None:
    model = make_float_model(cell="rnn-relu", steps=200)
    (layer,) = model.layers
    growing = replace(model, layers=(replace(layer, R={"t": 1e3 * np.ones_like(layer.R["t"])}),))
    with np.errstate(all="ignore"), pytest.raises(EdgeLstmError) as error:
        calibrate(growing, samples_of(growing))
    assert str(error.value) == "a state of the float model grows without limit over the calibration samples"


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 3)])
def test_calibration_without_windows_is_refused(shape: tuple[int, ...], make_float_model: MakeFloat) -> None:
    with pytest.raises(EdgeLstmError) as error:
        calibrate(make_float_model(inputs=3), np.zeros(shape))
    assert str(error.value) == f"calibration samples have shape {shape}; accepted is (windows, steps, channels)"


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("layers", [1, 2])
def test_soft_scores_stay_near_the_float_ones(layers: int, pooling: str, make_float_model: MakeFloat) -> None:
    """Tables of 256 entries err by up to 0.016 in each gate; 8-bit weights and h by less than that."""
    model = make_float_model("soft", hidden=16, layers=layers, pooling=pooling, steps=20, seed=layers)
    x = samples_of(model)
    quantized = quantize(model, calibration=x)
    found = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)
    wanted = model.run(x)
    assert np.sqrt(np.mean((found["scores"] - wanted["scores"]) ** 2)) < 0.05 * np.ptp(wanted["scores"])
    assert (found["class_index"] == wanted["class_index"]).mean() >= 0.9


def test_gates_are_as_trained_or_as_asked(make_float_model: MakeFloat) -> None:
    model = make_float_model("f=hard")
    x = samples_of(model)
    assert quantize(model, calibration=x).layers[0].modes == {"i": "soft", "f": "hard", "o": "soft"}
    assert quantize(model, calibration=x, gates="hard").layers[0].modes == dict.fromkeys("ifo", "hard")
    assert quantize(model, calibration=x, gates="o=hard").layers[0].modes == {"i": "soft", "f": "soft", "o": "hard"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 3}, "weight_bits is 3; accepted are 8, 4, 2"),
        ({"weight_bits": "8,16"}, "weight_bits is 16; accepted are 8, 4, 2"),
        ({"weight_bits": "8,4,2"}, "weight_bits names 3 layers; the model has 2"),
        ({"weight_bits": [4, 4, 4]}, "weight_bits names 3 layers; the model has 2"),
        ({"weight_bits": "8;4"}, "weight_bits is '8;4'; accepted are a number, or one for each layer such as 8,4"),
        ({"weight_bits": ""}, "weight_bits is ''; accepted are a number, or one for each layer such as 8,4"),
        ({"weight_bits": "-8"}, "weight_bits is '-8'; accepted are a number, or one for each layer such as 8,4"),
        ({"weight_bits": []}, "weight_bits names 0 layers; the model has 2"),
        ({"activation_bits": 32}, "activation_bits is 32; accepted are 8, 16"),
        ({"activation_bits": "16,4"}, "activation_bits is 4; accepted are 8, 16"),
        ({"activations": "linear"}, "activations is 'linear'; accepted are 'lut', 'lut-interp'"),
        ({"gates": "firm"}, "gates 'firm': no gate mode 'firm'; accepted are soft, hard, three-level, hard-sigmoid"),
    ],
)
def test_an_option_that_is_not_there_is_refused(
    options: dict[str, Any], message: str, make_float_model: MakeFloat
) -> None:
    model = make_float_model(layers=2)
    with pytest.raises(EdgeLstmError) as error:
        quantize(model, calibration=samples_of(model), **options)
    assert str(error.value) == message


def test_bits_are_those_of_each_layer(make_float_model: MakeFloat) -> None:
    model = make_float_model("f=hard", layers=2)
    x = samples_of(model)
    for options in (
        {"weight_bits": "4, 2", "activation_bits": "16,8"},
        {"weight_bits": [4, 2], "activation_bits": (16, 8)},
    ):
        quantized = quantize(model, calibration=x, **options)
        assert quantized.input_bits == 16
        assert [(k.h.bits, k.h.scale >= quantized.layers[0].h.scale) for k in quantized.layers] == [
            (16, True),
            (8, True),
        ]
        assert [{b.weight_bits for b in k.blocks.values()} for k in quantized.layers] == [{4}, {2}]
        assert [max(np.abs(b.weights).max() for b in k.blocks.values()) for k in quantized.layers] == [7, 1]
        assert quantized.dense_weights.max() > 7
    quantized = quantize(model, calibration=x)
    assert (quantized.input_bits, {b.weight_bits for k in quantized.layers for b in k.blocks.values()}) == (8, {8})


@pytest.mark.parametrize("bits", [4, 2])
def test_rows_of_few_bits_keep_to_them(bits: int) -> None:
    rng = np.random.default_rng(0)
    weights, bias, columns = rng.normal(0, 1, (6, 40)), rng.normal(0, 1, 6), rng.uniform(0.5, 1, 40)
    rows = quantize_rows(weights, bias, columns, bits=bits)
    assert np.abs(rows.weights).max() == {4: 7, 2: 1}[bits]
    real = weights * columns
    if bits == 4:
        assert (np.abs(rows.weights * rows.scale[:, None] - real) <= 0.5 * rows.scale[:, None] * (1 + 1e-9)).all()
    else:  # a scale from the equations of the paper, a nearest ternary value of it
        kept = np.abs(real) > 0.7 * np.abs(real).mean(axis=1, keepdims=True)
        assert rows.scale == pytest.approx([np.abs(r[k]).mean() for r, k in zip(real, kept, strict=True)])
        assert np.array_equal(rows.weights, np.clip(np.rint(real / rows.scale[:, None]), -1, 1))


def test_interpolation_and_wide_states_come_nearer_to_the_float_scores(make_float_model: MakeFloat) -> None:
    model = make_float_model("soft", hidden=16, layers=2, pooling="mean", steps=20)
    x = samples_of(model)
    wanted = model.run(x)["scores"]

    def error(**options: Any) -> float:
        quantized = quantize(model, calibration=x, **options)
        found = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)["scores"]
        return float(np.sqrt(np.mean((found - wanted) ** 2)) / np.ptp(wanted))

    nearest, between = error(), error(activations="lut-interp")
    wide = error(activations="lut-interp", activation_bits=16)
    assert wide < between < nearest < 0.05
    assert error(weight_bits=2) > error(weight_bits=4) > nearest


@pytest.mark.parametrize("squash", ["exact", "hard"])
@pytest.mark.parametrize("cell", CELLS)
def test_scores_of_every_cell_stay_near_the_float_ones(cell: str, squash: str, make_float_model: MakeFloat) -> None:
    gates = "soft" if squash == "exact" else "hard-sigmoid"
    model = make_float_model(gates if CELLS[cell].gates else "soft", cell=cell, squash=squash, hidden=12, steps=16)
    x = samples_of(model, amplitude=0.5)
    quantized = quantize(model, calibration=x, activation_bits=16, activations="lut-interp")
    found = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)["scores"]
    wanted = model.run(x)["scores"]
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.05 * np.ptp(wanted)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3, 1e9])
def test_weights_of_any_magnitude_are_quantized_without_overflow(scale: float, make_float_model: MakeFloat) -> None:
    """``quantize`` proves it, or raises."""
    model = make_float_model("i=hard", hidden=4, pooling="mean")
    (layer,) = model.layers
    large = replace(layer, W={k: scale * w for k, w in layer.W.items()}, b={k: scale * b for k, b in layer.b.items()})
    x = samples_of(model)
    quantized = quantize(replace(model, layers=(large,)), calibration=x)
    found = real_outputs(quantized, execute(quantized, quantized.quantize_input(x)).outputs)
    assert np.isfinite(found["scores"]).all()


def test_a_recording_of_one_value_is_quantized(make_float_model: MakeFloat) -> None:
    model = make_float_model()
    quantized = quantize(model, calibration=np.broadcast_to(model.mean, (2, 12, 3)))
    assert (quantized.input_scale > 0).all()


@pytest.mark.parametrize(
    ("of_x", "of_h", "input_max", "wanted"),
    [
        ([4.0, 1.4, 0.1], 1.0, 127, [4, 1, 1]),
        ([1.4, 0.1], 1.0, 127, None),
        ([3.0], 0.0, 127, None),
        ([1e9, 2.0], 1.0, 127, [258, 2]),
        ([1e9], 1.0, 32767, None),
        ([1e9] * 4096, 1.0, 127, [16] * 4096),
    ],
)
def test_a_gain_brings_the_weights_of_an_input_down_to_those_of_h(
    of_x: list[float], of_h: float, input_max: int, wanted: list[int] | None
) -> None:
    found = input_gain(np.array(of_x), of_h, input_max)
    assert (None if found is None else found.tolist()) == wanted


@pytest.mark.parametrize("cell", [name for name in CELLS if name not in ("lstmp", "rnn-relu")])
def test_recurrent_weights_are_nearer_to_float_with_a_gain(cell: str, make_float_model: MakeFloat) -> None:
    """Inputs reach to 4 here, and h to 1: without a gain they have a fourth of their row's integers."""
    model = make_float_model("soft", cell=cell, hidden=16, steps=20)
    calibration = calibrate(model, samples_of(model, amplitude=3))
    (wanted,) = model.layers

    def error(*, gains: bool) -> float:
        (layer,) = quantize_model(model, calibration, gains=gains).layers
        assert (layer.input_gain is not None) == gains
        blocks = {name: layer.blocks[name] for name in CELLS[cell].matrices}
        rows = {name: b.weights[:, layer.inputs :] * b.scale[:, None] for name, b in blocks.items()}
        return float(np.sqrt(np.mean([(R / layer.h.scale - wanted.R[name]) ** 2 for name, R in rows.items()])))

    assert error(gains=True) < 0.4 * error(gains=False)


def test_inputs_of_16_bits_have_no_gain(make_float_model: MakeFloat) -> None:
    model = make_float_model("soft", hidden=16, layers=2, steps=20)
    x = samples_of(model, amplitude=3)
    assert quantize(model, calibration=x).layers[0].input_gain is not None
    assert all(k.input_gain is None for k in quantize(model, calibration=x, activation_bits=16).layers)


def test_wide_states_have_units_like_those_of_the_inputs(make_float_model: MakeFloat) -> None:
    """Inputs reach to 4 here: in Q0.15 the recurrent weights would have a fourth of their row's integers."""
    model = make_float_model("soft", hidden=16, layers=2, pooling="mean", steps=20)
    x = samples_of(model, amplitude=3)
    quantized = quantize(model, calibration=x, activation_bits=16)
    assert [k.h for k in quantized.layers] == [QFormat(16, 13, True)] * 2
    assert {k.h for k in quantize(model, calibration=x).layers} == {QFormat(8, 7, True)}
