"""Lowering: the numbered equations of ``lower``, executed by Python's integers one unit at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.blocks import Block, Linear, Steps, Table
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.layers import QuantizedLayer
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.program import RangeError
from edge_lstm.requantize import Requantize
from edge_lstm.runtime import execute

MIXES = ["".join(mix) for mix in itertools.product("sh", repeat=3)]
Make = Callable[..., QuantizedModel]


def gates(mix: str) -> str:
    """``"shs"`` to ``"i=soft,f=hard,o=soft"``."""
    return ",".join(f"{gate}={'hard' if m == 'h' else 'soft'}" for gate, m in zip("ifo", mix, strict=True))


def rounded(v: int, n: int) -> int:
    """``v / 2**n`` to nearest, ties up, without a shift."""
    return (2 * v + 2**n) // (2 * 2**n)


def limited(v: int, lo: int, hi: int) -> int:
    return max(lo, min(hi, v))


def requantized(acc: int, r: Requantize, unit: int) -> int:
    return rounded(acc // 2**r.pre_shift * int(r.multiplier[unit]), r.post_shift)


def function_value(v: int, function: Table | Linear) -> int:
    """A table, its nearest entry or between two, or a linear form."""
    if isinstance(function, Linear):
        return limited(v + function.offset, function.lo, function.hi)
    between = 2**function.between_bits
    if between == 1:
        return int(function.values[limited(v, -128, 127) + 128])
    v = limited(v, -128 * between, 127 * between - 1)
    entry, rest = int(function.values[v // between + 128]), v % between
    return entry + rounded((int(function.values[v // between + 129]) - entry) * rest, function.between_bits)


def block_value(acc: int, block: Block, unit: int) -> int:
    """Equations (4) and (5) of an accumulator."""
    if isinstance(block.activation, Steps):
        return sum(acc > int(at[unit]) for at in block.activation.at)
    assert block.requantize is not None
    return function_value(requantized(acc, block.requantize, unit), block.activation)


def state_value(v: int, fraction_bits: int, function: Table | Linear) -> int:
    """Equation (5) of a state."""
    lost = fraction_bits - function.input_bits
    return function_value(rounded(v, lost) if lost >= 0 else v * 2**-lost, function)


BITS = {"hard": 0, "three-level": 1, "soft": 15, "hard-sigmoid": 15}
"""Fraction bits of a gate."""


def lstm_step(layer: QuantizedLayer, x: list[int], h: list[int], c: list[int]) -> dict[str, list[int]]:
    """Equations (1) to (8)."""
    assert layer.c is not None
    bits = {gate: BITS[mode] for gate, mode in layer.modes.items()}
    gain = [1] * layer.inputs if layer.input_gain is None else layer.input_gain.tolist()
    v = [m * value for m, value in zip(gain, x, strict=True)] + h
    values: dict[str, list[int]] = {name: [] for name in (*"ifgo", "a_i", "a_f", "a_g", "a_o", "c", "t", "h")}
    for unit in range(layer.hidden):
        k = {}
        for name, block in layer.blocks.items():
            acc = int(block.bias[unit]) + sum(int(w) * value for w, value in zip(block.weights[unit], v, strict=True))
            k[name] = block_value(acc, block, unit)
            values[f"a_{name}"].append(acc)
            values[name].append(k[name])
        kept, added = k["f"] * c[unit], k["i"] * k["g"]  # a hard gate is 0 or 1
        coarse = min(bits["f"], bits["i"])
        total = rounded(kept, bits["f"] - coarse) + rounded(added, bits["i"] - coarse)
        c_next = limited(rounded(total, coarse), layer.c.min, layer.c.max)
        t = state_value(c_next, layer.c.fraction_bits, layer.squash["t"])
        if bits["o"] == 0:
            h_next = t if k["o"] else 0
        else:
            h_next = limited(rounded(k["o"] * t, bits["o"] + 15 - layer.h.fraction_bits), layer.h.min, layer.h.max)
        for name, value in (("c", c_next), ("t", t), ("h", h_next)):
            values[name].append(value)
    return values


def run(model: QuantizedModel, window: list[list[int]]) -> list[dict[str, list[int]]]:
    """All values of each step, with the scores that equations (10), (11) and (13) give after it."""
    states = [([0] * layer.hidden, [0] * layer.hidden) for layer in model.layers]
    pool = [0] * model.layers[-1].hidden
    steps = []
    for x in window:
        traced: dict[str, list[int]] = {}
        value = x
        for k, layer in enumerate(model.layers):
            values = lstm_step(layer, value, *states[k])
            states[k] = (values["h"], values["c"])
            value = values["h"]
            traced |= {f"lstm{k}.{name}": v for name, v in values.items()}
        if model.pool is not None:
            bound = model.layers[-1].h.max * model.signature.steps
            pool = [limited(p + h, -bound, bound) for p, h in zip(pool, value, strict=True)]
            traced["pool.p"] = pool
            wide = [requantized(p, model.pool, unit) for unit, p in enumerate(pool)]
            value = [limited(p, model.pooled.min, model.pooled.max) for p in wide]
        elif model.pooling == "max":
            most = model.layers[-1].h.max
            pool = [max(p, h + most) for p, h in zip(pool, value, strict=True)]
            traced["pool.p"] = pool
            value = [p - most for p in pool]
        traced["scores"] = [
            int(bias) + sum(int(w) * v for w, v in zip(row, value, strict=True))
            for row, bias in zip(model.dense_weights, model.dense_bias, strict=True)
        ]
        traced["class_index"] = [traced["scores"].index(max(traced["scores"]))]
        steps.append(traced)
    return steps


@pytest.mark.parametrize("mix", MIXES)
def test_every_value_of_every_step_is_what_the_equations_say(mix: str, make_quantized: Make, make_windows: Any) -> None:
    number = MIXES.index(mix)
    options: dict[str, Any] = {"layers": 1 + number % 2, "pooling": ("last", "mean", "mean")[number % 3]}
    model = make_quantized(gates(mix), hidden=3 + number % 4, inputs=1 + number % 3, steps=6, seed=number, **options)
    x = make_windows(model, 8, seed=number)  # two steps more than the window: the sum for the mean saturates
    agrees(model, x)


def agrees(model: QuantizedModel, x: Any) -> None:
    """Every value that ``run`` names, and the next values of the states, are those of the runtime."""
    trace = execute(model, x, trace="all").trace
    following = {s.next: s.port.name for s in lower(model).step.states}
    for window in range(len(x)):
        for step, values in enumerate(run(model, x[window].tolist())):
            for name, wanted in values.items():
                assert trace[name][window, step].tolist() == wanted, (name, window, step)
            for name, state in following.items():
                assert trace[name][window, step].tolist() == values[state], (name, window, step)


@pytest.mark.parametrize(
    ("modes", "options"),
    [
        ("three-level", {}),
        ("hard-sigmoid", {}),
        ("i=three-level,f=hard,o=soft", {}),
        ("i=soft,f=three-level,o=hard", {}),
        ("i=hard,f=hard-sigmoid,o=three-level", {"squash": "hard"}),
        ("hard", {"squash": "hard"}),
        ("i=hard-sigmoid,f=soft,o=three-level", {"activations": "lut-interp"}),
        ("soft", {"activations": "lut-interp", "activation_bits": 16, "weight_bits": 4}),
        ("soft", {"activation_bits": "16,8", "weight_bits": "2,8"}),
        ("o=hard", {"activation_bits": 16, "activations": "lut-interp"}),
    ],
)
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_every_mode_form_and_width_is_what_the_equations_say(
    modes: str, options: dict[str, Any], pooling: str, make_quantized: Make, make_windows: Any
) -> None:
    model = make_quantized(modes, hidden=4, inputs=2, layers=2, pooling=pooling, steps=6, seed=2, **options)
    agrees(model, make_windows(model, 8))


def with_block(model: QuantizedModel, layer: int, name: str, **changes: Any) -> QuantizedModel:
    layers = list(model.layers)
    block = replace(layers[layer].blocks[name], **changes)
    layers[layer] = replace(layers[layer], blocks={**layers[layer].blocks, name: block})
    return replace(model, layers=tuple(layers))


LARGE = 120_000
"""Of an accumulator: it drives gates and candidates to their limits, and its product with a multiplier has 32 bits."""


def test_saturation_is_what_the_equations_say(make_quantized: Make) -> None:
    """Gates that stay open drive the cell state, h and the sum over a window to their limits."""
    model = make_quantized("i=hard,f=hard,o=soft", hidden=2, inputs=1, pooling="mean", steps=6)
    for name in "ifgo":
        model = with_block(model, 0, name, bias=np.array([LARGE, LARGE if name == "o" else -LARGE], np.int32))
        model = with_block(model, 0, name, weights=np.zeros((2, 3), np.int8))
    for name in "if":
        model = with_block(model, 0, name, bias=np.ones(2, np.int32))
    x = np.zeros((1, 40, 1), np.int32)
    trace = execute(model, x, trace="all").trace
    assert trace["lstm0.sum"].max() > 32767 == trace["lstm0.c_next"].max() == trace["lstm0.c"].max()
    assert trace["lstm0.sum"].min() < -32768 == trace["lstm0.c_next"].min() == trace["lstm0.c"].min()
    assert trace["lstm0.h_wide"].max() > 127 == trace["lstm0.h_next"].max() == trace["lstm0.h"].max()
    assert trace["pool.sum"].max() > 127 * 6 == trace["pool.p_next"].max()
    assert trace["pool.sum"].min() < -127 * 6 == trace["pool.p_next"].min()
    for step, values in enumerate(run(model, x[0].tolist())):
        for name, wanted in values.items():
            assert trace[name][0, step].tolist() == wanted, (name, step)


def refusal(model: QuantizedModel) -> str:
    with pytest.raises(RangeError) as error:
        lower(model)
    return str(error.value)


def test_a_bias_that_could_overflow_the_accumulator_is_refused(make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=2, inputs=1, layers=2)
    model = replace(model, layers=tuple(replace(layer, input_gain=None) for layer in model.layers))
    bias = np.array([0, 2**31 - 1], np.int32)
    weights = np.array([[1, 1, 1, 1], [0, 2, 0, -1]], np.int8)
    assert refusal(with_block(model, 1, "o", bias=bias, weights=weights)) == (
        "m.step: lstm1.a_o (matvec): its accumulator can reach [-2147484028, 2147484028], "
        "and 32 bits hold [-2147483648, 2147483647]"
    )
    lower(with_block(model, 1, "o", bias=bias - np.array([0, 381], np.int32), weights=weights))


def test_a_multiplier_that_could_overflow_is_refused(make_quantized: Make) -> None:
    model = make_quantized("soft", hidden=2, inputs=1)
    huge = Requantize(0, np.full(2, 2**30, np.int32), 15)
    message = refusal(with_block(model, 0, "i", requantize=huge))
    assert message.startswith("m.step: lstm0.i_scaled (mul): its result can reach [-")
    assert message.endswith("], and 32 bits hold [-2147483648, 2147483647]")


def test_a_classifier_that_is_too_wide_is_refused(make_quantized: Make) -> None:
    hidden = 600
    model = make_quantized("hard", hidden=hidden, inputs=1, pooling="mean", classes=2)
    weights, bias = np.full((2, hidden), 127, np.int8), np.zeros(2, np.int32)
    reach = 127 * hidden * 127 * 256  # a mean of h is at most 127, and 256 units of it make one unit of h
    assert refusal(replace(model, dense_weights=weights, dense_bias=bias)) == (
        f"m.head: scores (matvec): its accumulator can reach [-{reach}, {reach}], "
        "and 32 bits hold [-2147483648, 2147483647]"
    )


def test_a_table_in_another_format_than_its_layers_is_refused(make_quantized: Make) -> None:
    modes = ("soft", "i=soft,f=hard,o=hard", "hard")
    soft, mixed, hard = (make_quantized(gates, hidden=2, inputs=1).layers[0] for gates in modes)
    assert hard.c is not None
    assert mixed.c == QFormat(16, 14)
    changed: dict[str, Any]
    for layer, changed, message in (
        (hard, {"squash": soft.squash}, "the function t of the cell state is in Q0.15, and must be in Q0.7 of 8 bits"),
        (
            hard,
            {"c": replace(hard.c, fraction_bits=5)},
            "the activation of block g is in .*, and must be in Q10.5 of 16 bits",
        ),
        (
            mixed,
            {"blocks": {**mixed.blocks, "i": mixed.blocks["g"]}},
            "the activation of block i is in Q1.14, and must be in Q0.15 of 16 bits",
        ),
        (
            hard,
            {"blocks": {**hard.blocks, "i": hard.blocks["g"]}},
            "block i of a lstm layer has an activation of another mode",
        ),
    ):
        with pytest.raises(EdgeLstmError, match=f"^{message}$"):
            replace(layer, **changed)


def test_shifts_that_do_not_exist_are_refused(make_quantized: Make) -> None:
    model = with_cell(make_quantized("soft", hidden=2, inputs=1), 32)
    table = model.layers[0].squash["t"]
    layer = replace(model.layers[0], squash={"t": replace(table, index_bits=1)})
    assert refusal(replace(model, layers=(layer,))) == (
        "m.step: lstm0.t_shifted (shift_right_half_up): it shifts by 31; accepted are 0 to 30"
    )


def with_cell(model: QuantizedModel, fraction_bits: int) -> QuantizedModel:
    """The model with so many fraction bits of its first layer's cell state."""
    layer = model.layers[0]
    assert layer.c is not None
    c = replace(layer.c, fraction_bits=fraction_bits)
    g = replace(layer.blocks["g"], activation=replace(layer.blocks["g"].activation, output=c))
    return replace(model, layers=(replace(layer, c=c, blocks={**layer.blocks, "g": g}), *model.layers[1:]))


