"""Model files: what was saved is loaded, and anything else is refused in one line."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save as serialize

from edge_lstm.cells import CELLS
from edge_lstm.codec import content_digest, digest, encode
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.storage import MAX_FILE_BYTES, load, load_float, save

Tensors = dict[str, np.ndarray]
DAMAGED = "the content does not match its SHA-256: the file was altered or damaged"


@pytest.fixture(scope="module")
def quantized(make_quantized: Callable[..., QuantizedModel]) -> QuantizedModel:
    return make_quantized("i=hard,o=hard", hidden=3, inputs=2, classes=3, layers=2, pooling="mean", seed=1)


@pytest.fixture(scope="module")
def floating(make_float_model: Callable[..., FloatModel]) -> FloatModel:
    return make_float_model("f=hard", hidden=3, inputs=2, layers=2, pooling="mean", seed=1)


def refused(path: Path, reader: Callable[[Path], Any] = load) -> str:
    """The one line that refuses a file, without the file's name in front."""
    with pytest.raises(EdgeLstmError) as error:
        reader(path)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text.removeprefix(f"{path}: ")


def craft(
    path: Path,
    model: Any,
    change: Callable[[dict[str, Any], Tensors], None] = lambda *_: None,
    text: Callable[[str], str] = lambda content: content,
    **metadata: str,
) -> Path:
    """A file of a changed model whose checksum is right."""
    content, tensors = encode(model)
    data = json.loads(content)
    change(data, tensors)
    content = text(json.dumps(data))
    sealed = {"format": "edge-lstm", "version": "1", "kind": "quantized", "content": content}
    sealed |= {"sha256": content_digest(content, tensors), **metadata}
    path.write_bytes(serialize(tensors, metadata=sealed))
    return path


def test_a_quantized_model_comes_back(tmp_path: Path, quantized: QuantizedModel) -> None:
    path = tmp_path / "m.elstm"
    quantized.save(path)
    loaded = load(path)
    assert digest(loaded) == digest(quantized)
    assert type(loaded) is QuantizedModel
    assert loaded.signature == quantized.signature
    assert loaded.layers[1].modes == {"i": "hard", "f": "soft", "o": "hard"}
    save(loaded, tmp_path / "again.elstm")
    assert digest(load(tmp_path / "again.elstm")) == digest(quantized)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.elstm", "m.elstm"]


def test_equal_models_give_equal_files(tmp_path: Path, quantized: QuantizedModel) -> None:
    for k in range(4):
        quantized.save(tmp_path / f"{k}")
    assert len({p.read_bytes() for p in tmp_path.iterdir()}) == 1


def test_a_float_model_comes_back(tmp_path: Path, floating: FloatModel) -> None:
    save(floating, tmp_path / "m.safetensors")
    loaded = load_float(tmp_path / "m.safetensors")
    assert digest(loaded) == digest(floating)
    assert type(loaded) is FloatModel
    assert np.array_equal(loaded.layers[1].R["g"], floating.layers[1].R["g"])


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("soft", {"weight_bits": 4, "activation_bits": 16, "activations": "lut-interp"}),
    ("three-level", {"weight_bits": "2,8", "squash": "hard"}),
    ("hard-sigmoid", {"squash": "hard", "pooling": "mean"}),
]


@pytest.mark.parametrize(("gates", "options"), KINDS, ids=[gates for gates, _ in KINDS])
@pytest.mark.parametrize("cell", CELLS)
def test_a_model_of_every_cell_comes_back(
    tmp_path: Path,
    make_quantized: Callable[..., QuantizedModel],
    make_float_model: Callable[..., FloatModel],
    cell: str,
    gates: str,
    options: dict[str, Any],
) -> None:
    gates = gates if CELLS[cell].gates else "soft"
    model = make_quantized(gates, cell=cell, hidden=3, inputs=2, layers=2, **options)
    model.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert digest(loaded) == digest(model)
    assert loaded.input_bits == model.input_bits
    for before, after in zip(model.layers, loaded.layers, strict=True):
        assert type(after) is type(before)
        assert (after.modes, after.h, after.c) == (before.modes, before.h, before.c)
        assert {k: type(f) for k, f in after.squash.items()} == {k: type(f) for k, f in before.squash.items()}
        for name, block in before.blocks.items():
            assert type(after.blocks[name].activation) is type(block.activation)
            assert after.blocks[name].weight_bits == block.weight_bits
    options = {k: v for k, v in options.items() if k in ("squash", "pooling")}
    floating = make_float_model(gates, cell=cell, hidden=3, inputs=2, layers=2, **options)
    save(floating, tmp_path / "f")
    assert digest(load_float(tmp_path / "f")) == digest(floating)
    assert load_float(tmp_path / "f").layers[1].squash == floating.layers[1].squash


