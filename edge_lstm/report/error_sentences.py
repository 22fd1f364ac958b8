"""The quantization error in words: how large it is, where it comes from, and what makes it smaller."""

from __future__ import annotations

from edge_lstm.blocks import Table
from edge_lstm.layers import QuantizedLayer
from edge_lstm.lower import named_layers
from edge_lstm.quantization_error import Drift, LevelError
from edge_lstm.report.comparison import MUCH_CLIPPED, Comparison
from edge_lstm.report.formats import listing, number, percent, plural

GROWS = 1.25
"""Growth of a state's error from which it is said to grow."""
ALIKE = 0.8
"""Levels that explain this much of what the first one does are named beside it."""
MAX_NAMED = 4
"""Values named in a piece of advice."""
_FEW_STEPS = 4
"""A window of fewer has no quarters to compare."""
_MANY_DB = 40.0
"""Of scores with so much, more bits of the states are not worth their memory."""


def headline(c: Comparison) -> str:
    """Agreement with float, and where most of the error comes from."""
    return f"{_agreement(c)} {contributions(c)}"


def _agreement(c: Comparison) -> str:
    found, on = c.found, c.found.onnxruntime
    error = f"{decibel(found.scores_sqnr_db)} above their error (rms {number(found.scores_rms)})"
    if found.agreement is None:
        other = f"; on onnxruntime, they differ by {number(on.rms)} rms" if on is not None else ""
        return f"Against the float model, the outputs of the integers are {error}{other}."
    text = f"In integers, {percent(found.agreement)} of the {c.counted} get the class that the float model gives them"
    if on is not None and on.agreement is not None:
        same = on.agreement == found.agreement
        text += ", in NumPy and on onnxruntime alike" if same else f" ({percent(on.agreement)} on onnxruntime)"
    return f"{text}; the scores are {error}."


def contributions(c: Comparison) -> str:
    """Which level contributes most."""
    ranked = sorted(c.found.levels, key=lambda level: level.without_rms)
    if not ranked:
        return "Which layer contributes most is not measured for a model with a decoder."
    first = c.explained(ranked[0])
    if first <= 0:
        return f"No layer alone is to blame: none of them in float makes the error of the {c.result} smaller."
    goes = f"of the mean square error of the {c.result} goes"
    if len(ranked) == 1:
        left = "what is left is that of rounding the inputs"
        return f"{percent(first)} {goes} where {level_name(ranked[0])} computes in float; {left}."
    also = [level for level in ranked[1:] if c.explained(level) >= ALIKE * first]
    most = "Most of the error comes from" if first > 0.5 else "The largest part of the error comes from"
    text = f"{most} {level_name(ranked[0])}: {percent(first)} {goes} where it computes in float"
    if also:
        text += "".join(f"; with {level_name(level)}, {percent(c.explained(level))}" for level in also)
    return f"{text}."


def level_name(level: LevelError) -> str:
    """The layers of a level."""
    return listing(list(level.layers))


def decibel(ratio: float) -> str:
    """A ratio, with its unit.

    >>> decibel(23.456)
    '23.5 dB'
    """
    return f"{ratio:.1f} dB".replace("-", "−")


def lowest(c: Comparison) -> str:
    """The value with the lowest ratio."""
    least = min(c.found.tensors, key=lambda t: t.sqnr_db)
    return f"The lowest ratio here is that of {least.value} of {least.layer}, {decibel(least.sqnr_db)}."


def clipping(c: Comparison) -> str:
    """What is cut off."""
    cut = [f"{percent(t.beyond)} of {t.value} of {t.layer}" for t in c.found.tensors if t.beyond > MUCH_CLIPPED]
    if c.found.inputs_beyond > MUCH_CLIPPED:
        cut.append(f"{percent(c.found.inputs_beyond)} of the input samples")
    if not cut:
        return f"Here no value loses more than {percent(MUCH_CLIPPED)} to its format, and neither do the inputs."
    return f"Here these are {listing(cut)}."


def has_hard_gates(c: Comparison) -> bool:
    """Whether any gate is."""
    return any("hard" in layer.modes.values() for layer in c.model.all_layers)


