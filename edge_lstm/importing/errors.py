"""Why a file is refused."""

from __future__ import annotations

from edge_lstm.errors import EdgeLstmError


class UnsupportedError(EdgeLstmError):
    """A node, or a use of it, that is not supported; says which node, and why."""


class LayoutError(UnsupportedError):
    """A node finds the batch, the steps or the features on another axis than the one where it has them."""
