"""Every form of a float model as ONNX: what operators it has, what onnxruntime computes, and what comes back.

Tolerance: onnxruntime computes in float32, 6e-8 per operation, which the recurrence amplifies; we compute in float64.
Largest difference measured here: 3e-6. A hard gate decides differently only where its pre-activation is that close to
the threshold; such windows are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import onnx_float
from edge_lstm.float_run import evaluate, standardize
from edge_lstm.gates import STEPS
from edge_lstm.importer import import_own
from edge_lstm.layers import FloatDense
from edge_lstm.model import FloatModel
from edge_lstm.oracle import run_onnxruntime
from edge_lstm.timeline import timeline

TOLERANCE, MARGIN = 1e-5, 1e-4
MakeForm = Callable[..., FloatModel]


def rounded(value: Any) -> Any:
    """A model with its weights rounded to float32."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32).astype(np.float64)
    if isinstance(value, Mapping):
        return {name: rounded(v) for name, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: rounded(v) for name, v in vars(value).items()})
    return tuple(rounded(v) for v in value) if isinstance(value, tuple) else value


def samples(windows: int = 60, steps: int = 12) -> Any:
    return np.random.default_rng(1).normal(size=(windows, steps, 3)).astype(np.float32)


def clear_of_steps(model: FloatModel, x: Any, lengths: Any) -> Any:
    """(windows,) whether every pre-activation of every gate that is a step keeps away from its thresholds."""
    clear, when = np.ones(len(x), bool), timeline(model.signature, len(x), x.shape[1], lengths)
    encoder = len(model.layers)
    for k, trace in enumerate(evaluate(model, standardize(model, x), when).layers):
        for gate, mode in model.all_layers[k].modes.items():
            for at in STEPS.get(mode, ()):
                far = np.abs(trace[f"z_{gate}"] - at) > MARGIN
                beyond = ~when.valid[..., None] if when.lengths is not None and k < encoder else False
                clear &= (far | beyond).all(axis=(1, 2))
    return clear


def check_equal(model: FloatModel, x: Any, lengths: Any) -> None:
    """onnxruntime computes on the exported model what we compute."""
    clear = clear_of_steps(model, x, lengths)
    assert clear.mean() > 0.5
    x, lengths = x[clear], None if lengths is None else lengths[clear]
    theirs = run_onnxruntime(onnx_float.build(model).SerializeToString(), x, lengths=lengths)
    ours = model.run(x, lengths=lengths)
    assert theirs.keys() == ours.keys()
    for name in ("scores", "probabilities"):
        if name in ours:
            assert theirs[name].shape == ours[name].shape
            np.testing.assert_allclose(theirs[name], ours[name], rtol=0, atol=TOLERANCE, err_msg=name)
    if model.signature.task == "classify":
        best = np.sort(ours["scores"], axis=-1)
        certain = (best[..., -1] - best[..., -2] > 2 * TOLERANCE) | (best == 0).all(axis=-1)
        assert theirs["class_index"].shape == ours["class_index"].shape
        assert np.array_equal(theirs["class_index"][certain], ours["class_index"][certain])


@pytest.mark.parametrize("gates", ["soft", "hard", "three-level", "hard-sigmoid"])
def test_onnxruntime_computes_our_outputs(form: str, gates: str, make_form: MakeForm, make_lengths: Any) -> None:
    model, x = rounded(make_form(form, gates)), samples()
    check_equal(model, x, make_lengths(model, len(x), x.shape[1]))
    check_equal(model, x[:20], None)
    check_equal(model, samples(1, 7), None)


def test_dense_layers_with_relu_follow_every_form(form: str, make_form: MakeForm, make_lengths: Any) -> None:
    rng, model, x = np.random.default_rng(0), make_form(form), samples()
    wide = model.dense_weights.shape[1]
    relu = (FloatDense(rng.normal(0, 0.5, (5, wide)), rng.normal(size=5)),)
    model = rounded(replace(model, relu_layers=relu, dense_weights=rng.normal(0, 0.5, (4, 5))))
    check_equal(model, x, make_lengths(model, len(x), x.shape[1]))


