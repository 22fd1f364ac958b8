"""A training that is killed, again and again, and goes on, ends with the files of one that was left alone."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_lstm import cli, run_files
from edge_lstm.checkpoint import load

PROGRAM = Path(sys.executable).parent / "edge-lstm"
OPTIONS = ("--epochs", "6", "--hidden", "4", "--validation", "0.25", "--quantized-from", "0.7", "--batch", "32")
COMMAND = ("train", "basic-motions", "--out", "run", *OPTIONS)
KILLED = """
import os, signal, sys
from edge_lstm import cli, files, training
phase, count = sys.argv.pop(1), int(sys.argv.pop(1))
seen = [0]
def killed_at(count):
    seen[0] += 1
    if seen[0] == count:
        os.kill(os.getpid(), signal.SIGKILL)
step, fsync = training._Run._train_step, os.fsync
def stepped(self, chosen, now):
    if now == phase:
        killed_at(count)
    return step(self, chosen, now)
def flushed(descriptor):
    if phase == "writing":
        killed_at(count)
    fsync(descriptor)
training._Run._train_step, os.fsync = stepped, flushed
training.CHECKPOINT_EVERY_S = 0.0 if phase == "hard" else 300.0
cli.main()
"""
"""The program, killed by SIGKILL at the start of a step of a phase, or while it writes a checkpoint."""


def program(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PROGRAM, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def killed(phase: str, count: int, *arguments: str, cwd: Path) -> None:
    code = [sys.executable, "-c", KILLED, phase, str(count), *arguments]
    done = subprocess.run(code, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr


def shas(run: Path) -> dict[str, str]:
    names = (run_files.MODEL, run_files.FLOAT, run_files.ONNX, run_files.RESULTS)
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}


def test_killed_in_each_phase_and_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An epoch of 320 windows has 10 steps; the phases are 3 epochs annealed, 2 hard and 1 quantized."""
    left_alone, cut = tmp_path / "whole", tmp_path / "cut"
    left_alone.mkdir()
    cut.mkdir()
    program(*COMMAND, cwd=left_alone)
    assert [path.name for path in left_alone.iterdir()] == ["run"]
    checkpoint = cut / "run.checkpoint"

    killed("annealed", 14, *COMMAND, cwd=cut)
    assert [path.name for path in cut.iterdir()] == ["run.checkpoint"]
    assert load(checkpoint)[0].step == 10
    monkeypatch.chdir(cut)
    monkeypatch.setattr(sys, "argv", ["edge-lstm", *COMMAND])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "edge-lstm: run.checkpoint beside run is of a training that was killed; "
        "--resume goes on with it, or delete it\n"
    )
    killed("hard", 17, *COMMAND, "--resume", cwd=cut)  # writes a checkpoint at each step
    header = load(checkpoint)[0]
    assert (len(header.epochs), header.batches, header.step) == (4, 6, 46)
    before = checkpoint.read_bytes()
    killed("writing", 1, *COMMAND, "--resume", cwd=cut)
    assert checkpoint.read_bytes() == before
    assert len(list(cut.iterdir())) == 2  # and the half of the next one
    killed("quantized", 8, *COMMAND, "--resume", cwd=cut)
    assert not (cut / "run").exists()

    program(*COMMAND, "--resume", cwd=cut)
    assert [path.name for path in cut.iterdir()] == ["run"]
    assert shas(cut / "run") == shas(left_alone / "run")
    assert sorted(p.name for p in (cut / "run").iterdir()) == sorted(p.name for p in (left_alone / "run").iterdir())


@pytest.mark.slow
def test_several_seeds_are_killed_together_and_go_on_each(tmp_path: Path) -> None:
    command = (*COMMAND, "--seeds", "2", "--hidden", "8")
    left_alone, cut = tmp_path / "whole", tmp_path / "cut"
    left_alone.mkdir()
    cut.mkdir()
    program(*command, cwd=left_alone)
    with subprocess.Popen([PROGRAM, *command], cwd=cut, start_new_session=True) as process:
        while not any(cut.glob("run.seed-*.checkpoint")):
            time.sleep(0.005)
        process.kill()
    for _ in range(600):  # the processes of the seeds end, too
        if not _lives(process.pid):
            break
        time.sleep(0.05)
    assert not _lives(process.pid)
    assert not (cut / "run").exists()
    program(*command, "--resume", cwd=cut)
    assert [path.name for path in cut.iterdir()] == ["run"]
    assert shas(cut / "run") == shas(left_alone / "run")
    for seed in ("seed-0", "seed-1"):
        assert (cut / "run" / seed / run_files.MODEL).read_bytes() == (
            left_alone / "run" / seed / run_files.MODEL
        ).read_bytes()


def _lives(group: int) -> bool:
    """Whether a group of processes has members."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
