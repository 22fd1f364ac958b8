"""Gate modes: how the value of a gate is computed from its pre-activation z.

============= ====================================================================================
soft          s(z) = 1 / (1 + exp(-z)); on the device a look-up table
hard          1 where z > 0, else 0 (rule R3)
three-level   0 where z <= -1, 1 where z > 1, else 1/2: on the device two comparisons and a shift
hard-sigmoid  z / 4 + 1/2, between 0 and 1: on the device no table
============= ====================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from edge_lstm.errors import EdgeLstmError

GateMode = Literal["soft", "hard", "three-level", "hard-sigmoid"]
MODES: tuple[GateMode, ...] = ("soft", "hard", "three-level", "hard-sigmoid")
STEPS: Mapping[GateMode, tuple[float, ...]] = {"hard": (0.0,), "three-level": (-1.0, 1.0)}
"""Where a mode that is a sum of equal steps, from 0 to 1, has them."""


def parse_gates(spec: str, gates: Sequence[str]) -> dict[str, GateMode]:
    """Mode of each gate from ``"soft"``, ``"hard"`` or a list such as ``"i=hard,f=soft,o=hard"``.

    Gates that a list does not name are soft. ``lut`` is another name of ``soft``.

    Raises:
        EdgeLstmError: An unknown gate or mode.
    """
    if "=" not in spec:
        return dict.fromkeys(gates, _mode(spec, spec))
    modes: dict[str, GateMode] = dict.fromkeys(gates, "soft")
    for item in spec.split(","):
        gate, _, mode = (part.strip() for part in item.partition("="))
        if gate not in modes:
            has = f"has {', '.join(gates)}" if gates else "has no gates"
            raise EdgeLstmError(f"gates {spec!r}: no gate {gate!r}; this cell {has}")
        modes[gate] = _mode(mode, spec)
    return modes


def format_gates(modes: Mapping[str, GateMode]) -> str:
    """Shortest specification that ``parse_gates`` reads back: ``"hard"``, or ``"i=hard,f=soft,o=hard"``."""
    if not modes:
        return "soft"
    if len(set(modes.values())) == 1:
        return next(iter(modes.values()))
    return ",".join(f"{gate}={mode}" for gate, mode in modes.items())


def _mode(mode: str, spec: str) -> GateMode:
    for known in MODES:
        if mode == known or (mode == "lut" and known == "soft"):
            return known
    raise EdgeLstmError(f"gates {spec!r}: no gate mode {mode!r}; accepted are {', '.join(MODES)}")
