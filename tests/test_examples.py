"""Every example runs as it stands, quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_lstm.errors import is_installed

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
NEEDS = {"train_with_lightning": "lightning"}
"""What an example uses that is no part of the project."""


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    if not is_installed(NEEDS.get(example.stem, "sys")):
        pytest.skip(f"{NEEDS[example.stem]} is not installed")
    done = subprocess.run(
        [sys.executable, example, "2"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "False" not in done.stdout
    assert len(done.stdout.splitlines()) >= 2
