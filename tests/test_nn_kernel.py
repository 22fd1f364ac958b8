"""The compiled kernels of training: against PyTorch, which is the reference, and against the runtime's integers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from random_networks import random_network
from torch import Tensor

from edge_lstm.cells import CELLS, LSTM, Cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import MODES
from edge_lstm.nn import integers, kernel_run
from edge_lstm.nn.activations import Activations
from edge_lstm.nn.gates import Gates
from edge_lstm.nn.gradient import Record, gate_means
from edge_lstm.nn.kernel_code import Code
from edge_lstm.nn.kernel_run import VARIABLE, Kernel, kernel
from edge_lstm.nn.layer import Layer
from edge_lstm.runtime import execute, real_outputs

STEPS, WINDOWS, INPUTS, HIDDEN, OUTPUTS = 6, 19, 2, 5, 3
"""More windows than lanes, and not as many as twice the lanes."""
EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
"""Float64: sums in another order, and series for exp, differ by some units of its last place."""
EACH = pytest.mark.parametrize("kind", CELLS.values(), ids=lambda kind: kind.name)


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be compiled raises."""
    monkeypatch.setenv(VARIABLE, "compiled")


def mixed(kind: Cell, slope: float | None) -> Activations:
    """Another mode of each gate."""
    return Activations(kind, {gate: MODES[(k + 1) % 4] for k, gate in enumerate(kind.gates)}, "hard", slope)


def soft(kind: Cell) -> Activations:
    return Activations(kind, dict.fromkeys(kind.gates, "soft"))


