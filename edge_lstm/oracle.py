"""The float model on onnxruntime: the opinion on a model that shares no code with us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.files import read_bytes
from edge_lstm.importer import MAX_FILE_BYTES


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
    runtime = require("onnxruntime", extra="onnx", purpose="to run the float ONNX model")
    content = model if isinstance(model, bytes) else read_bytes(model, at_most=MAX_FILE_BYTES)
    samples = np.asarray(x, dtype=np.float32)
    if samples.ndim != 3 or 0 in samples.shape:
        raise EdgeLstmError(f"samples have shape {samples.shape}; accepted is (windows, steps, channels), none 0")
    if lengths is not None:
        lengths = np.asarray(lengths)
        steps = samples.shape[1]
        whole = lengths.shape == samples.shape[:1] and lengths.dtype.kind in "iu"
        if not whole or lengths.min() < 1 or lengths.max() > steps:
            accepted = f"integers ({len(samples)},) from 1 to {steps}"
            raise EdgeLstmError(f"lengths are {lengths.dtype} {lengths.shape}; accepted are {accepted}")
        lengths = lengths.astype(np.int64)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal: what goes wrong is raised, and said once
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        feed = {"x": samples}
        if lengths is not None or "lengths" in [given.name for given in session.get_inputs()]:
            feed["lengths"] = np.full(len(samples), samples.shape[1]) if lengths is None else lengths
        blocks = [
            session.run(names, {name: value[start : start + block] for name, value in feed.items()})
            for start in range(0, len(samples), block)
        ]
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        where = "a model in memory" if isinstance(model, bytes) else model
        raise EdgeLstmError(f"{where}: onnxruntime: {' '.join(str(error).split())[:300]}") from None
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*blocks, strict=True), strict=True)}
