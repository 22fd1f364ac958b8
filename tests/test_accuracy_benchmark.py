"""The accuracy benchmark on tiny rows: what is trained and what not again, what is counted, and its tables."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import accuracy
import accuracy_job
import accuracy_table
import numpy as np
import pytest
from accuracy_log import append, of_job, read
from accuracy_rows import BASES, FOLDS, ROWS, Job, Row, jobs, matching
from executed import activity

from edge_lstm.data import Dataset, load, train_test
from edge_lstm.errors import EdgeLstmError
from edge_lstm.lower import named_layers
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute
from edge_lstm.train_options import TrainOptions

Make = Callable[..., QuantizedModel]
TINY = TrainOptions(hidden=4, epochs=2, epoch_windows=40, validation=0.0)


def tiny(kind: Any = "final", **changes: Any) -> Row:
    return Row(name=f"{kind}/tiny", data="basic-motions", options=replace(TINY, **changes), kind=kind)


def recordings(model: QuantizedModel, windows: int = 5, lengths: Any = None) -> Dataset:
    steps, channels = model.signature.steps, len(model.signature.channels)
    x = np.random.default_rng(0).normal(size=(windows, steps, channels))
    return Dataset(
        name="noise",
        x=model.input_offset + 60 * model.input_scale * x,
        y=np.arange(windows) % 2,
        classes=model.signature.classes,
        channels=model.signature.channels,
        units=model.signature.units,
        lengths=lengths,
    )


# The rows


def test_rows_have_names_of_their_own_and_hold_nothing_out() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.data for row in ROWS} == set(BASES)
    assert not any(row.options.validation for row in ROWS)
    with pytest.raises(EdgeLstmError, match=r"^row 'final/tiny': validation is 0\.2; accepted is 0$"):
        tiny(validation=0.2)
    with pytest.raises(EdgeLstmError, match=r"^row 'best/tiny': kind is 'best'; accepted are choose, folds, final$"):
        tiny("best")


def test_rows_are_found_by_their_name() -> None:
    found = matching(ROWS, "final/hapt-2/*w4")
    assert found
    assert all(row.data == "hapt-2" and row.options.weight_bits == "4" for row in found)
    with pytest.raises(EdgeLstmError, match=r"^--only is 'lsmt'; no row has it in its name$"):
        matching(ROWS, "lsmt")


def test_jobs_are_of_one_seed_after_the_other() -> None:
    found = [(job.row.kind, job.seed, job.fold) for job in jobs([tiny(), tiny("folds")], [0, 3])]
    once = [("final", 0, 0), *(("folds", 0, fold) for fold in range(FOLDS))]
    assert found == [*once, *((kind, 3, fold) for kind, _, fold in once)]
    job = Job(tiny("folds"), 3, 1)
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


# What is trained on, and what is measured


def test_the_test_part_is_measured_in_final_rows_alone() -> None:
    training, test = train_test(load("basic-motions"))
    fitted, held_out = accuracy_job.parts(Job(tiny(), 0))
    assert np.array_equal(fitted.x, training.x)
    assert np.array_equal(held_out.x, test.x)
    for kind in ("choose", "folds"):
        fitted, held_out = accuracy_job.parts(Job(tiny(kind), 0))
        assert len(fitted) + len(held_out) == len(training)
        for part in (fitted, held_out):
            assert {window.tobytes() for window in part.x} <= {window.tobytes() for window in training.x}
    every = [accuracy_job.parts(job)[1].x for job in jobs([tiny("folds")], [0])]
    assert len({window.tobytes() for window in np.concatenate(every)}) == len(training)


def test_thinned_keeps_so_many_of_each_class_and_subject() -> None:
    data = load("basic-motions").take(np.arange(40))
    data = replace(data, groups=np.arange(40) % 2)
    found = accuracy_job.thinned(data, 3, 0)
    assert found.groups is not None
    counts = np.zeros((2, 4), np.int64)
    np.add.at(counts, (found.groups, found.labels), 1)
    assert counts.tolist() == [[3] * 4] * 2
    assert np.array_equal(accuracy_job.thinned(data, 3, 0).x, found.x)
    assert len(accuracy_job.thinned(data, 0, 0)) == len(accuracy_job.thinned(data, 1000, 0)) == 40


# What is counted


@pytest.mark.parametrize("cell", ["lstm", "lstm-1997", "peephole", "cifg", "lstmp", "gru", "gru-after", "rnn"])
def test_executed_products_are_those_of_a_loop(make_quantized: Make, cell: str) -> None:
    """The definition, product by product."""
    gates = "soft" if cell == "rnn" else "hard"
    model = make_quantized(gates, cell=cell, hidden=4, inputs=3, steps=6)
    data, ((name, layer),) = recordings(model), named_layers(model)
    trace = execute(model, model.quantize_input(data.x), trace="all").trace
    h = trace[f"{name}.h"]
    closed = {"cifg": ("g", "f", 1), "gru": ("n", "z", 1), "gru-after": ("n", "z", 1), "rnn": ("", "", 0)}
    candidate, gate, shut = closed.get(cell, ("g", "i", 0))
    count = 0
    for w in range(len(data)):
        for t in range(6):
            last = h[w, t - 1] if t else np.zeros(layer.outputs)
            for block in layer.blocks:
                for row in range(layer.hidden):
                    if block == candidate and trace[f"{name}.{gate}"][w, t, row] == shut:
                        continue
                    reset = trace[f"{name}.r"][w, t] if (cell, block) == ("gru", "n") else np.ones_like(last)
                    count += layer.inputs + int((last * reset != 0).sum())
            count += 0 if layer.projection is None else layer.projection.weights.size
    found = activity(model, data)
    assert found.executed == pytest.approx(count / (len(data) * 6))
    assert found.h_zero == pytest.approx((h == 0).mean())
    assert found.executed <= found.dense
    assert set(found.open) == set(layer.modes)


def test_a_network_whose_gates_are_closed_executes_what_is_left(make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=4, inputs=3, steps=6)

    def with_bias(**bias: int) -> QuantizedModel:
        blocks = dict(model.layers[0].blocks)
        for name, value in bias.items():
            blocks[name] = replace(blocks[name], bias=np.full(4, value, np.int32))
        return replace(model, layers=(replace(model.layers[0], blocks=blocks),))

    far = 2**24
    shut = activity(with_bias(i=-far, o=-far), recordings(model))
    assert (shut.dense, shut.executed, shut.h_zero) == (4 * 4 * (3 + 4), 3 * 4 * 3, 1.0)
    assert shut.open["i"] == shut.open["o"] == 0.0
    deaf = activity(with_bias(i=far, o=-far), recordings(model))
    assert (deaf.executed, deaf.open["i"]) == (4 * 4 * 3, 1.0)


def test_padding_and_direction_count(make_quantized_form: Make) -> None:
    """A window of 3 of 6 steps needs what those 3 steps alone need; so does a reverse layer's, which begins there."""
    model = make_quantized_form("variable", "hard", hidden=4, inputs=3, steps=6)
    long = recordings(model, lengths=np.full(5, 6))
    short = replace(long, x=long.x[:, :3], lengths=np.full(5, 3))
    for layers in (model.layers, (replace(model.layers[0], reverse=True),)):
        changed = replace(model, layers=layers)
        padded = activity(changed, replace(long, lengths=np.full(5, 3)))
        alone = activity(replace(changed, signature=replace(model.signature, steps=3)), short)
        assert (padded.executed, padded.h_zero, padded.open) == (alone.executed, alone.h_zero, alone.open)