def test_loading_costs_no_integer_its_value(tmp_path: Path, quantized: QuantizedModel) -> None:
    quantized.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    for before, after in zip(quantized.layers, loaded.layers, strict=True):
        for name, block in before.blocks.items():
            assert after.blocks[name].weights.tolist() == block.weights.tolist()
            assert after.blocks[name].bias.tolist() == block.bias.tolist()
            found, wanted = after.blocks[name].activation, block.activation
            array = "at" if name in "io" else "values"
            assert getattr(found, array).tolist() == getattr(wanted, array).tolist()
        assert after.squash["t"].values.tolist() == before.squash["t"].values.tolist()
    x = np.random.default_rng(0).integers(-127, 128, (2, 5, 2)).astype(np.int32)
    from edge_lstm.runtime import execute

    outputs = execute(quantized, x).outputs
    assert {k: v.tolist() for k, v in execute(loaded, x).outputs.items()} == {k: v.tolist() for k, v in outputs.items()}


def test_the_crafted_file_is_accepted_when_nothing_is_changed(
    tmp_path: Path, quantized: QuantizedModel, floating: FloatModel
) -> None:
    assert digest(load(craft(tmp_path / "a", quantized))) == digest(quantized)
    assert digest(load_float(craft(tmp_path / "b", floating, kind="float"))) == digest(floating)


@pytest.mark.parametrize("kind", ["quantized", "float"])
def test_a_truncated_file_is_refused(
    tmp_path: Path, quantized: QuantizedModel, floating: FloatModel, kind: str
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    save(quantized if kind == "quantized" else floating, whole)
    reader: Callable[[Path], Any] = load if kind == "quantized" else load_float
    data = whole.read_bytes()
    for length in [len(data) * tenth // 10 for tenth in range(10)] + [1, 7, 8, 9, len(data) - 1]:
        cut.write_bytes(data[:length])
        assert "is no model file of edge-lstm, or is truncated" in refused(cut, reader)
    cut.write_bytes(data + b"\0")
    refused(cut, reader)


@pytest.mark.parametrize("kind", ["quantized", "float"])
def test_one_flipped_bit_anywhere_is_refused(
    tmp_path: Path, quantized: QuantizedModel, floating: FloatModel, kind: str
) -> None:
    whole, bad = tmp_path / "whole", tmp_path / "bad"
    save(quantized if kind == "quantized" else floating, whole)
    reader: Callable[[Path], Any] = load if kind == "quantized" else load_float
    data = whole.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    rng = np.random.default_rng(0)
    tensors = rng.integers(header, len(data), 30).tolist()
    places = [*range(8), *rng.integers(8, header, 60).tolist(), *tensors]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        if place < header and changed[place] in b" \t\n\r" and data[place] in b" \t\n\r":
            continue  # padding of the header
        bad.write_bytes(changed)
        message = refused(bad, reader)
        if place in tensors:
            assert message == DAMAGED


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"version": "2"}, "version is '2', and must be '1'"),
        ({"format": "other"}, "format is 'other', and must be 'edge-lstm'"),
        ({"kind": "float"}, "kind is 'float', and must be 'quantized'"),
        ({"kind": "x\ny"}, "kind is 'x\\ny', and must be 'quantized'"),
        ({"sha256": "0" * 64}, DAMAGED),
        ({"sha256": ""}, DAMAGED),
        ({"content": "{}"}, DAMAGED),
    ],
)
def test_another_kind_version_or_checksum(
    tmp_path: Path, quantized: QuantizedModel, metadata: dict[str, str], message: str
) -> None:
    assert refused(craft(tmp_path / "m", quantized, **metadata)) == message


