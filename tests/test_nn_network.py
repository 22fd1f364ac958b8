"""What is trained is what ships (rule R8): the forward pass of training computes the runtime's integers."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from random_networks import random_network

from edge_lstm.bits import Bits
from edge_lstm.calibrate import calibrate
from edge_lstm.cells import CELLS, LSTM, cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_run import evaluate, standardize
from edge_lstm.gates import MODES
from edge_lstm.lower import layer_name
from edge_lstm.nn import integers
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gradient import Record
from edge_lstm.nn.kernel_run import VARIABLE
from edge_lstm.nn.network import Network
from edge_lstm.nn.quantized import record, rounded
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.signature import Signature
from edge_lstm.timeline import timeline
from edge_lstm.to_integers import quantize_model

CONFIGURATIONS = range(54)
NAMES = list(CELLS)
SOFT = dict.fromkeys(LSTM.gates, "soft")


@pytest.fixture(autouse=True)
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is the reference; ``test_nn_kernel`` compares the compiled kernels with it."""
    monkeypatch.setenv(VARIABLE, "torch")


def network(number: int, **changes: Any) -> tuple[Network, np.ndarray]:
    """A random calibrated network, and samples of which some are far livelier than those of the calibration."""
    draw, rng = random.Random(number), np.random.default_rng(number)
    channels, steps = draw.choice((1, 2, 5)), draw.randint(1, 12)
    names = tuple(f"channel{k}" for k in range(channels))
    signature = Signature("m", names, ("",) * channels, None, steps, tuple(f"k{k}" for k in range(draw.randint(2, 5))))
    options: dict[str, Any] = {
        "cell_name": NAMES[number % len(NAMES)],
        "hidden": draw.choice((1, 3, 8, 17)),
        "outputs": draw.choice((1, 2, 5)),
        "layers": draw.choice((1, 2)),
        "pooling": draw.choice(("last", "mean")),
        "squash": draw.choice(("exact", "exact", "hard")),
    }
    options["outputs"] = min(options["outputs"], options["hidden"])
    options |= changes
    options.setdefault("modes", {gate: draw.choice(MODES) for gate in cell(options["cell_name"]).gates})
    bits = [Bits(draw.choice((8, 4, 2)), draw.choice((8, 16)), draw.choice((0, 8))) for _ in range(options["layers"])]
    options.setdefault("bits", bits)
    mean, std = rng.normal(0, 5, channels), rng.uniform(0.1, 9, channels)
    made = Network(signature, mean, std, 4.0, seed=number, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(draw.choice((0.5, 1.0, 3.0) if made.squash == "exact" else (0.5, 1.0)))
        for layer in made.layers:
            for vector in (layer.p, layer.rb):
                if vector is not None:
                    vector.copy_(torch.from_numpy(rng.normal(0, 0.5, len(vector))))
    x = mean + std * rng.normal(0, 1, (6, steps, channels))
    made.calibration = calibrate(made.float_model(), x)
    x[3:] = mean + std * rng.normal(0, 20, x[3:].shape)
    return made, x


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_the_logits_of_training_are_the_scores_of_the_runtime(number: int) -> None:
    made, x = network(number)
    model = made.quantized()
    logits = made.forward_quantized(x)
    wanted = real_outputs(model, execute(model, model.quantize_input(x)).outputs)["scores"]
    assert logits.dtype == torch.float32
    assert np.array_equal(logits.detach().numpy(), wanted.astype(np.float32))


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_no_integer_of_any_step_differs(number: int) -> None:
    made, x = network(number)
    model = made.quantized()
    samples = model.quantize_input(x)
    found, wanted = integers.execute(model, samples, trace="all"), execute(model, samples, trace="all")
    assert set(found.trace) == set(wanted.trace)
    assert sum(int((found.trace[name] != value).sum()) for name, value in wanted.trace.items()) == 0
    for part in ("outputs", "state"):
        assert all(np.array_equal(getattr(found, part)[name], v) for name, v in getattr(wanted, part).items())


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_every_parameter_has_a_finite_gradient(number: int) -> None:
    made, x = network(number)
    logits = made.forward_quantized(x)
    logits.square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    model = made.quantized()
    last = len(model.layers) - 1
    h = execute(model, model.quantize_input(x), trace="states").trace[f"{layer_name(model, last)}.h"]
    h = model.layers[last].h.dequantize(h)
    pooled = h[:, -1] if model.pooling == "last" else h.mean(axis=1)
    wanted = 2 * logits.detach().numpy().T @ pooled  # the dense layer sees the runtime's h
    assert made.dense.weight.grad.numpy() == pytest.approx(wanted, rel=1e-4, abs=1e-4 * np.abs(wanted).max() + 1e-9)


FINE = [Bits(8, 16, 8)]


@pytest.mark.parametrize("name", CELLS)
def test_the_gradient_of_a_fine_quantization_is_that_of_the_float_network(name: str) -> None:
    """Soft gates and one layer, so that rounding moves values by little: the directions agree."""
    modes = dict.fromkeys(cell(name).gates, "soft")
    for number in range(4):
        made, x = network(number, cell_name=name, modes=modes, layers=1, squash="exact", bits=FINE)
        x = x[:3]
        directions = []
        for forward in (made.forward, made.forward_quantized):
            made.zero_grad()
            forward(x)[:, 0].sum().backward()
            directions.append(torch.cat([p.grad.flatten() for p in made.parameters()]))
        assert torch.nn.functional.cosine_similarity(*directions, dim=0) > 0.98


@pytest.mark.parametrize("name", CELLS)
def test_the_float_forward_pass_is_that_of_the_float_model(name: str) -> None:
    for mode, squash in (("soft", "exact"), ("hard-sigmoid", "hard")):
        made, x = network(3, cell_name=name, modes=dict.fromkeys(cell(name).gates, mode), squash=squash, layers=1)
        wanted = made.float_model().run(x)["scores"]
        # float32 against float64: a few units of float32's last place per step
        assert made(x).detach().numpy() == pytest.approx(wanted, rel=1e-4, abs=1e-4 * np.abs(wanted).max())


def test_a_hard_gate_is_the_threshold_with_the_slope_of_a_sigmoid() -> None:
    z = torch.tensor([-2.0, -0.5, 0.0, 1e-6, 0.5, 2.0], requires_grad=True)
    gates = Activations(LSTM, {"i": "hard", "f": "soft", "o": "three-level"})
    assert gates.gate("i", z).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    value = gates.gate("i", z, differentiable=True)
    assert value.tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], abs=1e-6)
    (slope,) = torch.autograd.grad(value.sum(), z)
    s = [1 / (1 + math.exp(-2 * v)) for v in z.tolist()]
    assert slope.tolist() == pytest.approx([2 * a * (1 - a) for a in s], abs=1e-6)
    (slope,) = torch.autograd.grad(gates.gate("f", z, differentiable=True).sum(), z)
    assert slope.tolist() == pytest.approx((torch.sigmoid(z) * (1 - torch.sigmoid(z))).tolist())


