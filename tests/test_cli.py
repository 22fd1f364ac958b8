"""The program, as people run it: every command on one small training run, in an empty folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from edge_lstm import cli, run_files, verification
from edge_lstm._version import __version__
from edge_lstm.cells import CELLS
from edge_lstm.codec import digest
from edge_lstm.data import load as load_dataset
from edge_lstm.data import train_test
from edge_lstm.execution import Execution
from edge_lstm.files import MANIFEST
from edge_lstm.importer import import_own
from edge_lstm.storage import load, load_float

PROGRAM = Path(sys.executable).parent / "edge-lstm"
SMALL = ("--epochs", "2", "--hidden", "4", "--validation", "0.25")
RUN_FILES = {getattr(run_files, name) for name in ("MODEL", "FLOAT", "ONNX", "TEST", "RECORDING", "RESULTS")}


def program(*arguments: object, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PROGRAM, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def as_json(*arguments: object, cwd: Path, status: int = 0) -> Any:
    """What ``--json`` prints: one JSON document, and nothing else on standard output."""
    return json.loads(program(*arguments, "--json", cwd=cwd, status=status).stdout)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training run in ``run``."""
    folder = tmp_path_factory.mktemp("home")
    done = program("train", "basic-motions", "--out", "run", *SMALL, cwd=folder)
    assert done.stdout == ""
    assert done.stderr.startswith("wrote run: epoch ")
    return folder


