"""The README's commands, its Python and its C run as they stand, and its figures are those that `make demo` gives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.api import export_model
from edge_lstm.firmware_sim.toolchain import compile_host

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


TWO, INSTALL, COMMANDS, TRAINING = blocks("sh")
(PYTHON,) = blocks("python")
C, WINDOWS = blocks("c")


def shell(lines: str, cwd: Path, path: Path = BIN) -> subprocess.CompletedProcess[str]:
    """Run lines of a shell; it stops at the first that fails."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    clean = {k: v for k, v in os.environ.items() if k not in dropped}
    clean["PATH"] = f"{path}{os.pathsep}{clean['PATH']}"
    return subprocess.run(
        ["bash", "-ec", lines], cwd=cwd, env=clean, capture_output=True, text=True, timeout=600, check=False
    )


def test_the_two_commands_are_these() -> None:
    assert TWO.split("\n") == ["make demo", "make test", ""]  # the second is running


def figures(text: str) -> dict[str, list[float]]:
    """Of each row of a table as the demo prints it: its label, and the numbers in it."""
    found = {}
    for line in text.splitlines():
        label, *cells = re.split(r"\s{2,}", line.strip())
        numbers = [float(n.replace(",", "")) for cell in cells for n in re.findall(r"\d[\d,]*\.?\d*", cell)]
        if numbers:
            found[label] = numbers
    return found


@pytest.mark.skipif(not (ROOT / ".venv" / ".installed").exists(), reason="`make demo` would install: run `make test`")
def test_make_demo_reaches_its_goals_and_prints_what_the_readme_says(tmp_path: Path) -> None:
    done = shell(f"make demo OUT={tmp_path / 'demo'}", ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pip install" not in re.sub(r"touch.*", "", done.stdout)
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in done.stdout
    found = json.loads((tmp_path / "demo" / "results.json").read_text())
    mean = {
        f"{row['gates']} gates, {row['form']}": sum(row["by_seed"].values()) / len(row["by_seed"])
        for row in found["accuracy"]
    }
    assert {len(row["by_seed"]) for row in found["accuracy"]} == {5}
    assert mean["soft gates, float"] >= 0.95
    assert mean["hard gates, float"] >= 0.95
    assert mean["soft gates, float"] - mean["hard gates, int8"] <= 0.025
    assert found["verify"]["mismatches"] == 0
    assert found["verify"]["windows"] == 40
    said = figures(README)
    printed = figures(done.stdout)
    assert len(printed) == 8
    assert printed.keys() <= said.keys()
    for label, numbers in printed.items():  # training sums floats in an order that differs from processor to processor
        assert said[label] == pytest.approx(numbers, abs=5 if "gates" in label else 0, rel=0.02), label


def test_the_commands_run_one_after_the_other(tmp_path: Path) -> None:
    done = shell(COMMANDS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"run", "firmware", "report.html", "ptq.elstm", "y.npz"}


def test_the_trainings_run(tmp_path: Path) -> None:
    done = shell(TRAINING, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"tiny", "sparse"}
    assert (tmp_path / "tiny" / "seed-1" / "model.elstm").is_file()


def test_the_python_runs_and_the_c_compiles(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(PYTHON)
    done = shell("python example.py", tmp_path)
    assert done.returncode == 0, done.stderr
    equal, compared, per_step, flash = done.stdout.split()
    assert equal == "True"
    assert int(compared) > 0
    assert float(per_step) > 0
    assert int(flash) > 0
    assert len([line for line in PYTHON.splitlines() if line.strip() and not line.startswith("import")]) <= 16
    program = tmp_path / "program.c"
    program.write_text(
        '#include "basic_motions.h"\nint main(void)\n{\n'
        "int8_t sample[BASIC_MOTIONS_CHANNELS] = {0};\n"
        f"{C}\nreturn output.class_index[0] < BASIC_MOTIONS_CLASSES ? 0 : 1;\n}}\n"
    )
    firmware = tmp_path / "firmware"
    compile_host([program, firmware / "basic_motions.c"], tmp_path / "program", include_dirs=[firmware])
    assert subprocess.run([tmp_path / "program"], timeout=60, check=False).returncode == 0


def test_the_c_of_a_model_that_looks_at_whole_windows_compiles(make_quantized_form: Any, tmp_path: Path) -> None:
    model = make_quantized_form("bidirectional")
    model = replace(model, signature=replace(model.signature, name="my_model"))
    export_model(model, format="c99", out=tmp_path / "firmware")
    program = tmp_path / "program.c"
    program.write_text(
        '#include "my_model.h"\nint main(void)\n{\n'
        "static const int8_t window[MY_MODEL_STEPS * MY_MODEL_CHANNELS];\n"
        f"{WINDOWS}\nreturn output.class_index[0] < MY_MODEL_CLASSES ? 0 : 1;\n}}\n"
    )
    sources = [program, tmp_path / "firmware" / "my_model.c"]
    compile_host(sources, tmp_path / "program", include_dirs=[tmp_path / "firmware"])
    assert subprocess.run([tmp_path / "program"], timeout=60, check=False).returncode == 0


def test_the_installation(tmp_path: Path) -> None:
    base, everything = (line.partition("#")[0].strip() for line in INSTALL.splitlines())
    venv.create(tmp_path / "fresh", with_pip=True)
    source = tmp_path / "source"
    done = subprocess.run(["git", "clone", "--quiet", ROOT, source], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no clone of this tree can be made: {done.stderr}")
    done = shell(base, source, tmp_path / "fresh" / "bin")
    if done.returncode != 0 and re.search("Could not find a version|connection|resolve host", done.stderr):
        pytest.skip("no package index is reachable")
    assert done.returncode == 0, done.stderr
    done = shell("edge-lstm --version", tmp_path, tmp_path / "fresh" / "bin")
    assert done.returncode == 0, done.stderr
    metadata = (ROOT / "pyproject.toml").read_text()
    assert everything == "pip install '.[all]'"
    assert re.search(r"^all = \[", metadata, re.MULTILINE)


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_table_of_commands_is_complete() -> None:
    from edge_lstm.cli import COMMANDS as KNOWN

    assert re.findall(r"^\| `([\w-]+)` \|", README, re.MULTILINE) == list(KNOWN)