@pytest.mark.parametrize("name", ["attention", "bidirectional attention", "variable bidirectional attention"])
def test_attention_without_limits_is_softmax_over_time(
    name: str, make_form: MakeForm, make_lengths: Any, tmp_path: Path
) -> None:
    model, x = make_form(name), samples()
    assert model.attention is not None
    model = rounded(replace(model, attention=replace(model.attention, bounded=False)))
    check_equal(model, x, make_lengths(model, len(x), x.shape[1]))
    assert "Softmax" in [n.op_type for n in onnx_float.build(model).graph.node]
    onnx_float.write(model, tmp_path / "m.onnx")
    assert digest(import_own(tmp_path / "m.onnx")) == digest(model)


@pytest.mark.parametrize("variable", [False, True])
def test_the_newest_h_of_all_layers(variable: bool, make_form: MakeForm, make_lengths: Any) -> None:
    model, x = make_form("bidirectional newest"), samples()
    model = rounded(replace(model, signature=replace(model.signature, variable=variable)))
    check_equal(model, x, make_lengths(model, len(x), x.shape[1]))


def test_probabilities_of_each_step_are_0_beyond_a_windows_end(make_form: MakeForm, make_lengths: Any) -> None:
    model, x = make_form("variable each"), samples()
    model = rounded(replace(model, signature=replace(model.signature, probabilities=True)))
    lengths = make_lengths(model, len(x), 12)
    check_equal(model, x, lengths)
    found = run_onnxruntime(onnx_float.build(model).SerializeToString(), x, lengths=lengths)
    assert not found["probabilities"][1, 1:].any()
    np.testing.assert_allclose(found["probabilities"][0].sum(axis=-1), 1, atol=TOLERANCE)


@pytest.mark.parametrize("gates", ["soft", "hard"])
def test_what_is_written_comes_back(form: str, gates: str, make_form: MakeForm, tmp_path: Path) -> None:
    model = make_form(form, gates)
    onnx_float.write(model, tmp_path / "m.onnx")
    back = import_own(tmp_path / "m.onnx")
    assert digest(back) == digest(rounded(model)) != digest(model)
    onnx_float.write(back, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    x = samples(5)
    np.testing.assert_array_equal(back.run(x)["scores"], rounded(model).run(x)["scores"])


def recurrent(model: FloatModel) -> list[Any]:
    return [n for n in onnx_float.build(model).graph.node if n.op_type in ("LSTM", "GRU", "RNN", "Scan")]


def attributes(node: Any) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def spelled(model: FloatModel) -> list[str]:
    """Operators with their directions."""
    return [
        f"{n.op_type} {attributes(n).get('direction', b'forward').decode()}" if n.op_type != "Scan" else "Scan"
        for n in recurrent(model)
    ]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("reversed", ["LSTM reverse"]),
        ("bidirectional", ["LSTM reverse", "LSTM forward"]),
        ("bidirectional max", ["LSTM bidirectional"]),
        ("bidirectional stack", ["LSTM bidirectional", "GRU bidirectional", "LSTM forward"]),
        ("there and back", ["Scan", "GRU reverse", "RNN forward"]),
        ("beside", ["Scan", "Scan"]),
        ("bidirectional initial", ["LSTM bidirectional"]),
        ("clip", ["LSTM forward", "GRU forward"]),
        ("clip relu", ["RNN forward"]),
        ("variable each", ["LSTM forward", "LSTM reverse"]),
        ("variable bidirectional", ["LSTM bidirectional", "RNN bidirectional"]),
        ("decoder stack", ["LSTM forward", "GRU forward", "Scan"]),
    ],
)
def test_what_an_operator_can_say_is_an_operator(name: str, wanted: list[str], make_form: MakeForm) -> None:
    model = make_form(name)
    assert spelled(model) == wanted
    for node, layer in zip(recurrent(model), model.layers, strict=False):
        found = attributes(node)
        if node.op_type == "Scan":
            continue
        assert found.get("clip") == (None if layer.clip is None else np.float32(layer.clip))
        lengths = [*node.input, "", "", ""][4]
        assert lengths == ("lengths.int32" if model.signature.variable else "")
        assert (len(node.input) > 5 and node.input[5] != "") == bool(layer.initial)
        if found.get("direction") == b"bidirectional" and node.op_type == "RNN":
            assert found["activations"] == [b"Tanh", b"Tanh"]


