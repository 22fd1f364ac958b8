"""Spoken digits and heartbeats: the real files where they are, and small ones that are not what they should be."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.data import Dataset, load, members, train_test
from edge_lstm.data.heartbeats import running_mean
from edge_lstm.data.log_mel import LogMel
from edge_lstm.errors import EdgeLstmError

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"


def real(name: str, file: str, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    folder = Path(os.environ.get("EDGE_LSTM_DATA") or SHARED_DATA)
    if not (folder / file).is_file():
        pytest.skip(f"no {file} in {folder}; set EDGE_LSTM_DATA")
    monkeypatch.setenv("EDGE_LSTM_DATA", str(folder))
    return load(name)


def stored(name: str, file: str, folder: Path, arrays: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Dataset:
    np.savez(folder / file, **{key: value for key, value in arrays.items() if value is not None})
    monkeypatch.setenv("EDGE_LSTM_DATA", str(folder))
    return load(name)


def test_names_that_need_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_LSTM_DATA", str(tmp_path))
    for name, file in (("fsdd", "fsdd_8khz.npz"), ("ecg", "mitbih_beats_125hz.npz"), ("hapt-2", "hapt_windows.npz")):
        with pytest.raises(
            EdgeLstmError, match=f"^{name}: no {re.escape(file)} in EDGE_LSTM_DATA={re.escape(str(tmp_path))}$"
        ):
            load(name)


# Spoken digits


def digits(**changes: Any) -> dict[str, Any]:
    """Four recordings of 200, 360, 9000 and 520 samples: 1, 2, 50 (cut) and 3 frames."""
    offsets = np.array([0, 200, 560, 9560, 10080], np.int32)
    audio = np.random.default_rng(0).integers(-1000, 1000, 10080).astype(np.int16)
    arrays: dict[str, Any] = {"audio": audio, "offsets": offsets, "digit": np.array([3, 1, 0, 9], np.uint8)}
    arrays["speaker"] = np.array(["yweweler", "george", "lucas", "george"])
    arrays["is_test"] = np.array([False, True, False, False])
    return arrays | changes


def test_spoken_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = digits()
    data = stored("fsdd", "fsdd_8khz.npz", tmp_path, arrays, monkeypatch)
    assert (data.x.shape, data.rate_hz, data.units[0]) == ((4, 50, 16), 50.0, "dB")
    assert data.lengths is not None
    assert data.groups is not None
    assert data.is_test is not None
    assert (data.lengths.tolist(), data.y.tolist()) == ([1, 2, 50, 3], [3, 1, 0, 9])
    assert (data.groups.tolist(), data.is_test.tolist()) == ([2, 0, 1, 0], [True, False, False, False])
    frames = LogMel()(arrays["audio"][9560:])
    assert np.array_equal(data.x[3, :3], frames - frames.mean())
    assert (data.x[~data.inside] == 0).all()
    official = load("fsdd-official")
    assert official.groups is None
    assert official.is_test is not None
    assert official.is_test.tolist() == [False, True, False, False]


def test_a_louder_recording_is_the_same_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = stored("fsdd", "fsdd_8khz.npz", tmp_path, digits(), monkeypatch)
    loud = stored("fsdd", "fsdd_8khz.npz", tmp_path, digits(audio=8 * digits()["audio"]), monkeypatch)
    np.testing.assert_allclose(loud.x, plain.x, atol=0.02)  # dB: of the floor of -90 dB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speaker": None}, "needed speaker, found audio, digit, is_test, offsets"),
        ({"audio": np.zeros(10080, np.int32)}, "audio must be int16, found int32"),
        ({"audio": np.zeros(10080)}, "audio must be integers, found float64"),
        ({"audio": np.zeros((2, 3), np.int16)}, "audio must have shape (n), found (2, 3)"),
        ({"digit": np.zeros(3, np.uint8)}, "digit must have shape (4), found (3,)"),
        (
            {"offsets": np.array([0, 200, 560, 9560, 10081])},
            "offsets must be those of recordings among the 10080 samples, found 0 to 10081 in 5",
        ),
        (
            {"offsets": np.array([-1, 200, 560, 9560, 10080])},
            "offsets must be those of recordings among the 10080 samples, found -1 to 10080 in 5",
        ),
        (
            {"offsets": np.array([0, 200, 560, 560, 10080])},
            "a recording must have 200 samples or more, found 0 in recording 2",
        ),
        (
            {"offsets": np.array([0, 9560, 560, 9560, 10080])},
            "a recording must have 200 samples or more, found -9000 in recording 1",
        ),
        ({"speaker": np.array([1, 2, 3, 4])}, "speaker must be texts, found int64"),
        ({"is_test": np.zeros(4, np.uint8)}, "is_test must be booleans, found uint8"),
    ],
)
def test_odd_spoken_digits_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgeLstmError, match=re.escape(message) + "$"):
        stored("fsdd", "fsdd_8khz.npz", tmp_path, digits(**changes), monkeypatch)


def test_a_digit_above_nine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EdgeLstmError, match=r"^fsdd: y must be an index into the 10 classes, found 10 in window 0$"):
        stored("fsdd", "fsdd_8khz.npz", tmp_path, digits(digit=np.full(4, 10, np.uint8)), monkeypatch)


def test_the_real_spoken_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = real("fsdd", "fsdd_8khz.npz", monkeypatch)
    training, test = train_test(data)
    assert (training.counts.tolist(), test.counts.tolist()) == ([200] * 10, [100] * 10)
    assert training.lengths is not None
    assert data.lengths is not None
    assert (data.lengths.min(), np.median(data.lengths), (data.lengths == 50).sum()) == (6, 20, 17)
    assert not set(np.unique(training.groups)) & set(np.unique(test.groups))  # type: ignore[arg-type]
    six, one = (training.x[training.y == digit][:, :5, 14].mean() for digit in (6, 1))
    assert six > one + 5  # dB at 3.6 kHz: a six begins with s, a one does not
    known, heard = train_test(load("fsdd-official"))
    assert (len(known), len(heard)) == (2700, 300)


# Heartbeats


def beats(**changes: Any) -> dict[str, Any]:
    """Six beats, of which a Q and one of a paced record are left out."""
    arrays: dict[str, Any] = {
        "X": np.arange(6 * 128, dtype=np.int16).reshape(6, 128),
        "aami": np.array(["N", "S", "V", "F", "Q", "N"]),
        "record": np.array([100, 100, 101, 101, 101, 102], np.uint8),
        "rr_prev360": np.array([0, 180, 360, 3600, 360, 360], np.int32),
        "rr_next360": np.array([180, 36, 360, 0, 360, 360], np.int32),
        "ds": np.array([2, 2, 1, 1, 1, 0], np.uint8),
        "adu_per_mV": np.array(200),
    }
    return arrays | changes


def test_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored("ecg", "mitbih_beats_125hz.npz", tmp_path, beats(), monkeypatch)
    assert (data.x.shape, data.rate_hz, data.units) == ((4, 128, 3), 125.0, ("1", "1", "1"))
    assert data.y.tolist() == [0, 1, 2, 2]
    assert data.groups is not None
    assert data.is_test is not None
    assert (data.groups.tolist(), data.is_test.tolist()) == ([100, 100, 101, 101], [True, True, False, False])
    np.testing.assert_allclose(data.x[1, :, 0], (np.arange(128) - 63.5) / 127, rtol=1e-6)  # its height is the mean
    # In s, where unknown as the other, 0.1 s and 10 s limited: 0.5, 0.5; 0.5, 0.2; 1, 1; 2, 2. The means are those of
    # the beats before in the record: 0.5, 0.5, 1 and 1.5.
    np.testing.assert_allclose(data.x[:, 0, 1:], [[1, 1], [1, 0.4], [1, 1], [4 / 3, 4 / 3]], rtol=1e-6)
    assert (data.x[:, :, 1:] == data.x[:, :1, 1:]).all()


def test_beats_are_relative_to_the_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another gain of the electrode, and another heart rate, change nothing."""
    plain = stored("ecg", "mitbih_beats_125hz.npz", tmp_path, beats(), monkeypatch)
    intervals = {key: np.minimum(beats()[key], 180) for key in ("rr_prev360", "rr_next360")}
    one = stored("ecg", "mitbih_beats_125hz.npz", tmp_path, beats(**intervals), monkeypatch)
    faster = {key: value * 2 for key, value in intervals.items()}
    other = stored("ecg", "mitbih_beats_125hz.npz", tmp_path, beats(X=3 * beats()["X"], **faster), monkeypatch)
    np.testing.assert_allclose(other.x[:, :, 0], plain.x[:, :, 0], rtol=1e-6)
    known = [0, 2, 3]  # the other's interval to the next is limited
    np.testing.assert_allclose(other.x[known], one.x[known], rtol=1e-6)


