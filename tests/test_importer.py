"""What was exported comes back exactly; anything else is an ``EdgeLstmError`` of one line."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_lstm import importer
from edge_lstm.cells import CELLS, LSTM
from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import onnx_float
from edge_lstm.gates import MODES, format_gates, parse_gates
from edge_lstm.importer import import_own
from edge_lstm.layers import FloatLayer, Squashing
from edge_lstm.model import FloatModel, Pooling
from edge_lstm.signature import Signature

Draw = Callable[..., Any]


def assemble(
    draw: Draw,
    std: Any,
    *gates: str,
    cell: str = "lstm",
    hidden: int = 4,
    pooling: Pooling = "last",
    squash: Squashing = "exact",
) -> FloatModel:
    """A model of two channels and three classes, one layer per specification of gates."""
    kind, layers, inputs = CELLS[cell], list[FloatLayer](), 2
    outputs = max(1, hidden - 1) if kind.projected else hidden
    for spec in gates:
        W, R = ({block: draw(*shape) for block in kind.matrices} for shape in ((hidden, inputs), (hidden, outputs)))
        b = {block: draw(hidden) for block in kind.blocks}
        rb, p = ({block: draw(hidden) for block in blocks} for blocks in (kind.split, kind.peepholes))
        P = draw(outputs, hidden) if kind.projected else None
        layers.append(FloatLayer(cell, W, R, b, parse_gates(spec, kind.gates), rb, p, P, squash))
        inputs = outputs
    return FloatModel(
        signature=Signature("gestures", ("ax", "größe"), ("m/s²", ""), 62.5, 30, ("none", "wave", 'a "b"')),
        mean=draw(2),
        std=std,
        clip=3.3,
        layers=tuple(layers),
        pooling=pooling,
        dense_weights=draw(3, outputs),
        dense_bias=draw(3),
    )


def toy(*gates: str, **options: Any) -> FloatModel:
    rng = np.random.default_rng(0)
    return assemble(
        lambda *shape: rng.normal(size=shape).astype(np.float32).astype(np.float64),
        np.array([0.5, 2.0]),
        *gates,
        **options,
    )


def exported(*gates: str, **options: Any) -> Any:
    return onnx_float.build(toy(*gates, **options))


def refusal(path: Path, data: bytes) -> str:
    """The message, without the file's name at its start."""
    path.write_bytes(data)
    with pytest.raises(EdgeLstmError) as caught:
        import_own(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()  # so it is one line
    assert len(message) <= len(str(path)) + 2 + importer.MAX_MESSAGE
    return message[len(str(path)) :]


@settings(deadline=None)  # the first example imports onnx
@given(st.data())
def test_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any float32 weights: signed zeros, subnormal and the largest numbers included."""
    every = st.floats(width=32, allow_nan=False, allow_infinity=False)
    positive = st.floats(2.0**-126, 2.0**100, width=32)

    def draw(*shape: int) -> Any:
        return data.draw(arrays(np.float32, shape, elements=every)).astype(np.float64)

    std = data.draw(arrays(np.float32, 2, elements=positive)).astype(np.float64)
    kind = data.draw(st.sampled_from(list(CELLS.values())))
    modes = st.tuples(*[st.sampled_from(MODES)] * len(kind.gates))
    specs = modes.map(lambda drawn: format_gates(dict(zip(kind.gates, drawn, strict=True))))
    model = assemble(
        draw,
        std,
        *data.draw(st.lists(specs, min_size=1, max_size=2)),
        cell=kind.name,
        hidden=data.draw(st.integers(1, 3)),
        pooling=data.draw(st.sampled_from(["last", "mean"])),
        squash=data.draw(st.sampled_from(["exact", "hard"])),
    )
    path = tmp_path_factory.mktemp("round") / "m.onnx"
    onnx_float.write(model, path)
    assert digest(import_own(path)) == digest(model)


def test_weights_that_are_not_float32_come_back_rounded(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).normal
    model = assemble(lambda *shape: draw(size=shape), np.array([0.1, 0.2]), "soft", "hard")
    onnx_float.write(model, tmp_path / "m.onnx")
    back = import_own(tmp_path / "m.onnx")
    assert back.clip == 3.3
    assert back.std.tolist() == [float(np.float32(0.1)), float(np.float32(0.2))]
    for ours, theirs in zip(model.layers, back.layers, strict=True):
        for block in LSTM.blocks:
            assert np.array_equal(theirs.W[block], ours.W[block].astype(np.float32))
            assert np.array_equal(theirs.R[block], ours.R[block].astype(np.float32))


def test_a_file_that_is_missing_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(EdgeLstmError, match=rf"^can't read {re.escape(str(path))}: No such file or directory$"):
        import_own(path)
    with pytest.raises(EdgeLstmError, match=r": Is a directory$"):
        import_own(tmp_path)
    monkeypatch.setattr(importer, "MAX_FILE_BYTES", 10)
    assert refusal(path, bytes(11)) == " has more than 10 bytes, which is the most accepted"


def test_what_is_not_onnx(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    whole = exported("soft").SerializeToString()
    assert refusal(path, b"%PDF-1.7") == " is not an ONNX file, or is truncated"
    assert refusal(path, whole[: len(whole) // 2]) == " is not an ONNX file, or is truncated"
    assert refusal(path, b"") == ": it has no graph, and is not an ONNX file"


def test_a_prefix_is_refused_or_whole(tmp_path: Path) -> None:
    """The last field may be one that does not bear on the meaning; every other cut is noticed."""
    path, whole = tmp_path / "m.onnx", exported("i=hard").SerializeToString()
    for length in range(0, len(whole), 37):
        assert refusal(path, whole[:length])


def test_other_peoples_files(tmp_path: Path) -> None:
    proto = exported("soft")
    del proto.metadata_props[:]
    message = ": it has no 'edge_lstm' metadata; accepted are the float ONNX files that edge-lstm writes"
    assert refusal(tmp_path / "m.onnx", proto.SerializeToString()) == message


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [  # None: a message of edge_lstm.model, pinned there
        (["version"], 2, "metadata: version: Input should be 1"),
        (
            ["pooling"],
            "median",
            "metadata: pooling: Input should be 'last', 'mean', 'max', 'attention', 'each' or 'newest'",
        ),
        (["clip"], "1", "metadata: clip: Input should be a valid number"),
        (["clip"], -1.0, "clip is -1.0; accepted are positive numbers"),
        (["clip"], 1e300, "input/low holds a value that float32 can't hold"),
        (["layers"], [], "a model has 0 recurrent layers; accepted are 1 to 256"),
        (["layers", 0, "cell"], "l\nstm", r"no cell 'l\nstm'; accepted are " + ", ".join(CELLS)),
        (["layers", 0, "cell"], "x" * 999, "no cell '" + "x" * 290 + "…"),
        (
            ["layers", 0, "modes", "i"],
            "firm",
            "metadata: layers: 0: modes: i: Input should be 'soft', 'hard', 'three-level' or 'hard-sigmoid'",
        ),
        (["layers", 0, "modes", "i"], "hard", "there is no tensor 'layer0/W.i'"),
        (["layers", 0, "squash"], "soft", "metadata: layers: 0: squash: Input should be 'exact' or 'hard'"),
        (["layers", 0, "squash"], "hard", "there is no tensor 'layer0/W.i'"),
        (["layers", 0, "cell"], "peephole", "there is no tensor 'layer0/P'"),
        (["layers", 0, "cell"], "lstmp", "there is no tensor 'layer0/W.i'"),
        (["layers", 0, "modes"], {"\n": "soft"}, "the gates of a lstm layer are ?; they must be f, i, o"),
        (["signature", "classes"], ["a", "b"], "dense_weights has shape (3, 4), and must have (2, 4)"),
        (["signature", "name"], "../x", None),
        (["signature", "rate_hz"], 10**400, "a sampling rate of inf Hz; accepted are positive numbers"),
        (["signature", "steps"], 10**9, "a window of 1000000000 steps; accepted are 1 to 65536"),
    ],
)
def test_metadata_is_validated(tmp_path: Path, keys: list[Any], value: Any, message: str | None) -> None:
    proto = exported("soft")
    description = json.loads(proto.metadata_props[0].value)
    place = description
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    proto.metadata_props[0].value = json.dumps(description)
    found = refusal(tmp_path / "m.onnx", proto.SerializeToString())
    assert message is None or found == f": {message}"


def test_metadata_that_is_no_json_or_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, proto = tmp_path / "m.onnx", exported("soft")
    for text in ("", "{", "[" * 100_000, "nul", '{"a": "\x00"}'):
        proto.metadata_props[0].value = text
        assert refusal(path, proto.SerializeToString()).startswith(": metadata: Invalid JSON: ")
    monkeypatch.setattr(importer, "MAX_METADATA_CHARACTERS", 4)
    assert refusal(path, proto.SerializeToString()) == ": its metadata has 10 characters; accepted are at most 4"


def tensor(proto: Any, name: str) -> Any:
    return next(t for t in proto.graph.initializer if t.name == name)


def remove(t: Any) -> None:
    t.name = "other"


def make_float16(t: Any) -> None:
    t.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(t).astype(np.float16), t.name))


def put_outside(t: Any) -> None:
    t.ClearField("raw_data")
    t.data_location = onnx.TensorProto.EXTERNAL
    onnx.StringStringEntryProto.__init__(t.external_data.add(), key="location", value="/etc/hostname")


def make_huge(t: Any) -> None:
    t.dims[:] = [2**31, 2**31]


def make_negative(t: Any) -> None:
    t.dims[:] = [1, 16, -1]


def cut(t: Any) -> None:
    t.raw_data = t.raw_data[:-1]


def put_nan(t: Any) -> None:
    t.raw_data = b"\x01\x00\xa0\x7f" + t.raw_data[4:]  # a signalling one: NumPy warns when it converts it


def reshape(t: Any) -> None:
    t.dims[:] = [2, 8, t.dims[2]]


def reshape_rows(t: Any) -> None:
    t.dims[:] = [2, t.dims[1] // 2, *t.dims[2:]]


def swap_axes(t: Any) -> None:
    t.dims[:] = [t.dims[1], t.dims[0]]


def flatten(t: Any) -> None:
    t.dims[:] = [np.prod(t.dims)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, "there is no tensor 'layer0/W'"),
        (make_float16, "tensor 'layer0/W' has data type 10, and must be float32 (1)"),
        (put_outside, "tensor 'layer0/W' is kept in another file, and must be in this one"),
        (make_huge, "tensor 'layer0/W' does not have the values that its shape needs"),
        (make_negative, "tensor 'layer0/W' has a malformed shape"),
        (cut, "tensor 'layer0/W' does not have the values that its shape needs"),
        (put_nan, "W of i holds nan at (0, 0); every value must be finite"),
        (reshape, "tensor 'layer0/W' has shape (2, 8, 2), and must have (1, 4*hidden, ...)"),
        (flatten, "tensor 'layer0/W' has 1 axes, and must have 3"),
    ],
)
def test_weights_are_validated(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    proto = exported("soft")
    change(tensor(proto, "layer0/W"))
    assert refusal(tmp_path / "m.onnx", proto.SerializeToString()) == f": {message}"


def swap_operator(proto: Any) -> None:
    next(n for n in proto.graph.node if n.op_type == "ArgMax").op_type = "ArgMin"


def reverse(proto: Any) -> None:
    lstm = next(n for n in proto.graph.node if n.op_type == "LSTM")
    lstm.attribute.append(onnx.helper.make_attribute("direction", "reverse"))


def second_bias(proto: Any) -> None:
    t = tensor(proto, "layer0/B")
    t.raw_data = t.raw_data[:-4] + b"\x00\x00\x80\x3f"


def move_threshold(proto: Any) -> None:
    tensor(proto, "zero").raw_data = b"\x00\x00\x80\x3f"


def shadow(proto: Any) -> None:
    onnx.helper.set_model_props(proto, {"edge_lstm": proto.metadata_props[0].value, "note": "kept"})
    proto.functions.add(name="Tanh", domain="")


def newer_operators(proto: Any) -> None:
    proto.opset_import[0].version = 18


def add_tensor(proto: Any) -> None:
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "more"))


@pytest.mark.parametrize(
    "change", [swap_operator, reverse, second_bias, move_threshold, shadow, newer_operators, add_tensor]
)
def test_a_graph_that_was_changed_is_refused(tmp_path: Path, change: Callable[[Any], None]) -> None:
    """Its metadata and weights are those of a good model: only the graph shows that it computes something else."""
    proto = exported("soft", "hard")
    change(proto)
    message = (
        ": the graph is not the one that edge-lstm writes for its metadata; accepted are files as they were written"
    )
    assert refusal(tmp_path / "m.onnx", proto.SerializeToString()) == message


def last_value(name: str, value: float) -> Callable[[Any], None]:
    """A change of a tensor's last value, which is to be another one."""

    def change(proto: Any) -> None:
        t, last = tensor(proto, name), np.float32(value).tobytes()
        assert t.raw_data[-4:] != last
        t.raw_data = t.raw_data[:-4] + last

    return change


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    """A change of every recurrent operator's attribute."""

    def change(proto: Any) -> None:
        nodes = [n for n in proto.graph.node if n.op_type in ("LSTM", "GRU", "RNN")]
        assert nodes
        for node in nodes:
            kept = [a for a in node.attribute if a.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

    return change


def first_rows_of_i(proto: Any) -> None:
    t = tensor(proto, "layer0/W")
    t.raw_data = b"\x00\x00\x80\x3f" + t.raw_data[4:]


def without_peepholes(proto: Any) -> None:
    del next(n for n in proto.graph.node if n.op_type == "LSTM").input[4:]


def in_the_body(change: Callable[[Any], None]) -> Callable[[Any], None]:
    def inside(proto: Any) -> None:
        scan = next(n for n in proto.graph.node if n.op_type == "Scan")
        change(next(a.g for a in scan.attribute if a.name == "body"))

    return inside


def swap_states(body: Any) -> None:
    body.output[0].name, body.output[1].name = body.output[1].name, body.output[0].name


def first_is_max(body: Any) -> None:
    next(n for n in body.node if n.op_type == "Mul").op_type = "Max"


@pytest.mark.parametrize(
    ("cell", "gates", "change"),
    [
        ("cifg", "soft", first_rows_of_i),
        ("cifg", "soft", attribute("input_forget", 0)),
        ("gru", "soft", last_value("layer0/B", 1)),
        ("gru", "soft", attribute("linear_before_reset", 1)),
        ("gru-after", "soft", attribute("linear_before_reset", 0)),
        ("rnn", "soft", last_value("layer0/B", 1)),
        ("rnn", "soft", attribute("activations", ["Relu"])),
        ("peephole", "soft", without_peepholes),
        ("lstm-1997", "soft", last_value("number/0.5", 1)),
        ("lstmp", "hard-sigmoid", last_value("number/0.25", 1)),
        ("cifg", "three-level", last_value("number/-1.0", -2)),
        ("gru", "hard", in_the_body(swap_states)),
        ("gru-after", "hard", in_the_body(first_is_max)),
    ],
)
def test_a_changed_graph_of_another_cell_is_refused(
    tmp_path: Path, cell: str, gates: str, change: Callable[[Any], None]
) -> None:
    proto = exported(gates, cell=cell)
    change(proto)
    message = (
        ": the graph is not the one that edge-lstm writes for its metadata; accepted are files as they were written"
    )
    assert refusal(tmp_path / "m.onnx", proto.SerializeToString()) == message


def no_matrix(t: Any) -> None:
    t.dims[:] = [1, *t.dims]


@pytest.mark.parametrize(
    ("cell", "gates", "name", "change", "message"),
    [
        (
            "peephole",
            "soft",
            "layer0/P",
            reshape_rows,
            "tensor 'layer0/P' has shape (2, 6), and must have (1, 3*hidden, ...)",
        ),
        ("peephole", "hard", "layer0/p.f", remove, "there is no tensor 'layer0/p.f'"),
        ("peephole", "hard", "layer0/p.f", no_matrix, "tensor 'layer0/p.f' has 2 axes, and must have 1"),
        ("gru-after", "hard", "layer0/rb.n", put_nan, "a vector of n holds nan at (0,); every value must be finite"),
        ("lstmp", "soft", "layer0/P", remove, "there is no tensor 'layer0/P'"),
        ("lstmp", "soft", "layer0/P", no_matrix, "tensor 'layer0/P' has 3 axes, and must have 2"),
        ("lstmp", "soft", "layer0/P", swap_axes, "P has shape (4, 3), and must have (4, 4)"),
        (
            "rnn",
            "soft",
            "layer0/W",
            reshape_rows,
            "tensor 'layer0/W' has shape (2, 2, 2), and must have (1, 1*hidden, ...)",
        ),
    ],
)
def test_weights_of_other_cells_are_validated(
    tmp_path: Path, cell: str, gates: str, name: str, change: Callable[[Any], None], message: str
) -> None:
    proto = exported(gates, cell=cell)
    change(tensor(proto, name))
    assert refusal(tmp_path / "m.onnx", proto.SerializeToString()) == f": {message}"


def test_a_file_that_does_not_say_how_its_functions_are_computed_has_exact_ones(tmp_path: Path) -> None:
    proto = exported("soft", "hard")
    description = json.loads(proto.metadata_props[0].value)
    assert all("squash" not in layer for layer in description["layers"])
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert digest(import_own(tmp_path / "m.onnx")) == digest(toy("soft", "hard"))


def test_other_metadata_and_the_producers_version_do_not_matter(tmp_path: Path) -> None:
    proto = exported("soft", "hard")
    proto.producer_version = "99"
    entry = proto.metadata_props.add()
    entry.key, entry.value = "author", "somebody"
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert digest(import_own(tmp_path / "m.onnx")) == digest(toy("soft", "hard"))


@pytest.mark.parametrize(
    ("cell", "gates"),
    [
        ("lstm", ("soft",)),
        ("lstm", ("hard",)),
        ("lstm", ("i=hard", "soft")),
        ("lstmp", ("three-level",)),
        ("peephole", ("hard", "soft")),
        ("gru-after", ("soft", "z=hard-sigmoid")),
    ],
)
def test_mutated_bytes_import_or_are_refused(tmp_path: Path, cell: str, gates: tuple[str, ...]) -> None:
    path, rng, original = tmp_path / "m.onnx", random.Random(0), exported(*gates, cell=cell).SerializeToString()
    imported = 0
    for _ in range(300):
        data = bytearray(original)
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randrange(1, 9)]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                data[at : at + 4] = rng.randbytes(4)
        path.write_bytes(data)
        try:
            imported += isinstance(import_own(path), FloatModel)
        except EdgeLstmError:
            refusal(path, data)
    assert 0 < imported < 200
