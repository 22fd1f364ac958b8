"""A model's form in words: directions, pooling, decoder, what it gives and when."""

from __future__ import annotations

from edge_lstm.model import QuantizedModel
from edge_lstm.report.formats import plural
from edge_lstm.wiring import levels

_POOLINGS = {
    "attention": "attention (a mean of h over time, its weights learned)",
    "newest": "newest (h at the window’s last step, of both directions)",
}


def layers(model: QuantizedModel, hidden: int) -> str:
    """The layers, without those of a decoder: number, directions, units."""
    found = directions(model)
    kinds = list(dict.fromkeys(found))
    units = plural(hidden, "unit")
    if kinds == ["forward"]:
        text = f"{plural(len(found), 'layer')} of {units}"
    elif kinds == ["bidirectional"]:
        text = f"{plural(len(found), 'bidirectional layer')} of {units} in each direction"
    elif kinds == ["reverse"]:
        text = f"{plural(len(found), 'reverse layer')} of {units}"
    else:
        text = f"{plural(len(found), 'layer')} of {units} ({', '.join(found)})"
    if model.decoder is None:
        return text
    return f"encoder of {text}, decoder of the same size"


def directions(model: QuantizedModel) -> list[str]:
    """Of each level of layers: forward, reverse, bidirectional; or of each layer, where others stand beside it."""
    found = []
    for level in levels(model.layers):
        words = ["reverse" if model.layers[k].reverse else "forward" for k in level]
        both = len(words) == 2 and set(words) == {"forward", "reverse"}
        found.append("bidirectional" if both else " beside ".join(words))
    return found


def pooling(model: QuantizedModel) -> str:
    """What the dense layer reads."""
    if model.decoder is not None:
        return "no pooling: the decoder begins with the encoder’s last states and is given its own last outputs"
    if model.pooling == "each":
        return "no pooling: outputs at each step"
    return f"pooling: {_POOLINGS.get(model.pooling, model.pooling)}"


def gives(model: QuantizedModel) -> str:
    """What it gives and when; "" of a classifier of whole windows that gives no probabilities."""
    if model.signature.task == "regress":
        what = plural(len(model.signature.classes), "real number")
    else:
        what = "a class and its scores" + (", and the probability of each class" if model.softmax else "")
    if model.decoder is not None:
        return f"{what}, for each of {plural(model.decoder.steps, 'step')} of the decoder"
    if model.pooling == "each":
        later = ", for which it needs the whole window" if model.looks_ahead else ""
        return f"{what}, at each step of the window{later}"
    if model.looks_ahead:
        return f"{what}, once the whole window is there"
    return f"{what}, of what was seen so far" if model.signature.task == "regress" or model.softmax else ""


def counted(model: QuantizedModel) -> str:
    """What its accuracy counts: windows, steps of them, or outputs of the decoder."""
    if model.decoder is not None:
        return "outputs"
    return "steps" if model.pooling == "each" else "windows"


def counted_of(counted: str, windows: str) -> str:
    """These, of some windows.

    >>> counted_of("windows", "test windows"), counted_of("steps", "test windows")
    ('test windows', 'steps of test windows')
    """
    return windows if counted == "windows" else f"{counted} of {windows}"


def network(model: QuantizedModel) -> str:
    """What stands between the name of the cell and "of n units" in a sentence: "" or with a space before."""
    return "" if model.decoder is None else " encoder and decoder"


def direction(model: QuantizedModel) -> str:
    """What stands before the name of the cell in a sentence; "" where all layers go forward, or they differ."""
    kinds = set(directions(model))
    return kinds.pop() if kinds in ({"reverse"}, {"bidirectional"}) else ""


def short_form(model: QuantizedModel) -> str:
    """For a table of several runs: direction and when outputs are given; "" where there is nothing to say."""
    found = [] if set(directions(model)) == {"forward"} else [" → ".join(directions(model))]
    if model.decoder is not None:
        found.append(f"decoder of {plural(model.decoder.steps, 'step')}")
    elif model.pooling == "each":
        found.append("outputs at each step")
    return ", ".join(found)