class Example:
    """A random layer, what it is given, and the weights of a loss."""

    def __init__(self, kind: Cell, dtype: torch.dtype = torch.float64) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.layer = Layer(kind, INPUTS, HIDDEN, OUTPUTS if kind.projected else None).to(dtype)
        with torch.no_grad():
            for parameter in self.layer.parameters():
                parameter.copy_(0.7 * self.drawn(*parameter.shape))
        lengths = {"h": self.layer.outputs, "c": HIDDEN}
        self.x = self.drawn(STEPS, WINDOWS, INPUTS).to(dtype).requires_grad_()
        self.initial = {s: self.drawn(WINDOWS, lengths[s]).to(dtype).requires_grad_() for s in kind.states}
        self.loss = {s: self.drawn(STEPS, WINDOWS, lengths[s]).to(dtype) for s in kind.states}

    def drawn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random, dtype=torch.float64)

    def results(self, activations: Activations, watch: Any = None) -> dict[str, Tensor]:
        """All states, and the gradients of everything."""
        states = self.layer.forward_float(self.x, activations, self.initial, watch)
        total = torch.stack([(states[s] * weight).sum() for s, weight in self.loss.items()]).sum()
        named = {"x": self.x, **dict(self.layer.named_parameters()), **{f"0 {s}": v for s, v in self.initial.items()}}
        found = dict(zip(named, torch.autograd.grad(total, list(named.values())), strict=True))
        return {**{s: v.detach() for s, v in states.items()}, **{f"d {name}": v for name, v in found.items()}}


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], **tolerance: Any) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, **(tolerance or EXACT), msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("slope", [None, 3.0], ids=["steps", "annealed"])
@EACH
def test_states_and_gradients_are_those_of_torch(
    kind: Cell, slope: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hard forms and a mode of its own for each gate, penalties on all, windows of several lengths."""
    example, activations = Example(kind), mixed(kind, slope)
    lengths = torch.randint(1, STEPS + 1, (WINDOWS,), generator=example.random)

    def watch(record: Record) -> Record:
        return Gates(kind, {gate: k + 0.5 for k, gate in enumerate(kind.gates)}, 1).watched(record, lengths)

    found = example.results(activations, watch)
    monkeypatch.setenv(VARIABLE, "torch")
    assert_same(found, example.results(activations, watch))


@EACH
def test_soft_gates_with_exact_functions(kind: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    example = Example(kind)
    found = example.results(soft(kind))
    monkeypatch.setenv(VARIABLE, "torch")
    assert_same(found, example.results(soft(kind)))


@EACH
def test_the_gradient_of_soft_gates_is_the_difference_quotient(kind: Cell) -> None:
    example = Example(kind)

    def states(x: Tensor, *initial: Tensor) -> tuple[Tensor, ...]:
        begun = dict(zip(kind.states, initial, strict=True))
        return tuple(example.layer.forward_float(x, soft(kind), begun).values())

    given = (example.x[:3, :2], *(v[:2] for v in example.initial.values()))
    assert torch.autograd.gradcheck(states, tuple(v.detach().clone().requires_grad_() for v in given))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_float32_differs_by_rounding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of some 100 terms of float32: some units of the seventh digit of the largest of their terms."""
    example, activations = Example(CELLS[name], torch.float32), soft(CELLS[name])
    found = example.results(activations)
    monkeypatch.setenv(VARIABLE, "torch")
    assert_same(found, example.results(activations), rtol=1e-4, atol=1e-4)


def test_the_same_twice() -> None:
    example = Example(LSTM, torch.float32)
    found, again = example.results(soft(LSTM)), example.results(soft(LSTM))
    assert all(torch.equal(again[name], value) for name, value in found.items())


@pytest.mark.parametrize("real", [torch.float32, torch.float64])
def test_exp_and_tanh_are_right_to_the_rounding(real: torch.dtype) -> None:
    """Within some units of the last place, near zero too, and at their limits far from it."""
    code = Code()
    v = code.source("v", "n", "real", "stream")
    code.stored["sigmoid"] = code.elements("n", "real", "sigmoid_of({0})", v)
    code.stored["tanh"] = code.elements("n", "real", "tanh_of({0})", v)
    points = np.concatenate([np.linspace(-30, 30, 20001), np.geomspace(1e-30, 1, 999), [-1e30, 1e30, 0.0, -1e-7]])
    given = torch.from_numpy(points).to(real)
    found = {name: kernel_run.stream(1, len(points), 1, real) for name in code.stored}
    arrays: dict[str, Any] = {f"to {name}": values for name, values in found.items()}
    arrays["v"] = kernel_run.streamed(given[:, None, None])
    Kernel(code, real)({"steps": len(points), "windows": 1, "n": 1}, arrays, {})
    exact = given.double().numpy()
    with np.errstate(over="ignore"):
        wanted = {"sigmoid": 1 / (1 + np.exp(-exact)), "tanh": np.tanh(exact)}
    for name, values in found.items():
        limit = torch.finfo(real).tiny ** 0.8  # exp is limited before it leaves the numbers
        error = np.abs(values.flatten().double().numpy() - wanted[name]) / np.maximum(np.abs(wanted[name]), limit)
        assert error.max() < 8 * torch.finfo(real).eps, name


# --- integers ---------------------------------------------------------------------------------------------


def differing_integers(number: int) -> int:
    """Scores of the forward pass of training that are not those of the runtime; and gradients must be finite."""
    made, x, lengths = random_network(number)
    model = made.quantized()
    logits = made.forward_quantized(x, lengths)
    outputs = execute(model, model.quantize_input(x), lengths=lengths).outputs
    wanted = real_outputs(model, outputs)["scores"].astype(np.float32)
    logits.square().sum().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in made.parameters())
    return int((logits.detach().numpy() != wanted).sum())


@pytest.mark.parametrize("number", range(27))
def test_the_scores_of_training_are_those_of_the_runtime(number: int) -> None:
    assert differing_integers(number) == 0


@pytest.mark.slow
def test_no_integer_differs_in_200_random_configurations() -> None:
    differing = [differing_integers(number) for number in range(1000, 1200)]
    print(f"{len(differing)} random configurations, {sum(differing)} differing integers")
    assert sum(differing) == 0


