"""Random models and inputs: no build of the generated C differs from the NumPy runtime; see ``differential``."""

from __future__ import annotations

import shutil
from typing import Any

import differential
import numpy as np
import pytest
from differential import BUILDS, SANITIZED, WINDOWS, compared, main, random_model, windows_of

from edge_lstm.execution import Execution
from edge_lstm.integer_model import IntegerModel

FEW = ("gcc -O2", "clang -O3", "gcc -m32 -O2")


@pytest.mark.parametrize("number", [1000, 1001, 1002, 1012])
def test_a_few_models_in_a_few_builds(number: int) -> None:
    builds = {"sanitizers": SANITIZED, FEW[number % 3]: BUILDS[FEW[number % 3]]}
    report = compared(number, builds, core="")
    assert report.faults == []
    assert set(report.pairs) | set(report.skipped) == set(builds)
    if report.skipped:
        pytest.skip(f"no compiler for {', '.join(report.skipped)}")


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("number", [168, 220, 1003])
def test_a_model_on_a_core(number: int, core: str) -> None:
    """168 has a saturation from a positive number on; 220 a gain in the very loop that makes what it is a gain of."""
    report = compared(number, {}, core=core)
    assert report.faults == []
    assert list(report.pairs.values()) == [WINDOWS]


def test_inputs_reach_both_ends_and_are_all_different() -> None:
    for number in (0, 12):  # a network and a graph
        model = random_model(number)
        x, lengths = windows_of(model, number)
        assert (x.min(), x.max()) == (-model.input_format.max, model.input_format.max)
        assert len(x) == WINDOWS
        assert (lengths is None) == (not model.signature.variable)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_planted_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = differential.execute

    def wrong(model: IntegerModel, x: np.ndarray, **options: Any) -> Execution:
        """What NumPy gives where the first window is another."""
        return execute(model, np.concatenate([x[1:2], x[1:]]), **options)

    monkeypatch.setattr(differential, "execute", wrong)
    faults = compared(1003, {"gcc": SANITIZED}, core="").faults
    assert any(fault.startswith("model 1003, gcc: outputs scores differs in ") for fault in faults)


@pytest.mark.slow
def test_hundreds_of_models_in_all_builds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", "130", "--first", "2000"]) == 0
    assert "0 differences" in capsys.readouterr().out
