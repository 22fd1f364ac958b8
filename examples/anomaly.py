"""An LSTM auto-encoder that knows walking: what it can't reconstruct is something else.

The encoder reads two seconds of six channels, the decoder begins with the encoder's states and writes them down again,
last sample first (Srivastava et al., "Unsupervised learning of video representations using LSTMs", 2015), fed with what
it wrote itself. All in 8-bit integers, of which the C code computes the same.

python anomaly.py [EPOCHS]
"""

import sys

import numpy as np

import edge_lstm as el
from edge_lstm.data import Dataset, load, train_test

STEPS, HOP = 20, 4


def windows(data: Dataset, name: str) -> np.ndarray:
    """Two-second pieces of all recordings of an activity."""
    recordings = data.x[data.labels == data.classes.index(name)]
    starts = range(0, recordings.shape[1] - STEPS + 1, HOP)
    return np.concatenate([recordings[:, k : k + STEPS] for k in starts]).astype(np.float64)


train, test = train_test(load("basic-motions"))
epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 120
normal = windows(train, "walking")
mean, std = normal.mean((0, 1)), normal.std((0, 1))


def target(x: np.ndarray) -> np.ndarray:
    """Standardized samples, the last one first."""
    return (x[:, ::-1] - mean) / std


data = Dataset(
    name="walking",
    x=normal,
    y=target(normal),
    classes=tuple(f"again {c}" for c in train.channels),
    channels=train.channels,
    units=train.units,
)
options = el.TrainOptions(
    gates="i=soft,f=soft,o=hard", hidden=32, decoder=STEPS, pooling="last", epochs=epochs, quantized_from=0.8,
    gain=0.05, offset=0.0, jitter=0.02, validation=0.0,
)  # fmt: skip
model = el.train(data, options).quantized


def strangeness(x: np.ndarray) -> np.ndarray:
    """How much of each window is not reconstructed: squared error, as a share of what was to be reconstructed."""
    wanted = target(x)
    return ((el.run(model, x)["scores"] - wanted) ** 2).mean((1, 2)) / (wanted**2).mean((1, 2))


usual = strangeness(windows(test, "walking"))
print(f"walking of others: {usual.mean():.0%} is not reconstructed")
for name in test.classes:
    if name != "walking":
        found = strangeness(windows(test, name))
        area = np.mean(found[:, None] > usual)  # of the curve of hits against false alarms
        print(f"{name}: {found.mean():.0%}, AUC {area:.3f}")
same = el.verify(model, windows(test, "walking")[:4], backends=("numpy", "c"))
print(f"the C code reconstructs the same integers: {same.equal}")
