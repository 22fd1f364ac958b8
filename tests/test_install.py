"""The wheel: what is in it, and that it works with the base dependencies alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "v1.elstm"


def call(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return subprocess.run([str(c) for c in command], cwd=cwd, env=clean, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, so that nothing is left in the tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("no git here to list the files")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", out)
    done = call(sys.executable, *build, source, cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    done = call(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    if done.returncode != 0 and re.search("Could not find a version|connection|resolve host", done.stderr):
        pytest.skip("no package index is reachable")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_module_and_data_file(names: set[str]) -> None:
    wanted = {p.relative_to(ROOT).as_posix() for p in (ROOT / "edge_lstm").rglob("*.py")}
    for folder in ("export", "firmware_sim"):
        files = [p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".j2", ".c", ".h", ".ld", ".toml")]
        assert files
        wanted |= {f"edge_lstm/{p.relative_to(ROOT).as_posix()}" for p in files}
    wanted |= {"edge_lstm/py.typed", "edge_lstm/report/report.css", "edge_lstm/report/report.html.j2"}
    assert {"edge_lstm/export/templates/model.c.j2", "edge_lstm/firmware_sim/cortex_m.ld"} <= wanted
    assert wanted - names == set()


def test_the_wheel_holds_nothing_else(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert len(tops) == 2
    assert "edge_lstm" in tops
    assert next(iter(tops - {"edge_lstm"})).endswith(".dist-info")
    assert [n for n in names if "test" in Path(n).parts or "__pycache__" in n or n.endswith((".pyc", ".o"))] == []


def test_the_licence_and_the_type_marker_come_along(names: set[str]) -> None:
    assert [n for n in names if n.endswith("LICENSE")]
    assert "edge_lstm/py.typed" in names


def test_base_dependencies_alone_bring_nothing_heavy(fresh: Path, tmp_path: Path) -> None:
    done = call(fresh / "python", "-m", "pip", "list", "--format", "freeze", cwd=tmp_path)
    installed = {line.partition("==")[0].lower().replace("_", "-") for line in done.stdout.splitlines()}
    assert {"edge-lstm", "numpy", "safetensors", "pydantic", "click", "rich"} <= installed
    heavy = {"torch", "onnx", "onnxruntime", "jinja2", "ziglang", "unicorn", "capstone", "matplotlib", "aeon", "scipy"}
    assert installed & heavy == set()


def test_the_package_is_imported_from_the_wheel(fresh: Path, tmp_path: Path) -> None:
    code = "import edge_lstm, edge_lstm.runtime, edge_lstm.export, edge_lstm.firmware_sim\nprint(edge_lstm.__file__)"
    done = call(fresh / "python", "-W", "error", "-c", code, cwd=tmp_path)
    assert done.stderr == ""
    assert Path(done.stdout.strip()).is_relative_to(fresh.parent)
    assert call(fresh / "python", "-c", "import export", cwd=tmp_path).returncode == 1


def test_help_and_version(fresh: Path, tmp_path: Path) -> None:
    done = call(fresh / "edge-lstm", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    commands = re.findall(r"^  (\w+)  ", done.stdout, re.MULTILINE)
    assert {"demo", "run", "verify", "simulate"} <= set(commands)
    for name in commands:
        done = call(fresh / "edge-lstm", name, "--help", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), name
        assert "Example: edge-lstm " in done.stdout, name


def test_what_needs_an_extra_says_which(fresh: Path, tmp_path: Path) -> None:
    onnx = tmp_path / "m.onnx"
    onnx.write_bytes(b"")
    for arguments, extra in (
        (("verify", GOLDEN), "onnx|sim"),
        (("simulate", GOLDEN), "sim"),
        (("export", GOLDEN, "--format", "c99", "--out", tmp_path / "c"), "sim"),
        (("export", GOLDEN, "--format", "integer-onnx", "--out", tmp_path / "o"), "onnx"),
        (("run", onnx, "--input", "basic-motions", "--out", tmp_path / "y.npz"), "onnx"),
    ):
        done = call(fresh / "edge-lstm", *arguments, cwd=tmp_path)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        last = done.stderr.splitlines()[-1]
        pattern = rf"edge-lstm: \S+ is needed .*: pip install 'edge-lstm\[({extra})\]'"
        assert re.fullmatch(pattern, last), done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_model_runs_with_numpy_alone(fresh: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 1, (3, 6, 2))
    np.savez(tmp_path / "x.npz", x=x)
    done = call(fresh / "edge-lstm", "run", GOLDEN, "--input", "x.npz", "--out", "y.npz", "--raw", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    from edge_lstm.runtime import execute
    from edge_lstm.storage import load

    model = load(GOLDEN)
    wanted = execute(model, model.quantize_input(x)).outputs
    with np.load(tmp_path / "y.npz", allow_pickle=False) as y:
        assert sorted(y.files) == ["class_index", "scores"]
        assert {k: y[k].tolist() for k in y.files} == {k: v.tolist() for k, v in wanted.items()}
    done = call(fresh / "edge-lstm", "inspect", GOLDEN, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
