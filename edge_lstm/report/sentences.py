"""What a run shows, in words."""

from __future__ import annotations

from edge_lstm.report.formats import listing, mean_and_spread, number, percent, plural, unit
from edge_lstm.report.results import AccuracyRow, DatasetInfo, Results, SimulateInfo, VerifyInfo
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
    training, dataset = run.results.training, run.results.dataset
    gates = "" if run.results.shipped is None else f" with {run.results.shipped.gates} gates"
    layers = plural(training.hidden, "unit") if training.layers == 1 else f"{training.layers} × {training.hidden} units"
    subject = _subject(training.cell)
    said = []
    row = shipped_row(run.results)
    if row is not None:
        mean, _ = mean_and_spread(list(row.by_seed.values()))
        seeds = f", mean of {plural(len(row.by_seed), 'seed')}" if len(row.by_seed) > 1 else ""
        classes = plural(len(dataset.classes), "class", "classes")
        said.append(f"tells the {classes} of {dataset.name} apart with {percent(mean)} accuracy ({row.form}{seeds})")
    else:
        said.append(f"was trained on {dataset.name} and quantized to {plural(run.model_bytes, 'byte')}")
    if run.results.verify is not None:
        said.append(_verified(run.results.verify))
    if run.results.simulate:
        said.append(_costs(run.results.simulate[0]))
    return f"{subject} of {layers}{gates} {listing(said)}."


def _subject(cell: str) -> str:
    """A cell as the subject of a sentence: abbreviations in capitals, with the article that they are spoken with."""
    word = cell.upper() if cell.partition("-")[0] in ("lstm", "lstmp", "cifg", "gru", "rnn") else f"{cell} network"
    return f"{'An' if word[:1] in 'AEFHILMNORSXaeio' else 'A'} {word}"


def shipped_row(results: Results) -> AccuracyRow | None:
    """The accuracies of the kind of model that ships: its gates, int8."""
    if results.shipped is None:
        return None
    rows = [r for r in results.accuracy if r.form == "int8" and r.gates == results.shipped.gates]
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
