"""The tensors of a training run as arrays by name, and back: weights, moments of AdamW, averages, random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_lstm.codec import Tensors
from edge_lstm.errors import EdgeLstmError

RANDOM = "torch.random"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each parameter."""


class Snapshot:
    """What is left to take of a checkpoint's arrays, each checked against what it is to replace.

    Args:
        tensors: By name.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._left = dict(tensors)

    def array(self, name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """One of them.

        Raises:
            EdgeLstmError: It is missing, of another shape or type, or holds what is no number.
        """
        if name not in self._left:
            raise EdgeLstmError(f"there is no array {name}")
        found = self._left.pop(name)
        if found.shape != shape or found.dtype.name != dtype:
            raise EdgeLstmError(f"{name} is {found.dtype.name} {found.shape}, and must be {dtype} {shape}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise EdgeLstmError(f"{name} holds what is no finite number")
        return found

    def state(self, prefix: str, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of a network; raises as ``array``."""
        return {name: self._tensor(f"{prefix}.{name}", value) for name, value in like.items()}

    def optimizer(
        self, optimizer: torch.optim.Optimizer, network: nn.Module, *, learning_rate: float, betas: Any
    ) -> None:
        """Put back the moments of an optimizer; raises as ``array``. A parameter without any had no gradient yet."""
        state = {}
        for k, (name, parameter) in enumerate(network.named_parameters()):
            if f"step.{name}" in self._left:
                like = {"exp_avg": parameter, "exp_avg_sq": parameter, "step": torch.zeros(())}
                state[k] = {moment: self._tensor(f"{moment}.{name}", value) for moment, value in like.items()}
        groups = optimizer.state_dict()["param_groups"]
        for group in groups:
            group |= {"lr": learning_rate, "betas": tuple(betas)}
        optimizer.load_state_dict({"state": state, "param_groups": groups})

    def random(self) -> None:
        """Put back the state of PyTorch's random numbers; raises as ``array``."""
        now = torch.random.get_rng_state()
        try:
            torch.random.set_rng_state(torch.from_numpy(self.array(RANDOM, tuple(now.shape), "uint8").copy()))
        except RuntimeError as error:
            raise EdgeLstmError(f"{RANDOM} is no state of a random number generator") from error

    def end(self) -> None:
        """Refuse what was not asked for."""
        if self._left:
            raise EdgeLstmError(f"there is an array {min(self._left)!r} that belongs to nothing")

    def _tensor(self, name: str, like: Tensor) -> Tensor:
        shape = tuple(like.shape) or (1,)
        found = self.array(name, shape, str(like.dtype).removeprefix("torch."))
        return torch.from_numpy(found.copy()).reshape(like.shape)


def arrays(prefix: str, state: Mapping[str, Tensor]) -> Tensors:
    """Of a network's state, under names that ``Snapshot.state`` finds."""
    return {f"{prefix}.{name}": _array(value) for name, value in state.items()}


def moments(optimizer: torch.optim.Optimizer, network: nn.Module) -> Tensors:
    """Of an optimizer, under names that ``Snapshot.optimizer`` finds."""
    state = optimizer.state_dict()["state"]
    names = [name for name, _ in network.named_parameters()]
    return {f"{moment}.{names[k]}": _array(of[moment]) for k, of in state.items() for moment in _MOMENTS}


def random() -> Tensors:
    """The state of PyTorch's random numbers."""
    return {RANDOM: torch.random.get_rng_state().numpy()}


def _array(value: Tensor) -> NDArray[Any]:
    """A scalar becomes an array of one."""
    return np.ascontiguousarray(value.detach().numpy())
