"""Modules with the signature of ``torch.nn.LSTM``: with soft gates they compute what PyTorch's own do."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import edge_lstm.nn
from edge_lstm.cells import CELLS
from edge_lstm.errors import EdgeLstmError
from edge_lstm.nn import CIFG, GRU, LSTM, LSTM1997, RNN, GRUResetBefore, PeepholeLSTM, Recurrent, from_torch, to_torch

FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}
"""A few units of float32's last place per step, of values near 1."""
CHANNELS, UNITS, STEPS, WINDOWS = 3, 5, 7, 4
KINDS = (("LSTM", {}), ("LSTM", {"proj_size": 2}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"}))
SHAPES = [*itertools.product(KINDS, ((1, False), (2, True)))]
torch.set_num_threads(1)  # of modules this small more only wait for each other
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
CLASSES = (LSTM, GRU, GRUResetBefore, RNN, PeepholeLSTM, CIFG, LSTM1997)


def pair(kind: tuple[str, dict[str, Any]], layers: int = 1, bidirectional: bool = False, **options: Any) -> Any:
    torch.manual_seed(0)
    name, more = kind
    own = getattr(nn, name)(CHANNELS, UNITS, layers, bidirectional=bidirectional, **more, **options)
    return own, from_torch(own, gates="soft")


def states(module: nn.RNNBase, windows: int | None = WINDOWS) -> Any:
    """Initial states that want gradients."""
    layers = module.num_layers * (2 if module.bidirectional else 1)
    among = () if windows is None else (windows,)
    h = torch.randn(layers, *among, module.proj_size or UNITS).requires_grad_()
    c = torch.randn(layers, *among, UNITS).requires_grad_()
    return (h, c) if isinstance(module, nn.LSTM) else h


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, Tensor) else [tensor for part in value for tensor in tensors(part)]


def same(own: nn.Module, ours: nn.Module, given: Any, leaves: list[Tensor], hx: Any = None) -> None:
    """Outputs, last states, and gradients of inputs and initial states."""
    gradients = []
    results = []
    for module in (own, ours):
        found = tensors(module(given() if callable(given) else given, hx))
        weights = [torch.linspace(-1, 1, v.numel()).reshape(v.shape) for v in found]
        total = sum((v * w).sum() for v, w in zip(found, weights, strict=True))
        results.append(found)
        gradients.append(torch.autograd.grad(total, leaves))
    for group in (results, gradients):
        for wanted, got in zip(*group, strict=True):
            assert got.shape == wanted.shape
            torch.testing.assert_close(got, wanted, **FLOAT32)


@pytest.mark.parametrize(("kind", "shape"), SHAPES, ids=str)
def test_outputs_states_and_gradients_are_those_of_torch(
    kind: tuple[str, dict[str, Any]], shape: tuple[int, bool]
) -> None:
    own, ours = pair(kind, *shape)
    x, hx = torch.randn(STEPS, WINDOWS, CHANNELS, requires_grad=True), states(own)
    same(own, ours, x, [x])
    same(own, ours, x, [x, *tensors(hx)], hx)


@pytest.mark.parametrize(("kind", "shape"), SHAPES, ids=str)
def test_packed_windows_of_several_lengths(kind: tuple[str, dict[str, Any]], shape: tuple[int, bool]) -> None:
    own, ours = pair(kind, *shape, batch_first=True)
    x, hx = torch.randn(WINDOWS, STEPS, CHANNELS, requires_grad=True), states(own)

    def packed() -> PackedSequence:
        return pack_padded_sequence(x, torch.tensor([3, 7, 1, 5]), batch_first=True, enforce_sorted=False)

    same(own, ours, packed, [x, *tensors(hx)], hx)
    wanted, lengths = pad_packed_sequence(own(packed())[0], batch_first=True)
    found, found_lengths = pad_packed_sequence(ours(packed())[0], batch_first=True)
    assert torch.equal(lengths, found_lengths)
    torch.testing.assert_close(found, wanted, **FLOAT32)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_one_window_without_an_axis_of_windows(kind: tuple[str, dict[str, Any]]) -> None:
    for batch_first in (False, True):
        own, ours = pair(kind, 2, True, batch_first=batch_first)
        x, hx = torch.randn(STEPS, CHANNELS, requires_grad=True), states(own, None)
        same(own, ours, x, [x, *tensors(hx)], hx)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_parameters_have_the_gradients_of_torch(kind: tuple[str, dict[str, Any]]) -> None:
    own, ours = pair(kind, 1, False)
    x = torch.randn(STEPS, WINDOWS, CHANNELS)
    for module in (own, ours):
        module(x)[0].square().sum().backward()
    (layer,) = ours.layers
    order = {nn.LSTM: "ifgo", nn.GRU: "rzn", nn.RNN: "t"}[type(own)]
    for name, mine in (("weight_ih_l0", layer.W), ("weight_hh_l0", layer.R), ("bias_ih_l0", layer.b)):
        rows = dict(zip(order, getattr(own, name).grad.chunk(len(order)), strict=True))
        torch.testing.assert_close(mine.grad, torch.cat([rows[k] for k in layer.kind.blocks]), **FLOAT32)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_weights_go_to_torch_and_back(kind: tuple[str, dict[str, Any]], bias: bool) -> None:
    own, ours = pair(kind, 2, True, bias=bias)
    again = to_torch(ours)
    assert type(again) is type(own)
    assert again.bias == bias
    x = torch.randn(STEPS, WINDOWS, CHANNELS)
    torch.testing.assert_close(again(x)[0], own(x)[0], **FLOAT32)
    if not bias:
        assert not any(v.requires_grad for name, v in ours.named_parameters() if name.endswith((".b", ".rb")))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("gates", ["soft", "hard-sigmoid"])
def test_gradients_in_float64(kind: type[Recurrent], gates: str) -> None:
    torch.manual_seed(1)
    options = {} if kind is RNN else {"gates": gates}
    module = kind(2, 3, bidirectional=True, dtype=torch.float64, **options)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    hx = tensors(module(x)[1])
    hx = [torch.randn_like(v).mul_(0.5).requires_grad_() for v in hx]

    def forward(x: Tensor, *hx: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensors(module(x, tuple(hx) if len(hx) > 1 else hx[0])))

    assert torch.autograd.gradcheck(forward, (x, *hx))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("phase", ["float", "hard", "quantized"])
def test_every_cell_has_every_phase(name: str, phase: str) -> None:
    torch.manual_seed(0)
    module = Recurrent(CHANNELS, UNITS, 2, cell=name, gates="hard", bidirectional=True, batch_first=True)
    x = torch.randn(WINDOWS, STEPS, CHANNELS, requires_grad=True)
    module.observe()
    module(x)
    module.observed()
    module.phase = phase
    output, last = module(x)
    assert output.shape == (WINDOWS, STEPS, 2 * module.output_size)
    again, _ = module(x, tuple(torch.zeros_like(v) for v in last) if module.two_states else torch.zeros_like(last))
    assert torch.equal(output, again)
    (output.sum() + sum(v.sum() for v in tensors(last))).backward()
    for value in (x, *module.parameters()):
        assert torch.isfinite(value.grad).all()
    if phase == "quantized":
        units = output.detach().double() / module.quantized().layers[-1].h.scale
        assert torch.equal(units, units.round())


def test_packed_windows_in_integers_are_those_of_each_window_alone() -> None:
    torch.manual_seed(0)
    module = LSTM(CHANNELS, UNITS, 2, bidirectional=True)
    x, hx = torch.randn(STEPS, WINDOWS, CHANNELS), tuple(torch.randn(4, WINDOWS, UNITS) for _ in "hc")
    module.observe()
    module(x)
    module.observed()
    module.phase = "quantized"
    lengths = [3, 7, 1, 5]
    output, last = module(pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False), hx)
    padded, _ = pad_packed_sequence(output)
    for k, steps in enumerate(lengths):
        alone, end = module(x[:steps, k : k + 1], tuple(v[:, k : k + 1].contiguous() for v in hx))
        assert torch.equal(padded[:steps, k : k + 1], alone)
        assert all(torch.equal(v[:, k : k + 1], w) for v, w in zip(last, end, strict=True))


