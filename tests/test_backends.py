"""The backends against each other, exactly: every intermediate of every step, on random models and extreme inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.backends import DEFAULT, NAMES, backend, checked_names
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute

Make = Callable[..., QuantizedModel]
OTHERS = ("torch", "onnxruntime", "c", "cortex-m0plus", "cortex-m4")

# gates; hidden, inputs, layers; pooling; steps of the window and of the run
MODELS: dict[str, tuple[str, int, int, int, str, int, int]] = {
    "soft": ("soft", 8, 3, 1, "last", 12, 20),
    "soft_two_mean": ("soft", 5, 1, 2, "mean", 7, 9),
    "hard": ("hard", 17, 5, 1, "mean", 20, 20),
    "hard_two_last": ("hard", 3, 1, 2, "last", 5, 6),
    "hard_one_unit": ("hard", 1, 1, 1, "mean", 3, 5),
    "i": ("i=hard", 3, 5, 1, "mean", 9, 11),
    "f": ("f=hard", 3, 2, 2, "last", 9, 9),
    "o": ("o=hard", 17, 1, 1, "last", 4, 4),
    "i_f": ("i=hard,f=hard", 1, 5, 2, "mean", 6, 8),
    "i_o": ("i=hard,o=hard", 5, 3, 2, "last", 6, 6),
    "f_o": ("f=hard,o=hard", 4, 5, 1, "mean", 1, 1),
    "soft_one_unit": ("soft", 1, 1, 1, "last", 1, 1),
}


def model_of(name: str, make_quantized: Make) -> QuantizedModel:
    gates, hidden, inputs, layers, pooling, steps, _ = MODELS[name]
    options: dict[str, Any] = {"hidden": hidden, "inputs": inputs, "layers": layers, "pooling": pooling, "steps": steps}
    return make_quantized(gates, seed=list(MODELS).index(name), classes=2 + hidden % 3, **options)


def assert_equal(found: Execution, wanted: Execution) -> None:
    for part in ("trace", "outputs", "state"):
        here, there = getattr(found, part), getattr(wanted, part)
        assert set(here) == set(there), part
        for name, values in there.items():
            assert here[name].shape == values.shape, name
            assert np.issubdtype(here[name].dtype, np.int32), name
            assert np.array_equal(here[name], values), name


@pytest.mark.parametrize("name", MODELS)
def test_every_intermediate_is_the_same_in_every_backend(name: str, make_quantized: Make, make_windows: Any) -> None:
    model = model_of(name, make_quantized)
    x = make_windows(model, MODELS[name][-1], seed=5)
    reference = execute(model, x, trace="all")
    assert len(reference.trace) > 10
    for other in OTHERS:
        assert_equal(backend(other)(model, x, trace="all"), reference)


@pytest.mark.parametrize("other", ["numpy", *OTHERS])
def test_recording_nothing_or_only_states_changes_no_result(
    other: str, make_quantized: Make, make_windows: Any
) -> None:
    """The C of these two is the C that ships: it has no code that records."""
    model = make_quantized("i=hard,o=hard", hidden=5, inputs=2, layers=2, pooling="mean", steps=5, seed=3)
    x = make_windows(model, 6)
    everything = execute(model, x, trace="all")
    states, nothing = backend(other)(model, x, trace="states"), backend(other)(model, x)
    assert set(states.trace) == {"lstm0.h", "lstm0.c", "lstm1.h", "lstm1.c", "pool.p", "scores", "class_index"}
    for name, values in states.trace.items():
        assert np.array_equal(values, everything.trace[name]), name
    assert_equal(Execution(states.outputs, states.state), Execution(everything.outputs, everything.state))
    assert_equal(nothing, Execution(everything.outputs, everything.state))


@pytest.mark.parametrize("name", ["numpy", "torch", "onnxruntime", "c", "cortex-m4"])
def test_single_steps_are_one_run(name: str, make_quantized: Make, make_windows: Any) -> None:
    model = make_quantized("f=hard", hidden=5, inputs=2, layers=2, pooling="mean", steps=4, seed=2)
    x = make_windows(model, 3, seed=8)
    whole, state = backend(name)(model, x, trace="states"), None
    for step in range(x.shape[1]):
        part = backend(name)(model, x[:, step : step + 1], state=state)
        state = part.state
        for value, integers in {**part.state, **part.outputs}.items():
            assert np.array_equal(integers, whole.trace[value][:, step]), (value, step)
    assert_equal(part, Execution(whole.outputs, whole.state))


def test_more_windows_than_numpy_computes_at_a_time(
    make_quantized: Make, make_windows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_quantized("hard", hidden=3, inputs=2, pooling="mean")
    x = make_windows(model, 5)
    start = execute(model, x).state
    whole = execute(model, x, state=start, trace="all")
    monkeypatch.setattr("edge_lstm.runtime.BLOCK", 3)
    assert_equal(execute(model, x, state=start, trace="all"), whole)


def shape_refusal(found: str) -> str:
    return f"input integers are {found}; m takes integers (windows, steps, 1), none 0"


@pytest.mark.parametrize("name", ["numpy", *OTHERS])
@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (np.full((1, 2, 1), 128), None, "input integers reach from 128 to 128; accepted are -127 to 127"),
        (np.full((1, 2, 1), -128), None, "input integers reach from -128 to -128; accepted are -127 to 127"),
        (np.zeros((1, 2, 2), int), None, shape_refusal("int64 (1, 2, 2)")),
        (np.zeros((1, 0, 1), int), None, shape_refusal("int64 (1, 0, 1)")),
        (np.zeros((0, 2, 1), int), None, shape_refusal("int64 (0, 2, 1)")),
        (np.zeros((1, 2, 1)), None, shape_refusal("float64 (1, 2, 1)")),
        (None, {"lstm0.h": (1, 2, 0)}, "the state has lstm0.h; it must have lstm0.c, lstm0.h"),
        (
            None,
            {"lstm0.h": (1, 2, -128), "lstm0.c": (1, 2, 0)},
            "state lstm0.h holds values from -128 to -128; accepted are -127 to 127",
        ),
        (
            None,
            {"lstm0.h": (1, 2, 0), "lstm0.c": (1, 3, 0)},
            "state lstm0.c is int32 (1, 3), and must be integers (1, 2)",
        ),
    ],
    ids=["high", "low", "channels", "steps", "windows", "float", "missing", "range", "shape"],
)
def test_bad_input_is_refused_alike_by_all(name: str, x: Any, state: Any, message: str, make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=2, inputs=1)
    states = state and {k: np.full((rows, n), v, np.int32) for k, (rows, n, v) in state.items()}
    with pytest.raises(EdgeLstmError) as error:
        backend(name)(model, np.zeros((1, 2, 1), np.int32) if x is None else x, state=states)
    assert str(error.value) == message


def test_names_of_the_backends() -> None:
    assert set(DEFAULT) <= set(NAMES)
    assert checked_names(["numpy", "device", "c", "cortex-m4", "numpy"]) == ("numpy", "cortex-m4", "c")
    assert backend("device").args == backend("cortex-m4").args  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["numpy", "fpga"], f"no backend 'fpga'; accepted are {', '.join(NAMES)} and device"),
        (["numpy", "numpy"], f"a comparison takes two backends or more; accepted are {', '.join(NAMES)}"),
        ([], f"a comparison takes two backends or more; accepted are {', '.join(NAMES)}"),
    ],
)
def test_unknown_or_too_few_backends_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(EdgeLstmError) as error:
        checked_names(names)
    assert str(error.value) == message


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(EdgeLstmError, match=r"^no backend 'fpga'; accepted are numpy, onnxruntime, c, "):
        backend("fpga")
