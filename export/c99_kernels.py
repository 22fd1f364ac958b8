"""The exported C beyond its statements: constants, helpers and memory where they are used, and functions of layers.

A line of a body is plain C for every core, or stands in one of two branches of ``#if NAME_DSP``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_lstm.export.c99_body import Body, Part
from edge_lstm.export.c99_ops import identifier
from edge_lstm.export.c99_text import initializer
from edge_lstm.export.kernels.kernel import Words
from edge_lstm.export.kernels.prepared import largest
from edge_lstm.ops import Op
from edge_lstm.program import Program


def branch(lines: Sequence[str], name: str, *, dsp: bool) -> list[str]:
    """The lines that are compiled, of a body."""
    found, compiled = list[str](), True
    for line in lines:
        if line == f"#if {name.upper()}_DSP":
            compiled = dsp
        elif line == "#else":
            compiled = not compiled
        elif line == "#endif":
            compiled = True
        elif compiled:
            found.append(line)
    return found


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
        ``constants``, ``plain_constants`` and ``dsp_constants``; ``uses``, ``plain_uses`` and ``dsp_uses``, which say
        of a helper whether both branches need it, or one alone; ``codes``, the macros of the row groups;
        ``dsp_scratch`` and ``has_kernels``.
    """
    lines = [line for body in bodies for line in body.lines]
    texts = ["\n".join([*branch(lines, name, dsp=dsp), *always]) for dsp in (False, True)]
    named = [set(re.findall(r"\w+", text)) for text in texts]
    loops = [loop for body in bodies for loop in body.dsp]
    plain, dsp = ([c for c in constants if c["name"] in names] for names in named)
    streams = [
        {"name": k.stream, "type": "uint32_t", "shape": f"[{k.words.size}]", "text": _unsigned(k.words)} for k in loops
    ]
    tables = {t: v for k in loops for t, v in k.tables.items()}
    made = [{"name": t, "type": "int32_t", "shape": f"[{len(v)}]", "text": initializer(v)} for t, v in tables.items()]
    return {
        "has_kernels": bool(loops),
        "constants": [c for c in constants if not loops or (c in plain and c in dsp)],
        "plain_constants": [c for c in plain if c not in dsp],
        "dsp_constants": [*(c for c in dsp if c not in plain), *streams, *made],
        "uses": _in(name, texts[0], texts[1]),
        "plain_uses": _in(name, texts[0], without=texts[1]),
        "dsp_uses": _in(name, texts[1], without=texts[0]),
        "codes": list(dict.fromkeys(code for loop in loops for code in loop.codes)),
        "dsp_scratch": largest([v for body in bodies for v in body.dsp_scratch]),
    }


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
        read = set(re.findall(r"\w+", " ".join(branch(part.lines, name, dsp=False))))
        unread = tuple(p for p in parameters if p not in read)
        found.append(Function(f"{name}_{place}_{identifier(part.layer)}{again}", part.layer, part.lines, unread))
    return found, tuple(f"{f.name}({', '.join(parameters)});" for f in found)


def _with_loops(parts: Sequence[Part], name: str) -> list[Part]:
    """A part that is no loop goes with the next, or the last of all with the one before."""
    found, waiting = list[Part](), tuple[str, ...]()
    for part in parts:
        lines = waiting + part.lines
        if all("(j = " in " ".join(branch(lines, name, dsp=dsp)) for dsp in (False, True)):
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
            if i.op is Op.MATVEC and symbol == f"{name}_{identifier(i.out)}_stream":
                return "weights"
            table = identifier(str(i.attributes.get("table", "")))
            if table and symbol.startswith(f"{name}_{table}_slopes_"):
                return "tables"
    return None


def _in(name: str, *texts: str, without: str = "") -> Callable[[str], bool]:
    """Whether all of these texts call a helper, or a macro, and another does not."""

    def called(text: str, helper: str) -> bool:
        return f"{name}_{helper}(" in text or f"{name.upper()}_{helper}(" in text

    return lambda helper: all(called(text, helper) for text in texts) and not called(without, helper)


def _unsigned(words: Words) -> str:
    rows = [", ".join(f"{int(w)}u" for w in words.ravel()[k : k + 8]) for k in range(0, words.size, 8)]
    return "\n" + "".join(f"    {row},\n" for row in rows)
