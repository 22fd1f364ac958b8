"""Golden vectors: integers from a script that imports nothing of ours, and a model file of format version 1."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_models import Maker, output_format

from edge_lstm.backends import backend
from edge_lstm.cells import CELLS
from edge_lstm.codec import digest
from edge_lstm.gates import MODES, STEPS
from edge_lstm.lower import layer_name, lower
from edge_lstm.runtime import execute
from edge_lstm.storage import load, save

GOLDEN = Path(__file__).with_name("golden")
VECTORS = json.loads((GOLDEN / "vectors.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in VECTORS["cases"]}
MAKER = Maker(VECTORS)
LAYERS = [layer for case in CASES.values() for layer in case["layers"]]
EVERYWHERE = ("numpy", "torch", "onnxruntime", "c")
CORES = ("cortex-m0plus", "cortex-m4")
RUNS = [(case, name) for case in CASES for name in EVERYWHERE]
ON_CORES = ("lstm_int4_mixed", "gru_ternary", "lstm_interpolated", "lstm_1997_hard", "cifg_int16", "rnn_relu_int4")
RUNS += [(case, name) for case in CASES if case.startswith(("two", "three")) or case in ON_CORES for name in CORES]


def series(case: dict[str, Any], k: int, key: str) -> list[list[int]]:
    """A state or a gate of layer k at each step, by the vectors."""
    return [step[k][key] for step in case["expected"]["steps"]]


@pytest.mark.parametrize(("case_name", "name"), RUNS)
def test_every_state_and_score_is_that_of_the_vectors(case_name: str, name: str) -> None:
    case = CASES[case_name]
    built = MAKER.model(case)
    execution = backend(name)(built, np.array([case["x"]], np.int32), trace="states")
    for k, given in enumerate(case["layers"]):
        for state in CELLS[given["cell"]].states:
            found = execution.trace[f"{layer_name(built, k)}.{state}"][0].tolist()
            assert found == series(case, k, state), (k, state)
    assert execution.outputs["scores"][0].tolist() == case["expected"]["scores"]
    assert execution.outputs["class_index"][0].tolist() == [case["expected"]["class_index"]]


@pytest.mark.parametrize("case_name", CASES)
def test_every_gate_and_mean_is_that_of_the_vectors(case_name: str) -> None:
    case = CASES[case_name]
    built = MAKER.model(case)
    trace = execute(built, np.array([case["x"]], np.int32), trace="all").trace
    for k, given in enumerate(case["layers"]):
        for gate in given["modes"]:
            assert trace[f"{layer_name(built, k)}.{gate}"][0].tolist() == series(case, k, gate), (k, gate)
    if case["pooling"] == "mean":
        assert trace["pool.mean"][0, -1].tolist() == case["expected"]["pooled"]


@pytest.mark.parametrize(
    "case_name", ["lstm_int4_mixed", "peephole_hard", "lstmp_soft", "gru_after_int16", "rnn_linear", "lstm_gain"]
)
def test_a_model_of_the_vectors_comes_back_from_its_file(case_name: str, tmp_path: Path) -> None:
    built = MAKER.model(CASES[case_name])
    save(built, tmp_path / "m.elstm")
    assert digest(load(tmp_path / "m.elstm")) == digest(built)


def kinds(layer: dict[str, Any]) -> set[str]:
    """Of the functions of a layer that are no gates: table, between or linear."""
    found = [b["activation"] for name, b in layer["blocks"].items() if name not in layer["modes"]]
    found += layer["squash"].values()
    return {"between" if a.get("between_bits") else a["kind"] for a in found}


def weight_bits(layer: dict[str, Any]) -> int:
    (bits,) = {b["weight_bits"] for b in layer["blocks"].values()}
    return int(bits)


@pytest.mark.parametrize("cell", CELLS)
def test_the_vectors_cover_every_form_of_a_cell(cell: str) -> None:
    layers = [k for k in LAYERS if k["cell"] == cell]
    modes = {gate: {k["modes"][gate] for k in layers} for gate in CELLS[cell].gates}
    assert all(found == set(MODES) for found in modes.values()), modes
    if modes:
        assert {"soft", "hard"} <= {next(iter(m)) for m in (set(k["modes"].values()) for k in layers) if len(m) == 1}
    assert {(weight_bits(k), k["h"][0]) for k in layers} >= {(8, 8), (8, 16), (4, 8), (2, 8)}
    assert set.union(*map(kinds, layers)) == ({"linear"} if cell == "rnn-relu" else {"table", "between", "linear"})


def test_the_vectors_cover_every_kind_of_model() -> None:
    hard = {tuple(g for g, mode in case["layers"][0]["modes"].items() if mode == "hard") for case in CASES.values()}
    assert hard >= {(), ("i",), ("f",), ("i", "o"), ("f", "o"), ("i", "f", "o"), ("z",), ("r",), ("z", "r")}
    shapes = {(len(c["layers"]), c["pooling"]) for c in CASES.values()}
    assert shapes == {(1, "last"), (1, "mean"), (2, "last"), (2, "mean"), (3, "last")}
    assert {case["input_bits"] for case in CASES.values()} == {8, 16}
    assert {case["expected"]["class_index"] for case in CASES.values()} == {0, 1, 2}


HIGHEST = {"hard": 1, "three-level": 2, "soft": 32767, "hard-sigmoid": 32767}
QUIET = ("two_soft_last", "one_unit")
LIVELY = [name for name in CASES if name not in QUIET]


@pytest.mark.parametrize("case_name", LIVELY)
def test_the_vectors_open_and_close_every_gate(case_name: str) -> None:
    case = CASES[case_name]
    for k, given in enumerate(case["layers"]):
        for gate, mode in given["modes"].items():
            found = np.array(series(case, k, gate)) / HIGHEST[mode]
            assert found.min() < 0.2, (k, gate)
            assert found.max() > 0.8, (k, gate)


def test_the_vectors_hold_accumulators_that_are_exactly_on_a_step() -> None:
    exact = set()
    for case in CASES.values():
        given = case["layers"][0]
        for gate, mode in given["modes"].items():
            rows = given["blocks"][gate]
            weights = np.array(given["blocks"][CELLS[given["cell"]].owner(gate)]["weights"])
            start = np.dot(weights[:, : len(case["x"][0])], case["x"][0]) + rows["bias"]
            for k, at in enumerate(rows["activation"].get("at", ())):
                if (start == at).any():
                    exact.add((given["cell"], gate, mode, k))
    assert exact == {
        (name, gate, mode, k)
        for name, kind in CELLS.items()
        for gate in kind.gates
        for mode, steps in STEPS.items()
        for k in range(len(steps))
    }


@pytest.mark.parametrize("case_name", LIVELY)
def test_the_vectors_have_both_signs(case_name: str) -> None:
    case = CASES[case_name]
    assert np.min(case["x"]) < 0 < np.max(case["x"])
    for k, given in enumerate(case["layers"]):
        for state in CELLS[given["cell"]].states:
            found = np.array(series(case, k, state))
            assert found.max() > 0, (k, state)
            assert found.min() < 0 or given["cell"] == "rnn-relu", (k, state)


def limits(given: list[Any]) -> tuple[int, int]:
    form = output_format(given)
    return form.min, form.max


def reached(cell: str, state: str) -> set[tuple[int, bool]]:
    """Limits of its format that a state of a cell reaches somewhere: its bits, and whether it is the highest."""
    found = set()
    for case in CASES.values():
        for k, given in enumerate(case["layers"]):
            if given["cell"] == cell:
                values = np.array(series(case, k, state))
                low, high = limits(given[state])
                found |= {(given[state][0], high == v) for v in (low, high) if v in values}
    return found


@pytest.mark.parametrize("cell", CELLS)
def test_the_vectors_saturate_every_state_at_both_ends(cell: str) -> None:
    for state in CELLS[cell].states:
        found = reached(cell, state)
        assert {high for _, high in found} == ({True} if cell == "rnn-relu" else {False, True}), (state, found)


FRACTION = {"soft": 15, "hard-sigmoid": 15, "three-level": 1}


def test_the_narrowing_of_a_reset_gate_is_that_of_the_program() -> None:
    seen = set()
    for case in CASES.values():
        built = MAKER.model(case)
        shifts = {i.out: i.attributes["n"] for i in lower(built).step.instructions if i.out.endswith("ra_n_narrow")}
        wanted = {
            f"{layer_name(built, k)}.ra_n_narrow": min(given["blocks"]["n"]["narrow"], FRACTION[given["modes"]["r"]])
            for k, given in enumerate(case["layers"])
            if given["cell"] == "gru-after" and given["blocks"]["n"]["narrow"] and given["modes"]["r"] != "hard"
        }
        assert shifts == wanted
        seen |= set(wanted.values())
    assert len(seen) > 1


def test_the_script_imports_nothing_but_the_standard_library() -> None:
    imported = set()
    for script in GOLDEN.glob("*.py"):
        tree = ast.parse(script.read_text(encoding="utf-8"))
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    standard = {"__future__", "collections.abc", "json", "math", "pathlib", "random", "sys", "typing"}
    ours = {"golden_arithmetic", "golden_forms", "golden_graph", "make_vectors", "random_graph"}
    assert imported == standard | ours


def test_a_file_of_format_version_1_stays_readable() -> None:
    """Never change these two files: users have such files."""
    wanted = json.loads((GOLDEN / "v1.json").read_text(encoding="utf-8"))
    loaded = load(GOLDEN / "v1.elstm")
    assert digest(loaded) == wanted["sha256"]
    assert loaded.signature.name == wanted["name"]
    x = np.array(wanted["x"], np.int32)
    execution = execute(loaded, x)
    assert execution.outputs["scores"].tolist() == wanted["scores"]
    assert {name: v.tolist() for name, v in execution.state.items()} == wanted["state"]
