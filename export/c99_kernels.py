"""The exported C beyond its statements: constants, helpers and memory where they are used, and functions of layers.

A line of a body is plain C for every core, or stands in one of the branches of ``#if NAME_DSP``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from edge_lstm.export.c99_body import Body, Part
from edge_lstm.export.c99_ops import identifier
from edge_lstm.export.c99_text import initializer
from edge_lstm.export.kernels.dsp_columns import COLUMN_BYTES
from edge_lstm.export.kernels.kernel import Words
from edge_lstm.export.kernels.loop import KernelLoop
from edge_lstm.export.kernels.prepared import largest
from edge_lstm.export.kernels.targets import TARGETS
from edge_lstm.ops import Op
from edge_lstm.program import Program

BRANCHES = (*(target.name for target in TARGETS), None)
"""Names of targets, and plain C."""


def branch(lines: Sequence[str], name: str, target: str | None) -> list[str]:
    """The lines of a body that are compiled for a target, or for a core that has no kernels."""
    conditions = [f"#{word} {name.upper()}_{t.name}" for t in TARGETS for word in ("if", "elif")]
    wanted = f"{name.upper()}_{target}"
    found, compiled, chosen = list[str](), True, False
    for line in lines:
        if line in conditions:
            chosen = chosen and line.startswith("#elif")
            compiled = not chosen and line.endswith(f" {wanted}")
            chosen = chosen or compiled
        elif line == "#else":
            compiled, chosen = not chosen, True
        elif line == "#endif":
            compiled, chosen = True, False
        elif compiled:
            found.append(line)
    return found


@dataclass(frozen=True)
class Section:
    """What some of the branches need, and others do not.

    Attributes:
        condition: Of the preprocessor; empty where all need it.
        constants: Arrays.
        uses: Whether just these branches call a helper.
    """

    condition: str
    constants: Sequence[Mapping[str, Any]]
    uses: Callable[[str], bool]


def kernel_context(
    name: str, bodies: Sequence[Body], constants: Sequence[Mapping[str, Any]], always: Sequence[str]
) -> dict[str, Any]:
    """What the templates need.

    Args:
        name: Of the model.
        bodies: All of its functions.
        constants: All constants that the Programs have.
        always: C outside of the bodies.

    Returns:
        ``constants`` and ``uses`` of what all branches need; ``sections`` of what some do; ``used``, of each target
        whether it calls a helper; ``codes``, of each target the macros of the row groups; ``kernel_scratch``, of each
        target that needs any by the condition of its cores; and ``has_kernels``.
    """
    lines = [line for body in bodies for line in body.lines]
    texts = {b: "\n".join([*branch(lines, name, b), *always]) for b in BRANCHES}
    loops = {t.name: [loop for body in bodies for loop in body.loops[t.name]] for t in TARGETS}
    read: dict[frozenset[str | None], list[Mapping[str, Any]]] = {frozenset(BRANCHES): []}
    for size in range(len(BRANCHES) - 1, 0, -1):
        read |= {frozenset(some): [] for some in combinations(BRANCHES, size)}
    words = {b: set(re.findall(r"\w+", text)) for b, text in texts.items()}
    has_kernels = any(loops.values())
    for constant in constants:
        readers = frozenset(b for b in BRANCHES if not has_kernels or constant["name"] in words[b])
        if readers:
            read[readers].append(constant)
    for target, made in loops.items():
        read[frozenset([target])] += [array for loop in made for array in _arrays(loop)]
    first, *sections = [
        Section(_condition(name, some), arrays, _used_by(name, texts, some)) for some, arrays in read.items()
    ]
    return {
        "has_kernels": has_kernels,
        "constants": first.constants,
        "uses": first.uses,
        "sections": sections,
        "used": {t.name: _calls(name, texts[t.name]) for t in TARGETS},
        "codes": {t: list(dict.fromkeys(code for loop in made for code in loop.codes)) for t, made in loops.items()},
        "columns": list(dict.fromkeys(code for loop in loops["DSP"] for code in loop.column_codes)),
        "column_bytes": COLUMN_BYTES,
        "kernel_scratch": {
            t.cores: members
            for t in TARGETS
            if (members := largest([v for body in bodies for v in body.kernel_scratch[t.name]]))
        },
    }


def _condition(name: str, branches: Collection[str | None]) -> str:
    if None not in branches:
        return " || ".join(f"{name.upper()}_{b}" for b in BRANCHES if b in branches)
    return " && ".join(f"!{name.upper()}_{b}" for b in BRANCHES if b not in branches)


def _arrays(loop: KernelLoop) -> list[dict[str, Any]]:
    streams = [
        {"name": loop.stream, "type": "uint32_t", "shape": f"[{loop.words.size}]", "text": _unsigned(loop.words)}
    ]
    tables = [
        {"name": t, "type": "int32_t", "shape": f"[{len(v)}]", "text": initializer(v)}
        for t, v in {**loop.columns, **loop.tables}.items()
    ]
    return [*(streams if loop.words.size else []), *tables]


@dataclass(frozen=True)
class Function:
    """A function of its own for the statements of one layer, so that what they cost can be told apart.

    Attributes:
        name: In C.
        layer: The layer's name.
        lines: Its statements.
        unread: Of its parameters, those that plain C does not read.
    """

    name: str
    layer: str
    lines: tuple[str, ...]
    unread: tuple[str, ...]


def functions(name: str, place: str, body: Body, parameters: Sequence[str]) -> tuple[list[Function], tuple[str, ...]]:
    """The functions of a body's layers, and the lines that call them; of one layer alone, none and its statements.

    Args:
        name: Of the model.
        place: What to call a function, before the layer's name.
        body: The body.
        parameters: Names of what all of them are given.
    """
    parts = _with_loops(body.parts, name)
    if len(parts) < 2:
        return [], body.lines
    found, taken = list[Function](), dict[str, int]()
    for part in parts:
        taken[part.layer] = taken.get(part.layer, 0) + 1
        again = f"_{taken[part.layer]}" if taken[part.layer] > 1 else ""
        read = set(re.findall(r"\w+", " ".join(branch(part.lines, name, None))))
        unread = tuple(p for p in parameters if p not in read)
        found.append(Function(f"{name}_{place}_{identifier(part.layer)}{again}", part.layer, part.lines, unread))
    return found, tuple(f"{f.name}({', '.join(parameters)});" for f in found)


def _with_loops(parts: Sequence[Part], name: str) -> list[Part]:
    """A part that is no loop goes with the next, or the last of all with the one before."""
    found, waiting = list[Part](), tuple[str, ...]()
    for part in parts:
        lines = waiting + part.lines
        if all("(j = " in " ".join(branch(lines, name, b)) for b in BRANCHES):
            found.append(Part(part.layer, lines))
            waiting = ()
        else:
            waiting = lines
    if waiting and found:
        found[-1] = Part(found[-1].layer, found[-1].lines + waiting)
    return found


def kernel_category(name: str, programs: Sequence[Program], symbol: str) -> str | None:
    """``weights`` or ``tables`` of an array that the kernels add, None of any other."""
    for program in programs:
        for i in program.instructions:
            if i.op is Op.MATVEC and symbol in (
                f"{name}_{identifier(i.out)}_stream",
                f"{name}_{identifier(i.out)}_sparse",
                f"{name}_{identifier(i.out)}_rows",
            ):
                return "weights"
            table = identifier(str(i.attributes.get("table", "")))
            if table and symbol.startswith(f"{name}_{table}_slopes_"):
                return "tables"
    return None


def _used_by(name: str, texts: Mapping[str | None, str], branches: Collection[str | None]) -> Callable[[str], bool]:
    """Whether just these branches call a helper, or a macro."""
    calls = {b: _calls(name, text) for b, text in texts.items()}
    return lambda helper: all(called(helper) == (b in branches) for b, called in calls.items())


def _calls(name: str, text: str) -> Callable[[str], bool]:
    return lambda helper: f"{name}_{helper}(" in text or f"{name.upper()}_{helper}(" in text


def _unsigned(words: Words) -> str:
    rows = [", ".join(f"{int(w)}u" for w in words.ravel()[k : k + 8]) for k in range(0, words.size, 8)]
    return "\n" + "".join(f"    {row},\n" for row in rows)
