"""Back-propagation through time, of every cell: against torch's own cells, and against automatic differentiation.

Float64 throughout: sums in another order differ by some units of its last place, hence the tolerance of 1e-10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from edge_lstm.cells import CELLS, GRU_AFTER, LSTM, RNN, Cell
from edge_lstm.gates import MODES
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gradient import Parameters, StraightThrough, replay
from edge_lstm.nn.kernel_run import VARIABLE
from edge_lstm.nn.layer import Layer, sites

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
STEPS, WINDOWS, INPUTS, HIDDEN, OUTPUTS = 7, 3, 2, 4, 3
EACH = pytest.mark.parametrize("kind", CELLS.values(), ids=lambda kind: kind.name)


@pytest.fixture(autouse=True)
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is the reference; ``test_nn_kernel`` compares the compiled kernels with it."""
    monkeypatch.setenv(VARIABLE, "torch")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer_and_input(kind: Cell, seed: int = 0) -> tuple[Layer, Tensor, Tensor]:
    """A float64 layer, an input that wants a gradient, and weights of a loss."""
    random = generator(seed)
    layer = Layer(kind, INPUTS, HIDDEN, OUTPUTS if kind.projected else None).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=random, dtype=torch.float64))
    x = torch.randn(STEPS, WINDOWS, INPUTS, generator=random, dtype=torch.float64).requires_grad_()
    return layer, x, torch.randn(STEPS, WINDOWS, layer.outputs, generator=random, dtype=torch.float64)


def gradients(h: Tensor, loss: Tensor, x: Tensor, layer: Layer) -> dict[str, Tensor]:
    named = {"x": x, **dict(layer.named_parameters())}
    return dict(zip(named, torch.autograd.grad((h * loss).sum(), list(named.values())), strict=True))


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, **EXACT, msg=lambda m, name=name: f"{name}: {m}")


def test_soft_layers_are_those_of_torch_with_all_their_gradients() -> None:
    """torch orders the blocks i, f, g, o and r, z, n."""
    for kind, reference, order in (
        (LSTM, torch.nn.LSTM(INPUTS, HIDDEN), (0, 1, 2, 3)),
        (RNN, torch.nn.RNN(INPUTS, HIDDEN), (0,)),
        (GRU_AFTER, torch.nn.GRU(INPUTS, HIDDEN), (1, 0, 2)),
    ):
        layer, x, loss = layer_and_input(kind)
        theirs = reference.double()

        def packed(v: Tensor, order: tuple[int, ...] = order) -> Tensor:
            return torch.cat([v[k * HIDDEN : (k + 1) * HIDDEN] for k in order])

        with torch.no_grad():
            theirs.weight_ih_l0.copy_(packed(layer.W))
            theirs.weight_hh_l0.copy_(packed(layer.R))
            theirs.bias_ih_l0.copy_(packed(layer.b))
            theirs.bias_hh_l0.zero_()
            if layer.rb is not None:
                theirs.bias_hh_l0[-HIDDEN:] = layer.rb
        ours = layer.forward_float(x, Activations(kind, dict.fromkeys(kind.gates, "soft")))["h"]
        wanted, _ = theirs(x)
        torch.testing.assert_close(ours, wanted, **EXACT)
        of = (x, theirs.weight_ih_l0, theirs.weight_hh_l0, theirs.bias_ih_l0)
        found = gradients(ours, loss, x, layer)
        for name, value in zip("xWRb", torch.autograd.grad((wanted * loss).sum(), of), strict=True):
            mine = found[name] if name == "x" else packed(found[name])
            torch.testing.assert_close(mine, value, **EXACT)
            assert value.abs().max() > 1e-3, name


class Autograd:
    """``cells.Machine`` by torch's own operations; a recorded value is the value of a matrix product's result."""

    def __init__(self, layer: Layer, activations: Activations, x: Tensor, h: Tensor, recorded: Mapping[str, Tensor]):
        self.layer, self.activations, self.h, self.recorded = layer, activations, h, recorded
        self.wx = x @ layer.packed.W.T + layer.b

    def _part(self, packed: Tensor, block: str, among: tuple[str, ...]) -> Tensor:
        start = among.index(block) * HIDDEN
        return packed[..., start : start + HIDDEN]

    def _replaced(self, name: str, value: Tensor) -> Tensor:
        return value + (self.recorded[name] - value).detach() if name in self.recorded else value

    def affine(self, block: str, operand: Tensor | None = None) -> Tensor:
        blocks = self.layer.kind.blocks
        recurrent = (self.h if operand is None else operand) @ self._part(self.layer.packed.R.T, block, blocks)
        return self._replaced(block, self._part(self.wx, block, blocks) + recurrent)

    def inputs(self, block: str) -> Tensor:
        return self._replaced(f"{block}.x", self._part(self.wx, block, self.layer.kind.blocks))

    def recurrent(self, block: str) -> Tensor:
        kind = self.layer.kind
        assert self.layer.rb is not None
        product = self.h @ self._part(self.layer.packed.R.T, block, kind.blocks)
        return self._replaced(f"{block}.h", product + self._part(self.layer.rb, block, kind.split))

    def peephole(self, block: str, c: Tensor) -> Tensor:
        assert self.layer.p is not None
        return self._part(self.layer.p, block, self.layer.kind.peepholes) * c

    def gate(self, name: str, z: Tensor) -> Tensor:
        return self.activations.gate(name, z, differentiable=True)

    def squash(self, name: str, v: Tensor) -> Tensor:
        return self.activations.squash(name, v)

    def state(self, name: str, v: Tensor) -> Tensor:  # noqa: ARG002
        return v

    def project(self, v: Tensor) -> Tensor:
        assert self.layer.P is not None
        return self._replaced("m", v) @ self.layer.P.T


