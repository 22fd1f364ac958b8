"""C99 of a model: one ``.c`` and one ``.h``, and the harness by which edge-lstm runs and compares them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from math import frexp
from typing import Any, Literal

import numpy as np

from edge_lstm import lower as lowering
from edge_lstm._version import __version__
from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Trace
from edge_lstm.export.c99_body import BodyWriter
from edge_lstm.export.c99_kernels import branch, functions, kernel_category, kernel_context
from edge_lstm.export.c99_layout import Layout, check_steps
from edge_lstm.export.c99_normalize import Normalization
from edge_lstm.export.c99_ops import Vector, identifier
from edge_lstm.export.c99_text import comment, initializer, literal, render
from edge_lstm.export.c99_windows import Windows
from edge_lstm.export.kernels.targets import TARGETS
from edge_lstm.export.skipping import refusals
from edge_lstm.fixedpoint import Integers
from edge_lstm.heads import PROBABILITY
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.program import Port, Program, constant_bits
from edge_lstm.runtime import CHECKSUM_BYTES, STATE_MAGIC, TAG_BYTES
from edge_lstm.stages import Lowered

STANDARD_HEADERS = frozenset(
    (
        *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math"),
        *("setjmp", "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "tgmath", "time"),
        *("wchar", "wctype"),
    )
)
Host = Literal["stdio", "arduino", "platformio", "zephyr"]
HARNESS = frozenset({"harness", "host_main"})


def sources(
    model: IntegerModel,
    *,
    trace: Trace = "none",
    normalization: Normalization | None = None,
    skip: Collection[str] = (),
) -> dict[str, str]:
    """File name to text of ``NAME.c`` and ``NAME.h``.

    Args:
        model: The model.
        normalization: What ``NAME_normalize`` does; there is no such function where None.
        trace: ``"all"`` also records every intermediate, for comparison; and any trace of a model that looks at whole
            windows its states. Such code is not for devices.
        skip: Layers that skip columns whose element is 0, where they can and a core has a kernel that does.
    """
    context = described(model, trace, skip) | {"normalization": normalization}
    name = model.signature.name
    return {f"{name}.c": render("model.c.j2", context), f"{name}.h": render("model.h.j2", context)}


def harness(model: IntegerModel, *, trace: Trace = "none") -> dict[str, str]:
    """File name to text of ``harness.c`` (any machine) and ``host_main.c`` (a computer with files)."""
    context = described(model, trace)
    return {"harness.c": render("harness.c.j2", context), "host_main.c": render("host_main.c.j2", context)}


def example(model: IntegerModel, window: Integers, scores: Integers) -> dict[str, str]:
    """File name to text of an example that replays a window; see ``replay``."""
    return {f"{model.signature.name}_example.c": replay(model, window, scores, host="stdio")}


def replay(model: IntegerModel, window: Integers, scores: Integers, *, host: Host) -> str:
    """A program that replays a window and prints what came out.

    Args:
        model: The model.
        window: (steps, channels) input integers.
        scores: (classes,) what the model must give; (steps, classes) of a model with outputs for each step.
        host: What it prints with: ``stdio``, or what the program of a bundle has, which runs the self-test too.

    Raises:
        EdgeLstmError: The model's C does not take windows of that many steps.
    """
    check_steps(model, len(window))
    context = described(model, "none")
    literals = [literal(c) for c in model.signature.classes]
    context |= {"window": window.tolist(), "expected": scores.ravel().tolist(), "class_literals": literals}
    context |= {"result_steps": len(scores) if scores.ndim == 2 else 1, "host": host}
    return render("example.c.j2", context)


def symbol_category(model: IntegerModel, symbol: str) -> str:
    """What a symbol of the compiled model is: ``weights``, ``tables``, or ``code`` for all else."""
    name = model.signature.name
    programs = lower(model).programs
    tables = {f"{name}_{identifier(t)}" for p in programs for t in _table_names(p)}
    constants = {f"{name}_{identifier(c)}" for p in programs for c in p.constants}
    base = symbol.partition(".")[0]
    if (added := kernel_category(name, programs, base)) is not None:
        return added
    return "tables" if base in tables else "weights" if base in constants else "code"


def layer_functions(model: IntegerModel, skip: Collection[str] = ()) -> dict[str, str]:
    """Functions of the exported C that are a layer, with what they call, and the layer's name."""
    context = described(model, skip=skip)
    return context["by_layer"] or {f"{model.signature.name}_step": context["whole_step"]}


def memory(model: IntegerModel, target: str | None = None, skip: Collection[str] = ()) -> dict[str, int]:
    """Bytes of the ``state`` and of the ``scratch`` structure, with the padding that a 32-bit Arm compiler adds.

    A model that looks at whole windows has all of it in ``scratch``.

    Args:
        model: The model.
        target: Name of the cores' kernels, which need more scratch memory.
        skip: As of ``sources``.
    """
    cores = next((t.cores for t in TARGETS if t.name == target), None)
    return _sizes(model, described(model, "none", skip), cores)


def _sizes(model: IntegerModel, context: Mapping[str, Any], cores: str | None) -> dict[str, int]:
    state = [(v["length"], v["bits"]) for v in context["state"]]
    scratch = [(v.length, v.bits) for v in [*context["scratch"], *context["kernel_scratch"].get(cores, ())]]
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


