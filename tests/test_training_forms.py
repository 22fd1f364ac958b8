"""Training of what is more than a class of a window: labels of steps, regressions, sequences, windows of any length."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edge_lstm import run_files, training
from edge_lstm.codec import digest
from edge_lstm.commands.train import command
from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError
from edge_lstm.evaluation import accuracy, errors, outputs, predictions
from edge_lstm.npz import read_arrays, write_arrays
from edge_lstm.report.results import read_results
from edge_lstm.run_writer import Run, liveliest_window, results
from edge_lstm.runtime import execute
from edge_lstm.storage import load
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import train

PLAIN = TrainOptions(gates="hard", hidden=8, epochs=20, epoch_windows=160, batch=16, validation=0.0)
QUICK = replace(PLAIN, hidden=4, epochs=2, epoch_windows=8, hard_from=0.0, quantized_from=0.5, validation=0.25)
EXACT = {"gain": 0.0, "offset": 0.0, "jitter": 0.0}


def named(x: Any, y: Any, **changes: Any) -> Dataset:
    """A data set of one channel."""
    names = tuple(f"k{k}" for k in range(int(np.max(y)) + 1 if np.asarray(y).dtype.kind == "i" else np.shape(y)[-1]))
    made: dict[str, Any] = {"name": "toy", "x": x, "y": y, "classes": names, "channels": ("a",), "units": ("",)}
    return Dataset(**{**made, **changes})


def future(seed: int, windows: int = 160, steps: int = 16) -> Dataset:
    """The label of a step is the sign of the next sample, of the last step that of its own."""
    rng = np.random.default_rng(seed)
    sign = rng.integers(0, 2, (windows, steps))
    x = (2 * sign - 1) * rng.uniform(0.5, 1.5, sign.shape)
    return named(x[..., None], np.concatenate([sign[:, 1:], sign[:, -1:]], axis=1))


def test_a_bidirectional_layer_learns_labels_that_depend_on_the_future_and_a_forward_one_does_not() -> None:
    data, test = future(0), future(1)
    both = train(data, replace(PLAIN, pooling="each", direction="bidirectional"))
    assert set(both.quantized.layers[1].modes.values()) == {"hard"}
    assert predictions(both.quantized, test).shape == (160, 16)
    assert accuracy(both.quantized, test) > 0.95
    forward = train(data, replace(PLAIN, pooling="each", epochs=10))
    assert accuracy(forward.quantized, test) < 0.6  # half, and the last step


def levels(seed: int, windows: int = 160, scale: float = 1.0, shift: float = 0.0) -> Dataset:
    """The targets are the level about which two channels vary, and a sum of both."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(-2, 2, (windows, 1, 2))
    y = np.stack([4 * level[:, 0, 0], 3 * level[:, 0, 0] - 2 * level[:, 0, 1]], axis=1)
    x = level + rng.normal(0, 0.5, (windows, 15, 2))
    return named(x, shift + scale * y, channels=("a", "b"), units=("", ""))


def test_a_regression_learns_targets_whatever_their_unit() -> None:
    options = replace(PLAIN, **EXACT, epochs=14, validation=0.2)
    plain = train(levels(0), options)
    found = errors(plain.quantized, levels(1))
    assert found.r2 > 0.9
    assert found.r2 == pytest.approx(1 - found.mse / levels(1).y.var(), abs=0.02)
    assert 0 < found.mae < np.sqrt(found.mse)
    other = train(levels(0, scale=1e-3, shift=0.05), replace(options))
    assert errors(other.quantized, levels(1, scale=1e-3, shift=0.05)).r2 > 0.9
    assert [e.r2 for e in plain.epochs] == pytest.approx([e.r2 for e in other.epochs], abs=0.1)
    assert plain.best_epoch == 1 + int(np.argmax([e.r2 if e.phase == "quantized" else -np.inf for e in plain.epochs]))
    assert [e.accuracy for e in plain.epochs] == [None] * len(plain.epochs)


