"""The trainer: reproducible, in phases, interruptible; what it measures is what it ships."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edge_lstm import training
from edge_lstm.cells import CELLS
from edge_lstm.codec import digest
from edge_lstm.data import Dataset, load, split, train_test
from edge_lstm.epoch import Epoch, Validated
from edge_lstm.errors import EdgeLstmError
from edge_lstm.evaluation import accuracy, predictions
from edge_lstm.learning_task import signature
from edge_lstm.lower import lower
from edge_lstm.model import POOLINGS
from edge_lstm.runtime import execute
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Trained, train

ACCEPTED = "accepted are soft, hard, three-level, hard-sigmoid"
OPTIONS = TrainOptions(
    hidden=3, epochs=4, epoch_windows=16, batch=8, validation=0.25, hard_from=0.25, quantized_from=0.5
)


def dataset(windows: int = 24, classes: int = 3, **changes: Any) -> Dataset:
    """Windows of noise about a level and an amplitude that tell the class."""
    rng = np.random.default_rng(5)
    y = np.arange(windows) % classes
    x = rng.normal(0, 1, (windows, 10, 2)) * (1 + y[:, None, None]) + 3 * y[:, None, None]
    made: dict[str, Any] = {
        "name": "toy data",
        "x": x,
        "y": y,
        "classes": tuple(f"class{k}" for k in range(classes)),
        "channels": ("a", "b"),
        "units": ("g", "g"),
        "rate_hz": 50.0,
    }
    return Dataset(**{**made, **changes})


def digests(trained: Trained) -> tuple[str, str]:
    return digest(trained.float_model), digest(trained.quantized)


def test_the_same_seed_gives_the_same_models_whatever_the_state_of_the_process() -> None:
    data, threads = dataset(), torch.get_num_threads()
    first = train(data, OPTIONS)
    torch.manual_seed(99)
    np.random.seed(99)
    before = torch.random.get_rng_state()
    torch.set_num_threads(2)
    try:
        second = train(data, OPTIONS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert digests(first) == digests(second)
    assert first.epochs == second.epochs
    assert torch.equal(torch.random.get_rng_state(), before)
    other = train(data, replace(OPTIONS, seed=1))
    assert digest(other.float_model) != digest(first.float_model)
    assert digest(other.quantized) != digest(first.quantized)


def phases(**changes: Any) -> list[str]:
    return [
        e.phase
        for e in train(dataset(), replace(OPTIONS, validation=0.0, epochs=10, epoch_windows=8, **changes)).epochs
    ]


def test_hard_gates_are_annealed_then_hard_then_quantized() -> None:
    assert phases(hard_from=0.5, quantized_from=0.7) == ["annealed"] * 5 + ["hard"] * 2 + ["quantized"] * 3
    assert phases(hard_from=0.5, quantized_from=1.0) == ["annealed"] * 5 + ["hard"] * 5
    assert phases(hard_from=0.0, quantized_from=0.9) == ["hard"] * 9 + ["quantized"]
    assert phases(hard_from=0.5, quantized_from=0.2) == ["annealed"] * 2 + ["quantized"] * 8
    assert phases(quantized_from=0.0) == ["quantized"] * 10


def test_soft_gates_are_not_annealed() -> None:
    assert phases(gates="soft", quantized_from=0.7) == ["float"] * 7 + ["quantized"] * 3
    assert phases(gates="soft", quantized_from=1.0) == ["float"] * 10
    assert phases(gates="f=hard", quantized_from=0.7)[0] == "annealed"


def test_epochs_are_told_as_they_happen_and_validated_where_there_is_a_part_for_it() -> None:
    told: list[Epoch] = []
    trained = train(dataset(), OPTIONS, told.append)
    assert tuple(told) == trained.epochs
    assert [e.number for e in told] == [1, 2, 3, 4]
    assert all(e.accuracy is not None and 0 <= e.accuracy <= 1 for e in told)
    assert all(math.isfinite(e.loss) and e.loss > 0 for e in told)
    without = train(dataset(), replace(OPTIONS, validation=0.0))
    assert [e.accuracy for e in without.epochs] == [None] * 4
    assert (without.best_epoch, without.interrupted) == (4, False)


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_when_validation_does_not_get_better(patience: int) -> None:
    still = replace(OPTIONS, learning_rate=1e-12, epochs=20, hard_from=0.0, quantized_from=0.0, patience=patience)
    trained = train(dataset(), still)
    assert trained.best_epoch == 1
    assert len(trained.epochs) == 1 + patience
    assert not trained.interrupted
    assert len(train(dataset(), replace(still, validation=0.0)).epochs) == 20


def test_the_epoch_with_the_best_validation_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = [0.9, 0.2, 0.6, 0.6, 0.5, 0.7, 0.8]  # the first is of an earlier phase, and does not count
    longer = replace(OPTIONS, epochs=8, hard_from=0.0, quantized_from=0.125, patience=2)
    found: list[float] = []

    def validate(*_: Any) -> Validated:
        found.append(scripted[len(found)])
        return Validated(1.0, accuracy=found[-1])

    monkeypatch.setattr(training._Run, "_validate", validate)
    trained = train(dataset(), longer)
    assert trained.best_epoch == 3
    assert [e.accuracy for e in trained.epochs] == scripted[:5]

    def stop(epoch: Epoch) -> None:
        if epoch.number == 3:
            raise KeyboardInterrupt

    found.clear()
    assert digests(train(dataset(), longer, stop)) == digests(trained)


def test_the_best_validation_accuracy_is_that_of_the_integers_that_ship() -> None:
    data = dataset(48)
    trained = train(data, replace(OPTIONS, epochs=6))
    _, held_out = split(data, OPTIONS.validation, OPTIONS.seed)
    assert trained.epochs[trained.best_epoch - 1].phase == "quantized"
    assert accuracy(trained.quantized, held_out) == trained.epochs[trained.best_epoch - 1].accuracy
    assert accuracy(trained.quantized, held_out) == (predictions(trained.quantized, held_out) == held_out.y).mean()


@pytest.mark.parametrize("options", [{}, {"gates": "soft", "layers": 2, "pooling": "last"}, {"averaging": 0.8}])
def test_what_ships_computes_what_the_last_forward_pass_of_training_computed(options: dict[str, Any]) -> None:
    data = dataset()
    run = training._Run(data, replace(OPTIONS, **options))
    trained = run(lambda _: None)
    lower(trained.quantized)  # proves that nothing overflows
    network = run._network.eval()
    with torch.no_grad():
        logits = network.forward_quantized(data.x.astype(np.float64)).numpy()
    scores = execute(trained.quantized, trained.quantized.quantize_input(data.x)).outputs["scores"]
    assert np.array_equal(logits, (scores * trained.quantized.score_scale).astype(np.float32))
    assert len(np.unique(scores)) > 10


@pytest.mark.parametrize("at", [1, 2, 4])
def test_ctrl_c_after_an_epoch_keeps_a_model_that_works(at: int) -> None:
    def interrupt(epoch: Epoch) -> None:
        if epoch.number == at:
            raise KeyboardInterrupt

    data = dataset()
    trained = train(data, OPTIONS, interrupt)
    assert trained.interrupted
    assert len(trained.epochs) == at
    assert 1 <= trained.best_epoch <= at
    assert predictions(trained.quantized, data).shape == (24,)
    assert predictions(trained.float_model, data).shape == (24,)


@pytest.mark.parametrize("step", [0, 1, 9])
def test_ctrl_c_in_the_middle_of_an_epoch_keeps_a_model_that_works(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original, calls = training._Run._train_step, []

    def interrupted(self: Any, *arguments: Any) -> float:
        calls.append(1)
        if len(calls) > step:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(training._Run, "_train_step", interrupted)
    trained = train(dataset(), replace(OPTIONS, epoch_windows=24))  # 3 steps of an epoch
    assert trained.interrupted
    assert len(trained.epochs) == trained.best_epoch == step // 3
    assert predictions(trained.quantized, dataset()).shape == (24,)


def test_training_learns_real_movements() -> None:
    training_part, _ = train_test(load("basic-motions"))
    options = TrainOptions(
        hidden=8, epochs=8, epoch_windows=80, batch=16, validation=0.0, hard_from=0.4, quantized_from=0.7
    )
    trained = train(training_part, options)
    assert trained.epochs[-1].phase == "quantized"
    assert trained.epochs[-1].loss < 0.7 * trained.epochs[0].loss
    assert accuracy(trained.quantized, training_part) > 0.6  # chance is 0.25
    assert trained.quantized.signature == signature(training_part)
    assert trained.quantized.layers[0].modes == {"i": "hard", "f": "hard", "o": "hard"}


def test_the_recipe_reaches_the_models() -> None:
    trained = train(dataset(), replace(OPTIONS, gates="i=hard,o=hard", layers=2, pooling="last", clip=2.5, dropout=0.2))
    assert trained.float_model.clip == 2.5
    for model in (trained.float_model, trained.quantized):
        assert [layer.hidden for layer in model.layers] == [3, 3]
        assert model.pooling == "last"
        assert dict(model.layers[1].modes) == {"i": "hard", "f": "soft", "o": "hard"}


@pytest.mark.parametrize("name", ["averaging", "dropout", "rotation", "shift", "warp", "magnitude"])
def test_every_strength_changes_the_result(name: str) -> None:
    data = dataset(
        channels=("acc_x", "acc_y", "acc_z"), units=("g",) * 3, x=np.random.default_rng(0).normal(0, 1, (24, 10, 3))
    )
    plain = train(data, replace(OPTIONS, validation=0.0))
    assert digests(train(data, replace(OPTIONS, validation=0.0, **{name: 0.5}))) != digests(plain)


def test_a_channel_that_never_changes_is_no_obstacle() -> None:
    x = np.concatenate([dataset().x, np.full((24, 10, 1), 7.0)], axis=2)
    trained = train(dataset(x=x, channels=("a", "b", "still"), units=("",) * 3), OPTIONS)
    assert (trained.float_model.std > 0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_trained_and_what_ships_is_its_quantization(cell: str) -> None:
    options = replace(
        OPTIONS,
        cell=cell,
        gates="three-level" if cell in ("gru", "lstmp") else "soft",
        squash="hard" if cell == "cifg" else "exact",
        layers=2,
        weight_bits="4,2",
        activation_bits="16,8",
        activations="lut-interp",
        epochs=2,
    )
    trained = train(dataset(), options)
    assert [k.cell for k in trained.float_model.layers] == [k.cell for k in trained.quantized.layers] == [cell] * 2
    assert trained.quantized.input_bits == 16
    for layer, floating, bits in zip(trained.quantized.layers, trained.float_model.layers, (4, 2), strict=True):
        assert layer.modes == floating.modes == options.modes
        assert floating.squash == options.squash
        assert layer.outputs == floating.outputs == (options.projection or options.hidden)
        assert {b.weight_bits for b in layer.blocks.values()} == {bits}
    lower(trained.quantized)
    assert predictions(trained.quantized, dataset()).shape == (24,)
    assert digests(train(dataset(), options)) == digests(trained)


def test_the_weights_that_ship_in_the_float_model_are_float32() -> None:
    model = train(dataset(), OPTIONS).float_model
    for array in (model.mean, model.std, model.dense_weights, *model.layers[0].W.values(), *model.layers[0].b.values()):
        assert np.array_equal(array, array.astype(np.float32).astype(np.float64))


def refusal(make: Callable[[], Any]) -> str:
    with pytest.raises(EdgeLstmError) as error:
        make()
    text = str(error.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_test_windows_are_refused(validation: float) -> None:
    marked = dataset(is_test=np.arange(24) > 20)
    found = refusal(lambda: train(marked, replace(OPTIONS, validation=validation)))
    wanted = (
        "toy data: the official test windows are among the training windows; pass the first part of train_test(dataset)"
    )
    assert found == wanted


def test_too_little_data_is_refused() -> None:
    assert refusal(lambda: train(dataset(3), OPTIONS)) == "toy data: no class has two windows to divide"
    assert refusal(lambda: train(dataset(8, classes=1), OPTIONS)) == "1 classes; accepted are 2 to 4096"
    alone = dataset(groups=np.zeros(24, int))
    assert refusal(lambda: train(alone, OPTIONS)) == "toy data: a split by subject needs two subjects, found 1"
    assert refusal(lambda: replace(OPTIONS, validation=1.0)) == "validation is 1.0; accepted are 0 to below 1"


def test_a_loss_that_is_no_number_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training._Run, "_train_step", lambda *_: math.nan)
    assert refusal(lambda: train(dataset(), OPTIONS)) == (
        "the training loss is nan in epoch 1; a smaller learning_rate may help"
    )


def test_the_largest_learning_rate_is_survived() -> None:
    trained = train(dataset(), replace(OPTIONS, learning_rate=10.0))
    assert predictions(trained.quantized, dataset()).shape == (24,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "elman"}, f"no cell 'elman'; accepted are {', '.join(CELLS)}"),
        ({"gates": "firm"}, f"gates 'firm': no gate mode 'firm'; {ACCEPTED}"),
        ({"gates": "z=hard"}, "gates 'z=hard': no gate 'z'; this cell has i, f, o"),
        ({"gates": "i=hard,f"}, f"gates 'i=hard,f': no gate mode ''; {ACCEPTED}"),
        ({"cell": "gru", "gates": "f=hard"}, "gates 'f=hard': no gate 'f'; this cell has z, r"),
        ({"cell": "rnn", "gates": "i=hard"}, "gates 'i=hard': no gate 'i'; this cell has no gates"),
        ({"pooling": "sum"}, f"pooling is 'sum'; accepted are {', '.join(POOLINGS)}"),
        ({"squash": "soft"}, "squash is 'soft'; accepted are exact, hard"),
        ({"weight_bits": "3"}, "weight_bits is 3; accepted are 8, 4, 2"),
        ({"weight_bits": "8,4"}, "weight_bits names 2 layers; the model has 1"),
        ({"activation_bits": "32"}, "activation_bits is 32; accepted are 8, 16"),
        ({"activations": "linear"}, "activations is 'linear'; accepted are 'lut', 'lut-interp'"),
        ({"cell": "lstmp", "hidden": 4, "outputs": 5}, "outputs is 5; accepted are 0 to 4"),
        ({"cell": "lstmp", "outputs": -1}, "outputs is -1; accepted are 0 to 32"),
        ({"outputs": 4}, "outputs is 4, and a lstm has no projection; lstmp has one"),
        ({"hidden": 0}, "hidden is 0; accepted are 1 to 4096"),
        ({"hidden": 4097}, "hidden is 4097; accepted are 1 to 4096"),
        ({"layers": 0}, "layers is 0; accepted are 1 to 64"),
        ({"epochs": 0}, "epochs is 0; accepted are 1 to 1000000"),
        ({"epoch_windows": -1}, "epoch_windows is -1; accepted are 1 to 1000000"),
        ({"batch": 0}, "batch is 0; accepted are 1 to 1000000"),
        ({"patience": 0}, "patience is 0; accepted are 1 to 1000000"),
        ({"hard_from": -0.1}, "hard_from is -0.1; accepted are 0 to 1"),
        ({"quantized_from": 1.1}, "quantized_from is 1.1; accepted are 0 to 1"),
        ({"quantized_from": math.nan}, "quantized_from is nan; accepted are 0 to 1"),
        ({"label_smoothing": 2}, "label_smoothing is 2; accepted are 0 to 1"),
        ({"dropout": -1}, "dropout is -1; accepted are 0 to 1"),
        ({"averaging": 1.5}, "averaging is 1.5; accepted are 0 to 1"),
        ({"validation": 1.5}, "validation is 1.5; accepted are 0 to 1"),
        ({"seed": -1}, "seed is -1; accepted are 0 to 4294967295"),
        ({"seed": 2**32}, "seed is 4294967296; accepted are 0 to 4294967295"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; accepted are 0 to 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; accepted are above 0, to 10.0"),
        ({"learning_rate": 1e38}, "learning_rate is 1e+38; accepted are above 0, to 10.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan; accepted are above 0, to 10.0"),
        ({"gradient_clip": -1.0}, "gradient_clip is -1.0; accepted are positive numbers"),
        ({"clip": math.nan}, "clip is nan; accepted are positive numbers"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    assert refusal(lambda: TrainOptions(**options)) == message


@pytest.mark.parametrize("name", ["gain", "offset", "jitter", "magnitude", "rotation", "shift", "warp"])
@pytest.mark.parametrize("value", [-0.5, math.nan])
def test_strengths_that_are_refused(name: str, value: float) -> None:
    channels = {"channels": ("acc_x", "acc_y", "acc_z"), "units": ("g",) * 3}
    data = dataset(x=np.zeros((24, 10, 3)), **channels)
    found = refusal(lambda: train(data, replace(OPTIONS, **{name: value})))
    assert found.startswith(f"augmentation: {name} must be ")
    assert found.endswith(f", found {value}")


def test_the_largest_seed_works() -> None:
    assert train(dataset(), replace(OPTIONS, seed=2**32 - 1, epochs=1)).best_epoch == 1


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("basic-motions", "basic_motions"),
        ("  My Data (v2).npz ", "my_data_v2_npz"),
        ("2nd", "model_2nd"),
        ("_x", "x"),
        ("Ärger", "rger"),
        ("мир", "model"),
        ("", "model"),
        ("a" * 100, "a" * 48),
        ("9" * 100, "model_" + "9" * 42),
    ],
)
def test_any_data_set_has_a_model_name(name: str, wanted: str) -> None:
    assert signature(dataset(name=name)).name == wanted
    assert signature(dataset(name=name), "given").name == "given"