def test_no_node_is_there_for_nothing(form: str, make_form: MakeForm) -> None:
    graph = onnx_float.build(make_form(form)).graph
    bodies = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    read = {name for each in (graph, *bodies) for node in each.node for name in node.input}
    read |= {output.name for output in graph.output}
    assert [node.name for node in graph.node if not read & set(node.output)] == []


def test_two_layers_that_differ_are_two_operators(make_form: MakeForm) -> None:
    model = make_form("bidirectional max")
    forward, back = model.layers
    assert spelled(model) == ["LSTM bidirectional"]
    limited = replace(model, layers=(forward, replace(back, clip=1.0)))
    assert spelled(limited) == ["LSTM forward", "LSTM reverse"]
    hard = replace(model, layers=(forward, replace(back, modes=dict.fromkeys("ifo", "hard"))))
    assert spelled(hard) == ["LSTM forward", "Scan"]
    fewer = make_form("bidirectional max", hidden=4).layers[1]
    narrow = replace(model, layers=(forward, fewer), dense_weights=model.dense_weights[:, :10])
    assert spelled(narrow) == ["LSTM forward", "LSTM reverse"]
    three = replace(
        model,
        layers=(forward, back, replace(back, reverse=False)),
        dense_weights=np.tile(model.dense_weights, 2)[:, :18],
    )
    assert spelled(three) == ["LSTM forward", "LSTM reverse", "LSTM forward"]
    for each in (limited, hard, narrow, three):
        check_equal(rounded(each), samples(), None)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"h": 0.5, "c": 0.5}, "GRU forward"),
        ({"h": 0.5, "c": 0.5000000001}, "GRU forward"),
        ({"h": 0.5, "c": 0.25}, "Scan"),
        ({"h": 0.5}, "Scan"),
        ({"c": 0.5}, "Scan"),
        ({}, "GRU forward"),
    ],
)
def test_a_gru_whose_states_begin_apart_is_a_scan(
    given: dict[str, float], wanted: str, make_float_model: MakeForm, tmp_path: Path
) -> None:
    """The operator has one state."""
    model = make_float_model("soft", cell="gru", hidden=6)
    initial = {state: np.full(6, value) for state, value in given.items()}
    model = replace(model, layers=(replace(model.layers[0], initial=initial),))
    assert spelled(model) == [wanted]
    check_equal(rounded(model), samples(), None)
    onnx_float.write(model, tmp_path / "m.onnx")
    back = import_own(tmp_path / "m.onnx")
    np.testing.assert_array_equal(back.run(samples())["scores"], rounded(model).run(samples())["scores"])


def test_a_state_or_a_direction_alone_may_have_an_initial_value(make_form: MakeForm, tmp_path: Path) -> None:
    model = make_form("bidirectional max")
    for initial in ({"h": np.full(6, 0.5)}, {"c": np.full(6, -0.5)}):
        for k in (0, 1):
            layers = list(model.layers)
            layers[k] = replace(layers[k], initial=initial)
            begun = rounded(replace(model, layers=tuple(layers)))
            assert spelled(begun) == ["LSTM bidirectional"]
            check_equal(begun, samples(), None)
            onnx_float.write(begun, tmp_path / "m.onnx")
            assert digest(import_own(tmp_path / "m.onnx")) == digest(begun)


