"""A user's own model, prepared and converted: what it computed in training is what ships."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch_classifiers import CHANNELS, STEPS, Classifier, OfSeveralLengths, Spec, Two

from edge_lstm.cells import CELLS
from edge_lstm.errors import EdgeLstmError
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.lower import layer_name
from edge_lstm.model import QuantizedModel
from edge_lstm.nn import LSTM, Config, Linear, Recurrent, calibrate, convert, integer_layer, prepare, set_phase
from edge_lstm.runtime import execute, real_outputs
from edge_lstm.signature import Signature

SPECS = [
    *(
        Spec("LSTM", pooling, k % 2 == 0, 1 + k % 2, k > 2)
        for k, pooling in enumerate(("last", "state", "mean", "max"))
    ),
    *(Spec("GRU", pooling, k % 2 == 1, 1 + k % 2, k < 2) for k, pooling in enumerate(("each", "state", "mean", "max"))),
    Spec("RNN", "last", True, 2, True),
    Spec("LSTM", "mean", True, 2, True, proj_size=4),
    Spec("GRU", "mean", True, before="scale"),
    Spec("LSTM", "last", proj_size=4, before="scale"),
]
GATES = ("hard", "soft", "three-level", "hard-sigmoid")
BITS = ((8, 8, "lut"), (4, 8, "lut-interp"), (2, 16, "lut"), (8, 16, "lut-interp"))
CONFIGS = [
    Config(gates=gates, weight_bits=w, activation_bits=a, activations=tables, squash=squash)
    for gates, (w, a, tables), squash in zip(GATES, BITS, ("exact", "exact", "exact", "hard"), strict=True)
]


def samples(windows: int = 20, seed: int = 0) -> Tensor:
    """The second half is livelier than the first."""
    x = torch.randn(windows, STEPS, CHANNELS, generator=torch.Generator().manual_seed(seed))
    x[windows // 2 :] *= 3
    return x


def ready(model: nn.Module, config: Any, x: Tensor, **options: Any) -> nn.Module:
    """Prepared, calibrated, and computing integers; with other weights than those of the calibration."""
    torch.manual_seed(1)
    prepared = prepare(model, config)
    calibrate(prepared, x[: len(x) // 2], **options)
    set_phase(prepared, "quantized")
    with torch.no_grad():
        for name, parameter in prepared.named_parameters():
            if name != "start":
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return prepared.eval()


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, dict[str, Tensor]]]:
    """What each layer computes from now on, and whether it goes backwards."""
    found = []
    run = integer_layer.run_layer

    def recording(layer: Any, *given: Any) -> Any:
        states, h = run(layer, *given)
        found.append((layer.reverse, {s: v.detach() for s, v in states.items()}))
        return states, h

    monkeypatch.setattr("edge_lstm.nn.modules.run_layer", recording)
    return found


def check_states(model: QuantizedModel, x: Tensor, found: list[tuple[bool, dict[str, Tensor]]]) -> None:
    trace = execute(model, model.quantize_input(x.numpy()), trace="states").trace
    assert len(found) == len(model.layers)
    for k, (reverse, states) in enumerate(found):
        for name, value in states.items():
            wanted = trace[f"{layer_name(model, k)}.{name}"].transpose(1, 0, 2)
            unit = getattr(model.layers[k], name).scale
            assert np.array_equal((wanted[::-1] if reverse else wanted) * unit, value.double().numpy())


def scores(model: QuantizedModel | QuantizedGraph, x: Tensor, lengths: Any = None) -> np.ndarray:
    found = real_outputs(model, execute(model, model.quantize_input(x.numpy()), lengths=lengths).outputs)["scores"]
    return found.astype(np.float32)


@pytest.mark.parametrize(("spec", "config"), [*zip(SPECS, itertools.cycle(CONFIGS))], ids=str)
def test_what_was_trained_is_what_ships(spec: Spec, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    x = samples()
    model = ready(Classifier(spec), config, x)
    quantized = convert(model, x[:10])
    assert isinstance(quantized, QuantizedModel)
    found = recorded(monkeypatch)
    computed = model(x)
    check_states(quantized, x, found)
    assert np.array_equal(computed.detach().numpy(), scores(quantized, x))
    computed.square().sum().backward()
    used = [v for name, v in model.named_parameters() if not name.startswith("score.")]
    assert all(v.grad is not None and torch.isfinite(v.grad).all() for v in used)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("spec", SPECS[:2], ids=str)
def test_cuda(spec: Spec) -> None:
    x = samples()
    model = ready(Classifier(spec).cuda(), Config(), x)
    quantized = convert(model, x)
    computed = model(x.cuda())
    computed.sum().backward()
    assert np.array_equal(computed.detach().cpu().numpy(), scores(quantized, x))


class OfCell(nn.Module):
    """With a cell that PyTorch does not have."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        self.recurrent = Recurrent(CHANNELS, 5, 2, cell=name, bidirectional=True, batch_first=True, **options)
        self.dense = Linear(2 * self.recurrent.output_size, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.dense(self.recurrent(x)[0].mean(1))
        return found


@pytest.mark.parametrize(("number", "name"), [*enumerate(CELLS)])
def test_every_cell_ships_what_was_trained(number: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(number)
    weights, activations, tables = BITS[number % len(BITS)]
    gates = GATES[number % len(GATES)] if CELLS[name].gates else "soft"
    bits = {"weight_bits": weights, "activation_bits": activations, "activations": tables}
    model, x = OfCell(name, gates=gates, **bits).eval(), samples()
    calibrate(model, x)
    set_phase(model, "quantized")
    quantized = convert(model, x)
    assert isinstance(quantized, QuantizedModel)
    found = recorded(monkeypatch)
    computed = model(x).detach()
    check_states(quantized, x, found)
    assert np.array_equal(computed.numpy(), scores(quantized, x))


def test_modules_one_after_the_other_with_formats_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x = samples()
    config = {"": Config(gates="hard", weight_bits="8,4"), "encoder": Config(gates="soft", activation_bits=16)}
    model = ready(Two(), config, x)
    quantized = convert(model, x)
    assert isinstance(quantized, QuantizedModel)
    assert [(k.h.bits, next(iter(k.blocks.values())).weight_bits) for k in quantized.layers] == [
        (16, 8),
        (16, 8),
        (8, 8),
        (8, 4),
    ]
    found = recorded(monkeypatch)
    computed = model(x).detach()
    check_states(quantized, x, found)
    assert np.array_equal(computed.numpy(), scores(quantized, x))
    model.train()
    assert not torch.equal(model(x), computed)  # dropout


@pytest.mark.parametrize("pooling", ["state", "each"])
def test_windows_of_several_lengths(pooling: str) -> None:
    torch.manual_seed(0)
    x, lengths = samples(), torch.tensor([9, 9, 8, 8, 7, 7, 6, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1])
    inside = np.arange(STEPS) < lengths.numpy()[:, None]
    model = prepare(OfSeveralLengths(pooling)).eval()
    calibrate(model, x, lengths=lengths)
    set_phase(model, "quantized")
    quantized = convert(model, x, lengths=lengths)
    assert quantized.signature.variable
    computed, wanted = model(x, lengths).detach().numpy(), scores(quantized, x, lengths.numpy())
    if pooling == "each":
        computed, wanted = computed[inside], wanted[inside]
    assert np.array_equal(computed, wanted)


@pytest.mark.parametrize("spec", [Spec(pooling="attention"), Spec(before="conv")], ids=str)
def test_scores_of_what_else_a_model_holds_are_near(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x = samples(200)
    model = prepare(Classifier(spec), Config(gates="soft", activation_bits=16, activations="lut-interp")).eval()
    calibrate(model, x)
    set_phase(model, "quantized")
    quantized = convert(model, x)
    found = recorded(monkeypatch)
    computed = model(x).detach().numpy()
    if spec.pooling == "attention":
        assert isinstance(quantized, QuantizedModel)
        check_states(quantized, x, found)
    if spec.before == "conv":
        assert isinstance(quantized, QuantizedGraph)
    away = scores(quantized, x) - computed
    # Attention, or all formats of the graph, are others: a few units of 8-bit weights and 16-bit values.
    assert np.sqrt((away**2).mean()) < 0.05 * computed.std()


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_soft_gates_compute_what_the_model_did() -> None:
    for spec in SPECS:
        model, x = Classifier(spec).eval(), samples()
        # float32, of another order of sums
        torch.testing.assert_close(prepare(model, Config(gates="soft"))(x), model(x), rtol=1e-4, atol=1e-5)


def test_an_uncalibrated_model_is_calibrated_when_it_is_converted_and_not_changed() -> None:
    torch.manual_seed(0)
    x = samples()
    model = prepare(Classifier(Spec())).train()
    before = copy.deepcopy(model.state_dict())
    quantized = convert(model, x)
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    calibrate(model, x)
    assert model.training
    assert model.recurrent.phase == "hard"
    set_phase(model, "quantized")
    assert np.array_equal(model.eval()(x).detach().numpy(), scores(quantized, x))


def test_a_state_dict_keeps_the_ranges() -> None:
    torch.manual_seed(0)
    x = samples()
    model = ready(Classifier(Spec(relu=True)), Config(), x)
    other = prepare(Classifier(Spec(relu=True)))
    other.load_state_dict(model.state_dict())
    wanted, found = convert(model, x), convert(other, x * 5)
    assert np.array_equal(scores(found, x), scores(wanted, x))


def test_a_signature_is_taken_over() -> None:
    torch.manual_seed(0)
    x, channels, classes = samples(), ("x", "y", "z"), ("a", "b", "c", "d")
    signature = Signature("motion", channels, ("g",) * 3, 10.0, STEPS, classes, probabilities=True)
    quantized = convert(prepare(Classifier(Spec())), x, signature=signature)
    assert quantized.signature == signature
    assert execute(quantized, quantized.quantize_input(x.numpy())).outputs["probabilities"].shape == (20, 4)
    for changes, message in (
        ({"steps": 8}, "steps of the signature is 8; accepted is 9"),
        ({"classes": ("a", "b")}, "the signature has 2 classes; the model has 4"),
    ):
        other = Signature(**{**vars(signature), **changes})
        with pytest.raises(EdgeLstmError, match=f"^{message}$"):
            convert(prepare(Classifier(Spec())), x, signature=other)


def test_in_place_and_a_module_that_is_there_twice() -> None:
    model = nn.Module()
    model.one = model.two = nn.GRU(3, 5)
    model.plain = nn.LSTM(3, 5)
    assert prepare(model, {"": Config(), "plain": None}, inplace=True) is model
    assert model.one is model.two
    assert isinstance(model.one, Recurrent)
    assert type(model.plain) is nn.LSTM
    assert isinstance(prepare(nn.LSTM(3, 5)), LSTM)


class Own(nn.LSTM):
    """A user's own class."""


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        (
            nn.Sequential(nn.Linear(3, 3)),
            None,
            "the model has no recurrent module to swap; accepted are torch.nn.LSTM, GRU, RNN",
        ),
        (
            nn.ModuleDict({"step": nn.LSTMCell(3, 5)}),
            None,
            "module 'step' is LSTMCell, which can't be swapped; accepted are torch.nn.LSTM, GRU, RNN themselves, or "
            "None for it in config",
        ),
        (
            nn.ModuleDict({"own": Own(3, 5)}),
            None,
            "module 'own' is Own, which can't be swapped; accepted are torch.nn.LSTM, GRU, RNN themselves, or None for "
            "it in config",
        ),
        (
            nn.ModuleDict({"gru": nn.GRU(3, 5)}),
            Config(gates="f=hard"),
            "module 'gru': gates 'f=hard': no gate 'f'; this cell has z, r",
        ),
        (
            nn.ModuleDict({"gru": nn.GRU(3, 5)}),
            {"": Config(), "lstm": Config()},
            "config names 'lstm', and no module has this name; recurrent are 'gru'",
        ),
    ],
    ids=str,
)
def test_what_is_refused(model: nn.Module, config: Any, message: str) -> None:
    with pytest.raises(EdgeLstmError) as caught:
        prepare(model, config)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("x", "lengths", "message"),
    [
        (np.zeros((2, 3)), None, r"calibration samples have shape \(2, 3\); accepted is \(windows, steps, channels\)"),
        (np.full((2, 9, 3), np.nan), None, "calibration samples are not all finite"),
        (np.zeros((2, 9, 3)), [1], r"lengths are int64 \(1,\); accepted are integers \(2,\)"),
        (np.zeros((2, 9, 3)), [1, 10], "lengths reach from 1 to 10; accepted are 1 to 9"),
    ],
)
def test_recordings_that_are_refused(x: Any, lengths: Any, message: str) -> None:
    with pytest.raises(EdgeLstmError, match=f"^{message}$"):
        calibrate(prepare(Classifier(Spec())), x, lengths=lengths)


