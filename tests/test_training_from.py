"""Training that begins with a model's weights (`nn.starting`), and with its most important units (`nn.pruning`)."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm import cli, run_files
from edge_lstm.cells import CELLS
from edge_lstm.codec import digest
from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import run_float
from edge_lstm.layers import FloatLayer
from edge_lstm.learning_task import target_scale
from edge_lstm.model import FloatModel
from edge_lstm.nn.building import network_of
from edge_lstm.nn.pruning import pruned
from edge_lstm.nn.starting import begin
from edge_lstm.storage import load_float, save
from edge_lstm.study import Job, train_jobs
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import train

OPTIONS = TrainOptions(
    hidden=6, epochs=2, epoch_windows=16, batch=8, validation=0.25, hard_from=0.25, quantized_from=0.5
)


def dataset(**changes: Any) -> Dataset:
    y = np.arange(24) % 3
    x = np.random.default_rng(5).normal(0, 1, (24, 8, 2)) + 3 * y[:, None, None]
    made: dict[str, Any] = {"name": "toy", "x": x, "y": y, "classes": ("p", "q", "r"), "channels": ("a", "b")}
    return Dataset(**{**made, "units": ("", ""), **changes})


def model_of(options: TrainOptions, data: Dataset) -> FloatModel:
    """Random weights, biases and peepholes."""
    network, rng = network_of(data, options), np.random.default_rng(3)
    for parameter in network.parameters():
        parameter.data[:] = parameter.data + parameter.data.new_tensor(rng.normal(0, 0.3, parameter.shape))
    return network.float_model()


def begun(options: TrainOptions, data: Dataset, start: FloatModel) -> FloatModel:
    network = network_of(data, options)
    begin(network, start, data)
    return network.float_model()


def regression() -> Dataset:
    return dataset(y=np.random.default_rng(0).normal(5, 2, (24, 3)))


def steps() -> Dataset:
    return dataset(y=np.random.default_rng(0).normal(5, 2, (24, 4, 3)))


FORMS: list[tuple[dict[str, Any], Dataset]] = [
    *(({"cell": cell}, dataset()) for cell in CELLS),
    ({"layers": 2, "direction": "bidirectional", "pooling": "attention", "relu": "5"}, dataset()),
    ({"cell": "lstmp", "layers": 2, "outputs": 2, "pooling": "max"}, regression()),
    ({"layers": 2, "decoder": 4, "pooling": "last"}, steps()),
]
IDS = [" ".join(map(str, changes.values())) for changes, _ in FORMS]


@pytest.mark.parametrize(("changes", "data"), FORMS, ids=IDS)
def test_the_network_computes_what_the_model_does(changes: dict[str, Any], data: Dataset) -> None:
    options = replace(OPTIONS, **changes)
    start = model_of(options, data)
    # Other windows: their scale of inputs and of targets is another one.
    others = replace(data, x=2 * data.x + 1, y=data.y if data.task == "classify" else data.y - 1)
    found = begun(replace(options, seed=1), others, start)
    if data.task == "classify":
        assert digest(found) == digest(start)
    else:  # float32 weights, divided by the scale of the targets and multiplied again
        ours, theirs = (run_float(model, data.x)["scores"] for model in (found, start))
        assert np.abs(ours - theirs).max() < 1e-4


def without(layer: FloatLayer, units: list[int], outputs: list[int]) -> FloatLayer:
    """Units that compute what they do, and that nobody reads."""
    R = {block: R.copy() for block, R in layer.R.items()}
    for weights in R.values():
        weights[:, outputs] = 0
    P = None if layer.P is None else layer.P.copy()
    if P is not None:
        P[:, units] = 0
    return replace(layer, R=R, P=P)


@pytest.mark.parametrize(("changes", "data"), FORMS, ids=IDS)
def test_units_that_nobody_reads_go_and_the_rest_computes_the_same(changes: dict[str, Any], data: Dataset) -> None:
    options = replace(OPTIONS, gates="soft", **changes)  # of a hard gate that is never open, h is 0, too
    projected = options.projection is not None
    model = model_of(options, data)
    units, outputs = [1, 4], [0] if projected else [1, 4]
    layers = tuple(without(layer, units, outputs) for layer in model.layers)
    width = model.layers[0].outputs
    mute = [k for k in range(model.layers[-1].outputs * (2 if "direction" in changes else 1)) if k % width in outputs]
    for k, layer in enumerate(layers):
        if layer.inputs % width == 0 and k >= (2 if "direction" in changes else 1):
            for W in layer.W.values():
                W[:, [j for j in range(layer.inputs) if j % width in outputs]] = 0
    decoder = model.decoder
    if decoder is not None:
        decoded = tuple(without(layer, units, outputs) for layer in decoder.layers)
        for W in decoded[1].W.values():
            W[:, outputs] = 0
        decoder = replace(decoder, layers=decoded)
    read = model.relu_layers[0].weights if model.relu_layers else model.dense_weights
    read[:, mute] = 0
    if model.attention is not None:
        model.attention.weights[mute] = 0
    model = replace(model, layers=layers, decoder=decoder)
    small = pruned(model, data, 4, width - 1 if projected else None)
    assert {layer.hidden for layer in small.all_layers} == {4}
    kept = [0, 2, 3, 5]
    assert np.array_equal(next(iter(small.layers[0].b.values())), next(iter(model.layers[0].b.values()))[kept])
    ours, theirs = (run_float(each, data.x)["scores"] for each in (small, model))
    assert np.abs(ours - theirs).max() < 1e-12  # sums of float64 in another order


def test_the_most_important_units_are_those_of_large_output_and_large_weights() -> None:
    data = dataset()
    model = model_of(replace(OPTIONS, cell="rnn", pooling="last"), data)
    layer = model.layers[0]
    h = np.array([0.1, 0.2, 0.1, 0.4, 0.0, 0.3])
    layer.W["t"][:], layer.R["t"][:], layer.b["t"][:] = 0, 0, np.arctanh(h)
    model.dense_weights[:] = [1, 1, 4, 1, 9, 1]
    # h w = 0.1, 0.2, 0.4, 0.4, 0, 0.3
    assert pruned(model, data, 4).layers[0].b["t"].tolist() == np.arctanh(h)[[1, 2, 3, 5]].tolist()
    assert pruned(model, data, 2).layers[0].b["t"].tolist() == np.arctanh(h)[[2, 3]].tolist()
    with pytest.raises(EdgeLstmError, match=r"^layer 0 of toy has 6 units, and 7 are to be kept; accepted are 1 to 6$"):
        pruned(model, data, 7)


def test_training_goes_on_from_the_weights_and_a_checkpoint_knows_them(tmp_path: Path) -> None:
    data = dataset()
    first = train(data, OPTIONS).float_model
    still = replace(OPTIONS, hidden=4, learning_rate=1e-9, validation=0.0)
    found = train(data, still, start=first, checkpoint=tmp_path / "c").float_model
    small = pruned(first, data, 4)
    for block, R in small.layers[0].R.items():
        assert np.abs(found.layers[0].R[block] - R).max() < 1e-6  # what this learning rate can change
    assert digest(train(data, still, start=first, checkpoint=tmp_path / "c").float_model) == digest(found)
    for start in (None, small):
        with pytest.raises(EdgeLstmError, match=r"it is of other training windows; a run goes on as it began$"):
            train(data, still, start=start, checkpoint=tmp_path / "c")
    (beside,) = train_jobs([Job(data, still, start=first)])
    assert digest(beside.float_model) == digest(found)


OTHERS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"cell": "gru"}, {}, "has cell gru; accepted are lstm"),
    ({"layers": 2}, {}, "has layers forward, forward; accepted are forward"),
    ({"direction": "reverse"}, {}, "has layers reverse; accepted are forward"),
    ({"pooling": "max"}, {}, "has pooling max; accepted are mean"),
    ({"relu": "4"}, {}, "has relu 4; accepted are none"),
    ({}, {"channels": ("a", "c")}, "has channels a, c; accepted are a, b"),
    ({}, {"units": ("g", "g")}, "has units g, g; accepted are , "),
    ({}, {"classes": ("p", "q", "s")}, "has classes p, q, s; accepted are p, q, r"),
]


@pytest.mark.parametrize(("changes", "of_data", "message"), OTHERS)
def test_models_of_another_kind_are_refused(changes: dict[str, Any], of_data: dict[str, Any], message: str) -> None:
    start = model_of(replace(OPTIONS, **changes), dataset(**of_data))
    with pytest.raises(EdgeLstmError, match=f"^the model to start from, toy, {re.escape(message)}$"):
        train(dataset(), OPTIONS, start=start)


def test_so_are_models_of_fewer_units_and_what_is_not_trained() -> None:
    data, start = dataset(), model_of(OPTIONS, dataset())
    wanted = r"^hidden is 7, and the model to start from, toy, has 6; accepted are 1 to 6$"
    with pytest.raises(EdgeLstmError, match=wanted):
        train(data, replace(OPTIONS, hidden=7), start=start)
    narrow = model_of(replace(OPTIONS, cell="lstmp", outputs=2), data)
    wanted = r"^outputs is 3, and the model to start from, toy, has 2; accepted are 1 to 2$"
    with pytest.raises(EdgeLstmError, match=wanted):
        train(data, replace(OPTIONS, cell="lstmp", outputs=3), start=narrow)
    (layer,) = start.layers
    for changed in (replace(layer, clip=3.0), replace(layer, initial={"c": np.ones(6)})):
        with pytest.raises(EdgeLstmError, match=r"has initial states or a clip, which are not trained; accepted are"):
            train(data, OPTIONS, start=replace(start, layers=(changed,)))


def test_a_regression_starts_a_regression_only() -> None:
    data = regression()
    assert target_scale(data, each=False)[0] is not None
    start = model_of(OPTIONS, data)
    with pytest.raises(EdgeLstmError, match=r"has task regress; accepted are classify$"):
        train(dataset(), OPTIONS, start=start)


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = dataset()
    np.savez("toy.npz", x=data.x, y=data.y, subject=np.arange(24) % 4)
    small = ("--epochs", "2", "--validation", "0")

    def run(*arguments: str) -> object:
        monkeypatch.setattr(sys, "argv", ["edge-lstm", "train", "toy.npz", *small, *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code

    assert run("--out", "wide", "--hidden", "6") == 0
    wide = load_float(Path("wide", run_files.FLOAT))
    save(wide, "wide.safetensors")
    for name, start, options in (
        ("half", "wide", ("--hidden", "3")),
        ("file", "wide.safetensors", ("--hidden", "3")),
        ("fits", "wide", ("--max-bytes", "100000")),
    ):
        assert run("--out", name, "--from", start, *options) == 0
        results = json.loads(Path(name, run_files.RESULTS).read_text())
        assert results["training"]["started_from"] == digest(wide)
    assert load_float(Path("half", run_files.FLOAT)).layers[0].hidden == 3
    assert digest(load_float(Path("file", run_files.FLOAT))) == digest(load_float(Path("half", run_files.FLOAT)))
    assert load_float(Path("fits", run_files.FLOAT)).layers[0].hidden == 6
    assert "started_from" not in json.loads(Path("wide", run_files.RESULTS).read_text())["training"]
    assert run("--out", "none", "--from", "nothing") == 2
