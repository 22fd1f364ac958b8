"""A training as event files that TensorBoard reads."""

from __future__ import annotations

from pathlib import Path

from edge_lstm.epoch import Epoch
from edge_lstm.errors import require

FLUSH_S = 1
"""What a killed training may lose [s]."""


class Log:
    """Writes each epoch as it ends: losses, learning rate, validation metrics, phases and open rates.

    A run that is resumed goes on in a further file of the same folder, which TensorBoard shows as one.

    Args:
        folder: Where; made if it is missing.

    Raises:
        MissingExtraError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        tensorboard = require("tensorboardX", extra="tensorboard", purpose="to write a log for TensorBoard")
        self._writer = tensorboard.SummaryWriter(logdir=str(folder), flush_secs=FLUSH_S)
        self._phase = ""

    def __call__(self, epoch: Epoch) -> None:
        """Write an epoch; what was not measured is left out."""
        values = {
            "loss/training": epoch.loss,
            "loss/validation": epoch.validation_loss,
            "validation/accuracy": epoch.accuracy,
            "validation/macro_f1": epoch.macro_f1,
            "validation/r2": epoch.r2,
            "learning_rate": epoch.learning_rate,
            **{f"open_rate/{name}": rate for name, rate in epoch.open_rates.items()},
        }
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, epoch.number)
        if epoch.phase != self._phase:
            self._writer.add_text("phase", epoch.phase, epoch.number)
            self._phase = epoch.phase

    def close(self) -> None:
        """End the file."""
        self._writer.close()
