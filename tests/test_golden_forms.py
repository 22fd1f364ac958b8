"""Golden vectors of the forms: directions, lengths, initial states, attention, decoders, probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_models import Json, Maker

from edge_lstm.backends import backend
from edge_lstm.cells import CELLS
from edge_lstm.codec import digest
from edge_lstm.execution import Backend, Execution, Trace
from edge_lstm.lower import layer_name
from edge_lstm.model import POOLINGS, QuantizedModel
from edge_lstm.runtime import execute, execute_table
from edge_lstm.storage import load, save

GOLDEN = Path(__file__).with_name("golden")
VECTORS = json.loads((GOLDEN / "form_vectors.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in VECTORS["cases"]}
MAKER = Maker(VECTORS)
AVERAGES = ("mean", "max", "attention")
EVERYWHERE = ("torch", "onnxruntime", "c")
CORES = ("cortex-m0plus", "cortex-m4")
RUNS = [(case, name) for case in CASES for name in EVERYWHERE]
RUNS += [(case, name) for case in list(CASES)[::3] for name in CORES]


def batch(windows: list[Any], steps: int) -> list[Any]:
    """Values of each window's steps, and zeros beyond its end."""
    rows = [np.array(v) for v in windows]
    return [np.concatenate([v, np.zeros((steps - len(v), *v.shape[1:]), v.dtype)]).tolist() for v in rows]


def directions(case: Json) -> str:
    """Of the levels, such as ``><,>``."""
    return "".join(("" if k["beside"] else ",") + ("<" if k["reverse"] else ">") for k in case["layers"]).strip(",")


def pooled(case: Json) -> list[str]:
    """Our names of what is kept for pooling: by the place in the last level, or for ``newest`` by the layer."""
    if case["pooling"] == "newest":
        first = len(case["layers"]) - len(directions(case).split(",")[-1])
        return [f"pool{k}" for k in range(first, len(case["layers"])) if case["layers"][k]["reverse"]]
    parts = len(case["expected"][0]["pool"])
    return ["pool"] if parts == 1 else [f"pool{k}" for k in range(parts)]


def series(case: Json, built: QuantizedModel) -> Iterator[tuple[str, str, list[Json], int]]:
    """Each state, the key of its values, the series of each window that holds it, and the steps of its stage."""
    expected, taken = case["expected"], len(case["x"][0])
    for k, layer in enumerate(built.all_layers):
        steps = taken if k < len(built.layers) else case["decoder"]["steps"]
        for state in CELLS[layer.cell].states:
            yield f"{layer_name(built, k)}.{state}", state, [found["layers"][k] for found in expected], steps
    for k, name in enumerate(pooled(case)):
        for key in expected[0]["pool"][k].keys() - {"reverse"}:
            yield f"{name}.{key}", key, [found["pool"][k] for found in expected], taken
    if built.decoder:
        scores = [{"reverse": False, **found["outputs"]} for found in expected]
        yield "decoder.scores", "scores", scores, built.decoder.steps
        yield "decoder.x", "x", [found["fed"] for found in expected], built.decoder.steps


def run_case(case: Json, run: Backend, trace: Trace = "states") -> Execution:
    lengths = None if case["lengths"] is None else np.array(case["lengths"])
    return run(MAKER.model(case), np.array(case["x"], np.int32), trace=trace, lengths=lengths)


def check(case: Json, run: Backend) -> None:
    """Compare every state after each step and at the end, and every output."""
    execution = run_case(case, run)
    names = set()
    for name, key, windows, steps in series(case, MAKER.model(case)):
        assert execution.trace[name].tolist() == batch([w[key] for w in windows], steps), name
        assert execution.state[name].tolist() == [w[key][0 if w["reverse"] else -1] for w in windows], name
        names.add(name)
    assert execution.state.keys() == names
    assert execution.outputs.keys() == case["expected"][0]["outputs"].keys()
    for name, value in execution.outputs.items():
        wanted = [found["outputs"][name] for found in case["expected"]]
        assert value.tolist() == (batch(wanted, len(case["x"][0])) if case["pooling"] == "each" else wanted), name


@pytest.mark.parametrize("run", [execute, execute_table])
@pytest.mark.parametrize("case_name", CASES)
def test_numpy_gives_every_state_and_output_of_the_vectors(case_name: str, run: Backend) -> None:
    check(CASES[case_name], run)


@pytest.mark.parametrize(("case_name", "name"), RUNS)
def test_a_backend_gives_every_state_and_output_of_the_vectors(case_name: str, name: str) -> None:
    check(CASES[case_name], backend(name))


