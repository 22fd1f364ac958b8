"""Verification: equal backends are equal, a planted difference is found where it was planted, floats are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm import backends, verification
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution
from edge_lstm.float_run import run_float
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.verification import Mismatch, verify

WINDOWS, STEPS, HIDDEN = 3, 5, 4
PAIR = ("numpy", "torch")


@pytest.fixture(scope="module")
def float_model(make_float_model: Callable[..., FloatModel]) -> FloatModel:
    return make_float_model("i=hard", hidden=HIDDEN, inputs=2, pooling="mean", steps=STEPS, classes=3)


@pytest.fixture(scope="module")
def x(float_model: FloatModel) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, 1, (WINDOWS, STEPS, 2))
    return float_model.mean + float_model.std * noise


@pytest.fixture(scope="module")
def model(float_model: FloatModel, x: np.ndarray) -> QuantizedModel:
    return quantize(float_model, calibration=x)


Change = Callable[[dict[str, np.ndarray]], None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Change], None]:
    """Makes a backend change the integers that it traced."""
    changes: dict[str, Change] = {}

    def altered(name: str) -> Any:
        def run(*arguments: Any, **options: Any) -> Execution:
            execution = backends.backend(name)(*arguments, **options)
            trace = {k: np.array(v) for k, v in execution.trace.items()}
            changes.get(name, lambda _: None)(trace)
            return replace(execution, trace=trace)

        return run

    monkeypatch.setattr(verification, "backend", altered)
    return changes.__setitem__


def sizes(model: QuantizedModel, x: np.ndarray, trace: Any) -> int:
    return sum(v.size for v in execute(model, model.quantize_input(x), trace=trace).trace.values())


@pytest.mark.parametrize("trace", ["states", "all"])
def test_equal_backends_are_equal_in_every_integer(trace: Any, model: QuantizedModel, x: np.ndarray) -> None:
    told: list[str] = []
    names = ("numpy", "torch", "onnxruntime", "c")
    result = verify(model, x, backends=names, trace=trace, progress=told.append)
    assert (result.equal, result.mismatches, result.first_mismatch) == (True, 0, None)
    assert (result.backends, result.windows, result.steps) == (names, WINDOWS, STEPS)
    assert result.compared == 3 * sizes(model, x, trace)
    assert told == list(names)


def test_a_planted_difference_is_found_with_its_place(
    model: QuantizedModel, x: np.ndarray, plant: Callable[[str, Change], None]
) -> None:
    expected = int(execute(model, model.quantize_input(x), trace="states").trace["lstm0.c"][2, 3, 1])

    def change(trace: dict[str, np.ndarray]) -> None:
        trace["lstm0.c"][2, 3, 1] += 7
        trace["lstm0.c"][0, 4, 0] += 1  # a later step, though of an earlier window
        trace["scores"][2, 4, 0] -= 1

    plant("torch", change)
    result = verify(model, x, backends=("numpy", "c", "torch"))
    assert (result.equal, result.mismatches) == (False, 3)
    assert result.first_mismatch == Mismatch("torch", "lstm0.c", 2, 3, 1, expected, expected + 7)
    assert str(result.first_mismatch) == (
        f"torch: lstm0.c, window 2, step 3, unit 1 is {expected + 7}, and {expected} in the first backend"
    )


def test_the_first_mismatch_is_the_cause_and_not_what_follows_from_it(
    model: QuantizedModel, x: np.ndarray, plant: Callable[[str, Change], None]
) -> None:
    """Of the differences of one step: the one that the Program computes first."""

    def change(trace: dict[str, np.ndarray]) -> None:
        for name in ("scores", "lstm0.h", "lstm0.c", "pool.p", "lstm0.c_next", "lstm0.f_index", "lstm0.f"):
            trace[name][1, 2, :] += 1
        trace["lstm0.a_g"][0, 3, 0] += 1

    plant("torch", change)
    first = verify(model, x, backends=PAIR, trace="all").first_mismatch
    assert first is not None
    assert (first.value, first.window, first.step, first.unit) == ("lstm0.f_index", 1, 2, 0)


def test_the_first_of_several_wrong_backends_is_named_and_all_are_counted(
    model: QuantizedModel, x: np.ndarray, plant: Callable[[str, Change], None]
) -> None:
    def change(trace: dict[str, np.ndarray]) -> None:
        trace["lstm0.h"][:] += 1

    plant("torch", change)
    plant("c", change)
    result = verify(model, x, backends=("numpy", "c", "torch"))
    assert result.mismatches == 2 * WINDOWS * STEPS * HIDDEN
    assert result.first_mismatch is not None
    assert result.first_mismatch.backend == "c"


def test_a_backend_that_gives_another_shape_is_an_error(
    model: QuantizedModel, x: np.ndarray, plant: Callable[[str, Change], None]
) -> None:
    def change(trace: dict[str, np.ndarray]) -> None:
        trace["lstm0.h"] = trace["lstm0.h"][:, :, 1:]

    plant("torch", change)
    with pytest.raises(EdgeLstmError, match=r"^torch: lstm0.h has shape \(3, 5, 3\), and must have \(3, 5, 4\)$"):
        verify(model, x, backends=PAIR)


def test_scores_are_compared_with_float_ones(model: QuantizedModel, float_model: FloatModel, x: np.ndarray) -> None:
    integer = real_outputs(model, execute(model, model.quantize_input(x)).outputs)["scores"]
    difference = integer - run_float(float_model, x)["scores"]
    result = verify(model, x, backends=PAIR, float_model=float_model).float
    assert result is not None
    assert result.max_abs == np.abs(difference).max()
    assert result.rms == pytest.approx(np.sqrt(np.mean(np.square(difference))))
    shifted = verify(model, x, backends=PAIR, float_scores=lambda _: np.roll(integer, 1, axis=1)).float
    assert shifted is not None
    assert shifted.agreement == 0.0
    same = verify(model, x, backends=PAIR, float_scores=lambda _: integer).float
    assert same is not None
    assert (same.max_abs, same.rms, same.agreement) == (0.0, 0.0, 1.0)


def test_the_keys_of_the_json_are_stable(model: QuantizedModel, float_model: FloatModel, x: np.ndarray) -> None:
    content = json.loads(json.dumps(verify(model, x, backends=PAIR, float_model=float_model).to_json()))
    assert set(content) >= {"equal", "compared", "mismatches", "backends", "first_mismatch", "float"}
    assert set(content["float"]) >= {"max_abs", "rms", "agreement"}
    assert (content["equal"], content["first_mismatch"], content["backends"]) == (True, None, list(PAIR))


def test_the_keys_of_a_mismatch_are_stable(
    model: QuantizedModel, x: np.ndarray, plant: Callable[[str, Change], None]
) -> None:
    def change(trace: dict[str, np.ndarray]) -> None:
        trace["class_index"][0, 0, 0] = 99

    plant("torch", change)
    content = json.loads(json.dumps(verify(model, x, backends=PAIR).to_json()))
    assert (content["equal"], content["mismatches"], content["float"]) == (False, 1, None)
    assert set(content["first_mismatch"]) == {"backend", "value", "window", "step", "unit", "expected", "found"}
    assert content["first_mismatch"]["found"] == 99


@pytest.mark.parametrize("shape", [(0, 5, 2), (3, 0, 2), (5, 2)])
def test_samples_without_windows_or_steps_are_refused(model: QuantizedModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(EdgeLstmError, match=r"^samples have shape \(.*\); accepted is \(windows, steps, channels\)$"):
        verify(model, np.zeros(shape), backends=PAIR)


def test_one_backend_is_no_comparison(model: QuantizedModel, x: np.ndarray) -> None:
    with pytest.raises(EdgeLstmError, match=r"^a comparison takes two backends or more; accepted are numpy, "):
        verify(model, x, backends=("c",))
