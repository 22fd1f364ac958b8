"""Every loader reads what it should and refuses, by name, what it should not."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.data import basic_motions, load, names, train_test, uci_har
from edge_lstm.errors import EdgeLstmError, MissingExtraError

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"


def refused(message: str) -> Any:
    return pytest.raises(EdgeLstmError, match=f"^{message}$")


# by name


def test_unknown_name_lists_the_known_ones() -> None:
    assert names() == ("basic-motions", "ecg", "fsdd", "fsdd-official", "hapt", "hapt-2", "uci-har")
    with refused(
        r"unknown data set 'basic': neither a known name "
        r"\(basic-motions, ecg, fsdd, fsdd-official, hapt, hapt-2, uci-har\) nor an .npz file or a UCI HAR folder"
    ):
        load("basic")


def test_names_that_need_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_LSTM_DATA", raising=False)
    with refused("hapt: set the environment variable EDGE_LSTM_DATA to the folder that holds hapt_windows.npz"):
        load("hapt")
    with refused("uci-har: set the environment variable EDGE_LSTM_DATA to .* holds the folder 'UCI HAR Dataset'"):
        load("uci-har")
    monkeypatch.setenv("EDGE_LSTM_DATA", str(tmp_path))
    with refused(f"hapt: no hapt_windows.npz in EDGE_LSTM_DATA={tmp_path}"):
        load("hapt")
    with refused(f"uci-har: no folder 'UCI HAR Dataset' with the raw signals in EDGE_LSTM_DATA={tmp_path}"):
        load("uci-har")


# BasicMotions


def test_basic_motions() -> None:
    data = load("basic-motions")
    assert data.x.shape == (80, 100, 6)
    assert (data.rate_hz, data.classes) == (10.0, ("standing", "running", "walking", "badminton"))
    training, test = train_test(data)
    assert training.counts.tolist() == test.counts.tolist() == [10, 10, 10, 10]
    # The first samples of the first training window, copied from the file by eye.
    assert data.x[0, :3, 0].tolist() == [np.float32(v) for v in (0.079106, 0.079106, -0.903497)]
    assert data.x[0, :3, 1].tolist() == [np.float32(v) for v in (0.394032, 0.394032, -3.666397)]


def test_basic_motions_units() -> None:
    """What the module says of units: gravity is taken out, the gyroscope is within ±2000 deg/s in rad/s."""
    training, _ = train_test(load("basic-motions"))
    standing = training.x[training.y == 0]
    assert np.linalg.norm(standing[:, :, :3].mean(1), axis=1).max() < 0.3
    assert 34 < np.abs(training.x[:, :, 3:]).max() < np.deg2rad(2000)


def test_basic_motions_agree_with_aeon() -> None:
    """In a fresh process: importing aeon takes seconds and brings numba, which this test's process must not hold."""
    pytest.importorskip("aeon")
    script = (
        "import sys, numpy as np; from edge_lstm.data import load; data = load('basic-motions');"
        "assert not {'aeon', 'numba', 'torch'} & sys.modules.keys();"
        "from aeon.datasets import load_basic_motions; x, y = load_basic_motions();"
        "assert np.array_equal(data.x, x.transpose(0, 2, 1).astype(np.float32));"
        "assert [data.classes[i] for i in data.y] == [name.lower() for name in y]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_basic_motions_without_aeon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic_motions, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="aeon"):
        load("basic-motions")


GOOD_ROW = ":".join([",".join(["0.5"] * 100)] * 6) + ":Running"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@problemName x\n", "needed windows after a line @data, found none"),
        ("# y\n@data\n\n", "needed windows after a line @data, found none"),
        (f"# y\n@data\n{GOOD_ROW}\n1,2:Running\n", r"line 4: needed 6 channels of 100 samples, found \[2\]"),
        (f"# y\n@data\n{GOOD_ROW[:-7]}Sitting", "line 3: class 'Sitting' is none of standing, running, .*"),
        (f"# y\n@data\n{GOOD_ROW.replace('0.5', '?', 1)}", "line 3: a sample is no number: .*"),
    ],
)
def test_basic_motions_refuses_odd_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "BasicMotions_TRAIN.ts").write_text(text)
    with refused(f".*BasicMotions_TRAIN.ts: {message}"):
        basic_motions.read_basic_motions(tmp_path)