def test_a_model_that_is_not_prepared_is_refused() -> None:
    for function in (calibrate, convert):
        with pytest.raises(EdgeLstmError, match=r"^the model has no recurrent module of edge-lstm: prepare it first$"):
            function(Classifier(Spec()), samples())


class Unsorted(OfSeveralLengths):
    """Lets PyTorch sort the windows that it packs."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        scores: Tensor = self.dense(torch.cat([*self.recurrent(packed)[1][0][-2:]], -1))
        return scores


def test_packing_of_unsorted_windows_is_refused() -> None:
    model = prepare(Unsorted("state"))
    with pytest.raises(EdgeLstmError, match=r"; windows are packed with enforce_sorted, and given the longest first$"):
        calibrate(model, samples(), lengths=torch.arange(20) % 9 + 1)


class Asking(nn.Module):
    """Can't be run."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(CHANNELS, 4)

    def forward(self, _: Tensor) -> Tensor:
        raise RuntimeError("no such thing\nand more")


def test_a_model_that_can_not_be_exported_is_refused() -> None:
    model = prepare(Asking())
    for module in model.modules():
        if isinstance(module, Recurrent):
            module.input_max.fill_(1)
    with pytest.raises(EdgeLstmError, match=r"^PyTorch can't export the model to ONNX: no such thing$"):
        convert(model, samples())
