"""What all nodes of a graph in integers are made with: units, formats and requantizations.

Every value gets a power-of-two unit, but for the samples, whose channels each have a free one, and accumulators.
Vectors, of which there are few, have 16 bits, sequences those that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.bits import Bits
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.graph import by_step, over_time
from edge_lstm.graph.by_step import FUNCTIONS, Function
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.integer_graph import nodes as n
from edge_lstm.integer_graph.observe import Key, Reach, parts
from edge_lstm.luts import BETWEEN_BITS
from edge_lstm.requantize import Requantize
from edge_lstm.rows import accumulator_max, quantize_rows
from edge_lstm.to_integers import calibrated_format

Array = NDArray[np.float64]
VECTOR_BITS = 16
FACTOR_BITS = 28
"""Of the products of two values' sums, without the sign."""
ARGUMENTS: Mapping[str, float] = {"sigmoid": 8.0, "tanh": 4.0}
"""Functions that hardly change beyond these arguments, and reach no farther than 1."""
LIMITS = ("relu", "clip")
TABLED_HEADROOM = 1.25
DIVISORS = 32
"""Between entries of a table of 1 / v, of which the largest is so many times the smallest, a line is 0.4 % off."""


@dataclass(frozen=True)
class Quantized:
    """What became of a float node.

    Attributes:
        at: The node in integers.
        unit: (width,) real value of one unit.
        limit: (width,) largest absolute integer.
        steps: Of a sequence; None of a vector.
    """

    at: int
    unit: Array
    limit: NDArray[np.int64]
    steps: int | None

    @property
    def vector(self) -> bool:
        """Whether it is no sequence."""
        return self.steps is None


