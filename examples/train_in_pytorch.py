"""A model and a training loop of one's own, in PyTorch: trained in integers, and shipped as it was trained.

``prepare`` puts layers of edge-lstm in the place of the model's ``nn.LSTM`` and ``nn.Linear``. Epoch by epoch a
``Schedule`` makes the gates steeper, then hard, and at last lets the forward pass compute the integers of the device.

python train_in_pytorch.py [EPOCHS]
"""

import copy
import sys

import numpy as np
import torch
from torch import Tensor, nn

import edge_lstm as el
from edge_lstm.data import load, train_test
from edge_lstm.nn import Config, Schedule, convert, prepare, set_phase

BATCH, RATE = 20, 0.01


class Classifier(nn.Module):
    """Two layers, the mean over time, a dense layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, 24, num_layers=2, batch_first=True)
        self.dense = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (windows, classes) of windows (windows, steps, channels)."""
        h, _ = self.lstm(x)
        return self.dense(h.mean(dim=1))


def epoch(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """Any loop: it does not know of integers."""
    model.train()
    for chosen in torch.randperm(len(x)).split(BATCH):
        loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def trained(model: nn.Module, epochs: int, x: Tensor, y: Tensor, schedule: Schedule | None = None) -> nn.Module:
    """The model after all epochs."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for number in range(epochs):
        if schedule is not None:
            schedule.step(number)
        epoch(model, optimizer, x, y)
        falling.step()
    return model.eval()


torch.manual_seed(0)
torch.set_num_threads(1)
epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 60
train, test = train_test(load("basic-motions"))
mean, std = train.x.mean((0, 1)), train.x.std((0, 1))
x, x_test = (torch.from_numpy(((part.x - mean) / std).astype(np.float32)) for part in (train, test))
y = torch.from_numpy(train.labels.astype(np.int64))

start = Classifier(len(train.channels), len(train.classes))
plain = trained(copy.deepcopy(start), epochs, x, y)
found = plain(x_test).argmax(1).numpy()
print(f"float, soft gates: {(found == test.labels).mean():.1%} of the test windows are right")

model = prepare(start, Config(gates="hard", weight_bits=8))
trained(model, epochs, x, y, Schedule(model, epochs, x))
quantized = convert(model, x)
scores = el.run(quantized, x_test.numpy())["scores"]
print(f"int8, hard gates: {(scores.argmax(1) == test.labels).mean():.1%}")

set_phase(model, "quantized")
computed = model(x_test).detach().numpy()
print(f"training computed what the runtime computes: {np.array_equal(computed, scores.astype(np.float32))}")
same = el.verify(quantized, x_test.numpy()[:8], backends=("numpy", "onnxruntime", "c"))
print(f"and so do onnxruntime and the C code: {same.equal}")
