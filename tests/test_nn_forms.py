"""Every form of a model in PyTorch: the runtime's integers, in execution and in the forward pass of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_lstm.bits import Bits
from edge_lstm.calibrate import calibrate
from edge_lstm.cells import cell
from edge_lstm.heads import EXP_RANGE
from edge_lstm.model import QuantizedModel
from edge_lstm.nn import integers
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.kernel_run import VARIABLE
from edge_lstm.nn.layer import Layer
from edge_lstm.nn.network import Network
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.signature import Signature

MakeQuantized = Callable[..., QuantizedModel]
MakeWindows = Callable[..., np.ndarray]
MakeLengths = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is the reference; ``test_nn_kernel`` compares the compiled kernels with it."""
    monkeypatch.setenv(VARIABLE, "torch")


@pytest.mark.parametrize("gates", ["soft", "hard"])
def test_torch_computes_the_integers_of_the_runtime(
    form: str, gates: str, make_quantized_form: MakeQuantized, make_windows: MakeWindows, make_lengths: MakeLengths
) -> None:
    model = make_quantized_form(form, gates)
    x = make_windows(model, model.signature.steps)
    lengths = make_lengths(model, len(x), x.shape[1])
    for trace in ("none", "states", "all"):
        found = integers.execute(model, x, trace=trace, lengths=lengths)
        wanted = execute(model, x, trace=trace, lengths=lengths)
        for group in ("outputs", "state", "trace"):
            theirs, ours = getattr(wanted, group), getattr(found, group)
            assert ours.keys() == theirs.keys()
            for name, value in theirs.items():
                assert ours[name].dtype == value.dtype
                np.testing.assert_array_equal(ours[name], value, err_msg=f"{group} {name}")


FORMS: dict[str, dict[str, Any]] = {
    "forward": {},
    "reverse": {"directions": ["reverse"]},
    "bidirectional": {"directions": ["bidirectional"], "cell_name": "gru"},
    "bidirectional mean": {"directions": ["bidirectional"], "pooling": "mean", "cell_name": "peephole"},
    "bidirectional max": {"directions": ["bidirectional"], "pooling": "max", "cell_name": "cifg"},
    "bidirectional attention": {"directions": ["bidirectional"], "pooling": "attention"},
    "bidirectional each": {"directions": ["bidirectional"], "pooling": "each", "relu": [5]},
    "stack": {"directions": ["bidirectional", "reverse", "bidirectional"], "pooling": "mean", "cell_name": "lstm-1997"},
    "projected": {"directions": ["bidirectional", "forward"], "cell_name": "lstmp", "outputs": 3},
    "attention": {"pooling": "attention", "cell_name": "gru-after"},
    "newest": {"directions": ["bidirectional"], "pooling": "newest", "variable": True},
    "each": {"pooling": "each"},
    "probabilities": {"probabilities": True},
    "regression": {"task": "regress", "pooling": "mean"},
    "regression each": {"task": "regress", "pooling": "each", "directions": ["bidirectional"]},
    "variable": {"variable": True},
    "variable reverse": {"variable": True, "directions": ["reverse"], "cell_name": "rnn"},
    "variable mean": {"variable": True, "pooling": "mean", "directions": ["bidirectional"]},
    "variable max": {"variable": True, "pooling": "max", "directions": ["bidirectional"]},
    "variable attention": {"variable": True, "pooling": "attention", "directions": ["bidirectional"]},
    "variable each": {"variable": True, "pooling": "each", "directions": ["bidirectional", "bidirectional"]},
    "variable each probabilities": {"variable": True, "pooling": "each", "probabilities": True},
    "decoder": {"decoder": 5},
    "decoder regression": {"decoder": 14, "task": "regress", "cell_name": "gru"},
    "decoder stack": {"decoder": 5, "layers": 2, "cell_name": "lstmp", "outputs": 3, "relu": [5]},
    "decoder variable": {"decoder": 5, "variable": True, "probabilities": True, "cell_name": "rnn"},
}
"""What a network may be: its options, and those of its signature."""
WINDOWS, STEPS, CHANNELS, HIDDEN = 6, 11, 2, 5


