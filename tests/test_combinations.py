"""Cell x gate mode x format x backend: every combination is exact in all four backends, or refused with its reason.

`python tests/test_combinations.py` computes the table anew, one model for each combination, and writes
docs/combinations.md. What runs here with every change stacks the cells of a mode and format in one model.
"""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.cells import CELLS, cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import parse_gates
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.signature import Signature
from edge_lstm.verification import Verification, verify

PAGE = Path(__file__).parent.parent / "docs" / "combinations.md"
BACKENDS = ("numpy", "onnxruntime", "c", "cortex-m4")
MODES: dict[str, tuple[str, str, str]] = {
    "soft, nearest": ("soft", "exact", "lut"),
    "soft, interpolated": ("soft", "exact", "lut-interp"),
    "hard sigmoid": ("hard-sigmoid", "hard", "lut"),
    "three-level": ("three-level", "exact", "lut"),
    "hard": ("hard", "exact", "lut"),
}
"""Gate mode, squashing functions, activations."""
FORMATS = {f"w{w}a{a}": (w, a) for w in (8, 4, 2) for a in (8, 16)}
BUILT_IN = tuple(CELLS)
CHANNELS, HIDDEN, STEPS = 3, 6, 12


def float_layer(name: str, mode: str, inputs: int, rng: np.random.Generator, squash: Any) -> FloatLayer:
    kind = cell(name)
    outputs = HIDDEN - 1 if kind.projected else HIDDEN

    def draw(names: tuple[str, ...], scale: float, *shape: int) -> dict[str, np.ndarray]:
        return {k: rng.normal(0, scale, shape) for k in names}

    return FloatLayer(
        name,
        draw(kind.matrices, 1.0, HIDDEN, inputs),
        draw(kind.matrices, 0.4, HIDDEN, outputs),
        draw(kind.blocks, 0.3, HIDDEN),
        parse_gates(mode, kind.gates),
        rb=draw(kind.split, 0.3, HIDDEN),
        p=draw(kind.peepholes, 0.5, HIDDEN),
        P=rng.normal(0, 0.6, (outputs, HIDDEN)) if kind.projected else None,
        squash=squash,
    )


def quantized(names: tuple[str, ...], mode: str, format_: str) -> QuantizedModel:
    """A random model with a layer of each of these cells, calibrated on small samples, so that others saturate it."""
    rng = np.random.default_rng([*map(ord, "".join(names) + mode + format_)])
    gates, squash, activations = MODES[mode]
    layers, width = [], CHANNELS
    for name in names:
        layers.append(float_layer(name, gates, width, rng, squash))
        width = layers[-1].outputs
    model = FloatModel(
        Signature("m", ("a", "b", "c"), ("",) * 3, None, STEPS, ("p", "q")),
        np.zeros(3),
        np.ones(3),
        4.0,
        tuple(layers),
        "mean",
        rng.normal(0, 1, (2, width)),
        rng.normal(0, 1, 2),
    )
    weight_bits, activation_bits = FORMATS[format_]
    samples = rng.normal(0, 0.5, (8, STEPS, CHANNELS))
    return quantize(
        model, calibration=samples, weight_bits=weight_bits, activation_bits=activation_bits, activations=activations
    )


