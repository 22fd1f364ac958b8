"""Speed of the NumPy runtime on a desktop, as a ratio to onnxruntime's float LSTM operator; one thread each.

python benchmarks/host_speed.py [--windows 2947] [--steps 128] [--channels 9] [--hidden 32] [--rounds 15]

An integer model with random weights runs over random windows: as ``runtime.execute`` runs it (a plan), and one
instruction after the other (``execute_table``). onnxruntime runs the same float model with soft gates. Each round
measures all of them, one after the other, so that what else the machine does meets all; a ratio is the median of the
rounds' ratios. Seconds are the processor's, so that waiting for its other users does not count. Before all that, plan
and table must have given the same integers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edge_lstm.gates import parse_gates
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute, execute_table
from edge_lstm.signature import Signature

GATES, CLASSES = ("hard", "soft"), 6
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def float_model(steps: int, channels: int, hidden: int) -> FloatModel:
    """A random LSTM with soft gates."""
    rng = np.random.default_rng(0)
    layer = FloatLayer(
        "lstm",
        {k: rng.normal(0, 0.8, (hidden, channels)) for k in "ifgo"},
        {k: rng.normal(0, 0.4, (hidden, hidden)) for k in "ifgo"},
        {k: rng.normal(0, 0.3, hidden) + (k == "f") for k in "ifgo"},
        parse_gates("soft", ("i", "f", "o")),
    )
    names, classes = tuple(f"channel{k}" for k in range(channels)), tuple(f"class{k}" for k in range(CLASSES))
    return FloatModel(
        signature=Signature("speed", names, ("g",) * channels, 50.0, steps, classes),
        mean=np.zeros(channels),
        std=np.ones(channels),
        clip=4.0,
        layers=(layer,),
        pooling="last",
        dense_weights=rng.normal(0, 1, (CLASSES, hidden)),
        dense_bias=rng.normal(0, 1, CLASSES),
    )


def with_gates(model: FloatModel, gates: str) -> FloatModel:
    modes = parse_gates(gates, ("i", "f", "o"))
    return replace(model, layers=tuple(replace(layer, modes=modes) for layer in model.layers))


def onnxruntime_run(model: FloatModel, samples: np.ndarray) -> Callable[[], object]:
    """Runs the model's LSTM operator in one thread."""
    import onnxruntime

    from edge_lstm.export.onnx_float import build

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        build(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = samples.astype(np.float32)
    return lambda: session.run(None, {"x": x})


def require_equal(model: QuantizedModel, x: np.ndarray) -> None:
    plan, table = execute(model, x), execute_table(model, x)
    for of_plan, of_table in ((plan.outputs, table.outputs), (plan.state, table.state)):
        for name, value in of_table.items():
            if not np.array_equal(of_plan[name], value):
                raise SystemExit(f"{name}: the plan's integers are not the table's")


def seconds(run: Callable[[], object]) -> float:
    """Of the processor, which waiting for another program's turn does not count."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("windows", 2947), ("steps", 128), ("channels", 9), ("hidden", 32), ("rounds", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):  # BLAS reads them when it is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})

    soft = float_model(arguments.steps, arguments.channels, arguments.hidden)
    shape = (arguments.windows, arguments.steps, arguments.channels)
    samples = np.random.default_rng(1).normal(0, 1, shape)
    runs = {"onnxruntime": onnxruntime_run(soft, samples)}
    for gates in GATES:
        model = quantize(with_gates(soft, gates), calibration=samples[:64])
        x = model.quantize_input(samples)
        require_equal(model, x)
        runs[f"{gates}, plan"] = lambda model=model, x=x: execute(model, x)
        runs[f"{gates}, table"] = lambda model=model, x=x: execute_table(model, x)
        runs[f"{gates}, plan, from samples"] = lambda model=model: execute(model, model.quantize_input(samples))

    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    reference = times.pop("onnxruntime")
    print(f"onnxruntime float LSTM: {statistics.median(reference):.3f} s")
    print("| gates, execution | seconds | time / onnxruntime's | quarter to three quarters of the rounds |")
    print("|---|---|---|---|")
    for name, measured in times.items():
        ratios = [a / b for a, b in zip(measured, reference, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        median = statistics.median(ratios)
        print(f"| {name} | {statistics.median(measured):.3f} | {median:.2f} | {low:.2f} to {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
