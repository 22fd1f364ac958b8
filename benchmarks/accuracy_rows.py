"""The rows of the accuracy benchmark: named configurations, each trained with several seeds.

A row's ``kind`` says on what it is measured:

======= ==================================================================================================
choose  for choices: a share of the training subjects is held out (chosen by the seed); the test part is not looked at
folds   for choices: cross-validation, ``FOLDS`` parts of the training subjects, each held out once
final   trained on all training subjects for all epochs, and measured on the test part, once
======= ==================================================================================================
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from edge_lstm.errors import EdgeLstmError
from edge_lstm.recipes import RECIPES, options_of
from edge_lstm.train_options import TrainOptions

_OF_ROW = ("name", "data", "kind", "average", "thin")
Kind = Literal["choose", "folds", "final"]
HELD_OUT = 0.25
FOLDS = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """A configuration.

    Attributes:
        name: Unique; what ``--only`` looks at.
        data: Name of the data set.
        options: How to train. Its seed plays no part; nothing is held out by the trainer itself.
        kind: On what it is measured.
        average: Samples of which a step is the mean.
        thin: Train on at most so many windows of each class and subject; 0: on all.
        note: What distinguishes it, for the table.

    Raises:
        EdgeLstmError: The options hold windows out, or the kind is not known.
    """

    name: str
    data: str
    options: TrainOptions
    kind: Kind = "final"
    average: int = 1
    thin: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        if self.options.validation:
            raise EdgeLstmError(f"row {self.name!r}: validation is {self.options.validation}; accepted is 0")
        if self.kind not in get_args(Kind):
            raise EdgeLstmError(f"row {self.name!r}: kind is {self.kind!r}; accepted are {', '.join(get_args(Kind))}")


@dataclass(frozen=True)
class Job:
    """One training of a row."""

    row: Row
    seed: int
    fold: int = 0

    @property
    def teacher(self) -> TrainOptions:
        """How its teacher is trained, on the same windows and with the same seed."""
        return replace(BASES[self.row.data]["options"], **TEACHER, seed=self.seed)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.row.name}, seed {self.seed}" + (f", fold {self.fold}" if self.row.kind == "folds" else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values; the note of the row is not among them, since it changes nothing."""
        row = {key: getattr(self.row, key) for key in _OF_ROW}
        return {**row, "seed": self.seed, "fold": self.fold, "options": self.row.options.to_json()}

    @staticmethod
    def from_json(found: dict[str, Any]) -> Job:
        """From what ``to_json`` gave."""
        row = {key: found[key] for key in _OF_ROW}
        return Job(Row(**row, options=TrainOptions(**found["options"])), found["seed"], found["fold"])


def jobs(rows: Iterable[Row], seeds: Sequence[int]) -> Iterator[Job]:
    """All rows with the first seed, then all with the next: an interrupted run has some of everything."""
    rows = list(rows)
    for seed in seeds:
        for row in rows:
            for fold in range(FOLDS if row.kind == "folds" else 1):
                yield Job(row, seed, fold)


def matching(rows: Iterable[Row], pattern: str) -> list[Row]:
    """Those whose name has the pattern in it, in which * stands for anything.

    Raises:
        EdgeLstmError: There is none.
    """
    found = [row for row in rows if fnmatch.fnmatchcase(row.name, f"*{pattern}*")]
    if not found:
        raise EdgeLstmError(f"--only is {pattern!r}; no row has it in its name")
    return found


