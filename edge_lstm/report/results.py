"""``results.json`` of a run folder: the schema, documented; what a run writes and the report reads.

Everything but ``title``, ``dataset`` and ``training`` may be absent: a training run verifies and simulates nothing.

>>> cost = SimulateInfo.model_validate(cost.to_json())                          # doctest: +SKIP
>>> results = Results(title=..., dataset=..., training=..., simulate=[cost])    # doctest: +SKIP
>>> files.write_text(run / run_files.RESULTS, results.to_json())                     # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import read_bytes

MAX_RESULTS_BYTES = 64 * 2**20

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, from 0 to 1."""
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
Error = Annotated[float, Field(ge=0, le=1e60)]
Explained = Annotated[float, Field(ge=-1e60, le=1)]
"""R², the share of variance explained; below 0 where the mean of the targets were better."""
GateForm = Literal["float", "int8"]


class _Strict(BaseModel):
    """Frozen; a key that is not known is refused, as are infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Open(BaseModel):
    """As ``_Strict``, but keys that later versions add are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class DatasetInfo(_Strict):
    """The recordings.

    Attributes:
        name: Of the data set.
        source: Where it comes from: a reference or an address.
        licence: Its licence, "" where not stated.
        train_windows, test_windows: Number of windows.
        steps: Length of a window in time steps.
        rate_hz: Sampling rate [Hz]; None where unknown.
        channels: Name of each input channel.
        units: Unit of each channel, "" where unknown.
        classes: Name of each class; of a regression, of each output.
        task: ``classify`` or ``regress``.
    """

    name: str
    source: str = ""
    licence: str = ""
    train_windows: Count
    test_windows: Count
    steps: Positive
    rate_hz: Annotated[float, Field(gt=0)] | None = None
    channels: Annotated[list[str], Field(min_length=1)]
    units: list[str]
    classes: Annotated[list[str], Field(min_length=1)]
    task: Literal["classify", "regress"] = "classify"

    @model_validator(mode="after")
    def _one_unit_each(self) -> DatasetInfo:
        if len(self.units) != len(self.channels):
            raise ValueError(f"{len(self.units)} units for {len(self.channels)} channels; accepted is one unit each")
        return self


class TrainingInfo(_Strict):
    """What was trained and how.

    Attributes:
        cell: Name of the recurrent cell.
        hidden: Units per layer.
        layers: Number of recurrent layers.
        pooling: What the dense layer reads of the hidden state over time; see ``model.POOLINGS``.
        parameters: Number of trained parameters.
        epochs: Passes over the training windows.
        seeds: One training per seed and kind of gates.
        options: Further options by name, in their own units.
        started_from: Digest of the float model whose weights it began with; "" where they were random.
    """

    cell: str
    hidden: Positive
    layers: Positive
    pooling: str
    parameters: Count
    epochs: Count
    seeds: list[int]
    options: dict[str, JsonValue] = {}
    started_from: str = ""


class AccuracyRow(_Strict):
    """Accuracy of one kind of model on the test windows.

    Attributes:
        model: Name to show.
        gates: ``soft``, ``hard``, or a mixture as ``gates.format_gates`` writes it.
        form: ``float`` or ``int8``.
        by_seed: Seed of the training to share of test windows, or of steps of them, classified correctly.
        macro_f1: Seed to the mean F1 of the classes; empty where not measured.
    """

    model: str
    gates: str
    form: GateForm
    by_seed: Annotated[dict[int, Share], Field(min_length=1)]
    macro_f1: dict[int, Share] = {}


class ClassScore(_Strict):
    """How well a class of the test windows, or of steps of them, is found.

    Attributes:
        name: Of the class.
        precision: Share of what was predicted to be of it that is; 0 where nothing was.
        recall: Share of what is of it that was predicted to be; 0 where nothing is.
        f1: Their harmonic mean.
        support: How many are of it.
    """

    name: str
    precision: Share
    recall: Share
    f1: Share
    support: Count


class ErrorValues(_Strict):
    """Errors of a regression: ``mse`` and ``mae``, in the targets' unit; ``r2``, the share of variance explained."""

    mse: Error
    mae: Error
    r2: Explained


class ErrorRow(_Strict):
    """Errors of one kind of model on the test windows, of a regression.

    Attributes:
        model, gates, form: As of an ``AccuracyRow``.
        by_seed: Seed of the training to its errors.
    """

    model: str
    gates: str
    form: GateForm
    by_seed: Annotated[dict[int, ErrorValues], Field(min_length=1)]


class Curve(_Strict):
    """Learning curve of one training.

    Attributes:
        model: Name to show; the same for every seed.
        seed: Of this training.
        epoch: Number of each epoch, counted from 1.
        loss: Mean loss of each epoch: [nat], or the mean squared error of standardized targets.
        accuracy: Share classified correctly after each epoch, None where not measured; empty if never.
        accuracy_on: On what, for example "training windows".
        r2: Of a regression on the validation windows, after each epoch; empty if never measured.
        macro_f1, validation_loss: The same of a classifier's macro F1, and of the loss.
    """

    model: str
    seed: int
    epoch: list[Count]
    loss: list[float]
    accuracy: list[Share | None] = []
    accuracy_on: str = ""
    r2: list[Explained] = []
    macro_f1: list[Share] = []
    validation_loss: list[float] = []

    @model_validator(mode="after")
    def _same_length(self) -> Curve:
        if len(self.loss) != len(self.epoch) or len(self.accuracy) not in (0, len(self.epoch)):
            raise ValueError(
                f"{len(self.epoch)} epochs with {len(self.loss)} losses and {len(self.accuracy)} accuracies; "
                "accepted is one each, or no accuracies"
            )
        for name in ("r2", "macro_f1", "validation_loss"):
            found = len(getattr(self, name))
            if found not in (0, len(self.epoch)):
                raise ValueError(f"{len(self.epoch)} epochs with {found} {name}; accepted is one each, or none")
        return self


