"""Our cells against onnxruntime's own LSTM, GRU and RNN operators, with every attribute that these have.

The graphs are made here, and not by our exporter. Tolerance: onnxruntime computes in float32, 6e-8 per operation, which
the recurrence amplifies; we compute in float64. Largest difference measured, five seeds: 2e-6.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from edge_lstm.cells import CELLS
from edge_lstm.float_run import final, run_layer
from edge_lstm.gates import GateMode
from edge_lstm.layers import FloatLayer
from edge_lstm.timeline import Timeline

TOLERANCE = 1e-5
CHANNELS, HIDDEN, WINDOWS, STEPS = 3, 6, 50, 12
ORDER = {"LSTM": "iofg", "GRU": "zrn", "RNN": "t"}
"""Of the blocks in the ONNX specification, with our names: its c is our g, its h is our n."""
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


class Case(NamedTuple):
    """An operator that computes one of our cells."""

    kind: str
    cell: str
    attributes: Mapping[str, Any]
    mode: GateMode = "soft"


SIGMOID_TANH = {"activations": ["Sigmoid", "Tanh", "Tanh"]}
HARD = {"activation_alpha": [0.25], "activation_beta": [0.5]}
CASES = {
    "lstm": Case("LSTM", "lstm", {}),
    "lstm, named": Case("LSTM", "lstm", {**SIGMOID_TANH, "input_forget": 0}),
    "lstm, hard": Case("LSTM", "lstm", {"activations": ["HardSigmoid", "Tanh", "Tanh"], **HARD}, "hard-sigmoid"),
    "peephole": Case("LSTM", "peephole", {}),
    "peephole, named": Case("LSTM", "peephole", SIGMOID_TANH),
    "cifg": Case("LSTM", "cifg", {"input_forget": 1}),
    "cifg, named": Case("LSTM", "cifg", {**SIGMOID_TANH, "input_forget": 1}),
    "1997": Case(
        "LSTM",
        "lstm-1997",
        {
            "activations": ["Sigmoid", "ScaledTanh", "ScaledTanh"],
            "activation_alpha": [2.0, 1.0],
            "activation_beta": [0.5, 0.5],
        },
    ),
    "gru": Case("GRU", "gru", {}),
    "gru, named": Case("GRU", "gru", {"activations": ["Sigmoid", "Tanh"], "linear_before_reset": 0}),
    "gru, hard": Case("GRU", "gru", {"activations": ["HardSigmoid", "Tanh"], **HARD}, "hard-sigmoid"),
    "gru-after": Case("GRU", "gru-after", {"linear_before_reset": 1}),
    "gru-after, hard": Case(
        "GRU",
        "gru-after",
        {"activations": ["HardSigmoid", "Tanh"], **HARD, "linear_before_reset": 1},
        "hard-sigmoid",
    ),
    "rnn": Case("RNN", "rnn", {}),
    "rnn, named": Case("RNN", "rnn", {"activations": ["Tanh"]}),
    "rnn-relu": Case("RNN", "rnn-relu", {"activations": ["Relu"]}),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clip": {"clip": 0.7},
    "narrow clip": {"clip": 0.1},
    "sequence_lens": {"lengths": True},
    "initial": {"initial": True},
    "all": {"clip": 0.7, "lengths": True, "initial": True},
}


def draw_layer(rng: np.random.Generator, case: Case, *, reverse: bool = False, clip: float | None = None) -> FloatLayer:
    """Random weights of float64; those of relu, which nothing limits, such that h does not grow from step to step."""
    kind, size = CELLS[case.cell], 0.1 if case.cell == "rnn-relu" else 0.4
    return FloatLayer(
        case.cell,
        {k: rng.normal(0, 0.8, (HIDDEN, CHANNELS)) for k in kind.matrices},
        {k: rng.normal(0, size, (HIDDEN, HIDDEN)) for k in kind.matrices},
        {k: rng.normal(0, 0.5, HIDDEN) for k in kind.blocks},
        dict.fromkeys(kind.gates, case.mode),
        {k: rng.normal(0, 0.5, HIDDEN) for k in kind.split},
        {k: rng.normal(0, 0.5, HIDDEN) for k in kind.peepholes},
        reverse=reverse,
        clip=clip,
    )


def samples() -> Any:
    return np.random.default_rng(1).normal(size=(WINDOWS, STEPS, CHANNELS)).astype(np.float32)


def weights(layer: FloatLayer, kind: str, rng: np.random.Generator) -> dict[str, Any]:
    """Of one direction of an operator."""
    groups = {"W": dict(layer.W), "R": dict(layer.R), "b": dict(layer.b)}
    for group in groups.values():
        if layer.cell == "cifg":  # onnxruntime has f = 1 - i whatever the rows of f are; i = s(-z) is 1 - s(z)
            group["i"] = -group["f"]
            group["f"] = rng.normal(size=group["i"].shape)
        if layer.cell == "lstm-1997":  # a forget gate of bias 100 is 1
            group["f"] = np.zeros_like(group["i"])
    if layer.cell == "lstm-1997":
        groups["b"]["f"] += 100
    order = ORDER[kind]
    # The sum of the two biases is ours; those of a split block are given apart.
    second = {k: layer.rb.get(k, rng.normal(0, 0.5, HIDDEN)) for k in order}
    first = {k: groups["b"][k] - (0 if k in layer.rb else second[k]) for k in order}
    packed = {"W": pack(groups["W"], order), "R": pack(groups["R"], order)}
    packed["B"] = np.concatenate([pack(first, order), pack(second, order)])
    return packed | ({"P": pack(layer.p, "iof")} if layer.p else {})


def pack(group: Any, order: str) -> Any:
    return np.concatenate([group[block] for block in order])


def operator(kind: str, tensors: Mapping[str, Any], **attributes: Any) -> Any:
    """A model of one operator, whose weights, lengths and initial states are named as in the ONNX specification."""
    places = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
    inputs = [name if name == "X" or name in tensors else "" for name in places]
    while not inputs[-1]:
        inputs.pop()
    outputs = ["Y", "Y_h", "Y_c"] if kind == "LSTM" else ["Y", "Y_h"]
    node = onnx.helper.make_node(kind, inputs, outputs, hidden_size=HIDDEN, **attributes)
    info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    types = {name: np.int32 if name == "sequence_lens" else np.float32 for name in tensors}
    graph = onnx.helper.make_graph(
        [node],
        "operator",
        [info("X", float32, [None, None, CHANNELS])],
        [info(name, float32, [None] * (4 if name == "Y" else 3)) for name in outputs],
        [onnx.numpy_helper.from_array(v.astype(types[name]), name) for name, v in tensors.items()],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto


def run_operator(kind: str, x: Any, tensors: Mapping[str, Any], **attributes: Any) -> dict[str, Any]:
    """Y (windows, steps, directions * hidden), Y_h and of an LSTM Y_c (windows, directions * hidden) of onnxruntime.

    Args:
        kind: Of the operator.
        x: (windows, steps, inputs).
        tensors, attributes: See ``operator``.
    """
    content = operator(kind, tensors, **attributes).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    every, *ends = session.run(None, {"X": x.transpose(1, 0, 2)})
    found = [every.transpose(2, 0, 1, 3).reshape(*x.shape[:2], -1)]
    found += [end.transpose(1, 0, 2).reshape(len(x), -1) for end in ends]
    return dict(zip(("Y", "Y_h", "Y_c"), found, strict=False))


def run_both(
    case: Case,
    direction: str,
    clip: float | None = None,
    *,
    lengths: bool = False,
    initial: bool = False,
    windows: int = WINDOWS,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What onnxruntime computes, and what we do."""
    rng, x = np.random.default_rng(2), samples()[:windows]
    layers = [draw_layer(rng, case, reverse=reverse, clip=clip) for reverse in DIRECTIONS[direction]]
    tensors = stacked([weights(layer, case.kind, rng) for layer in layers])
    when = Timeline(STEPS)
    if lengths:
        steps = rng.integers(1, STEPS + 1, windows)
        steps[:2] = (STEPS, 1)[: len(steps)]
        when, tensors["sequence_lens"] = Timeline(STEPS, steps), steps.astype(np.int32)
    begun = [{s: rng.uniform(-0.9, 0.9, (windows, HIDDEN)) for s in layer.lengths} for layer in layers]
    if initial:
        tensors["initial_h"] = np.stack([states["h"] for states in begun])
        if case.kind == "LSTM":
            tensors["initial_c"] = np.stack([states["c"] for states in begun])
        if case.kind == "GRU":
            begun = [dict.fromkeys(states, states["h"]) for states in begun]
    repeated = {k: v * len(layers) if isinstance(v, list) else v for k, v in case.attributes.items()}
    limit = {} if clip is None else {"clip": clip}
    theirs = run_operator(case.kind, x, tensors, direction=direction, **limit, **repeated)
    return theirs, ours(layers, x, when, begun if initial else None)