def test_a_clip_that_float32_cannot_hold_is_refused(make_form: MakeForm) -> None:
    model = make_form("clip relu")
    for clip, message in ((1e39, "holds a value that float32 can't hold"), (1e-50, "so small that float32 makes it 0")):
        with pytest.raises(EdgeLstmError, match=rf"^clip of layer 0 .*{message}$"):
            onnx_float.build(replace(model, layers=(replace(model.layers[0], clip=clip),)))


@pytest.mark.parametrize("lengths", [[3], [0] * 5, [13] * 5, [2.5] * 5])
def test_the_oracle_refuses_wrong_lengths(lengths: list[float], make_form: MakeForm) -> None:
    content = onnx_float.build(make_form("variable")).SerializeToString()
    with pytest.raises(EdgeLstmError, match=r"^lengths are .*; accepted are integers \(5,\) from 1 to 12$"):
        run_onnxruntime(content, samples(5), lengths=lengths)
    with pytest.raises(EdgeLstmError, match=r"^a model in memory: onnxruntime: .*lengths"):
        run_onnxruntime(onnx_float.build(make_form("each")).SerializeToString(), samples(5), lengths=[3] * 5)


TWO_DIRECTIONS = "tensor 'layer0/W' has shape (2, 24, 3), and must have (1, 4*hidden, ...)"
CHANGED = "the graph is not the one that edge-lstm writes for its metadata; accepted are files as they were written"


def refusal(path: Path, proto: Any) -> str:
    """The message, without the file's name at its start."""
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(EdgeLstmError) as caught:
        import_own(path)
    message = str(caught.value)
    assert message.isprintable()  # so it is one line
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "keys", "value", "message"),
    [
        ("variable", ["layers", 0, "beside"], True, "layer 0 stands beside the layer before it, and there is none"),
        ("variable", ["layers", 0, "reverse"], True, CHANGED),
        ("variable", ["layers", 0, "initial"], ["h"], "there is no tensor 'layer0/initial.h'"),
        ("variable", ["layers", 0, "clip"], 1.0, CHANGED),
        (
            "variable",
            ["signature", "variable"],
            1,
            "metadata: signature: variable: Input should be a valid boolean",
        ),
        ("variable", ["signature", "variable"], False, CHANGED),
        ("bidirectional max", ["layers", 1, "beside"], False, TWO_DIRECTIONS),
        ("bidirectional max", ["layers", 1, "reverse"], False, TWO_DIRECTIONS),
        ("bidirectional max", ["layers", 0, "clip"], 0.5, TWO_DIRECTIONS),
        ("bidirectional max", ["layers", 1, "cell"], "peephole", TWO_DIRECTIONS),
        (
            "bidirectional max",
            ["layers", 0, "reverse"],
            "no",
            "metadata: layers: 0: reverse: Input should be a valid boolean",
        ),
        ("bidirectional", ["layers", 0, "reverse"], False, CHANGED),
        ("clip relu", ["layers", 0, "clip"], -1.0, "clip of a rnn-relu layer is -1.0; accepted are positive numbers"),
        ("clip relu", ["layers", 0, "clip"], 1e300, "clip of layer 0 holds a value that float32 can't hold"),
        ("clip relu", ["layers", 0, "clip"], 0.75, CHANGED),
        ("initial", ["layers", 0, "initial"], ["h"], CHANGED),
        ("initial", ["layers", 0, "initial"], ["h", "x"], CHANGED),
        (
            "softmax",
            ["signature", "task"],
            "regress",
            "probabilities are asked of a regression; only a classifier has them",
        ),
        ("attention", ["pooling"], "mean", CHANGED),
        ("attention", ["bounded"], False, CHANGED),
        ("each", ["pooling"], "attention", "there is no tensor 'attention/weights'"),
        ("decoder", ["pooling"], "each", "pooling before a decoder is 'each'; accepted is 'last'"),
        ("decoder", ["decoder"], None, CHANGED),
        ("decoder", ["decoder", "steps"], 0, "a decoder of 0 steps; accepted are 1 to 65536"),
        ("decoder", ["decoder", "steps"], 10**12, "a decoder of 1000000000000 steps; accepted are 1 to 65536"),
        ("decoder", ["decoder", "steps"], 8, CHANGED),
        ("decoder", ["decoder", "layers"], [], "the decoder has 0 layers, and the encoder 1"),
        ("decoder", ["decoder", "layers", 0, "cell"], "gru", "there is no tensor 'decoder0/W.z'"),
        (
            "decoder",
            ["decoder", "layers", 0, "reverse"],
            True,
            "layer 0 of the encoder or of the decoder stands beside another, or that of the decoder is reversed or "
            "has initial states of its own",
        ),
    ],
)
def test_metadata_is_validated(
    name: str, keys: list[Any], value: Any, message: str, make_form: MakeForm, tmp_path: Path
) -> None:
    proto = onnx_float.build(make_form(name))
    description = json.loads(proto.metadata_props[0].value)
    place = description
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    proto.metadata_props[0].value = json.dumps(description)
    assert refusal(tmp_path / "m.onnx", proto) == message


