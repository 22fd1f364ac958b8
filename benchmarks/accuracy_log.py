"""The log of the accuracy benchmark: one JSON object a line, one line a training. Lines are added, never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accuracy_rows import Job

from edge_lstm.errors import EdgeLstmError
from edge_lstm.train_options import TrainOptions

Record = Mapping[str, Any]
_KEYS = ("name", "data", "kind", "average", "thin", "seed", "fold")


def read(path: Path) -> list[Record]:
    """All lines; none where there is no file.

    Raises:
        EdgeLstmError: A line is no record, with its number.
    """
    records: list[Record] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else [], 1):
        try:
            record = json.loads(line)
            good = isinstance(record, dict) and record.keys() >= {*_KEYS, "options"}
        except json.JSONDecodeError:
            good = False
        if not good:
            raise EdgeLstmError(f"{path}: line {number} is no record of a training; delete it")
        records.append(record)
    return records


def append(path: Path, record: Record) -> None:
    """Add a line, in one write, and see it stored: whoever is killed now has lost nothing that was finished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def of_job(records: Iterable[Record], job: Job) -> Record | None:
    """The latest record of a job. Options that an older record lacks had their default of today then."""
    wanted = job.to_json()
    defaults = TrainOptions().to_json()
    found = None
    for record in records:
        same = all(record[key] == wanted[key] for key in _KEYS)
        if same and _unseeded({**defaults, **record["options"]}) == _unseeded(wanted["options"]):
            found = record
    return found


def _unseeded(options: Record) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "seed"}
