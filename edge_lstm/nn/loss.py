"""What training makes small."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


class Loss:
    """Cross-entropy, or the mean squared error of standardized targets; the mean over windows and steps.

    Args:
        label_smoothing: Of the cross-entropy.
        std: (outputs,) of the targets of a regression; None: of a classifier.
        weights: (classes,) of the cross-entropy, whose mean is then weighted by those of the targets; None: all 1.
    """

    def __init__(
        self, label_smoothing: float, std: NDArray[np.float64] | None, weights: NDArray[np.float64] | None = None
    ) -> None:
        self._label_smoothing = label_smoothing
        self._std = None if std is None else torch.from_numpy(std.astype(np.float32))
        self._weights = None if weights is None else torch.from_numpy(weights.astype(np.float32))

    def __call__(self, scores: Tensor, y: NDArray[Any], counted: NDArray[np.bool_]) -> Tensor:
        """The loss.

        Args:
            scores: (windows, outputs) or (windows, steps, outputs).
            y: Classes (windows,) or (windows, steps); or targets of the shape of the scores.
            counted: (windows,) or (windows, steps) which of them count.
        """
        of = torch.from_numpy(counted)
        found, wanted = scores[of], torch.from_numpy(y)[of]
        if self._std is None:
            return functional.cross_entropy(found, wanted, weight=self._weights, label_smoothing=self._label_smoothing)
        return ((found - wanted.float()) / self._std).square().mean()
