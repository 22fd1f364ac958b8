"""C99 of a model: one ``.c`` and one ``.h``, and the harness by which edge-lstm runs and compares them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_lstm import lower as lowering
from edge_lstm._version import __version__
from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError, require
from edge_lstm.execution import Trace
from edge_lstm.export.c99_body import BodyWriter
from edge_lstm.export.c99_layout import Layout, check_steps
from edge_lstm.export.c99_ops import Vector, identifier
from edge_lstm.export.c99_windows import Windows
from edge_lstm.fixedpoint import Integers
from edge_lstm.heads import PROBABILITY
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.program import Port, Program, constant_bits
from edge_lstm.runtime import STATE_MAGIC, TAG_BYTES
from edge_lstm.stages import Lowered

LINE = 110
"""Columns of a constant's line."""
STANDARD_HEADERS = frozenset(
    (
        *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math"),
        *("setjmp", "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "tgmath", "time"),
        *("wchar", "wctype"),
    )
)
HARNESS = frozenset({"harness", "host_main"})


def sources(model: IntegerModel, *, trace: Trace = "none") -> dict[str, str]:
    """File name to text of ``NAME.c`` and ``NAME.h``.

    Args:
        model: The model.
        trace: ``"all"`` also records every intermediate, for comparison; and any trace of a model that looks at whole
            windows its states. Such code is not for devices.
    """
    context = _context(model, trace)
    name = model.signature.name
    return {f"{name}.c": _render("model.c.j2", context), f"{name}.h": _render("model.h.j2", context)}


def harness(model: IntegerModel, *, trace: Trace = "none") -> dict[str, str]:
    """File name to text of ``harness.c`` (any machine) and ``host_main.c`` (a computer with files)."""
    context = _context(model, trace)
    return {"harness.c": _render("harness.c.j2", context), "host_main.c": _render("host_main.c.j2", context)}


def example(model: IntegerModel, window: Integers, scores: Integers) -> dict[str, str]:
    """File name to text of an example that replays a window.

    Args:
        model: The model.
        window: (steps, channels) input integers.
        scores: (classes,) what the model must give; (steps, classes) of a model with outputs for each step.

    Raises:
        EdgeLstmError: The model's C does not take windows of that many steps.
    """
    check_steps(model, len(window))
    context = _context(model, "none")
    literals = [_literal(c) for c in model.signature.classes]
    context |= {"window": window.tolist(), "expected": scores.ravel().tolist(), "class_literals": literals}
    context["result_steps"] = len(scores) if scores.ndim == 2 else 1
    return {f"{model.signature.name}_example.c": _render("example.c.j2", context)}


def symbol_category(model: IntegerModel, symbol: str) -> str:
    """What a symbol of the compiled model is: ``weights``, ``tables``, or ``code`` for all else."""
    name = model.signature.name
    programs = lower(model).programs
    tables = {f"{name}_{identifier(t)}" for p in programs for t in _table_names(p)}
    constants = {f"{name}_{identifier(c)}" for p in programs for c in p.constants}
    base = symbol.partition(".")[0]
    return "tables" if base in tables else "weights" if base in constants else "code"


def memory(model: IntegerModel) -> dict[str, int]:
    """Bytes of the ``state`` and of the ``scratch`` structure, with the padding that a 32-bit Arm compiler adds.

    A model that looks at whole windows has all of it in ``scratch``.
    """
    context = _context(model, "none")
    state = [(v["length"], v["bits"]) for v in context["state"]]
    scratch = [(v.length, v.bits) for v in context["scratch"]]
    if context["streams"]:
        return {"state": _struct_bytes(state), "scratch": _struct_bytes(scratch)}
    kept = [(v["length"] * (v["steps"] or model.signature.steps), v["bits"]) for v in context["kept"]]
    return {"state": 0, "scratch": _struct_bytes([*state, *kept, *scratch])}


def _struct_bytes(members: Sequence[tuple[int, int]]) -> int:
    """Every member at a multiple of its element's size, the whole a multiple of the largest (AAPCS32, 5.3)."""
    end = 0
    for length, bits in members:
        size = bits // 8
        end = -(-end // size) * size + length * size
    largest = max(bits // 8 for _, bits in members)
    return -(-end // largest) * largest


def _context(model: IntegerModel, trace: Trace) -> dict[str, Any]:
    name, lowered = _file_name(model), lower(model)
    layout = Layout(lowered, trace)
    records = trace == "all" or (trace == "states" and not lowered.streams)
    positions = {n: start for n, (start, _) in layout.record.items()} if records else {}
    functions = _stream(lowered, name, positions) if lowered.streams else _windows(lowered, name, positions)
    lines = [line for body in functions["bodies"] for line in body.lines]
    return functions | {
        "name": name,
        "NAME": name.upper(),
        "title": model.title,
        "version": __version__,
        "digest": digest(model),
        "equations": _equations(),
        "channels": _channels(model),
        "x_type": f"{model.input_type.name}_t",
        "x_limit": model.input_format.max,
        "classes": [_comment(c) for c in model.signature.classes],
        "steps": model.signature.steps,
        "exact": model.exact_windows,
        "variable": model.signature.variable,
        "fixed_mean": model.fixed_mean,
        "classifies": model.signature.task == "classify",
        "probabilities": model.signature.probabilities,
        "probability_bits": PROBABILITY.fraction_bits,
        "rate": "unknown" if model.signature.rate_hz is None else f"{model.signature.rate_hz:g} Hz",
        "score_scale": f"{model.score_scale:.6g}",
        "streams": lowered.streams,
        "each": lowered.each,
        "state": [_state(s, layout) for s in lowered.states],
        "scratch": _merged(*(body.scratch for body in functions["bodies"])),
        "outputs": [
            {"c": identifier(n), "length": k, "start": start, "recorded": layout.record.get(n, (0, 0))[0]}
            for n, (start, k) in layout.outputs.items()
        ],
        "constants": _constants(name, lowered.programs),
        "uses": lambda helper: any(f"{name}_{helper}(" in line for line in lines),
        "tag": list(STATE_MAGIC + bytes.fromhex(digest(model))[:TAG_BYTES]),
        "saved_bytes": len(STATE_MAGIC) + TAG_BYTES + sum(s.length * s.bits // 8 for s in lowered.states),
        "traced": records,
        "record": layout.record_length,
        "state_length": sum(s.length for s in lowered.states),
        "output_length": sum(k for _, k in layout.outputs.values()),
    }


def _stream(lowered: Lowered, name: str, positions: dict[str, int]) -> dict[str, Any]:
    """The functions of a model that takes samples one by one."""
    states = {s.name: Vector(f"state->{identifier(s.name)}", s.length, s.bits) for s in lowered.states}
    inputs = {p.name: Vector(p.name, p.length, p.bits) for p in lowered.step.inputs}
    outputs = {o: Vector(f"output->{identifier(o)}", lowered.head.length(o), 32) for o in lowered.outputs}
    step = BodyWriter(lowered.step, name, states | inputs, positions).write()
    head = BodyWriter(lowered.head, name, states | outputs, positions).write()
    initial = {identifier(s.port.name): s.initial for s in lowered.step.states}
    begins = {c: f"{name}_{identifier(constant)}[j]" for c, constant in initial.items() if constant is not None}
    return {
        "bodies": [step, head],
        "step": step.lines,
        "head": head.lines,
        "begins": begins,
        "step_uses_scratch": any("scratch->" in line for line in step.lines),
        "uses_scratch": any("scratch->" in line for line in head.lines),
    }


def _windows(lowered: Lowered, name: str, positions: dict[str, int]) -> dict[str, Any]:
    """The functions of a model that looks at whole windows."""
    windows = Windows(lowered, name, positions)
    stages, head = windows.bodies()
    return windows.context() | {
        "bodies": [*stages, head],
        "stage_lines": [body.lines for body in stages],
        "head": head.lines,
        "uses_scratch": any("scratch->" in line for line in head.lines),
    }


def _constants(name: str, programs: Sequence[Program]) -> list[dict[str, Any]]:
    found = {k: (v, constant_bits(p, k)) for p in programs for k, v in p.constants.items()}
    return [_constant(f"{name}_{identifier(k)}", v, bits) for k, (v, bits) in found.items()]


def _constant(name: str, values: Integers, bits: int) -> dict[str, Any]:
    stored = values if bits >= 8 else packed(values, bits)
    return {
        "name": name,
        "type": f"int{bits}_t" if bits >= 8 else "uint8_t",
        "shape": "".join(f"[{n}]" for n in stored.shape),
        "text": _initializer(stored),
    }


def packed(weights: Integers, bits: int) -> Integers:
    """Several weights in a byte: two's complement, the first in the lowest bits, each row padded to whole bytes.

    Args:
        weights: (n, k) integers of ``bits`` bits.
        bits: 4 or 2.

    Returns:
        (n, ceil(k * bits / 8)) bytes, 0 to 255.
    """
    per_byte = 8 // bits
    padded = np.pad(weights, [(0, 0), (0, -weights.shape[1] % per_byte)])
    fields = (padded & ((1 << bits) - 1)).reshape(len(weights), -1, per_byte)
    return np.asarray((fields << (bits * np.arange(per_byte, dtype=np.int32))).sum(axis=2, dtype=np.int32))


def _initializer(values: Integers) -> str:
    if values.ndim == 2:
        return "\n" + "".join(f"{_wrapped(row, '    { ', '      ')} }},\n" for row in values)
    return "\n" + _wrapped(values, "    ", "    ") + ",\n"


def _wrapped(values: Integers, first: str, following: str) -> str:
    return textwrap.fill(", ".join(map(str, values.tolist())), LINE, initial_indent=first, subsequent_indent=following)


def _table_names(program: Program) -> set[str]:
    return {str(i.attributes["table"]) for i in program.instructions if "table" in i.attributes}


def _state(port: Port, layout: Layout) -> dict[str, Any]:
    start, length = layout.states[port.name]
    return {
        "c": identifier(port.name),
        "length": length,
        "bits": port.bits,
        "start": start,
        "lo": port.lo,
        "hi": port.hi,
    }


def _merged(*groups: Sequence[Vector]) -> list[Vector]:
    """Members of the scratch structure; Programs may share one, of the same value."""
    return list({v.c: v for group in groups for v in group}.values()) or [Vector("unused", 1, 8)]


def _channels(model: IntegerModel) -> list[dict[str, str]]:
    s = model.signature
    return [
        {"name": _comment(n), "unit": _comment(u), "offset": f"{o:.6g}", "scale": f"{k:.6g}"}
        for n, u, o, k in zip(s.channels, s.units, model.input_offset, model.input_scale, strict=True)
    ]


def _file_name(model: IntegerModel) -> str:
    name = model.signature.name
    if name in STANDARD_HEADERS:
        raise EdgeLstmError(f"a model can't be called {name!r} in C: {name}.h is a header of C's standard library")
    if name in HARNESS:
        raise EdgeLstmError(f"a model can't be called {name!r} in C: {name}.c is a file of edge-lstm's own")
    return name


def _comment(text: str) -> str:
    """Text of a user inside a comment: can't end it, begin another, or form a trigraph."""
    return re.sub(r"(?<=[*/?])(?=[*/?])", " ", "".join(c if c.isprintable() else "_" for c in text).replace("\\", "_"))


def _literal(text: str) -> str:
    """Text of a user as a C string in UTF-8; what needs it is an octal escape, which ends after three digits."""
    plain = [chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode(errors="replace")]
    return '"' + "".join(plain) + '"'


def _equations() -> list[str]:
    """The numbered equations of the lowering, so that the code can be read against them."""
    text = (lowering.__doc__ or "").splitlines()
    first = next(k for k, line in enumerate(text) if line.startswith("One time step"))
    return [line.rstrip() for line in text[first:]]


def _render(template: str, context: dict[str, Any]) -> str:
    jinja2 = require("jinja2", extra="sim", purpose="to write C")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edge_lstm.export"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return str(environment.get_template(template).render(context))
