"""What goes into a model and what comes out: names, units, lengths, and the check of samples."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError

Task = Literal["classify", "regress"]
MAX_WIDTH = 4096
"""Largest number of channels, hidden units or classes: bounds what a hostile file can make us compute."""
MAX_NAME = 64
"""Longest name of a channel, a unit or a class."""
MAX_STEPS = 65536
"""Longest window in time steps."""


@dataclass(frozen=True)
class Signature:
    """What goes in and what comes out.

    Args:
        name: A C identifier; prefixes the generated code.
        channels: Name of each input channel.
        units: Unit of each channel, "" where unknown.
        rate_hz: Sampling rate [Hz]; None where unknown.
        steps: Length of a window in time steps.
        classes: Name of each class; of a regression, of each output.
        task: ``classify``: scores are logits, and the largest gives the class; ``regress``: scores are the outputs.
        variable: A window may have fewer than ``steps`` steps.
        probabilities: A classifier also gives softmax of its scores.
    """

    name: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float | None
    steps: int
    classes: tuple[str, ...]
    task: Task = "classify"
    variable: bool = False
    probabilities: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", self.name):
            raise EdgeLstmError(
                f"model name {self.name!r}: accepted are up to 48 lower-case letters, digits and _, first a letter"
            )
        if not 1 <= len(self.channels) <= MAX_WIDTH or len(self.units) != len(self.channels):
            raise EdgeLstmError(
                f"{len(self.channels)} channels with {len(self.units)} units; "
                f"accepted are 1 to {MAX_WIDTH}, one unit each"
            )
        if self.task not in ("classify", "regress"):
            raise EdgeLstmError(f"task is {self.task!r}; accepted are classify, regress")
        if self.probabilities and self.task != "classify":
            raise EdgeLstmError("probabilities are asked of a regression; only a classifier has them")
        least, what = (2, "classes") if self.task == "classify" else (1, "outputs")
        if not least <= len(self.classes) <= MAX_WIDTH:
            raise EdgeLstmError(f"{len(self.classes)} {what}; accepted are {least} to {MAX_WIDTH}")
        for what, names in (("channel", self.channels), ("unit", self.units), ("class", self.classes)):
            for name in names:
                if not name.isprintable() or len(name) > MAX_NAME or not (name or what == "unit"):
                    raise EdgeLstmError(
                        f"{what} name {name[:MAX_NAME]!r}: accepted are 1 to {MAX_NAME} printable characters"
                    )
        if not 1 <= self.steps <= MAX_STEPS:
            raise EdgeLstmError(f"a window of {self.steps} steps; accepted are 1 to {MAX_STEPS}")
        if self.rate_hz is not None and not 0 < self.rate_hz < float("inf"):
            raise EdgeLstmError(f"a sampling rate of {self.rate_hz} Hz; accepted are positive numbers")
        if self.rate_hz is not None:
            object.__setattr__(self, "rate_hz", float(self.rate_hz))  # an equal model has an equal digest


def checked_samples(x: Any, signature: Signature) -> NDArray[np.float64]:
    """Samples as float64, last axis one per channel.

    Raises:
        EdgeLstmError: Wrong number of channels, or a sample that is not finite, with its position.
    """
    real = np.asarray(x)
    if real.dtype.kind not in "fiu":
        raise EdgeLstmError(f"samples are {real.dtype}; accepted are real numbers")
    channels = len(signature.channels)
    if real.ndim < 1 or real.shape[-1] != channels:
        raise EdgeLstmError(
            f"samples have shape {real.shape}; {signature.name} takes {channels} channels last "
            f"({', '.join(signature.channels)})"
        )
    real = real.astype(np.float64)
    if not np.isfinite(real).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(real))[0])
        raise EdgeLstmError(
            f"sample {where} is {real[where]} (channel {signature.channels[where[-1]]}); every sample must be finite"
        )
    return real
