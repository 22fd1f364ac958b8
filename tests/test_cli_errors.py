"""Every mistake of a user is one line that names the thing and what is accepted: status 2, and nothing is written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm import cli, storage
from edge_lstm.cells import CELLS
from edge_lstm.export.onnx_float import write as write_onnx
from edge_lstm.files import MANIFEST
from edge_lstm.model import POOLINGS, FloatModel
from edge_lstm.npz import write_arrays
from edge_lstm.ptq import quantize

KNOWN_DATA = "basic-motions, ecg, fsdd, fsdd-official, hapt, hapt-2, uci-har"
BACKENDS = "numpy, onnxruntime, c, cortex-m0plus, cortex-m3, cortex-m4, cortex-m7, torch"
X = np.random.default_rng(0).normal(0, 1, (6, 12, 3))

Run = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_float_model: Callable[..., FloatModel]) -> Path:
    """A working folder with good files (``m.elstm``, ``m.onnx``, ``x.npz``, ``data.npz``) and, in ``bad``, others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    floating = make_float_model("hard", classes=3)
    quantize(floating, calibration=X).save("m.elstm")
    write_onnx(floating, Path("m.onnx"))
    write_arrays(Path("x.npz"), x=X)
    write_arrays(Path("data.npz"), x=X, y=np.arange(6) % 2)
    bad = tmp_path / "bad"
    bad.mkdir()
    whole = Path("m.elstm").read_bytes()
    (bad / "cut.elstm").write_bytes(whole[: len(whole) // 2])
    (bad / "altered.elstm").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    storage.save(floating, bad / "float.elstm")
    (bad / "text").write_text("hello\n")
    (bad / "cut.onnx").write_bytes(Path("m.onnx").read_bytes()[:-7])
    (bad / "empty").touch()
    write_arrays(bad / "two.npz", x=X[..., :2])
    write_arrays(bad / "flat.npz", x=X[0])
    write_arrays(bad / "short.npz", x=X[:, :5])
    write_arrays(bad / "no-x.npz", y=X)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        changed = X.copy()
        changed[2, 3, 1] = value
        write_arrays(bad / f"{name}.npz", x=changed, y=np.arange(6) % 2)
    return tmp_path


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture
def fails(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the program; give the one line that it says."""

    def call(*arguments: object) -> str:
        before = tree(home)
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["edge-lstm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        assert stop.value.code == 2
        assert said.out == ""
        assert tree(home) == before
        *notes, line = said.err.splitlines()
        assert notes in ([], ["no --input: 8 windows of made-up samples"])
        assert line.startswith("edge-lstm: ")
        return line.removeprefix("edge-lstm: ")

    return call


ONNX_TAIL = "accepted are the float ONNX files that edge-lstm writes"
TRUNCATED = "is no model file of edge-lstm, or is truncated (Error while deserializing header: "
ALTERED = "the content does not match its SHA-256: the file was altered or damaged"
FINITE = "sample (2, 3, 1) is {} (channel channel1); every sample must be finite"
NO_FILE = f"no such file, and no data set of that name ({KNOWN_DATA})"
SHAPE = "samples have shape (6, 12, 2); m takes 3 channels last (channel0, channel1, channel2)"
CALIBRATE = ("quantize", "m.onnx", "--out", "q.elstm", "--calibration")
ERROR = ("report", "m.elstm", "--out", "r.html", "--input")
RUN = ("run", "m.elstm", "--out", "y.npz", "--input")
NOWHERE = "No such file or directory"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # samples: wrong shapes, NaN or infinite, no such data
        ((*RUN, "bad/two.npz"), f"bad/two.npz: {SHAPE}"),
        ((*RUN, "bad/flat.npz"), "bad/flat.npz: x has shape (12, 3); accepted is (windows, steps, channels)"),
        ((*RUN, "bad/no-x.npz"), "bad/no-x.npz holds y; an array x (windows, steps, channels) is needed"),
        ((*RUN, "bad/nan.npz"), "bad/nan.npz: " + FINITE.format("nan")),
        ((*RUN, "bad/inf.npz"), "bad/inf.npz: " + FINITE.format("inf")),
        ((*RUN, "missing.npz"), f"missing.npz: {NO_FILE}"),
        ((*RUN, "bad/text"), "bad/text: can't be read as an .npz file of plain arrays: File is not a zip file"),
        ((*RUN, "bad"), "can't read bad: Is a directory"),
        (("verify", "m.elstm", "--input", "bad/nan.npz"), "bad/nan.npz: " + FINITE.format("nan")),
        (("simulate", "m.elstm", "--input", "bad/inf.npz"), "bad/inf.npz: " + FINITE.format("inf")),
        (("inspect", "m.elstm", "--input", "bad/two.npz"), f"bad/two.npz: {SHAPE}"),
        ((*CALIBRATE, "bad/two.npz"), f"bad/two.npz: {SHAPE}"),
        ((*CALIBRATE, "bad/nan.npz"), "bad/nan.npz: " + FINITE.format("nan")),
        ((*CALIBRATE, "basic-motion"), f"basic-motion: {NO_FILE}"),
        (
            ("train", "bad/nan.npz", "--out", "out"),
            "nan: x must be finite in float32, found nan in window 2, step 3, channel 1",
        ),
        (
            ("train", "bad/x.npz", "--out", "out"),
            f"unknown data set 'bad/x.npz': neither a known name ({KNOWN_DATA}) nor an .npz file or a UCI HAR folder",
        ),
        # model files
        (("inspect", "missing.elstm"), f"can't read missing.elstm: {NOWHERE}"),
        (("inspect", "bad"), f"can't read bad/model.elstm: {NOWHERE}"),
        (("inspect", "bad/cut.elstm"), f"bad/cut.elstm {TRUNCATED}..."),
        (("inspect", "bad/empty"), f"bad/empty {TRUNCATED}..."),
        (("inspect", "bad/text"), f"bad/text {TRUNCATED}..."),
        (("inspect", "m.onnx"), f"m.onnx {TRUNCATED}..."),
        (("inspect", "bad/altered.elstm"), f"bad/altered.elstm: {ALTERED}"),
        (("verify", "bad/altered.elstm"), f"bad/altered.elstm: {ALTERED}"),
        (("simulate", "bad/altered.elstm"), f"bad/altered.elstm: {ALTERED}"),
        (("run", "bad/altered.elstm", "--input", "x.npz", "--out", "y"), f"bad/altered.elstm: {ALTERED}"),
        (("export", "bad/altered.elstm", "--format", "c99", "--out", "o"), f"bad/altered.elstm: {ALTERED}"),
        (("inspect", "bad/float.elstm"), "bad/float.elstm: kind is 'float', and must be 'quantized'"),
        (("inspect", "a" * 300), f"{'a' * 300}: File name too long"),
        # ONNX files
        (("quantize", "missing.onnx", "--calibration", "x.npz", "--out", "q"), f"can't read missing.onnx: {NOWHERE}"),
        (
            ("quantize", "bad/text", "--calibration", "x.npz", "--out", "q"),
            "bad/text is not an ONNX file, or is truncated",
        ),
        (
            ("quantize", "bad/cut.onnx", "--calibration", "x.npz", "--out", "q"),
            "bad/cut.onnx is not an ONNX file, or is truncated",
        ),
        (
            ("quantize", "bad/empty", "--calibration", "x.npz", "--out", "q"),
            "bad/empty: it has no graph, and is not an ONNX file",
        ),
        (
            ("quantize", "m.elstm", "--calibration", "x.npz", "--out", "q"),
            "m.elstm is not an ONNX file, or is truncated",
        ),
        (("verify", "m.elstm", "--float", "bad/text"), "bad/text is not an ONNX file, or is truncated"),
        (
            ("run", "bad/cut.onnx", "--input", "x.npz", "--out", "y"),
            "bad/cut.onnx is not an ONNX file, or is truncated",
        ),
        # choices
        (
            (*CALIBRATE, "x.npz", "--gates", "firm"),
            "gates 'firm': no gate mode 'firm'; accepted are soft, hard, three-level, hard-sigmoid",
        ),
        ((*CALIBRATE, "x.npz", "--weight-bits", "16"), "weight_bits is 16; accepted are 8, 4, 2"),
        ((*CALIBRATE, "x.npz", "--weight-bits", "8,4"), "weight_bits names 2 layers; the model has 1"),
        (
            (*CALIBRATE, "x.npz", "--weight-bits", "four"),
            "weight_bits is 'four'; accepted are a number, or one for each layer such as 8,4",
        ),
        ((*CALIBRATE, "x.npz", "--activation-bits", "32"), "activation_bits is 32; accepted are 8, 16"),
        ((*CALIBRATE, "x.npz", "--activations", "cubic"), "activations is 'cubic'; accepted are 'lut', 'lut-interp'"),
        ((*RUN, "x.npz", "--backend", "gpu"), f"no backend 'gpu'; accepted are {BACKENDS} and device"),
        (
            ("run", "m.onnx", "--input", "x.npz", "--out", "y", "--backend", "c"),
            "a float model runs in numpy and has no integers; backend 'c', raw False",
        ),
        (
            ("run", "m.onnx", "--input", "x.npz", "--out", "y", "--raw"),
            "a float model runs in numpy and has no integers; backend 'numpy', raw True",
        ),
        (
            ("verify", "m.elstm", "--backends", "numpy"),
            f"a comparison takes two backends or more; accepted are {BACKENDS}",
        ),
        (
            ("verify", "m.elstm", "--backends", "device,cortex-m4"),
            f"a comparison takes two backends or more; accepted are {BACKENDS}",
        ),
        (("verify", "m.elstm", "--backends", "numpy,,c"), f"no backend ''; accepted are {BACKENDS} and device"),
        (
            ("simulate", "m.elstm", "--device", "cortex-a9"),
            "unknown core 'cortex-a9'; known are cortex-m0plus, cortex-m3, cortex-m4, cortex-m7",
        ),
        (("train", "data.npz", "--out", "o", "--cell", "elman"), f"no cell 'elman'; accepted are {', '.join(CELLS)}"),
        (
            ("train", "data.npz", "--out", "o", "--gates", "x=hard"),
            "gates 'x=hard': no gate 'x'; this cell has i, f, o",
        ),
        (("train", "data.npz", "--out", "o", "--hidden", "0"), "hidden is 0; accepted are 1 to 4096"),
        (("train", "data.npz", "--out", "o", "--layers", "65"), "layers is 65; accepted are 1 to 64"),
        (("train", "data.npz", "--out", "o", "--validation", "1"), "validation is 1.0; accepted are 0 to below 1"),
        (("train", "data.npz", "--out", "o", "--seed", "-1"), "seed is -1; accepted are 0 to 4294967295"),
        (
            ("train", "data.npz", "--out", "o", "--learning-rate", "nan"),
            "learning_rate is nan; accepted are above 0, to 10.0",
        ),
        (
            ("train", "data.npz", "--out", "o", "--pooling", "sum"),
            f"pooling is 'sum'; accepted are {', '.join(POOLINGS)}",
        ),
        (("train", "data.npz", "--out", "o", "--shift", "2"), "augmentation: shift must be between 0 and 1, found 2.0"),
        # places to write to
        ((*CALIBRATE[:3], "no/q.elstm", "--calibration", "x.npz"), f"can't write no/q.elstm: {NOWHERE}"),
        ((*CALIBRATE[:3], "bad", "--calibration", "x.npz"), "can't write bad: Is a directory"),
        (("run", "m.elstm", "--input", "x.npz", "--out", "m.onnx/y"), "can't write m.onnx/y: Not a directory"),
        (
            ("run", "m.elstm", "--input", "x.npz", "--out", "/dev/null"),
            "can't write /dev/null: it is a device or a pipe, and should be a file",
        ),
        (("export", "m.elstm", "--format", "c99", "--out", "m.onnx"), "m.onnx is a file, and should be a folder"),
        (("export", "m.elstm", "--format", "c99", "--out", "m.onnx/o"), "can't write m.onnx/o: Not a directory"),
        (
            ("export", "m.elstm", "--format", "c99", "--out", "."),
            ". holds m.elstm, which would be replaced; write to another folder",
        ),
        (
            ("export", "m.elstm", "--format", "c99", "--out", "/proc"),
            "/proc is in use and can't be replaced; name a folder in it",
        ),
        (("export", "m.elstm", "--format", "c99", "--out", "a" * 300), f"can't write {'a' * 300}: File name too long"),
        # reports
        (
            ("report", "missing", "--out", "r.html"),
            "missing is no folder; a run folder holds results.json, model.elstm, recording.npz",
        ),
        (("report", "bad", "--out", "r.html"), f"can't read bad/results.json: {NOWHERE}"),
    ],
    ids=lambda value: " ".join(map(str, value))[:70] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line(fails: Run, arguments: tuple[str, ...], message: str) -> None:
    found = fails(*arguments)
    if message.endswith("..."):
        assert found.startswith(message.removesuffix("..."))
    else:
        assert found == message


HELD = "out holds notes.txt, which edge-lstm did not write; --force keeps it and goes on"


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "data.npz", "--epochs", "1", "--hidden", "2"),
        ("export", "m.elstm", "--format", "integer-onnx"),
        ("demo", "--seeds", "1", "--epochs", "1"),
    ],
    ids=lambda value: value[0],
)
def test_a_folder_that_holds_something_else_is_refused_before_any_work(
    fails: Run, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("edge_lstm.training.train", work)
    monkeypatch.setattr("edge_lstm.study.train_all", work)
    monkeypatch.setattr("edge_lstm.export.onnx_integer.build", work)
    (home / "out").mkdir()
    (home / "out" / "notes.txt").write_text("mine")
    assert fails(*arguments, "--out", "out") == HELD


def test_force_keeps_what_is_not_ours(fails: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "out").mkdir()
    (home / "out" / "notes.txt").write_text("mine")
    arguments = ["export", "m.elstm", "--format", "integer-onnx", "--out", "out"]
    assert fails(*arguments) == HELD
    monkeypatch.setattr(sys, "argv", ["edge-lstm", *arguments, "--force"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert sorted(p.name for p in (home / "out").iterdir()) == [MANIFEST, "m_integer.onnx", "notes.txt"]
    assert (home / "out" / "notes.txt").read_text() == "mine"


def test_an_export_does_not_replace_the_model_that_it_exports(fails: Run, home: Path) -> None:
    from edge_lstm.files import output_folder

    with output_folder("run") as folder:
        (folder / "model.elstm").write_bytes((home / "m.elstm").read_bytes())
    for model in ("run", "run/model.elstm"):
        for out in ("run", "./run", str(home / "run")):
            wanted = f"{out} holds {model}, which would be replaced; write to another folder"
            assert fails("export", model, "--format", "c99", "--out", out) == wanted


def test_a_float_model_of_other_classes_or_channels_is_no_comparison(
    fails: Run, make_float_model: Callable[..., FloatModel]
) -> None:
    write_onnx(make_float_model(classes=5), Path("bad/classes.onnx"))
    write_onnx(make_float_model(classes=3, inputs=2), Path("bad/channels.onnx"))
    verify = ("verify", "m.elstm", "--input", "x.npz", "--backends", "numpy,torch", "--float")
    wanted = "the float scores have shape (6, 5), and those of the model (6, 3)"
    assert fails(*verify, "bad/classes.onnx") == wanted
    found = fails(*verify, "bad/channels.onnx")
    assert found.startswith("bad/channels.onnx: onnxruntime: ")
    assert "Got: 3 Expected: 2" in found


def test_a_mean_over_windows_of_another_length_is_refused(
    fails: Run, make_float_model: Callable[..., FloatModel]
) -> None:
    quantize(make_float_model("hard", pooling="mean"), calibration=X).save("bad/mean.elstm")
    found = fails("run", "bad/mean.elstm", "--input", "bad/short.npz", "--out", "y.npz")
    assert found == "windows of 5 steps; m takes the mean over windows of 12"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Usage: edge-lstm [OPTIONS] COMMAND [ARGS]..."),
        (("trian",), "Error: No such command 'trian'."),
        (("train",), "Error: Missing argument 'DATA'."),
        (("train", "basic-motions"), "Error: Missing option '--out'."),
        (
            ("train", "data.npz", "--out", "o", "--hidden", "many"),
            "Error: Invalid value for '--hidden': 'many' is not a valid integer.",
        ),
        (("train", "data.npz", "--out", "o", "--backwards"), "Error: No such option"),
        (
            ("export", "m.elstm", "--format", "keil", "--out", "o"),
            "Error: Invalid value for '--format': 'keil' is not one of 'float-onnx', 'integer-onnx', 'c99', 'cmake', "
            "'arduino', 'zephyr', 'platformio'.",
        ),
        (
            ("export", "m.elstm", "--format", "float-onnx", "--out", "o"),
            "Error: format float-onnx takes the folder of a training run, not m.elstm",
        ),
        (
            ("verify", "m.elstm", "--trace", "some"),
            "Error: Invalid value for '--trace': 'some' is not one of 'states', 'all'.",
        ),
        (("demo", "--seeds", "0"), "Error: Invalid value for '--seeds': 0 is not in the range 1<=x<=100."),
    ],
)
def test_bad_usage_ends_with_2_and_says_what_is_wrong(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    before = tree(home)
    monkeypatch.setattr(sys, "argv", ["edge-lstm", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert any(line.startswith(message) for line in (said.out + said.err).splitlines())
    assert tree(home) == before


HIDE = """
import sys
class Hide:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        return None if name.partition('.')[0] in HIDDEN else self.finder.find_spec(name, *rest)
    def __getattr__(self, name):
        return getattr(self.finder, name)
HIDDEN = set(sys.argv.pop(1).split(','))
sys.meta_path[:] = [Hide(finder) for finder in sys.meta_path]
from edge_lstm import cli
cli.main()
"""


def without(hidden: str, *arguments: str, cwd: Path) -> str:
    """What the program says where these modules, and any system compiler, are not installed."""
    before = tree(cwd)
    command = [sys.executable, "-c", HIDE, hidden, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={"PATH": str(cwd)}, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert tree(cwd) == before
    (line,) = done.stderr.splitlines()
    return line


VERIFY = ("verify", "m.elstm", "--input", "x.npz", "--backends")


@pytest.mark.parametrize(
    ("hidden", "arguments", "what", "extra"),
    [
        ("ziglang", (*VERIFY, "numpy,c"), "ziglang is needed to compile C (found no cc, gcc or clang)", "sim"),
        ("ziglang", (*VERIFY, "numpy,device"), "ziglang is needed to compile for a Cortex-M4", "sim"),
        ("unicorn", ("simulate", "m.elstm", "--input", "x.npz"), "unicorn is needed to emulate a Cortex-M", "sim"),
        ("elftools", ("simulate", "m.elstm", "--input", "x.npz"), "pyelftools is needed to read firmware", "sim"),
        ("jinja2", ("export", "m.elstm", "--format", "c99", "--out", "o"), "jinja2 is needed to write C", "sim"),
        ("onnxruntime", (*VERIFY, "numpy,onnxruntime"), "onnxruntime is needed to run the integer ONNX model", "onnx"),
        (
            "onnxruntime",
            (*VERIFY, "numpy,torch", "--float", "m.onnx"),
            "onnxruntime is needed to run the float ONNX model",
            "onnx",
        ),
        ("onnx", (*CALIBRATE, "x.npz"), "onnx is needed to read ONNX", "onnx"),
        (
            "onnx",
            ("export", "m.elstm", "--format", "integer-onnx", "--out", "o"),
            "onnx is needed to write ONNX",
            "onnx",
        ),
        ("matplotlib", (*ERROR, "x.npz", "--float", "m.onnx"), "matplotlib is needed to write a report", "report"),
        ("torch", ("train", "data.npz", "--out", "o"), "torch is needed to train", "train"),
        ("onnx", ("train", "data.npz", "--out", "o"), "onnx is needed to train", "train"),
        (
            "tensorboardX",
            ("train", "data.npz", "--out", "o", "--log-dir", "l"),
            "tensorboardX is needed to write a log for TensorBoard",
            "tensorboard",
        ),
        ("torch", ("cross-validate", "data.npz"), "torch is needed to train", "train"),
        ("torch", (*VERIFY, "numpy,torch"), "torch is needed for the backend that training uses", "train"),
        (
            "aeon",
            ("train", "basic-motions", "--out", "o"),
            "aeon is needed to read the basic-motions recordings",
            "data",
        ),
        ("unicorn", ("demo", "--out", "o"), "unicorn is needed for the demo", "all"),
        ("matplotlib", ("demo", "--out", "o"), "matplotlib is needed for the demo", "all"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_missing_extra_is_named(home: Path, hidden: str, arguments: tuple[str, ...], what: str, extra: str) -> None:
    found = without(hidden, *arguments, cwd=home)
    assert found == f"edge-lstm: {what}: pip install 'edge-lstm[{extra}]'"


@pytest.mark.parametrize("hidden", ["jinja2", "matplotlib"])
def test_a_report_without_its_extra(home: Path, hidden: str) -> None:
    """On a run folder that reads well."""
    program = Path(sys.executable).parent / "edge-lstm"
    train = [program, "train", "data.npz", "--out", "run", "--epochs", "1", "--hidden", "2"]
    subprocess.run(train, cwd=home, check=True, capture_output=True, timeout=300)
    found = without(hidden, "report", "run", "--out", "r.html", cwd=home)
    assert found == f"edge-lstm: {hidden} is needed to write a report: pip install 'edge-lstm[report]'"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "edge-lstm"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [program, "devices", "--json"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "edge-lstm: No space left on device\n"


LIMITED = """
import resource, signal, sys
from edge_lstm import cli
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
cli.main()
"""


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((*CALIBRATE, "x.npz"), "q.elstm"),
        (("run", "m.elstm", "--input", "x.npz", "--out", "data.npz", "--raw"), "data.npz"),
        (("export", "m.elstm", "--format", "integer-onnx", "--out", "old"), "old/m_integer.onnx"),
    ],
    ids=lambda value: value[0] if value else "",
)
def test_a_disk_that_fills_up_leaves_what_was_there(home: Path, arguments: tuple[str, ...], what: str) -> None:
    """The limit on a file's size stands for the full disk."""
    (home / "old").mkdir()
    before = tree(home)
    command = [sys.executable, "-c", LIMITED, *arguments]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == f"edge-lstm: can't write {what}: File too large\n"
    assert tree(home) == before
