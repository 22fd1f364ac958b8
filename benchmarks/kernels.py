"""Instructions per step of an LSTM with random weights, on emulated cores, next to CMSIS-NN's recorded figures.

python benchmarks/kernels.py [--json] [--write]

int8 weights, inputs and hidden states; the recurrent layer alone, executed over random windows. `--write` puts the
tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_lstm.bits import Bits
from edge_lstm.calibrate import calibrate
from edge_lstm.cost import Cost, simulate
from edge_lstm.export.skipping import skipped_layers
from edge_lstm.model import QuantizedModel
from edge_lstm.nn.network import Network
from edge_lstm.runtime import execute
from edge_lstm.signature import Signature

SHAPES = ((9, 32), (9, 64), (3, 16), (10, 118), (28, 20))
"""Inputs and hidden units."""
STEPS, WINDOWS = 16, 4
SHARES = (0.5, 0.2, 0.12)
"""Of hidden values that are not 0."""
MOST_BIAS = 2**17


class Gates(NamedTuple):
    """Of a model.

    Attributes:
        modes: Of i, f and o.
        between_bits: Of an index between two entries of a table; 0 takes the nearest.
        weight_bits: 8 or 4.
    """

    modes: tuple[str, str, str]
    between_bits: int
    weight_bits: int = 8


GATES: Mapping[str, Gates] = {
    "hard i, f, o": Gates(("hard", "hard", "hard"), 0),
    "hard i, f, o, weights of 4 bits": Gates(("hard", "hard", "hard"), 0, 4),
    "only o hard, interpolated": Gates(("soft", "soft", "hard"), 8),
    "soft, nearest entries": Gates(("soft", "soft", "soft"), 0),
    "soft, interpolated": Gates(("soft", "soft", "soft"), 8),
}
SKIPPING = ("hard i, f, o", "only o hard, interpolated")
"""Gates of models that skip columns of hidden values that are 0."""
CORES: Mapping[str, str] = {"cortex-m4": "kernels of the DSP extension", "cortex-m0plus": "kernels of Thumb-1"}
CMSIS_NN: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "cortex-m4": ("gcc 12.2 -Ofast", (29_268, 72_315, 12_706, 183_413, 19_750)),
    "cortex-m0plus": ("best build, clang", (62_160, 164_172, 24_944, 438_499, 43_206)),
}
"""Soft gates by tables, `arm_lstm_unidirectional_s8` of commit 99f736a6."""
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- kernels -->", "<!-- end of kernels -->"


def random_model(shape: tuple[int, int], gates: Gates, *, cell: str = "lstm", seed: int = 0) -> QuantizedModel:
    """A quantized model with one layer, random weights and three classes."""
    return quantized(random_network(shape, gates, cell=cell, seed=seed), seed)


def quantized(network: Network, seed: int) -> QuantizedModel:
    """A network in integers, calibrated on random windows."""
    windows = random_windows(len(network.signature.channels), np.random.default_rng(seed))
    network.calibration = calibrate(network.float_model(), windows)
    return network.quantized()


def random_network(shape: tuple[int, int], gates: Gates, *, cell: str = "lstm", seed: int = 0) -> Network:
    """As ``random_model``, before its ranges are known."""
    inputs, hidden = shape
    channels = tuple(f"channel{k}" for k in range(inputs))
    return Network(
        Signature("m", channels, ("",) * inputs, None, STEPS, ("a", "b", "c")),
        np.zeros(inputs),
        np.ones(inputs),
        4.0,
        cell_name=cell,
        modes=dict(zip("ifo", gates.modes, strict=True)),
        hidden=hidden,
        outputs=hidden,
        layers=1,
        squash="exact",
        bits=[Bits(gates.weight_bits, 8, gates.between_bits)],
        seed=seed,
        pooling="last",
        directions=["forward"],
    )


def random_windows(inputs: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """(windows, steps, inputs) samples."""
    return rng.normal(0, 1, (WINDOWS, STEPS, inputs))


@cache
def sparse_model(shape: tuple[int, int], gates: Gates, share: float) -> QuantizedModel:
    """A random model of whose hidden values about such a share are not 0, or as many as may be: by o's bias."""
    model = random_model(shape, gates)
    x = model.quantize_input(random_windows(shape[0], np.random.default_rng(1)))
    (layer,) = model.layers
    o = layer.blocks["o"]

    def closed(by: int) -> QuantizedModel:
        bias = (o.bias - by).astype(np.int32)
        return replace(model, layers=(replace(layer, blocks={**layer.blocks, "o": replace(o, bias=bias)}),))

    below, enough = -MOST_BIAS, MOST_BIAS
    while enough - below > MOST_BIAS // 2**12:
        middle = (below + enough) // 2
        if np.mean(execute(closed(middle), x, trace="states").trace["lstm0.h"] != 0) > share:
            below = middle
        else:
            enough = middle
    return closed(enough)


