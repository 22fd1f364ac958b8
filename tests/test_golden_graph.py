"""Golden vectors of graphs: every kind of integer node and every option of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_graph_models import GraphMaker
from golden_models import Json

from edge_lstm.backends import backend
from edge_lstm.codec import digest
from edge_lstm.execution import Backend
from edge_lstm.integer_graph import nodes as n
from edge_lstm.integer_graph.model import layer_name
from edge_lstm.integer_graph.roots import over_root
from edge_lstm.ops import NUMPY
from edge_lstm.program import Executor, Port, Program, ProgramBuilder
from edge_lstm.runtime import Stream, execute, execute_table
from edge_lstm.storage import load, save

GOLDEN = Path(__file__).with_name("golden")
VECTORS = json.loads((GOLDEN / "graph_vectors.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in VECTORS["cases"]}
MAKER = GraphMaker(VECTORS)
CORES = ("cortex-m0plus", "cortex-m4")
RUNS = [(case, name) for case in CASES for name in ("torch", "onnxruntime", "c")]
RUNS += [(case, name) for case in list(CASES)[::4] for name in CORES]
FINISHED = (n.Affine, n.Gain, n.Combine, n.Normalized)


def samples(case: Json) -> np.ndarray:
    return np.array(case["x"], np.int32)


def states(case: Json) -> Iterator[tuple[str, bool, np.ndarray]]:
    """Our name of each layer's states, whether it is reversed, and what it is after each step."""
    for k, node in enumerate(MAKER.graph(case).nodes):
        if isinstance(node, n.Layers):
            values = np.array([window["values"][k - 1] for window in case["expected"]])
            parts = [(j, "h", layer.outputs) for j, layer in enumerate(node.layers)]
            parts += [(j, "c", layer.hidden) for j, layer in enumerate(node.layers) if layer.c is not None]
            for (j, state, _), end in zip(parts, np.cumsum([width for *_, width in parts]), strict=True):
                width = {(j, state): width for j, state, width in parts}[j, state]
                yield f"{layer_name(k, j, node)}.{state}", node.layers[j].reverse, values[..., end - width : end]


def check(case: Json, run: Backend) -> None:
    """Compare every output, and the states of all recurrent layers after each step and at the end."""
    execution = run(MAKER.graph(case), samples(case), trace="states")
    for name, reverse, wanted in states(case):
        assert execution.trace[name].tolist() == wanted.tolist(), name
        assert execution.state[name].tolist() == wanted[:, 0 if reverse else -1].tolist(), name
    assert execution.outputs.keys() == case["expected"][0]["outputs"].keys()
    for name, value in execution.outputs.items():
        assert value.tolist() == [window["outputs"][name] for window in case["expected"]], name


@pytest.mark.parametrize("run", [execute, execute_table])
@pytest.mark.parametrize("case_name", CASES)
def test_numpy_gives_every_state_and_output_of_the_vectors(case_name: str, run: Backend) -> None:
    check(CASES[case_name], run)


@pytest.mark.parametrize(("case_name", "name"), RUNS)
def test_a_backend_gives_every_state_and_output_of_the_vectors(case_name: str, name: str) -> None:
    check(CASES[case_name], backend(name))


@pytest.mark.parametrize("case_name", CASES)
def test_what_nodes_give_is_that_of_the_vectors(case_name: str) -> None:
    case = CASES[case_name]
    graph = MAKER.graph(case)
    trace = execute(graph, samples(case), trace="all").trace
    for k, node in enumerate(graph.nodes):
        if isinstance(node, FINISHED) and node.finish is not None:
            name = f"{type(node).__name__.lower()}{k}.y"
            if name not in trace:
                assert case_name == "read_by_nothing"
                continue
            found = trace[name]
            wanted = [window["values"][k - 1] for window in case["expected"]]
            assert found[:, -len(wanted[0]) :].tolist() == wanted, k


