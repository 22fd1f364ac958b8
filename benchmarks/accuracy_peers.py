"""What others published for the data sets of the accuracy benchmark. Read at the source; not run by us."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """A published figure.

    Attributes:
        data: Our name of the data set it stands beside.
        model: Theirs.
        accuracy: As printed, in %; or what it is where it is no accuracy.
        size: As printed.
        source: Where.
        year: When.
        differs: What is not as here.
    """

    data: str
    model: str
    accuracy: str
    size: str
    source: str
    year: int
    differs: str = ""


_FASTGRNN = "Kusupati et al., FastGRNN, NeurIPS, table 3, arXiv:1901.02358"
_EMI_RNN = "Dennis et al., EMI-RNN, NeurIPS, table 1"
_OFFICIAL = "UCI HAR's own windows"
PEERS: tuple[Peer, ...] = (
    Peer("hapt-2", "LSTM", "93.65", "74 KB", _FASTGRNN, 2018, f"{_OFFICIAL}; float"),
    Peer("hapt-2", "GRU", "93.62", "71 KB", _FASTGRNN, 2018, f"{_OFFICIAL}; float"),
    Peer("hapt-2", "UGRNN", "94.53", "37 KB", _FASTGRNN, 2018, f"{_OFFICIAL}; float"),
    Peer("hapt-2", "FastGRNN-LSQ", "95.38", "29 KB", _FASTGRNN, 2018, f"{_OFFICIAL}; float"),
    Peer("hapt-2", "FastGRNN", "95.59", "3 KB", _FASTGRNN, 2018, f"{_OFFICIAL}; low rank, sparse, bytes"),
    Peer("hapt", "LSTM of 8 units", "89.54", "", _EMI_RNN, 2018, f"{_OFFICIAL}; float"),
    Peer("hapt", "LSTM of 16 units", "92.90", "", _EMI_RNN, 2018, f"{_OFFICIAL}; float"),
    Peer("hapt", "LSTM of 32 units", "93.04", "", _EMI_RNN, 2018, f"{_OFFICIAL}; float"),
    Peer("hapt", "MicroBi-ConvLSTM", "macro F1 93.41", "23.0 KB", "arXiv:2602.06523", 2026, _OFFICIAL),
    Peer(
        "hapt",
        "FastGRNN, Q15",
        "macro F1 85.3 ± 10.7 of 5 seeds (91.8 of one)",
        "566 bytes of weights",
        "Kizilates, arXiv:2606.17249",
        2026,
        "its own windows of HAPT",
    ),
)
