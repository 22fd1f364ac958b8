"""A stranger's float model on onnxruntime, as what integer scores are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.files import read_bytes
from edge_lstm.importing.graph_model import GraphModel
from edge_lstm.importing.interpreter import STEPS
from edge_lstm.importing.load import ImportedModel
from edge_lstm.importing.reader import MAX_FILE_BYTES
from edge_lstm.importing.recognise import Final, Recognised
from edge_lstm.importing.view import View

KINDS = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}


class Scores:
    """The scores of a file, on onnxruntime.

    Args:
        path: The file.
        model: What was imported from it.
        steps: Of a window.
        lengths: (windows,) steps of each; all of them where None.

    A file whose inputs are initial states is given zeros; where it takes fewer steps than a window has, it is given
    its own last states.

    Attributes:
        final: What the file's output is; ``softmax`` is given as its logarithm, which is ``log-softmax``.

    Raises:
        UnsupportedError: It does not give scores of windows.
        EdgeLstmError: It gives classes only.
    """

    def __init__(self, path: str | Path, model: ImportedModel, steps: int, lengths: Any = None) -> None:
        self._path, self._lengths = path, lengths
        self._recognised = _interface(model, steps)
        self.final: Final = self._recognised.final
        if self.final == "classes":
            raise EdgeLstmError(f"{path} gives classes, and no scores to compare with")

    def __call__(self, x: Any) -> NDArray[np.float64]:
        """Scores of (windows, steps, channels), one window after the other."""
        runtime = require("onnxruntime", extra="onnx", purpose="to run the float ONNX model")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            content = read_bytes(self._path, at_most=MAX_FILE_BYTES)
            session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            lengths = np.full(len(x), np.shape(x)[1]) if self._lengths is None else np.asarray(self._lengths)
            windows = zip(np.asarray(x, np.float32), lengths, strict=True)
            parts = [self._window(session, window[None], int(length)) for window, length in windows]
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            raise EdgeLstmError(f"{self._path}: onnxruntime: {' '.join(str(error).split())[:300]}") from None
        scores = np.concatenate(parts)
        return np.log(np.maximum(scores, 1e-30)) if self.final == "softmax" else scores

    def _window(self, session: Any, x: NDArray[np.float32], length: int) -> NDArray[np.float64]:
        """Scores of a window (1, steps, channels)."""
        known = self._recognised
        inputs, outputs = known.imported.inputs, known.imported.outputs
        kinds = {given.name: KINDS.get(given.type, np.float32) for given in session.get_inputs()}
        feed: dict[str, Any] = {name: np.zeros(_shape(inputs[name]), np.float32) for name in known.begins}
        if known.lengths is not None:
            feed[known.lengths] = np.array([length], kinds[known.lengths])
        names = [known.output, *known.ends]
        taken = inputs[known.input].steps if known.begins and inputs[known.input].steps != STEPS else x.shape[1]
        parts = []
        for start in range(0, x.shape[1], taken):
            rendered = inputs[known.input].render(x[:, start : start + taken])
            feed[known.input] = rendered.astype(kinds[known.input])
            found = dict(zip(names, session.run(names, feed), strict=True))
            parts.append(canonical_output(outputs[known.output], found[known.output]))
            for name, states in known.begins.items():
                same = [end for end, ended in known.ends.items() if ended and set(ended) <= set(states)]
                feed[name] = found[same[0]] if same else feed[name]
        return np.concatenate(parts, axis=1) if parts[0].ndim == 3 else parts[-1]


def _interface(model: ImportedModel, steps: int) -> Recognised | GraphModel:
    found = model.any_model(steps=steps)
    return found if isinstance(found, GraphModel) else model.recognised(steps=steps)


def _shape(view: View) -> list[int]:
    """Of an initial state of one window."""
    return [1 if axis == "B" else view.length(axis) for axis in view.axes]


def canonical_output(view: View, array: NDArray[Any]) -> NDArray[np.float64]:
    """(windows, ..., features) of an output laid out as in a file."""
    lead = [axis for axis in ("B", "T") if axis in view.axes]
    order = [view.axes.index(axis) for axis in (*lead, *(f for f in view.features if f in view.axes))]
    gone = [k for k in range(array.ndim) if k not in order]
    lengths = [array.shape[k] for k in order[: len(lead)]]
    moved = np.asarray(array, np.float64).transpose([*order, *gone])
    return moved.reshape(*(lengths if "B" in lead else [1, *lengths]), -1)
