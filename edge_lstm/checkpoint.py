"""Checkpoints: all that the rest of a training run depends on, in a file that may be hostile.

A safetensors container: arrays by name, and a JSON header with the rest, its format, version and SHA-256. The file is
replaced whole, so that a training killed at any moment leaves its last checkpoint or the one before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from edge_lstm.calibrate import Calibration
from edge_lstm.codec import Tensors, content_digest
from edge_lstm.container import read_container
from edge_lstm.epoch import Epoch
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import write_bytes
from edge_lstm.train_options import TrainOptions

FORMAT = "edge-lstm-checkpoint"
VERSION = "1"
MAX_BYTES = 2**34

Count = Annotated[int, Field(ge=0)]
Word = Annotated[int, Field(ge=0, lt=2**32)]
Amount = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Long = Annotated[int, Field(ge=0, lt=2**128)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Ranges(_Strict):
    """A ``Calibration``, as plain values."""

    input_max: list[Amount]
    cell_max: list[Amount]
    hidden_max: list[Amount]
    relu_max: list[Amount]
    score_max: Amount
    attention_max: float

    @classmethod
    def of(cls, calibration: Calibration) -> Ranges:
        """Its values."""
        return cls.model_validate(
            {
                name: list(map(float, value)) if isinstance(value, tuple | np.ndarray) else float(value)
                for name, value in vars(calibration).items()
            }
        )

    def calibration(self) -> Calibration:
        """As it was."""
        return Calibration(
            np.array(self.input_max, np.float64),
            tuple(self.cell_max),
            tuple(self.hidden_max),
            tuple(self.relu_max),
            self.score_max,
            self.attention_max,
        )


class RandomState(_Strict):
    """Of NumPy's generator PCG64."""

    state: Long
    inc: Long
    has_uint32: Annotated[int, Field(ge=0, le=1)]
    uinteger: Word

    @classmethod
    def of(cls, rng: np.random.Generator) -> RandomState:
        """The present state."""
        found: Any = rng.bit_generator.state
        return cls(**found["state"], has_uint32=found["has_uint32"], uinteger=found["uinteger"])

    def put(self, rng: np.random.Generator) -> None:
        """Make this the state."""
        rng.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": self.state, "inc": self.inc},
            "has_uint32": self.has_uint32,
            "uinteger": self.uinteger,
        }


class Best(_Strict):
    """The epoch whose weights would ship.

    Attributes:
        epoch: Its number.
        measure: Its ``Validated.measure``; None without validation.
    """

    epoch: Annotated[int, Field(ge=1)]
    measure: float | None


class Header(_Strict):
    """What is not an array.

    Attributes:
        options: The recipe.
        data: Digest of the data set.
        torch: Version of PyTorch.
        step: Steps done in the whole run.
        epochs: That are over.
        batches: Steps done in the epoch that is not.
        learning_rate, betas: Of the optimizer's next step.
        random: Of batches and augmentation.
        averaged: Steps whose weights are in the average.
        moving: Of ``open_gates.OpenGates``.
        calibration: None before the quantized phase.
        best: None where no epoch was of the last phase.
    """

    options: dict[str, JsonValue]
    data: str
    torch: str
    step: Count
    epochs: list[Epoch]
    batches: Count
    learning_rate: Amount
    betas: tuple[Decay, Decay]
    random: RandomState
    averaged: Count
    moving: dict[str, Amount]
    calibration: Ranges | None
    best: Best | None


def save(path: Path, header: Header, tensors: Tensors) -> None:
    """Write a checkpoint; it appears whole or not at all.

    Raises:
        EdgeLstmError: The file can't be written.
    """
    from safetensors.numpy import save as serialize

    content = header.model_dump_json()
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": content_digest(content, tensors),
        "content": content,
    }
    write_bytes(path, serialize(tensors, metadata=metadata))


def load(path: Path) -> tuple[Header, Tensors]:
    """Read a checkpoint.

    Raises:
        EdgeLstmError: The file can't be read, is truncated, altered, of another kind or version, or inconsistent.
    """
    if not path.is_file():
        raise EdgeLstmError(f"can't read {path}: there is no such file, or it is a folder, a device or a pipe")
    metadata, tensors = read_container(path, at_most=MAX_BYTES, kind="checkpoint")
    for key, wanted in (("format", FORMAT), ("version", VERSION)):
        if metadata.get(key) != wanted:
            raise EdgeLstmError(f"{path}: {key} is {metadata.get(key)!r}, and must be {wanted!r}")
    content = metadata.get("content", "")
    if content_digest(content, tensors) != metadata.get("sha256"):
        raise EdgeLstmError(f"{path}: the content does not match its SHA-256: the file was altered or damaged")
    try:
        header = Header.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(k) for k in first["loc"])
        raise EdgeLstmError(f"{path}: {where}: {' '.join(first['msg'].split())}") from None
    numbers = [epoch.number for epoch in header.epochs]
    if numbers != list(range(1, len(numbers) + 1)):
        raise EdgeLstmError(f"{path}: its epochs have the numbers {numbers}; accepted are 1, 2, 3 and so on")
    if header.best is not None and header.best.epoch > len(numbers):
        raise EdgeLstmError(f"{path}: epoch {header.best.epoch} is the best of {len(numbers)}")
    return header, tensors


def remove(path: Path) -> None:
    """Delete a checkpoint, and what a training that was killed while it wrote one left beside it.

    Raises:
        EdgeLstmError: It can't be deleted.
    """
    try:
        path.unlink(missing_ok=True)
        for name in (name for name in path.parent.iterdir() if name.name.startswith(f".{path.name}.")):
            name.unlink(missing_ok=True)
    except OSError as error:
        raise EdgeLstmError(f"can't delete {path}: {error.strerror or error}") from error


def check_same_run(path: Path, header: Header, options: TrainOptions, data: str, torch: str) -> None:
    """Refuse to go on with other options, other data or another version of PyTorch.

    Raises:
        EdgeLstmError: Names what differs.
    """
    rule = "a run goes on as it began"
    for name, value in options.to_json().items():
        if name not in header.options or header.options[name] != value:
            raise EdgeLstmError(f"{path}: {name} was {header.options.get(name)!r}, and is {value!r}; {rule}")
    unknown = sorted(header.options.keys() - options.to_json().keys())
    if unknown:
        raise EdgeLstmError(f"{path}: it has an option {unknown[0]!r} that this version of edge-lstm does not know")
    if header.data != data:
        raise EdgeLstmError(f"{path}: it is of other training windows; {rule}")
    if header.torch != torch:
        raise EdgeLstmError(f"{path}: PyTorch was {header.torch}, and is {torch}; {rule}")
