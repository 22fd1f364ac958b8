"""The integer model as an ONNX graph of standard int32 operators: one ``Scan`` over time.

Inputs: ``x`` int8, or int16 where inputs have 16 bits, (batch, time, channels), and each state, int32 (batch, length).
Outputs: each output of the model, int32 (batch, length), and each state's value after the last step under
its name with ``.out``. Feeding these back as inputs goes on where the last call stopped (rule R9).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm._version import __version__
from edge_lstm.codec import digest
from edge_lstm.errors import require
from edge_lstm.execution import Execution, States, Trace, checked_input, initial_state, traced
from edge_lstm.export.onnx_ops import NodeList
from edge_lstm.fixedpoint import Integers
from edge_lstm.lower import Lowered, lower
from edge_lstm.model import QuantizedModel
from edge_lstm.program import Port

OPSET, IR_VERSION = 17, 8
STEP = "step/"
"""Prefix of the values inside the Scan's body."""


def build(model: QuantizedModel, *, trace: Trace = "none") -> Any:
    """The ``onnx.ModelProto``, checked. With a trace, also the recorded values, (batch, time, length), ``.trace``."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    helper, int32 = onnx.helper, onnx.TensorProto.INT32
    lowered, initializers = lower(model), dict[str, Any]()
    element = helper.np_dtype_to_tensor_dtype(model.input_type)
    step_names, head_names = traced(lowered, trace)
    info = helper.make_tensor_value_info

    body = _body(lowered, initializers, step_names, head_names)
    outer = NodeList(initializers)
    outer.node("Cast", "x.int32", "x", to=int32)
    finals = [f"{s.name}.out" for s in lowered.states]
    traces = [f"{name}.trace" for name in (*step_names, *head_names)]
    scan = helper.make_node(
        "Scan",
        [*(s.name for s in lowered.states), "x.int32"],
        [*finals, *traces],
        name="over_time",
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        **({"scan_output_axes": [1] * len(traces)} if traces else {}),
    )
    outer.nodes.append(scan)
    for state in lowered.head.inputs:
        outer.node("Identity", f"head/{state.name}", f"{state.name}.out")
    head = NodeList(initializers, "head/")
    head.add(lowered.head)
    outer.nodes += head.nodes
    for name in lowered.outputs:
        outer.node("Identity", name, f"head/{name}")

    def port(value: Port) -> Any:
        return info(value.name, int32, ["batch", value.length])

    graph = helper.make_graph(
        outer.nodes,
        model.signature.name,
        [
            info("x", element, ["batch", "time", len(model.signature.channels)]),
            *map(port, lowered.states),
        ],
        [
            *(info(name, int32, ["batch", lowered.head.length(name)]) for name in lowered.outputs),
            *(info(f"{s.name}.out", int32, ["batch", s.length]) for s in lowered.states),
            *(info(name, int32, ["batch", "time", None]) for name in traces),
        ],
        [onnx.numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in initializers.items()],
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge-lstm",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {"edge_lstm.sha256": digest(model)})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _body(lowered: Lowered, initializers: dict[str, Any], step_names: list[str], head_names: list[str]) -> Any:
    """One time step; with traced outputs, also the head on the new states."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    helper, int32 = onnx.helper, onnx.TensorProto.INT32
    g = NodeList(initializers, STEP)
    g.add(lowered.step)
    following = {s.port.name: s.next for s in lowered.step.states}
    finals = [g.node("Identity", f"{name}/next", g.name(value)) for name, value in following.items()]
    results = [g.node("Identity", f"{name}/trace", g.name(following.get(name, name))) for name in step_names]
    if head_names:
        after = NodeList(initializers, "after/")
        for state in lowered.head.inputs:
            after.node("Identity", state.name, g.name(following[state.name]))
        after.add(lowered.head)
        g.nodes += after.nodes
        results += [g.node("Identity", f"{name}/trace", after.name(name)) for name in head_names]
    ports = [s.port for s in lowered.step.states] + list(lowered.step.inputs)
    return helper.make_graph(
        g.nodes,
        "step",
        [helper.make_tensor_value_info(g.name(p.name), int32, ["batch", p.length]) for p in ports],
        [helper.make_tensor_value_info(name, int32, ["batch", None]) for name in (*finals, *results)],
    )


def execute(model: QuantizedModel, x: Integers, *, state: States | None = None, trace: Trace = "none") -> Execution:
    """Run on onnxruntime; see ``execution.Backend``."""
    runtime = require("onnxruntime", extra="onnx", purpose="to run the integer ONNX model")
    x = checked_input(model, x)
    lowered = lower(model)
    session = runtime.InferenceSession(
        build(model, trace=trace).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {**initial_state(lowered, len(x), state), "x": x.astype(model.input_type)}
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(names, feed), strict=True))
    step_names, head_names = traced(lowered, trace)
    return Execution(
        outputs={name: results[name] for name in lowered.outputs},
        state={s.name: results[f"{s.name}.out"] for s in lowered.states},
        trace={name: results[f"{name}.trace"] for name in (*step_names, *head_names)},
    )
