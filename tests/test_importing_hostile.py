"""Files that mean harm, or nothing: refused with one line, in bounded time and memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_nodes as nodes
import numpy as np
import onnx
import pytest
from keras_nodes import Nodes
from onnx import TensorProto, helper, numpy_helper

from edge_lstm.errors import EdgeLstmError
from edge_lstm.importing import reader
from edge_lstm.importing.load import ImportedModel, import_onnx

F, H = 3, 4
NAN = float("nan")


def real(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def network() -> Any:
    """A small model of strangers: LSTM, last h, dense, softmax."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2], name="first"),
        helper.make_node("LSTM", ["t", "W", "R", "B"], ["y", "yh"], hidden_size=H, name="lstm"),
        helper.make_node("Squeeze", ["yh", "axes"], ["h"], name="squeeze"),
        helper.make_node("Gemm", ["h", "D", "d"], ["s"], transB=1, name="dense"),
        helper.make_node("Softmax", ["s"], ["p"], name="softmax"),
    ]
    constants = {"W": real(1, 4 * H, F), "R": real(1, 4 * H, H), "B": real(1, 8 * H), "D": real(2, H), "d": real(2)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "t", F])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(v, k) for k, v in {**constants, "axes": np.array([0])}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weights(proto: Any, name: str) -> Any:
    return next(t for t in proto.graph.initializer if t.name == name)


def external(proto: Any) -> None:
    tensor = weights(proto, "W")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def claims_gigabytes(proto: Any) -> None:
    weights(proto, "W").dims[:] = [1, 2**20, 2**20]


def makes_gigabytes(proto: Any) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20]), "huge"))
    proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["huge"], ["zeros"], name="zeros"))


def cycle(proto: Any) -> None:
    proto.graph.node[0].input[0] = "p"


def duplicate(proto: Any) -> None:
    proto.graph.node[3].output[0] = "h"


def two_tensors(proto: Any) -> None:
    proto.graph.initializer.append(weights(proto, "W"))


def contradiction(proto: Any) -> None:
    weights(proto, "R").CopyFrom(numpy_helper.from_array(real(1, 4 * H, H + 1), "R"))


def not_finite(proto: Any) -> None:
    bad = real(1, 4 * H, F)
    bad[0, 1, 2] = NAN
    weights(proto, "W").CopyFrom(numpy_helper.from_array(bad, "W"))


def nested(proto: Any) -> None:
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "leaf", [], [])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["b"], then_branch=graph)], "inner", [], [])
    proto.graph.node.append(helper.make_node("If", ["p"], ["q"], then_branch=graph))


def many_nodes(proto: Any) -> None:
    for k in range(reader.MAX_NODES + 1):
        proto.graph.node.append(helper.make_node("Identity", ["x"], [f"i{k}"]))


def control_flow(proto: Any) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "body", [], [])
    proto.graph.node.append(helper.make_node("If", ["p"], ["q"], then_branch=body, else_branch=body, name="branch"))


def function(proto: Any) -> None:
    opset = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("d", "f", ["a"], ["b"], [], opset))


def no_shape(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.ClearField("shape")


def old(proto: Any) -> None:
    proto.opset_import[0].version = 3


def lost(proto: Any) -> None:
    proto.graph.output[0].name = "nothing"


def strange_attribute(proto: Any) -> None:
    proto.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("perm", "abc"))


CASES: list[tuple[Callable[[Any], None], str]] = [
    (external, "tensor 'W' is kept in another file; save the model with its weights inside"),
    (claims_gigabytes, "tensor 'W' does not have the values that its shape needs"),
    (makes_gigabytes, "node 'zeros' (ConstantOfShape): its result has more than 16777216 elements"),
    (cycle, "node 'first' reads 'p', which nothing before it makes"),
    (duplicate, "two nodes make 'h'"),
    (two_tensors, "two of its initializers have the same name"),
    (contradiction, "node 'lstm' (LSTM): hidden_size is 4, and R has 5"),
    (not_finite, "tensor 'W' holds nan at (0, 1, 2); every value must be finite"),
    (nested, "its subgraphs nest more than 8 deep"),
    (many_nodes, "it has 20006 nodes; accepted are at most 20000"),
    (control_flow, "node 'branch': operator If is not supported; supported are Abs, "),
    (function, "it defines 1 functions of its own; inline them when exporting"),
    (no_shape, "input 'x' is no tensor with a number of axes"),
    (old, "opset 3; accepted are 7 to 26"),
    (lost, "nothing makes its output 'nothing'"),
    (strange_attribute, "node 'first' (Transpose): its inputs or attributes make no sense (ValueError)"),
]


