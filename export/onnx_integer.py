"""The integer model as an ONNX graph of standard int32 operators: one ``Scan`` over time for each of its stages.

Inputs: ``x`` int8, or int16 where inputs have 16 bits, (batch, time, channels); of a model for windows of several
lengths ``lengths`` int64 (batch,), from 1 to time; of a model that streams each state, int32 (batch, length).
Outputs: each output of the model, int32 (batch, length), or (batch, time, length) where there is one for each step; and
each state's value after the last step under its name with ``.out``. Of a model that streams these go on, fed back as
inputs, where the last call stopped (rule R9); the first call is fed zero, or what the metadata says: ``INITIAL``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from edge_lstm._version import __version__
from edge_lstm.codec import digest
from edge_lstm.errors import require
from edge_lstm.execution import Execution, States, Trace, checked_input, initial_state, traced, traced_at_each
from edge_lstm.export.onnx_ops import NodeList
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.stages import SAMPLES, Lowered, Stage, Tap
from edge_lstm.timeline import timeline

OPSET, IR_VERSION = 17, 8
DIGEST = "edge_lstm.sha256"
"""Key of the model's digest in the metadata."""
INITIAL = "edge_lstm.initial"
"""Key of a JSON object, state name to the list of its integers before the first step; there where one is not zero."""


