"""Every LSTM, GRU and RNN case of onnx's own backend tests, in float."""

from __future__ import annotations

import numpy as np
import pytest
from node_cases import CASES, imported

LISTED = 18


def test_there_are_as_many_cases_as_the_table_of_the_issue() -> None:
    assert len(CASES) >= LISTED


@pytest.mark.parametrize("name", CASES)
def test_float_outputs_are_those_of_the_case(name: str) -> None:
    case = CASES[name]
    model, x = imported(case)
    found = model.run({"X": x})
    _, wanted = case.data_sets[0]
    assert [*found] == [o.name for o in case.model.graph.output]
    for value, expected in zip(found.values(), wanted, strict=True):
        assert value.shape == expected.shape
        np.testing.assert_allclose(value, expected, rtol=case.rtol, atol=case.atol)
