"""The float model on onnxruntime: the opinion on a model that shares no code with us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.files import read_bytes
from edge_lstm.importer import MAX_FILE_BYTES


def run_onnxruntime(model: str | Path | bytes, x: Any, *, block: int = 256) -> dict[str, NDArray[Any]]:
    """Outputs of a float ONNX file, one thread, ``block`` windows at a time.

    Args:
        model: The file, or its content, as ``export.onnx_float`` writes it.
        x: (windows, steps, channels) in the channels' units, at least one window; taken as float32.
        block: Windows per call.

    Returns:
        ``scores`` (windows, classes) float32; of a classifier ``class_index`` (windows,) int64.

    Raises:
        EdgeLstmError: onnxruntime refuses the model or the samples.
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = require("onnxruntime", extra="onnx", purpose="to run the float ONNX model")
    content = model if isinstance(model, bytes) else read_bytes(model, at_most=MAX_FILE_BYTES)
    samples = np.asarray(x, dtype=np.float32)
    if samples.ndim != 3 or 0 in samples.shape:
        raise EdgeLstmError(f"samples have shape {samples.shape}; accepted is (windows, steps, channels), none 0")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal: what goes wrong is raised, and said once
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        blocks = [session.run(names, {"x": samples[start : start + block]}) for start in range(0, len(samples), block)]
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        where = "a model in memory" if isinstance(model, bytes) else model
        raise EdgeLstmError(f"{where}: onnxruntime: {' '.join(str(error).split())[:300]}") from None
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*blocks, strict=True), strict=True)}