def build(model: IntegerModel, *, trace: Trace = "none") -> Any:
    """The ``onnx.ModelProto``, checked. With a trace, also the recorded values, (batch, time, length), ``.trace``."""
    onnx = require("onnx", extra="onnx", purpose="to write ONNX")
    helper, int32, int64 = onnx.helper, onnx.TensorProto.INT32, onnx.TensorProto.INT64
    lowered, info = lower(model), helper.make_tensor_value_info
    writer = _Writer(lowered, trace, steps=model.signature.steps, variable=model.signature.variable)
    writer.write()

    element = helper.np_dtype_to_tensor_dtype(model.input_type)
    inputs = [info("x", element, ["batch", "time", len(model.signature.channels)])]
    if model.signature.variable:
        inputs.append(info("lengths", int64, ["batch"]))
    states = [info(s.name, int32, ["batch", s.length]) for s in lowered.states]
    steps = [lowered.stages[-1].steps or "time"] if lowered.each else []
    graph = helper.make_graph(
        writer.graph.nodes,
        model.signature.name,
        inputs + (states if lowered.streams else []),
        [
            *(info(name, int32, ["batch", *steps, lowered.head.length(name)]) for name in lowered.outputs),
            *(info(f"{s.name}.out", int32, ["batch", s.length]) for s in lowered.states),
            *(info(f"{name}.trace", int32, ["batch", None, None]) for name in writer.traced),
        ],
        [onnx.numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in writer.initializers.items()],
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge-lstm",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {DIGEST: digest(model), **_initial(lowered)})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _initial(lowered: Lowered) -> dict[str, str]:
    """The metadata of what a model that streams begins with."""
    values = {name: value[0].tolist() for name, value in initial_state(lowered, 1, None).items()}
    return {INITIAL: json.dumps(values)} if lowered.streams and any(map(any, values.values())) else {}


class _Writer:
    """The graph while it is written.

    Args:
        lowered: The model's Programs.
        trace: What to record.
        steps: Of a window, which all have where a stage looks at other steps than its own.
        variable: Windows have the lengths that an input of the graph says.

    Attributes:
        graph: Collects the nodes.
        initializers: Of all its graphs.
        traced: Names of what is recorded.
    """

    def __init__(self, lowered: Lowered, trace: Trace, *, steps: int, variable: bool) -> None:
        self._lowered, self._steps, self._variable = lowered, steps, variable
        recorded, self._of_head = traced(lowered, trace)
        self.traced = list(dict.fromkeys([*chain(*recorded), *self._of_head]))
        self._kept = set(lowered.kept)
        if self._of_head and traced_at_each(lowered):
            self._kept |= {port.name for port in lowered.head.inputs}
        self.initializers = dict[str, Any]()
        self.graph = NodeList(self.initializers)

    def write(self) -> None:
        """Append all nodes."""
        g, lowered = self.graph, self._lowered
        g.node("Cast", "x.int32", "x", to=_INT32)
        if self._variable:
            self._write_inside()
        if not lowered.streams:
            self._write_initial()
        wanted = {*self.traced, *self._kept}
        for k, stage in enumerate(lowered.stages):
            made = [*(i.out for i in stage.program.instructions), *(s.name for s in stage.states)]
            self._write_stage(k, stage, [name for name in made if name in wanted])
            wanted -= set(made)  # the same value may be made in several stages
        head = self._write_head("head/", "trace" if lowered.each else "out")
        for name in lowered.outputs:
            self._finish(name, head.name(name), each=lowered.each)
        if self._of_head and lowered.streams and not lowered.each:
            head = self._write_head("after/", "trace")
        for name in self._of_head:
            if traced_at_each(lowered):
                self._finish(f"{name}.trace", head.name(name), each=True)
            else:
                g.node("Unsqueeze", f"{name}.trace", head.name(name), self._int64(1, axes=1))

    def _write_inside(self) -> None:
        """``inside`` (batch, time, 1): which steps a window has."""
        g = self.graph
        steps = g.node("Squeeze", "steps", g.node("Shape", "x.steps", "x", start=1, end=2))
        t = g.node("Range", "t", self._int64(0), steps, self._int64(1))
        few = g.node("Less", "inside.flat", t, g.node("Unsqueeze", "lengths.column", "lengths", self._int64(1, axes=1)))
        g.node("Unsqueeze", "inside", few, self._int64(2, axes=1))

    def _write_initial(self) -> None:
        """States before the first step, for every window of the batch, called ``.start``."""
        g = self.graph
        batch = g.node("Shape", "x.batch", "x", start=0, end=1)
        for name, value in initial_state(self._lowered, 1, None).items():
            shape = g.node("Concat", f"{name}.shape", batch, self._int64(value.shape[1], axes=1), axis=0)
            g.node("Expand", f"{name}.start", g.constant(f"{name}.initial", value), shape)

    def _write_stage(self, k: int, stage: Stage, kept: Sequence[str]) -> None:
        """A Scan. Gives each state after the last step, ``.out``, and ``kept`` values of each step, ``.trace``."""
        onnx = require("onnx", extra="onnx", purpose="to write ONNX")
        g, number = self.graph, str(k) if k else ""
        lengths = self._variable and stage.steps is None
        inputs, kept_axes = [self._input(k, stage, p.name) for p in stage.program.inputs], [1] * len(kept)
        if lengths:
            inputs.append("inside")
        axes = [1] * len(inputs)
        if not inputs and stage.steps is not None:
            # a Scan takes its number of steps from what it goes through
            inputs, axes = [g.node("Range", f"t{k}", *map(self._int64, (0, stage.steps, 1)))], [0]
        back = stage.reverse and not lengths
        raw = ".raw" if lengths else ".trace"
        scan = onnx.helper.make_node(
            "Scan",
            [*(self._start(stage, s.name) for s in stage.states), *inputs],
            [*(f"{s.name}.out" for s in stage.states), *(name + raw for name in kept)],
            name=f"over_time{number}",
            body=self._body(f"step{number}", stage, kept, lengths=lengths),
            num_scan_inputs=len(inputs),
            scan_input_axes=axes,
            **({"scan_output_axes": kept_axes} if kept else {}),
            **({"scan_input_directions": [1] * len(inputs)} if back else {}),
            **({"scan_output_directions": [1] * len(kept)} if back and kept else {}),
        )
        g.nodes.append(scan)
        for name in kept if lengths else []:
            value = f"{name}.raw"
            if stage.reverse:
                value = self._backwards(f"{name}.in_order", value)
            g.node("Where", f"{name}.trace", "inside", value, g.scalar(0))

    def _input(self, k: int, stage: Stage, name: str) -> str:
        """What a stage goes through, in its order where windows differ in length."""
        tap = stage.tap(name)
        value = "x.int32" if tap.source == SAMPLES else f"{tap.source}.{'out' if tap.last else 'trace'}"
        if name in stage.taps:
            return self._tapped(f"{name}.tapped{k}", value, tap, stage)
        return self._backwards(f"{name}.reversed{k}", value) if stage.reverse and self._variable else value

    def _tapped(self, out: str, value: str, tap: Tap, stage: Stage) -> str:
        """The source's step at each step of the stage: (batch, steps of the stage, length)."""
        g, count = self.graph, stage.steps or self._steps
        if tap.last:
            once = g.node("Unsqueeze", f"{out}.once", value, self._int64(1, axes=1))
            return g.node("Gather", out, once, g.constant(f"{out}.at", np.zeros(count, np.int64)), axis=1)
        of_source = self._steps if tap.source == SAMPLES else self._lowered.stage_of(tap.source).steps or self._steps
        at = np.array(tap.steps(count))
        outside = (at < 0) | (at >= of_source)
        if outside.any():
            fill = g.constant(f"{out}.fill", np.array([[tap.fill]], np.int32))
            shape = g.node(
                "Concat",
                f"{out}.shape",
                g.node("Shape", f"{out}.batch", value, start=0, end=1),
                g.constant(f"{out}.one_step", np.array([1, len(tap.fill or ())], np.int64)),
                axis=0,
            )
            value = g.node("Concat", f"{out}.filled", value, g.node("Expand", f"{out}.fills", fill, shape), axis=1)
        return g.node("Gather", out, value, g.constant(f"{out}.at", np.where(outside, of_source, at)), axis=1)

    def _backwards(self, out: str, value: str) -> str:
        return self.graph.node("ReverseSequence", out, value, "lengths", batch_axis=0, time_axis=1)

    def _start(self, stage: Stage, state: str) -> str:
        if state in stage.starts:
            return f"{stage.starts[state]}.out"
        return state if self._lowered.streams else f"{state}.start"

    def _body(self, name: str, stage: Stage, kept: Sequence[str], *, lengths: bool) -> Any:
        """One time step; a state of a window that has ended stays what it is."""
        onnx = require("onnx", extra="onnx", purpose="to write ONNX")
        helper, int32 = onnx.helper, onnx.TensorProto.INT32
        g, program = NodeList(self.initializers, f"{name}/"), stage.program
        g.add(program)
        following = {s.port.name: g.name(s.next) for s in program.states}
        if lengths:
            for state, value in following.items():
                following[state] = g.node("Where", f"{state}/inside", g.name("inside"), value, g.name(state))
        results = [g.node("Identity", f"{state}/next", value) for state, value in following.items()]
        results += [g.node("Identity", f"{out}/trace", following.get(out, g.name(out))) for out in kept]
        info = helper.make_tensor_value_info
        ports = [info(g.name(p.name), int32, ["batch", p.length]) for p in (*stage.states, *program.inputs)]
        if lengths:
            ports.append(info(g.name("inside"), onnx.TensorProto.BOOL, ["batch", 1]))
        if not program.inputs and not lengths:
            ports.append(info(g.name("t"), onnx.TensorProto.INT64, []))
        return helper.make_graph(g.nodes, name, ports, [info(value, int32, ["batch", None]) for value in results])

    def _write_head(self, prefix: str, of: str) -> NodeList:
        """The head on states: ``out``, after the last step, or ``trace``, after each."""
        head = NodeList(self.initializers, prefix)
        for state in self._lowered.head.inputs:
            head.node("Identity", state.name, f"{state.name}.{of}")
        head.add(self._lowered.head)
        self.graph.nodes += head.nodes
        return head

    def _finish(self, name: str, value: str, *, each: bool) -> None:
        """A result, which is 0 beyond a window's end."""
        if each and self._variable and self._lowered.stages[-1].steps is None:
            self.graph.node("Where", name, "inside", value, self.graph.scalar(0))
        else:
            self.graph.node("Identity", name, value)

    def _int64(self, value: int, *, axes: int = 0) -> str:
        """An initializer with that number of axes of length 1."""
        name = f"int64.{value}" + "[]" * axes
        return self.graph.constant(name, np.full((1,) * axes, value, np.int64))


def execute(
    model: IntegerModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    lengths: Any = None,
) -> Execution:
    """Run on onnxruntime; see ``execution.Backend``."""
    runtime = require("onnxruntime", extra="onnx", purpose="to run the integer ONNX model")
    x = checked_input(model, x)
    lowered = lower(model)
    when = timeline(model.signature, len(x), x.shape[1], lengths)
    start = initial_state(lowered, len(x), state)
    feed = {**(start if lowered.streams else {}), "x": x.astype(model.input_type)}
    if model.signature.variable:
        feed["lengths"] = np.full(len(x), when.steps, np.int64) if when.lengths is None else when.lengths
    session = runtime.InferenceSession(
        build(model, trace=trace).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(names, feed), strict=True))
    steps, head = traced(lowered, trace)
    return Execution(
        outputs={name: results[name] for name in lowered.outputs},
        state={s.name: results[f"{s.name}.out"] for s in lowered.states},
        trace={name: results[f"{name}.trace"] for names in (*steps, head) for name in names},
    )


_INT32 = 6  # onnx.TensorProto.INT32, fixed by the ONNX specification
