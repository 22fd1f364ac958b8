"""A Program as the body of a C function: loops over units, with every intermediate in a local variable.

Neighbouring unit-wise instructions of one length share a loop. A vector is kept in memory only where a later
loop or a whole-vector operation reads it. The new value of a state goes straight into the state's own array
where nothing reads the old value afterwards, else through scratch memory.

Where a kernel fits a loop, the loop is written again for the cores that have it, and the preprocessor chooses by
``PREFIX_DSP`` and ``PREFIX_V6M``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from edge_lstm.export.c99_ops import C99, Unit, Vector, Whole, bound, identifier
from edge_lstm.export.kernels.groups import row_groups
from edge_lstm.export.kernels.loop import KernelLoop
from edge_lstm.export.kernels.prepared import Preparation
from edge_lstm.export.kernels.targets import TARGETS, Target, skipping
from edge_lstm.program import Instruction, Program


@dataclass
class _Loop:
    """Unit-wise instructions over vectors of one length."""

    length: int
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """Statements of one layer, one after the other.

    Attributes:
        layer: The layer's name; statements that several layers share count for the first.
        lines: C statements.
    """

    layer: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Body:
    """Generated statements and what they need.

    Attributes:
        parts: In the order of execution; neighbours are of different layers.
        scratch: Vectors to declare as members of the scratch structure; ``c`` is the member's name.
        loops: Name of a target to the loops that are also written for it.
        kernel_scratch: Name of a target to further members of the scratch structure.
    """

    parts: tuple[Part, ...]
    scratch: tuple[Vector, ...]
    loops: Mapping[str, tuple[KernelLoop, ...]]
    kernel_scratch: Mapping[str, tuple[Vector, ...]]

    @property
    def lines(self) -> tuple[str, ...]:
        """All statements."""
        return tuple(line for part in self.parts for line in part.lines)


class BodyWriter:
    """Writes the body of one Program.

    Args:
        program: What to write.
        prefix: Of constants and helper functions.
        places: Where inputs, states and outputs are, by value name.
        trace: Values to record, and the position of each in the trace of a step; none in code that ships. Loops that
            make such a value are plain C alone.
        kernels: Also write loops for cores that have kernels for them.
        skip: Layers that skip columns whose element is 0, where they can and a core has a kernel that does.
    """

    def __init__(
        self,
        program: Program,
        prefix: str,
        places: dict[str, Vector],
        trace: dict[str, int] | None = None,
        *,
        kernels: bool = False,
        skip: Collection[str] = (),
    ) -> None:
        self._program, self._prefix, self._trace, self._kernels = program, prefix, trace or {}, kernels
        self._targets = skipping(skip) if skip else TARGETS
        self._groups = _group(program)
        self._places = dict(places)
        self._scratch: list[Vector] = []
        self._late: list[tuple[Vector, Vector]] = []
        self._written: dict[str, list[KernelLoop]] = {target.name: [] for target in TARGETS}
        self._place_values()
        plain = set(self._trace) if kernels else {i.out for i in program.instructions}
        statements = [_instructions(group) for group in self._groups]
        self._preparations = {
            target.name: Preparation(program, statements, self._places, plain, target.operands, target.prepared)
            for target in self._targets
        }

    def write(self) -> Body:
        """The body."""
        parts: list[tuple[str, list[str]]] = []
        for k, group in enumerate(self._groups):
            plain = self._loop(group) if isinstance(group, _Loop) else self._whole(group)
            layer = _instructions(group)[0].out.partition(".")[0]
            if not parts or parts[-1][0] != layer:
                parts.append((layer, []))
            parts[-1][1].extend(self._chosen(k, group, plain) if self._kernels else plain)
        for target, source in self._late:
            parts[-1][1].append(f"for (j = 0; j < {target.length}; j++) {target.c}[j] = {source.c}[j];")
        return Body(
            tuple(Part(layer, tuple(lines)) for layer, lines in parts),
            tuple(self._scratch),
            {target: tuple(loops) for target, loops in self._written.items()},
            {target: preparation.members for target, preparation in self._preparations.items()},
        )

    def _place_values(self) -> None:
        stored = [*_stored(self._groups), *(self._before_gains() if self._kernels else ())]
        needed = [name for name in dict.fromkeys(stored) if name not in self._places]
        for state in self._program.states:
            if _in_place(self._groups, state.port.name, state.next):
                self._places[state.next] = self._places[state.port.name]
            elif state.next not in needed:
                needed.append(state.next)
        for name in needed:
            if name not in self._places:
                member = Vector(identifier(name), self._program.length(name), self._program.bits(name))
                self._scratch.append(member)
                self._places[name] = Vector(f"scratch->{member.c}", member.length, member.bits)
        for state in self._program.states:
            target, source = self._places[state.port.name], self._places[state.next]
            if target != source:
                self._late.append((target, source))

    def _before_gains(self) -> list[str]:
        """Values that kernels read in the place of their products with a gain, which the weights take."""
        groups = [g for statement in self._groups for g in row_groups(_instructions(statement))]
        found = [target.operands(self._program, group) for target in self._targets for group in groups]
        return [operand.value for operands in found for operand in operands or ()]

    def _chosen(self, k: int, group: _Loop | Instruction, plain: list[str]) -> list[str]:
        """Statement k in plain C, and where kernels take its place or need something before it, the choice."""
        branches = [(target.name, self._for(target, k, group, plain)) for target in self._targets]
        lines, condition = list[str](), "#if"
        for name, special in branches:
            if special is not None:
                lines += [f"{condition} {self._prefix.upper()}_{name}", *special]
                condition = "#elif"
        return [*lines, "#else", *plain, "#endif"] if lines else plain

    def _for(self, target: Target, k: int, group: _Loop | Instruction, plain: list[str]) -> list[str] | None:
        """Statement k for cores that have kernels; None where it is plain C for these."""
        preparation = self._preparations[target.name]
        before = [line for p in preparation.before(k) for line in p.lines(self._prefix)]
        special: list[str] | None = None
        if {i.out for i in _instructions(group)} <= preparation.unread:
            special = []
        elif isinstance(group, _Loop):
            special = self._with_kernels(target, group)
        return None if special is None and not before else [*before, *(plain if special is None else special)]

    def _with_kernels(self, target: Target, loop: _Loop) -> list[str] | None:
        """A loop for cores that have kernels; None where there is no kernel for it."""
        outs = {i.out for i in loop.instructions}
        if outs & set(self._trace):
            return None
        local = {out: identifier(out) for out in outs}
        written = target.loop(
            self._program,
            self._prefix,
            loop.instructions,
            self._places,
            lambda name: self._element(name, local),
            self._preparations[target.name],
        )
        if written is None:
            return None
        self._written[target.name].append(written)
        body = [*written.lines, *(self._store(i) for i in loop.instructions if i.out in self._places)]
        start = ["{", *(f"    {line}" for line in written.head), f"    for (j = 0; j < {loop.length}; j++) {{"]
        return [*start, *(f"        {line}" for line in body), "    }", "}"]

    def _store(self, i: Instruction) -> str:
        place = self._places[i.out]
        return f"{place.c}[j] = (int{place.bits}_t){identifier(i.out)};"

    def _loop(self, loop: _Loop) -> list[str]:
        lines = [f"for (j = 0; j < {loop.length}; j++) {{"]
        local: dict[str, str] = {}
        stores = []
        for i in loop.instructions:
            rule = C99[i.op]
            assert isinstance(rule, Unit)
            attributes = bound(i.attributes, self._prefix)
            arguments = [self._places[a] if rule.whole else self._element(a, local) for a in i.args]
            expression = rule.expression(self._prefix, *arguments, **attributes)
            local[i.out] = identifier(i.out)
            lines.append(f"    const int32_t {local[i.out]} = {expression};")
            if i.out in self._trace:
                stores.append(f"    trace[{self._trace[i.out]} + j] = {local[i.out]};")
            if i.out in self._places:
                stores.append(f"    {self._store(i)}")
        return [*lines, *stores, "}"]

    def _whole(self, i: Instruction) -> list[str]:
        rule = C99[i.op]
        assert isinstance(rule, Whole)
        place = self._places[i.out]
        lines = list(rule.statements(place, [self._places[a] for a in i.args], **bound(i.attributes, self._prefix)))
        if i.out in self._trace:
            lines.append(f"for (j = 0; j < {place.length}; j++) trace[{self._trace[i.out]} + j] = {place.c}[j];")
        return lines

    def _element(self, name: str, local: dict[str, str]) -> str:
        return local[name] if name in local else f"{self._places[name].c}[j]"


def _group(program: Program) -> list[_Loop | Instruction]:
    groups: list[_Loop | Instruction] = []
    for i in program.instructions:
        rule = C99[i.op]
        if isinstance(rule, Whole):
            groups.append(i)
            continue
        last, length = groups[-1] if groups else None, program.length(i.out)
        fits = isinstance(last, _Loop) and last.length == length
        if fits and isinstance(last, _Loop) and rule.whole and {k.out for k in last.instructions} & set(i.args):
            fits = False
        if not fits:
            groups.append(_Loop(length))
        loop = groups[-1]
        assert isinstance(loop, _Loop)
        loop.instructions.append(i)
    return groups


def _instructions(group: _Loop | Instruction) -> Sequence[Instruction]:
    return group.instructions if isinstance(group, _Loop) else [group]


def _reads_whole(i: Instruction) -> bool:
    rule = C99[i.op]
    return isinstance(rule, Whole) or rule.whole


def _stored(groups: Sequence[_Loop | Instruction]) -> list[str]:
    """Values that must be in memory: whole results, and what is read outside the loop that makes it."""
    made = {i.out: k for k, group in enumerate(groups) for i in _instructions(group)}
    stored = dict.fromkeys(group.out for group in groups if isinstance(group, Instruction))
    for k, group in enumerate(groups):
        for i in _instructions(group):
            stored.update(dict.fromkeys(a for a in i.args if made.get(a, k) != k or (a in made and _reads_whole(i))))
    return list(stored)


def _in_place(groups: Sequence[_Loop | Instruction], state: str, following: str) -> bool:
    """Whether a loop may write the next value over the old one: nothing reads the old one later, or as a whole."""
    made = next((k for k, g in enumerate(groups) for i in _instructions(g) if i.out == following), None)
    if made is None or not isinstance(groups[made], _Loop):
        return False
    later = any(state in i.args for group in groups[made + 1 :] for i in _instructions(group))
    return not later and not any(state in i.args and _reads_whole(i) for i in _instructions(groups[made]))