@pytest.mark.parametrize("number", [2, 5, 13, 21])
def test_every_recorded_value_is_that_of_torch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accumulators and states at every step, in units, with not a bit of difference."""
    made, x, lengths = random_network(number)
    found: list[integers.Found] = []
    run = integers.integers

    def kept(*given: Any, **options: Any) -> integers.Found:
        found.append(run(*given, **options))
        return found[-1]

    monkeypatch.setattr("edge_lstm.nn.network.integers", kept)
    made.forward_quantized(x, lengths)
    monkeypatch.setenv(VARIABLE, "torch")
    made.forward_quantized(x, lengths)
    ours, theirs = found
    assert ours.real.keys() == theirs.real.keys()
    assert ours.real
    for name, value in theirs.real.items():
        assert torch.equal(ours.real[name], value), name
    assert all(torch.equal(ours.final[name], value) for name, value in theirs.final.items())


# --- penalties --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["compiled", "torch"])
def test_a_penalty_is_the_gradient_of_the_open_rate(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Central differences of the float model with soft gates."""
    monkeypatch.setenv(VARIABLE, path)
    example, activations = Example(LSTM), soft(LSTM)
    lengths = torch.randint(1, STEPS + 1, (WINDOWS,), generator=example.random)

    def rate(gate: str) -> float:
        trace = example.layer.trace(example.x, activations, example.initial)
        made = example.layer.record(activations, example.layer.packed.detached(), trace, trace, example.initial)
        return gate_means(replace(made, lengths=lengths), [gate])[gate]

    def with_penalty(**weights: float) -> dict[str, Tensor]:
        gates = Gates(LSTM, weights, 1)
        found = example.results(activations, lambda record: gates.watched(record, lengths))
        assert gates.open_rates == pytest.approx({gate: rate(gate) for gate in weights})
        return found

    plain, punished = with_penalty(), with_penalty(f=0.7)
    for name, parameter in example.layer.named_parameters():
        at, step = (0,) * parameter.ndim, 1e-5
        rates = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[at] += sign * step
                rates.append(rate("f"))
                parameter[at] -= sign * step
        quotient = (rates[0] - rates[1]) / (2 * step)
        found = float(punished[f"d {name}"][at] - plain[f"d {name}"][at])
        assert found == pytest.approx(0.7 * quotient, rel=1e-5, abs=1e-9), name


@pytest.mark.parametrize("quantized", [False, True])
def test_a_network_says_how_open_its_gates_were(quantized: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made, x, lengths = random_network(0)
    gates = dict.fromkeys(made.layers[0].kind.gates, 0.1)
    rates = []
    for path in ("compiled", "torch"):
        monkeypatch.setenv(VARIABLE, path)
        if quantized:
            made.forward_quantized(x, lengths, gates)
        else:
            made(x, None, lengths, gates)
        rates.append(made.open_rates)
        assert list(made.open_rates) == list(gates)
        assert all(0 <= rate <= 1 for rate in made.open_rates.values())
    assert rates[0] == pytest.approx(rates[1], abs=1e-4)
    made(x, None, lengths)
    assert made.open_rates == {}


def test_penalties_that_cant_be_are_refused() -> None:
    made, x, lengths = random_network(0)
    with pytest.raises(EdgeLstmError, match=r"^a penalty on gate 'q' of a lstm layer; accepted are i, f, o$"):
        made(x, None, lengths, {"q": 1.0})
    with pytest.raises(EdgeLstmError, match=r"^the penalty on gate 'i' is nan; accepted are finite numbers$"):
        made(x, None, lengths, {"i": float("nan")})


# --- where there is no kernel -------------------------------------------------------------------------------


def refuse(_: str) -> None:
    raise EdgeLstmError("no compiler today")


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_run, "_LOADED", {})


