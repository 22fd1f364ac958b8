"""A random graph of integer nodes while it is made, by Python's integers alone; imports nothing of edge-lstm."""

from __future__ import annotations

import random
from typing import Any

from golden_arithmetic import Json, Tables, Vector
from golden_graph import Value, compute
from make_vectors import WEIGHT_MAX, Make, random_layer, random_requantize, random_samples

SEED = 20261124
WINDOWS = 2
WHOLE_EXP = 8 * 2**12
"""The range of exp, in units of its argument."""
BETWEEN = 5
"""Bits between two entries of an interpolated table."""


class Graph:
    """Nodes are added one by one; each is computed at once, so that factors suit what is really seen.

    Args:
        name: Of the case; with the seed it decides everything.
        tables: Those of the recurrent layers.
        inputs, steps: Of the samples.
        input_bits: 8 or 16.
    """

    def __init__(self, name: str, tables: Tables, inputs: int = 2, steps: int = 8, input_bits: int = 8) -> None:
        self.rng, self.tables = random.Random(f"{SEED} {name}"), tables
        highest = 2 ** (input_bits - 1) - 1
        self.x = [random_samples(self.rng, inputs, steps, highest) for _ in range(WINDOWS)]
        self.case: Json = {"name": name, "input_bits": input_bits, "task": "classify", "softmax": None, "nodes": []}
        self._values = [[Value(samples)] for samples in self.x]
        self._reach = [highest]

    @property
    def last(self) -> int:
        """The newest node."""
        return len(self._reach) - 1

    def width(self, k: int) -> int:
        return self._values[0][k].width

    def steps(self, k: int) -> int:
        return len(self._values[0][k].steps)

    def seen(self, k: int) -> Vector:
        """Every integer of a value."""
        return [v for values in self._values for step in values[k].steps for v in step]

    def add(self, kind: str, reach: int, **fields: Any) -> int:
        """A node whose values are at most ``reach``."""
        node = {"kind": kind, **fields}
        for values in self._values:
            values.append(compute(node, values, self.tables))
        self.case["nodes"].append(node)
        self._reach.append(reach)
        assert max(map(abs, self.seen(self.last))) <= reach, (self.case["name"], node)
        return self.last

    def integers(self, count: int, most: int) -> Vector:
        return [self.rng.randint(-most, most) for _ in range(count)]

    # --- nodes with a finish -----------------------------------------------------------------------

    def finished(self, kind: str, reach: int, how: str | None, bits: int = 8, over: float = 1.4, **fields: Any) -> int:
        """A node whose accumulators are at most ``reach``.

        Args:
            kind: Of the node.
            reach: Of accumulators.
            how: ``limits``, ``positive`` ones, a ``table``, or one with bits ``between``; None for no finish.
            bits: Of the result.
            over: What the largest accumulator that is seen becomes, as a part of the largest limit.
            fields: Of the node.
        """
        if how is None:
            return self.add(kind, reach, **fields, finish=None)
        found = [compute({"kind": kind, **fields, "finish": None}, values, self.tables) for values in self._values]
        accs = [v for value in found for step in value.steps for v in step]
        n = BETWEEN if how == "between" else 0
        tabled, most = how in ("table", "between"), 2 ** (bits - 1) - 1
        lo, hi = (-128 * 2**n, 127 * 2**n - (n > 0)) if tabled else (0 if how == "positive" else -most, most)
        requantize = random_requantize(self.rng, found[0].width, reach, over * hi / max(1, *map(abs, accs)))
        table = [self.rng.randint(-most - 1, most) for _ in range(256)] if tabled else None
        given = {"requantize": requantize, "lo": lo, "hi": hi, "table": table, "between_bits": n}
        return self.add(kind, most + 1, **fields, finish=given)

    def affine(self, source: int, outputs: int, how: str | None = "limits", **options: Any) -> int:
        """A filter or a dense layer; options are those of the node, and ``bits``, ``weight_bits``."""
        node = {"taps": 1, "stride": 1, "dilation": 1, "pads": [0, 0], "depthwise": False, "weight_bits": 8}
        bits = options.pop("bits", 8)
        node |= options
        most, reads = WEIGHT_MAX[node["weight_bits"]], node["taps"] * (1 if node["depthwise"] else self.width(source))
        weights = [self.integers(reads, most) for _ in range(outputs)]
        bias = self.integers(outputs, max(map(abs, self.seen(source))) * most)
        terms = [sum(map(abs, row)) * self._reach[source] for row in weights]
        reach = max(a + abs(b) for a, b in zip(terms, bias, strict=True))
        fields = {"source": source, "weights": weights, "bias": bias, **node}
        return self.finished("affine", reach, how, bits, **fields)

    def gain(self, source: int, how: str = "limits", bits: int = 8) -> int:
        factor = self.integers(self.width(source), 2**12)
        bias = self.integers(self.width(source), 2**11 * max(map(abs, self.seen(source))))
        reach = self._reach[source] * 2**12 + max(map(abs, bias))
        return self.finished("gain", reach, how, bits, source=source, factor=factor, bias=bias)

    def combine(self, left: int, right: int, operation: str, how: str = "limits", bits: int = 8) -> int:
        fields: Json = {"left": left, "right": right, "operation": operation}
        fields |= {"left_factor": None, "right_factor": None}
        reach = self._reach[left] * self._reach[right]
        if operation != "mul":
            width = max(self.width(left), self.width(right))
            fields |= {"left_factor": self.integers(width, 2**10), "right_factor": self.integers(width, 2**10)}
            reach = 2**10 * (self._reach[left] + self._reach[right])
        return self.finished("combine", reach, how, bits, **fields)

    def normalized(self, source: int, shift: int, epsilon: int, how: str = "limits") -> int:
        factor, bias = self.integers(self.width(source), 2**10), self.integers(self.width(source), 2**21)
        fields: Json = {"source": source, "shift": shift, "epsilon": epsilon, "factor": factor, "bias": bias}
        return self.finished("normalized", 2**25, how, **fields)

    def reduced(self, source: int, over_time: str, how: str | None = None, bits: int = 8) -> int:
        reach = self._reach[source] * (self.steps(source) if over_time == "sum" else 1)
        return self.finished("reduced", reach, how, bits, source=source, over_time=over_time)

    # --- nodes without -----------------------------------------------------------------------------

    def rows(self, source: int, count: int, width: int, bits: int = 8) -> int:
        most = 2 ** (bits - 1) - 1
        table = [self.integers(width, most) for _ in range(count)]
        return self.add("rows", most, source=source, table=table)

    def exponentials(self, source: int, over: str) -> int:
        """The least argument is at times below what exp is tabulated of."""
        seen = self.seen(source)
        rows = self.width(source) if over == "features" else 1
        factor = 1.2 * WHOLE_EXP / max(1, max(seen) - min(seen))
        requantize = random_requantize(self.rng, rows, 2 * self._reach[source], factor)
        return self.add("exponentials", 2**15, source=source, requantize=requantize, over=over)

    def padded(self, value: Vector, *steps: int) -> None:
        """Put a value in the place of some samples, before there are nodes."""
        assert not self.case["nodes"]
        for k, samples in enumerate(self.x):
            for t in steps:
                samples[t - k] = list(value)

    def differs(self, source: int, *value: int) -> int:
        return self.add("differs", 1, source=source, value=list(value))

    def layers(
        self,
        source: int,
        makes: dict[str, Make],
        begins: dict[str, int] | None = None,
        mask: int | None = None,
        **states: bool,
    ) -> int:
        """Recurrent layers, ``<`` in front of a reversed one's name; with random ``initial`` states at will."""
        made = []
        for key, make in makes.items():
            given, outputs = random_layer(self.rng, make, self.width(source), self._reach[source], None, self.tables)
            initial = {"h": self.integers(outputs, 2 ** (given["h"][0] - 1) - 1)} if states.get("initial") else {}
            made.append({**given, "reverse": key[0] == "<", "beside": False, "initial": initial})
        more = {} if mask is None else {"mask": mask}
        return self.add("layers", 2**15, source=source, layers=made, begins=begins or {}, **more)

    def pick(self, source: int, *columns: int) -> int:
        return self.add("pick", self._reach[source], source=source, columns=list(columns))

    def join(self, *parts: int) -> int:
        return self.add("join", max(self._reach[k] for k in parts), parts=list(parts))

    def moved(self, source: int, stride: int, offset: int, steps: int) -> int:
        return self.add("moved", self._reach[source], source=source, stride=stride, offset=offset, steps=steps)

    def at(self, source: int, step: int) -> int:
        return self.add("at", self._reach[source], source=source, step=step % self.steps(source))

    def largest(self, source: int, size: int, stride: int, *pads: int) -> int:
        given = list(pads or (0, 0))
        return self.add("largest", self._reach[source], source=source, size=size, stride=stride, pads=given)

    def repeated(self, source: int, count: int) -> int:
        return self.add("repeated", self._reach[source], source=source, count=count)

    # --- the end -----------------------------------------------------------------------------------

    def scores(self, source: int, outputs: int = 3, *, probabilities: bool = False, task: str = "classify") -> None:
        """Weights without a finish; perhaps with probabilities behind them."""
        self.affine(source, outputs, None)
        self.case["task"] = task
        if probabilities:
            seen = self.seen(self.last)
            factor = WHOLE_EXP / max(1, max(seen) - min(seen))
            self.case["softmax"] = random_requantize(self.rng, outputs, 2 * self._reach[-1], factor)
