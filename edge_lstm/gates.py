"""Gate modes: how the value of a gate is computed from its pre-activation z.

``soft``: sigmoid(z), on the device a look-up table. ``hard``: 1 where z > 0, else 0 (rule R3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from edge_lstm.errors import EdgeLstmError

GateMode = Literal["soft", "hard"]
MODES: tuple[GateMode, ...] = ("soft", "hard")


def parse_gates(spec: str, gates: Sequence[str]) -> dict[str, GateMode]:
    """Mode of each gate from ``"soft"``, ``"hard"`` or a list such as ``"i=hard,f=soft,o=hard"``.

    Gates that a list does not name are soft.

    Raises:
        EdgeLstmError: An unknown gate or mode.
    """
    if "=" not in spec:
        return dict.fromkeys(gates, _mode(spec, spec))
    modes: dict[str, GateMode] = dict.fromkeys(gates, "soft")
    for item in spec.split(","):
        gate, _, mode = (part.strip() for part in item.partition("="))
        if gate not in modes:
            raise EdgeLstmError(f"gates {spec!r}: no gate {gate!r}; this cell has {', '.join(gates)}")
        modes[gate] = _mode(mode, spec)
    return modes


def format_gates(modes: Mapping[str, GateMode]) -> str:
    """Shortest specification that ``parse_gates`` reads back: ``"hard"``, or ``"i=hard,f=soft,o=hard"``."""
    if len(set(modes.values())) == 1:
        return next(iter(modes.values()))
    return ",".join(f"{gate}={mode}" for gate, mode in modes.items())


def _mode(mode: str, spec: str) -> GateMode:
    if mode not in MODES:
        raise EdgeLstmError(f"gates {spec!r}: no gate mode {mode!r}; accepted are {', '.join(MODES)}")
    return mode
