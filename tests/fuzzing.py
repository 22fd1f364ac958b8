"""Fuzzing of the generated C: of its steps, and of the restoring of a state.

python tests/fuzzing.py TARGET MODEL --seconds 600 --out FOLDER [--keep]

Needs clang with libFuzzer (Debian: clang and libclang-rt-14-dev). ``--keep`` puts few inputs that reach all the code
that was reached into tests/fuzz/corpus, which tests replay with any compiler.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conftest import build_quantized

from edge_lstm.export import c99
from edge_lstm.export.c99_normalize import normalization
from edge_lstm.model import QuantizedModel

FOLDER = Path(__file__).parent / "fuzz"
CORPUS = FOLDER / "corpus"
TARGETS = ("step", "restore")
MODELS: Mapping[str, dict[str, Any]] = {
    "lstm": {"gates": "i=hard,o=hard", "layers": 2, "hidden": 5, "inputs": 3, "pooling": "mean", "steps": 40},
    "gru": {"cell": "gru", "hidden": 3, "inputs": 2, "weight_bits": 4, "activation_bits": 16, "steps": 40}
    | {"activations": "lut-interp", "pooling": "max"},
    "peephole": {"gates": "f=hard", "cell": "peephole", "hidden": 4, "inputs": 1, "weight_bits": 2, "steps": 40},
}
RAW_SCALE = 0.003
FUZZER = ("clang", "-g1", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
MOST_BYTES = 512
"""Of an input: some hundred steps."""


def model_of(name: str) -> QuantizedModel:
    """One of ``MODELS``; the same in every process."""
    return build_quantized(**{"gates": "soft", "seed": 5} | MODELS[name])


def write_target(target: str, model: QuantizedModel, folder: Path) -> tuple[list[Path], list[str]]:
    """Write the model's C.

    Returns:
        The C files of the target, without ``main``; folders and macros, as options of a compiler.
    """
    for name, text in c99.sources(model, normalization=normalization(model, [RAW_SCALE])).items():
        (folder / name).write_text(text, encoding="utf-8")
    macros = {
        "X_TYPE": f"{model.input_type.name}_t",
        "X_LIMIT": model.input_format.max,
        "M_FEWEST_STEPS": "M_STEPS" if model.fixed_mean else 1,
    }
    options = [f"-I{folder}", f"-I{FOLDER}", *(f"-D{name}={value}" for name, value in macros.items())]
    return [folder / "m.c", FOLDER / f"{target}.c"], options


def fuzz(target: str, model: str, seconds: int, out: Path, *, keep: bool) -> None:
    """Run libFuzzer, beginning with what is in the corpus; what it finds stays in ``out``.

    Raises:
        subprocess.CalledProcessError: It found a fault; the input is in ``out``.
    """
    found = out / "found"
    found.mkdir(parents=True, exist_ok=True)
    kept = CORPUS / target
    kept.mkdir(parents=True, exist_ok=True)
    sources, options = write_target(target, model_of(model), out)
    program = out / "fuzz"
    subprocess.run([*FUZZER, *options, *map(str, sources), "-o", str(program)], check=True)
    limits = [f"-max_len={MOST_BYTES}", "-timeout=10", f"-artifact_prefix={out}/"]
    subprocess.run([program, *limits, f"-max_total_time={seconds}", "-print_final_stats=1", found, kept], check=True)
    if keep:
        merged = out / "merged"
        merged.mkdir(exist_ok=True)
        subprocess.run([program, *limits, "-merge=1", "-use_counters=0", merged, kept, found], check=True)
        for file in merged.iterdir():
            shutil.copy(file, kept / file.name)


def main() -> int:
    """Fuzz as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    fuzz(options.target, options.model, options.seconds, options.out, keep=options.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
