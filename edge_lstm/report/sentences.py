"""What a run shows, in words."""

from __future__ import annotations

import math

from edge_lstm.report import forms
from edge_lstm.report.formats import explained, listing, mean_and_spread, number, percent, plural, unit
from edge_lstm.report.results import AccuracyRow, DatasetInfo, ErrorRow, Results, SimulateInfo, VerifyInfo
from edge_lstm.report.run_folder import Run

BACKENDS = {
    "numpy": "NumPy",
    "onnxruntime": "the integer ONNX graph on onnxruntime",
    "c": "the generated C99 on this machine",
    "torch": "PyTorch: the forward pass of quantization-aware training",
}
_CORES = {"cortex-m0plus": "Cortex-M0+"}


def result(run: Run) -> str:
    """The result of a run in one sentence."""
    training = run.results.training
    gates = "" if run.results.shipped is None else f" with {run.results.shipped.gates} gates"
    layers = plural(training.hidden, "unit") if training.layers == 1 else f"{training.layers} × {training.hidden} units"
    subject = _subject(training.cell, forms.direction(run.model)) + forms.network(run.model)
    said = [_quality(run)]
    if run.results.verify is not None:
        said.append(_verified(run.results.verify))
    if run.results.simulate:
        said.append(_costs(run.results.simulate[0]))
    return f"{subject} of {layers}{gates} {listing(said)}."


def _quality(run: Run) -> str:
    """How well the shipped kind of model does on the test windows."""
    dataset, model = run.results.dataset, run.model
    row, errors = shipped_row(run.results), shipped_errors(run.results)
    if row is not None:
        mean, _ = mean_and_spread(list(row.by_seed.values()))
        classes = plural(len(dataset.classes), "class", "classes")
        accuracy = f"{percent(mean)} accuracy ({row.form}{_seeds(len(row.by_seed))})"
        if model.decoder is not None:
            return f"predicts sequences of the {classes} of {dataset.name} with {accuracy}"
        each = " at each step" if model.pooling == "each" else ""
        return f"tells the {classes} of {dataset.name} apart{each} with {accuracy}"
    if errors is not None:
        means = errors_of(errors)
        outputs = plural(len(dataset.classes), "output")
        times = f"{plural(model.decoder.steps, 'step')} of " if model.decoder is not None else ""
        each = " at each step" if model.pooling == "each" else ""
        estimated = f"estimates {times}{outputs} of {dataset.name}{each} with R²\u00a0{explained(means['r2'][0])}"
        return (
            f"{estimated}, a mean absolute error of {number(means['mae'][0])} and a root mean square error of "
            f"{number(means['rmse'][0])} ({errors.form}{_seeds(len(errors.by_seed))})"
        )
    return f"was trained on {dataset.name} and quantized to {plural(run.model_bytes, 'byte')}"


def _seeds(count: int) -> str:
    return f", mean of {plural(count, 'seed')}" if count > 1 else ""


def errors_of(row: ErrorRow) -> dict[str, tuple[float, float | None]]:
    """``r2``, ``mae`` and ``rmse``: mean over the seeds, and spread."""
    values = list(row.by_seed.values())
    return {
        "r2": mean_and_spread([v.r2 for v in values]),
        "mae": mean_and_spread([v.mae for v in values]),
        "rmse": mean_and_spread([math.sqrt(v.mse) for v in values]),
    }


def _subject(cell: str, direction: str) -> str:
    """A cell as the subject of a sentence: abbreviations in capitals, with the article that they are spoken with."""
    word = cell.upper() if cell.partition("-")[0] in ("lstm", "lstmp", "cifg", "gru", "rnn") else f"{cell} network"
    if direction:
        return f"A {direction} {word}"
    return f"{'An' if word[:1] in 'AEFHILMNORSXaeio' else 'A'} {word}"


def shipped_row(results: Results) -> AccuracyRow | None:
    """The accuracies of the kind of model that ships: its gates, int8."""
    if results.shipped is None:
        return None
    rows = [r for r in results.accuracy if r.form == "int8" and r.gates == results.shipped.gates]
    return rows[0] if rows else None


def shipped_errors(results: Results) -> ErrorRow | None:
    """The errors of the kind of model that ships, of a regression."""
    if results.shipped is None:
        return None
    rows = [r for r in results.errors if r.form == "int8" and r.gates == results.shipped.gates]
    return rows[0] if rows else None


def backend(name: str) -> str:
    """A backend, for people."""
    if name.startswith("cortex-m"):
        return f"the generated C99 on an emulated {core(name)}"
    return BACKENDS.get(name, name)


def core(name: str) -> str:
    """A core, as its maker writes it."""
    if name.startswith("cortex-m") and name.isascii():
        return _CORES.get(name, f"Cortex-M{name[8:]}")
    return name


def channels(dataset: DatasetInfo) -> str:
    """The channels, each unit once."""
    by_unit: dict[str, list[str]] = {}
    for name, of in zip(dataset.channels, dataset.units, strict=True):
        by_unit.setdefault(of, []).append(name)
    return "; ".join(", ".join(names) + (f" [{unit(of)}]" if of else "") for of, names in by_unit.items())


def agreement(verify: VerifyInfo) -> str:
    """Whether the backends compute the same."""
    over = ""
    if verify.windows is not None and verify.steps is not None:
        over = f" over {plural(verify.windows, 'window')} of {plural(verify.steps, 'step')}"
    compared = f"{plural(verify.compared, 'pair')} of integers compared{over}"
    if verify.equal:
        return f"Equal: {compared}, 0 differ."
    return f"Not equal: {compared}, {number(verify.mismatches)} differ."


def mismatch(verify: VerifyInfo) -> str:
    """The first integer that differs, "" where none does."""
    first = verify.first_mismatch
    if isinstance(first, dict):
        return ", ".join(f"{key} {value}" for key, value in first.items())
    return "" if first is None else str(first)


def against_float(run: Run) -> str:
    """The comparison with the float model, "" where there was none."""
    verify = run.results.verify
    if verify is None or verify.float is None:
        return ""
    found = verify.float
    regression = run.results.dataset.task == "regress"
    what, of = ("outputs", "") if regression else ("scores", " logits")
    difference = f"the {what} differ by at most {number(found.max_abs)}{of}, and by {number(found.rms)}{of} rms"
    if found.agreement is None:
        return f"{difference}."
    return f"{percent(found.agreement)} of the {forms.counted(run.model)} get the same class; {difference}."


def _verified(verify: VerifyInfo) -> str:
    backends = plural(len(verify.backends), "backend")
    if verify.equal:
        return f"computes the same integers in {backends} ({number(verify.compared)} compared)"
    return (
        f"computes different integers in {backends} ({number(verify.mismatches)} of {number(verify.compared)} differ)"
    )


def _costs(cost: SimulateInfo) -> str:
    steps = number(round(cost.instructions_per_step.mean))
    flash = plural(cost.flash_bytes.total, "byte")
    return f"takes {steps} instructions per step and {flash} of flash on a {core(cost.core)}"
