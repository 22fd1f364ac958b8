"""C99 that checks a model on the target: ``NAME_selftest.c`` and ``.h``, with a window and what must come out."""

from __future__ import annotations

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export.c99 import described
from edge_lstm.export.c99_layout import check_steps
from edge_lstm.export.c99_normalize import RAW_MAX, RAW_MIN, Normalization
from edge_lstm.export.c99_ops import identifier
from edge_lstm.export.c99_text import initializer, render
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.runtime import CHECKSUM_BYTES, Stream, execute

STEPS = 32
"""Of the window, where the model takes as few: keeps the file small."""
RAW = (RAW_MIN, -12345, -256, -1, 0, 1, 255, 23456, RAW_MAX)


def golden_window(model: IntegerModel) -> Integers:
    """A window that looks like no recording, and reaches what few do: impulses, then extremes, then ramps.

    Returns:
        (steps, channels) input integers, the same on every call.
    """
    limit, steps = model.input_format.max, model.signature.steps
    if lower(model).streams and not model.fixed_mean:
        steps = min(steps, STEPS)
    t, c = np.arange(steps)[:, None], np.arange(len(model.signature.channels))
    impulses = np.where((t + c) % 4 == 0, limit, 0)
    extremes = np.where((t // 2 + c) % 2, limit, -limit)
    ramps = (t + c) % 16 * (2 * limit) // 15 - limit
    return np.choose(t * 3 // steps, [impulses, extremes, ramps]).astype(np.int32)


def sources(
    model: IntegerModel, *, window: Integers | None = None, normalization: Normalization | None = None
) -> dict[str, str]:
    """File name to text of ``NAME_selftest.c`` and ``NAME_selftest.h``.

    Args:
        model: The model.
        window: (steps, channels) input integers; ``golden_window`` where None. Of a model that takes shorter windows,
            the first 32 steps.
        normalization: As the one of ``c99.sources``, which is then tested too.

    Raises:
        EdgeLstmError: The model's C does not take windows of that many steps.
    """
    golden = golden_window(model)
    x = golden if window is None else window[: len(golden)]
    check_steps(model, len(x))
    if model.fixed_mean and len(x) != len(golden):
        raise EdgeLstmError(f"a window of {len(x)} steps; the self-test of {model.signature.name} takes {len(golden)}")
    outputs = execute(model, x[None]).outputs
    context = described(model) | {
        "normalization": normalization,
        "window": x,
        "window_text": initializer(x.ravel()),
        "rows": outputs["scores"].shape[1] if lower(model).each else 1,
        "expected": [
            {"c": identifier(name), "length": value.shape[-1], "text": initializer(value.ravel())}
            for name, value in outputs.items()
        ],
    }
    if lower(model).streams:
        context["checksum"] = list(_saved(model, x)[-CHECKSUM_BYTES:])
    if normalization is not None:
        raw = np.array([np.roll(RAW, c) for c in range(len(normalization.shift))]).T
        context |= {"raw": raw, "raw_text": initializer(raw), "normalized_text": initializer(normalization.apply(raw))}
    name = model.signature.name
    return {
        f"{name}_selftest.c": render("selftest.c.j2", context),
        f"{name}_selftest.h": render("selftest.h.j2", context),
    }


def _saved(model: IntegerModel, x: Integers) -> bytes:
    """The state after a window."""
    stream = Stream(model)
    for sample in x:
        stream.step_raw(sample)
    return stream.save()
