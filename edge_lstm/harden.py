"""Hardening after training: soft gates become thresholds, each unit's placed by a search over recordings.

Training with hard gates does better: a network that was trained soft puts into the size of a gate what a threshold
can't say. The thresholds found here only take back a part of that loss.

Each threshold is searched where the gate is open as often, over the recordings, as the soft gate was open on average.
Since a hardened gate changes what is fed back, this takes several rounds, of which the one is kept whose scores are
nearest to those of the soft model. (Trying single thresholds higher and lower afterwards, as long as the scores come
nearer, gained nothing on windows that were not searched.)

A threshold lies in the bias: what is compared with 0 is W x + R h + b.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm import luts
from edge_lstm.calibrate import observed
from edge_lstm.cells import cell
from edge_lstm.float_run import FloatArray, evaluate, standardize
from edge_lstm.gates import STEPS, GateMode, parse_gates
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel
from edge_lstm.timeline import timeline

ROUNDS = 4
COMPARED_WINDOWS = 128
"""On which scores are compared."""
_HALVINGS = 40
Changed = tuple[int, str]
"""A layer and one of its gates."""


def with_gates(model: FloatModel, gates: str) -> FloatModel:
    """The same weights with other gate modes."""

    def changed(layers: Sequence[FloatLayer]) -> tuple[FloatLayer, ...]:
        return tuple(replace(k, modes=parse_gates(gates, cell(k.cell).gates)) for k in layers)

    decoder = None if model.decoder is None else replace(model.decoder, layers=changed(model.decoder.layers))
    return replace(model, layers=changed(model.layers), decoder=decoder)


def hardened(
    model: FloatModel, gates: str, x: NDArray[Any], lengths: NDArray[np.int64] | None = None
) -> tuple[FloatModel, int]:
    """A model with other gate modes and thresholds to fit, and how many thresholds were searched.

    Args:
        model: As trained.
        gates: Modes, such as ``"hard"``.
        x: (windows, steps, channels) recordings in the channels' units.
        lengths: (windows,) steps of each, of a model for windows of several lengths.
    """
    hard = with_gates(model, gates)
    wanted = _Scores(model, x, lengths)
    places = list(_newly_stepped(model, hard))
    if not places:
        return hard, 0
    best, least = hard, wanted.error(hard)
    now = hard
    shares = _mean_gates(model, places, x, lengths)
    for _ in range(ROUNDS):
        now = _matched(now, shares, x, lengths)
        error = wanted.error(now)
        if error < least:
            best, least = now, error
    return best, sum(hard.all_layers[k].hidden for k, _ in places)


def _newly_stepped(before: FloatModel, after: FloatModel) -> Iterator[Changed]:
    for k, (old, new) in enumerate(zip(before.all_layers, after.all_layers, strict=True)):
        for gate, mode in new.modes.items():
            if mode in STEPS and old.modes[gate] not in STEPS:
                yield k, gate


class _Scores:
    """Scores of the soft model, which others are compared with."""

    def __init__(self, model: FloatModel, x: NDArray[Any], lengths: NDArray[np.int64] | None) -> None:
        chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), COMPARED_WINDOWS)).astype(int))
        self._x = standardize(model, x[chosen])
        part = None if lengths is None else lengths[chosen]
        self._when = timeline(model.signature, len(chosen), x.shape[1], part)
        self._wanted = self._of(model)

    def _of(self, model: FloatModel) -> FloatArray:
        return evaluate(model, self._x, self._when).scores

    def error(self, model: FloatModel) -> float:
        """Mean squared error, but for a constant offset, which the bias of the last layer takes up."""
        wrong = (self._of(model) - self._wanted).reshape(-1, self._wanted.shape[-1])
        return float(((wrong - wrong.mean(axis=0)) ** 2).mean())


def _pre_activations(
    model: FloatModel, places: Sequence[Changed], x: NDArray[Any], lengths: NDArray[np.int64] | None
) -> dict[Changed, FloatArray]:
    """(all steps of all windows, hidden) of each gate."""
    found: dict[Changed, list[FloatArray]] = {at: [] for at in places}
    for part in observed(model, x, lengths=lengths):
        for k, gate in places:
            z = part.values.layers[k][f"z_{gate}"]
            whole = part.when.lengths is None or k >= len(model.layers)
            found[k, gate].append(z.reshape(-1, z.shape[-1]) if whole else z[part.when.valid])
    return {at: np.concatenate(values) for at, values in found.items()}


def _mean_gates(
    model: FloatModel, places: Sequence[Changed], x: NDArray[Any], lengths: NDArray[np.int64] | None
) -> dict[Changed, FloatArray]:
    """(hidden,) mean value of each gate."""
    found = {}
    for (k, gate), z in _pre_activations(model, places, x, lengths).items():
        layer = model.all_layers[k]
        found[k, gate] = np.asarray(luts.gate(layer.modes[gate], luts.limited(z, layer.clip)).mean(axis=0))
    return found


def _matched(
    model: FloatModel, wanted: Mapping[Changed, FloatArray], x: NDArray[Any], lengths: NDArray[np.int64] | None
) -> FloatModel:
    """Biases for which each gate, at the present pre-activations, has the wanted mean."""
    found = _pre_activations(model, list(wanted), x, lengths)
    for (k, gate), mean in wanted.items():
        model = _shifted(model, (k, gate), _offsets(found[k, gate], model.all_layers[k].modes[gate], mean))
    return model


def _offsets(z: FloatArray, mode: GateMode, mean: FloatArray) -> FloatArray:
    """(hidden,) what to add to z so that the gate's mean is the given one, by halving an interval."""
    reach = np.abs(z).max(axis=0) + 8.0
    low, high = -reach, reach
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        more = luts.gate(mode, z + middle).mean(axis=0) < mean
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return np.asarray(0.5 * (low + high))


def _shifted(model: FloatModel, at: Changed, offset: FloatArray) -> FloatModel:
    """With a gate's biases moved."""
    k, gate = at
    layers = list(model.all_layers)
    layers[k] = replace(layers[k], b={n: b + offset if n == gate else b for n, b in layers[k].b.items()})
    encoder = len(model.layers)
    decoder = None if model.decoder is None else replace(model.decoder, layers=tuple(layers[encoder:]))
    return replace(model, layers=tuple(layers[:encoder]), decoder=decoder)