def test_the_two_kinds_are_not_mixed_up(tmp_path: Path, quantized: QuantizedModel, floating: FloatModel) -> None:
    save(quantized, tmp_path / "q")
    save(floating, tmp_path / "f")
    assert refused(tmp_path / "f") == "kind is 'float', and must be 'quantized'"
    assert refused(tmp_path / "q", load_float) == "kind is 'quantized', and must be 'float'"


def set_at(*keys: Any, to: Any) -> Callable[[dict[str, Any], Tensors], None]:
    def change(data: dict[str, Any], _: Tensors) -> None:
        at: Any = data
        for key in keys[:-1]:
            at = at[key]
        if to is ...:
            del at[keys[-1]]
        else:
            at[keys[-1]] = to

    return change


def tensor(name: str, make: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any], Tensors], None]:
    def change(_: dict[str, Any], tensors: Tensors) -> None:
        made = make(tensors.pop(name))
        if made is not None:
            tensors[name] = made

    return change


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[1] = np.nan
    return array


WEIGHTS, STEPS = "layers.0.blocks.i.weights", "layers.0.blocks.i.activation.at"
SQUASH = ("layers", 0, "squash", "t")
SIGNATURE_NAME = "accepted are up to 48 lower-case letters, digits and _, first a letter"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            tensor(WEIGHTS, lambda a: a.astype(np.int16)),
            f"layers.0.blocks.i.weights: Value error, tensor '{WEIGHTS}' is int16, and must be int8",
        ),
        (
            tensor(WEIGHTS, lambda _: None),
            f"layers.0.blocks.i.weights: Value error, there is no tensor '{WEIGHTS}' in the file",
        ),
        (tensor(WEIGHTS, lambda a: a[:, :-1].copy()), "the weights of block "),
        (tensor(WEIGHTS, lambda a: a.reshape(-1)), "the weights of a block have 1 axes, and must have 2"),
        (
            tensor(WEIGHTS, lambda a: np.full_like(a, -128)),
            "a block has a weight of 128 units; 8 bits take -127 to 127",
        ),
        (set_at("layers", 0, "blocks", "i", "weight_bits", to=4), "a block has a weight of 127 units; 4 bits take -7 "),
        (set_at("layers", 0, "blocks", "i", "weight_bits", to=3), "a block has 3-bit weights; accepted are 8, 4, 2"),
        (set_at("layers", 0, "blocks", "i", "weight_bits", to=True), "layers.0.blocks.i.weight_bits: "),
        (set_at("layers", 0, "blocks", "i", "activation", to=None), "layers.0.blocks.i.activation."),
        (
            tensor(STEPS, lambda _: None),
            f"layers.0.blocks.i.activation.Steps.at: Value error, there is no tensor '{STEPS}' in the file",
        ),
        (
            tensor(STEPS, lambda a: a.astype(np.int64)),
            f"layers.0.blocks.i.activation.Steps.at: Value error, tensor '{STEPS}' is int64, and must be int32",
        ),
        (tensor(STEPS, lambda a: a[:, :1].copy()), "the steps of a gate has shape (1, 1), and must have (1, 3)"),
        (tensor(STEPS, lambda a: a[0]), "the steps of a gate are int32 (1 or 2, hidden)"),
        (set_at("layers", 0, "modes", "i", to="three-level"), "block i of a lstm layer has an activation of another "),
        (set_at("layers", 0, "modes", "i", to="medium"), "layers.0.modes.i: "),
        (set_at("layers", 0, "projection", to=1), "layers.0.projection: "),
        (set_at("layers", 0, "c", to=None), "a lstm layer has the states h, c; c or P does not fit"),
        (set_at("input_bits", to=12), "inputs have 12 bits; accepted are 8, 16"),
        (tensor("layers.1.blocks.g.bias", lambda a: a[:1]), "the bias of a block has shape (1,), and must have (3,)"),
        (tensor("layers.0.blocks.f.scale", with_nan), "the scale of a block holds nan at (1,); every value must be "),
        (tensor("input_scale", with_nan), "input_scale holds nan at (1,); every value must be finite"),
        (tensor("input_scale", lambda a: -a), "input_scale holds -"),
        (tensor("dense_weights", lambda a: a[:2].copy()), "dense_weights has shape (2, 3), and must have (3, 3)"),
        (
            tensor("dense_weights", lambda a: np.full_like(a, -128)),
            "the dense layer has a weight of 128 units; 8 bits take -127 to 127",
        ),
        (tensor("layers.0.squash.t.values", lambda a: a[:255]), "table of tanh has shape (255,), and must have (256,)"),
        (
            tensor("layers.0.squash.t.values", lambda a: np.full_like(a, 300)),
            "table of tanh holds values outside its format Q0.7",
        ),
        (tensor("pool.multiplier", lambda a: -a), "a requantization multiplier is a vector of non-negative int32"),
        (tensor("pool.multiplier", lambda a: a[:1]), "the pooling multiplier has shape (1,), and must have (3,)"),
        (set_at("layers", 0, "cell", to="gru-9"), "no cell 'gru-9'; accepted are lstm, "),
        (set_at("layers", to=[]), "a model has 0 recurrent layers; accepted are 1 to 256"),
        (set_at("layers", 0, "blocks", "i", to=...), "the blocks of a lstm layer are f, g, o; they must be f, g, i, o"),
        (set_at(*SQUASH, "index_bits", to=8), "a table has 0 to 7 index bits, not 8"),
        (set_at(*SQUASH, "index_bits", to=True), "layers.0.squash.t.Table.index_bits: "),
        (set_at(*SQUASH, "index_bits", to=1.5), "layers.0.squash.t.Table.index_bits: "),
        (
            set_at(*SQUASH, "index_bits", to=10**30),
            "a table has 0 to 7 index bits, not 1000000000000000000000000000000",
        ),
        (set_at(*SQUASH, "between_bits", to=9), "a table has 0 to 8 bits between its entries, not 9"),
        (set_at(*SQUASH, "between_bits", to="8"), "layers.0.squash.t.Table.between_bits: "),
        (set_at(*SQUASH, to=...), "the functions of the states of a lstm layer are none; they must be t"),
        (set_at("layers", 0, "c", "bits", to=64), "a format has 2 to 32 bits, not 64"),
        (set_at(*SQUASH, "function", to="exp"), "layers.0.squash.t.Table.function: "),
        (set_at("rounding", to="floor"), "rounding: "),
        (
            set_at("pooling", to="last"),
            "only mean pooling over windows of one length has a requantization",
        ),
        (set_at("score_scale", to=0.0), "score_scale is 0.0; accepted are positive numbers"),
        (set_at("score_scale", to=float("nan")), "score_scale"),
        (set_at("score_scale", to=float("inf")), "score_scale"),
        (set_at("score_scale", to="1"), "score_scale: "),
        (set_at("signature", to=...), "signature: "),
        (set_at("signature", "name", to="x; rm -rf"), f"model name 'x; rm -rf': {SIGNATURE_NAME}"),
        (set_at("signature", "classes", 0, to="a\nb"), "class name 'a\\nb': accepted are 1 to 64 printable characters"),
        (set_at("signature", "steps", to=0), "a window of 0 steps; accepted are 1 to 65536"),
        (set_at("signature", "steps", to=10**9), "a window of 1000000000 steps; accepted are 1 to 65536"),
        (set_at("signature", "channels", to=["a"]), "1 channels with 2 units; accepted are 1 to 4096, one unit each"),
        (set_at("provenance", to=["x"]), "provenance: "),
        (set_at("dense_bias", to=[1, 2, 3]), "dense_bias: "),
        (set_at("spare", to=1), "it says more of the model than this version knows: a newer"),
        (set_at("layers", 0, "squash_shift", to=1), "it says more of the model than this version knows: a newer"),
    ],
)
def test_an_inconsistent_model_with_a_right_checksum(
    tmp_path: Path, quantized: QuantizedModel, change: Callable[[dict[str, Any], Tensors], None], message: str
) -> None:
    found = refused(craft(tmp_path / "m", quantized, change))
    assert found.startswith(message)


