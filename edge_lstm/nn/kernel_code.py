"""Straight-line code on the vectors of a time step, and the C that runs it through all steps of many windows.

A ``Code`` is a list of statements like a ``Program``, in integers or in real numbers, and knows nothing of sizes,
weights or shifts: these are arguments, so that a library built once serves every batch and every size. Statements that
work element by element are collected to few loops between matrix products; what nothing needs is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_lstm.nn.kernel_c import beginning

Kind = Literal["real", "integer"]
_STEPS = ("steps", "windows")


@dataclass(frozen=True)
class Value:
    """A vector of one time step: ``length`` names its size."""

    name: str
    length: str
    kind: Kind


@dataclass(frozen=True)
class Number:
    """An argument that is one number."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Table:
    """An argument that is a table of integers."""

    name: str


Operand = Value | Number | Table


@dataclass(frozen=True)
class _Elements:
    """``out[j] = expression`` of element j of the arguments."""

    out: Value
    expression: str
    arguments: tuple[Operand, ...]

    @property
    def needs(self) -> tuple[Value, ...]:
        return tuple(a for a in self.arguments if isinstance(a, Value))


@dataclass(frozen=True)
class _Product:
    """``out = start + matrix v``."""

    out: Value
    matrix: str
    v: Value
    start: Value | None

    @property
    def needs(self) -> tuple[Value, ...]:
        return (self.v,) if self.start is None else (self.v, self.start)


@dataclass(frozen=True)
class _Concat:
    out: Value
    parts: tuple[Value, ...]

    @property
    def needs(self) -> tuple[Value, ...]:
        return self.parts


@dataclass(frozen=True)
class _Carried:
    state: Value
    following: Value


Statement = _Elements | _Product | _Concat
Source = Literal["stream", "before", "vector", "carried", "inside"]


@dataclass
class Code:
    """A kernel while it is written; what it is given and gives has names.

    Attributes:
        backwards: From the last step to the first.
        sources: Values that are not computed, and where they come from.
        statements: In order.
        carried, stored, summed: What is kept from step to step, written at each, and added up over all.
    """

    backwards: bool = False
    sources: dict[Value, Source] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    carried: list[_Carried] = field(default_factory=list)
    stored: dict[str, Value] = field(default_factory=dict)
    summed: dict[str, Value] = field(default_factory=dict)

    def source(self, name: str, length: str, kind: Kind, source: Source) -> Value:
        """A value that is given.

        Args:
            name: Of the argument.
            length: Of its size.
            kind: Of its elements.
            source: ``stream`` (length, steps, windows); ``before``, such a one at the step before; ``vector``
                (length,); ``carried`` from the step before; ``inside``: 1 where a window has the step, else 0.
        """
        value = Value(name, length, kind)
        self.sources[value] = source
        return value

    def elements(self, length: str, kind: Kind, expression: str, *arguments: Operand) -> Value:
        """A C expression of elements ``{0}``, ``{1}`` and so on."""
        return self._add(_Elements(Value(self._fresh(), length, kind), expression, arguments))

    def product(self, length: str, matrix: str, v: Value, start: Value | None = None) -> Value:
        """``start`` and a matrix (length, length of v) times ``v``."""
        return self._add(_Product(Value(self._fresh(), length, v.kind), matrix, v, start))

    def concat(self, length: str, parts: Sequence[Value]) -> Value:
        """The parts one after the other."""
        return self._add(_Concat(Value(self._fresh(), length, parts[0].kind), tuple(parts)))

    def carry(self, state: Value, following: Value) -> None:
        """What a carried value is in the next step."""
        self.carried.append(_Carried(state, following))

    def _fresh(self) -> str:
        return f"v{len(self.statements)}"

    def _add(self, statement: Statement) -> Value:
        self.statements.append(statement)
        return statement.out


@dataclass(frozen=True)
class Argument:
    """A pointer that a kernel is given.

    Attributes:
        name: Of what it points to.
        kind: Of its elements.
        shape: Names of its sizes; empty where the caller alone knows.
        optional: It may be missing: zero where it is read, and nothing where it is written.
    """

    name: str
    kind: Kind
    shape: tuple[str, ...]
    optional: bool


