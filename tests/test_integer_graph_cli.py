"""A stranger's convolution before an LSTM, from its file to firmware, as a user types it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from torch_models import Spec, exported, motions, trained

import edge_lstm as el
from edge_lstm.cli import group
from edge_lstm.errors import EdgeLstmError
from edge_lstm.firmware_sim.toolchain import compile_host
from edge_lstm.integer_graph.model import QuantizedGraph

SPEC = Spec("GRU", True, 1, "max", before="conv pool")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model.onnx``, recordings ``x.npz`` with labels, and ``m.elstm``."""
    folder = tmp_path_factory.mktemp("graph")
    (folder / "model.onnx").write_bytes(exported(SPEC, dynamo=False, model=trained(SPEC)))
    x, y = motions(train=True)
    np.savez(folder / "x.npz", x=x, y=y)
    np.savez(folder / "test.npz", x=motions(train=False)[0][:24])
    assert called(folder, "quantize", "model.onnx", "--calib", "x.npz", "--out", "m.elstm").exit_code == 0
    return folder


def called(home: Path, *words: str) -> Any:
    placed = [str(home / w) if w.endswith((".onnx", ".npz", ".elstm")) or w == "firmware" else w for w in words]
    return CliRunner().invoke(group, placed)


def as_json(home: Path, *words: str) -> Any:
    result = called(home, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_quantize_says_what_it_made(home: Path) -> None:
    found = as_json(home, "quantize", "model.onnx", "--calib", "x.npz", "--out", "again.elstm")
    assert found["nodes"][0] == "samples"
    assert {"affine", "largest", "layers", "reduced"} <= set(found["nodes"])
    assert [k["activation_bits"] for k in found["layers"]] == [8, 8]
    assert (found["rounding"], found["bias_correction"]) == ("nearest", False)
    assert found["agreement"] >= 0.98
    assert (home / "again.elstm").read_bytes() == (home / "m.elstm").read_bytes()
    assert isinstance(el.load(home / "m.elstm"), QuantizedGraph)


def test_verify_compares_all_backends_and_the_float_file(home: Path) -> None:
    found = as_json(home, "verify", "m.elstm", "--float", "model.onnx", "--input", "test.npz", "--trace", "all")
    assert found["equal"]
    assert found["within_bound"]
    assert found["compared"] > 100_000
    assert found["float"]["agreement"] >= 0.98
    assert len(found["step_errors"]) == 2


def test_run_gives_the_same_on_every_backend(home: Path) -> None:
    for backend in ("numpy", "c", "onnxruntime"):
        options = ("--input", "test.npz", "--out", f"{backend}.npz", "--backend", backend)
        assert called(home, "run", "m.elstm", *options).exit_code == 0
    found = [dict(np.load(home / f"{backend}.npz")) for backend in ("numpy", "c", "onnxruntime")]
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_array_equal(other[name], value)
    assert set(found[0]) == {"scores", "class_index"}


def test_inspect_lists_the_nodes(home: Path) -> None:
    found = as_json(home, "inspect", "m.elstm", "--input", "test.npz")
    assert [k["kind"] for k in found["nodes"]][:3] == ["samples", "affine", "largest"]
    assert [k["direction"] for k in found["layers"]] == ["forward", "reverse"]
    assert len(found["gate_statistics"]) == 2
    shown = called(home, "inspect", "m.elstm")
    assert shown.exit_code == 0
    assert "gru-after of 10 units beside reversed gru-after of 10 units" in shown.output


def test_simulate_counts_instructions_and_bytes(home: Path) -> None:
    found = as_json(home, "simulate", "m.elstm", "--input", "test.npz", "--device", "cortex-m4")
    assert 0 < found["instructions_per_step"]["mean"] < 20_000
    assert found["ram_bytes"]["state"] == 0
    assert found["ram_bytes"]["scratch"] > 0


def test_the_firmware_replays_its_window(home: Path) -> None:
    assert called(home, "export", "m.elstm", "--format", "c99", "--out", "firmware").exit_code == 0
    program = compile_host(sorted((home / "firmware").glob("*.c")), home / "example")
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert "scores as on the desktop" in done.stdout


def test_white_noise_is_said_to_be_that(home: Path) -> None:
    (home / "fixed.onnx").write_bytes(exported(SPEC, dynamo=True, model=trained(SPEC)))
    result = called(home, "quantize", "fixed.onnx", "--calib", "random-normal", "--out", "noise.elstm")
    assert result.exit_code == 0, result.exception
    assert "WARNING: calibrated on white noise" in result.output
    result = called(home, "quantize", "model.onnx", "--calib", "random-normal", "--out", "noise.elstm")
    assert str(result.exception) == "the file leaves the number of steps open; say how many a window has"


def test_what_a_graph_does_not_take_loses_nothing(home: Path) -> None:
    before = (home / "m.elstm").read_bytes()
    result = called(home, "quantize", "model.onnx", "--calib", "x.npz", "--out", "m.elstm", "--max-bytes", "100")
    assert isinstance(result.exception, EdgeLstmError)
    assert str(result.exception).startswith(
        "max_drop or max_bytes is given; formats are searched for in models of recurrent layers, pooling and dense "
    )
    assert (home / "m.elstm").read_bytes() == before
    result = called(home, "inspect", "m.elstm", "--input", "test.npz", "--float", "model.onnx")
    assert isinstance(result.exception, EdgeLstmError)
    assert "errors are looked for in recurrent layers, pooling and dense layers" in str(result.exception)