def network(form: str, mode: str = "soft", *, seed: int = 0) -> tuple[Network, np.ndarray, np.ndarray | None]:
    """A random calibrated network, samples of which some are livelier than the calibration's, and their lengths."""
    rng = np.random.default_rng([seed, *form.encode()])
    options: dict[str, Any] = {"cell_name": "lstm", "hidden": HIDDEN, "pooling": "last", **FORMS[form]}
    named = {name: options.pop(name) for name in ("task", "variable", "probabilities") if name in options}
    signature = Signature("m", ("a", "b"), ("", ""), None, STEPS, ("p", "q", "r"), **named)
    options.setdefault("layers", len(options.get("directions", [0])))
    if named.get("task") == "regress":
        options |= {"output_mean": rng.normal(0, 3, 3), "output_std": rng.uniform(0.5, 2, 3)}
    mean, std = rng.normal(0, 5, CHANNELS), rng.uniform(0.1, 9, CHANNELS)
    modes: Any = dict.fromkeys(cell(options["cell_name"]).gates, mode)
    bits = [Bits(8, (8, 16)[seed % 2], (0, 8)[seed % 2])] * options["layers"]
    made = Network(signature, mean, std, 4.0, modes=modes, bits=bits, seed=seed, **options)
    if made.head.attention is not None:
        with torch.no_grad():  # some scores leave the limits
            made.head.attention.weights.mul_(10)
            made.head.attention.bias.fill_(-1.0)
    x = mean + std * rng.normal(0, 1, (WINDOWS, STEPS, CHANNELS))
    lengths = np.array([STEPS, 1, 4, STEPS, 7, 2]) if signature.variable else None
    made.calibration = calibrate(made.float_model(), x, lengths=lengths)
    x[3:] = mean + std * rng.normal(0, 5, x[3:].shape)
    return made, x, lengths


NETWORKS = pytest.mark.parametrize("named", FORMS)


@NETWORKS
@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_the_logits_of_training_are_the_scores_of_the_runtime(named: str, mode: str) -> None:
    for seed in range(2):
        made, x, lengths = network(named, mode, seed=seed)
        model = made.quantized()
        logits = made.forward_quantized(x, lengths)
        outputs = execute(model, model.quantize_input(x), lengths=lengths).outputs
        wanted = real_outputs(model, outputs)["scores"].astype(np.float32)
        assert logits.shape == wanted.shape
        assert int((logits.detach().numpy() != wanted).sum()) == 0
        logits.square().sum().backward()
        for name, parameter in made.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


@NETWORKS
def test_the_float_forward_pass_is_that_of_the_float_model(named: str) -> None:
    made, x, lengths = network(named)
    wanted = made.float_model().run(x, lengths=lengths)["scores"]
    # float32 against float64: a few units of float32's last place per step
    assert made(x, lengths=lengths).detach().numpy() == pytest.approx(wanted, rel=1e-4, abs=1e-4 * np.abs(wanted).max())


@NETWORKS
def test_the_gradient_of_a_fine_quantization_is_that_of_the_float_network(named: str) -> None:
    """Soft gates, 16 bits, so that rounding moves values by little: the directions agree."""
    made, x, lengths = network(named, seed=1)
    x, lengths = x[:3], None if lengths is None else lengths[:3]
    directions = []
    for forward in (made.forward, made.forward_quantized):
        made.zero_grad()
        forward(x, lengths=lengths)[..., 0].sum().backward()
        directions.append({name: p.grad.flatten() for name, p in made.named_parameters() if p.grad is not None})
    assert directions[0].keys() == directions[1].keys()
    whole = [torch.cat(list(d.values())) for d in directions]
    assert torch.nn.functional.cosine_similarity(*whole, dim=0) > 0.98


@NETWORKS
def test_what_is_beyond_the_end_of_a_window_changes_nothing(named: str) -> None:
    made, x, lengths = network(named)
    if lengths is None:
        return
    other = np.where((np.arange(STEPS) < lengths[:, None])[..., None], x, 1e6)
    for forward in (made.forward, made.forward_quantized):
        found = []
        for samples in (x, other):
            made.zero_grad()
            scores = forward(samples, lengths=lengths)
            scores.square().sum().backward()
            found.append((scores, *[p.grad.clone() for p in made.parameters()]))
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    if made.pooling == "each":
        assert not scores[1, 1:].any()


def by_autograd(made: Network, x: Tensor, lengths: np.ndarray | None, activations: Activations) -> Tensor:
    """The network window by window, by torch's own operations; what a decoder is fed has no gradient."""
    scores = []
    for k, window in enumerate(x):
        value = window[: None if lengths is None else lengths[k]]
        states: list[Mapping[str, Tensor]] = []
        for layer in made.layers:
            if not layer.beside:
                given = value
            value = torch.cat([*([value] if layer.beside else []), run(layer, given, activations, states)], dim=-1)
        scores.append(decoded(made, states, activations) if made.decoder else made.head.scores(pooled(made, value)))
    if scores[0].ndim == 2 and lengths is not None and made.decoder is None:
        return torch.nn.utils.rnn.pad_sequence(scores, batch_first=True)
    return torch.stack(scores)