def test_a_decoder_continues_a_line() -> None:
    rng = np.random.default_rng(0)
    start, slope = rng.normal(30, 10, 200), rng.normal(0, 1, 200)
    v = (start[:, None] + slope[:, None] * np.arange(14))[..., None]
    data, test = named(v[:160, :8], v[:160, 8:]), named(v[160:, :8], v[160:, 8:])
    trained = train(data, replace(PLAIN, **EXACT, gates="soft", pooling="last", decoder=6))
    assert outputs(trained.quantized, test).shape == (40, 6, 1)
    assert errors(trained.quantized, test).r2 > 0.95


def ragged(seed: int, windows: int = 120) -> Dataset:
    """Windows of 3 to 14 steps, whose class is that of their last sample; padding is zero."""
    rng = np.random.default_rng(seed)
    sign, lengths = rng.integers(0, 2, (windows, 14)), rng.integers(3, 15, windows)
    x = np.where(np.arange(14) < lengths[:, None], (2 * sign - 1) * rng.uniform(0.5, 1.5, sign.shape), 0.0)
    return named(x[..., None], sign[np.arange(windows), lengths - 1], lengths=lengths)


def garbage(data: Dataset) -> Dataset:
    x = np.random.default_rng(9).normal(100, 1000, data.x.shape)
    return replace(data, x=np.where(data.inside[..., None], data.x, x))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_what_is_beyond_the_end_of_a_window_has_no_part_in_training(direction: str) -> None:
    options = replace(PLAIN, **EXACT, pooling="last", direction=direction, epochs=8, validation=0.25)
    trained, other = train(ragged(0), options), train(garbage(ragged(0)), options)
    assert digest(trained.float_model) == digest(other.float_model)
    assert digest(trained.quantized) == digest(other.quantized)
    assert trained.epochs == other.epochs
    test = ragged(1)
    assert accuracy(trained.quantized, test) == accuracy(trained.quantized, garbage(test)) > 0.95


