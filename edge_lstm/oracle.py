"""The float model on onnxruntime: the opinion on a model that shares no code with us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.files import read_bytes
from edge_lstm.importer import MAX_FILE_BYTES


class Session:
    """A float ONNX file, loaded once.

    Args:
        model: The file, or its content, as ``export.onnx_float`` writes it.

    Raises:
        EdgeLstmError: onnxruntime refuses the model.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, model: str | Path | bytes) -> None:
        runtime = require("onnxruntime", extra="onnx", purpose="to run the float ONNX model")
        content = model if isinstance(model, bytes) else read_bytes(model, at_most=MAX_FILE_BYTES)
        self._where = "a model in memory" if isinstance(model, bytes) else model
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal: what goes wrong is raised, and said once
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            raise self._refusal(error) from None
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._variable = "lengths" in [given.name for given in self._session.get_inputs()]

    def __call__(self, x: Any, *, lengths: Any = None, block: int = 256) -> dict[str, NDArray[Any]]:
        """Outputs, one thread, ``block`` windows at a time; see ``run_onnxruntime``."""
        samples, lengths = _checked(x, lengths)
        feed = {"x": samples}
        if lengths is not None or self._variable:
            feed["lengths"] = np.full(len(samples), samples.shape[1]) if lengths is None else lengths
        try:
            blocks = [
                self._session.run(self._outputs, {name: value[start : start + block] for name, value in feed.items()})
                for start in range(0, len(samples), block)
            ]
        except Exception as error:
            raise self._refusal(error) from None
        parts = zip(*blocks, strict=True)
        return {name: np.concatenate(of) for name, of in zip(self._outputs, parts, strict=True)}

    def _refusal(self, error: Exception) -> EdgeLstmError:
        return EdgeLstmError(f"{self._where}: onnxruntime: {' '.join(str(error).split())[:300]}")


def run_onnxruntime(
    model: str | Path | bytes, x: Any, *, lengths: Any = None, block: int = 256
) -> dict[str, NDArray[Any]]:
    """Outputs of a float ONNX file, one thread, ``block`` windows at a time.

    Args:
        model: The file, or its content, as ``export.onnx_float`` writes it.
        x: (windows, steps, channels) in the channels' units, at least one window; taken as float32.
        lengths: (windows,) steps of each window, of a model for windows of several lengths; all of them where None.
        block: Windows per call.

    Returns:
        ``scores`` (windows, classes) float32; of a classifier ``class_index`` (windows,) int64, and perhaps
        ``probabilities``. Where there are outputs for each step, the axis of steps comes second.

    Raises:
        EdgeLstmError: onnxruntime refuses the model, the samples or the lengths.
        MissingExtraError: onnxruntime is not installed.
    """
    _ = _checked(x, lengths)
    return Session(model)(x, lengths=lengths, block=block)


def _checked(x: Any, lengths: Any) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    samples = np.asarray(x, dtype=np.float32)
    if samples.ndim != 3 or 0 in samples.shape:
        raise EdgeLstmError(f"samples have shape {samples.shape}; accepted is (windows, steps, channels), none 0")
    if lengths is None:
        return samples, None
    given, steps = np.asarray(lengths), samples.shape[1]
    whole = given.shape == samples.shape[:1] and given.dtype.kind in "iu"
    if not whole or given.min() < 1 or given.max() > steps:
        accepted = f"integers ({len(samples)},) from 1 to {steps}"
        raise EdgeLstmError(f"lengths are {given.dtype} {given.shape}; accepted are {accepted}")
    return samples, given.astype(np.int64)
