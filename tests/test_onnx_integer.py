"""The integer ONNX file on its own: standard integer operators, documented inputs and outputs, state that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edge_lstm.codec import digest
from edge_lstm.export.onnx_integer import build
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute

INTEGER = {onnx.TensorProto.INT8, onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL}


@pytest.fixture(scope="module")
def model(make_quantized: Callable[..., QuantizedModel]) -> QuantizedModel:
    return make_quantized("i=hard,o=hard", hidden=5, inputs=2, layers=2, pooling="mean", steps=6, classes=3, seed=3)


@pytest.fixture(scope="module")
def proto(model: QuantizedModel) -> Any:
    return build(model)


def graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def ports(values: Any) -> dict[str, tuple[int, list[Any]]]:
    return {
        v.name: (v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in values
    }


def test_its_inputs_and_outputs_are_the_documented_ones(proto: Any) -> None:
    int8, int32 = onnx.TensorProto.INT8, onnx.TensorProto.INT32
    states = {name: (int32, ["batch", 5]) for name in ("lstm0.h", "lstm0.c", "lstm1.h", "lstm1.c", "pool.p")}
    assert ports(proto.graph.input) == {"x": (int8, ["batch", "time", 2]), **states}
    outputs = {"scores": (int32, ["batch", 3]), "class_index": (int32, ["batch", 1])}
    assert ports(proto.graph.output) == {**outputs, **{f"{name}.out": port for name, port in states.items()}}


def test_it_has_standard_operators_and_integers_only(proto: Any) -> None:
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    every = list(graphs(proto.graph))
    assert len(every) == 2  # the graph and the body of the Scan
    assert {node.domain for graph in every for node in graph.node} == {""}
    assert {i.data_type for graph in every for i in graph.initializer} <= INTEGER
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    types = {v.type.tensor_type.elem_type for graph in graphs(inferred.graph) for v in graph.value_info}
    assert types
    assert types <= INTEGER


def test_it_carries_the_digest_of_its_model(model: QuantizedModel, proto: Any) -> None:
    assert {p.key: p.value for p in proto.metadata_props} == {"edge_lstm.sha256": digest(model)}
    assert proto.producer_name == "edge-lstm"
    assert proto.SerializeToString() == build(model).SerializeToString()


def test_feeding_the_states_back_goes_on(model: QuantizedModel, proto: Any, make_windows: Any) -> None:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    x = make_windows(model, 7)
    feed = {i.name: np.zeros((len(x), 5), np.int32) for i in session.get_inputs() if i.name != "x"}
    for start, end in ((0, 1), (1, 5), (5, 7)):
        found = dict(zip(names, session.run(names, {**feed, "x": x[:, start:end].astype(np.int8)}), strict=True))
        feed = {name: found[f"{name}.out"] for name in feed}
    wanted = execute(model, x)
    assert all(np.array_equal(found[name], value) for name, value in wanted.outputs.items())
    assert all(np.array_equal(feed[name], value) for name, value in wanted.state.items())