def test_the_group_says_what_there_is(tmp_path: Path) -> None:
    text = program("--help", cwd=tmp_path).stdout
    assert "Example: edge-lstm demo" in text
    for name, help_text in cli.COMMANDS.items():
        assert f"  {name} " in text
        assert help_text.split(",")[0][:30] in " ".join(text.split())
    assert program("-h", cwd=tmp_path).stdout == text
    assert program("--version", cwd=tmp_path).stdout == f"edge-lstm, version {__version__}\n"


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help_with_an_example(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["edge-lstm", name, "--help"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"Example: edge-lstm {name} " in text
    assert "--json" in text
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.opts[0] in text
            assert parameter.help or parameter.show_default, f"{name} {parameter.opts[0]} says nothing"


HEAVY = {"torch", "onnx", "onnxruntime", "pydantic", "safetensors", "matplotlib", "jinja2", "unicorn", "aeon", "scipy"}


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_imports_nothing_heavy(name: str) -> None:
    code = (
        "import sys\n"
        "from edge_lstm import cli\n"
        f"sys.argv = ['edge-lstm', *{name!r}.split(), '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "print('MODULES', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.rpartition("MODULES")[2].split())
    assert "edge_lstm.cli" in modules
    assert modules & HEAVY == set()
    if not name:
        assert "numpy" not in modules


def test_train_leaves_a_complete_folder(home: Path) -> None:
    run = home / "run"
    assert {p.name for p in run.iterdir()} == RUN_FILES | {MANIFEST}
    assert [p.name for p in home.iterdir() if p.name.startswith(".")] == []
    quantized, floating = load(run / run_files.MODEL), load_float(run / run_files.FLOAT)
    assert quantized.layers[0].hidden == 4
    assert digest(import_own(run / run_files.ONNX)) == digest(floating)
    _, test = train_test(load_dataset("basic-motions"))
    with np.load(run / run_files.TEST) as arrays:
        assert np.array_equal(arrays["x"], test.x)
        assert np.array_equal(arrays["y"], test.y)
    with np.load(run / run_files.RECORDING) as arrays:
        assert any(np.array_equal(arrays["x"], x) and arrays["y"] == y for x, y in zip(test.x, test.y, strict=True))
    results = json.loads((run / run_files.RESULTS).read_text())
    assert len(results["curves"][0]["epoch"]) == 2
    assert np.sum(results["confusion"]) == len(test)
    assert results["shipped"] == {"gates": "hard", "seed": 0}


def test_train_again_replaces_the_folder_and_gives_the_same_model(home: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    found = as_json("train", "basic-motions", "--out", "run", *SMALL, cwd=tmp_path)
    assert sorted(found) == ["accuracy", "best_epoch", "by_class", "confusion", "epochs", "macro_f1", "out"]
    assert (found["out"], found["epochs"]) == ("run", 2)
    for name in (run_files.MODEL, run_files.FLOAT, run_files.ONNX, run_files.RESULTS, run_files.TEST):
        assert (tmp_path / "run" / name).read_bytes() == (home / "run" / name).read_bytes(), name


def test_quantize_then_run_gives_the_same_integers_in_every_backend(home: Path, tmp_path: Path) -> None:
    found = as_json(
        "quantize", home / "run/model.onnx", "--calibration", "basic-motions", "--out", "m.elstm", cwd=tmp_path
    )
    assert found["windows"] == 40
    assert found["sha256"] == digest(load(tmp_path / "m.elstm"))
    _, test = train_test(load_dataset("basic-motions"))
    np.savez(tmp_path / "x.npz", x=test.x[::8])
    outputs = {}
    for backend in ("numpy", "onnxruntime", "c", "device", "cortex-m0plus", "torch"):
        out = f"{backend}.npz"
        program("run", "m.elstm", "--input", "x.npz", "--out", out, "--backend", backend, "--raw", cwd=tmp_path)
        with np.load(tmp_path / out) as arrays:
            assert sorted(arrays.files) == ["class_index", "scores"]
            outputs[backend] = (arrays["scores"].tolist(), arrays["class_index"].tolist())
    assert len(outputs["numpy"][0]) == 5
    for backend, found in outputs.items():
        assert found == outputs["numpy"], backend


def test_run_gives_logits_of_both_kinds_of_model(home: Path, tmp_path: Path) -> None:
    counted = as_json("run", home / "run", "--input", "basic-motions", "--out", "q.npz", cwd=tmp_path)
    assert counted["windows"] == sum(counted["classes"].values()) == 40
    assert list(counted["classes"]) == ["standing", "running", "walking", "badminton"]
    program("run", home / "run/model.onnx", "--input", "basic-motions", "--out", "f.npz", cwd=tmp_path)
    with np.load(tmp_path / "q.npz") as q, np.load(tmp_path / "f.npz") as f:
        assert q["scores"].shape == f["scores"].shape == (40, 4)
        assert q["class_index"].shape == f["class_index"].shape == (40,)
        assert np.array_equal(q["scores"].argmax(axis=1), q["class_index"])
        _, test = train_test(load_dataset("basic-motions"))
        assert np.array_equal(f["scores"], load_float(home / "run/model.safetensors").run(test.x)["scores"])
        assert np.bincount(q["class_index"], minlength=4).tolist() == list(counted["classes"].values())


VERIFY_KEYS = {"equal", "compared", "mismatches", "backends", "first_mismatch", "float"}
FLOAT_KEYS = {"max_abs", "rms", "agreement"}


def test_verify_finds_all_backends_equal(home: Path) -> None:
    found = as_json("verify", "run", cwd=home)
    assert found == as_json("verify", "run", "--float", "run/model.onnx", cwd=home)
    assert set(found) >= VERIFY_KEYS
    assert found["equal"] is True
    assert found["mismatches"] == 0
    assert found["first_mismatch"] is None
    assert found["backends"] == ["numpy", "onnxruntime", "c", "cortex-m0plus", "cortex-m4"]
    assert found["compared"] >= 4 * 40 * 100 * (4 + 4)  # backends but the first, windows, steps, h and c
    assert set(found["float"]) == FLOAT_KEYS
    assert 0 <= found["float"]["rms"] <= found["float"]["max_abs"]
    assert 0 <= found["float"]["agreement"] <= 1


def test_verify_without_samples_makes_some_up_and_says_so(home: Path) -> None:
    done = program("verify", "run/model.elstm", "--backends", "numpy,torch", "--trace", "all", cwd=home)
    assert done.stderr == "no --input: 8 windows of made-up samples\n"
    assert "equal" in done.stdout
    assert "yes" in done.stdout
    assert as_json("verify", "run/model.elstm", "--backends", "numpy,torch", cwd=home)["float"] is None


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["edge-lstm", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def plant(monkeypatch: pytest.MonkeyPatch, backend: str, value: str, *at: int) -> None:
    """Make one backend compute one integer one too large."""
    original = verification.backend

    def wrong(model: Any, x: Any, **options: Any) -> Execution:
        found = original(backend)(model, x, **options)
        array = found.trace[value].copy()
        array[at] += 1
        return replace(found, trace={**found.trace, value: array})

    monkeypatch.setattr(verification, "backend", lambda name: wrong if name == backend else original(name))


def test_verify_exits_with_1_where_one_integer_differs(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch, "torch", "lstm0.c", 7, 31, 2)
    assert run_main(monkeypatch, "verify", home / "run", "--backends", "numpy,torch", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["equal"], found["mismatches"]) == (False, 1)
    first = found["first_mismatch"]
    assert set(first) == {"backend", "value", "window", "step", "unit", "expected", "found"}
    assert [first[k] for k in ("backend", "value", "window", "step", "unit")] == ["torch", "lstm0.c", 7, 31, 2]
    assert first["found"] == first["expected"] + 1
    assert run_main(monkeypatch, "verify", home / "run", "--backends", "numpy,torch") == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "equal NO" in text
    assert "torch: lstm0.c, window 7, step 31, unit 2" in text


def test_verify_exits_with_1_where_a_step_is_out_of_its_bound(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = verification.step_errors
    loose: Callable[..., Any] = lambda *a, **k: tuple(replace(e, within=False) for e in original(*a, **k))  # noqa: E731
    monkeypatch.setattr(verification, "step_errors", loose)
    assert run_main(monkeypatch, "verify", home / "run", "--backends", "numpy,torch", "--json") == 1
    assert json.loads(capsys.readouterr().out)["equal"] is True


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_simulate_counts(home: Path, core: str) -> None:
    found = as_json("simulate", "run", "--device", core, cwd=home)
    assert (found["core"], found["windows"], found["steps"]) == (core, 40, 4000)
    step = found["instructions_per_step"]
    assert set(step) == {"mean", "p95", "max"}
    assert 100 < step["mean"] <= step["max"]
    assert step["p95"] <= step["max"]
    for name, parts in (("flash_bytes", {"code", "tables", "weights"}), ("ram_bytes", {"state", "scratch", "stack"})):
        assert set(found[name]) == parts | {"total"}
        assert found[name]["total"] == sum(found[name][part] for part in parts)
        assert all(size > 0 for size in found[name].values())
    assert 0 <= found["nonzero_hidden"] <= 1
    text = program("simulate", "run", "--device", core, cwd=home).stdout
    assert f"{step['mean']:,.0f}" in text
    assert f"{found['flash_bytes']['total']:,}" in text


def test_simulate_compiles_as_asked(home: Path) -> None:
    small, fast = (
        as_json("simulate", "run/model.elstm", "--optimize", level, cwd=home)["flash_bytes"]["code"]
        for level in ("-Os", "-O3")
    )
    assert small < fast


def test_inspect_shows_layers_sizes_and_gates(home: Path) -> None:
    found = as_json("inspect", "run", "--program", cwd=home)
    (layer,) = found["layers"]
    assert {k: layer[k] for k in ("cell", "hidden", "gates", "weight_bits", "activation_bits")} == {
        "cell": "lstm",
        "hidden": 4,
        "gates": "hard",
        "weight_bits": 8,
        "activation_bits": 8,
    }
    assert found["parameters"] == 4 * 4 * (6 + 4 + 1) + 4 * (4 + 1)
    assert found["model_bytes"] > 0
    assert len(found["gate_statistics"]) == 1
    assert any("matvec" in line.lower() for line in found["program"]["step"])
    text = program("inspect", "run", cwd=home).stdout
    assert "196 parameters" in text
    assert "gate_statistics" not in as_json("inspect", "run/model.elstm", cwd=home)
    assert "gate_statistics" in as_json("inspect", "run/model.elstm", "--input", "basic-motions", cwd=home)


@pytest.mark.parametrize(
    ("format_", "files"),
    [
        ("float-onnx", ["basic_motions.onnx"]),
        ("integer-onnx", ["basic_motions_integer.onnx"]),
        ("c99", [f"basic_motions{end}" for end in (".c", ".h", "_example.c", "_selftest.c", "_selftest.h")]),
    ],
)
def test_export_writes_what_it_says(home: Path, tmp_path: Path, format_: str, files: list[str]) -> None:
    for _ in range(2):  # the second time it replaces its own
        found = as_json("export", home / "run", "--format", format_, "--out", "out", cwd=tmp_path)
        assert found == {"files": [f"out/{name}" for name in files]}
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*files, MANIFEST])
    if format_ == "float-onnx":
        assert (tmp_path / "out" / files[0]).read_bytes() == (home / "run/model.onnx").read_bytes()


@pytest.mark.parametrize("model", ["run", "run/model.elstm"])
def test_the_exported_c_compiles_and_its_example_passes(home: Path, tmp_path: Path, model: str) -> None:
    from edge_lstm.firmware_sim.toolchain import compile_host

    program("export", home / model, "--format", "c99", "--out", "fw", cwd=tmp_path)
    sources = sorted((tmp_path / "fw").glob("*.c"))
    built = compile_host(sources, tmp_path / "example", include_dirs=[tmp_path / "fw"])
    done = subprocess.run([built], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("scores as on the desktop\n")
    example = tmp_path / "fw" / "basic_motions_example.c"
    text = example.read_text()
    _, row = text.split("expected[BASIC_MOTIONS_CLASSES] = {", 1)
    first = row.split(",")[0].strip(" {}")
    example.write_text(text.replace(f"= {{{first},", f"= {{{int(first) + 1},"))
    compile_host(sources, built, include_dirs=[tmp_path / "fw"])
    wrong = subprocess.run([built], capture_output=True, text=True)
    assert (wrong.returncode, "WRONG SCORES" in wrong.stdout) == (1, True)


def test_report_writes_one_page_about_several_runs(home: Path, tmp_path: Path) -> None:
    found = as_json("report", home / "run", home / "run", "--out", "r.html", cwd=tmp_path)
    assert found == {"out": "r.html", "bytes": (tmp_path / "r.html").stat().st_size}
    assert (tmp_path / "r.html").read_text().lstrip().startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


SOONER = ("gru",)
"""One cell with parts that are used apart; the others are slow because there are many, and each is in other tests."""


@pytest.mark.parametrize("cell", [c if c in SOONER else pytest.param(c, marks=pytest.mark.slow) for c in CELLS])
def test_every_cell_goes_from_recordings_to_a_page(cell: str, tmp_path: Path) -> None:
    small = ("--epochs", "1", "--hidden", "4", "--validation", "0", "--cell", cell, "--weight-bits", "4", "--relu", "3")
    program("train", "basic-motions", "--out", "run", *small, cwd=tmp_path)
    found = as_json("verify", "run", "--backends", "numpy,torch,onnxruntime", cwd=tmp_path)
    assert found["mismatches"] == 0
    assert set(found["float"]) == FLOAT_KEYS
    layers = as_json("inspect", "run", cwd=tmp_path)["layers"]
    assert [(layer["cell"], layer["weight_bits"]) for layer in layers] == [(cell, 4)]
    program("inspect", "run", "--program", cwd=tmp_path)
    program("report", "run", "--out", "r.html", cwd=tmp_path)
    page = (tmp_path / "r.html").read_text()
    assert ("Forget gate f" in page) == ("f" in CELLS[cell].gates)
    assert ("Update gate z" in page) == ("z" in CELLS[cell].gates)


def test_devices_lists_the_cores(tmp_path: Path) -> None:
    found = as_json("devices", cwd=tmp_path)["devices"]
    assert {"cortex-m0plus", "cortex-m4"} <= {device["name"] for device in found}
    text = program("devices", cwd=tmp_path).stdout
    assert all(device["title"] in text for device in found)


def test_ctrl_c_keeps_the_best_model_so_far(home: Path, tmp_path: Path) -> None:
    """Sent when the first epoch is over; with a million epochs the training would not end otherwise."""
    code = (
        "import os, signal, sys\n"
        "from edge_lstm import cli, training\n"
        "epoch = training._Run._epoch\n"
        "def interrupted(self, number, best):\n"
        "    if number == 3:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return epoch(self, number, best)\n"
        "training._Run._epoch = interrupted\n"
        "sys.argv = ['edge-lstm', 'train', 'basic-motions', '--out', 'run', '--epochs', '100000', '--hidden', '4']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "interrupted: keeping epoch 2"
    assert {p.name for p in (tmp_path / "run").iterdir()} == {p.name for p in (home / "run").iterdir()}
    assert as_json("verify", "run", "--backends", "numpy,torch", cwd=tmp_path)["equal"] is True
    program("report", "run", "--out", "r.html", cwd=tmp_path)


def test_ctrl_c_at_any_moment_ends_with_a_complete_folder_or_none(tmp_path: Path) -> None:
    command = [PROGRAM, "train", "basic-motions", "--out", "run", "--epochs", "100000", "--hidden", "4"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(4, process.send_signal, [signal.SIGINT])
        timer.start()
        _, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors
    if process.returncode == 0:
        assert "interrupted: keeping epoch" in errors
        assert {p.name for p in (tmp_path / "run").iterdir()} == RUN_FILES | {MANIFEST}
    else:
        assert process.returncode == 130
        assert list(tmp_path.iterdir()) == []


def test_the_demo_does_the_main_job(tmp_path: Path) -> None:
    found = as_json("demo", "--out", "d", "--seeds", "1", "--epochs", "2", cwd=tmp_path)
    assert {p.name for p in (tmp_path / "d").iterdir()} == RUN_FILES | {MANIFEST, "report.html"}
    assert found["report"] == os.fspath(Path("d", "report.html"))
    assert found["verify"]["equal"] is True
    assert found["verify"]["backends"] == ["numpy", "onnxruntime", "c", "cortex-m0plus", "cortex-m4", "torch"]
    assert [cost["core"] for cost in found["simulate"]] == ["cortex-m4", "cortex-m0plus"]
    assert {row["model"] for row in found["accuracy"]} == {
        f"{gates} gates, {form}" for gates in ("hard", "soft") for form in ("float", "int8")
    }
