"""A Program as the body of a C function: loops over units, with every intermediate in a local variable.

Neighbouring unit-wise instructions of one length share a loop. A vector is kept in memory only where a later
loop or a whole-vector operation reads it. The new value of a state goes straight into the state's own array
where nothing reads the old value afterwards, else through scratch memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_lstm.export.c99_ops import C99, Unit, Vector, Whole, bound, identifier
from edge_lstm.program import Instruction, Program


@dataclass
class _Loop:
    """Unit-wise instructions over vectors of one length."""

    length: int
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Body:
    """Generated statements and what they need.

    Attributes:
        lines: C statements, indented for a function's body.
        scratch: Vectors to declare as members of the scratch structure; ``c`` is the member's name.
    """

    lines: tuple[str, ...]
    scratch: tuple[Vector, ...]


class BodyWriter:
    """Writes the body of one Program.

    Args:
        program: What to write.
        prefix: Of constants and helper functions.
        places: Where inputs, states and outputs are, by value name.
        trace: Values to record, and the position of each in the trace of a step; none in code that ships.
    """

    def __init__(
        self, program: Program, prefix: str, places: dict[str, Vector], trace: dict[str, int] | None = None
    ) -> None:
        self._program, self._prefix, self._trace = program, prefix, trace or {}
        self._groups = _group(program)
        self._places = dict(places)
        self._scratch: list[Vector] = []
        self._late: list[tuple[Vector, Vector]] = []
        self._place_values()

    def write(self) -> Body:
        """The body."""
        lines: list[str] = []
        for group in self._groups:
            lines += self._loop(group) if isinstance(group, _Loop) else self._whole(group)
        for target, source in self._late:
            lines.append(f"for (j = 0; j < {target.length}; j++) {target.c}[j] = {source.c}[j];")
        return Body(tuple(lines), tuple(self._scratch))

    def _place_values(self) -> None:
        needed = [name for name in _stored(self._groups) if name not in self._places]
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
                place = self._places[i.out]
                stores.append(f"    {place.c}[j] = (int{place.bits}_t){local[i.out]};")
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