ANY = np.random.default_rng(0).normal(0, 1, (16, 10, 1))
LABELS = np.arange(160).reshape(16, 10) % 3
LENGTHS = np.arange(16) % 10 + 1
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "each": ({"y": LABELS}, {"pooling": "each", "probabilities": True}),
    "each ragged": ({"y": LABELS, "lengths": LENGTHS}, {"pooling": "each", "direction": "bidirectional"}),
    "each regression": ({"y": ANY + 1, "lengths": LENGTHS}, {"pooling": "each", "direction": "reverse"}),
    "decoder classes": ({"y": LABELS[:, :4], "lengths": LENGTHS}, {"pooling": "last", "decoder": 4}),
    "decoder": ({"y": np.tile(ANY, (1, 2, 2))}, {"pooling": "last", "decoder": 20, "layers": 2, "cell": "gru"}),
    "attention": (
        {"y": LABELS[:, 0]},
        {"pooling": "attention", "layers": 2, "direction": "bidirectional,forward", "weight_bits": "8,4"},
    ),
    "regression": ({"y": ANY[:, 0]}, {"pooling": "max", "relu": "5", "direction": "reverse", "averaging": 0.5}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_trained_alike_twice_and_measured(kind: str) -> None:
    of_data, of_options = KINDS[kind]
    data, options = named(ANY, **of_data), replace(QUICK, **of_options)
    trained, again = train(data, options), train(data, options)
    assert digest(trained.float_model) == digest(again.float_model)
    assert digest(trained.quantized) == digest(again.quantized)
    model = trained.quantized
    assert model.signature.task == data.task
    assert model.signature.variable == (data.lengths is not None)
    assert model.signature.probabilities == options.probabilities
    assert [layer.reverse for layer in model.layers] == [
        way for d in options.directions for way in {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[d]
    ]
    for array in (trained.float_model.dense_weights, trained.float_model.dense_bias):
        assert np.array_equal(array, array.astype(np.float32).astype(np.float64))
    found = results("toy", data, data, [Run(options, trained)], Run(options, trained))
    if data.task == "classify":
        assert predictions(model, data).shape == data.y.shape
        assert 0 <= accuracy(model, data) <= 1
        counted = LENGTHS.sum() if data.lengths is not None and options.pooling == "each" else data.y.size
        assert np.sum(found.confusion) == counted
        assert np.trace(found.confusion) / counted == pytest.approx(accuracy(model, data))
        assert [row.form for row in found.accuracy] == ["float", "int8"]
        assert not found.errors
    else:
        assert outputs(model, data).shape == data.y.shape
        assert found.errors[1].by_seed[0].r2 == errors(model, data).r2
        assert (found.accuracy, found.confusion, found.curves[0].accuracy) == ([], None, [])
        assert len(found.curves[0].r2) == len(trained.epochs)
    assert 0 <= liveliest_window(model, data) < 16


def test_the_measure_of_the_best_epoch_is_that_of_the_integers_that_ship() -> None:
    data = named(ANY, LABELS, lengths=LENGTHS)
    options = replace(QUICK, pooling="each", epochs=4)
    run = training._Run(data, options)
    trained = run(lambda _: None)
    assert run._validation is not None
    assert accuracy(trained.quantized, run._validation) == trained.epochs[trained.best_epoch - 1].accuracy


def test_errors_of_padding_and_of_outputs_that_never_vary_do_not_count() -> None:
    y = np.concatenate([ANY, np.full_like(ANY, 7.0)], axis=2)
    data = named(ANY, y, lengths=LENGTHS)
    trained = train(data, replace(QUICK, pooling="each"))
    found, wrong = errors(trained.quantized, data), (outputs(trained.quantized, data) - y)[data.inside]
    assert found.mse == pytest.approx((wrong**2).mean())
    assert found.r2 == pytest.approx(1 - (wrong[:, 0] ** 2).mean() / ANY[data.inside].var())
    still = named(ANY, np.full((16, 1), 7.0))
    assert errors(train(still, replace(QUICK, validation=0.0)).quantized, still).r2 == 0.0


@pytest.mark.parametrize("strength", ["shift", "warp"])
def test_nothing_moves_in_time_where_targets_or_ends_would_not(strength: str) -> None:
    of_data, of_options = KINDS["each"]
    for data, options in ((named(ANY, **of_data), of_options), (named(ANY, LABELS[:, 0], lengths=LENGTHS), {})):
        recipe = replace(QUICK, **options)
        moved = train(data, replace(recipe, **{strength: 0.5}))
        assert digest(moved.quantized) == digest(train(data, recipe).quantized)


def refusal(make: Callable[[], Any]) -> str:
    with pytest.raises(EdgeLstmError) as error:
        make()
    return str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "both"}, "direction is 'both'; accepted are forward, reverse, bidirectional"),
        ({"direction": ""}, "direction is ''; accepted are forward, reverse, bidirectional"),
        ({"direction": "forward,reverse"}, "direction names 2 layers; the model has 1"),
        ({"decoder": -1}, "decoder is -1; accepted are 0 to 65536"),
        ({"decoder": 3}, "decoder is 3, and pooling 'mean'; with a decoder it is 'last'"),
        (
            {"decoder": 3, "pooling": "last", "direction": "bidirectional"},
            "decoder is 3, and direction 'bidirectional'; with a decoder it is 'forward'",
        ),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    assert refusal(lambda: TrainOptions(**options)) == message


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (LABELS, {}, "targets for 10 steps of a window; with pooling 'mean' and no decoder it must have one target"),
        (
            LABELS[:, 0],
            {"pooling": "each"},
            "one target of a window; with pooling 'each' and no decoder it must have targets for 10 steps",
        ),
        (
            LABELS[:, :9],
            {"pooling": "each"},
            "targets for 9 steps of a window; with pooling 'each' and no decoder it must have targets for 10 steps",
        ),
        (
            ANY,
            {"pooling": "last", "decoder": 5},
            "targets for 10 steps of a window; with pooling 'last' and a decoder of 5 steps it must have "
            "targets for 5 steps",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused(y: Any, options: dict[str, Any], message: str) -> None:
    assert refusal(lambda: train(named(ANY, y), replace(QUICK, **options))) == f"toy: y has {message}"


def test_what_does_not_fit_the_task_is_refused() -> None:
    classes, targets = named(ANY, LABELS[:, 0]), named(ANY, ANY[:, 0])
    asked = replace(QUICK, probabilities=True)
    found = refusal(lambda: train(targets, asked))
    assert found == "probabilities are asked of a regression; only a classifier has them"
    classifier, regression = (train(data, replace(QUICK, validation=0.0)).quantized for data in (classes, targets))
    assert refusal(lambda: errors(classifier, classes)) == "errors of toy on toy: accepted are regressions"
    found = refusal(lambda: accuracy(regression, targets))
    assert found == "toy is a regression and finds no classes; accepted is a classifier"
    found = refusal(lambda: accuracy(classifier, targets))
    assert found == "toy: y holds targets of a regression; accepted are classes"


def trained_by_command(folder: Path, *arguments: str, **arrays: Any) -> tuple[Any, Path]:
    """What ``--json`` prints, and the run's folder."""
    write_arrays(folder / "data.npz", **arrays)
    run = folder / "run"
    done = CliRunner().invoke(command, [str(folder / "data.npz"), "--out", str(run), "--json", *arguments])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout), run


