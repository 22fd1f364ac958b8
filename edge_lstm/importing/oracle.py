"""A stranger's float model on onnxruntime, as what integer scores are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.files import read_bytes
from edge_lstm.importing.load import ImportedModel
from edge_lstm.importing.reader import MAX_FILE_BYTES
from edge_lstm.importing.recognise import Final
from edge_lstm.importing.view import View


class Scores:
    """The scores of a file, on onnxruntime.

    Args:
        path: The file.
        model: What was imported from it.
        steps: Of a window.

    Attributes:
        final: What the file's output is; ``softmax`` is given as its logarithm, which is ``log-softmax``.

    Raises:
        UnsupportedError: It does not give scores of windows.
    """

    def __init__(self, path: str | Path, model: ImportedModel, steps: int) -> None:
        self._path, self._recognised = path, model.recognised(steps=steps)
        self.final: Final = self._recognised.final

    def __call__(self, x: Any) -> NDArray[np.float64]:
        """Scores of (windows, steps, channels), one window after the other."""
        runtime = require("onnxruntime", extra="onnx", purpose="to run the float ONNX model")
        imported, names = self._recognised.imported, (self._recognised.input, self._recognised.output)
        given, found = imported.inputs[names[0]], imported.outputs[names[1]]
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            content = read_bytes(self._path, at_most=MAX_FILE_BYTES)
            session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            of_file = [_laid_out(given, window[None]) for window in np.asarray(x, np.float32)]
            parts = [canonical_output(found, session.run([names[1]], {names[0]: window})[0]) for window in of_file]
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            raise EdgeLstmError(f"{self._path}: onnxruntime: {' '.join(str(error).split())[:300]}") from None
        scores = np.concatenate(parts)
        return np.log(np.maximum(scores, 1e-30)) if self.final == "softmax" else scores


def _laid_out(view: View, x: NDArray[Any]) -> NDArray[Any]:
    """Samples (windows, steps, channels) as the file wants them."""
    return view.render(x)


def canonical_output(view: View, array: NDArray[Any]) -> NDArray[np.float64]:
    """(windows, ..., features) of an output laid out as in a file."""
    lead = [axis for axis in ("B", "T") if axis in view.axes]
    order = [view.axes.index(axis) for axis in (*lead, *(f for f in view.features if f in view.axes))]
    gone = [k for k in range(array.ndim) if k not in order]
    lengths = [array.shape[k] for k in order[: len(lead)]]
    moved = np.asarray(array, np.float64).transpose([*order, *gone])
    return moved.reshape(*(lengths if "B" in lead else [1, *lengths]), -1)