# The log


def test_what_is_in_the_log_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_LSTM_KERNEL", "torch")  # nothing is compiled for so little
    log = tmp_path / "results" / "log.jsonl"
    said: list[str] = []
    assert accuracy.run(accuracy.missing([tiny()], [0], log), log, 2, said.append) == 0
    assert [line.partition(":")[0] for line in said] == ["1/1 final/tiny, seed 0"]
    append(log, accuracy_job.measured(Job(tiny("choose"), 0)))
    assert accuracy.missing([tiny(), tiny("choose")], [0], log) == []
    assert [job.seed for job in accuracy.missing([tiny()], [0, 1], log)] == [1]
    assert accuracy.missing([tiny(hidden=5)], [0], log) == [Job(tiny(hidden=5), 0)]
    records = {record["kind"]: record for record in read(log)}
    final, chosen = records["final"], records["choose"]
    assert final["validation"] is None
    assert chosen["test"] is None
    assert set(final["test"]) == set(chosen["validation"]) == {"float", "int"}
    assert final["test"]["int"].keys() == {"accuracy", "macro_f1"}
    assert (final["trained_windows"], final["measured_windows"], chosen["measured_windows"]) == (40, 40, 8)
    assert final["macs"] == 4 * 4 * (6 + 4)
    assert 0 < final["executed_macs"] <= final["macs"]
    assert final["weight_bytes"] == final["macs"] + 4 * 4 < final["model_bytes"]
    assert not list((tmp_path / "results" / "checkpoints").iterdir())
    lines = accuracy_table.tables([tiny(), tiny("choose")], read(log), [0])
    assert lines[0] == "### basic-motions"
    assert sum(line.startswith("| lstm, 4 | hard | int8 | 1 | ") for line in lines) == 1
    assert sum(line.startswith("| choose/tiny | 1 | ") for line in lines) == 1


