"""The tables of the accuracy benchmark, from its log."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from accuracy_log import Record, of_job
from accuracy_peers import PEERS
from accuracy_rows import FOLDS, Row, jobs

from edge_lstm.errors import EdgeLstmError

BEGIN, END = "<!-- accuracy -->", "<!-- end of accuracy -->"
_FINAL = (
    "| cell, units | gates | weights | seeds | accuracy, integers [%] | float [%] | macro F1, integers [%] "
    "| model bytes | of which tables | MACs a step, dense | executed | gates open [%] | h zero [%] |"
)
_CHOICE = "| row | seeds | accuracy, integers [%] | float [%] | macro F1, integers [%] | float [%] |"
_PEER = "| published | accuracy [%] | size | source | differs |"
_BITS = {"8": "int8", "4": "int4", "2": "ternary"}


def page(text: str, tables: Sequence[str]) -> str:
    """The page with the tables between its markers.

    Raises:
        EdgeLstmError: It has no markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise EdgeLstmError(f"the page has no {BEGIN} with {END} after it")
    return "\n".join([before + BEGIN, "", *tables, END]) + after


def tables(rows: Sequence[Row], records: Sequence[Record], seeds: Sequence[int]) -> list[str]:
    """Markdown lines: of each data set the test figures, what others published, and the figures of choices."""
    lines: list[str] = []
    for data in dict.fromkeys(row.data for row in rows):
        done = {row: _done(row, records, seeds) for row in rows if row.data == data}
        final = [_final(row, found) for row, found in done.items() if row.kind == "final" and found]
        choices = [_choice(row, found) for row, found in done.items() if row.kind != "final" and found]
        if final or choices:
            lines += [f"### {data}", ""]
        lines += [*_table("Test part.", _FINAL, final), *(_table("", _PEER, list(_peers(data))) if final else [])]
        lines += _table("Held-out training subjects, for choices.", _CHOICE, choices)
    return lines


def _done(row: Row, records: Sequence[Record], seeds: Sequence[int]) -> list[list[Record]]:
    """Of each seed whose trainings are all in the log, their records."""
    found = ([of_job(records, job) for job in jobs([row], [seed])] for seed in seeds)
    return [[r for r in of_seed if r is not None] for of_seed in found if None not in of_seed]


def _final(row: Row, found: Sequence[Sequence[Record]]) -> str:
    options, (first, *_) = row.options, found[0]
    cells = [
        f"{options.cell}, {options.hidden}{f', {row.note}' if row.note else ''}",
        options.gates if first["open"] else "none",
        ", ".join(_BITS[bits.strip()] for bits in options.weight_bits.split(",")),
        str(len(found)),
        *(_spread(_quality(found, "test", *key)) for key in _FIGURES[:3]),
        f"{first['model_bytes']:,}",
        f"{first['table_bytes']:,}",
        f"{first['macs']:,}",
        f"{statistics.mean(r['executed_macs'] for of_seed in found for r in of_seed):,.0f}",
        ", ".join(f"{gate} {100 * _mean_of(found, gate):.0f}" for gate in first["open"]),
        f"{100 * statistics.mean(r['h_zero'] for of_seed in found for r in of_seed):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


_FIGURES = (("int", "accuracy"), ("float", "accuracy"), ("int", "macro_f1"), ("float", "macro_f1"))


def _choice(row: Row, found: Sequence[Sequence[Record]]) -> str:
    name = f"{row.name}, {FOLDS} folds" if row.kind == "folds" else row.name
    figures = [_spread(_quality(found, "validation", *key)) for key in _FIGURES]
    return "| " + " | ".join([name, str(len(found)), *figures]) + " |"


def _mean_of(found: Sequence[Sequence[Record]], gate: str) -> float:
    return float(statistics.mean(r["open"][gate] for of_seed in found for r in of_seed))


def _quality(found: Sequence[Sequence[Record]], part: str, form: str, figure: str) -> list[float]:
    """Of each seed, the mean over its folds, in %."""
    return [100 * statistics.mean(r[part][form][figure] for r in of_seed) for of_seed in found]


def _spread(values: Sequence[float]) -> str:
    """Mean, standard deviation and range."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    deviation = statistics.stdev(values)
    return f"{statistics.mean(values):.2f} ± {deviation:.2f} ({min(values):.2f} to {max(values):.2f})"


def _peers(data: str) -> Iterator[str]:
    for peer in PEERS:
        if peer.data == data:
            yield f"| {peer.model} | {peer.accuracy} | {peer.size} | {peer.source}, {peer.year} | {peer.differs} |"


def _table(title: str, head: str, rows: Sequence[str]) -> list[str]:
    if not rows:
        return []
    return [*([title, ""] if title else []), head, "|" + "---|" * (head.count("|") - 1), *rows, ""]
