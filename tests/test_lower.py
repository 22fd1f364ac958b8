"""Lowering: the numbered equations of ``lower``, executed by Python's integers one unit at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.lower import lower
from edge_lstm.model import Block, QuantizedLayer, QuantizedModel
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


def block_value(acc: int, block: Block, unit: int) -> int:
    """Equations (3) and (4)."""
    if block.table is None or block.requantize is None:
        return int(acc > 0)
    index = limited(requantized(acc, block.requantize, unit), -128, 127)
    return int(block.table.values[index + 128])


def lstm_step(layer: QuantizedLayer, x: list[int], h: list[int], c: list[int]) -> dict[str, list[int]]:
    """Equations (1) to (7)."""
    hard = {gate for gate, mode in layer.modes.items() if mode == "hard"}
    v = x + h
    values: dict[str, list[int]] = {name: [] for name in (*"ifgo", "a_i", "a_f", "a_g", "a_o", "c_next", "t", "h_next")}
    for unit in range(layer.hidden):
        k = {}
        for name, block in layer.blocks.items():
            acc = int(block.bias[unit]) + sum(int(w) * value for w, value in zip(block.weights[unit], v, strict=True))
            k[name] = block_value(acc, block, unit)
            values[f"a_{name}"].append(acc)
            values[name].append(k[name])
        kept = (c[unit] if k["f"] else 0) if "f" in hard else k["f"] * c[unit]
        added = (k["g"] if k["i"] else 0) if "i" in hard else k["i"] * k["g"]
        if not hard & {"f", "i"}:
            total = rounded(kept + added, 15)
        else:
            total = (kept if "f" in hard else rounded(kept, 15)) + (added if "i" in hard else rounded(added, 15))
        c_next = limited(total, layer.c.min, layer.c.max)
        t = int(layer.squash.values[limited(rounded(c_next, layer.squash_shift), -128, 127) + 128])
        if "o" in hard:
            h_next = t if k["o"] else 0
        else:
            h_next = limited(rounded(k["o"] * t, 30 - layer.h.fraction_bits), layer.h.min, layer.h.max)
        for name, value in (("c_next", c_next), ("t", t), ("h_next", h_next)):
            values[name].append(value)
    return values


def run(model: QuantizedModel, window: list[list[int]]) -> list[dict[str, list[int]]]:
    """All values of each step, with the scores that equations (8) and (9) give after it."""
    states = [([0] * layer.hidden, [0] * layer.hidden) for layer in model.layers]
    pool = [0] * model.layers[-1].hidden
    steps = []
    for x in window:
        traced: dict[str, list[int]] = {}
        value = x
        for k, layer in enumerate(model.layers):
            values = lstm_step(layer, value, *states[k])
            states[k] = (values["h_next"], values["c_next"])
            value = values["h_next"]
            traced |= {f"lstm{k}.{name}": v for name, v in values.items()}
        if model.pool is not None:
            bound = model.layers[-1].h.max * model.signature.steps
            pool = [limited(p + h, -bound, bound) for p, h in zip(pool, value, strict=True)]
            traced["pool.p"] = pool
            wide = [requantized(p, model.pool, unit) for unit, p in enumerate(pool)]
            value = [limited(p, model.pooled.min, model.pooled.max) for p in wide]
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
    trace = execute(model, x, trace="all").trace
    for window in range(len(x)):
        for step, values in enumerate(run(model, x[window].tolist())):
            for name, wanted in values.items():
                assert trace[name][window, step].tolist() == wanted, (name, window, step)


def with_block(model: QuantizedModel, layer: int, name: str, **changes: Any) -> QuantizedModel:
    layers = list(model.layers)
    block = replace(layers[layer].blocks[name], **changes)
    layers[layer] = replace(layers[layer], blocks={**layers[layer].blocks, name: block})
    return replace(model, layers=tuple(layers))


def test_saturation_is_what_the_equations_say(make_quantized: Make) -> None:
    """Gates that stay open drive the cell state, h and the sum over a window to their limits."""
    model = make_quantized("i=hard,f=hard,o=soft", hidden=2, inputs=1, pooling="mean", steps=6)
    for name in "ifgo":
        model = with_block(model, 0, name, bias=np.array([60_000, 60_000 if name == "o" else -60_000], np.int32))
        model = with_block(model, 0, name, weights=np.zeros((2, 3), np.int8))
    for name in "if":
        model = with_block(model, 0, name, bias=np.ones(2, np.int32))
    x = np.zeros((1, 40, 1), np.int32)
    trace = execute(model, x, trace="all").trace
    assert trace["lstm0.c_sum"].max() > 32767 == trace["lstm0.c_next"].max()
    assert trace["lstm0.c_sum"].min() < -32768 == trace["lstm0.c_next"].min()
    assert trace["lstm0.h_wide"].max() > 127 == trace["lstm0.h_next"].max()
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
    soft, hard = (make_quantized(gates, hidden=2, inputs=1).layers[0] for gates in ("soft", "hard"))
    for changes, message in (
        ({"squash": soft.squash}, "the table of the cell state is in Q0.15, and must be in Q0.7 of 8 bits"),
        ({"c": replace(hard.c, fraction_bits=5)}, "the table of block g is in .*, and must be in Q10.5 of 16 bits"),
        ({"blocks": {**hard.blocks, "i": hard.blocks["g"]}}, "the table of block i is in .*, and must be in Q0.15 of"),
    ):
        with pytest.raises(EdgeLstmError, match=message):
            replace(hard, **changes)


def test_shifts_that_do_not_exist_are_refused(make_quantized: Make) -> None:
    model = make_quantized("soft", hidden=2, inputs=1)
    layer = replace(model.layers[0], h=replace(model.layers[0].h, fraction_bits=32))
    assert refusal(replace(model, layers=(layer,))) == (
        "m.step: lstm0.h_wide (shift_right_half_up): it shifts by -2; accepted are 0 to 30"
    )