def test_a_stream_goes_on_from_the_states_of_an_lstm() -> None:
    torch.manual_seed(0)
    module = LSTM(CHANNELS, UNITS, 2)
    x = torch.randn(STEPS, WINDOWS, CHANNELS)
    module.observe()
    module(x)
    module.observed()
    for module.phase in ("hard", "quantized"):
        whole, end = module(x)
        first, states = module(x[:3])
        second, last = module(x[3:], states)
        assert torch.equal(torch.cat([first, second]), whole)
        assert all(torch.equal(v, w) for v, w in zip(last, end, strict=True))


def test_inputs_beyond_the_range_have_no_gradient_in_integers() -> None:
    torch.manual_seed(0)
    module = GRU(1, UNITS)
    module.observe()
    module(torch.tensor([[[-1.0]], [[0.5]]]))
    module.observed()
    module.phase = "quantized"
    x = torch.tensor([[[0.3]], [[7.0]]], requires_grad=True)
    module(x)[0].sum().backward()
    assert x.grad[0] != 0
    assert x.grad[1] == 0


@pytest.mark.parametrize("phase", ["float", "hard", "quantized"])
def test_autocast_computes_in_float32_and_gives_the_type_that_it_was_given(phase: str) -> None:
    torch.manual_seed(0)
    module = LSTM(CHANNELS, UNITS, 2, batch_first=True)
    x = torch.randn(WINDOWS, STEPS, CHANNELS).bfloat16()
    module.observe()
    module(x.float())
    module.observed()
    module.phase = phase
    wanted, (h, _) = module(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, (h_low, c_low) = module(x)
        whole, _ = module(x.float())
        found.sum().backward()
    assert torch.equal(whole, wanted)
    assert torch.equal(found, wanted.bfloat16())
    assert torch.equal(h_low, h.bfloat16())
    assert c_low.dtype == torch.bfloat16
    assert all(v.grad.dtype == torch.float32 for v in module.parameters())


class Classifier(nn.Module):
    """A user's model."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(CHANNELS, CHANNELS)
        self.recurrent = LSTM(CHANNELS, UNITS, batch_first=True)
        self.dense = nn.Linear(UNITS, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.recurrent(torch.tanh(self.before(x)))
        scores: Tensor = self.dense(h.mean(1))
        return scores


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # PyTorch's own, in compiling
@pytest.mark.parametrize("phase", ["float", "hard", "quantized"])
def test_torch_compile(phase: str) -> None:
    torch.manual_seed(0)
    model, x = Classifier(), torch.randn(WINDOWS, STEPS, CHANNELS)
    model.recurrent.observe()
    model(x)
    model.recurrent.observed()
    model.recurrent.phase = phase
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager")
    gradients = []
    for forward in (model, compiled):
        model.zero_grad()
        scores = forward(x)
        scores.square().sum().backward()
        gradients.append([scores.detach(), *(p.grad.clone() for p in model.parameters())])
    for wanted, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("phase", ["float", "hard", "quantized"])
@pytest.mark.parametrize("kind", CLASSES)
def test_cuda(kind: type[Recurrent], phase: str) -> None:
    torch.manual_seed(0)
    module = kind(CHANNELS, UNITS, 2, bidirectional=True)
    x, lengths = torch.randn(STEPS, WINDOWS, CHANNELS), torch.tensor([7, 5, 3, 1])
    module.observe()
    module(x)
    module.observed()
    module.phase = phase
    there = copy.deepcopy(module).cuda()
    for given in (lambda v: v, lambda v: pack_padded_sequence(v, lengths)):
        results = []
        for each, values in ((module, x), (there, x.cuda())):
            each.zero_grad()
            found = tensors(each(given(values)))
            sum(v.sum() for v in found).backward()
            results.append([v.detach().cpu() for v in (*found, *(p.grad for p in each.parameters()))])
        for wanted, got in zip(*results, strict=True):
            torch.testing.assert_close(got, wanted, **FLOAT32)


def test_state_dict_and_deepcopy() -> None:
    torch.manual_seed(0)
    module = PeepholeLSTM(CHANNELS, UNITS)
    x = torch.randn(STEPS, WINDOWS, CHANNELS)
    module.observe()
    module(x)
    module.observed()
    module.phase = "quantized"
    wanted, _ = module(x)
    other = PeepholeLSTM(CHANNELS, UNITS)
    other.load_state_dict(module.state_dict())
    other.phase = "quantized"
    assert torch.equal(other(x)[0], wanted)
    assert torch.equal(copy.deepcopy(module)(x)[0], wanted)


def test_dropout_between_levels_is_of_training_only() -> None:
    torch.manual_seed(0)
    module, x = GRU(CHANNELS, UNITS, 2, dropout=0.5), torch.randn(STEPS, WINDOWS, CHANNELS)
    assert not torch.equal(module(x)[0], module(x)[0])
    module.eval()
    assert torch.equal(module(x)[0], module(x)[0])


def test_public_names() -> None:
    assert all(getattr(edge_lstm.nn, name) is not None for name in edge_lstm.nn.__all__)
    with pytest.raises(AttributeError, match=r"^module 'edge_lstm.nn' has no attribute 'Gru'$"):
        _ = edge_lstm.nn.Gru


def test_it_says_what_it_is() -> None:
    text = repr(LSTM(3, 5, gates="i=hard,f=soft,o=hard", bidirectional=True))
    assert text.splitlines()[1].strip() == (
        "3, 5, num_layers=1, cell=lstm, gates=i=hard,f=soft,o=hard, phase=hard, bidirectional=True"
    )
    LSTM(3, 5).flatten_parameters()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: LSTM(0, 5), "input_size is 0; accepted are positive numbers"),
        (lambda: LSTM(3, 5, dropout=2), "dropout is 2; accepted are 0 to 1"),
        (lambda: LSTM(3, 5, squash="soft"), "squash is 'soft'; accepted are exact, hard"),
        (lambda: GRU(3, 5, proj_size=2), "proj_size is 2, and a gru-after has no projection; lstmp has one"),
        (lambda: LSTM(3, 5, proj_size=6), "proj_size is 6; accepted are 0 to 5"),
        (lambda: RNN(3, 5, nonlinearity="cos"), "nonlinearity is 'cos'; accepted are tanh, relu"),
        (lambda: LSTM(3, 5, weight_bits=3), "weight_bits is 3; accepted are 8, 4, 2"),
        (
            lambda: LSTM(3, 5)(torch.zeros(4, 2, 6)),
            "sequences are (4, 2, 6) as (steps, windows, channels); accepted are 3 channels, and at least one step and "
            "one window",
        ),
        (
            lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), (torch.zeros(1, 3, 5),) * 2),
            "h_0 has shape (1, 3, 5); accepted is (1, 2, 5)",
        ),
        (
            lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), torch.zeros(1, 2, 5)),
            "hx is Tensor; a lstm takes a pair of h and c",
        ),
        (
            lambda: from_torch(nn.LSTMCell(3, 5)),
            "torch.nn.modules.rnn.LSTMCell can't be swapped; accepted are torch.nn.LSTM, GRU, RNN",
        ),
        (
            lambda: to_torch(CIFG(3, 5)),
            "PyTorch has no cell 'cifg'; accepted are lstm, lstmp, gru-after, rnn, rnn-relu",
        ),
        (
            lambda: to_torch(LSTM(3, 5)),
            "PyTorch has soft gates and exact functions only; those of this module are others",
        ),
    ],
)
def test_what_is_refused(made: Any, message: str) -> None:
    with pytest.raises(EdgeLstmError) as caught:
        made()
    assert str(caught.value) == message


def test_integers_before_calibration_are_refused() -> None:
    module = LSTM(3, 5)
    module.phase = "quantized"
    with pytest.raises(
        EdgeLstmError, match=r"^the ranges of a recurrent module are not known: calibrate the model first$"
    ):
        module(torch.zeros(4, 2, 3))
