"""The bound of one step holds for every gate mix, and a planted error breaks it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest

from edge_lstm import step_error
from edge_lstm.blocks import Table
from edge_lstm.cells import CELLS
from edge_lstm.gates import MODES
from edge_lstm.layers import QuantizedLayer
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute
from edge_lstm.step_error import StepError, describe, step_errors

Make = Callable[..., QuantizedModel]
MIXES = [
    ",".join(f"{g}={m}" for g, m in zip("ifo", mix, strict=True))
    for mix in itertools.product(("soft", "hard"), repeat=3)
]


def integers(model: QuantizedModel, windows: int = 8, steps: int = 20, seed: int = 3) -> np.ndarray:
    """Random windows and the extremes."""
    shape = (windows, steps, len(model.signature.channels))
    largest = model.input_format.max
    x = np.random.default_rng(seed).integers(-largest, largest + 1, shape).astype(np.int32)
    x[0], x[1], x[2] = largest, -largest, 0
    return x


def with_layer(model: QuantizedModel, **changes: object) -> QuantizedModel:
    layer = dataclasses.replace(model.layers[0], **changes)
    return dataclasses.replace(model, layers=(layer, *model.layers[1:]))


def within(model: QuantizedModel) -> list[bool]:
    return [e.within for e in step_errors(model, integers(model))]


@pytest.mark.parametrize("gates", MIXES)
@pytest.mark.parametrize("seed", range(3))
def test_the_bounds_hold_for_every_mix_of_gates(make_quantized: Make, gates: str, seed: int) -> None:
    model = make_quantized(gates, hidden=9, layers=2, pooling="mean", seed=seed)
    errors = step_errors(model, integers(model))
    assert [e.layer for e in errors] == ["lstm0", "lstm1"]
    for e in errors:
        assert e.within
        assert 0 < e.c_max_abs <= e.c_bound
        assert 0 < e.h_max_abs <= e.h_bound
        assert e.h_bound < 0.1  # a bound that allows everything proves nothing
        assert e.c_bound < 0.25 * 2 ** (15 - 11)


@pytest.mark.parametrize("gates", ["soft", "hard"])
def test_the_bounds_hold_for_every_form(
    form: str, gates: str, make_quantized_form: Make, make_lengths: Callable[..., np.ndarray]
) -> None:
    model = make_quantized_form(form, "soft" if "relu" in form or "rnn" in form else gates)
    x = integers(model, steps=12)
    errors = step_errors(model, x, lengths=make_lengths(model, len(x), 12))
    assert len(errors) == len(model.all_layers)
    for e in errors:
        assert e.within
        assert 0 < e.h_max_abs <= e.h_bound


@pytest.mark.parametrize("squash", ["exact", "hard"])
@pytest.mark.parametrize(("weight_bits", "activation_bits", "activations"), [(8, 8, "lut"), (4, 16, "lut-interp")])
@pytest.mark.parametrize(
    ("cell", "gates"), [(n, m) for n, k in CELLS.items() for m in (MODES if k.gates else ["soft"])]
)
def test_the_bounds_hold_for_every_cell(
    make_quantized: Make,
    cell: str,
    gates: str,
    weight_bits: int,
    activation_bits: int,
    activations: str,
    squash: str,
) -> None:
    bits = {"weight_bits": weight_bits, "activation_bits": activation_bits, "activations": activations}
    model = make_quantized(gates, cell=cell, squash=squash, hidden=9, layers=2, seed=1, **bits)
    errors = step_errors(model, integers(model))
    assert [e.layer for e in errors] == [f"{cell.replace('-', '_')}{k}" for k in range(2)]
    for e, layer in zip(errors, model.layers, strict=True):
        assert e.within
        assert e.h_max_abs <= e.h_bound <= 16 * max(e.h_max_abs, layer.h.scale)
        if layer.c is None:
            assert e.c_max_abs == e.c_bound == 0
        else:
            assert 0 < e.c_max_abs <= e.c_bound <= 16 * e.c_max_abs


def test_a_hard_output_gate_adds_nothing_but_the_tables_error(make_quantized: Make) -> None:
    hard, soft = (make_quantized(f"i=hard,f=hard,o={o}", hidden=9, seed=1) for o in ("hard", "soft"))
    (of_hard,), (of_soft,) = step_errors(hard, integers(hard)), step_errors(soft, integers(soft))
    assert of_hard.h_bound < of_soft.h_bound
    layer = hard.layers[0]
    assert of_hard.h_bound == pytest.approx(step_error.luts.largest_error(layer.squash["t"]), abs=2e-9)


def wrong_runtime(monkeypatch: pytest.MonkeyPatch, runs: QuantizedModel) -> None:
    """Let another model's integers be compared with this one's bounds."""
    monkeypatch.setattr(
        step_error, "execute", lambda _, x, trace, lengths: execute(runs, x, trace=trace, lengths=lengths)
    )


@pytest.mark.parametrize("gates", MIXES)
def test_a_wrong_squash_shift_breaks_the_bound(
    make_quantized: Make, monkeypatch: pytest.MonkeyPatch, gates: str
) -> None:
    """The shift follows from the table's index bits."""
    model = make_quantized(gates, hidden=9, seed=1)
    table = model.layers[0].squash["t"]
    assert isinstance(table, Table)
    for by in (-1, 1):
        wrong = dataclasses.replace(table, index_bits=table.index_bits + by)
        wrong_runtime(monkeypatch, with_layer(model, squash={"t": wrong}))
        assert within(model) == [False]


