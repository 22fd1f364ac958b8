"""Golden vectors: integers from a script that imports nothing of ours, and a model file of format version 1."""

from __future__ import annotations

import ast
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.backends import backend
from edge_lstm.codec import digest
from edge_lstm.fixedpoint import QFormat
from edge_lstm.model import Block, QuantizedLayer, QuantizedModel, Signature, Table
from edge_lstm.requantize import Requantize
from edge_lstm.runtime import execute
from edge_lstm.storage import load

GOLDEN = Path(__file__).with_name("golden")
VECTORS = json.loads((GOLDEN / "vectors.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in VECTORS["cases"]}
EVERYWHERE = ("numpy", "torch", "onnxruntime", "c")
CORES = ("cortex-m0plus", "cortex-m4")
RUNS = [(case, name) for case in CASES for name in EVERYWHERE]
RUNS += [(case, name) for case in CASES if case.startswith("two") for name in CORES]

CELL = QFormat(16, VECTORS["cell_fraction_bits"])
OUTPUTS = {"sigmoid": QFormat(16, 15), "tanh_cell": CELL, "tanh_hidden": QFormat(8, 7, symmetric=True)}
OUTPUTS["tanh_gate"] = QFormat(16, 15)


def table(name: str) -> Table:
    function = name.partition("_")[0]
    values = np.array(VECTORS["tables"][name], np.int16)
    return Table(function, VECTORS["index_bits"][function], OUTPUTS[name], values)


def requantize(given: dict[str, Any] | None) -> Requantize | None:
    if given is None:
        return None
    return Requantize(given["pre_shift"], np.array(given["multiplier"], np.int32), given["post_shift"])


def layer(given: dict[str, Any]) -> QuantizedLayer:
    blocks = {}
    for name, block in given["blocks"].items():
        rows = len(block["bias"])
        blocks[name] = Block(
            weights=np.array(block["weights"], np.int8),
            bias=np.array(block["bias"], np.int32),
            scale=np.ones(rows),
            requantize=requantize(block["requantize"]),
            table=None if block["requantize"] is None else table("tanh_cell" if name == "g" else "sigmoid"),
        )
    squash = table("tanh_hidden" if "o" in given["hard"] else "tanh_gate")
    shift = CELL.fraction_bits - squash.index_bits
    return QuantizedLayer("lstm", blocks, CELL, OUTPUTS["tanh_hidden"], shift, squash)


def model(case: dict[str, Any]) -> QuantizedModel:
    channels = len(case["x"][0])
    names = tuple(f"channel{k}" for k in range(channels))
    classes = tuple(f"class{k}" for k in range(len(case["dense"]["bias"])))
    pool = requantize(case["pool"])
    return QuantizedModel(
        signature=Signature("golden", names, ("",) * channels, None, case["steps"], classes),
        input_offset=np.zeros(channels),
        input_scale=np.ones(channels),
        layers=tuple(layer(k) for k in case["layers"]),
        pooling=case["pooling"],
        pool=pool,
        pooled=OUTPUTS["tanh_hidden"] if pool is None else QFormat(16, 15),
        dense_weights=np.array(case["dense"]["weights"], np.int8),
        dense_bias=np.array(case["dense"]["bias"], np.int32),
        score_scale=1.0,
    )


@pytest.mark.parametrize(("case_name", "name"), RUNS)
def test_every_state_and_score_is_that_of_the_vectors(case_name: str, name: str) -> None:
    case = CASES[case_name]
    execution = backend(name)(model(case), np.array([case["x"]], np.int32), trace="states")
    for number, wanted in enumerate(case["expected"]["steps"]):
        for k in range(len(case["layers"])):
            assert execution.trace[f"lstm{k}.h"][0, number].tolist() == wanted["h"][k], (number, k)
            assert execution.trace[f"lstm{k}.c"][0, number].tolist() == wanted["c"][k], (number, k)
    assert execution.outputs["scores"][0].tolist() == case["expected"]["scores"]
    assert execution.outputs["class_index"][0].tolist() == [case["expected"]["class_index"]]


def test_the_mean_is_that_of_the_vectors() -> None:
    for case in CASES.values():
        if case["pooling"] == "mean":
            trace = execute(model(case), np.array([case["x"]], np.int32), trace="all").trace
            assert trace["pool.mean"][0, -1].tolist() == case["expected"]["pooled"]


def test_the_vectors_cover_every_kind_of_model() -> None:
    hard = {tuple(case["layers"][0]["hard"]) for case in CASES.values()}
    assert hard >= {(), ("i",), ("f",), ("i", "o"), ("f", "o"), ("i", "f", "o")}
    assert {(len(c["layers"]), c["pooling"]) for c in CASES.values()} == {
        (1, "last"),
        (1, "mean"),
        (2, "last"),
        (2, "mean"),
    }
    assert {case["expected"]["class_index"] for case in CASES.values()} == {0, 1, 2}


def test_the_script_writes_exactly_this_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = tmp_path / "vectors.json"
    monkeypatch.setattr("sys.argv", ["make_vectors.py", str(again)])
    runpy.run_path(str(GOLDEN / "make_vectors.py"), run_name="__main__")
    assert again.read_bytes() == (GOLDEN / "vectors.json").read_bytes()


def test_the_script_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse((GOLDEN / "make_vectors.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "json", "math", "pathlib", "random", "sys", "typing"}


def test_the_first_entry_says_where_the_vectors_come_from() -> None:
    assert next(iter(VECTORS)) == "provenance"
    assert "make_vectors.py, seed" in VECTORS["provenance"]


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
