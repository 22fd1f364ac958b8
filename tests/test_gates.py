"""Gate specifications: read, written and refused."""

from __future__ import annotations

import itertools

import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import MODES, format_gates, parse_gates

GATES = ("i", "f", "o")
ACCEPTED = "accepted are soft, hard, three-level, hard-sigmoid"


@pytest.mark.parametrize("modes", list(itertools.product(MODES, repeat=3)), ids="-".join)
def test_what_is_written_is_read_back(modes: tuple[str, ...]) -> None:
    wanted = dict(zip(GATES, modes, strict=True))
    assert parse_gates(format_gates(wanted), GATES) == wanted


@pytest.mark.parametrize(
    ("spec", "modes"),
    [
        ("soft", ["soft", "soft", "soft"]),
        ("hard", ["hard", "hard", "hard"]),
        ("lut", ["soft", "soft", "soft"]),
        ("three-level", ["three-level", "three-level", "three-level"]),
        ("i=lut,o=hard-sigmoid", ["soft", "soft", "hard-sigmoid"]),
        ("f=hard", ["soft", "hard", "soft"]),
        (" o = hard , i=soft", ["soft", "soft", "hard"]),
    ],
)
def test_gates_that_a_list_leaves_out_are_soft(spec: str, modes: list[str]) -> None:
    assert list(parse_gates(spec, GATES).values()) == modes


def test_the_shortest_specification_is_written() -> None:
    assert format_gates(dict.fromkeys(GATES, "hard")) == "hard"
    assert format_gates({"i": "hard", "f": "soft", "o": "hard"}) == "i=hard,f=soft,o=hard"


def test_a_cell_without_gates_is_soft() -> None:
    for spec in ("soft", "lut", "hard"):
        assert parse_gates(spec, ()) == {}
    assert format_gates({}) == "soft"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("firm", f"gates 'firm': no gate mode 'firm'; {ACCEPTED}"),
        ("", f"gates '': no gate mode ''; {ACCEPTED}"),
        ("i=firm", f"gates 'i=firm': no gate mode 'firm'; {ACCEPTED}"),
        ("i=", f"gates 'i=': no gate mode ''; {ACCEPTED}"),
        ("Hard", f"gates 'Hard': no gate mode 'Hard'; {ACCEPTED}"),
        ("z=hard", "gates 'z=hard': no gate 'z'; this cell has i, f, o"),
        ("i=hard,", "gates 'i=hard,': no gate ''; this cell has i, f, o"),
    ],
)
def test_an_unknown_gate_or_mode_is_refused(spec: str, message: str) -> None:
    with pytest.raises(EdgeLstmError) as error:
        parse_gates(spec, GATES)
    assert str(error.value) == message


def test_a_gate_of_a_cell_without_gates_is_refused() -> None:
    with pytest.raises(EdgeLstmError) as error:
        parse_gates("i=hard", ())
    assert str(error.value) == "gates 'i=hard': no gate 'i'; this cell has no gates"
