"""The Free Spoken Digit Dataset: "zero" to "nine", 50 times each from 6 speakers, at 8 kHz.

Z. Jackson et al., "Jakobovski/free-spoken-digit-dataset", https://doi.org/10.5281/zenodo.1342401.

A window is a recording as log-mel frames (`edge_lstm.data.log_mel`): 16 bands from 100 Hz to 4 kHz, 25 ms long, one
each 20 ms, so 50 in a second. Recordings have 6 to 113 frames, half of them 20 or fewer; `lengths` says how many. 17 of
the 3000 are cut to 50 frames (1 s).

How far a microphone was, and how it was set, is no matter of the word: a recording's mean level, over its frames and
bands, is taken from all of it, so that twice the amplitude gives the same. A device can do so once the word has ended,
and not frame by frame. What is after a recording's end is 0. Taking out the mean of each band (cepstral mean
normalization, B. S. Atal, "Effectiveness of linear prediction characteristics of the speech wave for automatic speaker
identification and verification", JASA 55(6), 1974) was worse in cross-validation, 54 against 66 % (soft gates, one
seed): which bands a word has is most of what so short a recording's mean says.

`fsdd` holds out two speakers, the last two in alphabetical order, since a model that has heard a speaker knows that
voice: 2000 recordings to train, 1000 to test. `fsdd-official` is the archive's own split, recordings 0 to 4 of each
digit and speaker, to compare with what others report: all its speakers are in training, so it has no subjects.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.dataset import Dataset, FloatArray, IntArray
from edge_lstm.data.log_mel import LogMel
from edge_lstm.data.members import Members
from edge_lstm.errors import EdgeLstmError

FILE = "fsdd_8khz.npz"
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FRONT_END = LogMel()
STEPS = 50
TEST_SPEAKERS = ("theo", "yweweler")


def read_spoken_digits(path: Path, *, official: bool = False) -> Dataset:
    """Read `fsdd_8khz.npz`: `audio` int16 (samples,), `offsets` (recordings + 1,), and of each recording `digit`,
    `speaker` (a name) and `is_test` (the official test part).

    Raises `EdgeLstmError`, naming the file, if it can't be read, lacks an array, or its arrays do not fit together.
    """
    members = Members(path)
    audio = members.take("audio", "integers", (None,))
    offsets = members.take("offsets", "integers", (None,)).astype(np.int64)
    recordings = len(offsets) - 1
    digit = members.take("digit", "integers", (recordings,))
    speaker = members.take("speaker", "texts", (recordings,))
    tested = members.take("is_test", "booleans", (recordings,))
    if audio.dtype != np.int16:
        raise EdgeLstmError(f"{path}: audio must be int16, found {audio.dtype}")
    _check_offsets(path, offsets, len(audio))
    x, lengths = _windows(audio, offsets)
    name = "fsdd-official" if official else "fsdd"
    return Dataset(
        name=name,
        x=x,
        y=digit,
        classes=CLASSES,
        channels=tuple(f"mel_{f:.0f}_hz" for f in FRONT_END.corners_hz[1:-1]),
        units=("dB",) * FRONT_END.bands,
        rate_hz=FRONT_END.frames_per_second,
        groups=None if official else np.unique(speaker, return_inverse=True)[1],
        is_test=tested if official else np.isin(speaker, TEST_SPEAKERS),
        lengths=lengths,
        licence="CC BY-SA 4.0",
        source="Free Spoken Digit Dataset, Jackson et al., https://doi.org/10.5281/zenodo.1342401",
    )


def _check_offsets(path: Path, offsets: IntArray, samples: int) -> None:
    """Recordings lie one after the other, each long enough for a frame: a file can't ask for more than it holds."""
    if len(offsets) < 2 or offsets[0] < 0 or offsets[-1] > samples:
        raise EdgeLstmError(
            f"{path}: offsets must be those of recordings among the {samples} samples, found {offsets[0]} to "
            f"{offsets[-1]} in {len(offsets)}"
        )
    short = np.diff(offsets) < FRONT_END.length
    if short.any():
        at = int(short.argmax())
        raise EdgeLstmError(
            f"{path}: a recording must have {FRONT_END.length} samples or more, "
            f"found {offsets[at + 1] - offsets[at]} in recording {at}"
        )


def _windows(audio: NDArray[np.int16], offsets: IntArray) -> tuple[FloatArray, IntArray]:
    """Frames (recordings, STEPS, bands) relative to the mean level of each recording, and how many of each count."""
    x = np.zeros((len(offsets) - 1, STEPS, FRONT_END.bands), dtype=np.float32)
    lengths = np.empty(len(x), dtype=np.int64)
    for k in range(len(x)):
        frames = FRONT_END(audio[offsets[k] : offsets[k + 1]], at_most=STEPS)
        x[k, : len(frames)] = frames - frames.mean()
        lengths[k] = len(frames)
    return x, lengths
