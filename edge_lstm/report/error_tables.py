"""The tables of the page on the quantization error."""

from __future__ import annotations

from edge_lstm.cells import cell
from edge_lstm.layers import QuantizedLayer
from edge_lstm.lower import named_layers
from edge_lstm.quantization_error import MOST_DB
from edge_lstm.report.comparison import Comparison
from edge_lstm.report.error_sentences import decibel, level_name
from edge_lstm.report.formats import number, percent, plural
from edge_lstm.report.raster_figure import GATE_NAMES
from edge_lstm.report.tables import ABSENT, Row, Table
from edge_lstm.statistics import describe

STATE_NAMES = {"h": "hidden state h", "c": "state c"}


def value_table(c: Comparison) -> Table:
    """Every value of every layer, and the scores."""
    layers = dict(named_layers(c.model))
    inputs = percent(c.found.inputs_clipped), percent(c.found.inputs_beyond)
    rows = [Row("inputs", (f"{c.model.input_bits} bits", ABSENT, ABSENT, *inputs, ABSENT))]
    for k, name in enumerate(dict.fromkeys(t.layer for t in c.found.tensors)):
        where = ", decoder" if k >= len(c.model.layers) else ", reverse" if layers[name].reverse else ""
        rows.append(Row(name + where, kind="group"))
        for t in c.found.tensors:
            if t.layer == name:
                table = ABSENT if t.table_error is None else number(t.table_error)
                cells = (t.stored, _ratio(t.sqnr_db), number(t.rms), percent(t.clipped), percent(t.beyond), table)
                rows.append(Row(_value_name(layers[name], t.value), cells))
    rows.append(Row("all layers", kind="group"))
    scores = (ABSENT, _ratio(c.found.scores_sqnr_db), number(c.found.scores_rms), ABSENT, ABSENT, ABSENT)
    rows.append(Row(c.result, scores, "total"))
    where = (
        f"{plural(c.windows, 'window')} of {'up to ' if c.model.signature.variable else ''}{plural(c.steps, 'step')}"
    )
    head = ("value", "format", "signal to noise", "rms error", "at its limits", "beyond them", "table error")
    return Table(f"Every value against the float model’s, over {where}.", head, tuple(rows))


def _value_name(layer: QuantizedLayer, value: str) -> str:
    """A gate or state by its name, another value with the function that gives it."""
    if value in layer.modes:
        return GATE_NAMES.get(value, f"gate {value}")
    if value in STATE_NAMES:
        return STATE_NAMES[value]
    return f"{value}, {cell(layer.cell).functions[value][0]}"


def _ratio(ratio: float) -> str:
    return "no error" if ratio >= MOST_DB else decibel(ratio)


def level_table(c: Comparison) -> Table | None:
    """What each level of layers contributes; None where that was not measured."""
    if not c.found.levels:
        return None
    rows = [
        Row(
            level_name(level),
            (number(level.alone_rms), number(level.without_rms), _share(c.explained(level))),
            "shipped" if level.layers == c.found.largest and c.explained(level) > 0 else "",
        )
        for level in c.found.levels
    ]
    rows.append(Row("all in integers", (ABSENT, number(c.found.scores_rms), ABSENT), "total"))
    head = ("layers", "alone in integers", "all but it in integers", "share that goes")
    caption = (
        f"Error of the {c.result}, rms, by layer. The share is that of the mean square error that goes where the layer "
        "computes in float."
    )
    return Table(caption, head, tuple(rows))


def _share(share: float) -> str:
    return percent(share) if share >= 0 else "none"


def format_table(c: Comparison) -> Table:
    """Formats of each layer."""
    described = describe(c.model)["layers"]
    names = dict.fromkeys(t.layer for t in c.found.tensors)
    rows = []
    for name, layer in zip(names, described, strict=True):
        formats = layer["formats"]
        cells = (
            layer["direction"],
            layer["gates"],
            f"{layer['weight_bits']} bits",
            f"{layer['activation_bits']} bits",
            formats["h"],
            formats.get("c", ABSENT),
            ", ".join(sorted({table["form"] for table in layer["tables"].values()})) or ABSENT,
        )
        rows.append(Row(name, cells))
    caption = (
        "Formats. Qm.n has m bits before the binary point, n after it, and a sign. Inputs are integers of "
        f"{c.model.input_bits} bits, with a scale for each channel."
    )
    return Table(
        caption, ("layer", "direction", "gates", "weights", "h", "format of h", "format of c", "functions"), tuple(rows)
    )