def run(layer: Layer, x: Tensor, activations: Activations, states: list[Mapping[str, Tensor]]) -> Tensor:
    """h (steps, length) of a layer in the order of time; the last states are appended."""
    last = {s: x.new_zeros(layer.outputs if s == "h" else layer.hidden) for s in layer.kind.states}
    found = []
    for sample in x.flip(0) if layer.reverse else x:
        last = layer.kind.step(Direct(layer, activations, sample, last["h"]), last)
        found.append(last["h"])
    states.append(last)
    return torch.stack(found[::-1] if layer.reverse else found)


def pooled(made: Network, h: Tensor) -> Tensor:
    if made.head.attention is not None:
        score = torch.clamp(h @ made.head.attention.weights + made.head.attention.bias, -EXP_RANGE, 0)
        return torch.exp(score) @ h / torch.exp(score).sum()
    if made.pooling == "last":
        width = made.layers[-1].outputs
        level = made.layers[-2:] if made.layers[-1].beside else made.layers[-1:]
        return torch.cat([h[0 if k.reverse else -1, j * width : (j + 1) * width] for j, k in enumerate(level)])
    return {"newest": h[-1], "mean": h.mean(0), "max": h.max(0).values, "each": h}[made.pooling]


def decoded(made: Network, states: list[Mapping[str, Tensor]], activations: Activations) -> Tensor:
    fed, scores = torch.zeros(3, dtype=torch.float64), []
    for _ in range(made.decoder.steps):
        value = fed / made.decoder.scale
        for k, layer in enumerate(made.decoder.layers):
            states[k] = layer.kind.step(Direct(layer, activations, value, states[k]["h"]), states[k])
            value = states[k]["h"]
        scores.append(made.head.scores(value))
        fed = scores[-1].detach()
    return torch.stack(scores)


class Direct:
    """``cells.Machine`` on one window's sample."""

    def __init__(self, layer: Layer, activations: Activations, x: Tensor, h: Tensor) -> None:
        self.layer, self.activations, self.h, self.wx = layer, activations, h, layer.W @ x + layer.b

    def affine(self, block: str, operand: Tensor | None = None) -> Tensor:
        r = self.layer.rows(self.layer.R, block)
        return self.layer.rows(self.wx, block) + r @ (self.h if operand is None else operand)

    def inputs(self, block: str) -> Tensor:
        return self.layer.rows(self.wx, block)

    def recurrent(self, block: str) -> Tensor:
        layer = self.layer
        return layer.rows(layer.R, block) @ self.h + layer.rows(layer.rb, block, layer.kind.split)

    def peephole(self, block: str, c: Tensor) -> Tensor:
        return self.layer.rows(self.layer.p, block, self.layer.kind.peepholes) * c

    def gate(self, name: str, z: Tensor) -> Tensor:
        return self.activations.gate(name, z, differentiable=True)

    def squash(self, name: str, v: Tensor) -> Tensor:
        return self.activations.squash(name, v)

    def state(self, name: str, v: Tensor) -> Tensor:  # noqa: ARG002
        return v

    def project(self, v: Tensor) -> Tensor:
        return self.layer.P @ v


@NETWORKS
@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_the_gradient_is_that_of_automatic_differentiation(named: str, mode: str) -> None:
    """Of every parameter, in float64: sums in another order differ by some units of its last place."""
    made, _, lengths = network(named, mode)
    made.double()
    for part in (made.head, *([made.decoder] if made.decoder else [])):
        part.scale = part.scale.double()
    made.head.mean = made.head.mean.double()
    steps = made._steps(np.zeros((WINDOWS, STEPS, CHANNELS)), lengths)
    x = torch.randn(WINDOWS, STEPS, CHANNELS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x.requires_grad_()
    activations = Activations(made.layers[0].kind, made.modes)
    ours, theirs = made.scores(x.transpose(0, 1), steps, activations), by_autograd(made, x, lengths, activations)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    weights = torch.randn(ours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    names, values = zip(*made.named_parameters(), ("x", x), strict=False)
    found, wanted = (torch.autograd.grad((v * weights).sum(), values) for v in (ours, theirs))
    for name, a, b in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")
        unused = named == "newest" and name == "recurrent.1.R"  # of a reversed layer's first step
        assert unused or b.abs().max() > 1e-7, name
    if lengths is not None:
        assert not found[-1][1, 1:].any()  # that of a sample beyond the end
