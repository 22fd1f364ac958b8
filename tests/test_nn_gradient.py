"""Back-propagation through time, against torch.nn.LSTM, against autograd, and against its own equations in loops.

Float64 throughout: sums in another order differ by some units of its last place, hence the tolerance of 1e-10.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from edge_lstm.cells import LSTM
from edge_lstm.nn.gradient import Record, StraightThrough, replay
from edge_lstm.nn.network import Gates, Layer

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
STEPS, WINDOWS, INPUTS, HIDDEN = 7, 3, 2, 4
MIXES = [dict(zip("ifo", mix, strict=True)) for mix in itertools.product(("soft", "hard"), repeat=3)]


def layer_and_input(seed: int = 0) -> tuple[Layer, Tensor, Tensor]:
    """A float64 layer, an input that wants a gradient, and weights of a loss."""
    generator = torch.Generator().manual_seed(seed)
    layer = Layer(LSTM, INPUTS, HIDDEN).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(STEPS, WINDOWS, INPUTS, generator=generator, dtype=torch.float64).requires_grad_()
    return layer, x, torch.randn(STEPS, WINDOWS, HIDDEN, generator=generator, dtype=torch.float64)


def gradients(h: Tensor, loss: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((h * loss).sum(), of)


def test_a_soft_layer_is_the_lstm_of_torch_with_all_its_gradients() -> None:
    layer, x, loss = layer_and_input()
    reference = torch.nn.LSTM(INPUTS, HIDDEN).double()
    with torch.no_grad():
        reference.weight_ih_l0.copy_(layer.W)  # both order the blocks i, f, g, o
        reference.weight_hh_l0.copy_(layer.R)
        reference.bias_ih_l0.copy_(layer.b)
        reference.bias_hh_l0.zero_()
    ours = layer.forward_float(x, Gates(dict.fromkeys("ifo", "soft")))
    theirs, _ = reference(x)
    torch.testing.assert_close(ours, theirs, **EXACT)
    parameters = (reference.weight_ih_l0, reference.weight_hh_l0, reference.bias_ih_l0)
    wanted = gradients(theirs, loss, x, *parameters)
    for name, found, value in zip("xWRb", gradients(ours, loss, x, layer.W, layer.R, layer.b), wanted, strict=True):
        torch.testing.assert_close(found, value, **EXACT, msg=lambda m, name=name: f"{name}: {m}")
        assert value.abs().max() > 1e-3, name


def by_autograd(layer: Layer, x: Tensor, modes: dict[str, str], slope: float | None) -> Tensor:
    """The same layer by torch's own operations; a hard gate is its surrogate with the threshold's value."""

    def gate(name: str, z: Tensor) -> Tensor:
        if modes[name] == "soft":
            return torch.sigmoid(z)
        surrogate = torch.sigmoid((slope or 2.0) * z)
        return surrogate if slope else surrogate + ((z > 0).double() - surrogate).detach()

    h = c = x.new_zeros(WINDOWS, HIDDEN)
    outputs = []
    for row in x:
        i, f, g, o = (row @ layer.W.T + h @ layer.R.T + layer.b).split(HIDDEN, dim=1)
        c = gate("f", f) * c + gate("i", i) * torch.tanh(g)
        h = gate("o", o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize("slope", [None, 3.0], ids=["threshold", "annealed"])
@pytest.mark.parametrize("modes", MIXES, ids=lambda m: "-".join(m.values()))
def test_any_mix_of_gates_is_autograd_with_the_surrogate(modes: dict[str, Any], slope: float | None) -> None:
    layer, x, loss = layer_and_input(1)
    ours, theirs = layer.forward_float(x, Gates(modes, slope)), by_autograd(layer, x, modes, slope)
    torch.testing.assert_close(ours, theirs, **EXACT)
    of = (x, layer.W, layer.R, layer.b)
    for found, wanted in zip(gradients(ours, loss, *of), gradients(theirs, loss, *of), strict=True):
        torch.testing.assert_close(found, wanted, **EXACT)


def test_gradients_are_linearised_at_the_recorded_values() -> None:
    """The values of an integer forward pass satisfy no float equation: here they are random. The module's equations,
    one number at a time."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    v = {name: random(STEPS, WINDOWS, HIDDEN) for name in "ifogtch"}
    slopes = {name: random(STEPS, WINDOWS, HIDDEN) for name in "ifo"}
    W, R = random(4 * HIDDEN, INPUTS), random(4 * HIDDEN, HIDDEN)
    x, loss = random(STEPS, WINDOWS, INPUTS).requires_grad_(), random(STEPS, WINDOWS, HIDDEN)
    parameters = [
        torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in (W.shape, R.shape, (4 * HIDDEN,))
    ]
    h = replay(x, *parameters, Record(v, slopes, W, R))
    assert torch.equal(h, v["h"])
    d_x, d_W, d_R, d_b = gradients(h, loss, x, *parameters)

    wanted_x, wanted_W, wanted_R = torch.zeros_like(x), torch.zeros_like(W), torch.zeros_like(R)
    wanted_b = torch.zeros_like(d_b)
    for w in range(WINDOWS):
        dh, dc = [0.0] * HIDDEN, [0.0] * HIDDEN
        for t in reversed(range(STEPS)):
            at = {name: value[t, w].tolist() for name, value in v.items()}
            slope = {name: value[t, w].tolist() for name, value in slopes.items()}
            c_before = v["c"][t - 1, w].tolist() if t else [0.0] * HIDDEN
            h_before = v["h"][t - 1, w] if t else torch.zeros(HIDDEN, dtype=torch.float64)
            dz = [0.0] * (4 * HIDDEN)
            for j in range(HIDDEN):
                reaching = dh[j] + float(loss[t, w, j])
                cell = dc[j] + reaching * at["o"][j] * (1 - at["t"][j] ** 2)
                dz[j] = cell * at["g"][j] * slope["i"][j]
                dz[HIDDEN + j] = cell * c_before[j] * slope["f"][j]
                dz[2 * HIDDEN + j] = cell * at["i"][j] * (1 - at["g"][j] ** 2)
                dz[3 * HIDDEN + j] = reaching * at["t"][j] * slope["o"][j]
                dc[j] = cell * at["f"][j]
            for row, d in enumerate(dz):
                wanted_x[t, w] += d * W[row]
                wanted_W[row] += d * x[t, w].detach()
                wanted_R[row] += d * h_before
                wanted_b[row] += d
            dh = [sum(d * float(R[row, j]) for row, d in enumerate(dz)) for j in range(HIDDEN)]
    for found, wanted in ((d_x, wanted_x), (d_W, wanted_W), (d_R, wanted_R), (d_b, wanted_b)):
        torch.testing.assert_close(found, wanted.detach(), rtol=1e-9, atol=1e-9)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    surrogate = torch.tensor([1.0, 2.0], requires_grad=True)
    value = torch.tensor([10.0, 20.0], requires_grad=True)
    result = StraightThrough.apply(surrogate * 3, value)
    assert result.tolist() == [10.0, 20.0]
    result.sum().backward()
    assert surrogate.grad.tolist() == [3.0, 3.0]
    assert value.grad is None
