"""What every backend knows of a model, whatever its arithmetic consists of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.arrays import expect
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.heads import Softmax
from edge_lstm.signature import Signature, checked_samples

ACTIVATION_BITS = (8, 16)


class IntegerModel(ABC):
    """A model in integers; ``lower.lower`` gives its Programs.

    Attributes:
        signature: Inputs and classes.
        input_offset: (channels,) real value of the input integer 0, in the channel's unit.
        input_scale: (channels,) positive; real value of one input unit.
        input_bits: 8 or 16.
        score_scale: Real value of one unit of a score (a logit, or an output of a regression).
        softmax: Where the signature asks for probabilities.
        provenance: Free text by key.
    """

    signature: Signature
    input_offset: NDArray[np.float64]
    input_scale: NDArray[np.float64]
    input_bits: int
    score_scale: float
    softmax: Softmax | None
    provenance: Mapping[str, str]

    @property
    @abstractmethod
    def looks_ahead(self) -> bool:
        """Whether it needs a whole window before it gives anything; else samples can be taken one by one."""

    @property
    @abstractmethod
    def each(self) -> bool:
        """Whether there are outputs for each step of the window."""

    @property
    @abstractmethod
    def fixed_mean(self) -> bool:
        """Whether it takes a mean over windows that must have the signature's steps."""

    @property
    @abstractmethod
    def exact_windows(self) -> bool:
        """Whether it looks at whole windows, of exactly the signature's steps."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is, in a line."""

    @property
    def input_format(self) -> QFormat:
        """Input integers lie in this format's [min, max]; their real meaning is per channel."""
        return QFormat(self.input_bits, 0, symmetric=True)

    @property
    def input_type(self) -> np.dtype[Any]:
        """Type of an input integer in memory."""
        return np.dtype(f"int{self.input_bits}")

    def quantize_input(self, x: Any) -> NDArray[np.int32]:
        """Integers that the model computes with, from samples in the channels' units.

        Args:
            x: (..., channels), finite.

        Returns:
            int32 of the same shape, -127 to 127, or -32767 to 32767 where inputs have 16 bits.

        Raises:
            EdgeLstmError: Wrong number of channels, or a sample that is not finite.
        """
        real = checked_samples(x, self.signature)
        with np.errstate(over="ignore"):  # what is too large for a float64 saturates all the same
            return self.input_format.quantize((real - self.input_offset) / self.input_scale)

    def save(self, path: str | Path) -> None:
        """Write the model to an ``.elstm`` file; see ``storage.save``."""
        from edge_lstm.storage import save

        save(self, path)


def check_input(model: IntegerModel) -> None:
    """Raise unless inputs and scores of a model fit its signature.

    Raises:
        EdgeLstmError: Naming what does not fit.
    """
    channels = len(model.signature.channels)
    expect("input_offset", model.input_offset, (channels,))
    expect("input_scale", model.input_scale, (channels,))
    if not (model.input_scale > 0).all():
        raise EdgeLstmError(f"input_scale holds {model.input_scale.min()}; accepted are positive numbers")
    if not 0 < model.score_scale < float("inf"):
        raise EdgeLstmError(f"score_scale is {model.score_scale}; accepted are positive numbers")
    if model.input_bits not in ACTIVATION_BITS:
        raise EdgeLstmError(f"inputs have {model.input_bits} bits; accepted are 8, 16")
    if (model.softmax is not None) != model.signature.probabilities:
        raise EdgeLstmError("a model has a softmax exactly where its signature says that it gives probabilities")
    if model.softmax is not None:
        classes = len(model.signature.classes)
        expect("the multipliers of softmax", model.softmax.requantize.multiplier, (classes,), "int32")
