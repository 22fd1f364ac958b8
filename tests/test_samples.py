"""Samples from files and data sets: read whole, or refused in one line that says what is accepted."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.data import load, train_test
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import QuantizedModel
from edge_lstm.npz import write_arrays
from edge_lstm.samples import example_samples, read_samples
from edge_lstm.signature import Signature

TOY = Signature("toy", ("acc_x", "acc_y"), ("g", "g"), 50.0, 4, ("still", "moving"))
GOOD = np.random.default_rng(0).normal(0, 1, (3, 4, 2))


def refusal(source: Path | str, signature: Signature = TOY) -> str:
    with pytest.raises(EdgeLstmError) as error:
        read_samples(str(source), signature)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{source}")
    return text.removeprefix(f"{source}").removeprefix(": ")


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16"])
def test_x_is_read_as_it_is(tmp_path: Path, dtype: str) -> None:
    x = (100 * GOOD).astype(dtype)
    np.savez(tmp_path / "x.npz", x=x, y=np.zeros(3))
    found = read_samples(str(tmp_path / "x.npz"), TOY).x
    assert found.dtype == np.float64
    assert found.tolist() == x.astype(np.float64).tolist()


def test_what_is_written_is_read_and_numpy_reads_it_too(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz", x=GOOD, y=np.arange(3))
    assert np.array_equal(read_samples(str(tmp_path / "x.npz"), TOY).x, GOOD)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert arrays.files == ["x", "y"]
    before = (tmp_path / "x.npz").read_bytes()
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_arrays(tmp_path / "x.npz", x=np.array([None]))
    assert (tmp_path / "x.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_a_data_set_gives_its_test_or_its_training_windows() -> None:
    train, test = train_test(load("basic-motions"))
    signature = Signature("m", train.channels, train.units, 10.0, 100, train.classes)
    assert np.array_equal(read_samples("basic-motions", signature).x, test.x)
    assert np.array_equal(read_samples("basic-motions", signature, part="train").x, train.x)
    assert not np.array_equal(train.x, test.x)
    assert refusal("basic-motions") == "samples have shape (40, 100, 6); toy takes 2 channels last (acc_x, acc_y)"


def test_a_missing_file_or_an_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    known = (
        "no such file, and no data set of that name (basic-motions, ecg, fsdd, fsdd-official, hapt, hapt-2, uci-har)"
    )
    assert refusal(tmp_path / "x.npz") == known
    assert refusal("basicmotions") == known


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, " holds nothing; an array x (windows, steps, channels) is needed"),
        ({"y": GOOD, "X": GOOD}, " holds y, X; an array x (windows, steps, channels) is needed"),
        ({"x": GOOD[0]}, "x has shape (4, 2); accepted is (windows, steps, channels)"),
        ({"x": np.zeros(())}, "x has shape (); accepted is (windows, steps, channels)"),
        ({"x": np.zeros((0, 4, 2))}, "x has shape (0, 4, 2); accepted is (windows, steps, channels)"),
        ({"x": np.zeros((3, 0, 2))}, "x has shape (3, 0, 2); accepted is (windows, steps, channels)"),
        ({"x": np.zeros((3, 4, 0))}, "x has shape (3, 4, 0); accepted is (windows, steps, channels)"),
        ({"x": GOOD[..., :1]}, "samples have shape (3, 4, 1); toy takes 2 channels last (acc_x, acc_y)"),
        ({"x": GOOD.swapaxes(1, 2)}, "samples have shape (3, 2, 4); toy takes 2 channels last (acc_x, acc_y)"),
        ({"x": GOOD.astype(str)}, "samples are <U32; accepted are real numbers"),
        ({"x": GOOD > 0}, "samples are bool; accepted are real numbers"),
        ({"x": GOOD.astype(complex)}, "samples are complex128; accepted are real numbers"),
        ({"x": GOOD.astype("datetime64[s]")}, "samples are datetime64[s]; accepted are real numbers"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    assert refusal(tmp_path / "x.npz") == message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_named_by_its_place(tmp_path: Path, value: float) -> None:
    x = GOOD.astype(np.float32)
    x[1, 2, 1] = value
    np.savez(tmp_path / "x.npz", x=x)
    found = refusal(tmp_path / "x.npz")
    assert found == f"sample (1, 2, 1) is {value} (channel acc_y); every sample must be finite"


UNREADABLE = "can't be read as an .npz file of plain arrays: "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", UNREADABLE + "File is not a zip file"),
        (b"x,y\n1,2\n", UNREADABLE + "File is not a zip file"),
        (pickle.dumps({"x": [1.0]}), UNREADABLE + "File is not a zip file"),
        (b"PK\x03\x04" + b"\0" * 50, UNREADABLE + "File is not a zip file"),
        (npy(GOOD), "is a single array (.npy), needed an .npz file"),
    ],
)
def test_files_that_are_no_npz(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    assert refusal(tmp_path / "x.npz") == message


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError) as error:
        read_samples(str(tmp_path), TOY)
    assert str(error.value) == f"can't read {tmp_path}: Is a directory"


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    array = np.empty(1, object)
    array[0] = Bomb()
    path = archive(tmp_path / "x.npz", x=npy(array))
    assert refusal(path) == UNREADABLE + "Object arrays cannot be loaded when allow_pickle=False"
    assert not (tmp_path / "ran").exists()


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    assert refusal(archive(tmp_path / "a.npz", x=b"not an array")) == "member x is not an array"
    assert refusal(archive(tmp_path / "b.npz", x=b"\x93NUMPY\x01\x00")).startswith(UNREADABLE)
    assert refusal(archive(tmp_path / "c.npz", x=npy(GOOD)[:-8])).startswith(UNREADABLE)


def claim(shape: tuple[int, ...]) -> bytes:
    """An array file whose header says so, with no data."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize("shape", [(2**40,), (2**31, 2**31), (2**62, 4, 2), (-1, 4, 2), (10**30,)])
