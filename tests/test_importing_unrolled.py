"""Cells in a Python loop, which PyTorch's exporters write out step by step."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.interpreter import Imported, interpret
from edge_lstm.importing.recognise import recognise
from edge_lstm.ptq import quantize
from edge_lstm.verification import verify

FLOAT = 1e-4
FEATURES, UNITS, STEPS = 4, 6, 7


class Cells(nn.Module):
    """Cells in a loop, one reading what the other gives, and a dense layer."""

    def __init__(
        self, kind: str, layers: int, *, reverse: bool = False, each: bool = False, first: float = 0.0
    ) -> None:
        super().__init__()
        widths = [FEATURES, *[UNITS] * (layers - 1)]
        self.cells = nn.ModuleList(getattr(nn, kind)(width, UNITS) for width in widths)
        self.dense = nn.Linear(UNITS, 3)
        self.reverse, self.each, self.first = reverse, each, first

    def forward(self, x: Tensor) -> Tensor:
        """Scores, at the end or of each step."""
        begin = torch.full((x.shape[0], UNITS), self.first)
        pair = isinstance(self.cells[0], nn.LSTMCell)
        states = [(begin, begin) if pair else begin for _ in self.cells]
        steps = reversed(range(x.shape[1])) if self.reverse else range(x.shape[1])
        found = []
        for t in steps:
            value = x[:, t]
            for k, cell in enumerate(self.cells):
                states[k] = cell(value, states[k])
                value = states[k][0] if pair else states[k]
            found.append(value)
        result: Tensor = self.dense(torch.stack(found, 1) if self.each else found[-1])
        return result


class Mixed(nn.Module):
    """A recurrence that no cell is."""

    def __init__(self) -> None:
        super().__init__()
        self.of_x, self.of_h = nn.Linear(FEATURES, UNITS), nn.Linear(UNITS, UNITS)

    def forward(self, x: Tensor) -> Tensor:
        """The last state."""
        h = torch.zeros(x.shape[0], UNITS)
        for t in range(x.shape[1]):
            h = torch.nn.functional.softsign(self.of_x(x[:, t]) + self.of_h(h))
        return h


MODELS: dict[str, Callable[[], nn.Module]] = {
    "LSTMCell": lambda: Cells("LSTMCell", 1),
    "LSTMCell, two layers": lambda: Cells("LSTMCell", 2),
    "LSTMCell, at each step": lambda: Cells("LSTMCell", 1, each=True),
    "LSTMCell, reversed": lambda: Cells("LSTMCell", 1, reverse=True),
    "GRUCell": lambda: Cells("GRUCell", 1),
    "GRUCell, two layers at each step": lambda: Cells("GRUCell", 2, each=True),
    "RNNCell": lambda: Cells("RNNCell", 1),
}


def exported(model: nn.Module, *, dynamo: bool) -> bytes:
    x = torch.zeros(2, STEPS, FEATURES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not dynamo:
            file = io.BytesIO()
            axes = {"x": {0: "windows"}}
            torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes)
            return file.getvalue()
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        shapes = ({0: torch.export.Dim("windows", min=1, max=4096)},)
        program = torch.onnx.export(
            model, (x,), dynamo=True, input_names=["x"], output_names=["y"], dynamic_shapes=shapes, verbose=False
        )
        assert program is not None
        return bytes(program.model_proto.SerializeToString())


def imported(model: nn.Module, *, dynamo: bool) -> Imported:
    """A model, after it was compared with onnxruntime."""
    content = exported(model.eval(), dynamo=dynamo)
    x = np.random.default_rng(0).normal(0, 1, (3, STEPS, FEATURES)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    found = interpret(onnx.ModelProto.FromString(content))
    np.testing.assert_allclose(found.run(x)["y"], wanted, atol=FLOAT)
    return found


@pytest.mark.parametrize(
    ("name", "dynamo"),
    [
        pytest.param(name, dynamo, marks=pytest.mark.slow if dynamo and name != "GRUCell" else ())
        for name in MODELS
        for dynamo in (False, True)
    ],
)
def test_cells_in_a_loop_are_layers(name: str, *, dynamo: bool) -> None:
    torch.manual_seed(len(name))
    found = imported(MODELS[name](), dynamo=dynamo)
    model = recognise(found, name="m").model
    x = np.random.default_rng(1).normal(0, 1, (40, STEPS, FEATURES))
    np.testing.assert_allclose(model.run(x)["scores"], found.run(x)["y"], atol=FLOAT)
    quantized = quantize(model, calibration=x, activation_bits=16, activations="lut-interp")
    result = verify(quantized, x, backends=("numpy", "onnxruntime"), float_scores=lambda v: model.run(v)["scores"])
    assert result.equal
    assert result.within_bound


@pytest.mark.parametrize("model", [Mixed(), Cells("LSTMCell", 1, first=0.5)], ids=["no cell", "not from zeros"])
def test_what_is_no_layer_is_evaluated_and_named(model: nn.Module) -> None:
    found = imported(model, dynamo=False)
    with pytest.raises(UnsupportedError, match=r"written out step by step; .*export the layer as ONNX's own LSTM, GRU"):
        recognise(found, name="m")
