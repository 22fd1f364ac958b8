"""The integer ONNX file: standard integer operators, documented inputs and outputs, state that goes on, every form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution, Trace
from edge_lstm.export import onnx_integer
from edge_lstm.export.onnx_integer import build
from edge_lstm.lower import lower
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


MakeQuantized = Callable[..., QuantizedModel]


def same(found: Execution, wanted: Execution) -> None:
    for group in ("outputs", "state", "trace"):
        ours, theirs = getattr(wanted, group), getattr(found, group)
        assert theirs.keys() == ours.keys()
        for name, value in ours.items():
            assert theirs[name].dtype == value.dtype
            np.testing.assert_array_equal(theirs[name], value, err_msg=f"{group} {name}")


@pytest.mark.parametrize("trace", ["none", "states", "all"])
def test_every_form_is_numpys(
    form: str, trace: Trace, make_quantized_form: MakeQuantized, make_windows: Any, make_lengths: Any
) -> None:
    model = make_quantized_form(form)
    x = make_windows(model, model.signature.steps)
    lengths = make_lengths(model, len(x), x.shape[1])
    same(onnx_integer.execute(model, x, trace=trace, lengths=lengths), execute(model, x, trace=trace, lengths=lengths))
    if lengths is not None:
        same(onnx_integer.execute(model, x[3:4], trace=trace), execute(model, x[3:4], trace=trace))


def test_a_window_of_every_form_alone(
    form: str, make_quantized_form: MakeQuantized, make_windows: Any, make_lengths: Any
) -> None:
    model = make_quantized_form(form, "hard", activation_bits=16)
    x = make_windows(model, model.signature.steps)[5:6]
    lengths = None if make_lengths(model, 2, 5) is None else np.array([5])
    same(onnx_integer.execute(model, x, lengths=lengths), execute(model, x, lengths=lengths))


def test_inputs_and_outputs_of_every_form_are_the_documented_ones(
    form: str, make_quantized_form: MakeQuantized
) -> None:
    model = make_quantized_form(form)
    proto, lowered = build(model), lower(model)
    assert len(list(graphs(proto.graph))) == 1 + len(lowered.stages)
    assert {node.domain for graph in graphs(proto.graph) for node in graph.node} == {""}
    assert {i.data_type for i in proto.graph.initializer} <= INTEGER
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    assert {v.type.tensor_type.elem_type for g in graphs(inferred.graph) for v in g.value_info} <= INTEGER
    int8, int32, int64 = onnx.TensorProto.INT8, onnx.TensorProto.INT32, onnx.TensorProto.INT64
    states = {s.name: (int32, ["batch", s.length]) for s in lowered.states}
    inputs: dict[str, Any] = {"x": (int8, ["batch", "time", 3])}
    inputs |= {"lengths": (int64, ["batch"])} if model.signature.variable else {}
    assert ports(proto.graph.input) == inputs | (states if lowered.streams else {})
    each = ["batch"]
    if lowered.each:
        each.append(model.decoder.steps if model.decoder else "time")
    lengths = {"scores": 4, "class_index": 1, "probabilities": 4}
    outputs = {name: (int32, [*each, lengths[name]]) for name in lowered.outputs}
    assert ports(proto.graph.output) == outputs | {f"{name}.out": port for name, port in states.items()}


def test_the_metadata_say_what_a_stream_begins_with(form: str, make_quantized_form: MakeQuantized) -> None:
    model = make_quantized_form(form)
    properties = {p.key: p.value for p in build(model).metadata_props}
    if form != "initial":
        assert properties == {"edge_lstm.sha256": digest(model)}
        return
    found = json.loads(properties["edge_lstm.initial"])
    assert found == {f"lstm0.{s}": model.layers[0].initial[s].tolist() for s in ("h", "c")}


@pytest.mark.parametrize("name", ["initial", "attention", "each", "variable mean"])
def test_a_form_that_streams_goes_on(name: str, make_quantized_form: MakeQuantized, make_windows: Any) -> None:
    model = make_quantized_form(name)
    x, proto = make_windows(model, 7), build(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    initial = json.loads(next((p.value for p in proto.metadata_props if p.key == "edge_lstm.initial"), "{}"))
    state = {
        s.name: np.tile(np.array(initial.get(s.name, [0] * s.length), np.int32), (len(x), 1))
        for s in lower(model).states
    }
    parts = []
    for start, end in ((0, 1), (1, 5), (5, 7)):
        feed: dict[str, Any] = {**state, "x": x[:, start:end].astype(np.int8)}
        if model.signature.variable:
            feed["lengths"] = np.full(len(x), end - start)
        found = dict(zip(names, session.run(names, feed), strict=True))
        state = {name: found[f"{name}.out"] for name in state}
        parts.append(found["scores"])
    wanted = execute(model, x)
    scores = np.concatenate(parts, axis=1) if model.pooling == "each" else parts[-1]
    assert np.array_equal(scores, wanted.outputs["scores"])
    assert all(np.array_equal(state[name], value) for name, value in wanted.state.items())


def test_what_comes_after_a_windows_end_does_not_matter(
    form: str, make_quantized_form: MakeQuantized, make_windows: Any, make_lengths: Any
) -> None:
    model = make_quantized_form(form)
    x = make_windows(model, model.signature.steps)
    lengths = make_lengths(model, len(x), x.shape[1])
    if lengths is None:
        with pytest.raises(EdgeLstmError, match="takes windows of one length"):
            onnx_integer.execute(model, x, lengths=[3] * len(x))
        return
    other = np.where(np.arange(x.shape[1])[:, None] < lengths[:, None, None], x, -model.input_format.max)
    assert (other != x).any()
    same(
        onnx_integer.execute(model, other, lengths=lengths, trace="states"),
        onnx_integer.execute(model, x, lengths=lengths, trace="states"),
    )
    with pytest.raises(EdgeLstmError, match="reach from 0 to"):
        onnx_integer.execute(model, x, lengths=lengths - 1)
