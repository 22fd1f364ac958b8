"""Instructions per step of an LSTM with random weights, on emulated cores, next to CMSIS-NN's recorded figures.

python benchmarks/kernels.py [--json] [--write]

int8 weights, inputs and hidden states; the recurrent layer alone, executed over random windows. `--write` puts the
tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_lstm.bits import Bits
from edge_lstm.calibrate import calibrate
from edge_lstm.cost import Cost, simulate
from edge_lstm.model import QuantizedModel
from edge_lstm.nn.network import Network
from edge_lstm.signature import Signature

SHAPES = ((9, 32), (9, 64), (3, 16), (10, 118), (28, 20))
"""Inputs and hidden units."""
STEPS, WINDOWS = 16, 4


class Gates(NamedTuple):
    """Of a model.

    Attributes:
        modes: Of i, f and o.
        between_bits: Of an index between two entries of a table; 0 takes the nearest.
    """

    modes: tuple[str, str, str]
    between_bits: int


GATES: Mapping[str, Gates] = {
    "hard i, f, o": Gates(("hard", "hard", "hard"), 0),
    "only o hard, interpolated": Gates(("soft", "soft", "hard"), 8),
    "soft, nearest entries": Gates(("soft", "soft", "soft"), 0),
    "soft, interpolated": Gates(("soft", "soft", "soft"), 8),
}
CORES: Mapping[str, str] = {"cortex-m4": "kernels of the DSP extension", "cortex-m0plus": "C99"}
CMSIS_NN: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "cortex-m4": ("gcc 12.2 -Ofast", (29_268, 72_315, 12_706, 183_413, 19_750)),
    "cortex-m0plus": ("best build, clang", (62_160, 164_172, 24_944, 438_499, 43_206)),
}
"""Soft gates by tables, `arm_lstm_unidirectional_s8` of commit 99f736a6."""
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- kernels -->", "<!-- end of kernels -->"


def random_model(shape: tuple[int, int], gates: Gates, *, cell: str = "lstm", seed: int = 0) -> QuantizedModel:
    """A quantized model with one layer, random weights and three classes."""
    inputs, hidden = shape
    rng = np.random.default_rng(seed)
    channels = tuple(f"channel{k}" for k in range(inputs))
    network = Network(
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
        bits=[Bits(8, 8, gates.between_bits)],
        seed=seed,
        pooling="last",
        directions=["forward"],
    )
    network.calibration = calibrate(network.float_model(), random_windows(inputs, rng))
    return network.quantized()


def random_windows(inputs: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """(windows, steps, inputs) samples."""
    return rng.normal(0, 1, (WINDOWS, STEPS, inputs))


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
