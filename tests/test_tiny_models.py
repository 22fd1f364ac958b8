"""docs/tiny-models.md: its commands run one after the other and do what it says, and it names what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from edge_lstm.cells import cell
from edge_lstm.recipes import options_of
from edge_lstm.statistics import describe
from edge_lstm.storage import load, load_float

PAGE = Path(__file__).parent.parent / "docs" / "tiny-models.md"


def test_the_commands_run_and_make_models_of_these_sizes(tmp_path: Path) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    budget = load(tmp_path / "budget" / "model.elstm")
    assert describe(budget)["layers"][0]["outputs"] == 6
    assert describe(budget)["model_bytes"] <= 2000
    units = [load_float(tmp_path / run / "model.safetensors").layers[0].hidden for run in ("wide", "narrow")]
    assert units == [24, 12]


def test_low_rank_is_a_cell_with_a_projection() -> None:
    assert cell(options_of("low-rank").cell).projected


def test_it_fits_on_a_page() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 60