@pytest.mark.parametrize("case_name", [k for k, case in CASES.items() if case["pooling"] in AVERAGES])
def test_what_is_pooled_is_that_of_the_vectors(case_name: str) -> None:
    case = CASES[case_name]
    found = run_case(case, execute, "all").trace["pool.max" if case["pooling"] == "max" else "pool.mean"]
    for k, wanted in enumerate(case["expected"]):
        streamed = found.shape[1] > 1  # then the head's values are those of each step
        at = case["lengths"][k] - 1 if streamed and case["lengths"] else -1
        assert found[k, at].tolist() == wanted["pooled"]


@pytest.mark.parametrize("case_name", ["bidirectional_two_levels", "attention_int16", "softmax_nine", "decoder_stack"])
def test_a_model_of_the_vectors_comes_back_from_its_file(case_name: str, tmp_path: Path) -> None:
    built = MAKER.model(CASES[case_name])
    save(built, tmp_path / "m.elstm")
    assert digest(load(tmp_path / "m.elstm")) == digest(built)


def layers_of(case: Json) -> list[Json]:
    return list(case["layers"]) + (case["decoder"]["layers"] if case["decoder"] else [])


def test_the_vectors_cover_every_cell_in_both_directions() -> None:
    found = {(k["cell"], k["reverse"]) for case in CASES.values() for k in case["layers"]}
    both = {name for name in CELLS if {(name, True), (name, False)} <= found}
    assert both >= {"lstm", "lstm-1997", "peephole", "cifg", "lstmp", "gru", "gru-after", "rnn"}
    assert {mode for case in CASES.values() for k in layers_of(case) for mode in k["modes"].values()} >= {
        "soft",
        "hard",
        "three-level",
        "hard-sigmoid",
    }
    bits = {b["weight_bits"] for case in CASES.values() for k in layers_of(case) for b in k["blocks"].values()}
    assert bits == {8, 4, 2}
    assert {k["h"][0] for case in CASES.values() for k in layers_of(case)} == {8, 16}


def test_the_vectors_cover_every_form() -> None:
    found = {(case["pooling"], case["variable"]) for case in CASES.values() if not case["decoder"]}
    assert found == {(pooling, variable) for pooling in POOLINGS for variable in (False, True)}
    assert {directions(case) for case in CASES.values()} >= {">", "<", "><", "<>", "<<,>>", "><,<>", ">,<,>", "<,>,<"}
    decoders = {(case["variable"], directions(case)) for case in CASES.values() if case["decoder"]}
    assert decoders >= {(False, ">"), (False, "<"), (True, ">"), (True, ">,<,>")}
    assert {len(case["relu"]) for case in CASES.values()} == {0, 1, 2}
    started = {tuple(k["initial"]) for case in CASES.values() for k in case["layers"]}
    assert started == {(), ("h",), ("c",), ("h", "c")}


def test_the_vectors_have_windows_that_end_early_and_at_once() -> None:
    for case in CASES.values():
        if case["variable"]:
            assert min(case["lengths"]) < len(case["x"][0]) or case["name"] == "lengths_one_step"
    assert any(max(case["lengths"] or [8]) < len(case["x"][0]) for case in CASES.values())
    assert any(1 in (case["lengths"] or ()) for case in CASES.values())


def test_the_weights_of_attention_reach_both_ends_and_what_is_between() -> None:
    lowest, highest = VECTORS["exp"][0], VECTORS["exp"][-1]
    found = set()
    for case in CASES.values():
        if case["attention"]:
            for window in case["expected"]:
                (part,) = window["pool"]
                sums = np.array(part["d"])[:, 0]
                found |= set(np.diff(sums[::-1] if part["reverse"] else sums, prepend=0).tolist())
    assert lowest in found
    assert max(found) > 0.99 * highest
    assert any(0.2 * highest < e < 0.8 * highest for e in found)


def test_the_probabilities_are_not_all_nothing_or_certain() -> None:
    found = [
        np.array(window["outputs"]["probabilities"]).ravel()
        for case in CASES.values()
        if case["softmax"]
        for window in case["expected"]
    ]
    assert any(((p > 3000) & (p < 15000)).any() for p in found)
    assert any((p > 32000).any() for p in found)


def test_what_a_decoder_is_fed_reaches_both_ends_and_what_is_between() -> None:
    for case in CASES.values():
        if case["decoder"]:
            highest = 2 ** (case["decoder"]["fed"][0] - 1) - 1
            fed = np.abs([window["fed"]["x"] for window in case["expected"]])
            assert ((fed > 0) & (fed < highest)).any(), case["name"]
