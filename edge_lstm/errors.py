"""Errors that a user can act on: one line, naming the value and what is accepted."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType


class EdgeLstmError(Exception):
    """Base of every error that is the input's fault. The command line prints it in one line and exits with 2."""


class MissingExtraError(EdgeLstmError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{package} is needed {purpose}: pip install 'edge-lstm[{extra}]'")
        self._given = package, extra, purpose

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        """So that it survives the way from a process of ``study``."""
        return type(self), self._given


def require(module: str, *, package: str | None = None, extra: str, purpose: str) -> ModuleType:
    """Import ``module``.

    Args:
        module: Dotted name, for example ``"onnxruntime"``.
        package: Name to show, where it differs from the module's first part.
        extra: The extra of edge-lstm that brings it, for example ``"sim"``.
        purpose: Completes "X is needed ...", for example ``"to emulate a Cortex-M"``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(package or module.partition(".")[0], extra, purpose) from error


def check_installed(*modules: str, extra: str, purpose: str) -> None:
    """Say before any work is done what will be missing; the arguments as those of ``require``, names without dots.

    Raises:
        MissingExtraError: A module is not installed.
    """
    for module in modules:
        if not is_installed(module):
            raise MissingExtraError(module, extra, purpose)


def is_installed(*modules: str) -> bool:
    """Whether all of these modules are there; names without dots."""
    return all(importlib.util.find_spec(module) is not None for module in modules)
