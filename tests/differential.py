"""Random models and inputs, in the generated C of many builds, against the NumPy runtime.

python tests/differential.py [--models 520] [--first 0] [--processes 2]

Every model is built by gcc with its sanitizers, in one more way for this computer, and for one emulated core; each
build runs ``WINDOWS`` windows. Of every eight models, in four all layers that can skip columns do. After every step of
a model that takes samples one by one all states are compared, of every model the outputs and the last states.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from graph_models import GRAPHS, float_graph, graph_samples
from random_networks import random_network

from edge_lstm.compiler import STRICT, run_compiler, zig
from edge_lstm.data.basic_motions import read_basic_motions
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution, Trace
from edge_lstm.export.skipping import refusals
from edge_lstm.firmware_sim import device, host
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.generated import write_sources
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_graph.quantize import quantize_graph
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.ptq_options import PtqOptions
from edge_lstm.runtime import execute

WINDOWS = 20
SANITIZERS = ("-g1", "-fno-sanitize-recover=all", "-fsanitize=address,undefined")
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")
ZIG = (*zig(), "-fno-sanitize=undefined")

SANITIZED = ("gcc", "-O1", *SANITIZERS)
BUILDS: Mapping[str, tuple[str, ...]] = {
    **{f"gcc {level}": ("gcc", level) for level in LEVELS},
    **{f"clang {level}": (*ZIG, level) for level in LEVELS},
    "gcc -m32 -O2": ("gcc", "-m32", "-O2"),
    "gcc -m32 -O2, undefined behaviour": ("gcc", "-m32", "-O2", "-fsanitize=undefined", "-fno-sanitize-recover=all"),
    "clang x86 -Os": (*ZIG, "-target", "x86-linux-musl", "-Os"),
    "clang -O2, undefined behaviour": (*zig(), "-O2", "-fsanitize=undefined", "-fsanitize-trap=undefined"),
    "clang -O1, sanitizers": ("clang", "-O1", *SANITIZERS),
}
GRAPH_NAMES = [name for name in GRAPHS if name not in ("embedding", "many rows")]
"""Those whose inputs may be any integer, not only numbers of rows."""
GRAPH_EVERY = 13
"""One model of so many is a graph."""


class Report(NamedTuple):
    """What a model's builds gave.

    Attributes:
        pairs: Build to the windows that it ran.
        faults: Of each build that failed or differed, what happened.
        skipped: Builds whose compiler is not here.
    """

    pairs: dict[str, int]
    faults: list[str]
    skipped: list[str]


def random_model(number: int) -> IntegerModel:
    """A network of any form, or a graph."""
    if number % GRAPH_EVERY == GRAPH_EVERY - 1:
        draw = random.Random(number)
        name = GRAPH_NAMES[number // GRAPH_EVERY % len(GRAPH_NAMES)]
        options = PtqOptions(weight_bits=draw.choice((8, 4)), activation_bits=draw.choice((8, 16)))
        return quantize_graph(float_graph(name, seed=number), options, graph_samples(name, 16, seed=number))
    network, _, _ = random_network(number)
    return network.quantized()


def windows_of(model: IntegerModel, number: int) -> tuple[Integers, Integers | None]:
    """Input integers (WINDOWS, steps, channels) and lengths: extremes, impulses, recordings, random.

    Lengths are those of a model for windows of several lengths, else None.
    """
    rng = np.random.default_rng(number)
    limit, steps, channels = model.input_format.max, model.signature.steps, len(model.signature.channels)
    t, c = np.arange(steps)[:, None], np.arange(channels)[None]
    shape = (steps, channels)
    extreme = [
        np.full(shape, limit),
        np.full(shape, -limit),
        np.zeros(shape),
        np.where(t % 2, -limit, limit) + 0 * c,
        np.where((t + c) % 2, -limit, limit),
        np.where((t == 0) & (c >= 0), limit, 0),
        np.where((t == steps // 2) & (c == number % channels), -limit, 0),
        np.where(t < steps // 2, -limit, limit) + 0 * c,
    ]
    drawn = [
        *rng.integers(-limit, limit + 1, (4, *shape)),
        *rng.choice([-limit, limit], (2, *shape)),
        *rng.integers(-limit // 20, limit // 20 + 1, (2, *shape)),
        rng.integers(-limit, limit + 1, shape) * (rng.random(shape) < 0.1),
    ]
    recorded = [_recorded(rng, shape, limit) for _ in range(WINDOWS - len(extreme) - len(drawn))]
    x = np.stack([*extreme, *drawn, *recorded]).astype(np.int32)
    lengths = rng.integers(1, steps + 1, WINDOWS).astype(np.int32) if model.signature.variable else None
    return x, lengths


def _recorded(rng: np.random.Generator, shape: tuple[int, int], limit: int) -> Integers:
    """A piece of a recording of movements, of which four standard deviations are the largest integer."""
    recordings = _recordings()
    steps, channels = shape
    start = int(rng.integers(max(1, recordings.shape[1] - steps)))
    piece = np.resize(recordings[rng.integers(len(recordings)), start : start + steps], (steps, recordings.shape[2]))
    return np.clip(np.rint(piece[:, np.arange(channels) % piece.shape[1]] * (limit / 4)), -limit, limit)


@cache
def _recordings() -> np.ndarray:
    x = read_basic_motions().x
    return (x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))


def compared(number: int, builds: Mapping[str, tuple[str, ...]] | None = None, core: str | None = None) -> Report:
    """Run a random model in some builds.

    Args:
        number: Of the model.
        builds: Those of this computer; those that ``chosen`` gives where None.
        core: An emulated core; one of all in turn where None, and none where empty.
    """
    model = random_model(number)
    x, lengths = windows_of(model, number)
    trace: Trace = "states" if lower(model).streams else "none"
    skip = [layer for layer, why in refusals(model).items() if why is None] if number % 8 < 4 else []
    wanted = execute(model, x, trace=trace, lengths=lengths)
    report = Report({}, [], [])

    def note(build: str, found: Execution) -> None:
        report.pairs[build] = len(x)
        report.faults.extend(f"model {number}, {build}: {value}" for value in differences(found, wanted))

    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as name:
        paths = write_sources(model, trace, Path(name), skip)
        sources = [str(path) for path in paths.values() if path.suffix == ".c"]
        for build, command in (chosen(number) if builds is None else builds).items():
            if shutil.which(command[0]) is None:
                report.skipped.append(build)
                continue
            program = Path(name, "model")
            try:
                run_compiler([*command, *STRICT, *sources, "-o", str(program)], build)
                note(build, host.run_program(program, model, x, trace=trace, lengths=lengths))
            except EdgeLstmError as error:
                report.faults.append(f"model {number}, {build}: {error}")
    core = list(CORES)[number % len(CORES)] if core is None else core
    if core:
        level = LEVELS[number // len(CORES) % len(LEVELS)]
        build = f"{core} {level}{', skipping' if skip else ''}"
        options = {"trace": trace, "lengths": lengths, "optimize": level, "skip": skip}
        try:
            note(build, device.execute(CORES[core], model, x, **options))
        except EdgeLstmError as error:
            report.faults.append(f"model {number}, {build}: {error}")
    return report


def attempted(number: int) -> Report:
    """``compared``, where a fault of the exporter is a report as well."""
    try:
        return compared(number)
    except Exception as error:
        return Report({}, [f"model {number}: {type(error).__name__}: {error}"], [])


def chosen(number: int) -> dict[str, tuple[str, ...]]:
    """gcc with its sanitizers, and one more build: each in turn, and not always with the same kind of cell."""
    name = list(BUILDS)[(number + number // len(BUILDS)) % len(BUILDS)]
    return {"gcc -O1, sanitizers": SANITIZED, name: BUILDS[name]}


def differences(found: Execution, wanted: Execution) -> Iterator[str]:
    """What is not the same, in words."""
    for part in ("outputs", "state", "trace"):
        theirs, mine = getattr(found, part), getattr(wanted, part)
        for name in mine:
            if name not in theirs:
                yield f"{part} has no {name}"
            elif not np.array_equal(theirs[name], mine[name]):
                yield f"{part} {name} differs in {np.count_nonzero(theirs[name] != mine[name])} integers"


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and print what it found; 1 where anything differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=520)
    parser.add_argument("--first", type=int, default=0, help="number of the first model")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    began, models, pairs, faults, skipped = time.monotonic(), 0, Counter[str](), list[str](), Counter[str]()
    with ProcessPoolExecutor(options.processes) as pool:
        for report in pool.map(attempted, range(options.first, options.first + options.models)):
            models += bool(report.pairs)
            pairs.update(report.pairs)
            skipped.update(report.skipped)
            faults += report.faults
            for fault in report.faults:
                print(fault, flush=True)
    for build, count in sorted(pairs.items()):
        print(f"{count:7} {build}")
    for build, count in skipped.items():
        print(f"{count} models were not built by {build}: no compiler")
    print(f"{models} models, {models * WINDOWS} models and inputs, {sum(pairs.values())} runs of them")
    print(f"{len(faults)} differences or reports, {time.monotonic() - began:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
