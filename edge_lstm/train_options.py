"""The recipe of a training run, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from edge_lstm.bits import Bits, layer_bits
from edge_lstm.cells import cell, projected
from edge_lstm.errors import EdgeLstmError
from edge_lstm.gates import STEPS, GateMode, parse_gates
from edge_lstm.layers import Squashing
from edge_lstm.model import POOLINGS, Pooling
from edge_lstm.open_gates import check_budget, parse_weights
from edge_lstm.signature import MAX_STEPS, MAX_WIDTH

Direction = Literal["forward", "reverse", "bidirectional"]
"""Of a layer: from a window's first step to its last, from the last to the first, or two layers that do one each."""
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
Metric = Literal["auto", "accuracy", "macro-f1", "r2", "loss"]
METRICS: tuple[Metric, ...] = get_args(Metric)
ClassWeights = Literal["none", "balanced"]
CLASS_WEIGHTS: tuple[ClassWeights, ...] = get_args(ClassWeights)
MAX_LEARNING_RATE = 10.0
MAX_PENALTY = 10.0
_SHARES = (
    *("hard_from", "quantized_from", "rounded_from", "label_smoothing", "dropout", "averaging", "validation"),
    *("distill", "budget_macs", "mute"),
)
_LARGEST = {"hidden": MAX_WIDTH, "layers": 64}


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train.

    A run has up to three phases. While gates that will be hard are *annealed* they are sigmoids s(k z), k growing
    from 1 to 5; then they are *hard* thresholds with a straight-through gradient; last, the forward pass computes
    the integers that ship (*quantized*, rule R8). Soft gates skip the first.

    Attributes:
        cell: Name of the cell.
        gates: Gate modes, such as ``"hard"`` or ``"i=hard,f=soft,o=hard"``.
        squash: ``exact`` functions, or their ``hard`` (piecewise linear) forms.
        weight_bits: 8, 4 or 2 (ternary); or one for each layer, such as ``"8,4"``.
        activation_bits: Of inputs and hidden states, 8 or 16; or one for each layer.
        input_gain: Inputs are multiplied by integers first, so that few bits hold recurrent weights as finely as those
            of the inputs, see ``rows.input_gain``; costs a product for each input and step.
        activations: ``lut``, or ``lut-interp`` to interpolate in tables.
        hidden: Units of each layer.
        outputs: Length of h of a projected cell; 0: half of ``hidden``.
        layers: Number of layers.
        direction: ``forward``, ``reverse`` or ``bidirectional``; or one for each layer, such as
            ``"bidirectional,forward"``.
        pooling: ``last``, ``newest``, ``mean``, ``max`` or ``attention`` over time; or ``each`` for an output at each
            step. See ``model.FloatModel``.
        decoder: Outputs of a sequence-to-sequence model, whose encoder runs forward and whose pooling is ``last``; 0:
            it is none.
        probabilities: A classifier that ships also gives softmax of its scores.
        relu: Widths of dense layers with relu before the last one, such as ``"32,16"``; none where empty.
        epochs: Of all phases together.
        hard_from: Share of the epochs after which annealed gates become thresholds; 0: from the first.
        slope_first, slope_last: k of the annealed gates, which grows geometrically.
        gate_noise: Strength of the logistic noise that annealed gates get, as Gumbel-sigmoid; 0 for none.
        surrogate_slope: k of the derivative k s(k z) (1 - s(k z)) that a threshold is given.
        quantized_from: Share of the epochs after which the forward pass computes integers.
        rounded_from: Share of the epochs after which float forward passes use the values of the integer weights; 1:
            none does. So gates become steep, and weights narrow, at the same time.
        epoch_windows: An epoch shows at least so many windows, repeating (augmented) those that there are.
        batch: Windows of a step.
        learning_rate: Largest of the one-cycle schedule (Smith and Topin 2018) of AdamW.
        weight_decay: Of AdamW.
        label_smoothing: Of the cross-entropy; a regression has the mean squared error of standardized targets.
        dropout: Share of the pooled features hidden in training.
        gradient_clip: Largest norm of the gradient.
        averaging: Decay of the exponential moving average of the weights that ships; 0: the last weights; 1: the mean
            of all of the last phase (stochastic weight averaging).
        distill: Share of the loss that is ``nn.distillation``, where there is a teacher.
        temperature: Of it.
        open_penalty: Gate to the weight of its mean value in the loss, such as ``"o=0.3"``; see ``open_gates``.
        open_rate: Gate to the largest mean value that training aims at, such as ``"o=0.25"``.
        change_penalty: Weight of the mean of abs(h - h of the step before) in the loss: columns of h that stay as they
            were need not be multiplied again (delta networks, Neil et al. 2017, arXiv:1612.05571).
        budget_macs: Share of a dense network's products that training aims at, of cells whose closed gates leave out
            products; 0 for no aim.
        gain, offset, jitter, magnitude, rotation, shift, warp, mute: Strengths of ``data.Augmentation``. Shift and warp
            are left out where there are targets for each step, or windows of several lengths.
        clip: Limit of standardized inputs, in standard deviations.
        validation: Share of the training windows held out; 0 trains on all, for the full number of epochs.
        patience: Stop after so many epochs of the last phase that were no better on the validation windows.
        metric: Chooses the best epoch on them: ``accuracy``, ``macro-f1`` or ``loss`` of a classifier, ``r2`` or
            ``loss`` of a regression; ``auto`` is the first of these.
        class_weights: Of the cross-entropy: ``none``, or ``balanced``, so that all classes count alike, however many
            windows they have; see ``learning_task.balanced_weights``.
        seed: Of initial weights, batches and augmentation.
    """

    cell: str = "lstm"
    gates: str = "hard"
    squash: Squashing = "exact"
    weight_bits: str = "8"
    activation_bits: str = "8"
    input_gain: bool = False
    activations: str = "lut"
    hidden: int = 32
    outputs: int = 0
    layers: int = 1
    direction: str = "forward"
    pooling: Pooling = "mean"
    decoder: int = 0
    probabilities: bool = False
    relu: str = ""
    epochs: int = 60
    hard_from: float = 0.5
    slope_first: float = 1.0
    slope_last: float = 5.0
    gate_noise: float = 0.0
    surrogate_slope: float = 2.0
    quantized_from: float = 0.7
    rounded_from: float = 1.0
    epoch_windows: int = 320
    batch: int = 64
    learning_rate: float = 1e-2
    weight_decay: float = 1e-4
    label_smoothing: float = 0.05
    dropout: float = 0.0
    gradient_clip: float = 1.0
    averaging: float = 0.0
    distill: float = 0.0
    temperature: float = 2.0
    open_penalty: str = ""
    open_rate: str = ""
    change_penalty: float = 0.0
    budget_macs: float = 0.0
    gain: float = 0.1
    offset: float = 0.1
    jitter: float = 0.05
    magnitude: float = 0.0
    rotation: float = 0.0
    shift: float = 0.0
    warp: float = 0.0
    mute: float = 0.0
    clip: float = 4.0
    validation: float = 0.2
    patience: int = 20
    metric: Metric = "auto"
    class_weights: ClassWeights = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.modes
        for name in ("hidden", "layers", "epochs", "epoch_windows", "batch", "patience"):
            _in_range(name, getattr(self, name), 1, _LARGEST.get(name, 10**6))
        for name in _SHARES:
            _in_range(name, getattr(self, name), 0, 1)
        for name in ("slope_first", "slope_last", "surrogate_slope", "temperature"):
            _in_range(name, getattr(self, name), 0.1, 100)
        _in_range("gate_noise", self.gate_noise, 0, 10)
        _in_range("change_penalty", self.change_penalty, 0, MAX_PENALTY)
        _in_range("seed", self.seed, 0, 2**32 - 1)
        _in_range("weight_decay", self.weight_decay, 0, 1)
        if not 0 < self.learning_rate <= MAX_LEARNING_RATE:
            raise EdgeLstmError(f"learning_rate is {self.learning_rate}; accepted are above 0, to {MAX_LEARNING_RATE}")
        for name in ("gradient_clip", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise EdgeLstmError(f"{name} is {getattr(self, name)}; accepted are positive numbers")
        if self.validation == 1:
            raise EdgeLstmError("validation is 1.0; accepted are 0 to below 1")
        _in_range("outputs", self.outputs, 0, self.hidden)
        if self.outputs and not cell(self.cell).projected:
            has = f"a {self.cell} has no projection; {projected()} has one"
            raise EdgeLstmError(f"outputs is {self.outputs}, and {has}")
        _ = self.bits
        _one_of("squash", self.squash, ("exact", "hard"))
        _one_of("pooling", self.pooling, POOLINGS)
        _one_of("metric", self.metric, METRICS)
        _one_of("class_weights", self.class_weights, CLASS_WEIGHTS)
        _ = self.relu_widths
        self._check_decoder()
        _ = self.penalties, self.rates
        if self.budget_macs:
            check_budget(cell(self.cell))

    def _check_decoder(self) -> None:
        _in_range("decoder", self.decoder, 0, MAX_STEPS)
        if self.decoder and self.pooling != "last":
            raise EdgeLstmError(f"decoder is {self.decoder}, and pooling {self.pooling!r}; with a decoder it is 'last'")
        if set(self.directions) != {"forward"} and self.decoder:
            raise EdgeLstmError(
                f"decoder is {self.decoder}, and direction {self.direction!r}; with a decoder it is 'forward'"
            )

    @property
    def modes(self) -> dict[str, GateMode]:
        """Gate name to mode."""
        return parse_gates(self.gates, cell(self.cell).gates)

    @property
    def bits(self) -> list[Bits]:
        """Storage of each layer."""
        return layer_bits(self.layers, self.weight_bits, self.activation_bits, self.activations)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Of each layer."""
        parts = [part.strip() for part in self.direction.split(",")]
        found = [direction for part in parts for direction in DIRECTIONS if direction == part]
        if len(found) < len(parts):
            raise EdgeLstmError(f"direction is {self.direction!r}; accepted are {', '.join(DIRECTIONS)}")
        if len(found) not in (1, self.layers):
            raise EdgeLstmError(f"direction names {len(found)} layers; the model has {self.layers}")
        return tuple(found * self.layers if len(found) == 1 else found)

    @property
    def relu_widths(self) -> tuple[int, ...]:
        """Of the dense layers with relu."""
        parts = [part.strip() for part in self.relu.split(",")] if self.relu else []
        if not all(part.isdecimal() and 1 <= int(part) <= MAX_WIDTH for part in parts if len(part) < 8) or any(
            len(part) >= 8 for part in parts
        ):
            raise EdgeLstmError(f"relu is {self.relu!r}; accepted are widths from 1 to {MAX_WIDTH}, such as 32,16")
        return tuple(map(int, parts))

    @property
    def projection(self) -> int | None:
        """Length of h of a projected cell, else None."""
        return (self.outputs or max(1, self.hidden // 2)) if cell(self.cell).projected else None

    @property
    def penalties(self) -> dict[str, float]:
        """Gate to the weight of its mean value."""
        return parse_weights("open_penalty", self.open_penalty, cell(self.cell).gates, MAX_PENALTY)

    @property
    def rates(self) -> dict[str, float]:
        """Gate to the mean value that training aims at."""
        return parse_weights("open_rate", self.open_rate, cell(self.cell).gates, 1.0)

    @property
    def anneals(self) -> bool:
        """Whether there are gates with steps."""
        return any(mode in STEPS for mode in self.modes.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _in_range(name: str, value: float, lo: float, hi: float) -> None:
    if not lo <= value <= hi:
        raise EdgeLstmError(f"{name} is {value}; accepted are {lo} to {hi}")


def _one_of(name: str, value: str, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise EdgeLstmError(f"{name} is {value!r}; accepted are {', '.join(accepted)}")