@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", "{", "[" * 100_000, '{"a":' * 100_000, "\\ud800", '{"signature": NaN}', "9" * 10_000, '"\0"'],
)
def test_content_that_is_no_model(tmp_path: Path, quantized: QuantizedModel, content: str) -> None:
    path = craft(tmp_path / "m", quantized, text=lambda _: content)
    assert refused(path) != DAMAGED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tensor("std", lambda a: 0 * a), "std holds 0.0; accepted are positive numbers"),
        (tensor("mean", with_nan), "mean holds nan at (1,); every value must be finite"),
        (tensor("layers.0.W.i", with_nan), "W of i holds nan at (0, 1); every value must be finite"),
        (tensor("layers.0.R.i", lambda a: a[:, :1].copy()), "R of i has shape (3, 1), and must have (3, 3)"),
        (tensor("layers.0.W.i", lambda a: a.reshape(-1)), "W of a lstm layer is no matrix"),
        (tensor("layers.0.b.i", lambda a: a.astype(np.float32)), "layers.0.b.i: Value error, tensor 'layers.0.b.i' is"),
        (set_at("layers", 0, "modes", "i", to="medium"), "layers.0.modes.i: "),
        (set_at("layers", 0, "modes", "i", to=...), "the gates of a lstm layer are f, o; they must be f, i, o"),
        (set_at("clip", to=-1.0), "clip is -1.0; accepted are positive numbers"),
        (set_at("pooling", to="sum"), "pooling: "),
        (set_at("layers", 0, "squash", to="soft"), "layers.0.squash: "),
        (set_at("layers", 0, "rb", to={"g": "layers.0.b.g"}), "rb of a lstm layer are g; they must be none"),
        (set_at("layers", 0, "P", to="layers.0.W.i"), "a lstm layer has no projection; lstmp has one"),
        (set_at("layers", 0, "P", to="nothing"), "layers.0.P: Value error, there is no tensor 'nothing' in the file"),
    ],
)
def test_an_inconsistent_float_model(
    tmp_path: Path, floating: FloatModel, change: Callable[[dict[str, Any], Tensors], None], message: str
) -> None:
    assert refused(craft(tmp_path / "m", floating, change, kind="float"), load_float).startswith(message)


