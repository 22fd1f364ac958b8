"""Real sensor data: loading it, cutting it into windows and parts, and varying it for training. NumPy only."""

from edge_lstm.data.augment import Augmentation, triads
from edge_lstm.data.averaging import averaged
from edge_lstm.data.dataset import Dataset
from edge_lstm.data.loaders import load, names
from edge_lstm.data.splits import folds, split, train_test
from edge_lstm.data.windows import windows

__all__ = ["Augmentation", "Dataset", "averaged", "folds", "load", "names", "split", "train_test", "triads", "windows"]