def test_running_means_are_of_a_record() -> None:
    values, record = np.array([1.0, 5.0, 3.0, 7.0, 8.0, 9.0]), np.array([7, 3, 7, 7, 3, 7])
    assert running_mean(values, record, 2).tolist() == [1, 5, 2, 5, 6.5, 8]
    assert running_mean(values, record, 9).tolist() == [1, 5, 2, 11 / 3, 6.5, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aami": None}, "needed aami, found X, adu_per_mV, ds, record, rr_next360, rr_prev360"),
        ({"X": np.zeros((6, 100), np.int16)}, "X must have shape (n, 128), found (6, 100)"),
        ({"X": np.zeros((6, 128), np.float32)}, "X must be integers, found float32"),
        ({"record": np.zeros(5, np.uint8)}, "record must have shape (6), found (5,)"),
        ({"adu_per_mV": np.array(0)}, "adu_per_mV must be 1 or more, found 0"),
        ({"aami": np.array(["N", "S", "V", "F", "Q", "X"])}, "aami must be N, S, V, F or Q, found 'X'"),
        ({"ds": np.zeros(6, np.uint8)}, "ds must be 0, 1 or 2, some of them not 0, found [0]"),
        ({"ds": np.full(6, 3)}, "ds must be 0, 1 or 2, some of them not 0, found [3]"),
    ],
)
def test_odd_heartbeats_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgeLstmError, match=re.escape(message) + "$"):
        stored("ecg", "mitbih_beats_125hz.npz", tmp_path, beats(**changes), monkeypatch)