class Maker:
    """Makes integer nodes.

    Args:
        graph: The float graph.
        scores: Node whose values are the scores.
        ranges: See ``observe.ranges``.
        steps: Of a window.
        bits: Of weights, sequences and tables.

    Attributes:
        needed: Float nodes that the scores are made of, and they.
        readers: Float node to those of these that read it.
        nodes, units: As of a ``QuantizedGraph``.
        made: Float node to what became of it.
        fused: Dense layer, filter or factor to the function behind it, where nothing else reads it: they are made
            together.
    """

    def __init__(self, graph: FloatGraph, scores: int, ranges: Mapping[Key, Reach], steps: int, bits: Bits) -> None:
        self.graph, self.scores, self.ranges, self.steps, self.bits = graph, scores, ranges, steps, bits
        self.nodes: list[n.QuantizedNode] = []
        self.units: list[Array] = []
        self.made: dict[int, Quantized] = {}
        self.needed = needed(graph, scores)
        self.readers: dict[int, list[int]] = {}
        for k in sorted(self.needed):
            for source in graph.nodes[k].sources:
                self.readers.setdefault(source, []).append(k)
        self.fused = self._find_fused()

    def _find_fused(self) -> dict[int, int]:
        found = {}
        kinds = (by_step.Linear, by_step.Scale, over_time.Conv)
        for k in self.needed:
            if isinstance(self.graph.nodes[k], kinds) and len(self.readers.get(k, [])) == 1 and k != self.scores:
                function = self.graph.nodes[self.readers[k][0]]
                if isinstance(function, Function) and function.name != "leaky-relu":
                    found[k] = self.readers[k][0]
        return found

    @property
    def input_bits(self) -> int:
        """Of the samples: 16 where they name rows of a table that 8 bits don't count."""
        tables = [k.table for k in map(self.graph.nodes.__getitem__, self.needed) if isinstance(k, by_step.Embedding)]
        return 16 if max(map(len, tables), default=0) > 128 else self.bits.activations

    def add(self, node: n.QuantizedNode, unit: Array, limit: Any, steps: int | None) -> Quantized:
        self.nodes.append(node)
        self.units.append(np.asarray(unit, np.float64))
        return Quantized(len(self.nodes) - 1, self.units[-1], np.asarray(limit, np.int64), steps)

    def range(self, k: int) -> float:
        return max(self.ranges[k, part].largest for part in parts(self.graph, k))

    def domain(self, source: int, name: str) -> tuple[float, float]:
        """Middle of the arguments of a function that are tabulated, and half of their extent.

        Raises:
            EdgeLstmError: A reciprocal of values that have both signs, or that differ too much for one table.
        """
        if name in ARGUMENTS:
            return 0.0, min(max(self.range(source) * TABLED_HEADROOM, 1e-6), ARGUMENTS[name])
        reaches = [self.ranges[source, part] for part in parts(self.graph, source)]
        lo, hi = min(r.lo for r in reaches), max(r.hi for r in reaches)
        more = max((hi - lo) * (TABLED_HEADROOM - 1) / 2, 1e-6)
        below, above = lo - more, hi + more
        if name == "reciprocal":
            if lo <= 0 <= hi or max(-lo, hi) > DIVISORS * min(abs(lo), abs(hi)):
                raise EdgeLstmError(
                    f"what it divides by reaches from {lo:.4g} to {hi:.4g} in the calibration; accepted are values of "
                    f"one sign, the largest up to {DIVISORS} times the smallest"
                )
            if lo > 0:
                below = max(below, lo / TABLED_HEADROOM)
            else:
                above = min(above, hi / TABLED_HEADROOM)
        if name == "sqrt":
            below = max(below, 0.0)
        return (below + above) / 2, (above - below) / 2

    def finish(
        self, k: int, scale: Array, reach: int, *, vector: bool, bits: int = 0, function: Function | None = None
    ) -> tuple[n.Finish, float, int]:
        """Of accumulators with units ``scale`` that reach ``reach``: it, the unit and the limit of what it gives."""
        bits = bits or (VECTOR_BITS if vector else self.bits.activations)
        if function is not None and function.name not in (*LIMITS, "hard-sigmoid"):
            fine = vector or function.name == "reciprocal"
            return self.table(k, function, scale, reach, bits, between=BETWEEN_BITS if fine else self.bits.between)
        form = calibrated_format(bits, self.range(k), symmetric=True)
        lo, hi = form.min, form.max
        if function is not None:
            lower, upper = {
                "relu": (0.0, math.inf),
                "clip": (function.alpha, function.beta),
                "hard-sigmoid": (0.0, 1.0),
            }[function.name]
            lo, hi = (
                int(np.clip(round(v / form.scale) if math.isfinite(v) else math.copysign(2**20, v), lo, hi))
                for v in (lower, upper)
            )
        return n.Finish(Requantize.from_real(scale / form.scale, reach), lo, hi), form.scale, max(abs(lo), abs(hi))

    def middle(self, function: Function | None) -> float:
        """What a function's table has in its middle; 0 where there is none."""
        tabled = function is not None and function.name not in (*LIMITS, "hard-sigmoid", "leaky-relu")
        return self.domain(function.source, function.name)[0] if function is not None and tabled else 0.0

    def table(
        self, k: int, function: Function, scale: Array, reach: int, bits: int, between: int
    ) -> tuple[n.Finish, float, int]:
        middle, half = self.domain(function.source, function.name)
        step = half / 128
        with np.errstate(all="ignore"):
            values = FUNCTIONS[function.name](middle + np.arange(-128, 128) * step, function.alpha, function.beta)
        values = np.nan_to_num(np.asarray(values), nan=0.0, posinf=1e30, neginf=-1e30)
        form = QFormat(bits, bits - 1, symmetric=True)
        if function.name == "reciprocal":
            form = calibrated_format(bits, float(np.abs(values).max()), symmetric=True)
        elif function.name not in ARGUMENTS:
            form = calibrated_format(bits, self.range(k), symmetric=True)
        lo, hi = -128 << between, ((127 << between) - 1) if between else 127
        requantize = Requantize.from_real(scale / step * 2.0**between, reach)
        entries = form.quantize(values).astype(np.int16)
        return n.Finish(requantize, lo, hi, entries, between), form.scale, int(np.abs(entries.astype(int)).max())

    def rows(
        self,
        k: int,
        source: Quantized,
        weights: Array,
        bias: Array,
        *,
        column_unit: Array,
        column_limit: Any,
        steps: int | None,
        scored: bool = False,
        filter: Mapping[str, Any] | None = None,
    ) -> Quantized:
        """A dense layer or a filter, with the function behind it."""
        of = self.fused.get(k, k)
        function = self.graph.nodes[of] if of != k else None
        assert function is None or isinstance(function, Function)
        if function is not None and function.name == "hard-sigmoid":
            weights, bias = weights * function.alpha, bias * function.alpha + function.beta
        bias = bias - self.middle(function)
        rows = quantize_rows(weights, bias, column_unit, shared=scored, bits=8 if scored else self.bits.weights)
        reach = accumulator_max(rows, np.asarray(column_limit, np.int64))
        common = {"weight_bits": 8 if scored else self.bits.weights, **(filter or {})}
        if scored:
            node = n.Affine(source.at, rows.weights, rows.bias, None, **common)
            return self.add(node, rows.scale, np.full(len(rows.scale), reach), steps)
        finish, unit, limit = self.finish(of, rows.scale, reach, vector=steps is None, function=function)
        node = n.Affine(source.at, rows.weights, rows.bias, finish, **common)
        return self.add(node, np.full(len(rows.scale), unit), np.full(len(rows.scale), limit), steps)

    def gain(
        self,
        k: int,
        source: Quantized,
        factor: Array,
        offset: Array,
        *,
        bits: int = 0,
        form: QFormat | None = None,
    ) -> Quantized:
        """``source * factor + offset``, with the function behind it; or in a format that is given."""
        of = self.fused.get(k, k) if form is None else k
        function = self.graph.nodes[of] if of != k else None
        assert function is None or isinstance(function, Function)
        if function is not None and function.name == "hard-sigmoid":
            factor, offset = factor * function.alpha, offset * function.alpha + function.beta
        offset = offset - self.middle(function)
        integers, bias, scale, reach = self.factors(source, factor, offset)
        if form is not None:
            finish = n.Finish(Requantize.from_real(scale / form.scale, reach), form.min, form.max)
            unit, limit = form.scale, form.max
        else:
            finish, unit, limit = self.finish(of, scale, reach, vector=source.vector, bits=bits, function=function)
        width = len(scale)
        node = n.Gain(source.at, integers, bias, finish)
        return self.add(node, np.full(width, unit), np.full(width, limit), source.steps)

    def factors(
        self, source: Quantized, factor: Array, offset: Array
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], Array, int]:
        """Integer factors and offsets, the unit of their accumulators and how far these reach."""
        shift = min(14, FACTOR_BITS - 1 - int(source.limit.max()).bit_length())
        scale = np.maximum(np.abs(factor) * source.unit / 2.0**shift, np.abs(offset) / 2.0 ** (FACTOR_BITS - 1))
        scale = np.maximum(scale, 1e-30)
        integers = np.rint(factor * source.unit / scale).astype(np.int32)
        bias = np.rint(offset / scale).astype(np.int32)
        reach = int((np.abs(integers.astype(np.int64)) * source.limit + np.abs(bias.astype(np.int64))).max())
        return integers, bias, scale, reach

    def uniform(self, k: int, source: Quantized, bits: int = 0) -> Quantized:
        """The same in one unit."""
        width = len(source.unit)
        bits = bits or (VECTOR_BITS if source.vector else self.bits.activations)
        form = calibrated_format(bits, self.range(k), symmetric=True)
        return self.gain(k, source, np.ones(width), np.zeros(width), form=form)

    def one_unit(self, k: int) -> Quantized:
        source = self.made[k]
        return source if len(set(source.unit.tolist())) == 1 else self.uniform(k, source)

    def pair(self, k: int, left: Quantized, right: Quantized, kind: Any, a: Array, b: Array) -> Quantized:
        """The sum, or the larger or smaller, of ``a left`` and ``b right``."""
        units = np.abs(a) * left.unit, np.abs(b) * right.unit
        limit = int(max(left.limit.max(), right.limit.max()))
        shift = min(14, FACTOR_BITS - 1 - limit.bit_length())
        scale = np.maximum(*units) / 2.0**shift
        factors = [np.rint(f * q.unit / scale).astype(np.int32) for f, q in ((a, left), (b, right))]
        reach = 2 * limit << shift
        vector = left.vector and right.vector
        finish, unit, most = self.finish(k, scale, reach, vector=vector)
        steps = left.steps if right.vector else right.steps
        made = n.Combine(left.at, right.at, kind, finish, *factors)
        return self.add(made, np.full(len(scale), unit), np.full(len(scale), most), steps)


def needed(graph: FloatGraph, scores: int) -> set[int]:
    """What the scores are made of, and they."""
    found = {scores}
    for k in range(scores, -1, -1):
        if k in found:
            found.update(graph.nodes[k].sources)
    return found