def stacked(directions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: np.stack([each[name] for each in directions]) for name in directions[0]}


def ours(layers: Sequence[FloatLayer], x: Any, when: Timeline, begun: Any = None) -> dict[str, Any]:
    """What ``run_operator`` gives, of our layers."""
    traces = [run_layer(layer, x, when, begun[k] if begun else None) for k, layer in enumerate(layers)]
    found = {"Y": np.concatenate([trace["h"] for trace in traces], axis=-1)}
    for name, state in (("Y_h", "h"), ("Y_c", "c")):
        if state in traces[0]:
            found[name] = np.concatenate(
                [final(k, trace[state], when) for k, trace in zip(layers, traces, strict=True)], axis=-1
            )
    return found


def check_equal(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for name, value in theirs.items():
        assert value.shape == ours[name].shape
        np.testing.assert_allclose(value, ours[name], rtol=0, atol=TOLERANCE, err_msg=name)


EVERY = [
    (name, direction, setting)
    for name, direction, setting in itertools.product(CASES, DIRECTIONS, SETTINGS)
    if not (name == "1997" and "clip" in SETTINGS[setting])  # what makes its forget gate 1 would be clipped
]


@pytest.mark.parametrize(("name", "direction", "setting"), EVERY)
def test_onnxruntimes_operators_compute_our_cells(name: str, direction: str, setting: str) -> None:
    case, options = CASES[name], SETTINGS[setting]
    theirs, found = run_both(case, direction, **options)
    check_equal(theirs, found)
    if "clip" in options:
        unlimited = run_both(case, direction, **{**options, "clip": None})[0]["Y"]
        assert np.abs(theirs["Y"] - unlimited).max() > 0.1
    if options.get("lengths"):
        assert not theirs["Y"][1, 1:].any()  # the second window has one step


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_one(name: str, direction: str) -> None:
    check_equal(*run_both(CASES[name], direction, lengths=True, initial=True, windows=1))


def test_each_direction_may_have_its_own_functions() -> None:
    rng, x = np.random.default_rng(3), samples()
    forward, back = draw_layer(rng, CASES["lstm"]), draw_layer(rng, CASES["lstm, hard"], reverse=True)
    tensors = stacked([weights(layer, "LSTM", rng) for layer in (forward, back)])
    activations = ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Tanh", "Tanh"]
    theirs = run_operator("LSTM", x, tensors, direction="bidirectional", activations=activations, **HARD)
    check_equal(theirs, ours([forward, back], x, Timeline(STEPS)))


@pytest.mark.parametrize("kind", ORDER)
def test_onnxruntime_takes_time_first_only(kind: str) -> None:
    """So that layout 1, which is layout 0 with windows and steps exchanged, can't be compared."""
    rng, case = np.random.default_rng(4), next(case for case in CASES.values() if case.kind == kind)
    tensors = stacked([weights(draw_layer(rng, case), kind, rng)])
    check_equal(run_operator(kind, samples(), tensors, layout=0), run_operator(kind, samples(), tensors))
    with pytest.raises(Exception, match=r"layout == 1\) are not supported"):
        run_operator(kind, samples(), tensors, layout=1)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", ["lstm", "peephole", "gru", "gru-after", "rnn"])
def test_layout_1_is_ours_in_onnxs_reference(name: str, direction: str) -> None:
    rng, case, x = np.random.default_rng(5), CASES[name], samples()
    layers = [draw_layer(rng, case, reverse=reverse) for reverse in DIRECTIONS[direction]]
    tensors = stacked([weights(layer, case.kind, rng) for layer in layers])
    proto = operator(case.kind, tensors, direction=direction, layout=1, **case.attributes)
    every, *ends = ReferenceEvaluator(proto).run(None, {"X": x})
    found = {"Y": every.reshape(*x.shape[:2], -1)}
    found |= {y: end.reshape(len(x), -1) for y, end in zip(("Y_h", "Y_c"), ends, strict=False)}
    check_equal(found, ours(layers, x, Timeline(STEPS)))
