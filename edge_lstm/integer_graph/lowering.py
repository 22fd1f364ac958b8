"""``QuantizedGraph`` to Programs.

v >> n rounds half_up (docs/ARITHMETIC.md, R4), sat is ``SATURATE``; fin(a) = sat(requantize(a)), or with a table
table[sat(requantize(a))], of the nearest entry or between two:

(1)  y_t  = fin(W [v_ts+o; v_ts+o+d; ...] + b)      a filter of stride s and dilation d over neighbouring steps; a
                                                    dense layer reads one step; steps outside of the window are zeros
(2)  y    = fin(v f + b)                            feature by feature
(3)  y    = fin(v f + w g), fin(max(v f, w g)), fin(v w)   two values
(4)  y    = E[sat(v)]                               a row of a table, by its number
(5)  c    = (n v - sum v) >> k; q = sum c^2 + e     layer normalization over n features
     y    = fin((c / sqrt(q)) f + b)
(6)  e    = exp[sat(requantize(v - max v))]         softmax over the features, or over time: in three passes, for the
     y    = sat(e / sum e)                          largest, for the sum, and for the shares
(7)  y_t  = max(v_ts+o, v_ts+o+1, ...)              the largest of neighbours
(8)  p'   = sat(p + v), max(p, v), min(p, v)        over all steps; y = fin(p)
(9)  m    = 1 where max |v - w| > 0, else 0         the mask of steps that are no padding
(10) s'   = sat(s + (n - s where m, else 0))        each state s of recurrent layers with a mask; n is its new value
     recurrent layers                               as in ``edge_lstm.lower``, (1) to (9)

Each value is made in a stage that goes through as many steps as it has, with what else has as many; a vector in a stage
of one step, or in the head where no sequence reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm import lower_heads as heads
from edge_lstm.arrays import expect
from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.integer_graph import nodes as n
from edge_lstm.integer_graph.emit import Emitter
from edge_lstm.integer_graph.model import QuantizedGraph, layer_name
from edge_lstm.integer_graph.values import Part, Value, Writer, tap_of
from edge_lstm.layers import QuantizedLayer
from edge_lstm.ops import Op
from edge_lstm.program import Port, ProgramBuilder, State
from edge_lstm.stages import SAMPLES, Lowered
from edge_lstm.symbols import IntegerLayer

HEAD = 10**6
"""Place of the head."""
MAX_HELD = 2**26
"""Integers of all their steps that stages keep for later ones, and are given by earlier ones."""
MAX_FEATURES = 2**15
"""Of a value, and of what a filter sees at once."""
MAX_INSTRUCTIONS, MAX_MATRICES = 2**16, 2**24
"""Of all stages; places of matrices that are not weights."""
MAX_PARTS = 64
"""Of a value; where more are joined, they are put together."""


def lower_graph(model: QuantizedGraph) -> Lowered:
    """The Programs of a graph.

    Raises:
        RangeError: It can't be proved that nothing overflows; names the node, the value and the range (R6).
        EdgeLstmError: Nodes don't fit each other; names the node.
    """
    return _Lowering(model).lowered()


class _Lowering:
    def __init__(self, model: QuantizedGraph) -> None:
        self._model, self._window = model, model.signature.steps
        self._writers: list[Writer] = []
        self._head = Writer(HEAD, ProgramBuilder(f"{model.signature.name}.head"), 1)
        limits = model.input_format
        self._x = Port(SAMPLES, len(model.signature.channels), limits.min, limits.max)
        self._values: list[Value] = []
        self._in_head: list[bool] = []
        self._matrices = 0

    def lowered(self) -> Lowered:
        for k, node in enumerate(self._model.nodes):
            try:
                self._values.append(self._value(k, node))
                self._check_size(self._values[-1])
                expect("its units", self._model.units[k], (self._values[-1].width,))
            except EdgeLstmError as error:
                what = f"node {k} ({type(node).__name__.lower()})"
                raise type(error)(str(error) if what in str(error) else f"{what}: {error}") from None
        scores = self._values[-1]
        writer = self._head if scores.vector else self._last_writer(scores)
        self._check(scores.width == len(self._model.signature.classes), f"it has {scores.width} scores")
        name = self._read(writer, scores)
        b = self._head.builder
        if writer is not self._head:
            port = writer.port(self._named(writer, name))
            name = b.port(self._head.inputs.setdefault(port.name, port)).name
        lo, hi = b.interval(name)
        outputs = heads.outputs(b, self._model, b.emit(Op.SATURATE, "scores", name, lo=lo, hi=hi))
        stages = tuple(w.stage(self._window) for w in self._writers if w.states)  # others are read by nothing
        self._check(bool(stages), "it has no sequence")
        found = Lowered(stages, self._head.program(outputs), not scores.vector)
        held = _held(found, self._window)
        self._check(held <= MAX_HELD, f"stages hold {held} integers of their steps, and may {MAX_HELD}")
        return found

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            raise EdgeLstmError(f"{what}, which a graph for {self._model.signature.name} can't have")

    def _check_size(self, value: Value) -> None:
        """What a small file may make us compute."""
        self._check(value.width <= MAX_FEATURES, f"a value of {value.width} features, and may have {MAX_FEATURES}")
        count = sum(len(w.builder.instructions) + len(w.inputs) for w in (*self._writers, self._head))
        self._check(count <= MAX_INSTRUCTIONS, f"it needs {count} instructions, and may {MAX_INSTRUCTIONS}")

    def _check_matrix(self, rows: int, columns: int) -> None:
        """Before a matrix that is no weights is made."""
        self._matrices += rows * columns
        self._check(
            self._matrices <= MAX_MATRICES, f"its matrices have {self._matrices} places, and may {MAX_MATRICES}"
        )

    # --- where values are made ---------------------------------------------------------------------

    def _writer(self, read: Sequence[Value], steps: int, *, reverse: bool) -> Writer:
        """A stage that can read values: the last one of its kind, or a new one."""
        for writer in reversed(self._writers):
            if (writer.steps, writer.reverse) == (steps, reverse):
                if all(self._readable(writer, value) for value in read):
                    return writer
                break
        return self._new_writer(steps, reverse=reverse)

    def _new_writer(self, steps: int, *, reverse: bool) -> Writer:
        number = str(len(self._writers)) if self._writers else ""
        name = f"{self._model.signature.name}.step{number}"
        self._writers.append(Writer(len(self._writers), ProgramBuilder(name), steps, reverse))
        return self._writers[-1]

    def _last_writer(self, scores: Value) -> Writer:
        """The last stage: where one comes after that of the scores, which nothing reads, a new one."""
        writer = self._writer([scores], scores.steps, reverse=False)
        return writer if writer is self._writers[-1] else self._new_writer(scores.steps, reverse=False)

    def _readable(self, writer: Writer, value: Value) -> bool:
        return all(
            part.writer is None
            or part.writer.place < writer.place
            or (part.writer is writer and part.plain and not value.vector)
            for part in value.parts
        )

    def _vector_writer(self, k: int, read: Sequence[Value]) -> Writer:
        """The head, unless a sequence needs the vector or something before it is made of one step."""
        return self._head if self._only_in_head(k) else self._writer(read, 1, reverse=False)

    def _only_in_head(self, k: int) -> bool:
        """Whether a vector goes to the scores through vectors alone."""
        if not self._in_head:
            vectors = _vectors(self._model.nodes)
            self._in_head = [vector and vectors[-1] for vector in vectors]
            for at in range(len(self._in_head) - 1, -1, -1):
                if not self._in_head[at]:
                    for source in n.sources(self._model.nodes[at]):
                        self._in_head[source] = False
        return self._in_head[k]

    def _read(self, writer: Writer, value: Value) -> str:
        """The name of a value in a stage, or in the head."""
        names = [self._read_part(writer, part, vector=value.vector) for part in value.parts]
        if len(names) == 1:
            return names[0]
        for instruction in writer.builder.instructions:
            if instruction.op is Op.CONCAT and instruction.args == tuple(names):
                return instruction.out
        return writer.builder.emit(Op.CONCAT, f"joined{writer.place % HEAD}.{len(writer.builder.instructions)}", *names)

    def _read_part(self, writer: Writer, part: Part, *, vector: bool) -> str:
        if part.writer is writer:
            assert part.plain
            return part.name
        port = self._x if part.writer is None else part.port or part.writer.port(part.name)
        if writer is self._head:
            self._head.builder.port(self._head.inputs.setdefault(port.name, port))
            return port.name
        last = part.writer is not None and vector
        steps = self._window if part.writer is None else part.writer.steps
        return writer.read(port, tap_of(part, port, last=last), steps)

    def _named(self, writer: Writer, name: str) -> str:
        """A value that an instruction makes; a copy of an input or a state."""
        if any(i.out == name for i in writer.builder.instructions):
            return name
        copy, (lo, hi) = f"{name}.copy{writer.place}", writer.builder.interval(name)
        if any(i.out == copy for i in writer.builder.instructions):
            return copy
        return writer.builder.emit(Op.SATURATE, copy, name, lo=lo, hi=hi)

    def _made(self, writer: Writer, name: str, *, vector: bool = False) -> Value:
        name = self._named(writer, name)
        return Value((Part(writer, name, writer.builder.length(name)),), writer.steps, vector)

    def _by_step(self, k: int, read: Sequence[Value], emit: Callable[[Emitter, Sequence[str]], str]) -> Value:
        """A node that computes each step by itself."""
        vector = all(value.vector for value in read)
        counts = {value.steps for value in read if not value.vector}
        self._check(len(counts) <= 1, f"node {k} reads sequences of {sorted(counts)} steps")
        writer = self._vector_writer(k, read) if vector else self._writer(read, counts.pop(), reverse=False)
        names = [self._read(writer, value) for value in read]
        return self._made(writer, emit(Emitter(writer.builder, self._name(k)), names), vector=vector)

    def _name(self, k: int) -> str:
        return f"{type(self._model.nodes[k]).__name__.lower()}{k}"

    # --- nodes -------------------------------------------------------------------------------------

    def _value(self, k: int, node: n.QuantizedNode) -> Value:
        if isinstance(node, n.Samples):
            return Value((Part(None, SAMPLES, self._x.length, self._x),), self._window)
        read = [self._values[source] for source in n.sources(node)]
        for kind, lower in self._kinds().items():
            if isinstance(node, kind):
                return lower(k, node, read)
        raise AssertionError(node)

    def _kinds(self) -> Mapping[type[Any], Callable[[int, Any, list[Value]], Value]]:
        return {
            n.Affine: self._affine,
            n.Gain: lambda k, node, read: self._by_step(k, read, lambda e, v: e.gain(v[0], node)),
            n.Combine: lambda k, node, read: self._by_step(k, read, lambda e, v: e.combine(v[0], v[1], node)),
            n.Rows: lambda k, node, read: self._by_step(k, read, lambda e, v: e.rows(v[0], node)),
            n.Normalized: self._normalized,
            n.Exponentials: self._exponentials,
            n.Differs: lambda k, node, read: self._by_step(k, read, lambda e, v: e.differs(v[0], node)),
            n.Layers: self._layers,
            n.Pick: self._pick,
            n.Join: self._join,
            n.Moved: self._moved,
            n.At: self._at,
            n.Largest: self._largest,
            n.Reduced: self._reduced,
            n.Repeated: self._repeated,
        }

    def _taps(
        self, value: Value, taps: int, stride: int, dilation: int, pads: tuple[int, int], fills: Sequence[int] = ()
    ) -> list[Value]:
        """What each tap of a filter reads."""
        reach = (taps - 1) * dilation + 1
        steps = (value.steps + sum(pads) - reach) // stride + 1
        self._check(not value.vector and steps >= 1, f"a filter of {reach} steps on {value.steps}")
        self._check(taps * value.width <= MAX_FEATURES, f"a filter of {taps} steps of {value.width} features")
        return [self._steps_of(value, stride, tap * dilation - pads[0], steps, fills) for tap in range(taps)]

    def _steps_of(self, value: Value, stride: int, offset: int, steps: int, fills: Sequence[int] = ()) -> Value:
        """The steps ``t * stride + offset``, and ``fills``, of each part, or zeros where there are none."""
        found = value.moved(stride, offset, steps, fills or [0] * len(value.parts))
        if found is None:
            found = self._copied(value).moved(stride, offset, steps, [min(fills, default=0)])
        assert found is not None  # a copy has all its steps
        return found

    def _copied(self, value: Value) -> Value:
        """The same in one part, made by a stage of its own steps."""
        writer = self._writer([value], value.steps, reverse=False)
        return self._made(writer, self._read(writer, value), vector=value.vector)

    def _affine(self, k: int, node: n.Affine, read: list[Value]) -> Value:
        """(1)."""
        (value,) = read
        if node.taps == 1 and node.stride == 1 and not any(node.pads):
            return self._by_step(k, read, lambda e, v: e.affine(v, node))
        taps = self._taps(value, node.taps, node.stride, node.dilation, node.pads)
        return self._by_step(k, taps, lambda e, v: e.affine(v, node))

    def _normalized(self, k: int, node: n.Normalized, read: list[Value]) -> Value:
        """(5)."""
        self._check_matrix(read[0].width, read[0].width)
        return self._by_step(k, read, lambda e, v: e.normalized(v[0], node))

    def _largest(self, k: int, node: n.Largest, read: list[Value]) -> Value:
        """(7)."""
        lowest = [self._interval(part)[0] for part in read[0].parts]
        taps = self._taps(read[0], node.size, node.stride, 1, node.pads, lowest)
        return self._by_step(k, taps, lambda e, v: e.largest(v))

    def _interval(self, part: Part) -> tuple[int, int]:
        if part.writer is None:
            return self._x.lo, self._x.hi
        return part.writer.builder.interval(part.name)

    def _exponentials(self, k: int, node: n.Exponentials, read: list[Value]) -> Value:
        """(6)."""
        if node.over == "features":
            return self._by_step(k, read, lambda e, v: e.softmax(v[0], node.requantize, node.table))
        (value,) = read
        name, steps = self._name(k), value.steps
        self._check(not value.vector and value.width == 1, f"softmax over time of {value.width} features")
        highest = self._over_time(f"{name}.max", value, "max")
        writer = self._writer([value, highest], steps, reverse=False)
        e = Emitter(writer.builder, name)
        shares = self._made(
            writer,
            e.exponential(self._read(writer, value), self._read(writer, highest), node.requantize, node.table),
        )
        total = self._over_time(f"{name}.sum", shares, "sum")
        writer = self._writer([shares, total], steps, reverse=False)
        e = Emitter(writer.builder, f"{name}.share")
        (part,) = shares.parts
        assert part.writer is not None
        most = part.writer.builder.interval(part.name)[1] * steps
        least = max(1, int(node.table[-1]) // 2)  # the largest step has one of the table's last entries
        share = e.share(self._read(writer, shares), self._read(writer, total), least, most)
        return self._made(writer, share)

    def _over_time(self, name: str, value: Value, kind: str) -> Value:
        """(8): a state, as a vector."""
        writer = self._writer([value], value.steps, reverse=False)
        v = self._read(writer, value)
        lo, hi = writer.builder.interval(v)
        b, length = writer.builder, writer.builder.length(v)
        initial = None
        if kind == "sum":
            bound = max(abs(lo), abs(hi)) * value.steps
            port = b.port(Port(f"{name}.p", length, -bound, bound))
            added = b.emit(Op.ADD, f"{name}.added", port.name, v)
            following = b.emit(Op.SATURATE, f"{name}.p_next", added, lo=-bound, hi=bound)
        else:
            port = b.port(Port(f"{name}.p", length, lo, hi))
            first = lo if kind == "max" else hi
            initial = b.constant(f"{name}.p_initial", np.full(length, first, np.int32)) if first else None
            following = Emitter(b, f"{name}.p_next").extreme(port.name, v, kind)
        writer.states.append(State(port, following, initial))
        return Value((Part(writer, following, length, port),), 1, vector=True)

    def _reduced(self, k: int, node: n.Reduced, read: list[Value]) -> Value:
        (value,) = read
        self._check(not value.vector, f"node {k} reduces a vector over time")
        found = self._over_time(self._name(k), value, node.over_time)
        if node.finish is None:
            return found
        finish = node.finish
        writer = self._vector_writer(k, [found])
        e = Emitter(writer.builder, f"{self._name(k)}.y")
        return self._made(writer, e.finish(self._read(writer, found), finish), vector=True)

    def _layers(self, k: int, node: n.Layers, read: list[Value]) -> Value:
        value = read[0]
        self._check(not value.vector, "recurrent layers read a vector")
        begins = {key: self._beginning(key, self._values[source]) for key, source in node.begins.items()}
        mask = None if node.mask is None else self._mask(self._values[node.mask], value.steps)
        parts: dict[tuple[str, int], Part] = {}
        for j, layer in enumerate(node.layers):
            self._check(layer.inputs == value.width, f"layer {j} takes {layer.inputs} inputs, not {value.width}")
            name = layer_name(k, j, node)
            mine = {key.partition(".")[2]: v for key, v in begins.items() if key.partition(".")[0] == str(j)}
            for state, part in self._layer(name, layer, value, mine, mask).items():
                parts[state, j] = part
        ordered = [parts[state, j] for state in ("h", "c") for j in range(len(node.layers)) if (state, j) in parts]
        return Value(tuple(ordered), value.steps)

    def _layer(
        self, name: str, layer: QuantizedLayer, value: Value, begins: Mapping[str, Value], mask: Value | None
    ) -> dict[str, Part]:
        """The states of a recurrent layer after each step."""
        kind = cell(layer.cell)
        read = [value, *begins.values(), *([] if mask is None else [mask])]
        writer = self._writer(read, value.steps, reverse=layer.reverse)
        machine = IntegerLayer(writer.builder, name, layer, self._read(writer, value))
        following = kind.step(machine, machine.last())
        found = {}
        for state in kind.states:
            initial = None
            if state in layer.initial:
                initial = writer.builder.constant(f"{name}.{state}_initial", layer.initial[state])
            port, made = machine.ports[state], following[state].name
            if mask is not None:
                wide = self._wide_mask(writer, f"{name}.mask{port.length}", mask, port.length)
                made = Emitter(writer.builder, f"{name}.{state}").masked(wide, port, made)
            writer.states.append(State(port, made, initial))
            if state in begins:
                writer.starts[port.name] = self._start(begins[state], port)
            found[state] = Part(writer, made, port.length, port)
        return found

    def _mask(self, value: Value, steps: int) -> Value:
        """A sequence of zeros and ones."""
        what = "a vector" if value.vector else f"{value.width} features at {value.steps} steps"
        fits = not value.vector and (value.width, value.steps) == (1, steps)
        self._check(fits, f"the mask of {steps} steps is {what}")
        lo, hi = self._interval(value.parts[0])
        self._check(0 <= lo <= hi <= 1, f"a mask reaches from {lo} to {hi}")
        return value

    def _wide_mask(self, writer: Writer, name: str, mask: Value, length: int) -> str:
        """A mask beside all features of a state; made once."""
        one, b = self._read(writer, mask), writer.builder
        known = any(i.out == name for i in b.instructions)
        return name if known else heads.spread(b, name, one, length)

    def _beginning(self, key: str, value: Value) -> Value:
        """A vector in one part."""
        self._check(value.vector, f"{key} begins with a sequence")
        return value if len(value.parts) == 1 else self._copied(value)

    def _start(self, value: Value, port: Port) -> str:
        """The state of an earlier stage with whose last value a state begins."""
        (part,) = value.parts
        assert part.writer is not None
        source = part.port or part.writer.port(part.name)
        fits = (source.length, source.lo >= port.lo, source.hi <= port.hi) == (port.length, True, True)
        self._check(fits, f"{port.name} begins with what reaches from {source.lo} to {source.hi}")
        return source.name

    def _pick(self, k: int, node: n.Pick, read: list[Value]) -> Value:
        """Whole parts cost nothing."""
        (value,) = read
        self._check(max(node.columns) < value.width, f"feature {max(node.columns)} of {value.width} is taken")
        starts = np.cumsum([0, *(part.width for part in value.parts)]).tolist()
        found, columns = [], list(node.columns)
        for part, start in zip(value.parts, starts, strict=False):
            wanted = list(range(start, start + part.width))
            if columns[: len(wanted)] == wanted:
                found.append(part)
                columns = columns[len(wanted) :]
        if not columns:
            return Value(tuple(found), value.steps, value.vector)
        self._check_matrix(len(columns), value.width)
        return self._by_step(k, read, lambda e, v: e.pick(v[0], node.columns))

    def _join(self, k: int, node: n.Join, read: list[Value]) -> Value:  # noqa: ARG002
        parts = sum(len(value.parts) for value in read)
        if len({value.vector for value in read}) > 1 or parts > MAX_PARTS:
            self._check(sum(value.width for value in read) <= MAX_FEATURES, f"more than {MAX_FEATURES} features")
            return self._by_step(k, read, lambda e, v: e.joined(v))
        self._check(len({value.steps for value in read}) == 1, "sequences of different lengths are joined")
        return Value(tuple(part for value in read for part in value.parts), read[0].steps, read[0].vector)

    def _moved(self, k: int, node: n.Moved, read: list[Value]) -> Value:  # noqa: ARG002
        (value,) = read
        self._check(not value.vector, "steps of a vector are taken")
        return self._steps_of(value, node.stride, node.offset, node.steps)

    def _at(self, k: int, node: n.At, read: list[Value]) -> Value:
        """The state after a stage's last step, or a copy of another step."""
        (value,) = read
        self._check(not value.vector and 0 <= node.step < value.steps, f"step {node.step} of {value.steps} is taken")
        parts: list[Part] = []
        for j, part in enumerate(value.parts):
            end = part.writer is not None and (0 if part.writer.reverse else value.steps - 1)
            if part.writer is not None and part.plain and node.step == end:
                parts.append(part)
                continue
            one = self._steps_of(Value((part,), value.steps), 1, node.step, 1)
            writer = self._writer([one], 1, reverse=False)
            name = self._read(writer, one)
            lo, hi = writer.builder.interval(name)
            copy = writer.builder.emit(Op.SATURATE, f"{self._name(k)}.y{j}", name, lo=lo, hi=hi)
            parts += self._made(writer, copy).parts
        return Value(tuple(parts), 1, vector=True)

    def _repeated(self, k: int, node: n.Repeated, read: list[Value]) -> Value:  # noqa: ARG002
        (value,) = read
        self._check(value.vector, "a sequence is repeated")
        writer = self._writer(read, node.count, reverse=False)
        return self._made(writer, self._read(writer, value))


def _held(lowered: Lowered, window: int) -> int:
    """Integers of their steps that stages keep, and are given."""
    kept, found = set(lowered.kept), 0
    for stage in lowered.stages:
        states = sum(port.length for port in stage.states if port.name in kept)
        given = sum(port.length for port in stage.program.inputs if port.name in stage.taps)
        found += (stage.steps or window) * (states + given)
    return found


def _vectors(nodes: Sequence[n.QuantizedNode]) -> list[bool]:
    """Of each node whether it is a vector."""
    found: list[bool] = []
    for node in nodes:
        if isinstance(node, n.At | n.Reduced):
            found.append(True)
        elif isinstance(node, n.Samples | n.Repeated):
            found.append(False)
        else:
            found.append(all(found[k] for k in n.sources(node)))
    return found