INERTIAL = options_of("inertial", {"epochs": 60, "validation": 0.0})
PLAIN = replace(INERTIAL, rotation=0.0, warp=0.0)
FSDD = TrainOptions(epochs=80, batch=64, averaging=0.98, gain=0.05, offset=0.2, jitter=0.1, validation=0.0)
ECG = TrainOptions(epochs=20, batch=128, averaging=0.98, gain=0.0, offset=0.05, validation=0.0)
BASES: dict[str, dict[str, Any]] = {
    "hapt": {"options": INERTIAL, "average": 4},
    "hapt-2": {"options": INERTIAL, "average": 4},
    "fsdd": {"options": FSDD},
    "fsdd-official": {"options": FSDD},
    "ecg": {"options": ECG, "average": 2, "thin": 300},
}
"""Data set to its recipe, how many samples a step is the mean of, and how many windows of a class and subject do. Beats
get no other gain: it would vary their intervals, too, of which a tenth more or less tells an early beat."""
ONLY_OUTPUT = "i=hard-sigmoid,f=hard-sigmoid,o=hard"
NARROW = {"weight_bits": "4", "quantized_from": 0.5}
ROUNDED = {"weight_bits": "4", **RECIPES["narrow"].options}
NO_TABLES = {**NARROW, "squash": "hard"}
FINAL: dict[str, tuple[dict[str, Any], ...]] = {
    "hapt": (
        *({"hidden": hidden, "gates": "soft", "quantized_from": 1.0} for hidden in (32, 64)),
        *({"hidden": hidden, "gates": "hard", "distill": 0.5} for hidden in (32, 64)),
        *({"hidden": hidden, "gates": "o=hard"} for hidden in (32, 64)),
        {"gates": "hard", "distill": 0.5, **ROUNDED},
        {"gates": "hard", "distill": 0.5, **ROUNDED, "weight_bits": "2", "input_gain": True},
        {"gates": "o=hard", **ROUNDED},
        {"gates": "o=hard", **ROUNDED, "weight_bits": "2", "input_gain": True},
        *({"gates": "hard", "distill": 0.5, "budget_macs": budget} for budget in (0.45, 0.36, 0.27)),
    ),
    "hapt-2": (
        {"hidden": 29, "gates": ONLY_OUTPUT, "distill": 0.5, **NO_TABLES},
        {"hidden": 26, "gates": "hard", "distill": 0.5, **ROUNDED},
        {"hidden": 14, "gates": ONLY_OUTPUT, "distill": 0.5, **NO_TABLES},
    ),
    **{data: ({"gates": "soft"}, {"gates": "hard"}) for data in ("fsdd", "ecg")},
    "fsdd-official": ({"gates": "soft"}, {"gates": "hard"}, {"gates": "hard", "distill": 0.5}),
}
"""Data set to what its rows change in the recipe. Of hapt-2 the first two are within 3,000 bytes with the tables
of functions, and the last within 1,000."""
TEACHER: dict[str, Any] = {"gates": "soft", "hidden": 64, "quantized_from": 1.0}
"""What a row's recipe changes to train the float model from which rows with ``distill`` learn."""


def _row(data: str, kind: Kind, change: Mapping[str, Any], base: TrainOptions | None = None, note: str = "") -> Row:
    given = BASES[data]
    options = replace(base or given["options"], **change)
    budget = f"/macs{options.budget_macs:g}" if options.budget_macs else ""
    parts = [f"{options.cell}-{options.hidden}", options.gates, f"w{options.weight_bits}{budget}"]
    parts += ["distilled"] if options.distill else []
    parts += ["float"] if options.quantized_from == 1 else []
    parts += [options.squash] if options.squash != "exact" else []
    parts += [note] if note else []
    name = "/".join([kind, data, *parts])
    told = [f"at most {options.budget_macs:.0%} of the products"] if budget else []
    told += ["with a teacher"] if options.distill else []
    told += ["trained in float"] if options.quantized_from == 1 else []
    told += [f"{options.squash} functions"] if options.squash != "exact" else []
    return Row(
        name=name,
        data=data,
        kind=kind,
        note=", ".join([*told, *([note] if note else [])]),
        **{**given, "options": options},
    )


ROWS: tuple[Row, ...] = (
    *(_row(data, "final", change) for data, changes in FINAL.items() for change in changes),
    *(_row("hapt", "folds", change) for change in FINAL["hapt"][:1]),
    *(
        _row("hapt", "folds", change)
        for change in ({"gates": "hard", "distill": 0.5}, {"gates": "hard"}, {"gates": "o=hard"})
    ),
    _row("hapt", "folds", {"gates": "hard"}, PLAIN, "not turned or warped"),
    *(_row("hapt-2", "folds", change) for change in FINAL["hapt-2"][:2]),
)
