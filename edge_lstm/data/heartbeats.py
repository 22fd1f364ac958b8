"""Heartbeats of the MIT-BIH arrhythmia database, to be told apart in patients that were never seen.

G. B. Moody, R. G. Mark, "The impact of the MIT-BIH arrhythmia database", IEEE EMB Magazine 20(3), 2001,
https://doi.org/10.13026/C2F305. A window is a beat of the first lead: 128 samples at 125 Hz, of which sample 48 is the
annotated R peak, less the window's median, since the baseline wanders. The intervals from the beat before and to the
next one tell an early beat from a normal one of the same form; they are two more channels, each constant over a window.
So a beat can be classified once the next one was found.

Patients differ in heart rate and electrode. So both are told relative to the patient's own: the lead in units of the
mean height (largest less smallest sample) of the last 32 beats, the intervals in units of the mean of the last 32
intervals from the beat before, this beat among them in both. That is what a device knows of its wearer: two running
means, and no label. (De Chazal et al., below, also give their classifier a record's mean interval, and that of ten
beats.)

Classes are N (normal and bundle branch block), S (supraventricular ectopic) and V (ventricular ectopic) of the AAMI's
EC57. Fusions of V and N (F, 802 beats) are V; unclassifiable beats (Q, 15 beats) are left out. So has M. Llamedo,
J. P. Martínez, "Heartbeat classification using feature selection driven by database generalization criteria", IEEE TBME
58(3), 2011, made three classes of five, two of which are too rare to train or to measure.

The split is between patients: records of DS1 train, those of DS2 test, paced ones are left out, as in P. de Chazal,
M. O'Dwyer, R. B. Reilly, "Automatic classification of heartbeats using ECG morphology and heartbeat interval features",
IEEE TBME 51(7), 2004. (Record 201 of DS1 and 202 of DS2 are of one man; this split has always passed that over.)

Nine of ten beats are N: a model that says nothing else has an accuracy of 89.0 % on DS2, and a macro F1 of 0.31. Report
both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_lstm.data.dataset import Dataset, FloatArray, IntArray, RealArray
from edge_lstm.data.members import Members
from edge_lstm.errors import EdgeLstmError

FILE = "mitbih_beats_125hz.npz"
CLASSES = ("normal", "supraventricular", "ventricular")
CHANNELS = ("lead_1", "rr_previous", "rr_next")
STEPS = 128
_CLASS_OF = {"N": 0, "S": 1, "V": 2, "F": 2}
_LEFT_OUT = "Q"
_INTERVALS_HZ = 360.0
_SHORTEST_S, _LONGEST_S = 0.2, 2.0  # 300 and 30 beats a minute; a longer interval has a pause in it, or a gap
_SHORTEST, _LONGEST = 0.3, 2.0  # of the running mean
_RUNNING = 32  # beats
_LOWEST_MV = 0.2  # of a running height: below it there is no beat but noise


def read_heartbeats(path: Path) -> Dataset:
    """Read `mitbih_beats_125hz.npz`: `X` int16 (beats, 128) in units of 1 / `adu_per_mV` mV, and of each beat `aami`
    (N, S, V, F or Q), `record`, `rr_prev360` and `rr_next360` (in 1/360 s; 0 where a record begins or ends), and `ds`
    (1 to train, 2 to test, 0 left out).

    Raises `EdgeLstmError`, naming the file, if it can't be read, lacks an array, or its arrays do not fit together.
    """
    members = Members(path)
    lead = members.take("X", "integers", (None, STEPS))
    beats = len(lead)
    letter = members.take("aami", "texts", (beats,))
    record = members.take("record", "integers", (beats,))
    previous, following = (members.take(key, "integers", (beats,)) for key in ("rr_prev360", "rr_next360"))
    part = members.take("ds", "integers", (beats,))
    per_mv = int(members.take("adu_per_mV", "integers", ()))
    if per_mv < 1:
        raise EdgeLstmError(f"{path}: adu_per_mV must be 1 or more, found {per_mv}")
    strange = ~np.isin(letter, [*_CLASS_OF, _LEFT_OUT])
    if strange.any():
        raise EdgeLstmError(f"{path}: aami must be N, S, V, F or Q, found {str(letter[strange][0])!r}")
    used = np.flatnonzero((part > 0) & (letter != _LEFT_OUT))
    if not used.size or (part > 2).any():
        raise EdgeLstmError(f"{path}: ds must be 0, 1 or 2, some of them not 0, found {np.unique(part)[:4].tolist()}")
    return Dataset(
        name="ecg",
        x=_windows(lead, previous, following, record, per_mv)[used],
        y=np.array([_CLASS_OF[str(one)] for one in letter[used]], dtype=np.int64),
        classes=CLASSES,
        channels=CHANNELS,
        units=("1", "1", "1"),
        rate_hz=125.0,
        groups=record[used],
        is_test=part[used] == 2,
        licence="ODC-By 1.0",
        source="MIT-BIH arrhythmia database, PhysioNet, Moody and Mark 2001, https://doi.org/10.13026/C2F305",
    )


def _windows(lead: IntArray, previous: IntArray, following: IntArray, record: IntArray, per_mv: int) -> FloatArray:
    """(beats, 128, 3), of all beats, each relative to those before it."""
    x = np.empty((*lead.shape, len(CHANNELS)), dtype=np.float32)
    heights = lead.max(axis=1).astype(np.float64) - lead.min(axis=1)
    height = running_mean(heights / per_mv, record, _RUNNING)
    level = (lead - np.median(lead, axis=1, keepdims=True)) / per_mv
    x[:, :, 0] = level / np.maximum(height, _LOWEST_MV)[:, None]
    intervals = _intervals_s(previous, following)
    usual = running_mean(intervals[:, 0], record, _RUNNING)
    x[:, :, 1:] = np.clip(intervals / usual[:, None], _SHORTEST, _LONGEST)[:, None]
    return x


def _intervals_s(previous: IntArray, following: IntArray) -> RealArray:
    """(beats, 2) in s, 0.2 to 2; where one is not known (a record's first and last beat) it is as the other."""
    both = np.stack([previous, following], axis=1)
    known = np.where(both > 0, both, both[:, ::-1])
    return np.clip(known / _INTERVALS_HZ, _SHORTEST_S, _LONGEST_S)


def running_mean(values: RealArray, record: IntArray, last: int) -> RealArray:
    """Of each beat, (beats,): the mean over so many beats of its record, the last of which it is; fewer at its begin.

    Args:
        values: (beats,), those of a record in the order of time.
        record: (beats,) which record.
        last: How many.
    """
    order = np.argsort(record, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(values[order])])
    end = np.arange(1, len(order) + 1)
    begin = np.maximum(np.searchsorted(record[order], record[order]), end - last)
    found = np.empty(len(order))
    found[order] = (total[end] - total[begin]) / (end - begin)
    return found