def described(model: IntegerModel, trace: Trace = "none", skip: Collection[str] = ()) -> dict[str, Any]:
    """What the templates know of a model."""
    name, lowered = _file_name(model), lower(model)
    layout = Layout(lowered, trace)
    records = trace == "all" or (trace == "states" and not lowered.streams)
    positions = {n: start for n, (start, _) in layout.record.items()} if records else {}
    functions = (_stream if lowered.streams else _windows)(lowered, name, positions, skip)
    kernels = kernel_context(name, functions["bodies"], _constants(name, lowered.programs), functions["always"])
    context = (
        functions
        | kernels
        | {
            "name": name,
            "NAME": name.upper(),
            "title": model.title,
            "version": __version__,
            "digest": digest(model),
            "equations": _equations(),
            "channels": _channels(model),
            "x_type": f"{model.input_type.name}_t",
            "x_limit": model.input_format.max,
            "classes": [comment(c) for c in model.signature.classes],
            "not_skipping": {k: why for k, why in refusals(model).items() if why} if skip else {},
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
            "tag": list(STATE_MAGIC + bytes.fromhex(digest(model))[:TAG_BYTES]),
            "saved_bytes": len(STATE_MAGIC)
            + TAG_BYTES
            + sum(s.length * s.bits // 8 for s in lowered.states)
            + CHECKSUM_BYTES,
            "traced": records,
            "record": layout.record_length,
            "state_length": sum(s.length for s in lowered.states),
            "output_length": sum(k for _, k in layout.outputs.values()),
            "model_id": int(digest(model)[:8], 16),
            "generator": _generator(),
            **_score_scale(model.score_scale),
        }
    )
    return context | {
        "sizes": _sizes(model, context, None),
        "kernel_sizes": {cores: _sizes(model, context, cores) for cores in context["kernel_scratch"]},
    }


def _generator() -> int:
    """edge-lstm's version as one number."""
    major, minor, patch = (int(part) for part in re.findall(r"\d+", __version__)[:3])
    return 10000 * major + 100 * minor + patch


def _score_scale(scale: float) -> dict[str, int]:
    """A positive number as an integer of 24 bits and a power of two."""
    fraction, exponent = frexp(scale)
    return {"score_multiplier": round(fraction * 2**24), "score_shift": 24 - exponent}


def _stream(lowered: Lowered, name: str, positions: dict[str, int], skip: Collection[str]) -> dict[str, Any]:
    """The functions of a model that takes samples one by one."""
    states = {s.name: Vector(f"state->{identifier(s.name)}", s.length, s.bits) for s in lowered.states}
    inputs = {p.name: Vector(p.name, p.length, p.bits) for p in lowered.step.inputs}
    outputs = {o: Vector(f"output->{identifier(o)}", lowered.head.length(o), 32) for o in lowered.outputs}
    step = BodyWriter(lowered.step, name, states | inputs, positions, kernels=True, skip=skip).write()
    head = BodyWriter(lowered.head, name, states | outputs, positions, kernels=True).write()
    initial = {identifier(s.port.name): s.initial for s in lowered.step.states}
    layers, calls = functions(name, "step", step, ["state", "scratch", *inputs])
    begins = {c: f"{name}_{identifier(constant)}[j]" for c, constant in initial.items() if constant is not None}
    return {
        "bodies": [step, head],
        "layers": layers,
        "by_layer": {f.name: f.layer for f in layers},
        "whole_step": step.parts[0].layer,
        "step": calls,
        "head": head.lines,
        "begins": begins,
        "always": list(begins.values()),
        "step_uses_scratch": any("scratch" in line for line in branch(calls, name, None)),
        "uses_scratch": any("scratch->" in line for line in branch(head.lines, name, None)),
    }


def _windows(lowered: Lowered, name: str, positions: dict[str, int], skip: Collection[str]) -> dict[str, Any]:
    """The functions of a model that looks at whole windows."""
    windows = Windows(lowered, name, positions, skip)
    stages, head = windows.bodies()
    context = windows.context()
    split = [
        functions(name, f"stage{k}", body, ["scratch", *(v["c"] for v in stage["inputs"])])
        for k, (body, stage) in enumerate(zip(stages, context["stages"], strict=True))
    ]
    return context | {
        "always": [begin["value"] for stage in context["stages"] for begin in stage["begins"]],
        "bodies": [*stages, head],
        "stage_lines": [calls for _, calls in split],
        "stage_layers": [layers for layers, _ in split],
        "by_layer": {f.name: f.layer for layers, _ in split for f in layers}
        | {f"{name}_stage{k}": stages[k].parts[0].layer for k, (own, _) in enumerate(split) if not own}
        | {f"{name}_head": "head"},
        "head": head.lines,
        "uses_scratch": any("scratch->" in line for line in branch(head.lines, name, None)),
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
        "text": initializer(stored),
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
        {"name": comment(n), "unit": comment(u), "offset": f"{o:.6g}", "scale": f"{k:.6g}"}
        for n, u, o, k in zip(s.channels, s.units, model.input_offset, model.input_scale, strict=True)
    ]


def _file_name(model: IntegerModel) -> str:
    name = model.signature.name
    if name in STANDARD_HEADERS:
        raise EdgeLstmError(f"a model can't be called {name!r} in C: {name}.h is a header of C's standard library")
    if name in HARNESS:
        raise EdgeLstmError(f"a model can't be called {name!r} in C: {name}.c is a file of edge-lstm's own")
    return name


def _equations() -> list[str]:
    """The numbered equations of the lowering, so that the code can be read against them."""
    text = (lowering.__doc__ or "").splitlines()
    first = next(k for k, line in enumerate(text) if line.startswith("One time step"))
    return [line.rstrip() for line in text[first:]]
