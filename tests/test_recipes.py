"""`edge_lstm.recipes`, and what the options of recipes do in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_lstm.cells import cell
from edge_lstm.data import Dataset, load, train_test
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import run_float
from edge_lstm.format_search import model_bytes
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.distillation import Distillation
from edge_lstm.nn.layer import Layer
from edge_lstm.nn.run_state import RunState
from edge_lstm.nn.sizing import bytes_of, widest
from edge_lstm.recipes import RECIPES, options_of
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Trained, train

SMALL = {"epochs": 4, "hidden": 4, "validation": 0.0, "epoch_windows": 128}


@pytest.fixture(scope="module")
def windows() -> Dataset:
    return train_test(load("basic-motions"))[0]


@pytest.fixture(scope="module")
def plain(windows: Dataset) -> Trained:
    return train(windows, TrainOptions(**SMALL))


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_trains(name: str, windows: Dataset, plain: Trained) -> None:
    options = options_of(name, SMALL)
    for key, value in RECIPES[name].options.items():
        assert getattr(options, key) == value
    found = train(windows, options, teacher=plain.float_model if options.distill else None)
    assert all(np.isfinite(epoch.loss) for epoch in found.epochs)
    same = all(
        np.array_equal(found.float_model.layers[0].R[k], plain.float_model.layers[0].R[k])
        for k in plain.float_model.layers[0].R
    )
    assert same == (name == "annealed")


def test_recipes_are_joined_and_what_is_given_counts_more() -> None:
    found = options_of("inertial, output-only", {"warp": 0.1})
    assert (found.rotation, found.warp, found.gates) == (0.3, 0.1, "o=hard")
    assert options_of("", {}) == TrainOptions()
    with pytest.raises(EdgeLstmError, match=r"^recipe is 'fast'; accepted are annealed, straight-through, "):
        options_of("inertial,fast")


@pytest.mark.parametrize(("decay", "expected"), [(1.0, [1.0, 1.5, 2.5]), (0.5, [1.0, 1.5, 3.25])])
def test_weights_are_averaged_alike_or_with_decay(decay: float, expected: list[float]) -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    state = RunState(network, None, None, np.random.default_rng(0))  # type: ignore[arg-type]
    for weight, mean in zip((1.0, 2.0, 5.0 if decay == 0.5 else 4.5), expected, strict=True):
        network.weight.data[:] = weight
        state.update_average(decay)
        assert state.weights()["weight"].item() == pytest.approx(mean)


def test_noise_is_logistic_and_only_for_annealed_gates_of_steps() -> None:
    kind = cell("lstm")
    modes = {"i": "hard", "f": "soft", "o": "hard"}
    annealed = Activations(kind, modes, slope=1.0, noise=2.0)
    torch.manual_seed(1)
    z = torch.zeros(100_000)
    annealed.disturb("i", z)
    # Of a logistic variable the standard deviation is pi / sqrt(3); of its estimate it is below 0.01 here.
    assert abs(z.std().item() - 2 * np.pi / np.sqrt(3)) < 0.05
    assert abs(z.mean().item()) < 0.05
    for block in ("f", "g"):
        same = torch.zeros(10)
        annealed.disturb(block, same)
        assert not same.any()
    hard = torch.zeros(10)
    Activations(kind, modes, noise=2.0).disturb("i", hard)
    assert not hard.any()


@pytest.mark.parametrize("kernel", ["compiled", "torch"])
def test_noise_is_in_what_the_gradient_sees(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel == "torch":
        monkeypatch.setenv("EDGE_LSTM_KERNEL", "torch")
    kind = cell("lstm")
    torch.manual_seed(2)
    layer, x = Layer(kind, 3, 4), torch.randn(5, 2, 3)
    modes = dict.fromkeys(kind.gates, "hard")
    noisy = layer.trace(x, Activations(kind, modes, slope=1.0, noise=1.0))
    still = layer.trace(x, Activations(kind, modes, slope=1.0))
    assert not torch.allclose(noisy["i"][0], still["i"][0])
    assert torch.allclose(noisy["g"][0], still["g"][0])


def test_a_steeper_surrogate_is_the_derivative_of_a_steeper_sigmoid() -> None:
    kind = cell("lstm")
    z = torch.linspace(-2, 2, 9, requires_grad=True)
    gate = Activations(kind, dict.fromkeys(kind.gates, "hard"), surrogate_slope=4.0)
    gate.gate("i", z, differentiable=True).sum().backward()
    s = torch.sigmoid(4 * z.detach())
    assert torch.allclose(z.grad, 4 * s * (1 - s))


def test_distillation_is_the_divergence_of_the_softened_scores(windows: Dataset, plain: Trained) -> None:
    teacher = plain.float_model
    term = Distillation(teacher, teacher.signature, each=False, temperature=3.0)
    x = windows.x[:5].astype(np.float64)
    scores = torch.randn(5, 4)
    counts = np.array([True, True, False, True, True])

    def softened(values: np.ndarray) -> np.ndarray:
        e = np.exp(values / 3.0)
        return e / e.sum(axis=1, keepdims=True)

    t, s = softened(run_float(teacher, x)["scores"]), softened(scores.double().numpy())
    expected = 9 * (t * np.log(t / s)).sum(axis=1)[counts].mean()
    assert term(scores, x, None, counts).item() == pytest.approx(expected, rel=1e-4)  # float32


def test_teachers_that_cannot_teach_are_refused(windows: Dataset, plain: Trained) -> None:
    teacher = plain.float_model
    other = replace(teacher.signature, channels=("a", *teacher.signature.channels[1:]))
    with pytest.raises(EdgeLstmError, match=r"^the teacher basic_motions has channels acc_x, .*; accepted are a, "):
        Distillation(teacher, other, each=False, temperature=2.0)
    with pytest.raises(EdgeLstmError, match=r"gives scores for other steps than the network that learns$"):
        Distillation(teacher, teacher.signature, each=True, temperature=2.0)
    with pytest.raises(EdgeLstmError, match=r"^distill is 0\.5 with no teacher; accepted are both or neither$"):
        train(windows, options_of("distilled", SMALL))
    with pytest.raises(EdgeLstmError, match=r"^distill is 0\.0 with a teacher; accepted are both or neither$"):
        train(windows, TrainOptions(**SMALL), teacher=teacher)


def test_gates_come_down_to_a_target(windows: Dataset) -> None:
    options = TrainOptions(hidden=8, epochs=30, validation=0.0, gates="hard")
    free = train(windows, options, open_rates=True).epochs[-1].open_rates["0.o"]
    bound = train(windows, replace(options, open_rate="o=0.2"), open_rates=True).epochs[-1].open_rates["0.o"]
    assert free > 0.4
    assert bound < 0.3


@pytest.mark.parametrize("options", [{}, {"weight_bits": "4", "gates": "o=hard"}, {"layers": 2, "relu": "8"}])
def test_the_widest_network_fits_and_the_next_does_not(windows: Dataset, options: dict[str, str]) -> None:
    recipe = TrainOptions(**SMALL | options)
    found = widest(windows, recipe, 3000)
    assert bytes_of(windows, found) <= 3000 < bytes_of(windows, replace(found, hidden=found.hidden + 1))
    trained = train(windows, found).quantized
    assert 2500 < model_bytes(trained) <= 3000


def test_no_unit_fits(windows: Dataset) -> None:
    with pytest.raises(EdgeLstmError, match=r"^max_bytes is 100; accepted are \d+, for 1 units, and more$"):
        widest(windows, TrainOptions(**SMALL), 100)
