"""`edge_lstm.open_gates`: weights of penalties, and the targets that they are found for."""

import pytest

from edge_lstm.cells import CELLS, cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.open_gates import BUDGET, GAIN, LARGEST, OpenGates, Size, check_budget, parse_weights

LSTM = Size(blocks=4, samples=9, fed=0, units=32)
STEPS = 1000


def test_weights_are_read_by_gate_or_for_all():
    assert parse_weights("open_penalty", "o=0.3, i=1", ("i", "f", "o"), 10) == {"o": 0.3, "i": 1.0}
    assert parse_weights("open_penalty", "0.5", ("i", "o"), 10) == {"i": 0.5, "o": 0.5}
    assert parse_weights("open_penalty", "", ("i",), 10) == {}


@pytest.mark.parametrize("text", ["o", "o=", "=1", "x=1", "o=11", "o=-1", "o=nan", "o=1,o=2", "o=1,,", "1,o=1"])
def test_other_weights_are_refused(text):
    with pytest.raises(EdgeLstmError) as caught:
        parse_weights("open_rate", text, ("i", "f", "o"), 10)
    said = f"open_rate is {text!r}; accepted are gates i, f, o with numbers from 0 to 10, such as o=0.25"
    assert str(caught.value) == said


def test_a_cell_without_gates_has_no_weights():
    with pytest.raises(EdgeLstmError, match="accepted are gates none with numbers from 0 to 1,"):
        parse_weights("open_rate", "0.5", (), 1)


def test_given_weights_stay():
    gates = OpenGates({"o": 0.3}, {}, 0.0, [LSTM], STEPS)
    gates.observe({"o": 0.9})
    assert gates.weights == {"o": 0.3}


def test_the_multiplier_of_a_target_follows_what_is_above_it():
    gates = OpenGates({}, {"o": 0.25}, 0.0, [LSTM], STEPS)
    assert gates.weights == {"o": 0.0}
    gates.observe({"o": 0.75})
    assert gates.weights["o"] == pytest.approx(GAIN / STEPS * 0.5)
    for _ in range(10):
        gates.observe({"o": 0.0})
    assert gates.weights == {"o": 0.0}  # never negative
    for _ in range(int(2 * STEPS * LARGEST / GAIN)):
        gates.observe({"o": 1.0})
    assert gates.weights == {"o": LARGEST}


def test_executed_products_are_all_with_open_gates_and_those_of_the_samples_with_closed_ones():
    assert LSTM.executed(1, 1) == LSTM.dense == 4 * 32 * 41
    assert LSTM.executed(0, 0) == 3 * 32 * 9
    upper = Size(blocks=4, samples=0, fed=32, units=16)
    assert upper.executed(0.5, 0.25) == 3.5 * 16 * 0.25 * 48
    gates = OpenGates({}, {}, 0.3, [LSTM, upper], STEPS)
    assert gates.share({"i": 1.0, "o": 1.0}) == 1.0


@pytest.mark.parametrize("sizes", [[LSTM], [LSTM, Size(4, 0, 32, 16)], [Size(3, 9, 0, 20)]])
def test_weights_of_a_budget_are_derivatives_of_the_share(sizes):
    gates = OpenGates({}, {}, 0.1, sizes, STEPS)
    at, tiny = {"i": 0.6, "o": 0.4}, 1e-6
    gates.observe(at)
    multiplier = gates.moving[BUDGET]
    assert multiplier == pytest.approx(GAIN / STEPS * (gates.share(at) - 0.1))
    for gate, weight in gates.weights.items():
        rise = (gates.share(at | {gate: at[gate] + tiny}) - gates.share(at)) / tiny
        assert weight == pytest.approx(multiplier * rise, rel=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_a_budget_is_for_cells_whose_gates_leave_out_products(name):
    allowed = ["lstm", "lstm-1997", "peephole"]
    if name in allowed:
        check_budget(cell(name))
        return
    with pytest.raises(EdgeLstmError) as caught:
        check_budget(cell(name))
    said = f"budget_macs with a {name}: accepted are cells with gates i and o: {', '.join(allowed)}"
    assert str(caught.value) == said
