"""What fuzzing has reached is reached again, in each model, under sanitizers; see ``fuzzing``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from fuzzing import CORPUS, FOLDER, MODELS, TARGETS, fuzz, model_of, write_target

from edge_lstm.firmware_sim.toolchain import compile_host

MOST_BYTES = 100_000
"""Of the corpus."""


def build(target: str, model: str, folder: Path, **changes: str) -> Path:
    """The target with a ``main`` that replays files; ``changes`` are of the text of ``m.c``."""
    sources, options = write_target(target, model_of(model), folder)
    text = sources[0].read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    sources[0].write_text(text)
    folders = [Path(option[2:]) for option in options if option.startswith("-I")]
    defines = [option[2:] for option in options if option.startswith("-D")]
    return compile_host(
        [*sources, FOLDER / "replay.c"],
        folder / "replay",
        include_dirs=folders,
        defines=defines,
        optimize="-O1",
        sanitize=True,
    )


def replayed(program: Path, target: str) -> subprocess.CompletedProcess[str]:
    files = sorted((CORPUS / target).iterdir())
    return subprocess.run([program, *files], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_replayed_without_a_report(target: str, model: str, tmp_path: Path) -> None:
    done = replayed(build(target, model, tmp_path), target)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 20


def test_the_corpus_is_small() -> None:
    files = [path for target in TARGETS for path in (CORPUS / target).iterdir()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


FAULTS = {
    "bytes beyond the end": ("restore", {"from = bytes + 12;": "from = bytes + 14;"}),
    "a state that is taken too early": ("restore", {"return M_ERROR_CHECKSUM;": "state->lstm0_c[0] ^= 1; return -3;"}),
    "a loop that goes too far": ("step", {"x[j] = (int8_t)(q <": "x[j + 1] = (int8_t)(q <"}),
    "a window that is too long": ("step", {"steps != M_STEPS": "steps < 0"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_corpus_finds_planted_faults(fault: str, tmp_path: Path) -> None:
    target, changes = FAULTS[fault]
    assert replayed(build(target, "lstm", tmp_path, **changes), target).returncode != 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("clang") is None, reason="clang, which has libFuzzer, is not installed")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", TARGETS)
def test_fuzzing_for_seconds_finds_nothing(target: str, model: str, tmp_path: Path) -> None:
    fuzz(target, model, 20, tmp_path, keep=False)