def test_a_small_file_that_claims_much_costs_nothing(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = archive(tmp_path / "x.npz", x=claim(shape))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(path).startswith(UNREADABLE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024  # KiB


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    content = bytearray(archive(tmp_path / "x.npz", x=npy(GOOD)).read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)  # the size once unpacked
    (tmp_path / "x.npz").write_bytes(content)
    assert refusal(tmp_path / "x.npz") == " unpacks to 4294967294 bytes; accepted are at most 2147483648"


def test_damage_anywhere_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=GOOD)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for cut in range(0, len(whole), len(whole) // 10):
        path.write_bytes(whole[:cut])
        assert refusal(path).startswith(UNREADABLE)
    for place in rng.integers(0, len(whole), 200).tolist():
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = read_samples(str(path), TOY).x
        except EdgeLstmError:
            refused += 1
        else:
            assert np.array_equal(found, GOOD)
    assert refused > 100


def test_nothing_is_said_on_the_side(tmp_path: Path) -> None:
    """A header in an old or odd form makes NumPy warn; people are told by an error or not at all."""
    old = claim((3, 4, 2)).replace(b"(3, 4, 2)", b"(3L, 4, 2)")
    length = struct.pack("<H", len(old) - 10)
    path = archive(tmp_path / "x.npz", x=old[:8] + length + old[10:] + GOOD.tobytes())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert np.array_equal(read_samples(str(path), TOY).x, GOOD)
    assert said == []


def test_made_up_samples_are_reproducible_and_use_the_input_range(
    make_quantized: Callable[..., QuantizedModel],
) -> None:
    model = make_quantized(steps=200)
    x = example_samples(model, 4, seed=3)
    assert x.shape == (4, 200, 3)
    assert np.array_equal(x, example_samples(model, 4, seed=3))
    assert not np.array_equal(x, example_samples(model, 4, seed=4))
    integers = model.quantize_input(x)
    assert integers.min() < -100
    assert integers.max() > 100
