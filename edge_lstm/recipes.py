"""Recipes of training by name: what they set beside the defaults of ``TrainOptions``, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_lstm.errors import EdgeLstmError
from edge_lstm.train_options import TrainOptions


@dataclass(frozen=True)
class Recipe:
    """A way to train.

    Attributes:
        options: Of ``TrainOptions``, by name.
        about: What it does.
        source: Of the idea.
    """

    options: Mapping[str, Any]
    about: str
    source: str


ANNEALED = "annealed"
RECIPES: Mapping[str, Recipe] = {
    ANNEALED: Recipe(
        {},
        "gates become steeper, then thresholds; the default",
        "J. Chung, S. Ahn, Y. Bengio, Hierarchical multiscale recurrent neural networks, ICLR 2017, arXiv:1609.01704 "
        "(slope annealing)",
    ),
    "straight-through": Recipe(
        {"hard_from": 0.0},
        "thresholds from the first epoch, with the derivative of a sigmoid of slope 2",
        "Y. Bengio, N. Léonard, A. Courville, Estimating or propagating gradients through stochastic neurons, 2013, "
        "arXiv:1308.3432",
    ),
    "straight-through-1": Recipe(
        {"hard_from": 0.0, "surrogate_slope": 1.0},
        "the same with a derivative of slope 1",
        "as straight-through",
    ),
    "straight-through-4": Recipe(
        {"hard_from": 0.0, "surrogate_slope": 4.0},
        "the same with a derivative of slope 4",
        "as straight-through",
    ),
    "gumbel": Recipe(
        {"slope_first": 1 / 0.9, "slope_last": 1 / 0.9, "gate_noise": 1.0},
        "sigmoids of temperature 0.9 with logistic noise push gates to 0 and 1; then thresholds",
        "Z. Li et al., Towards binary-valued gates for robust LSTM training (G2-LSTM), ICML 2018, arXiv:1806.02988",
    ),
    "two-phase": Recipe(
        {"slope_last": 1.0},
        "soft gates as in float, then thresholds",
        "R. Krishnamoorthi, Quantizing deep convolutional networks for efficient inference: a whitepaper, 2018, "
        "arXiv:1806.08342 (training in integers begins from a trained float model)",
    ),
    "output-only": Recipe(
        {"gates": "o=hard"},
        "only the output gate, whose zeros leave out columns, is a threshold",
        "ours: the gate that costs no accuracy and saves most products",
    ),
    "averaged": Recipe(
        {"averaging": 1.0},
        "the mean of the weights of the whole last phase ships",
        "P. Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI 2018, "
        "arXiv:1803.05407",
    ),
    "distilled": Recipe(
        {"distill": 0.5},
        "half of the loss is what a teacher says of the same augmented windows (--teacher)",
        "G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, 2015, arXiv:1503.02531",
    ),
    "narrow": Recipe(
        {"rounded_from": 0.3, "hard_from": 0.7, "quantized_from": 0.85},
        "for hard gates and weights of 4 or 2 bits: weights are rounded while gates become steep",
        "ours; measured in docs/benchmarks.md",
    ),
    "ternary": Recipe(
        {"weight_bits": "2", "input_gain": True, "rounded_from": 0.3, "hard_from": 0.7, "quantized_from": 0.85},
        "as narrow, with ternary weights and a gain of the inputs",
        "F. Li, B. Liu, Ternary weight networks, 2016, arXiv:1605.04711; the gain is ours",
    ),
    "inertial": Recipe(
        {"rotation": 0.3, "warp": 0.3, "averaging": 0.99, "batch": 128},
        "for accelerometers and gyroscopes: devices worn turned, movements done faster and slower",
        "T. T. Um et al., Data augmentation of wearable sensor data, ICMI 2017, arXiv:1706.00527",
    ),
    "low-rank": Recipe(
        {"cell": "lstmp"},
        "the recurrent matrix of each gate is a product R P, of the rank that is --outputs and with a common P",
        "H. Sak, A. Senior, F. Beaufays, Long short-term memory based recurrent neural network architectures for large "
        "scale acoustic modeling, Interspeech 2014",
    ),
    "sparse": Recipe(
        {"budget_macs": 0.3},
        "closed gates leave out 70 % of the products",
        "ours: a constraint on the products that are executed, by its multiplier",
    ),
}


def recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        EdgeLstmError: There is none.
    """
    if name not in RECIPES:
        raise EdgeLstmError(f"recipe is {name!r}; accepted are {', '.join(RECIPES)}")
    return RECIPES[name]


def options_of(names: str, given: Mapping[str, Any] | None = None) -> TrainOptions:
    """Options of recipes, and others.

    Args:
        names: Of recipes, such as ``"inertial,output-only"``; of two that set the same, the later one counts.
        given: Options by name that count above those of the recipes.

    Raises:
        EdgeLstmError: There is no such recipe, or an option is refused.
    """
    found: dict[str, Any] = {}
    for name in (part.strip() for part in names.split(",") if part):
        found |= recipe(name).options
    return TrainOptions(**(found | dict(given or {})))


BASIC_MOTIONS = replace(
    TrainOptions(),
    epochs=40,
    validation=0.0,
    averaging=0.98,
    magnitude=0.2,
    rotation=0.3,
    shift=0.2,
    warp=0.2,
)
"""Chosen by cross-validation inside the training windows: ``benchmarks/choose_recipe.py``."""