@pytest.mark.usefixtures("nothing_loaded")
def test_without_a_compiler_torch_takes_over_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernel_run, "native_library", refuse)
    with pytest.raises(EdgeLstmError, match=r"^no compiler today$"):
        Example(LSTM).results(soft(LSTM))
    monkeypatch.delenv(VARIABLE)
    found = Example(LSTM).results(soft(LSTM))
    made, x, lengths = random_network(1)
    made.forward_quantized(x, lengths).sum().backward()
    message = "training is computed in PyTorch, several times slower: no compiler today"
    assert caplog.record_tuples == [(kernel_run.__name__, logging.WARNING, message)]
    monkeypatch.setenv(VARIABLE, "torch")
    assert_same(found, Example(LSTM).results(soft(LSTM)), rtol=0, atol=0)


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(EdgeLstmError, match=r"^EDGE_LSTM_KERNEL is 'fast'; accepted are auto, compiled, torch$"):
        Example(LSTM).results(soft(LSTM))


def step_with_a_difference(m: Any, last: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors know ``-``, which a cell may not rely on."""
    return {"h": m.state("h", m.squash("t", m.affine("t")) - last["h"])}


def test_equations_that_cant_be_compiled_are_computed_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Cell("odd", ("t",), (), ("h",), {"t": ("tanh", "h")}, step_with_a_difference)
    with pytest.raises(EdgeLstmError, match=r"^the equations of odd can't be compiled: "):
        Example(kind).results(soft(kind))
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(kernel_run, "_LOADED", {})
    found = Example(kind).results(soft(kind))
    monkeypatch.setenv(VARIABLE, "torch")
    assert_same(found, Example(kind).results(soft(kind)), rtol=0, atol=0)


def step_of_a_new_cell(m: Any, last: Mapping[str, Any]) -> dict[str, Any]:
    """A minimal gated unit: h' = f h + (1 - f) tanh(...)."""
    f = m.gate("f", m.affine("f"))
    c = m.state("c", f * last["c"] + (1 - f) * m.squash("n", m.affine("n", f * last["h"])))
    return {"c": c, "h": m.state("h", c)}


def test_a_new_cell_is_compiled_from_its_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Cell("new", ("f", "n"), ("f",), ("h", "c"), {"n": ("tanh", "c")}, step_of_a_new_cell, unit_cell=True)
    found = Example(kind).results(mixed(kind, None))
    monkeypatch.setenv(VARIABLE, "torch")
    assert_same(found, Example(kind).results(mixed(kind, None)))


def test_what_does_not_fit_is_refused_before_it_is_read() -> None:
    code = Code()
    v = code.source("v", "n", "real", "stream")
    code.summed["total"] = code.elements("n", "real", "{0} * {1}", v, code.source("p", "n", "real", "vector"))
    made = kernel("a test", lambda: code, torch.float32)
    assert made is not None
    v, p, total = kernel_run.stream(2, 3, 4, torch.float32).fill_(1.5), torch.tensor([2.0, 4.0]), torch.zeros(2)
    sizes = {"steps": 3, "windows": 4, "n": 2}
    made(sizes, {"v": v, "p": p, "sum total": total}, {})
    assert total.tolist() == [36.0, 72.0]
    for wrong, message in (
        ({"p": None}, r"^a kernel needs p, which is not given$"),
        ({"p": p.double()}, r"^p of a kernel is torch.float64 \(2,\); accepted are torch.float32 \(2,\)"),
        ({"v": v.contiguous()}, r"^v of a kernel is torch.float32 \(2, 3, 4\); accepted are"),
        ({"sum total": torch.zeros(1)}, r"^sum total of a kernel is torch.float32 \(1,\); accepted are"),
    ):
        with pytest.raises(EdgeLstmError, match=message):
            made(sizes, {"v": v, "p": p, "sum total": total, **wrong}, {})
    with pytest.raises(EdgeLstmError, match=r"^lengths are torch.int32 \(4,\); accepted are int64 \(windows,\)$"):
        made(sizes, {"v": v, "p": p, "sum total": total}, {}, torch.ones(4, dtype=torch.int32))
