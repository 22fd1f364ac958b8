"""Sequences as callers of PyTorch lay them out, to (steps, windows, channels) and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from edge_lstm.errors import EdgeLstmError
from edge_lstm.nn.steps import Steps
from edge_lstm.timeline import Timeline

Sequences = Tensor | PackedSequence


@dataclass(frozen=True)
class Given:
    """What a recurrent module was given.

    Attributes:
        values: (steps, windows, channels); of packed windows the longest first, and 0 beyond a window's end.
        steps: Of these windows.
        batch_first: The caller's tensors are (windows, steps, channels).
        single: The caller gave one window without an axis of windows.
        packed: What the caller gave, where it was packed.
    """

    values: Tensor
    steps: Steps
    batch_first: bool
    single: bool = False
    packed: PackedSequence | None = None

    def output(self, values: Tensor) -> Sequences:
        """Values (steps, windows, length) as the caller wants them."""
        if self.packed is not None:
            assert self.steps.when.lengths is not None
            data = pack_padded_sequence(values, torch.from_numpy(self.steps.when.lengths)).data
            given = self.packed
            return PackedSequence(data, given.batch_sizes, given.sorted_indices, given.unsorted_indices)
        if self.single:
            return values[:, 0]
        return values.transpose(0, 1) if self.batch_first else values

    def last(self, state: Tensor) -> Tensor:
        """A state (layers, windows, length) as the caller wants it."""
        if self.packed is not None and self.packed.unsorted_indices is not None:
            return state.index_select(1, self.packed.unsorted_indices)
        return state[:, 0] if self.single else state

    def initial(self, state: Tensor, name: str, layers: int, length: int) -> Tensor:
        """A state that the caller gave, as (layers, windows, length).

        Args:
            state: It.
            name: Of it, for errors.
            layers, length: Of the module.

        Raises:
            EdgeLstmError: It has another shape.
        """
        windows = self.values.shape[1]
        wanted = (layers, length) if self.single else (layers, windows, length)
        if tuple(state.shape) != wanted:
            raise EdgeLstmError(f"{name} has shape {tuple(state.shape)}; accepted is {wanted}")
        if self.packed is not None and self.packed.sorted_indices is not None:
            state = state.index_select(1, self.packed.sorted_indices)
        return state[:, None] if self.single else state


def given(sequences: Sequences, *, batch_first: bool, channels: int) -> Given:
    """What a caller gives to a module of so many input channels, as ``torch.nn.LSTM`` takes it.

    Args:
        sequences: (steps, windows, channels), with ``batch_first`` (windows, steps, channels); one window (steps,
            channels); or packed windows.
        batch_first: See there.
        channels: Of the module.

    Raises:
        EdgeLstmError: Another shape, or nothing at all.
    """
    if isinstance(sequences, PackedSequence):
        plain = PackedSequence(sequences.data, sequences.batch_sizes)
        values, lengths = pad_packed_sequence(plain)
        _check(values, channels)
        when = Timeline(len(values), lengths.numpy())
        return Given(values, Steps(when, values.device), batch_first, packed=sequences)
    single = sequences.ndim == 2
    values = sequences[:, None] if single else sequences
    if values.ndim == 3 and batch_first and not single:
        values = values.transpose(0, 1)
    _check(values, channels)
    return Given(values, Steps(Timeline(len(values)), values.device), batch_first, single)


def data(sequences: Sequences) -> Tensor:
    """The values, however they are laid out."""
    return sequences.data if isinstance(sequences, PackedSequence) else sequences


def _check(values: Tensor, channels: int) -> None:
    if values.ndim != 3 or values.shape[-1] != channels or 0 in values.shape:
        raise EdgeLstmError(
            f"sequences are {tuple(values.shape)} as (steps, windows, channels); accepted are {channels} channels, and "
            "at least one step and one window"
        )
