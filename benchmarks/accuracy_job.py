"""One training of the accuracy benchmark, in a process of its own.

python benchmarks/accuracy_job.py LOG < job.json

Trains on one thread, measures, and adds a line to LOG. A training that is killed goes on where it was
(``LOG.parent / "checkpoints"``), and gives what it would have given.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_log import append
from accuracy_rows import FOLDS, HELD_OUT, Job
from executed import activity

from edge_lstm import __version__
from edge_lstm.checkpoint import remove
from edge_lstm.codec import digest
from edge_lstm.data import Dataset, averaged, folds, load, split, train_test
from edge_lstm.evaluation import quality
from edge_lstm.lower import lower
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.numpy_lookup import TABLES
from edge_lstm.ops import Op
from edge_lstm.program import constant_bytes
from edge_lstm.statistics import describe
from edge_lstm.storage import load_float, save
from edge_lstm.training import train


def parts(job: Job) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is measured: no subject is in both, where subjects are known."""
    training, test = (averaged(part, job.row.average) for part in train_test(load(job.row.data)))
    if job.row.kind == "choose":
        training, test = split(training, HELD_OUT, job.seed)
    elif job.row.kind == "folds":
        training, test = list(folds(training, FOLDS, 0))[job.fold]
    return thinned(training, job.row.thin, job.seed), test


def taught(job: Job, training: Dataset, checkpoint: Path | None) -> FloatModel:
    """The job's teacher; kept beside the checkpoint for other rows that have the same."""
    options = job.teacher
    key = sha256(f"{digest(training)} {json.dumps(options.to_json(), sort_keys=True)}".encode()).hexdigest()[:16]
    kept = None if checkpoint is None else checkpoint.parent / f"teacher-{key}.safetensors"
    if kept is not None and kept.exists():
        return load_float(kept)
    model = train(training, options).float_model
    if kept is not None:
        save(model, kept)
    return model


def thinned(dataset: Dataset, at_most: int, seed: int) -> Dataset:
    """At most so many windows, drawn at random, of each class and subject; all of them where ``at_most`` is 0."""
    if not at_most:
        return dataset
    rng = np.random.default_rng(seed)
    groups = np.zeros(len(dataset), np.int64) if dataset.groups is None else dataset.groups
    kinds, of = np.unique(np.stack([groups, dataset.strata], axis=1), axis=0, return_inverse=True)
    kept = [rng.permutation(np.flatnonzero(of.ravel() == k))[:at_most] for k in range(len(kinds))]
    return dataset.take(np.sort(np.concatenate(kept)))


def measured(job: Job, checkpoint: Path | None = None) -> Mapping[str, Any]:
    """Train, and what there is to say of the result.

    Raises:
        EdgeLstmError: As ``train``.
        KeyboardInterrupt: Before the end of the training.
    """
    import torch

    training, held_out = parts(job)
    begin = time.perf_counter()
    resumed = checkpoint is not None and checkpoint.exists()
    teacher = taught(job, training, checkpoint) if job.row.options.distill else None
    trained = train(training, replace(job.row.options, seed=job.seed), teacher=teacher, checkpoint=checkpoint)
    if trained.interrupted:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - begin
    found = {form: quality(model, held_out) for form, model in _forms(trained.float_model, trained.quantized).items()}
    gates = activity(trained.quantized, held_out)
    described = describe(trained.quantized)
    return {
        **job.to_json(),
        "edge_lstm": __version__,
        "torch": torch.__version__,
        "trained_windows": len(training),
        "measured_windows": len(held_out),
        "validation": None if job.row.kind == "final" else found,
        "test": found if job.row.kind == "final" else None,
        "sha256": described["sha256"],
        "model_bytes": described["model_bytes"],
        "table_bytes": table_bytes(trained.quantized),
        "weight_bytes": weight_bytes(trained.quantized),
        "macs": gates.dense,
        "executed_macs": round(gates.executed, 1),
        "open": {gate: round(share, 4) for gate, share in gates.open.items()},
        "h_zero": round(gates.h_zero, 4),
        "activity_windows": gates.windows,
        "seconds": round(seconds, 1),
        "resumed": resumed,
    }


def _forms(float_model: Any, quantized: QuantizedModel) -> Mapping[str, Any]:
    return {"float": float_model, "int": quantized}


def weight_bytes(model: QuantizedModel) -> int:
    """Of the matrices alone, packed as the C export packs them; the classifier's is among them."""
    sizes = {
        str(instruction.attributes["weights"]): constant_bytes(program, str(instruction.attributes["weights"]))
        for program in lower(model).programs
        for instruction in program.instructions
        if instruction.op is Op.MATVEC
    }
    return sum(sizes.values())


def table_bytes(model: QuantizedModel) -> int:
    """Of the functions' tables, which other models could share, and whose size does not depend on the model's."""
    sizes = {
        str(instruction.attributes["table"]): constant_bytes(program, str(instruction.attributes["table"]))
        for program in lower(model).programs
        for instruction in program.instructions
        if instruction.op in TABLES
    }
    return sum(sizes.values())


def main() -> None:
    log = Path(sys.argv[1])
    job = Job.from_json(json.load(sys.stdin))
    folder = log.parent / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    key = sha256(json.dumps(job.to_json(), sort_keys=True).encode()).hexdigest()[:16]
    checkpoint = folder / f"{key}.safetensors"
    append(log, measured(job, checkpoint))
    remove(checkpoint)


if __name__ == "__main__":
    main()