class ShippedInfo(_Strict):
    """Which of the trainings ``model.elstm`` is.

    Attributes:
        gates: As in ``AccuracyRow``.
        seed: Of its training.
    """

    gates: str
    seed: int


class FloatInfo(_Open):
    """Scores against float: ``max_abs`` and ``rms`` difference; ``agreement``, share of equal classes.

    Differences are in logits, or in the unit of a regression's outputs; of a regression ``agreement`` is None.
    """

    max_abs: Amount
    rms: Amount
    agreement: Share | None = None


class StepErrorInfo(_Open):
    """One integer step of a layer against the exact step, in real units; see ``edge_lstm.step_error``."""

    layer: str
    c_max_abs: Amount
    c_bound: Amount
    h_max_abs: Amount
    h_bound: Amount
    within: bool


class VerifyInfo(_Open):
    """As ``edge-lstm verify --json`` writes it.

    Attributes:
        equal: No integer differs.
        compared, mismatches: Pairs of integers compared, and different.
        backends: Compared with the first of them.
        first_mismatch: None where nothing differs.
        windows, steps: Of the input that was run.
        float: Against the float model; None where it was not compared.
        step_errors: Of each layer.
    """

    equal: bool
    compared: Count
    mismatches: Count
    backends: list[str]
    first_mismatch: JsonValue = None
    windows: Count | None = None
    steps: Count | None = None
    float: FloatInfo | None = None
    step_errors: list[StepErrorInfo] = []


class Spread(_Open):
    """``mean``, 95th percentile and ``max`` over what was run."""

    mean: Amount
    p95: Amount
    max: Amount


class FlashInfo(_Open):
    """Read-only memory [bytes]."""

    code: Count
    tables: Count
    weights: Count
    total: Count


class RamInfo(_Open):
    """Memory that changes [bytes]."""

    state: Count
    scratch: Count
    stack: Count
    total: Count


class SimulateInfo(_Open):
    """As ``edge-lstm simulate --json`` writes it, for one core.

    Attributes:
        core: Name of the emulated core.
        compiler: What compiled the firmware, and with which optimization.
        steps: Time steps executed.
        instructions_per_step, instructions_per_window: Instructions executed.
        flash_bytes, ram_bytes: What the model takes [bytes].
        nonzero_hidden: Share of the hidden values that are not zero.
        instructions_by_function: Function of the C code to its mean instructions per step.
    """

    core: str
    compiler: str = ""
    steps: Count
    instructions_per_step: Spread
    instructions_per_window: Spread | None = None
    flash_bytes: FlashInfo
    ram_bytes: RamInfo
    nonzero_hidden: Share | None = None
    instructions_by_function: dict[str, Amount] = {}


class Results(_Strict):
    """A run.

    Attributes:
        title: One line.
        dataset, training: What was trained on what.
        accuracy: One row per kind of model; none of a regression.
        errors: The same of a regression.
        curves: One per training.
        shipped: Which of them ``model.elstm`` is.
        confusion: (classes, classes) test windows, or steps of them, by true class (row) and predicted class (column),
            of ``model.elstm``.
        confusion_float: The same of the float weights.
        by_class: Form of the shipped model to the scores of each class.
        recording: How the recording of the gate raster was chosen.
        verify: None where the backends were not compared.
        simulate: One per core.
    """

    title: str
    dataset: DatasetInfo
    training: TrainingInfo
    accuracy: list[AccuracyRow] = []
    errors: list[ErrorRow] = []
    curves: list[Curve] = []
    shipped: ShippedInfo | None = None
    confusion: list[list[Count]] | None = None
    confusion_float: list[list[Count]] | None = None
    by_class: dict[GateForm, list[ClassScore]] = {}
    recording: str = ""
    verify: VerifyInfo | None = None
    simulate: list[SimulateInfo] = []

    @model_validator(mode="after")
    def _confusion_fits(self) -> Results:
        classes = len(self.dataset.classes)
        for name in ("confusion", "confusion_float"):
            rows = getattr(self, name)
            if rows is not None and (len(rows) != classes or any(len(row) != classes for row in rows)):
                raise ValueError(f"{name} must have {classes} rows of {classes} counts, one per class")
        for form, scores in self.by_class.items():
            if len(scores) != classes:
                raise ValueError(f"by_class.{form} must have {classes} scores, one per class")
        return self

    def to_json(self) -> str:
        """Text for ``results.json``; what was not set is left out."""
        return self.model_dump_json(indent=1, exclude_unset=True) + "\n"


def read_results(path: Path) -> Results:
    """Read ``results.json``.

    Raises:
        EdgeLstmError: It is missing, too large, no JSON, or not as ``Results`` says; names the file and the key.
    """
    try:
        return Results.model_validate_json(read_bytes(path, at_most=MAX_RESULTS_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{key}: " for key in [".".join(str(k) for k in first["loc"])] if key)
        raise EdgeLstmError(f"{path}: {where}{' '.join(first['msg'].split())}") from None
