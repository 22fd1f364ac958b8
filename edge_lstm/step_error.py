"""How far one integer step may be from the exact step, and how far it is: the bounded comparison with float.

Both steps start from the same integers: the accumulators a_k and the old cell state, taken as real numbers. What is
between them is only what the formats, the tables and the rounding do, so the difference has a bound that follows from
these alone (E_x is the error of x, ulp one unit of the last place):

(10) E_gate = 0 if hard; else the table's largest error plus the slope of the sigmoid times the error of the index
(11) |c' - c'_exact| <= |c| E_f + i E_g + |g| E_i + E_i E_g + ulp_c / 2 for each rounding shift
(12) |h' - h'_exact| <= o E_t + |t| E_o + E_o E_t + (3 / 2) ulp_h if o is soft     with t of the integer c'

Over many steps such differences are fed back, and a hard gate may turn any of them into another decision: no useful
bound exists for a whole window, which is why its scores are compared without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm.cells import cell
from edge_lstm.fixedpoint import Integers
from edge_lstm.float_run import Exact
from edge_lstm.model import Block, QuantizedLayer, QuantizedModel
from edge_lstm.runtime import execute

BLOCK = 256
"""Windows looked at together: bounds the memory of their intermediates."""
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}
REAL = 1e-9
"""Room for the float64 arithmetic of the comparison itself."""


@dataclass(frozen=True)
class StepError:
    """Largest difference of one step of a layer, and the largest bound, in real units.

    Attributes:
        layer: Name, such as ``lstm0``.
        c_max_abs, c_bound: Of the cell state, (11).
        h_max_abs, h_bound: Of the hidden state, (12).
        within: Every single value is within its own bound.
    """

    layer: str
    c_max_abs: float
    c_bound: float
    h_max_abs: float
    h_bound: float
    within: bool


def step_errors(model: QuantizedModel, x: Integers) -> tuple[StepError, ...]:
    """Compare every step of every layer with the exact equations.

    Args:
        model: The model.
        x: (windows, steps, channels) input integers.
    """
    parts = [_block(model, x[k : k + BLOCK]) for k in range(0, len(x), BLOCK)]
    return tuple(_merged(list(of_layer)) for of_layer in zip(*parts, strict=True))


def _block(model: QuantizedModel, x: Integers) -> list[StepError]:
    trace = execute(model, x, trace="all").trace
    return [_layer(f"{layer.cell}{k}", layer, trace) for k, layer in enumerate(model.layers)]


def _merged(errors: list[StepError]) -> StepError:
    largest = {f: max(getattr(e, f) for e in errors) for f in ("c_max_abs", "c_bound", "h_max_abs", "h_bound")}
    return StepError(layer=errors[0].layer, within=all(e.within for e in errors), **largest)


def _layer(name: str, layer: QuantizedLayer, trace: Any) -> StepError:
    z = {key: trace[f"{name}.a_{key}"] * block.scale for key, block in layer.blocks.items()}
    c_next = layer.c.dequantize(trace[f"{name}.c_next"])
    c_before = np.concatenate([np.zeros_like(c_next[:, :1]), c_next[:, :-1]], axis=1)
    activations = Exact(layer.modes)
    exact = cell(layer.cell).step(z, {"c": c_before}, activations)
    error = {key: _activation_error(block) for key, block in layer.blocks.items()}

    c_exact = np.clip(exact["c"], layer.c.min * layer.c.scale, layer.c.max * layer.c.scale)
    soft = sum(layer.modes[gate] == "soft" for gate in ("f", "i"))
    c_bound = np.abs(c_before) * error["f"] + exact["i"] * error["g"] + np.abs(exact["g"]) * error["i"]
    c_bound = c_bound + error["i"] * error["g"] + min(soft, 1) * layer.c.scale / 2 + REAL

    t = activations.tanh(c_next)
    e_t = luts.largest_error(layer.squash)
    h_bound = exact["o"] * e_t + np.abs(t) * error["o"] + error["o"] * e_t + REAL
    h_bound = h_bound + (1.5 * layer.h.scale if layer.modes["o"] == "soft" else 0.0)
    c_error = np.abs(c_next - c_exact)
    h_error = np.abs(layer.h.dequantize(trace[f"{name}.h_next"]) - exact["o"] * t)
    return StepError(
        layer=name,
        c_max_abs=float(c_error.max()),
        c_bound=float(c_bound.max()),
        h_max_abs=float(h_error.max()),
        h_bound=float(h_bound.max()),
        within=bool((c_error <= c_bound).all() and (h_error <= h_bound).all()),
    )


def _activation_error(block: Block) -> NDArray[np.float64]:
    """(10) for each unit: zero for a hard gate.

    The index loses up to one unit of the narrowed accumulator to the pre-shift, and half a unit of the multiplier.
    """
    if block.table is None or block.requantize is None:
        return np.zeros(len(block.bias))
    m = np.maximum(block.requantize.multiplier, 1).astype(np.float64)
    floor = m / 2.0**block.requantize.post_shift if block.requantize.pre_shift else np.zeros_like(m)
    index_error = floor + (len(block.table.values) / 2 + 0.5) * 0.5 / m
    step = 2.0**-block.table.index_bits
    return np.asarray(luts.largest_error(block.table) + STEEPEST[block.table.function] * step * index_error)


def describe(errors: tuple[StepError, ...]) -> Iterator[tuple[str, str]]:
    """Lines for people: a label and a text."""
    for e in errors:
        yield f"{e.layer}: one step of c against exact", f"{e.c_max_abs:.2g}, bound {e.c_bound:.2g}"
        yield f"{e.layer}: one step of h against exact", f"{e.h_max_abs:.2g}, bound {e.h_bound:.2g}"