@pytest.mark.parametrize("case_name", CASES)
def test_a_graph_of_the_vectors_comes_back_from_its_file(case_name: str, tmp_path: Path) -> None:
    built = MAKER.graph(CASES[case_name])
    save(built, tmp_path / "m.elstm")
    assert digest(load(tmp_path / "m.elstm")) == digest(built)


def test_a_quotient_by_a_root_is_that_of_the_vectors() -> None:
    d, q, wanted = np.array(VECTORS["roots"], np.int32).T
    builder = ProgramBuilder("root")
    ports = builder.port(Port("d", 1, -(2**15), 2**15)), builder.port(Port("q", 1, 1, 2**30 - 1))
    out = over_root(builder, "r", "d", "q")
    made = Program("root", ports, (), (out,), builder.constants, tuple(builder.instructions))
    assert Executor(made, NUMPY)({"d": d[:, None], "q": q[:, None]})[out][:, 0].tolist() == wanted.tolist()


def test_a_graph_that_streams_takes_samples_one_by_one() -> None:
    names = [name for name, case in CASES.items() if not MAKER.graph(case).looks_ahead]
    assert {"stream", "dense_each"} <= set(names)
    for name in names:
        case = CASES[name]
        for window, expected in zip(samples(case), case["expected"], strict=True):
            stream = Stream(MAKER.graph(case))
            found = [{key: v.tolist() for key, v in stream.step_raw(sample).items()} for sample in window]
            for key, wanted in expected["outputs"].items():
                assert ([f[key] for f in found] if MAKER.graph(case).each else found[-1][key]) == wanted


# --- what the vectors cover ------------------------------------------------------------------------


def every_node() -> Iterator[tuple[Json, Json]]:
    """Each node with its case."""
    for case in CASES.values():
        for node in case["nodes"]:
            yield node, case


def found(kind: str, key: str) -> set[Any]:
    return {str(node[key]) for node, _ in every_node() if node["kind"] == kind}


def test_the_vectors_cover_every_kind_of_node() -> None:
    kinds = {kind.__name__.lower() for kind in n.QuantizedNode.__args__}  # type: ignore[attr-defined]
    assert {node["kind"] for node, _ in every_node()} | {"samples"} == kinds


def test_the_vectors_cover_every_option() -> None:
    assert found("affine", "weight_bits") == {"2", "4", "8"}
    assert {"1", "2", "3"} <= found("affine", "taps") & {"1", "2", "3"}
    assert {"1", "2"} <= found("affine", "dilation") & found("affine", "stride")
    assert found("combine", "operation") == {"add", "max", "min", "mul"}
    assert found("exponentials", "over") == {"features", "time"}
    assert found("reduced", "over_time") == {"sum", "max", "min"}
    assert {node["stride"] < 0 for node, _ in every_node() if node["kind"] == "moved"} == {False, True}
    finishes = [node["finish"] for node, _ in every_node() if node.get("finish")]
    assert {(f["table"] is not None, f["between_bits"] > 0) for f in finishes} == {
        (False, False),
        (True, False),
        (True, True),
    }
    layers = [layer for node, _ in every_node() if node["kind"] == "layers" for layer in node["layers"]]
    assert {layer["reverse"] for layer in layers} == {False, True}
    assert {bool(layer["initial"]) for layer in layers} == {False, True}
    assert {case["input_bits"] for case in CASES.values()} == {8, 16}
    assert {case["task"] for case in CASES.values()} == {"classify", "regress"}
    assert {(MAKER.graph(case).each, case["softmax"] is not None) for case in CASES.values()} == {
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    }


def test_what_nodes_compute_is_not_the_same_at_every_step_or_feature() -> None:
    for case in CASES.values():
        for k, node in enumerate(case["nodes"]):
            if node["kind"] in ("affine", "gain", "combine", "normalized"):
                seen = {v for window in case["expected"] for step in window["values"][k] for v in step}
                assert len(seen) > 1 or node["kind"] == "normalized", (case["name"], k)  # of one feature it is 0
