"""The backends by name. Each is imported when it is asked for, with what it needs."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.execution import Backend

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7")
NAMES = ("numpy", "onnxruntime", "c", *CORES, "torch")
DEFAULT = ("numpy", "onnxruntime", "c", "cortex-m0plus", "cortex-m4")
"""What ``verify`` compares: four kinds of backend, the last on a core without and one with the DSP extension.
``torch`` is the forward pass of quantization-aware training."""


def backend(name: str) -> Backend:
    """A backend; ``device`` stands for the emulated Cortex-M4.

    Raises:
        EdgeLstmError: There is none of that name.
        MissingExtraError: What it needs is not installed.
    """
    name = "cortex-m4" if name == "device" else name
    if name == "numpy":
        from edge_lstm.runtime import execute

        return execute
    if name == "onnxruntime":
        from edge_lstm.export.onnx_integer import execute as execute_onnx

        return execute_onnx
    if name == "c":
        from edge_lstm.firmware_sim.host import execute as execute_c

        return execute_c
    if name == "torch":
        require("torch", extra="train", purpose="for the backend that training uses")
        from edge_lstm.nn.integers import execute as execute_torch

        return execute_torch
    if name in CORES:
        from edge_lstm.firmware_sim.cores import core
        from edge_lstm.firmware_sim.device import execute as execute_device

        return functools.partial(execute_device, core(name))
    raise EdgeLstmError(f"no backend {name!r}; accepted are {', '.join(NAMES)} and device")


def checked_names(names: Iterable[str]) -> tuple[str, ...]:
    """Backend names without repetitions, in the order given.

    Raises:
        EdgeLstmError: Fewer than two, or an unknown one.
    """
    unique = tuple(dict.fromkeys("cortex-m4" if n == "device" else n for n in names))
    for name in unique:
        if name not in NAMES:
            raise EdgeLstmError(f"no backend {name!r}; accepted are {', '.join(NAMES)} and device")
    if len(unique) < 2:
        raise EdgeLstmError(f"a comparison takes two backends or more; accepted are {', '.join(NAMES)}")
    return unique