def test_formats_that_are_wider_than_32_bits_are_refused(make_quantized: Make) -> None:
    """More fraction bits are a product with a power of two."""
    model = make_quantized("soft", hidden=2, inputs=1)
    layer = replace(model.layers[0], h=replace(model.layers[0].h, fraction_bits=32))
    message = refusal(replace(model, layers=(layer,)))
    assert message.startswith("m.step: lstm0.h_wide (mul): its result can reach [-")
    assert message.endswith("], and 32 bits hold [-2147483648, 2147483647]")
    for fraction_bits in (-12, -25, -26, -32):
        message = refusal(with_cell(model, fraction_bits))
        assert message.startswith("m.step: lstm0.t_shifted ")
        assert message.endswith("32 bits hold [-2147483648, 2147483647]")


def test_scores_of_a_decoder_that_are_never_zero_are_zero_before_its_first_step(make_quantized_form: Make) -> None:
    model = make_quantized_form("decoder")
    weights = model.dense_weights // 4
    least = 127 * np.abs(weights.astype(np.int32)).sum(axis=1).max() + 1
    far = replace(model, dense_weights=weights, dense_bias=np.full_like(model.dense_bias, least))
    kept = next(s.port for s in lower(far).stages[-1].program.states if s.port.name == "decoder.scores")
    assert kept.lo == 0
    scores = execute(far, np.zeros((1, far.signature.steps, len(far.signature.channels)), np.int32)).outputs["scores"]
    assert 0 < scores.min() <= scores.max() <= kept.hi