def test_basic_motions_names_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "BasicMotions_TRAIN.ts").write_text(f"@x\n@data\n{GOOD_ROW}\n")
    with refused(".*BasicMotions_TEST.ts: can't be read: .*"):
        basic_motions.read_basic_motions(tmp_path)


# UCI HAR


def make_uci_har(root: Path) -> Path:
    """The archive's layout with 2 training and 1 test windows of 3 samples; sample = 100 side + 10 channel + step."""
    for side, labels, subjects in (("train", [1, 6], [3, 5]), ("test", [2], [4])):
        signals = root / side / "Inertial Signals"
        signals.mkdir(parents=True)
        (root / side / f"y_{side}.txt").write_text("".join(f"{y}\n" for y in labels))
        (root / side / f"subject_{side}.txt").write_text("".join(f"{s}\n" for s in subjects))
        for number, channel in enumerate(uci_har.CHANNELS):
            first = 100 * (side == "test") + 10 * number
            row = "  ".join(f"{first + step:.7e}" for step in range(3))
            (signals / f"{channel}_{side}.txt").write_text(f"  {row}\n" * len(labels))
    return root


def test_uci_har(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_uci_har(tmp_path / "UCI HAR Dataset")
    monkeypatch.setenv("EDGE_LSTM_DATA", str(tmp_path))
    for given_as in (root, tmp_path, "uci-har"):
        data = load(given_as)
        assert data.x.shape == (3, 3, 9)
        assert data.x[:, 2, 4].tolist() == [42, 42, 142]
        assert data.channels[4] == "body_gyro_y"
        assert data.y.tolist() == [0, 5, 1]
        assert data.groups is not None
        assert data.is_test is not None
        assert (data.groups.tolist(), data.is_test.tolist()) == ([3, 5, 4], [False, False, True])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("y_train.txt", "1\n7\n", "activities are 1 to 6, found 7 in line 2"),
        ("subject_train.txt", "3\n", "has 1 lines, y_train.txt has 2"),
        ("Inertial Signals/body_gyro_z_train.txt", "1 2 3\n", r"must have shape \(2, 3\) .*, found \(1, 3\)"),
        ("Inertial Signals/body_gyro_z_train.txt", "1 2\n1 2\n", r"must have shape \(2, 3\) .*, found \(2, 2\)"),
        ("Inertial Signals/body_gyro_z_train.txt", "1 2 3\n1 x 3\n", "can't be read as lines of numbers: .*"),
        ("Inertial Signals/body_gyro_z_train.txt", "", "can't be read as lines of numbers: .*"),
        ("Inertial Signals/body_gyro_z_train.txt", None, "is missing"),
    ],
)
def test_uci_har_names_the_damaged_file(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    root = make_uci_har(tmp_path)
    if text is None:
        (root / "train" / file).unlink()
    else:
        (root / "train" / file).write_text(text)
    with refused(f".*{file.rpartition('/')[2]}: {message}"):
        load(root)


def test_uci_har_windows_of_one_length(tmp_path: Path) -> None:
    root = make_uci_har(tmp_path)
    for channel in uci_har.CHANNELS:
        (root / "test" / "Inertial Signals" / f"{channel}_test.txt").write_text("1 2\n")
    with refused(r".*: train and test windows must be of one length, found \[2, 3\] samples"):
        load(root)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with refused(f"{tmp_path}: is no UCI HAR folder, needed train/Inertial Signals in it or in its 'UCI HAR Dataset'"):
        load(tmp_path)


# HAPT


def test_hapt(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.environ.get("EDGE_LSTM_DATA") or SHARED_DATA)
    if not (folder / "hapt_windows.npz").is_file():
        pytest.skip(f"no hapt_windows.npz in {folder}; set EDGE_LSTM_DATA")
    monkeypatch.setenv("EDGE_LSTM_DATA", str(folder))
    data = load("hapt")
    assert (data.x.shape, data.rate_hz) == ((10278, 128, 9), 50.0)
    training, test = train_test(data)
    assert (len(training), len(test)) == (7338, 2940)
    assert training.groups is not None
    assert test.groups is not None
    assert sorted(set(test.groups.tolist())) == [2, 4, 9, 10, 12, 13, 18, 20, 24]  # the official test volunteers
    standing = training.x[training.y == data.classes.index("standing")]
    gravity = np.linalg.norm(standing[:, :, 6:].mean(1), axis=1)
    assert gravity.mean() == pytest.approx(1.0, abs=0.05)  # total_acc is in g; phones are calibrated to some percent


def test_hapt_of_another_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_LSTM_DATA", str(tmp_path))
    np.savez(tmp_path / "hapt_windows.npz", x=np.zeros((2, 3, 4)), y=np.array([0, 1]))
    with refused(".*hapt_windows.npz: HAPT has 9 channels and 6 classes, found 4 and 2"):
        load("hapt")


# any .npz


def saved(path: Path, **arrays: Any) -> Path:
    plain = {"x": np.ones((2, 3, 4)), "y": np.array([0, 1])} | arrays
    np.savez(path / "mine.npz", **{key: value for key, value in plain.items() if value is not None})
    return path / "mine.npz"


def test_npz_with_x_and_y_only(tmp_path: Path) -> None:
    data = load(saved(tmp_path))
    assert (data.name, data.classes, data.rate_hz) == ("mine", ("0", "1"), None)
    assert (data.channels, data.units) == (("ch0", "ch1", "ch2", "ch3"), ("", "", "", ""))
    assert (data.groups, data.is_test) == (None, None)


def test_npz_with_everything(tmp_path: Path) -> None:
    data = load(
        saved(
            tmp_path,
            x=None,
            x_q=np.full((2, 3, 4), 3, dtype=np.int16),
            scale=np.array([0.5, 1, 2, 4], dtype=np.float32),
            y=np.array(["walk", "rest"]),
            subject=np.array(["eve", "bob"]),
            is_test=np.array([True, False]),
            classes=np.array(["rest", "walk", "run"]),
            channels=np.array(["a", "b", "c", "d"]),
            units=np.array(["g"] * 4),
            rate_hz=np.array(25),
            name=np.array("walks"),
        )
    )
    assert data.x[0, 0].tolist() == [1.5, 3, 6, 12]
    assert (data.y.tolist(), data.classes) == ([1, 0], ("rest", "walk", "run"))
    assert data.groups is not None
    assert data.is_test is not None
    assert (data.groups.tolist(), data.is_test.tolist()) == ([1, 0], [True, False])
    assert (data.name, data.rate_hz, data.channels) == ("walks", 25.0, ("a", "b", "c", "d"))


def test_npz_with_class_names_in_y(tmp_path: Path) -> None:
    data = load(saved(tmp_path, y=np.array(["walk", "rest"])))
    assert (data.y.tolist(), data.classes) == ([1, 0], ("rest", "walk"))


def test_npz_of_a_regression(tmp_path: Path) -> None:
    data = load(saved(tmp_path, y=np.array([0.5, -1.5])))
    assert (data.task, data.y.tolist(), data.classes) == ("regress", [[0.5], [-1.5]], ("out0",))
    data = load(saved(tmp_path, y=np.ones((2, 3, 2)), outputs=np.array(["pulse", "speed"]), lengths=np.array([3, 1])))
    assert (data.task, data.target_steps, data.classes) == ("regress", 3, ("pulse", "speed"))
    assert data.lengths is not None
    assert data.lengths.tolist() == [3, 1]


def test_npz_with_a_class_for_each_step(tmp_path: Path) -> None:
    data = load(saved(tmp_path, y=np.array([["a", "b", "b"], ["b", "b", "a"]])))
    assert (data.task, data.target_steps, data.classes) == ("classify", 3, ("a", "b"))
    assert data.y.tolist() == [[0, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"y": None, "labels": np.array([0, 1])},
            "key labels is not known: found labels, x; accepted are x (or x_q with scale), y and, optionally, groups, "
            "subject, is_test, lengths, classes, outputs, channels, units, rate_hz, name, licence, source",
        ),
        ({"y": None}, "needed x and y, found x; accepted are x (or x_q with scale), y and, optionally, ..."),
        ({"x": None}, "needed x and y, found y; accepted are ..."),
        ({"x": None, "x_q": np.ones((2, 3, 4), dtype=np.int8)}, "needed x and y, found x_q, y; accepted are ..."),
        ({"scale": np.ones(4)}, "x and scale can't both be given"),
        ({"groups": np.array([1, 2]), "subject": np.array([1, 2])}, "groups and subject can't both be given"),
        ({"x": np.ones((2, 3))}, "x must have shape (windows, time, channels), found (2, 3)"),
        ({"y": np.array([0, 10**9])}, "y must count classes from 0, found 1000000000 among 2 windows"),
        ({"y": np.array(["a", "b"]), "classes": np.array(["a"])}, "y holds 'b', which is none of the classes a"),
        ({"classes": np.array([1, 2])}, "classes must be texts of shape (n,), found int64 of shape (2,)"),
        (
            {"y": np.array([0.0, 1.0]), "classes": np.array(["a"])},
            "classes can't be given where y holds floats; its names are outputs",
        ),
        ({"outputs": np.array(["a"])}, "outputs can't be given where y holds no floats; its names are classes"),
        ({"name": np.array(["a", "b"])}, "name must be one text, found <U1 of shape (2,)"),
        ({"rate_hz": np.array("fast")}, "rate_hz must be one number, found <U4 of shape ()"),
        (
            {"x": None, "x_q": np.ones((2, 3, 4)), "scale": np.ones(4)},
            "x_q must be integers and scale floats, found float64 and float64",
        ),
        (
            {"x": None, "x_q": np.ones((2, 3, 4), dtype=np.int8), "scale": np.ones(3)},
            "scale must have shape (4,), one per channel, found (3,)",
        ),
    ],
)
def test_npz_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = saved(tmp_path, **arrays)
    with refused(re.escape(f"{path}: {message}").replace(r"\.\.\.", ".*")):
        load(path)