def test_the_real_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    data = real("ecg", "mitbih_beats_125hz.npz", monkeypatch)
    training, test = train_test(data)
    assert (training.counts.tolist(), test.counts.tolist()) == (
        [45837, 943, 3788 + 414],
        [44236, 1837, 3220 + 388],
    )  # V, F
    assert training.groups is not None
    assert test.groups is not None
    assert (len(np.unique(training.groups)), len(np.unique(test.groups))) == (22, 22)
    assert not set(training.groups.tolist()) & set(test.groups.tolist())
    normal = training.x[training.y == 0]
    assert 46 <= np.median(np.abs(normal[:, :, 0]).argmax(axis=1)) <= 50  # the R peak
    early = training.x[training.y == 1][:, 0, 1].mean() / normal[:, 0, 1].mean()
    assert early < 0.9  # what "premature" says


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_BYTES", 10_000)
    with pytest.raises(EdgeLstmError, match=r"has more than 10000 bytes, which is the most accepted$"):
        stored("fsdd", "fsdd_8khz.npz", tmp_path, digits(), monkeypatch)


# Two classes


def test_har_2(monkeypatch: pytest.MonkeyPatch) -> None:
    six, two = real("hapt", "hapt_windows.npz", monkeypatch), real("hapt-2", "hapt_windows.npz", monkeypatch)
    assert (two.name, two.classes) == ("hapt-2", ("sitting_laying_upstairs", "standing_walking_downstairs"))
    first = {six.classes[k] for k in np.unique(six.labels[two.labels == 0])}
    assert first == {"sitting", "laying", "walking_upstairs"}
    assert np.array_equal(six.x, two.x)
    training, test = train_test(two)
    assert (training.counts.tolist(), test.counts.tolist()) == ([3752, 3586], [1492, 1448])
