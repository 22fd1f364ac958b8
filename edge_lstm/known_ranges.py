"""Ranges that the file of a model says, which was quantized before; they take the place of those of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edge_lstm.calibrate import Calibration
from edge_lstm.ranges import exactly

Kind = Literal["input", "h", "relu", "node"]


@dataclass(frozen=True)
class KnownRange:
    """Of a value of a ``FloatModel``.

    Attributes:
        kind: The model's input, h of a recurrent layer, or the output of a dense layer with relu; or any node of a
            graph.
        index: Of the layer, or of the node; 0 of the input.
        value: Name of the value in the model, such as ``input``, ``rnn_relu0.h`` or ``relu0``.
        name: Of the value in the file.
        largest: Largest absolute value that it was quantized for.
    """

    kind: Kind
    index: int
    value: str
    name: str
    largest: float

    def __str__(self) -> str:
        return f"range of {self.value}: {self.largest:.6g}, of {self.name} in the file"


def with_known(calibration: Calibration, known: Sequence[KnownRange]) -> Calibration:
    """The ranges of a file where it says them, else those of the recordings."""
    input_max = calibration.input_max
    hidden_max, relu_max = list(calibration.hidden_max), list(calibration.relu_max)
    for of in known:
        if of.kind == "input":
            input_max = np.full_like(input_max, of.largest)
        else:
            (hidden_max if of.kind == "h" else relu_max)[of.index] = exactly(of.largest)
    return replace(calibration, input_max=input_max, hidden_max=tuple(hidden_max), relu_max=tuple(relu_max))