def test_a_training_that_fails_says_why_and_leaves_no_line(tmp_path: Path) -> None:
    said: list[str] = []
    row = replace(tiny(), data="nowhere")
    assert accuracy.run([Job(row, 0)], tmp_path / "log.jsonl", 1, said.append) == 1
    assert "failed: edge_lstm.errors.EdgeLstmError: unknown data set 'nowhere'" in said[0]
    assert read(tmp_path / "log.jsonl") == []


def test_an_older_record_stands_for_options_that_it_did_not_know(tmp_path: Path) -> None:
    job = Job(tiny(), 0)
    record = job.to_json()
    del record["options"]["dropout"]
    append(tmp_path / "log.jsonl", record)
    records = read(tmp_path / "log.jsonl")
    assert of_job(records, job) == record
    assert of_job(records, Job(tiny(dropout=0.5), 0)) is None
    assert of_job(records, Job(tiny(), 1)) is None
    assert of_job(records, Job(replace(tiny(), thin=3), 0)) is None


def test_a_torn_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(Job(tiny(), 0).to_json()) + '\n{"name": "fin')
    with pytest.raises(EdgeLstmError, match=r"log\.jsonl: line 2 is no record of a training; delete it$"):
        read(tmp_path / "log.jsonl")


# The tables


def record(row: Row, seed: int, value: float, fold: int = 0) -> dict[str, Any]:
    figures = {form: {"accuracy": value, "macro_f1": value / 2} for form in ("float", "int")}
    found = {"validation": None, "test": figures} if row.kind == "final" else {"validation": figures, "test": None}
    counted = {
        "model_bytes": 3000,
        "weight_bytes": 2000,
        "table_bytes": 768,
        "macs": 1000,
        "executed_macs": 500.0,
        "h_zero": 0.5,
    }
    return {**Job(row, seed, fold).to_json(), **found, **counted, "open": {"i": 0.25, "o": 0.5}}


def test_a_line_is_mean_and_spread_over_seeds() -> None:
    row = tiny(weight_bits="4")
    lines = accuracy_table.tables([row], [record(row, 0, 0.9), record(row, 1, 0.92)], [0, 1, 2])
    spread = "91.00 ± 1.41 (90.00 to 92.00)"
    assert lines[-2] == (
        f"| lstm, 4 | hard | int4 | 2 | {spread} | {spread} | 45.50 ± 0.71 (45.00 to 46.00) | 3,000 | 768 | 1,000 | "
        "500 | i 25, o 50 | 50 |"
    )


def test_folds_are_one_figure_of_a_seed() -> None:
    row = tiny("folds")
    found = [record(row, 0, value, fold) for fold, value in enumerate((0.9, 0.9, 0.8, 0.8))]
    lines = accuracy_table.tables([row], [*found, record(row, 1, 1.0)], [0, 1])  # three folds of seed 1 are missing
    assert lines[-2] == "| folds/tiny, 4 folds | 1 | 85.00 | 85.00 | 42.50 | 42.50 |"


def test_peers_stand_beside_ours() -> None:
    row = next(row for row in ROWS if row.data == "hapt-2" and row.kind == "final")
    lines = accuracy_table.tables([row], [record(row, 0, 0.95)], [0])
    assert sum("FastGRNN | 95.59 | 3 KB |" in line and "NeurIPS" in line and "2018" in line for line in lines) == 1


def test_a_page_keeps_what_is_around_the_tables() -> None:
    text = f"before\n{accuracy_table.BEGIN}\nold\n{accuracy_table.END}\nafter\n"
    once = accuracy_table.page(text, ["new", ""])
    assert once == f"before\n{accuracy_table.BEGIN}\n\nnew\n\n{accuracy_table.END}\nafter\n"
    assert accuracy_table.page(once, ["new", ""]) == once
    with pytest.raises(
        EdgeLstmError, match=r"^the page has no <!-- accuracy --> with <!-- end of accuracy --> after it$"
    ):
        accuracy_table.page("nothing", [])


def test_the_program_says_what_it_would_do() -> None:
    script = Path(accuracy.__file__)
    command = [sys.executable, str(script), "--dry-run", "--only", "final/fsdd/", "--seeds", "90,91"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "final/fsdd/lstm-32/soft/w8, seed 91" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "4 trainings"
    command = [sys.executable, str(script), "--only", "lsmt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "--only is 'lsmt'; no row has it in its name" in done.stderr
