"""Form x gates x format, and cell x form: every one is exact in all four backends.

`python tests/test_form_combinations.py` computes the tables anew and writes docs/forms.md.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from edge_lstm.cells import CELLS
from edge_lstm.model import QuantizedModel
from edge_lstm.verification import Verification, verify

PAGE = Path(__file__).parent.parent / "docs" / "forms.md"
BACKENDS = ("numpy", "onnxruntime", "c", "cortex-m4")
FORMATS = {f"w{w}a{a}": (w, a) for w, a in ((8, 8), (8, 16), (4, 8), (2, 16))}
GATES = ("soft", "hard")
BUILT_IN = tuple(CELLS)
OF_CELLS = ("reversed", "bidirectional mean", "bidirectional initial", "variable", "clip")
"""Forms that every cell is tried in; `bidirectional initial` takes windows of several lengths too."""
MEANINGS = {
    "reversed": "a layer from the last step to the first",
    "bidirectional": "two layers beside each other, one reversed; both last states",
    "bidirectional mean": "the mean over time of both",
    "bidirectional max": "the maximum over time of both",
    "bidirectional attention": "attention over both",
    "bidirectional newest": "h of the window's last step, which the reversed layer computes first; several lengths",
    "bidirectional each": "a label for each step",
    "bidirectional stack": "two bidirectional levels and a forward layer: lstm, gru, peephole",
    "there and back": "forward, reversed, forward: lstm-1997, gru-after, rnn",
    "beside": "two forward layers beside each other (lstmp), attention",
    "initial": "initial states that are not zero",
    "bidirectional initial": "the same in both directions (cifg), windows of several lengths",
    "clip": "pre-activations limited to 0.7: peephole, gru-after",
    "clip relu": "the same of a rnn-relu",
    "attention": "attention over time",
    "each": "a label for each step",
    "each softmax": "with probabilities",
    "softmax": "probabilities",
    "variable": "windows of several lengths, last state",
    "variable mean": "mean over time",
    "variable max": "maximum over time",
    "variable attention": "attention over time",
    "variable each": "forward, then reversed; a label for each step",
    "variable bidirectional": "two bidirectional levels, lstm and rnn; mean over time",
    "variable bidirectional attention": "attention over both directions",
    "decoder": "sequence to sequence: an encoder, then a decoder fed with its own output",
    "decoder stack": "two layers each, lstm and gru; a regression",
    "decoder variable": "windows of several lengths, rnn, probabilities",
}
MakeQuantized = Callable[..., QuantizedModel]
MakeWindows = Callable[..., np.ndarray]


def compared(model: QuantizedModel, windows: np.ndarray, lengths: np.ndarray | None) -> Verification:
    samples = windows * model.input_scale + model.input_offset
    return verify(model, samples, lengths=lengths, backends=BACKENDS, trace="all")


def test_every_form_is_exact_in_all_backends(
    form: str, make_quantized_form: MakeQuantized, make_windows: MakeWindows, make_lengths: MakeWindows
) -> None:
    model = make_quantized_form(form, "soft" if form == "clip relu" else "hard")
    windows = make_windows(model, model.signature.steps)
    found = compared(model, windows, make_lengths(model, len(windows), model.signature.steps))
    assert found.first_mismatch is None
    assert found.mismatches == 0
    assert found.compared > 5_000
    assert found.within_bound


def test_the_page_lists_every_form_and_every_cell() -> None:
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    forms = {(row[0], row[2]): row[3:] for row in rows if row[0] in MEANINGS}
    assert set(forms) == {(name, gates) for name in MEANINGS for gates in GATES}
    cells = {row[0]: row[1:] for row in rows if row[0] in BUILT_IN}
    assert set(cells) == set(BUILT_IN)
    for outcomes in (*forms.values(), *cells.values()):
        assert all(entry.startswith("exact, ") or entry == "has no gates" for entry in outcomes), outcomes


def test_the_page_explains_every_form(form: str) -> None:
    assert form in MEANINGS


def outcome(key: tuple[str, str, str, str]) -> str:
    """``exact, N`` integers compared."""
    from conftest import build_lengths, build_quantized_form, build_windows

    form, cell, gates, format_ = key
    if gates == "hard" and (cell.startswith("rnn") or form in ("clip relu", "decoder variable")):
        return "has no gates"
    weight_bits, activation_bits = FORMATS[format_]
    cells = (cell,) if cell else ()
    model = build_quantized_form(form, gates, cells=cells, weight_bits=weight_bits, activation_bits=activation_bits)
    windows = build_windows(model, model.signature.steps)
    found = compared(model, windows, build_lengths(model, len(windows), model.signature.steps))
    return f"exact, {found.compared:,}" if found.equal else f"NOT EQUAL: {found.first_mismatch}"


def main() -> None:
    of_forms = [(form, "", gates, f) for form in MEANINGS for gates in GATES for f in FORMATS]
    of_cells = [(form, cell, gates(cell), "w8a8") for cell in BUILT_IN for form in OF_CELLS]
    keys = of_forms + of_cells
    with ProcessPoolExecutor(2) as pool:
        outcomes = dict(zip(keys, pool.map(outcome, keys), strict=True))
    lines = [f"| form | what it is | gates | {' | '.join(FORMATS)} |", f"|---|---|---|{'---|' * len(FORMATS)}"]
    for form, meaning in MEANINGS.items():
        for kind in GATES:
            found = [outcomes[form, "", kind, f] for f in FORMATS]
            lines.append(f"| {form} | {meaning} | {kind} | {' | '.join(found)} |")
    lines += ["", "Each cell with hard gates (rnn: none), 8-bit weights and hidden states:", ""]
    lines += [f"| cell | {' | '.join(OF_CELLS)} |", f"|---|{'---|' * len(OF_CELLS)}"]
    for cell in BUILT_IN:
        lines.append(f"| {cell} | {' | '.join(outcomes[form, cell, gates(cell), 'w8a8'] for form in OF_CELLS)} |")
    exact = sum(entry.startswith("exact") for entry in outcomes.values())
    none = sum(entry == "has no gates" for entry in outcomes.values())
    PAGE.write_text(
        "# Form x gates x format\n\n"
        f"What a model may be beside a stack of forward layers. Each is a random model that ran in "
        f"{', '.join(BACKENDS)} on all extremes, an impulse, alternating extremes and random inputs, in windows of "
        "several lengths where it takes these. `exact, N`: N integers of all intermediates of all steps were compared, "
        f"none differs. {exact} of {len(keys)} are exact, {none} have no gates to be hard. Written by "
        "`python tests/test_form_combinations.py`.\n\n" + "\n".join(lines) + "\n"
    )


def gates(cell: str) -> str:
    return "hard" if CELLS[cell].gates else "soft"


if __name__ == "__main__":
    main()
