"""Modules of a model put in the place of others."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Replacement = Callable[[str, nn.Module], nn.Module | None]
"""From a module's qualified name, and it, to what takes its place; None where it stays."""


def swapped(model: nn.Module, replacement: Replacement) -> nn.Module:
    """The model, with modules replaced in place; a module that is there under several names is replaced once.

    Args:
        model: It.
        replacement: Asked of every module, the model itself too, under the first of its names.
    """
    made: dict[nn.Module, nn.Module | None] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module not in made:
            made[module] = replacement(name, module)
        new = made[module]
        if new is None:
            continue
        if not name:
            return new
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, new)
    return model
