"""The same as ``train_in_pytorch.py`` with Lightning, which is not a part of edge-lstm: pip install lightning

python train_with_lightning.py [EPOCHS]
"""

import logging
import sys
import warnings

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import edge_lstm as el
from edge_lstm.data import load, train_test
from edge_lstm.nn import Config, Schedule, convert, prepare


class Classifier(lightning.LightningModule):
    """A bidirectional GRU, the largest of each unit over time, a dense layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, 16, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (windows, classes) of windows (windows, steps, channels)."""
        h, _ = self.gru(x)
        return self.dense(h.max(dim=1).values)

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:  # noqa: ARG002
        """The loss of a batch."""
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As in any Lightning module."""
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class Phases(lightning.Callback):
    """Sets the phase of each epoch."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Before the first batch."""
        self.schedule.step(trainer.current_epoch)


warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
lightning.seed_everything(0, verbose=False)
torch.set_num_threads(1)
epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
train, test = train_test(load("basic-motions"))
mean, std = train.x.mean((0, 1)), train.x.std((0, 1))
x, x_test = (torch.from_numpy(((part.x - mean) / std).astype(np.float32)) for part in (train, test))
batches = DataLoader(TensorDataset(x, torch.from_numpy(train.labels.astype(np.int64))), batch_size=20, shuffle=True)

model = prepare(Classifier(len(train.channels), len(train.classes)), Config(gates="hard"))
trainer = lightning.Trainer(
    max_epochs=epochs,
    accelerator="cpu",
    gradient_clip_val=1.0,
    callbacks=[Phases(Schedule(model, epochs, x))],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, batches)

quantized = convert(model, x)
scores = el.run(quantized, x_test.numpy())["scores"]
print(f"int8, hard gates: {(scores.argmax(1) == test.labels).mean():.1%} of the test windows are right")
model.eval()
computed = model(x_test).detach().numpy()
print(f"training computed what the runtime computes: {np.array_equal(computed, scores.astype(np.float32))}")
