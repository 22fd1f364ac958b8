"""Compiled kernels: built once, called with tensors; and whether there are any.

``EDGE_LSTM_KERNEL=torch`` computes everything in PyTorch; ``EDGE_LSTM_KERNEL=compiled`` raises where a kernel can't be
compiled. Otherwise PyTorch takes over, with one warning in the log.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from edge_lstm.compiler import native_library
from edge_lstm.errors import EdgeLstmError
from edge_lstm.nn.kernel_c import LANES
from edge_lstm.nn.kernel_code import Argument, Code, write

VARIABLE = "EDGE_LSTM_KERNEL"
CHOICES = ("auto", "compiled", "torch")
_REALS = {torch.float32: "float", torch.float64: "double"}
_BYTES = {"float": 4, "double": 8}
_LINE, _PAGE = 16, 1024
_LOG = logging.getLogger(__name__)


def stream(length: int, steps: int, windows: int, dtype: torch.dtype) -> Tensor:
    """An empty tensor (length, steps, windows) as kernels read and write it.

    The distance from one element to the next is no power of two: all elements of a step would share few lines of cache.
    """
    return torch.empty(length, _distance(steps, windows), dtype=dtype)[:, : steps * windows].view(
        length, steps, windows
    )


def streamed(values: Tensor) -> Tensor:
    """(steps, windows, length) as such a tensor, which is a view where the values lie so."""
    turned = values.detach().permute(2, 0, 1)
    if lies_right(turned):
        return turned
    length, steps, windows = turned.shape
    return stream(length, steps, windows, turned.dtype).copy_(turned)


def lies_right(array: Tensor) -> bool:
    """Whether a tensor (length, steps, windows) lies as one of ``stream``."""
    _, steps, windows = array.shape
    wanted = (_distance(steps, windows), windows, 1)
    return all(n == 1 or found == right for n, found, right in zip(array.shape, array.stride(), wanted, strict=True))


def _distance(steps: int, windows: int) -> int:
    return -(-steps * windows // _PAGE) * _PAGE + _LINE


class Kernel:
    """C that was compiled.

    Args:
        code: What it computes.
        dtype: Of its real numbers.

    Raises:
        EdgeLstmError: It does not compile.
    """

    def __init__(self, code: Code, dtype: torch.dtype) -> None:
        real = _REALS[dtype]
        self._written = write(code, real)
        self._types = {"real": dtype, "integer": torch.int32}
        self._bytes = {"real": _BYTES[real], "integer": 4}
        self._run = native_library(self._written.text).run
        self._run.restype = None
        self._reals: Any = (ctypes.c_float if real == "float" else ctypes.c_double) * len(self._written.reals)
        self._integers: Any = ctypes.c_int32 * len(self._written.integers)
        self._pointers: Any = ctypes.c_void_p * (2 + len(self._written.pointers))
        self._sizes: Any = ctypes.c_int64 * (3 + len(self._written.sizes))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all arrays that it can be given."""
        return tuple(a.name for a in self._written.pointers)

    def __call__(
        self,
        sizes: Mapping[str, int],
        arrays: Mapping[str, Tensor | None],
        numbers: Mapping[str, float],
        lengths: Tensor | None = None,
    ) -> None:
        """Run.

        Args:
            sizes: By name, with ``steps`` and ``windows``.
            arrays: What is read and written, by name: (length, steps, windows) as of ``stream``, else contiguous.
            numbers: By name.
            lengths: (windows,) int64 steps of each window; None: all have all.
        """
        written = self._written
        given = [self._address(arrays.get(a.name), a, sizes) for a in written.pointers]
        scratch = torch.empty(
            sum(sizes[name] * LANES * self._bytes[kind] for name, kind in written.scratch), dtype=torch.uint8
        )
        if lengths is not None and (lengths.dtype != torch.int64 or lengths.numel() != sizes["windows"]):
            raise EdgeLstmError(f"lengths are {lengths.dtype} {tuple(lengths.shape)}; accepted are int64 (windows,)")
        self._run(
            self._sizes(
                sizes["steps"],
                sizes["windows"],
                _distance(sizes["steps"], sizes["windows"]),
                *(sizes[n] for n in written.sizes),
            ),
            self._pointers(scratch.data_ptr(), None if lengths is None else lengths.data_ptr(), *given),
            self._integers(*(int(numbers[n]) for n in written.integers)),
            self._reals(*(numbers[n] for n in written.reals)),
        )

    def _address(self, array: Tensor | None, argument: Argument, sizes: Mapping[str, int]) -> int | None:
        name = argument.name
        if array is None:
            if not argument.optional:
                raise EdgeLstmError(f"a kernel needs {name}, which is not given")
            return None
        shape = tuple(sizes[s] for s in argument.shape)
        fits = lies_right(array) if len(shape) == 3 else array.is_contiguous()
        fits = fits and (not shape or (array.shape == shape if len(shape) == 3 else array.numel() == math.prod(shape)))
        if array.dtype != self._types[argument.kind] or not fits:
            raise EdgeLstmError(
                f"{name} of a kernel is {array.dtype} {tuple(array.shape)}; accepted are {self._types[argument.kind]} "
                f"{shape}, as they lie in memory"
            )
        return array.data_ptr()


def usable(*tensors: Tensor | None) -> bool:
    """Whether kernels are wanted, and can work on these tensors.

    Raises:
        EdgeLstmError: The environment variable has a value that is not known.
    """
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in CHOICES:
        raise EdgeLstmError(f"{VARIABLE} is {choice!r}; accepted are {', '.join(CHOICES)}")
    of_cpu = all(t is None or (t.device.type == "cpu" and t.dtype in _REALS) for t in tensors)
    return choice != "torch" and of_cpu


_LOADED: dict[Hashable, Kernel | None] = {}


def kernel(key: Hashable, make: Callable[[], Code], dtype: torch.dtype) -> Kernel | None:
    """The kernel of that key, made at first; None where there can't be one.

    Raises:
        EdgeLstmError: It can't be compiled, and ``EDGE_LSTM_KERNEL`` is ``compiled``.
    """
    if (key, dtype) not in _LOADED:
        try:
            _LOADED[key, dtype] = Kernel(make(), dtype)
        except EdgeLstmError as error:
            if os.environ.get(VARIABLE) == "compiled":
                raise
            if None not in _LOADED.values():
                _LOG.warning("training is computed in PyTorch, several times slower: %s", error)
            _LOADED[key, dtype] = None
    return _LOADED[key, dtype]
