"""A state is saved and restored by the generated C in the same bytes as by Python's stream (rule R9)."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import c99
from edge_lstm.firmware_sim.toolchain import compile_host
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import Stream

Make = Callable[..., QuantizedModel]
SHAPE: dict[str, Any] = {"hidden": 5, "inputs": 2, "layers": 2, "pooling": "mean"}

# Commands on standard input, one letter each, with their bytes; answers on standard output. That of 'r' is + or the
# first letter of the error: model, checksum, range.
MAIN = """
#include <stdio.h>
#include "m.h"

int main(void)
{
    static m_state state;
    static m_scratch scratch;
    static m_output output;
    static int8_t x[M_CHANNELS];
    static uint8_t bytes[M_SAVED_BYTES];
    int command;
    m_reset(&state);
    while ((command = getchar()) != EOF) {
        if (command == 'z') {
            m_reset(&state);
        } else if (command == 'x') {
            if (fread(x, sizeof x, 1, stdin) != 1) return 2;
            m_step(&state, &scratch, x);
        } else if (command == 'y') {
            m_result(&state, &scratch, &output);
            if (fwrite(output.scores, sizeof output.scores, 1, stdout) != 1) return 3;
        } else if (command == 's') {
            m_save(&state, bytes);
            if (fwrite(bytes, sizeof bytes, 1, stdout) != 1) return 3;
        } else if (command == 'r') {
            if (fread(bytes, sizeof bytes, 1, stdin) != 1) return 2;
            putchar("+?mcr"[-m_restore(&state, bytes)]);
        } else {
            return 4;
        }
    }
    return 0;
}
"""


class Device:
    """The compiled model: ``run`` gives all that it answers to commands."""

    def __init__(self, model: QuantizedModel, folder: Path) -> None:
        texts = {**c99.sources(model), "main.c": MAIN}
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        self._program = compile_host([folder / "m.c", folder / "main.c"], folder / "m", sanitize=True)

    def run(self, *commands: bytes) -> bytes:
        feed = b"".join(commands)
        return subprocess.run([self._program], input=feed, capture_output=True, timeout=60, check=True).stdout


def steps(window: np.ndarray) -> bytes:
    return b"".join(b"x" + sample.astype(np.int8).tobytes() for sample in window)


def checked(content: bytes) -> bytes:
    """With its checksum."""
    return content + zlib.crc32(content).to_bytes(4, "little")


def flipped(blob: bytes, at: int, bit: int) -> bytes:
    """With one bit changed."""
    return blob[:at] + bytes([blob[at] ^ 1 << bit]) + blob[at + 1 :]


def scores(stream: Stream, window: np.ndarray) -> bytes:
    for sample in window:
        result = stream.step_raw(sample)
    return result["scores"].astype("<i4").tobytes()


@pytest.fixture(scope="module", params=["short", "long"])
def model(request: pytest.FixtureRequest, make_quantized: Make) -> QuantizedModel:
    """The sum over a short window has 16 bits, that over a long one 32."""
    return make_quantized("f=hard", seed=6, steps={"short": 6, "long": 400}[request.param], **SHAPE)


@pytest.fixture(scope="module")
def device(model: QuantizedModel, tmp_path_factory: pytest.TempPathFactory) -> Device:
    return Device(model, tmp_path_factory.mktemp("device"))


@pytest.fixture(scope="module")
def window(model: QuantizedModel, make_windows: Any) -> np.ndarray:
    return np.concatenate(make_windows(model, 3))


def test_both_save_the_same_bytes_at_every_step(model: QuantizedModel, device: Device, window: np.ndarray) -> None:
    stream = Stream(model)
    saved = [stream.save()]
    for sample in window:
        stream.step_raw(sample)
        saved.append(stream.save())
    assert device.run(b"s", *(steps(sample[None]) + b"s" for sample in window)) == b"".join(saved)
    assert len({len(blob) for blob in saved}) == 1


@pytest.mark.parametrize("stop", [0, 1, 10])
def test_a_state_of_python_goes_on_in_c(model: QuantizedModel, device: Device, window: np.ndarray, stop: int) -> None:
    stream = Stream(model)
    for sample in window[:stop]:
        stream.step_raw(sample)
    saved = stream.save()
    answer = device.run(steps(window[::-1]), b"r" + saved, b"s", steps(window[stop:]), b"y")
    assert answer == b"+" + saved + scores(stream, window[stop:])


def test_a_state_of_c_goes_on_in_python(model: QuantizedModel, device: Device, window: np.ndarray) -> None:
    stream = Stream(model)
    stream.restore(device.run(steps(window[:9]), b"s"))
    assert scores(stream, window[9:]) == device.run(steps(window), b"y")


def test_reset_in_c_begins_again(model: QuantizedModel, device: Device, window: np.ndarray) -> None:
    assert device.run(steps(window), b"z", b"s") == Stream(model).save()


def test_both_refuse_the_same_bytes_and_keep_their_state(
    model: QuantizedModel, device: Device, window: np.ndarray, make_quantized: Make
) -> None:
    stream = Stream(model)
    for sample in window:
        stream.step_raw(sample)
    good = stream.save()
    other = Stream(make_quantized("f=hard", seed=7, steps=model.signature.steps, **SHAPE)).save()
    content = good[:-4]
    last = next(p for p in reversed(stream._lowered.states))
    width = last.bits // 8
    beyond = [v.to_bytes(width, "little", signed=True) for v in (last.hi + 1, last.lo - 1, -(2 ** (8 * width - 1)))]
    foreign = [other, checked(b"ELS1" + content[4:]), checked(b"ELS3" + content[4:])]
    foreign += [
        checked(flipped(content, at, bit)) for at, bit in ((0, 0), (4, 0), (11, 7))
    ]  # magic, both ends of the tag
    # The first and the last unit of lstm0.h are -128.
    outside = [checked(content[:at] + b"\x80" + content[at + 1 :]) for at in (12, 16)]
    outside += [checked(content[:-width] + value) for value in beyond]
    changed = [flipped(good, at, at % 8) for at in range(12, len(good))]  # a bit of every byte after the tag
    refused = [(b"m", foreign), (b"c", changed), (b"r", outside)]
    for blob in [blob for _, blobs in refused for blob in blobs]:
        with pytest.raises(EdgeLstmError):
            stream.restore(blob)
        assert stream.save() == good
    for code, blobs in refused:
        assert device.run(steps(window), *(b"r" + blob + b"s" for blob in blobs)) == (code + good) * len(blobs)


def test_both_accept_the_ends_of_every_range(model: QuantizedModel, device: Device) -> None:
    stream = Stream(model)
    header = stream.save()[:12]
    for end in ("lo", "hi"):
        ports = stream._lowered.states
        values = [getattr(p, end).to_bytes(p.bits // 8, "little", signed=True) * p.length for p in ports]
        blob = checked(header + b"".join(values))
        stream.restore(blob)
        window = np.full((4, 2), 127)
        assert stream.save() == blob
        assert device.run(b"r" + blob, b"s", steps(window), b"y") == b"+" + blob + scores(stream, window)


@pytest.mark.parametrize("name", ["initial", "beside", "variable mean"])
def test_a_state_of_a_form_goes_both_ways(name: str, make_quantized_form: Make, tmp_path: Path) -> None:
    """Also where it does not begin with zero, or counts steps."""
    model = make_quantized_form(name)
    device, stream = Device(model, tmp_path), Stream(model)
    window = np.random.default_rng(0).integers(-127, 128, (7, 3))
    assert stream.save()[12:-4].strip(b"\0") or name != "initial"
    saved = [stream.save()]
    for sample in window[:4]:
        stream.step_raw(sample)
        saved.append(stream.save())
    assert device.run(b"s", *(steps(sample[None]) + b"s" for sample in window[:4]), b"zs") == b"".join(saved) + saved[0]
    answer = device.run(b"r" + saved[-1], steps(window[4:]), b"y", b"z", steps(window), b"y")
    assert answer == b"+" + 2 * scores(stream, window[4:])