def in_node(kind: str, change: Callable[[Any], None]) -> Callable[[Any], None]:
    """A change of the first operator of a kind."""
    return lambda graph: change(next(n for n in graph.node if n.op_type == kind))


def without_lengths(node: Any) -> None:
    node.input[4] = ""


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

    return change


def swap_initial(node: Any) -> None:
    node.input[5], node.input[6] = node.input[6], node.input[5]


def reshape(name: str, dims: list[int]) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        next(t for t in graph.initializer if t.name == name).dims[:] = dims

    return change


@pytest.mark.parametrize(
    ("name", "gates", "change", "message"),
    [
        ("variable", "soft", in_node("LSTM", without_lengths), CHANGED),
        ("clip", "soft", in_node("LSTM", attribute("clip", 0.8)), CHANGED),
        ("initial", "soft", in_node("LSTM", swap_initial), CHANGED),
        ("bidirectional max", "soft", in_node("LSTM", attribute("direction", "reverse")), CHANGED),
        ("reversed", "hard", in_node("Scan", attribute("scan_output_directions", [0])), CHANGED),
        ("variable each", "hard", in_node("ReverseSequence", attribute("time_axis", 0)), CHANGED),
        ("variable max", "soft", in_node("Less", lambda node: setattr(node, "op_type", "Greater")), CHANGED),
        ("attention", "soft", in_node("Clip", lambda node: node.input.pop()), CHANGED),
        (
            "bidirectional max",
            "soft",
            reshape("layer0/W", [1, 48, 3]),
            "tensor 'layer0/W' has shape (1, 48, 3), and must have (2, 4*hidden, ...)",
        ),
        (
            "attention",
            "soft",
            reshape("attention/weights", [1, 6]),
            CHANGED,
        ),
        ("decoder", "soft", reshape("decoder0/R.i", [4, 9]), "R of i has shape (9, 4), and must have (6, 6)"),
    ],
)
def test_a_changed_graph_is_refused(
    name: str, gates: str, change: Callable[[Any], None], message: str, make_form: MakeForm, tmp_path: Path
) -> None:
    proto = onnx_float.build(make_form(name, gates))
    change(proto.graph)
    assert refusal(tmp_path / "m.onnx", proto) == message


def test_a_plain_model_says_nothing_new(make_float_model: MakeForm) -> None:
    """So that files of earlier versions are those that are written now."""
    description = json.loads(onnx_float.build(make_float_model()).metadata_props[0].value)
    assert set(description) == {"version", "signature", "clip", "layers", "pooling"}
    assert set(description["layers"][0]) == {"cell", "modes"}
    assert not {"variable", "probabilities"} & set(description["signature"])