def off_by(table: Table, entries: slice, lsb: int) -> Table:
    values = table.values.astype(np.int32)
    values[entries] = np.clip(values[entries] + lsb, table.output.min, table.output.max)
    return dataclasses.replace(table, values=values.astype(np.int16))


def changed_block(layer: QuantizedLayer, name: str, change: Callable[[Table], Table]) -> QuantizedLayer:
    block = layer.blocks[name]
    assert isinstance(block.activation, Table)
    changed = dataclasses.replace(block, activation=change(block.activation))
    return dataclasses.replace(layer, blocks={**layer.blocks, name: changed})


@pytest.mark.parametrize(
    ("block", "gates"), [("i", "i=soft,f=hard,o=hard"), ("f", "i=hard,f=soft,o=hard"), ("g", "hard")]
)
def test_entries_of_a_gates_table_off_by_many_units_break_the_bound(
    make_quantized: Make, monkeypatch: pytest.MonkeyPatch, block: str, gates: str
) -> None:
    model = make_quantized(gates, hidden=9, seed=1)
    layer = changed_block(model.layers[0], block, lambda t: off_by(t, slice(112, 144), -(t.output.max // 8)))
    wrong_runtime(monkeypatch, dataclasses.replace(model, layers=(layer,)))
    assert within(model) == [False]


def test_entries_of_the_squash_table_off_by_several_units_break_the_bound(
    make_quantized: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_quantized("o=hard", hidden=9, seed=1)
    table = model.layers[0].squash["t"]
    assert isinstance(table, Table)
    wrong_runtime(monkeypatch, with_layer(model, squash={"t": off_by(table, slice(112, 144), 6)}))
    assert within(model) == [False]


def test_one_flipped_decision_of_a_hard_gate_breaks_the_bound(
    make_quantized: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_quantized("hard", hidden=9, seed=1)
    right = execute(model, integers(model), trace="all")
    c = right.trace["lstm0.c"]
    window, step, unit = np.argwhere(np.abs(right.trace["lstm0.h"]) > 40)[0]
    trace = {**right.trace, "lstm0.h": right.trace["lstm0.h"].copy()}
    trace["lstm0.h"][window, step, unit] = 0
    monkeypatch.setattr(step_error, "execute", lambda *_, **__: dataclasses.replace(right, trace=trace))
    (found,) = step_errors(model, integers(model))
    assert not found.within
    assert found.h_max_abs > found.h_bound
    assert found.c_max_abs <= found.c_bound
    assert c is right.trace["lstm0.c"]


def test_windows_beyond_one_block_are_looked_at(make_quantized: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_quantized("soft", hidden=4, layers=2, seed=1)
    x = integers(model, windows=7)
    whole = step_errors(model, x)
    monkeypatch.setattr(step_error, "BLOCK", 3)
    assert step_errors(model, x) == whole
    single = [step_errors(model, x[k : k + 1]) for k in range(len(x))]
    for number, e in enumerate(whole):
        assert e.h_max_abs == max(s[number].h_max_abs for s in single)
        assert e.c_max_abs == max(s[number].c_max_abs for s in single)


def test_one_window_outside_its_bound_is_enough(make_quantized: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    good = StepError("lstm0", 0.1, 0.2, 0.3, 0.4, True)
    parts = iter([[good], [dataclasses.replace(good, c_max_abs=0.5, within=False)], [good]])
    monkeypatch.setattr(step_error, "BLOCK", 1)
    monkeypatch.setattr(step_error, "_block", lambda *_: next(parts))
    model = make_quantized("soft", hidden=4, seed=1)
    assert step_errors(model, integers(model, windows=3)) == (StepError("lstm0", 0.5, 0.2, 0.3, 0.4, False),)


def test_lines_for_people() -> None:
    assert list(describe((StepError("lstm0", 0.00123, 0.2, 0.0345, 0.4, True),))) == [
        ("lstm0: one step of c against exact", "0.0012, bound 0.2"),
        ("lstm0: one step of h against exact", "0.035, bound 0.4"),
    ]