def skipping(shape: tuple[int, int], gates: Gates, share: float, *, skip: bool = True) -> Cost:
    """What a sparse model costs on a Cortex-M4."""
    windows = random_windows(shape[0], np.random.default_rng(1))
    model = sparse_model(shape, gates, share)
    return simulate(model, windows, device="cortex-m4", skip=skipped_layers(model, skip))


def measured(shape: tuple[int, int], gates: Gates, core: str) -> Cost:
    """What a model costs on a core."""
    windows = random_windows(shape[0], np.random.default_rng(1))
    return simulate(random_model(shape, gates), windows, device=core)


def tables(found: Mapping[str, Mapping[str, list[Cost]]]) -> list[str]:
    """Markdown, from core and gates to the costs at each shape."""
    lines = []
    for core, of_gates in found.items():
        build, recorded = CMSIS_NN[core]
        lines += [f"| {core}: gates | {' | '.join(f'{i}, {h}' for i, h in SHAPES)} |", f"|---{'|---' * len(SHAPES)}|"]
        lines.append(f"| CMSIS-NN, {build} | {' | '.join(f'{n:,}' for n in recorded)} |")
        for gates, costs in of_gates.items():
            counts = [_layer(cost) for cost in costs]
            cells = [f"{n:,.0f} ({base / n:.1f}x)" for n, base in zip(counts, recorded, strict=True)]
            lines.append(f"| {gates}; {CORES[core]} | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "| 9 inputs, 32 units: gates, core | code | tables | weights | state | scratch | stack |",
        f"|---{'|---' * 6}|",
    ]
    for core, of_gates in found.items():
        for gates, costs in of_gates.items():
            flash, ram = costs[0].flash_bytes, costs[0].ram_bytes
            sizes = [
                *(flash[k] for k in ("code", "tables", "weights")),
                *(ram[k] for k in ("state", "scratch", "stack")),
            ]
            lines.append(f"| {gates}, {core} | {' | '.join(f'{n:,}' for n in sizes)} |")
    return lines


def _layer(cost: Cost) -> float:
    (layer,) = cost.instructions_per_step_by_layer.values()
    return layer.mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found = {
        core: {name: [measured(shape, gates, core) for shape in SHAPES] for name, gates in GATES.items()}
        for core in CORES
    }
    found["cortex-m4"] |= {
        f"{name}, columns of zeros skipped, at most {share:.0%} of h not 0": [
            skipping(shape, GATES[name], share) for shape in SHAPES
        ]
        for name in SKIPPING
        for share in SHARES
    }
    lines = tables(found)
    if arguments.json:
        print(json.dumps({c: {g: [k.to_json() for k in costs] for g, costs in of.items()} for c, of in found.items()}))
    else:
        print("\n".join(lines))
    if arguments.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text("\n".join([before + BEGIN, "", *lines, "", END]) + rest.partition(END)[2])


if __name__ == "__main__":
    main()
