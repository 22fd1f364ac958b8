"""How far one integer step may be from the exact step, and how far it is: the bounded comparison with float.

Both steps start from the same integers: the accumulators and the old states, taken as real numbers. What is between
them is only what the formats, the tables and the rounding do, so the difference has a bound that follows from these
alone. The cell's equations are evaluated on values with errors (E_v is the error of v, ulp one unit of the last place):

(20) E_gate  = 0 for steps, 1 where the accumulator's error reaches a step; else the largest error of the table (or one
               ulp of a linear form) plus the function's steepest slope times the error of its argument
(21) E_(v w) = |v| E_w + |w| E_v + E_v E_w
(22) E_(v+w) = E_v + E_w, and ulp / 2 of the coarser where the other one is finer
(23) a state: E_v, and ulp / 2 where fraction bits are lost; the integer's value, without error, goes on. Steps that a
               mask leaves out compute nothing

Over many steps such differences are fed back, and a hard gate may turn any of them into another decision: no useful
bound exists for a whole window, which is why its scores are compared without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm.blocks import Block, Linear, Steps, Table
from edge_lstm.cells import cell
from edge_lstm.fixedpoint import Integers, QFormat
from edge_lstm.integer_model import IntegerModel
from edge_lstm.layers import QuantizedLayer
from edge_lstm.lower import lower, named_layers
from edge_lstm.runtime import execute
from edge_lstm.timeline import Timeline, timeline

Array = NDArray[np.float64]

BLOCK = 256
"""Windows looked at together: bounds the memory of their intermediates."""
REAL = 1e-9
"""Room for the float64 arithmetic of the comparison itself."""


@dataclass(frozen=True)
class StepError:
    """Largest difference of one step of a layer, and the largest bound, in real units.

    Attributes:
        layer: Name, such as ``lstm0``.
        c_max_abs, c_bound: Of the cell state, (8).
        h_max_abs, h_bound: Of the hidden state, (8) or (9).
        within: Every single value is within its own bound.
    """

    layer: str
    c_max_abs: float
    c_bound: float
    h_max_abs: float
    h_bound: float
    within: bool


def step_errors(model: IntegerModel, x: Integers, *, lengths: Any = None) -> tuple[StepError, ...]:
    """Compare every step of every layer with the exact equations.

    Args:
        model: The model.
        x: (windows, steps, channels) input integers.
        lengths: (windows,) steps of each window, of a model for windows of several lengths.
    """
    when = timeline(model.signature, len(x), x.shape[1], lengths)
    parts = [slice(k, k + BLOCK) for k in range(0, len(x), BLOCK)]
    found = [_block(model, x[part], when.part(part)) for part in parts]
    return tuple(_merged(list(of_layer)) for of_layer in zip(*found, strict=True))


def _block(model: IntegerModel, x: Integers, when: Timeline) -> list[StepError]:
    lowered, result = lower(model), execute(model, x, trace="all", lengths=when.lengths)
    instructions = [i for stage in lowered.stages for i in stage.program.instructions]
    narrowed = {i.out: int(i.attributes["n"]) for i in instructions if i.out.endswith("_narrow")}
    first: dict[str, Integers] = {}
    steps: dict[str, int | None] = {}
    for stage in lowered.stages:
        for state in stage.program.states:
            name = state.port.name
            constant = np.broadcast_to(stage.program.initial(state), (len(x), state.port.length))
            first[name] = result.state[stage.starts[name]] if name in stage.starts else constant
            steps[name] = stage.steps
    errors = []
    for name, layer in named_layers(model):
        decoded = steps[f"{name}.h"]
        time = when if decoded is None else Timeline(decoded)
        prefix = f"{name}."
        trace = {k.removeprefix(prefix): v for k, v in result.trace.items() if k.startswith(prefix)}
        trace = {k: time.backwards(v) for k, v in trace.items()} if layer.reverse else trace
        begun = {k.removeprefix(prefix): v for k, v in first.items() if k.startswith(prefix)}
        lost = {k.removeprefix(prefix): n for k, n in narrowed.items() if k.startswith(prefix)}
        errors.append(_layer(name, _Bounding(layer, trace, lost, begun, time)))
    return errors


def _merged(errors: list[StepError]) -> StepError:
    largest = {f: max(getattr(e, f) for e in errors) for f in ("c_max_abs", "c_bound", "h_max_abs", "h_bound")}
    return StepError(layer=errors[0].layer, within=all(e.within for e in errors), **largest)


def _layer(name: str, machine: _Bounding) -> StepError:
    cell(machine.layer.cell).step(machine, machine.last())
    found = {s: machine.found.get(s, (0.0, 0.0, True)) for s in ("c", "h")}
    return StepError(
        layer=name,
        c_max_abs=found["c"][0],
        c_bound=found["c"][1],
        h_max_abs=found["h"][0],
        h_bound=found["h"][1],
        within=all(f[2] for f in found.values()),
    )


@dataclass(frozen=True)
class _Bounded:
    """An exact value, how far the integers may be from it, and how many fraction bits theirs have.

    ``fraction_bits`` and ``choice`` are as in ``symbols.Fixed``.
    """

    value: Array
    error: Array | float
    fraction_bits: int
    choice: bool = False

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, _Sum):
            return other.gated(self)
        error = np.abs(self.value) * other.error + np.abs(other.value) * self.error + self.error * other.error
        fraction_bits = other.fraction_bits + (0 if self.choice else self.fraction_bits)
        return _Bounded(self.value * other.value, error, fraction_bits)

    def __add__(self, other: _Bounded) -> _Bounded:
        coarse = min(self.fraction_bits, other.fraction_bits)
        aligned = self.fraction_bits != other.fraction_bits
        error = self.error + other.error + (2.0**-coarse / 2 if aligned else 0.0)
        return _Bounded(self.value + other.value, error, coarse)

    def __rsub__(self, one: int) -> _Bounded:
        return _Bounded(one - self.value, self.error, self.fraction_bits, self.choice)


@dataclass(frozen=True)
class _Sum:
    """An accumulator: its value, its error, and the real value of one unit of each row."""

    value: Array
    error: Array | float
    scale: Array
    narrow: float = 0.0

    def __add__(self, other: _Sum) -> _Sum:
        return _Sum(self.value + other.value, self.error + other.error, self.scale)

    def gated(self, gate: _Bounded) -> _Sum:
        error = np.abs(gate.value) * self.error + (np.abs(self.value) + self.error) * gate.error
        if not gate.choice:
            error = error + self.scale * (self.narrow + 0.5)
        return _Sum(gate.value * self.value, error, self.scale)


class _Bounding:
    """``cells.Machine`` on values with errors, at all steps of all windows at once.

    Args:
        layer: The layer.
        trace: Its values by name, (windows, steps, length), in the order in which it computes them.
        narrowed: Bits that values called ``..._narrow`` lose.
        first: State name to its integers before the first step, (windows, length).
        when: Of the windows.

    Attributes:
        found: State name to its largest difference, its largest bound, and whether every difference is within its own.
    """

    def __init__(
        self,
        layer: QuantizedLayer,
        trace: Mapping[str, Integers],
        narrowed: Mapping[str, int],
        first: Mapping[str, Integers],
        when: Timeline,
    ) -> None:
        self.layer, self._trace, self._narrowed, self._first, self._when = layer, trace, narrowed, first, when
        self._formats: dict[str, QFormat] = {"h": layer.h} | ({"c": layer.c} if layer.c is not None else {})
        self.found: dict[str, tuple[float, float, bool]] = {}

    def _after(self, state: str) -> Array:
        return self._formats[state].dequantize(self._trace[state])

    def last(self) -> dict[str, _Bounded]:
        found = {}
        for state, f in self._formats.items():
            before = np.concatenate([self._first[state][:, None], self._trace[state][:, :-1]], axis=1)
            found[state] = _Bounded(f.dequantize(before), 0.0, f.fraction_bits)
        return found

    def _sum(self, product: str, block: str) -> _Sum:
        scale = self.layer.blocks[block].scale
        narrow = next((n for k, n in self._narrowed.items() if k.endswith(f"a_{block}_narrow")), None)
        lost = 0.0 if narrow is None else 2.0**narrow / 2
        return _Sum(self._trace[f"{product}_{block}"] * scale, 0.0, scale, lost)

    def affine(self, block: str, operand: _Bounded | None = None) -> _Sum:  # noqa: ARG002
        return self._sum("a", block)

    def inputs(self, block: str) -> _Sum:
        return self._sum("ax", block)

    def recurrent(self, block: str) -> _Sum:
        return self._sum("ah", block)

    def peephole(self, block: str, c: _Bounded) -> _Sum:
        rows, f = self.layer.blocks[block], self.layer.c
        assert rows.peephole is not None
        assert f is not None
        p = rows.peephole.multiplier * 2.0**-rows.peephole.shift * rows.scale / f.scale
        return _Sum(c.value * p, np.abs(p) * c.error + rows.scale / 2, rows.scale)

    def gate(self, name: str, z: _Sum) -> _Bounded:
        block, mode = self.layer.blocks[name], self.layer.modes[name]
        if isinstance(block.activation, Steps):
            at = block.activation.at * block.scale
            value = sum((z.value > step).astype(np.float64) for step in at) / len(at)
            unsure = sum((np.abs(z.value - step) <= z.error).astype(np.float64) * (z.error > 0) for step in at)
            return _Bounded(np.asarray(value), unsure / len(at), len(at) - 1, choice=len(at) == 1)
        activation = block.activation
        value = luts.gate(mode, luts.limited(z.value, activation.clip))
        return _Bounded(value, _activation_error(block, z.error), activation.output.fraction_bits)

    def squash(self, name: str, v: _Sum | _Bounded) -> _Bounded:
        if isinstance(v, _Sum):
            block = self.layer.blocks[name]
            assert not isinstance(block.activation, Steps)
            activation, error = block.activation, _activation_error(block, v.error)
        else:
            activation = self.layer.squash[name]
            error = np.asarray(v.error) * 0 + _function_error(activation) + luts.STEEPEST[activation.function] * v.error
        hard = isinstance(activation, Linear)
        argument = luts.limited(v.value, activation.clip)
        exact = (luts.HARD if hard else luts.FUNCTIONS)[activation.function](argument)
        return _Bounded(np.asarray(exact), error, activation.output.fraction_bits)

    def state(self, name: str, v: _Bounded) -> _Bounded:
        wanted, integer = self._formats[name], self._after(name)
        lost = v.fraction_bits > wanted.fraction_bits
        bound = np.broadcast_to(v.error + (wanted.scale / 2 if lost else 0.0) + REAL, integer.shape)
        error = np.abs(integer - np.clip(v.value, wanted.min * wanted.scale, wanted.max * wanted.scale))
        mask = self._trace.get(f"mask{integer.shape[-1]}")
        if mask is not None:
            error, bound = np.where(mask != 0, error, 0.0), np.where(mask != 0, bound, 0.0)
        error, bound = self._when.inside(error), self._when.inside(bound)
        self.found[name] = float(error.max()), float(bound.max()), bool((error <= bound).all())
        return _Bounded(integer, 0.0, wanted.fraction_bits)

    def project(self, v: _Bounded) -> _Bounded:
        projection, h = self.layer.projection, self.layer.h
        assert projection is not None
        f, r = projection.operand, projection.requantize
        lost = f.scale / 2 if v.fraction_bits > f.fraction_bits else 0.0
        m = np.clip(v.value, f.min * f.scale, f.max * f.scale)
        unit = r.multiplier * 2.0**-r.post_shift  # of h, for one unit of the narrowed accumulator
        P = projection.weights * (unit * 2.0**-r.pre_shift * h.scale / f.scale)[:, None]
        error = (np.broadcast_to(v.error, m.shape) + lost) @ np.abs(P).T
        error = error + h.scale * (0.5 + (unit if r.pre_shift else 0.0))
        return _Bounded(m @ P.T, error, h.fraction_bits)


def _activation_error(block: Block, z_error: Array | float) -> Array:
    """(20) for each unit of a block that has no steps.

    The argument loses up to one unit of the narrowed accumulator to the pre-shift, and half a unit of the multiplier.
    """
    activation, requantize = block.activation, block.requantize
    assert requantize is not None
    assert not isinstance(activation, Steps)
    m = np.maximum(requantize.multiplier, 1).astype(np.float64)
    floor = m / 2.0**requantize.post_shift if requantize.pre_shift else np.zeros_like(m)
    if isinstance(activation, Linear):
        reach = float(max(abs(activation.lo - activation.offset), abs(activation.hi - activation.offset))) + 0.5
    else:
        reach = (len(activation.values) / 2 + 0.5) * 2.0**activation.between_bits
    units = floor + reach * np.where(m == 2**15 - 1, 1.0, 0.5) / m  # the largest multiplier may be a limited one
    argument = units * 2.0**-activation.input_bits + z_error
    return np.asarray(_function_error(activation) + luts.STEEPEST[activation.function] * argument)


def _function_error(activation: Table | Linear) -> float:
    """Of a table against the exact function, of a linear form against the exact linear form."""
    return activation.output.scale if isinstance(activation, Linear) else luts.largest_error(activation)


def describe(errors: tuple[StepError, ...]) -> Iterator[tuple[str, str]]:
    """Lines for people: a label and a text."""
    for e in errors:
        if e.c_bound:
            yield f"{e.layer}: one step of c against exact", f"{e.c_max_abs:.2g}, bound {e.c_bound:.2g}"
        yield f"{e.layer}: one step of h against exact", f"{e.h_max_abs:.2g}, bound {e.h_bound:.2g}"
