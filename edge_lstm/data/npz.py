"""Anybody's labelled windows, from one `.npz` file.

======== ======================== ===========================================================================
key      shape                    meaning
======== ======================== ===========================================================================
x        (windows, time,          samples; or `x_q` of that shape, to be multiplied by `scale` (channels,)
         channels)
y        (windows,) or            class of each window, or of each step of a window or of a decoder: an index, or a
         (windows, steps)         name; or, where they are floats, targets of a regression (windows,),
                                  (windows, outputs) or (windows, steps, outputs)
lengths  (windows,)               optional: steps of each window that count; the rest, finite as well, is padding
groups   (windows,)               optional: who was recorded, a number or a name; `subject` means the same
is_test  (windows,)               optional: booleans, the official test windows
classes  (classes,)               optional: names; without it the names in `y` in order, or "0", "1", ...
outputs  (outputs,)               optional, of a regression: names; without it "out0", "out1", ...
channels (channels,)              optional: names; without it "ch0", "ch1", ...
units    (channels,)              optional: one per channel; without it ""
rate_hz  ()                       optional: samples per second; without it unknown (None)
name     ()                       optional: a text; without it the file's name. `licence`, `source`: the same
======== ======================== ===========================================================================

Only plain arrays are read, never pickled objects: a data set from a stranger can't run code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.dataset import Dataset
from edge_lstm.errors import EdgeLstmError
from edge_lstm.npz import read_arrays

Arrays = dict[str, NDArray[Any]]

_OPTIONAL = (
    *("groups", "subject", "is_test", "lengths", "classes", "outputs", "channels", "units", "rate_hz"),
    *("name", "licence", "source"),
)
_KNOWN = ("x", "x_q", "scale", "y", *_OPTIONAL)
_ACCEPTED = f"accepted are x (or x_q with scale), y and, optionally, {', '.join(_OPTIONAL)}"


def read_npz(path: Path) -> Dataset:
    """Read the `.npz` file at `path`.

    Raises `EdgeLstmError`, naming the file, if it can't be read, holds pickled objects, lacks a key or has one
    that is not known, or if its arrays do not fit together.
    """
    arrays = read_arrays(path)
    _check_keys(path, arrays)
    x = _samples(path, arrays)
    y, classes = _labels(path, arrays)
    groups = arrays.get("groups", arrays.get("subject"))
    return Dataset(
        name=_text(path, arrays, "name", path.stem),
        x=x,
        y=y,
        classes=classes,
        channels=_names(path, arrays, "channels", tuple(f"ch{i}" for i in range(x.shape[-1]))),
        units=_names(path, arrays, "units", ("",) * x.shape[-1]),
        rate_hz=_rate(path, arrays),
        groups=None if groups is None else _numbered(groups),
        is_test=arrays.get("is_test"),
        lengths=arrays.get("lengths"),
        licence=_text(path, arrays, "licence", "not stated"),
        source=_text(path, arrays, "source", str(path)),
    )


def _check_keys(path: Path, arrays: Arrays) -> None:
    found = f"found {', '.join(sorted(arrays)) or 'nothing'}; {_ACCEPTED}"
    odd = sorted(arrays.keys() - set(_KNOWN))
    if odd:
        raise EdgeLstmError(f"{path}: key {odd[0]} is not known: {found}")
    if "y" not in arrays or not ("x" in arrays or {"x_q", "scale"} <= arrays.keys()):
        raise EdgeLstmError(f"{path}: needed x and y, {found}")
    for one, other in (("x", "x_q"), ("x", "scale"), ("groups", "subject")):
        if one in arrays and other in arrays:
            raise EdgeLstmError(f"{path}: {one} and {other} can't both be given")


def _samples(path: Path, arrays: Arrays) -> NDArray[Any]:
    """`x`, or `x_q` times `scale`, with three dimensions; the rest is checked by `Dataset`."""
    x = arrays["x"] if "x" in arrays else arrays["x_q"]
    if x.ndim != 3:
        raise EdgeLstmError(f"{path}: x must have shape (windows, time, channels), found {x.shape}")
    if "x" in arrays:
        return x
    scale = arrays["scale"]
    if not np.issubdtype(x.dtype, np.integer) or not np.issubdtype(scale.dtype, np.floating):
        raise EdgeLstmError(f"{path}: x_q must be integers and scale floats, found {x.dtype} and {scale.dtype}")
    if scale.shape != x.shape[2:]:
        raise EdgeLstmError(f"{path}: scale must have shape {x.shape[2:]}, one per channel, found {scale.shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # `Dataset` refuses what is not finite
        return x * scale.astype(np.float32)


def _labels(path: Path, arrays: Arrays) -> tuple[NDArray[Any], tuple[str, ...]]:
    """`y` as indices or real targets, unchecked, and the names of the classes or outputs."""
    y = arrays["y"]
    regression = y.dtype.kind == "f"
    wrong, right, what = ("classes", "outputs", "floats") if regression else ("outputs", "classes", "no floats")
    if wrong in arrays:
        raise EdgeLstmError(f"{path}: {wrong} can't be given where y holds {what}; its names are {right}")
    if regression:
        outputs = y.shape[-1] if y.ndim > 1 else 1
        return y, _names(path, arrays, "outputs", tuple(f"out{k}" for k in range(outputs)))
    if y.dtype.kind != "U":
        highest = int(y.max(initial=0)) if y.dtype.kind in "iu" else 0
        if "classes" not in arrays and highest >= max(1, y.size):  # more classes than windows
            raise EdgeLstmError(f"{path}: y must count classes from 0, found {highest} among {y.size} windows")
        return y, _names(path, arrays, "classes", tuple(str(i) for i in range(highest + 1)))
    used, codes = np.unique(y.ravel(), return_inverse=True)
    classes = _names(path, arrays, "classes", tuple(str(name) for name in used))
    strange = [str(name) for name in used if str(name) not in classes]
    if strange:
        raise EdgeLstmError(f"{path}: y holds {strange[0]!r}, which is none of the classes {', '.join(classes)}")
    at = np.array([classes.index(str(name)) for name in used], dtype=np.int64)
    return at[codes.reshape(y.shape)], classes


def _numbered(groups: NDArray[Any]) -> NDArray[Any]:
    """Names of subjects as numbers, in the order of the names; numbers as they are."""
    if groups.dtype.kind != "U":
        return groups
    return np.unique(groups.ravel(), return_inverse=True)[1].reshape(groups.shape)


def _names(path: Path, arrays: Arrays, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    if key not in arrays:
        return default
    array = arrays[key]
    if array.dtype.kind != "U" or array.ndim != 1:
        raise EdgeLstmError(f"{path}: {key} must be texts of shape (n,), found {array.dtype} of shape {array.shape}")
    return tuple(str(value) for value in array)


def _text(path: Path, arrays: Arrays, key: str, default: str) -> str:
    if key not in arrays:
        return default
    array = arrays[key]
    if array.dtype.kind != "U" or array.size != 1:
        raise EdgeLstmError(f"{path}: {key} must be one text, found {array.dtype} of shape {array.shape}")
    return str(array.item())


def _rate(path: Path, arrays: Arrays) -> float | None:
    if "rate_hz" not in arrays:
        return None
    array = arrays["rate_hz"]
    if array.dtype.kind not in "iuf" or array.size != 1:
        raise EdgeLstmError(f"{path}: rate_hz must be one number, found {array.dtype} of shape {array.shape}")
    return float(array.item())
