"""Array types of the model files, and what is checked of an array before anything else looks at it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import Integers


class _FromFile:
    """Tells pydantic, when a file is read, that the JSON holds the name of a tensor of this type."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def fetch(name: str, info: Any) -> Any:
            tensors = info.context
            if name not in tensors:
                raise ValueError(f"there is no tensor {name!r} in the file")
            if tensors[name].dtype != self.dtype:
                raise ValueError(f"tensor {name!r} is {tensors[name].dtype}, and must be {self.dtype}")
            return tensors[name]

        return core_schema.with_info_after_validator_function(fetch, core_schema.str_schema(strict=True))


Int8Tensor = Annotated[NDArray[np.int8], _FromFile("int8")]
Int16Tensor = Annotated[NDArray[np.int16], _FromFile("int16")]
Int32Tensor = Annotated[Integers, _FromFile("int32")]
Float64Tensor = Annotated[NDArray[np.float64], _FromFile("float64")]


def expect(what: str, array: NDArray[Any], shape: tuple[int, ...], dtype: str = "float64") -> None:
    """Raise unless an array has this type, as a file must have it, this shape and, if it is float, finite values.

    Raises:
        EdgeLstmError: Naming the array, what was found and what is accepted.
    """
    if array.dtype != dtype:
        raise EdgeLstmError(f"{what} is {array.dtype}, and must be {dtype}")
    if array.shape != shape:
        raise EdgeLstmError(f"{what} has shape {array.shape}, and must have {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise EdgeLstmError(f"{what} holds {array[where]} at {where}; every value must be finite")