def test_the_command_trains_a_regression(tmp_path: Path) -> None:
    data = levels(0, 200)
    augment = [f"--{name}={value}" for name, value in EXACT.items()]
    told, run = trained_by_command(
        tmp_path, "--epochs", "15", "--hidden", "8", "--batch", "16", *augment, x=data.x, y=data.y[:, 1]
    )
    assert told["errors"]["int8"]["r2"] > 0.9
    assert "accuracy" not in told
    found = read_results(run / run_files.RESULTS)
    assert found.errors[1].by_seed[0].model_dump() == told["errors"]["int8"]
    assert (found.dataset.task, found.dataset.classes) == ("regress", ["out0"])
    model, test = load(run / run_files.MODEL), read_arrays(run / run_files.TEST)
    wrong = execute(model, model.quantize_input(test["x"])).outputs["scores"] * model.score_scale - test["y"]
    assert float((wrong**2).mean()) == pytest.approx(told["errors"]["int8"]["mse"])
    assert read_arrays(run / run_files.RECORDING)["y"].shape == (1,)


def test_the_command_trains_on_labels_of_steps_of_windows_of_any_length(tmp_path: Path) -> None:
    arrays = {"x": ANY, "y": LABELS, "lengths": LENGTHS}
    options = ("--epochs", "2", "--hidden", "4", "--pooling", "each", "--probabilities")
    told, run = trained_by_command(tmp_path, "--bidirectional", *options, **arrays)
    assert set(told["accuracy"]) == {"float", "int8"}
    model, test = load(run / run_files.MODEL), read_arrays(run / run_files.TEST)
    assert [layer.reverse for layer in model.layers] == [False, True]
    assert (model.signature.variable, model.signature.probabilities) == (True, True)
    assert test["lengths"].shape == (len(test["x"]),)
    recording = read_arrays(run / run_files.RECORDING)
    assert len(recording["x"]) == len(recording["y"]) <= 10
    assert read_results(run / run_files.RESULTS).training.options["direction"] == "bidirectional"
    with pytest.raises(EdgeLstmError, match=r"^--bidirectional and --direction reverse can't both be given$"):
        trained_by_command(tmp_path, "--bidirectional", "--direction", "reverse", **arrays)
