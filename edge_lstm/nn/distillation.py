"""Training on what another model says.

    T^2 KL(softmax(t / T) || softmax(s / T))

with s the network's scores, t the teacher's for the same augmented samples and T the temperature, which shows how the
teacher ranks the classes that it does not choose: G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural
network", 2015, arXiv:1503.02531. T^2 keeps the gradient's size. Of regressions and decoders there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export.onnx_float import build
from edge_lstm.model import FloatModel
from edge_lstm.oracle import Session
from edge_lstm.signature import Signature


class Distillation:
    """The term of a teacher.

    Args:
        teacher: A classifier with the network's channels and classes.
        signature: Of the network.
        each: The network gives scores for each step.
        temperature: T, above 0.

    Raises:
        EdgeLstmError: The teacher can't say what the network learns.
    """

    def __init__(self, teacher: FloatModel, signature: Signature, *, each: bool, temperature: float) -> None:
        its, name = teacher.signature, teacher.signature.name
        if its.task != "classify" or signature.task != "classify":
            raise EdgeLstmError(f"the teacher {name}: accepted are classifiers, of which classifiers learn")
        for what in ("channels", "classes", "steps"):
            found, wanted = getattr(its, what), getattr(signature, what)
            if found != wanted:
                raise EdgeLstmError(f"the teacher {name} has {what} {_shown(found)}; accepted are {_shown(wanted)}")
        if (teacher.pooling == "each") != each or teacher.decoder is not None:
            raise EdgeLstmError(f"the teacher {name} gives scores for other steps than the network that learns")
        self._said, self._temperature = Session(build(teacher).SerializeToString()), temperature

    def __call__(
        self, scores: Tensor, x: NDArray[np.float64], lengths: NDArray[np.int64] | None, counted: NDArray[np.bool_]
    ) -> Tensor:
        """The mean over windows and steps.

        Args:
            scores: (windows, classes) or (windows, steps, classes) of the network.
            x: (windows, steps, channels) in the channels' units, as the network was given them.
            lengths: (windows,) steps of each window, of a model for windows of several lengths.
            counted: (windows,) or (windows, steps) which of the scores count.
        """
        said = torch.from_numpy(self._said(x, lengths=lengths)["scores"])
        of = torch.from_numpy(counted)
        found, wanted = (functional.log_softmax(v[of] / self._temperature, dim=-1) for v in (scores, said))
        loss = functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
        return loss * self._temperature**2


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