def test_npz_samples_must_be_finite(tmp_path: Path) -> None:
    x = np.ones((2, 3, 4))
    x[1, 2, 3] = np.nan
    with refused("mine: x must be finite in float32, found nan in window 1, step 2, channel 3"):
        load(saved(tmp_path, x=x))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was run",))


def test_hostile_npz_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.array([Bomb()], dtype=object))
    with refused(f"{path}: can't be read as an .npz file of plain arrays: Object arrays cannot be loaded .*"):
        load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with refused(f"{path}: can't be read as an .npz file of plain arrays: .*"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", pickle.dumps(Bomb()))
    with refused(f"{path}: member x is not an array"):
        load(path)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': ((2,)"  # left open: NumPy's tokenizer raises
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with refused(f"{path}: can't be read as an .npz file of plain arrays: .*"):
        load(path)


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with refused(f"{path}: is a single array \\(.npy\\), needed an .npz file"):
        load(path)


def a_file() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, x=np.ones((2, 3, 4)), y=np.array([0, 1]), classes=np.array(["a", "b"]))
    return file.getvalue()


GOOD_FILE = a_file()


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD_FILE) - 1), st.integers(0, 255)), max_size=8),
    st.integers(0, len(GOOD_FILE)),
)
def test_damaged_npz_is_an_error_and_no_crash(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], end: int
) -> None:
    content = bytearray(GOOD_FILE)
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content if end % 2 else content[:end])
    try:
        data = load(path)
    except EdgeLstmError:
        return
    assert np.isfinite(data.x).all()