def container(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


HUGE = {"a": {"dtype": "F64", "shape": [2**32], "data_offsets": [0, 2**35]}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 1000,
        b"PK\x03\x04" + b"\0" * 100,
        b"\x80\x04cos\nsystem\n(S'id'\ntR.",
        container(b"{}", 2**63),
        container(b"{}", 2**40),
        container(b"{}", 99_000_000),
        container(json.dumps(HUGE).encode()),
        container(json.dumps(HUGE).encode(), data=b"\0" * 64),
        container(b'{"a":' * 50_000),
        container(b"[" * 50_000),
        container(b'{"a":{"dtype":"F64","shape":[18446744073709551615,2],"data_offsets":[0,0]}}'),
        container(b'{"a":{"dtype":"F64","shape":[-1],"data_offsets":[0,0]}}'),
        container(b'{"__metadata__":{"format":1}}'),
        container(b'{"__metadata__":null}'),
        container(b"{}"),
        container(b"\xff\xfe"),
        container(b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}', data=b"\0\0"),
        container(b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', data=b"\0"),
        container(b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', data=b"\0"),
        container(b'{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}', data=b"\0" * 8),
    ],
)
@pytest.mark.parametrize("reader", [load, load_float])
def test_a_container_that_lies(tmp_path: Path, data: bytes, reader: Callable[[Path], Any]) -> None:
    path = tmp_path / "m.elstm"
    path.write_bytes(data)
    refused(path, reader)


def test_a_place_that_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing") == f"can't read {tmp_path / 'missing'}: No such file or directory"
    for path in (tmp_path, Path("/dev/null"), Path("/dev/zero")):
        assert refused(path) == f"can't read {path}: it is a folder, a device or a pipe, and should be a file"
    os.mkfifo(tmp_path / "pipe")
    code = (
        "import sys\nfrom edge_lstm.storage import load\n"
        "try:\n    load(sys.argv[1])\nexcept Exception as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pipe")], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "EdgeLstmError\n"


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse
    assert refused(path) == f"{path} has {MAX_FILE_BYTES + 1} bytes; accepted are at most {MAX_FILE_BYTES}"


def test_an_interrupted_save_leaves_the_old_model(tmp_path: Path, quantized: QuantizedModel) -> None:
    path = tmp_path / "m.elstm"
    quantized.save(path)
    code = (
        "import os, signal, sys\n"
        "from edge_lstm.storage import load\n"
        "import dataclasses\n"
        "model = load(sys.argv[1])\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "dataclasses.replace(model, provenance={'new': 'yes'}).save(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert digest(load(path)) == digest(quantized)
