"""The NumPy runtime's stream: explicit state, saved and restored (rule R9)."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import Stream, execute, real_outputs

Make = Callable[..., QuantizedModel]
OPTIONS: dict[str, Any] = {"hidden": 5, "inputs": 2, "layers": 2, "pooling": "mean", "steps": 6}
HEADER = 12  # bytes of magic and tag


@pytest.fixture(scope="module")
def model(make_quantized: Make) -> QuantizedModel:
    return make_quantized("i=hard,o=hard", seed=4, **OPTIONS)


@pytest.fixture(scope="module")
def window(model: QuantizedModel, make_windows: Any) -> np.ndarray:
    return np.concatenate(make_windows(model, 3))  # extremes, one after the other


def outputs(stream: Stream, window: np.ndarray) -> list[dict[str, list[int]]]:
    return [{k: v.tolist() for k, v in stream.step_raw(x).items()} for x in window]


def test_single_steps_of_a_stream_are_one_run(model: QuantizedModel, window: np.ndarray) -> None:
    stream, trace = Stream(model), execute(model, window[None], trace="states").trace
    for number, found in enumerate(outputs(stream, window)):
        assert found == {name: trace[name][0, number].tolist() for name in ("scores", "class_index")}
    assert {k: v.tolist() for k, v in stream.state.items()} == {k: trace[k][0, -1].tolist() for k in stream.state}


def test_reset_begins_again(model: QuantizedModel, window: np.ndarray) -> None:
    stream = Stream(model)
    first = outputs(stream, window)
    assert outputs(stream, window) != first
    stream.reset()
    assert outputs(stream, window) == first


def test_save_and_restore_is_not_stopping(model: QuantizedModel, window: np.ndarray) -> None:
    whole = outputs(Stream(model), window)
    for stop in range(len(window)):
        before, after = Stream(model), Stream(model)
        outputs(before, window[:stop])
        outputs(after, window[::-1])  # what it has seen is forgotten
        after.restore(before.save())
        assert outputs(after, window[stop:]) == whole[stop:]
        assert outputs(before, window[stop:]) == whole[stop:]  # saving changed nothing


def test_a_saved_state_is_magic_digest_each_state_little_endian_and_a_checksum(
    model: QuantizedModel, window: np.ndarray
) -> None:
    stream = Stream(model)
    outputs(stream, window)
    state = stream.state
    assert list(state) == ["lstm0.h", "lstm0.c", "lstm1.h", "lstm1.c", "pool.p"]
    wanted = b"ELS2" + bytes.fromhex(digest(model))[:8]
    for name, bits in (("lstm0.h", 8), ("lstm0.c", 16), ("lstm1.h", 8), ("lstm1.c", 16), ("pool.p", 16)):
        wanted += b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in state[name])
    assert stream.save() == wanted + zlib.crc32(wanted).to_bytes(4, "little")


def checked(content: bytes) -> bytes:
    """With its checksum."""
    return content + zlib.crc32(content).to_bytes(4, "little")


def test_bytes_that_are_no_state_of_this_model_are_refused_and_change_nothing(
    model: QuantizedModel, window: np.ndarray, make_quantized: Make
) -> None:
    stream, other = Stream(model), Stream(make_quantized("i=hard,o=hard", seed=5, **OPTIONS))
    outputs(stream, window)
    good = stream.save()
    wrong_h = checked(good[:HEADER] + b"\x80" + good[HEADER + 1 : -4])
    wrong_p = checked(good[:-6] + (127 * 6 + 1).to_bytes(2, "little"))
    corrupted = good[:20] + bytes([good[20] ^ 1]) + good[21:]
    for bad, message in (
        (other.save(), "these bytes are a state of another model or version ("),
        (b"ELS1" + good[4:], "these bytes are a state of another model or version (454c5331"),
        (checked(b"ELS3" + good[4:-4]), "these bytes are a state of another model or version (454c5333"),
        (good[:-1], "a saved state of m has 56 bytes, not 55"),
        (good + b"\0", "a saved state of m has 56 bytes, not 57"),
        (b"", "a saved state of m has 56 bytes, not 0"),
        (corrupted, f"these bytes were changed since they were saved (checksum {good[-4:].hex()}, not "),
        (good[:-4] + b"\0" * 4, "these bytes were changed since they were saved (checksum 00000000, not "),
        (wrong_h, "state lstm0.h holds values from -128 to "),
        (wrong_p, "state pool.p holds values from "),
    ):
        with pytest.raises(EdgeLstmError) as error:
            stream.restore(bad)
        assert str(error.value).startswith(message)
        assert stream.save() == good


def test_the_state_given_out_is_a_copy(model: QuantizedModel, window: np.ndarray) -> None:
    stream = Stream(model)
    outputs(stream, window)
    saved = stream.save()
    for value in stream.state.values():
        value[:] = 0
    assert stream.save() == saved


def test_a_step_takes_samples_in_the_channels_units(model: QuantizedModel) -> None:
    samples = np.random.default_rng(0).normal(model.input_offset, 30 * model.input_scale, (6, 2))
    stream = Stream(model)
    for sample in samples:
        result = stream.step(sample)
    wanted = real_outputs(model, execute(model, model.quantize_input(samples)[None]).outputs)
    assert result["scores"].tolist() == wanted["scores"][0].tolist()
    assert result["class_index"] == wanted["class_index"][0]


def test_samples_become_integers_by_offset_and_scale_rounded_and_saturated(model: QuantizedModel) -> None:
    units = np.array([[0, 0], [1, -1], [126.4, -126.4], [127, -127], [500, -1e9]])
    integers = model.quantize_input(model.input_offset + units * model.input_scale)
    assert integers.tolist() == [[0, 0], [1, -1], [126, -126], [127, -127], [127, -127]]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([1.0], "samples have shape (1,); m takes 2 channels last (channel0, channel1)"),
        ([0.0, float("nan")], "sample (1,) is nan (channel channel1); every sample must be finite"),
        ([float("inf"), 0.0], "sample (0,) is inf (channel channel0); every sample must be finite"),
        (["a", "b"], "samples are <U1; accepted are real numbers"),
    ],
)
def test_a_bad_sample_is_refused_and_changes_nothing(model: QuantizedModel, sample: list[Any], message: str) -> None:
    stream = Stream(model)
    stream.step_raw(np.array([5, 5]))
    saved = stream.save()
    with pytest.raises(EdgeLstmError) as error:
        stream.step(sample)
    assert str(error.value) == message
    assert stream.save() == saved


def test_the_runtime_imports_numpy_alone() -> None:
    code = (
        "import sys, edge_lstm.runtime\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(roots & {'torch', 'onnx', 'onnxruntime', 'pydantic', 'jinja2', 'ziglang', 'unicorn', 'click', "
        "'rich', 'safetensors', 'matplotlib', 'scipy', 'aeon'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