@dataclass(frozen=True)
class Written:
    """C of a ``Code``.

    Attributes:
        text: All of it.
        sizes: Names of its sizes, after ``steps``, ``windows`` and the distance between elements of a stream.
        pointers: After scratch memory and the lengths of windows.
        integers, reals: Names of its numbers.
        scratch: (size, kind) of each array of ``size * LANES`` elements that it keeps in scratch memory.
    """

    text: str
    sizes: tuple[str, ...]
    pointers: tuple[Argument, ...]
    integers: tuple[str, ...]
    reals: tuple[str, ...]
    scratch: tuple[tuple[str, Kind], ...]


def write(code: Code, real: str) -> Written:
    """C of a ``Code`` whose real numbers are ``float`` or ``double``."""
    return _Writer(code).written(real)


class _Writer:
    def __init__(self, code: Code) -> None:
        self._code = code
        self._made = {s.out: s for s in code.statements}
        self._needed = self._live()
        self._sizes: dict[str, None] = {}
        self._pointers: dict[str, Argument] = {}
        self._numbers: dict[Kind, dict[str, None]] = {"integer": {}, "real": {}}
        self._scratch: list[tuple[str, Kind]] = []
        self._allocations: list[str] = []
        self._arrays: dict[Value, str] = {}
        self._groups: list[str] = []

    def _live(self) -> set[Value]:
        found: set[Value] = set()
        ends = (*self._code.stored.values(), *self._code.summed.values(), *(c.following for c in self._code.carried))
        pending = list(ends)
        while pending:
            value = pending.pop()
            if value not in found:
                found.add(value)
                pending += self._made[value].needs if value in self._made else ()
        return found

    # --- arguments and arrays -------------------------------------------------------------------------

    def _size(self, name: str) -> str:
        self._sizes[name] = None
        return f"n_{_identifier(name)}"

    def _pointer(self, name: str, kind: Kind, shape: tuple[str, ...] = (), *, optional: bool = False) -> str:
        self._pointers.setdefault(name, Argument(name, kind, shape, optional))
        return f"p_{_identifier(name)}"

    def _array(self, value: Value, suffix: str = "") -> str:
        """Lanes of a value in scratch memory."""
        if suffix or value not in self._arrays:
            name = f"a_{_identifier(value.name)}{suffix}"
            self._scratch.append((value.length, value.kind))
            size = self._size(value.length)
            self._allocations.append(f"{value.kind} *{name} = taken(&scratch, {size}, sizeof(*{name}));")
            if suffix:
                return name
            self._arrays[value] = name
        return self._arrays[value]

    # --- the text ------------------------------------------------------------------------------------

    def written(self, real: str) -> Written:
        once: list[str] = []
        each_block: list[str] = []
        each_step: list[str] = []
        for value, source in self._code.sources.items():
            if source == "carried" or value in self._needed:
                for when, line in self._given(value, source):
                    {"once": once, "block": each_block, "step": each_step}[when].append(line)
        each_step += self._body()
        sums = []
        for name, value in self._code.stored.items():
            pointer = self._pointer(f"to {name}", value.kind, (value.length, *_STEPS), optional=True)
            place = f"{self._size(value.length)}, stride, {self._array(value)}, n, {pointer} + at"
            each_step.append(f"if ({pointer}) {value.kind}_store({place});")
        for name, value in self._code.summed.items():
            size, total = self._size(value.length), self._array(value, "_sum")
            once.append(f"memset({total}, 0, (size_t){size} * LANES * sizeof(*{total}));")
            each_step.append(f"real_sum({size}, {self._array(value)}, {total});")
            sums.append(f"real_total({size}, {total}, {self._pointer(f'sum {name}', 'real', (value.length,))});")
        each_step += self._next()
        lines = self._main(once, each_block, each_step, sums)
        return Written(
            "\n".join([beginning(real), *self._groups, *lines, ""]),
            tuple(self._sizes),
            tuple(self._pointers.values()),
            tuple(self._numbers["integer"]),
            tuple(self._numbers["real"]),
            tuple(self._scratch),
        )

    def _main(self, once: list[str], each_block: list[str], each_step: list[str], sums: list[str]) -> list[str]:
        arguments = [f"const int64_t n_{_identifier(n)} = sizes[{k}];" for k, n in enumerate(self._sizes, 3)]
        arguments += [
            f"{a.kind} *p_{_identifier(a.name)} = pointers[{k}];" for k, a in enumerate(self._pointers.values(), 2)
        ]
        for kind, names in self._numbers.items():
            arguments += [f"const {kind} x_{_identifier(n)} = {kind}s[{k}];" for k, n in enumerate(names)]
        step = "steps - 1 - k" if self._code.backwards else "k"
        return [
            "void run(const int64_t *sizes, void *const *pointers, const integer *integers, const real *reals)",
            "{",
            "    const int64_t steps = sizes[0], windows = sizes[1], stride = sizes[2];",
            "    char *scratch = pointers[0];",
            "    const int64_t *all_lengths = pointers[1];",
            *_indented(arguments, 1),
            *_indented(self._allocations, 1),
            *_indented(once, 1),
            "    for (int64_t first = 0; first < windows; first += LANES) {",
            "        const int64_t n = windows - first < LANES ? windows - first : LANES;",
            "        const int64_t *lengths = all_lengths ? all_lengths + first : NULL;",
            *_indented(each_block, 2),
            "        for (int64_t k = 0; k < steps; k++) {",
            f"            const int64_t t = {step}, at = t * windows + first;",
            *_indented(each_step, 3),
            "        }",
            "    }",
            *_indented(sums, 1),
            "}",
        ]

    def _given(self, value: Value, source: Source) -> Iterator[tuple[str, str]]:
        """When it is made ready (once, for each block of windows or at each step), and how."""
        size, array, kind = self._size(value.length), self._array(value), value.kind
        if source == "inside":
            yield "step", f"inside_of({size}, n, lengths, t, {array});"
            return
        shape = {"vector": (), "carried": ("windows",)}.get(source, _STEPS)
        pointer = self._pointer(value.name, kind, (value.length, *shape), optional=source in ("stream", "carried"))
        if source == "vector":
            yield "once", f"{kind}_tile({size}, {pointer}, {array});"
        elif source == "stream":
            yield "step", f"{kind}_load({size}, stride, {pointer} ? {pointer} + at : NULL, n, {array});"
        elif source == "carried":
            yield "block", f"{kind}_load({size}, windows, {pointer} ? {pointer} + first : NULL, n, {array});"
        else:
            initial = self._pointer(f"initial {value.name}", kind, (value.length, "windows"), optional=True)
            yield (
                "step",
                f"if (t > 0) {kind}_load({size}, stride, {pointer} + at - windows, n, {array}); "
                f"else {kind}_load({size}, windows, {initial} ? {initial} + first : NULL, n, {array});",
            )

    def _next(self) -> Iterator[str]:
        """States go where the next step finds them, and after the last one where the caller does."""
        for carried in self._code.carried:
            value, array = carried.state, self._array(carried.state)
            size, shape = self._size(value.length), (value.length, "windows")
            pointer = self._pointer(f"final {value.name}", value.kind, shape, optional=True)
            yield f"memcpy({array}, {self._array(carried.following)}, (size_t){size} * LANES * sizeof(*{array}));"
            last = "NULL, 1, k - steps + 1" if self._code.backwards else "lengths, steps, t"
            yield f"{value.kind}_end({size}, windows, {array}, n, {last}, {pointer} ? {pointer} + first : NULL);"

    # --- the order of statements ----------------------------------------------------------------------

    def _body(self) -> Iterator[str]:
        """Products as soon as they can be, then as many elements as can be in one loop, and so on."""
        pending = [s for s in self._code.statements if s.out in self._needed]
        ready = {v for v in self._code.sources if v in self._needed or self._code.sources[v] == "carried"}
        while pending:
            wholes = [s for s in pending if not isinstance(s, _Elements) and ready.issuperset(s.needs)]
            if wholes:
                for whole in wholes:
                    yield from self._whole(whole)
                ready |= {s.out for s in wholes}
                pending = [s for s in pending if s.out not in ready]
                continue
            group: list[_Elements] = []
            for s in pending:
                fits = not group or s.out.length == group[0].out.length
                if isinstance(s, _Elements) and fits and (ready | {e.out for e in group}).issuperset(s.needs):
                    group.append(s)
            ready |= {s.out for s in group}
            pending = [s for s in pending if s.out not in ready]
            yield self._group(group, pending)

    def _whole(self, s: _Product | _Concat) -> Iterator[str]:
        size, out = self._size(s.out.length), self._array(s.out)
        if isinstance(s, _Concat):
            at = out
            for part in s.parts:
                length = self._size(part.length)
                yield f"memcpy({at}, {self._array(part)}, (size_t){length} * LANES * sizeof(*{out}));"
                at = f"{at} + {length} * LANES"
            return
        start = "NULL" if s.start is None else self._array(s.start)
        shape = (s.out.length, s.v.length)
        columns, matrix = self._size(s.v.length), self._pointer(s.matrix, s.out.kind, shape)
        if s.out.kind == "real":
            yield f"real_product({size}, {columns}, {matrix}, {self._array(s.v)}, {start}, {out});"
            return
        exact = self._pointer(f"exact {s.matrix}", "real", shape, optional=True)
        as_float = self._array(Value(f"{s.v.name} of {s.matrix}", s.v.length, "real"))
        yield f"matvec({size}, {columns}, {matrix}, {exact}, {self._array(s.v)}, {start}, {as_float}, {out});"

    def _group(self, group: Sequence[_Elements], pending: Iterable[Statement]) -> str:
        """One loop, as a function: its arrays don't overlap. Gives the call."""
        made = {s.out for s in group}
        later = {v for s in pending for v in s.needs}
        later |= {*self._code.stored.values(), *self._code.summed.values()}
        later |= {c.following for c in self._code.carried}
        parameters: dict[str, tuple[str, str]] = {}  # name to declaration and argument
        lines: list[str] = []
        for s in group:
            texts = []
            for a in s.arguments:
                if isinstance(a, Value) and a not in made and f"a{a.name}" not in parameters:
                    name = _identifier(a.name)
                    parameters[f"a{a.name}"] = f"const {a.kind} *restrict a_{name}", self._array(a)
                    lines.append(f"const {a.kind} e_{name} = a_{name}[i];")
                texts.append(self._text(a, parameters))
            name = _identifier(s.out.name)
            lines.append(f"const {s.out.kind} e_{name} = {s.expression.format(*texts)};")
            if s.out in later:
                parameters[f"a{s.out.name}"] = f"{s.out.kind} *restrict a_{name}", self._array(s.out)
                lines.append(f"a_{name}[i] = e_{name};")
        called = f"group{len(self._groups)}"
        declared = ", ".join(["int64_t count", *(d for d, _ in parameters.values())])
        loop = ["for (int64_t i = 0; i < count * LANES; i++) {", *_indented(lines, 1), "}"]
        self._groups.append("\n".join([f"static void {called}({declared})", "{", *_indented(loop, 1), "}", ""]))
        size = self._size(group[0].out.length)
        return f"{called}({', '.join([size, *(argument for _, argument in parameters.values())])});"

    def _text(self, a: Operand, parameters: dict[str, tuple[str, str]]) -> str:
        name = _identifier(a.name)
        if isinstance(a, Value):
            return f"e_{name}"
        if isinstance(a, Table):
            parameters[f"t{a.name}"] = f"const integer *restrict t_{name}", self._pointer(a.name, "integer")
            return f"t_{name}"
        self._numbers[a.kind][a.name] = None
        parameters[f"x{a.name}"] = f"{a.kind} x_{name}", f"x_{name}"
        return f"x_{name}"


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _indented(lines: Iterable[str], by: int) -> list[str]:
    return ["    " * by + line for line in lines]