def refusal(proto: Any, folder: Path) -> str:
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(EdgeLstmError) as error:
        import_onnx(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_the_model_is_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(network().SerializeToString())
    model = import_onnx(tmp_path / "m.onnx")
    assert isinstance(model, ImportedModel)
    assert model.run(real(2, 5, F))["p"].shape == (2, 2)
    assert model.float_model(steps=5).signature.probabilities


@pytest.mark.parametrize(("change", "message"), CASES, ids=[change.__name__ for change, _ in CASES])
def test_a_hostile_file_is_refused(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    proto = network()
    change(proto)
    found = refusal(proto, tmp_path)
    assert found.startswith(message[:250])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"z": real(2, 5, F)}, "inputs are z; they must be x"),
        (real(2, 5, F + 1), "input x has shape (2, 5, 4); accepted is (windows, steps, 3), none 0"),
        (real(5, F), "input x has 2 axes, and must have 3"),
        (np.full((1, 2, F), NAN), "input x holds a value that is not finite"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(network().SerializeToString())
    model = import_onnx(tmp_path / "m.onnx")
    assert isinstance(model, ImportedModel)
    with pytest.raises(EdgeLstmError) as error:
        model.run(x)
    assert str(error.value) == message


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut out, repeated or inserted."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at, kind = int(rng.integers(len(data))), int(rng.integers(4))
        if kind == 0:
            data[at] = int(rng.integers(256))
        elif kind == 1:
            del data[at : at + int(rng.integers(1, 9))]
        elif kind == 2:
            data[at:at] = data[at : at + int(rng.integers(1, 33))]
        else:
            data[at:at] = rng.bytes(int(rng.integers(1, 5)))
    return bytes(data) or b"x"


KINDS = ["Add", "Gather", "Reshape", "GRU", "Concat", "Slice", "Conv", "MatMul", "Split"]


def changed(proto: Any, rng: np.random.Generator) -> Any:
    """A file that is still one, of which something is exchanged."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    nodes, tensors = copy.graph.node, copy.graph.initializer
    for _ in range(int(rng.integers(1, 4))):
        node, kind = nodes[int(rng.integers(len(nodes)))], int(rng.integers(6))
        if kind == 0 and node.input:
            names = [name for n in nodes for name in (*n.input, *n.output)] + [t.name for t in tensors]
            node.input[int(rng.integers(len(node.input)))] = str(rng.choice(names))
        elif kind == 1:
            node.op_type = str(
                rng.choice(["Add", "Gather", "Reshape", "GRU", "Concat", "Slice", "Conv", "MatMul", "Split"])
            )
        elif kind == 2 and node.attribute:
            attribute = node.attribute[int(rng.integers(len(node.attribute)))]
            attribute.i = int(rng.integers(-3, 2**31))
            attribute.ints[:] = [int(v) for v in rng.integers(-5, 5, 3)]
        elif kind == 3:
            tensor = tensors[int(rng.integers(len(tensors)))]
            tensor.dims[:] = [int(v) for v in rng.permutation(list(tensor.dims))]
        elif kind == 4:
            nodes.add().CopyFrom(node)
        else:
            del nodes[int(rng.integers(len(nodes)))]
        if not nodes:
            return copy
    return copy


def taken_or_refused(action: Callable[[], object]) -> bool:
    """Whether a file is taken; what is not taken is refused with one line, and nothing else happens."""
    try:
        action()
    except EdgeLstmError as error:
        said = str(error)
    else:
        return True
    assert "\n" not in said
    return False


def survives(content: bytes, path: Path) -> bool:
    """Whether a file is taken, of what may be one."""
    path.write_bytes(content)

    def imported_and_run() -> None:
        model = import_onnx(path)
        if isinstance(model, ImportedModel):
            model.run({name: np.zeros((2, *view.shape[1:])) for name, view in model.imported.inputs.items()})

    return taken_or_refused(imported_and_run)


def mutations(count: int, path: Path, seed: int) -> int:
    rng, proto = np.random.default_rng(seed), network()
    content = proto.SerializeToString()
    taken = 0
    for k in range(count):
        made = mutated(content, rng) if k % 2 else changed(proto, rng).SerializeToString()
        taken += survives(made, path)
    return taken


def with_a_loop(*, masked: bool) -> Any:
    """A cell in a loop, and its last h."""
    g = Nodes()
    x, mask = nodes.masking(g, "x") if masked else ("x", "")
    h = nodes.loop(g, nodes.time_first(g, x), nodes.gru_after_step, mask=mask)
    return nodes.model(g, nodes.dense(g, nodes.last(g, h)))


def changed_body(proto: Any, rng: np.random.Generator) -> Any:
    """With a change in the body of the loop."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    (body,) = [a.g for node in copy.graph.node for a in node.attribute if a.HasField("g")]
    inner = onnx.ModelProto()
    inner.graph.CopyFrom(body)
    body.CopyFrom(changed(inner, rng).graph)
    if rng.integers(3) == 0:
        group = (body.input, body.output)[int(rng.integers(2))]
        del group[int(rng.integers(len(group)))]
    return copy


@pytest.mark.parametrize("masked", [False, True])
def test_mutated_loops_are_taken_or_refused(tmp_path: Path, *, masked: bool) -> None:
    rng, proto = np.random.default_rng(5), with_a_loop(masked=masked)
    assert survives(proto.SerializeToString(), tmp_path / "m.onnx")
    taken = [survives(changed_body(proto, rng).SerializeToString(), tmp_path / "m.onnx") for _ in range(150)]
    assert 0 < sum(taken) < len(taken)


def test_a_long_chain_of_nodes_is_refused(tmp_path: Path) -> None:
    g = Nodes()
    steps = g.add("Split", "x", outputs=nodes.STEPS, axis=1)
    for _ in range(1200):
        steps = [g.add("Tanh", v) for v in steps]
    proto = nodes.model(g, g.add("Concat", *steps, axis=1))
    assert refusal(proto, tmp_path).startswith(("its nodes are too long a chain", "a graph has "))


def test_mutated_files_are_taken_or_refused(tmp_path: Path) -> None:
    taken = mutations(600, tmp_path / "m.onnx", 0)
    assert 0 < taken < 600


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_ten_thousand_mutated_files(seed: int, tmp_path: Path) -> None:
    assert 0 < mutations(1000, tmp_path / "m.onnx", seed) < 1000