def by_autograd(
    layer: Layer,
    x: Tensor,
    activations: Activations,
    recorded: Mapping[str, Tensor],
    initial: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """All states; with recorded values, those are the values and torch's derivatives are taken at them."""
    lengths = {"h": layer.outputs, "c": HIDDEN}
    states = dict(initial or {s: x.new_zeros(WINDOWS, lengths[s]) for s in layer.kind.states})
    found: dict[str, list[Tensor]] = {s: [] for s in states}
    for t in range(STEPS):
        at = {name: value[t] for name, value in recorded.items()}
        machine = Autograd(layer, activations, x[t], states["h"], at)
        states = {s: machine._replaced(s, v) for s, v in layer.kind.step(machine, states).items()}
        for s, v in states.items():
            found[s].append(v)
    return {s: torch.stack(values) for s, values in found.items()}


@pytest.mark.parametrize("slope", [None, 3.0], ids=["steps", "annealed"])
@pytest.mark.parametrize("mode", MODES)
@EACH
def test_every_cell_is_autograd_with_the_surrogate(kind: Cell, mode: Any, slope: float | None) -> None:
    layer, x, loss = layer_and_input(kind, 1)
    squash: Any = "hard" if mode == "hard-sigmoid" else "exact"
    activations = Activations(kind, dict.fromkeys(kind.gates, mode), squash, slope)
    ours, theirs = layer.forward_float(x, activations)["h"], by_autograd(layer, x, activations, {})["h"]
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert_same(gradients(ours, loss, x, layer), gradients(theirs, loss, x, layer))


def test_gates_of_different_modes() -> None:
    layer, x, loss = layer_and_input(LSTM, 2)
    activations = Activations(LSTM, {"i": "hard", "f": "soft", "o": "three-level"})
    ours, theirs = layer.forward_float(x, activations)["h"], by_autograd(layer, x, activations, {})["h"]
    assert_same(gradients(ours, loss, x, layer), gradients(theirs, loss, x, layer))


@EACH
def test_gradients_are_linearised_at_the_recorded_values(kind: Cell) -> None:
    """The values of an integer forward pass satisfy no float equation: here they are random."""
    layer, x, loss = layer_and_input(kind, 4)
    random = generator(3)
    lengths = {"h": layer.outputs}
    names = [*sites(kind), *kind.states, *(["m"] if kind.projected else [])]
    recorded = {
        n: torch.randn(STEPS, WINDOWS, lengths.get(n, HIDDEN), generator=random, dtype=torch.float64) for n in names
    }
    activations = Activations(kind, dict.fromkeys(kind.gates, "soft"))
    record = layer.record(activations, layer.packed.detached(), recorded, recorded)
    ours = replay(x, layer.packed, record)["h"]
    assert torch.equal(ours, recorded["h"])
    theirs = by_autograd(layer, x, activations, recorded)["h"]
    torch.testing.assert_close(theirs, recorded["h"], **EXACT)
    assert_same(gradients(ours, loss, x, layer), gradients(theirs, loss, x, layer))


@pytest.mark.parametrize("mode", ["soft", "hard"])
@EACH
def test_states_before_the_first_step_and_all_states_after_it_have_gradients(kind: Cell, mode: Any) -> None:
    """As a decoder needs of its encoder."""
    layer, x, _ = layer_and_input(kind, 6)
    random = generator(7)
    lengths = {"h": layer.outputs, "c": HIDDEN}

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    initial = {s: drawn(WINDOWS, lengths[s]).requires_grad_() for s in kind.states}
    loss = {s: drawn(STEPS, WINDOWS, lengths[s]) for s in kind.states}
    activations = Activations(kind, dict.fromkeys(kind.gates, mode))
    named = {"x": x, **dict(layer.named_parameters()), **{f"initial {s}": v for s, v in initial.items()}}

    def gradient(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        total = torch.stack([(states[s] * loss[s]).sum() for s in kind.states]).sum()
        return dict(zip(named, torch.autograd.grad(total, list(named.values())), strict=True))

    ours, theirs = layer.forward_float(x, activations, initial), by_autograd(layer, x, activations, {}, initial)
    for s, value in theirs.items():
        torch.testing.assert_close(ours[s], value, **EXACT)
    found = gradient(ours)
    assert_same(found, gradient(theirs))
    assert found["initial h"].abs().max() > 1e-3


def test_the_gradient_passes_through_the_weights_that_were_used() -> None:
    """Quantized weights, not those that are trained, carry the gradient to earlier steps and layers."""
    layer, x, loss = layer_and_input(LSTM, 5)
    activations = Activations(LSTM, dict.fromkeys("ifo", "soft"))
    used = Parameters(2 * layer.W.detach(), 3 * layer.R.detach(), layer.b.detach())
    other = Layer(LSTM, INPUTS, HIDDEN).double()
    with torch.no_grad():
        for parameter, value in ((other.W, used.W), (other.R, used.R), (other.b, used.b)):
            parameter.copy_(value)
    zeros = torch.zeros(STEPS, WINDOWS, HIDDEN, dtype=torch.float64)
    values = dict.fromkeys((*sites(LSTM), "h", "c"), zeros)
    ours = replay(x, layer.packed, layer.record(activations, used, values, values))["h"]
    theirs = by_autograd(other, x, activations, values)["h"]
    assert_same(gradients(ours, loss, x, layer), gradients(theirs, loss, x, other))


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    surrogate = torch.tensor([1.0, 2.0], requires_grad=True)
    value = torch.tensor([10.0, 20.0], requires_grad=True)
    result = StraightThrough.apply(surrogate * 3, value)
    assert result.tolist() == [10.0, 20.0]
    result.sum().backward()
    assert surrogate.grad.tolist() == [3.0, 3.0]
    assert value.grad is None
