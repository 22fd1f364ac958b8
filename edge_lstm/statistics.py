"""What a model holds and what its gates do on recordings: ``edge-lstm inspect``."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm import luts
from edge_lstm.codec import digest
from edge_lstm.fixedpoint import Integers
from edge_lstm.gates import format_gates
from edge_lstm.lower import lower
from edge_lstm.model import GATE, QuantizedLayer, QuantizedModel
from edge_lstm.runtime import execute


def describe(model: QuantizedModel) -> dict[str, Any]:
    """Layers, formats, sizes and table errors as plain values."""
    constants = {k: v for p in (lower(model).step, lower(model).head) for k, v in p.constants.items()}
    parameters = sum(b.weights.size + b.bias.size for layer in model.layers for b in layer.blocks.values())
    return {
        "name": model.signature.name,
        "sha256": digest(model),
        "channels": list(model.signature.channels),
        "classes": list(model.signature.classes),
        "rate_hz": model.signature.rate_hz,
        "steps": model.signature.steps,
        "pooling": model.pooling,
        "layers": [_layer(layer) for layer in model.layers],
        "parameters": parameters + model.dense_weights.size + model.dense_bias.size,
        "model_bytes": sum(_bytes(value) for value in constants.values()),
        "multiply_accumulates_per_step": sum(4 * k.hidden * (k.inputs + k.hidden) for k in model.layers),
        "provenance": dict(model.provenance),
    }


def _layer(layer: QuantizedLayer) -> dict[str, Any]:
    tables = {name: block.table for name, block in layer.blocks.items() if block.table} | {"c": layer.squash}
    return {
        "cell": layer.cell,
        "inputs": layer.inputs,
        "hidden": layer.hidden,
        "gates": format_gates(layer.modes),
        "weight_bits": 8,
        "activation_bits": layer.h.bits,
        "formats": {"h": str(layer.h), "c": str(layer.c)},
        "tables": {
            name: {"function": t.function, "format": str(t.output), "largest_error": luts.largest_error(t)}
            for name, t in tables.items()
        },
    }


def _bytes(constant: Integers) -> int:
    """Flash that the C export uses for a constant."""
    from edge_lstm.program import storage_bits

    return constant.size * storage_bits(int(constant.min()), int(constant.max())) // 8


def gate_statistics(model: QuantizedModel, x: Any) -> list[dict[str, Any]]:
    """What the gates did, for each layer.

    Args:
        model: The model.
        x: (windows, steps, channels) samples in the channels' units.

    Returns:
        Per layer: ``gates``: name to ``open`` (mean value, 0 to 1) and ``changes`` (share of the steps at which it
        opens or closes, rounding a soft gate); ``h_zero`` and ``h_unchanged``: shares of the hidden values;
        ``c_saturated``: share of the cell states at a limit of their format.
    """
    trace = execute(model, model.quantize_input(x), trace="all").trace
    result = []
    for k, layer in enumerate(model.layers):
        name = f"{layer.cell}{k}"
        h, c = trace[f"{name}.h"], trace[f"{name}.c"]
        gates = {}
        for gate, mode in layer.modes.items():
            values = trace[f"{name}.{gate}"] * (1.0 if mode == "hard" else GATE.scale)
            gates[gate] = {"open": float(values.mean()), "changes": _changes(values > 0.5)}
        result.append(
            {
                "layer": name,
                "gates": gates,
                "h_zero": float((h == 0).mean()),
                "h_unchanged": 1.0 - _changes(h),
                "c_saturated": float(((c == layer.c.min) | (c == layer.c.max)).mean()),
            }
        )
    return result


def _changes(values: Any) -> float:
    """Share of the steps after the first at which a value differs from the step before."""
    return float(np.mean(values[:, 1:] != values[:, :-1])) if values.shape[1] > 1 else 0.0