def test_a_three_level_gate_has_two_steps() -> None:
    z = torch.tensor([-1.5, -1.0, -0.9, 0.0, 1.0, 1.1])
    gates = Activations(LSTM, {"i": "three-level"})
    assert gates.gate("i", z).tolist() == [0.0, 0.0, 0.5, 0.5, 0.5, 1.0]


def test_an_annealed_gate_is_a_sigmoid_with_its_own_slope() -> None:
    z = torch.tensor([-1.0, 0.0, 0.3])
    value = Activations(LSTM, {"i": "hard"}, slope=5.0).gate("i", z)
    assert value.tolist() == pytest.approx([1 / (1 + math.exp(-5 * v)) for v in z.tolist()])


def test_a_seed_gives_the_same_network_and_leaves_the_global_generator_alone() -> None:
    signature = Signature("m", ("x",), ("",), None, 3, ("a", "b"))

    def made(seed: int) -> torch.Tensor:
        zero, one, modes = np.zeros(1), np.ones(1), dict.fromkeys("ifo", "soft")
        options: dict[str, Any] = {"cell_name": "lstm", "modes": modes, "hidden": 3, "layers": 2, "pooling": "last"}
        parameters = Network(signature, zero, one, 4.0, seed=seed, **options).parameters()
        return torch.cat([p.detach().flatten() for p in parameters])

    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert torch.equal(made(1), made(1))
    assert not torch.equal(made(1), made(2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("number", range(18))
def test_rounded_weights_are_those_that_the_integers_stand_for(number: int) -> None:
    """The float pass with rounded weights is that of a network whose weights these are, up to float32."""
    made, x = network(number)
    made.rounds = True
    found = made(x)
    inputs = made._inputs(made.quantized())
    used = [rounded(*of) for of in zip(made.layers, made.quantized().layers, inputs, strict=True)]
    found.square().sum().backward()
    gradients = [layer.R.grad for layer in made.layers]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    with torch.no_grad():
        for layer, values in zip(made.layers, used, strict=True):
            for own, rows in ((layer.W, values.W), (layer.R, values.R)):
                own.copy_(torch.cat([layer.rows(rows, block) for block in layer.kind.matrices]))
            if layer.p is not None:
                layer.p.copy_(values.p)
    made.rounds = False
    wanted = made(x)
    assert torch.equal(found, wanted)
    made.zero_grad()
    wanted.square().sum().backward()
    assert all(torch.equal(g, layer.R.grad) for g, layer in zip(gradients, made.layers, strict=True))


@pytest.mark.parametrize("number", range(10))
def test_changes_are_those_of_h_within_the_windows(number: int) -> None:
    """In float and in integers, with layers in both directions and windows of several lengths."""
    made, x, lengths = random_network(number)
    made.counts_changes = True
    for quantized in (False, True):
        forward = made.forward_quantized if quantized else made
        forward(x, lengths=lengths)
        model = made.quantized()
        ends = lengths if lengths is not None else np.full(len(x), x.shape[1])
        if quantized:
            trace = execute(model, model.quantize_input(x), trace="states", lengths=lengths).trace
            states = [
                model.layers[k].h.dequantize(trace[f"{layer_name(model, k)}.h"]) for k in range(len(model.layers))
            ]
        else:
            float_model = made.float_model()
            found = evaluate(float_model, standardize(float_model, x), timeline(made.signature, *x.shape[:2], lengths))
            states = [of["h"] for of in found.layers[: len(model.layers)]]
        of_layers = []
        for h in states:
            changes = np.abs(np.diff(h, axis=1, prepend=0))
            of_layers.append(np.mean([changes[w, :end].mean(axis=0) for w, end in enumerate(ends)]))
        # Float32 against float64 in the float pass; float32 sums in both.
        assert float(made.changes.detach()) == pytest.approx(np.mean(of_layers), rel=1e-5 if quantized else 1e-3)


def test_quantizing_before_calibration_is_refused() -> None:
    made, x = network(0)
    made.calibration = None
    with pytest.raises(EdgeLstmError, match=r"^calibrate the network before it is quantized: set network.calibration$"):
        made.forward_quantized(x)


def test_dropout_hides_features_in_training_only() -> None:
    made, x = network(3, dropout=0.5, hidden=17)
    made.eval()
    shipped = made.forward_quantized(x)
    assert torch.equal(made.forward_quantized(x), shipped)
    made.train()
    torch.manual_seed(0)
    assert not torch.equal(made.forward_quantized(x), shipped)


def test_an_input_gain_changes_the_integers_and_not_the_weights_that_they_stand_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training asks for no gain; what it does with a model that has one is right all the same."""
    made, x = network(0, cell_name="lstm", hidden=8, layers=1, modes=SOFT, squash="exact", bits=[Bits()])
    assert made.calibration is not None
    model = quantize_model(made.float_model(), made.calibration, made.bits, gains=True)
    assert model.layers[0].input_gain is not None
    records = []

    def recording(*given: Any, **options: Any) -> Record:
        records.append(record(*given, **options))
        return records[-1]

    monkeypatch.setattr(made, "quantized", lambda: model)
    monkeypatch.setattr("edge_lstm.nn.network.record", recording)
    scores = made.forward_quantized(x).detach().numpy()
    wanted = real_outputs(model, execute(model, model.quantize_input(x)).outputs)["scores"]
    assert np.array_equal(scores, wanted.astype(np.float32))
    (found,) = records
    for used, trained in ((found.used.W, made.layers[0].W), (found.used.R, made.layers[0].R)):
        assert (used - trained).abs().max() < 0.01 * trained.abs().max()