def drift(c: Comparison) -> str:
    """Whether errors grow with time."""
    of = [d for d in c.found.drift if d.steps[-1] + 1 >= _FEW_STEPS]
    if not of:
        return "The windows are too short to say whether the errors of the states grow."
    h, all_states = [d for d in of if d.state == "h"], max(of, key=lambda d: d.growth)
    most = max(h, key=lambda d: d.growth)
    if most.growth > GROWS:
        return f"Errors grow with time: {_growth(most)}."
    if all_states.growth > GROWS:
        reads = "but no error of h grows, which is what other layers and the outputs read"
        return f"{_growth(all_states, 'The')}, {reads}."
    others = ", and that of every other state less" if len(of) > 1 else ""
    return f"Errors do not build up over time: {_growth(all_states)}{others}."


def _growth(d: Drift, the: str = "the") -> str:
    where = f"{the} error of {d.state} of {d.layer} in the last quarter of {plural(d.steps[-1] + 1, 'step')}"
    return f"{where} is {number(round(d.growth, 2))} times that of the second quarter"


def advice(c: Comparison) -> list[str]:
    """What would make the error smaller, from what was found; options are in backquotes."""
    return [text for text in (_weights(c), _ranges(c), _tables(c), _states(c), _trained(c)) if text]


def _weights(c: Comparison) -> str:
    """More bits for the weights of the level that contributes most."""
    largest = min(c.found.levels, key=lambda level: level.without_rms, default=None)
    if largest is None or c.explained(largest) <= 0:
        return ""
    bits = {name: next(iter(layer.blocks.values())).weight_bits for name, layer in named_layers(c.model)}
    least = min(bits[name] for name in largest.layers)
    if least == 8:
        return ""
    asked = ",".join(str(8 if name in largest.layers else b) for name, b in bits.items())
    rounding = "; if they were rounded to nearest, also `--rounding reconstruct`" if c.command == "quantize" else ""
    return (
        f"The largest part of the error comes with weights of {least} bits, those of {level_name(largest)}: "
        f"`--weight-bits {asked}`{rounding}."
    )


def _ranges(c: Comparison) -> str:
    cut = any(t.beyond > MUCH_CLIPPED for t in c.found.tensors) or c.found.inputs_beyond > MUCH_CLIPPED
    if not cut:
        return ""
    if c.command != "quantize":
        return "Some values are cut off; where they decide, train with windows that hold values as large as these."
    return (
        "Some values are cut off: calibrate with recordings that hold values as large as these, and with "
        "`--range minmax`, which cuts off nothing of them."
    )


def _tables(c: Comparison) -> str:
    """Interpolation, where the error of a value is within what its table of nearest entries may cause."""
    layers = dict(named_layers(c.model))
    coarse = [
        f"{t.value} of {t.layer}"
        for t in c.found.tensors
        if t.table_error is not None and t.table_error > 2 * t.rms and _is_nearest(layers[t.layer], t.value)
    ]
    if not coarse:
        return ""
    shown = coarse if len(coarse) <= MAX_NAMED else [*coarse[:MAX_NAMED], f"{len(coarse) - MAX_NAMED} more"]
    return (
        f"The tables of {listing(shown)} may be off by more than twice the error of these values: "
        "`--activations lut-interp` interpolates."
    )


def _is_nearest(layer: QuantizedLayer, value: str) -> bool:
    function = layer.squash[value] if value in layer.squash else layer.blocks[value].activation
    return isinstance(function, Table) and function.between_bits == 0


def _states(c: Comparison) -> str:
    narrow = any(layer.h.bits == 8 for layer in c.model.all_layers)
    if not narrow or c.found.scores_sqnr_db >= _MANY_DB:
        return ""
    return "Inputs and hidden states have 8 bits: `--activation-bits 16` rounds them 256 times finer."


def _trained(c: Comparison) -> str:
    if c.command == "quantize" and c.found.agreement is not None and c.found.agreement < 0.99:
        return "Where that is not enough, train with the integers in the forward pass: `edge-lstm train`."
    return ""