def windows(model: QuantizedModel) -> np.ndarray:
    """All extremes, constants, an impulse, alternating extremes, and random ones."""
    largest = model.input_format.max
    shape = (STEPS, CHANNELS)
    impulse, alternating = np.zeros(shape, np.int32), np.full(shape, largest, np.int32)
    impulse[0] = largest
    alternating[1::2] = -largest
    constants = [np.full(shape, v, np.int32) for v in (largest, -largest, 0, 1, largest // 3)]
    random = np.random.default_rng(0).integers(-largest, largest + 1, (2, *shape)).astype(np.int32)
    return np.stack([*constants, impulse, alternating, *random])


def compared(model: QuantizedModel) -> Verification:
    samples = windows(model) * model.input_scale + model.input_offset
    return verify(model, samples, backends=BACKENDS, trace="all")


def outcome(name: str, mode: str, format_: str) -> str:
    """``exact, N`` integers compared, or the reason of a refusal."""
    if not cell(name).gates and MODES[mode][0] in ("hard", "three-level"):
        return "has no gates"
    try:
        model = quantized((name,), mode, format_)
    except EdgeLstmError as error:
        return f"refused: {error}"
    found = compared(model)
    return f"exact, {found.compared:,}" if found.equal else f"NOT EQUAL: {found.first_mismatch}"


def combinations() -> list[tuple[str, str, str]]:
    return [(name, mode, format_) for name in BUILT_IN for mode in MODES for format_ in FORMATS]


def table(outcomes: dict[tuple[str, str, str], str]) -> str:
    lines = [
        f"| cell | gates | {' | '.join(FORMATS)} |",
        f"|---|---|{'---|' * len(FORMATS)}",
    ]
    for name in BUILT_IN:
        for mode in MODES:
            lines.append(f"| {name} | {mode} | {' | '.join(outcomes[name, mode, f] for f in FORMATS)} |")
    return "\n".join(lines) + "\n"


def written() -> dict[tuple[str, str, str], str]:
    """The page's outcomes."""
    found = {}
    for line in PAGE.read_text().splitlines():
        name, mode, *entries = (
            [part.strip() for part in line.strip("|").split("|")] if line.startswith("|") else [""] * 2
        )
        if name in BUILT_IN and mode in MODES:
            found |= {(name, mode, f): e for f, e in zip(FORMATS, entries, strict=True)}
    return found


def test_the_page_lists_every_combination() -> None:
    found = written()
    assert set(found) == set(combinations())
    assert len(BUILT_IN) >= 8
    assert all(re.fullmatch(r"exact, [\d,]+|has no gates|refused: .+", entry) for entry in found.values())
    exact = [key for key, entry in found.items() if entry.startswith("exact")]
    assert len({name for name, _, _ in exact}) == len(BUILT_IN)
    assert {mode for _, mode, _ in exact} == set(MODES)


GROUPS = (BUILT_IN[: len(BUILT_IN) // 2], BUILT_IN[len(BUILT_IN) // 2 :])


@pytest.mark.parametrize("names", GROUPS, ids="-".join)
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_stacked_cells_are_exact_in_all_backends(names: tuple[str, ...], mode: str, format_: str) -> None:
    model = quantized(names, mode, format_)
    found = compared(model)
    assert found.first_mismatch is None
    assert found.mismatches == 0
    assert found.compared > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("key", combinations(), ids="-".join)
def test_the_page_is_true(key: tuple[str, str, str]) -> None:
    assert outcome(*key) == written()[key]


def test_accumulators_of_wide_layers_with_16_bit_activations_are_refused() -> None:
    rng = np.random.default_rng(0)
    wide = 1500
    layer = float_layer("rnn", "soft", wide, rng, "exact")
    sharp = {k: np.sign(v) for k, v in layer.W.items()}
    layer = FloatLayer("rnn", sharp, layer.R, layer.b, {})
    names = tuple(f"x{k}" for k in range(wide))
    model = FloatModel(
        Signature("m", names, ("",) * wide, None, 4, ("p", "q")),
        np.zeros(wide),
        np.ones(wide),
        4.0,
        (layer,),
        "last",
        rng.normal(0, 1, (2, HIDDEN)),
        np.zeros(2),
    )
    samples = rng.normal(0, 1, (2, 4, wide))
    quantize(model, calibration=samples)
    with pytest.raises(EdgeLstmError, match=r"^m\.step: rnn0\.a_t \(matvec\): its accumulator can reach \[-\d+, \d+\]"):
        quantize(model, calibration=samples, activation_bits=16)


def _outcome(key: tuple[str, str, str]) -> str:
    return outcome(*key)


def main() -> None:
    keys = combinations()
    with ProcessPoolExecutor(2) as pool:
        outcomes = dict(zip(keys, pool.map(_outcome, keys), strict=True))
    exact = sum(entry.startswith("exact") for entry in outcomes.values())
    PAGE.write_text(
        "# Cell x gate mode x format\n\n"
        f"Each combination is a random model of {HIDDEN} units that ran in {', '.join(BACKENDS)} on all extremes, "
        "constants, an impulse, alternating extremes and random inputs. `exact, N`: N integers of all intermediates of "
        "all steps were compared, none differs. `w4a16` is 4-bit weights (2: ternary) and 16-bit inputs and hidden "
        "states. With the hard sigmoid go the hard forms of the squashing functions.\n\n"
        f"{exact} of {len(keys)} combinations are exact. Written by `python tests/test_combinations.py`.\n\n"
        + table(outcomes)
    )


if __name__ == "__main__":
    main()
