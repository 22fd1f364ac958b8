"""Event files, read back as TensorBoard reads them."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.epoch import Epoch
from edge_lstm.tensorboard_log import Log

crc = pytest.importorskip("tensorboardX.crc32c")


def events(path: Path) -> Iterator[Any]:
    """Records: length, its masked checksum, an event, its masked checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data = path.read_bytes()
    while data:
        length, of_length = struct.unpack("<QI", data[:12])
        content, (of_content,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (masked(data[:8]), masked(content)) == (of_length, of_content)
        yield Event.FromString(content)
        data = data[16 + length :]


def masked(data: bytes) -> int:
    value = crc.crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        for event in events(path):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_what_is_written_is_read(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    first = Epoch(1, "annealed", 1.5, 0.25, None, 0.125, 2.0, 0.5, {"0.i": 0.75})
    log(first)
    for _ in range(200):  # it need not be closed
        if len(scalars(tmp_path / "log")) == 6:
            break
        time.sleep(0.05)
    assert len(scalars(tmp_path / "log")) == 6
    log(Epoch(2, "hard", 1.0, None, 0.5))
    log.close()
    log = Log(tmp_path / "log")  # of a run that was resumed
    log(Epoch(3, "hard", 0.5, 0.5))
    log.close()
    assert scalars(tmp_path / "log") == {
        "loss/training": {1: 1.5, 2: 1.0, 3: 0.5},
        "loss/validation": {1: 2.0},
        "validation/accuracy": {1: 0.25, 3: 0.5},
        "validation/macro_f1": {1: 0.125},
        "validation/r2": {2: 0.5},
        "learning_rate": {1: 0.5, 2: 0.0, 3: 0.0},
        "open_rate/0.i": {1: 0.75},
    }
    texts = [
        (event.step, value.tensor.string_val[0])
        for path in sorted((tmp_path / "log").iterdir())
        for event in events(path)
        for value in event.summary.value
        if value.tag.startswith("phase")
    ]
    assert texts == [(1, b"annealed"), (2, b"hard"), (3, b"hard")]
