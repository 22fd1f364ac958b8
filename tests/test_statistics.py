"""What a model holds, and what its gates do, on models whose gates are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm.codec import digest
from edge_lstm.export import c99
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.elf import Image
from edge_lstm.firmware_sim.toolchain import compile_device
from edge_lstm.luts import build, largest_error, mean_error
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute
from edge_lstm.statistics import describe, gate_statistics

Make = Callable[..., QuantizedModel]


def with_rows(model: QuantizedModel, rows: dict[str, tuple[list[list[int]], list[int]]]) -> QuantizedModel:
    """The model with other weights and biases of some blocks of its first layer."""
    layer = model.layers[0]
    blocks = dict(layer.blocks)
    for name, (weights, bias) in rows.items():
        blocks[name] = replace(blocks[name], weights=np.array(weights, np.int8), bias=np.array(bias, np.int32))
    return replace(model, layers=(replace(layer, blocks=blocks), *model.layers[1:]))


def real(model: QuantizedModel, integers: Any) -> np.ndarray:
    """Samples that become these integers."""
    return model.input_offset + np.array(integers, np.float64) * model.input_scale


def test_a_model_is_described(make_quantized: Make) -> None:
    model = make_quantized("i=hard", hidden=5, inputs=3, layers=2, pooling="mean", steps=7, classes=4)
    found = describe(model)
    layers = found.pop("layers")
    assert {k: found[k] for k in ("name", "sha256", "steps", "pooling", "rate_hz")} == {
        "name": "m",
        "sha256": digest(model),
        "steps": 7,
        "pooling": "mean",
        "rate_hz": 10.0,
    }
    assert found["channels"] == ["channel0", "channel1", "channel2"]
    assert found["parameters"] == 4 * 5 * (3 + 5 + 1) + 4 * 5 * (5 + 5 + 1) + 4 * (5 + 1)
    assert found["multiply_accumulates_per_step"] == 4 * 5 * (3 + 5) + 4 * 5 * (5 + 5)
    assert [(k["cell"], k["inputs"], k["hidden"], k["gates"]) for k in layers] == [
        ("lstm", 3, 5, "i=hard,f=soft,o=soft"),
        ("lstm", 5, 5, "i=hard,f=soft,o=soft"),
    ]
    assert {(k["weight_bits"], k["activation_bits"], k["formats"]["h"]) for k in layers} == {(8, 8, "Q0.7")}
    for layer, quantized in zip(layers, model.layers, strict=True):
        assert set(layer["tables"]) == {"f", "o", "g", "t"}
        assert layer["tables"]["t"]["largest_error"] == largest_error(quantized.squash["t"])
        table = build("tanh", quantized.c)
        assert layer["tables"]["g"] == {
            "function": "tanh",
            "form": "nearest",
            "format": str(quantized.c),
            "largest_error": largest_error(table),
            "mean_error": mean_error(table),
        }


def test_another_cell_with_other_bits_is_described(make_quantized: Make) -> None:
    options: dict[str, Any] = {"hidden": 5, "inputs": 3, "classes": 4, "activation_bits": 16, "weight_bits": 4}
    (layer,) = (found := describe(make_quantized("soft", cell="lstmp", activations="lut-interp", **options)))["layers"]
    weights = 4 * 5 * (3 + 4) + 4 * 5  # four blocks of five rows, and a projection of five to four
    assert (layer["cell"], layer["inputs"], layer["hidden"], layer["outputs"]) == ("lstmp", 3, 5, 4)
    assert (layer["weight_bits"], layer["activation_bits"]) == (4, 16)
    assert {t["form"] for t in layer["tables"].values()} == {"interpolated"}
    assert found["multiply_accumulates_per_step"] == weights
    assert found["parameters"] == weights + 4 * 5 + 4 * (4 + 1)
    (layer,) = (found := describe(make_quantized("hard-sigmoid", cell="gru-after", squash="hard", **options)))["layers"]
    assert {t["form"] for t in layer["tables"].values()} == {"linear"}
    assert found["parameters"] == 3 * 5 * (3 + 5) + 3 * 5 + 5 + 4 * (5 + 1)  # the last block has two biases
    (layer,) = (found := describe(make_quantized("soft", cell="peephole", **options)))["layers"]
    assert found["parameters"] == 4 * 5 * (3 + 5 + 1) + 3 * 5 + 4 * (5 + 1)
    (layer,) = describe(make_quantized("soft", cell="rnn", **options))["layers"]
    assert (layer["gates"], set(layer["formats"]), set(layer["tables"])) == ("soft", {"h"}, {"t"})


@pytest.mark.parametrize("gates", ["hard", "soft"])
def test_model_bytes_are_those_of_the_constants_in_firmware(gates: str, make_quantized: Make, tmp_path: Any) -> None:
    model = make_quantized(gates, hidden=6, inputs=2, layers=2, pooling="mean", steps=9)
    for name, text in c99.sources(model).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    # Without optimization every constant is a symbol.
    options: dict[str, Any] = {"include_dirs": [tmp_path], "entry_points": ["m_step", "m_result"], "optimize": "-O0"}
    image = compile_device(CORES["cortex-m0plus"], [tmp_path / "m.c"], tmp_path / "m.elf", **options)
    kinds = [(c99.symbol_category(model, s.name), s.size) for s in Image.read(image).symbols]
    assert describe(model)["model_bytes"] == sum(size for kind, size in kinds if kind in ("weights", "tables"))


def test_gates_that_are_always_open_or_closed(make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=2, inputs=1)
    none = [[0, 0, 0]] * 2
    model = with_rows(model, {"i": (none, [1, 1]), "f": (none, [0, 0]), "o": (none, [1, -1])})
    (found,) = gate_statistics(model, real(model, np.zeros((3, 4, 1))))
    assert found["layer"] == "lstm0"
    assert found["gates"] == {
        "i": {"open": 1.0, "changes": 0.0},
        "f": {"open": 0.0, "changes": 0.0},
        "o": {"open": 0.5, "changes": 0.0},
    }
    assert found["h_zero"] >= 0.5
    assert found["c_saturated"] == 0.0


def test_a_gate_that_follows_its_input_changes_with_it(make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=2, inputs=1)
    follows = [[1, 0, 0]] * 2
    model = with_rows(model, {"i": (follows, [0, 0]), "o": ([[1, 0, 0], [-1, 0, 0]], [0, 0])})
    signs = np.array([1, -1, -1, 1, 1]).reshape(1, 5, 1)
    (found,) = gate_statistics(model, real(model, 100 * signs))
    assert found["gates"]["i"] == {"open": 3 / 5, "changes": 2 / 4}
    assert found["gates"]["o"] == {"open": 1 / 2, "changes": 2 / 4}
    trace = execute(model, model.quantize_input(real(model, 100 * signs)), trace="states").trace
    h = trace["lstm0.h"]
    assert found["h_zero"] == np.mean(h == 0)
    assert found["h_unchanged"] == pytest.approx(np.mean(h[:, 1:] == h[:, :-1]))


def test_a_soft_gate_has_its_mean_value(make_quantized: Make) -> None:
    model = make_quantized("soft", hidden=1, inputs=1)
    model = with_rows(model, {"f": ([[0, 0]], [0])})
    (found,) = gate_statistics(model, real(model, np.zeros((2, 3, 1))))
    assert found["gates"]["f"] == {"open": 0.5, "changes": 0.0}


def test_a_three_level_gate_has_its_value_in_halves(make_quantized: Make) -> None:
    model = make_quantized("three-level", hidden=2, inputs=1)
    at = model.layers[0].blocks["f"].activation.at
    model = with_rows(model, {"f": ([[0, 0, 0]] * 2, [0, int(at[1, 1]) + 1])})
    (found,) = gate_statistics(model, real(model, np.zeros((2, 3, 1))))
    assert found["gates"]["f"] == {"open": 0.75, "changes": 0.0}


def test_a_cell_without_a_cell_state_has_none_saturated(make_quantized: Make) -> None:
    model = make_quantized("soft", cell="rnn", hidden=2, inputs=1)
    (found,) = gate_statistics(model, real(model, np.zeros((2, 3, 1))))
    assert (found["layer"], found["gates"], found["c_saturated"]) == ("rnn0", {}, 0.0)


def test_a_saturated_cell_state_is_counted(make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=1, inputs=1)
    always = ([[0, 0]], [1])
    model = with_rows(model, {"i": always, "f": always, "g": ([[127, 0]], [0])})
    x = real(model, np.full((1, 200, 1), 127))
    (found,) = gate_statistics(model, x)
    c = execute(model, model.quantize_input(x), trace="states").trace["lstm0.c"]
    assert 0 < found["c_saturated"] == np.mean(c == 32767) < 1


def test_one_step_has_no_changes(make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=2, inputs=1)
    (found,) = gate_statistics(model, real(model, np.zeros((2, 1, 1))))
    assert {gate["changes"] for gate in found["gates"].values()} == {0.0}
    assert found["h_unchanged"] == 1.0
