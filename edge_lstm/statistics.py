"""What a model holds and what its gates do on recordings: ``edge-lstm inspect``."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm import luts
from edge_lstm.blocks import GATE, Linear, Steps, Table
from edge_lstm.codec import digest
from edge_lstm.gates import STEPS, GateMode, format_gates
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.integer_graph.nodes import Affine
from edge_lstm.integer_model import IntegerModel
from edge_lstm.layers import QuantizedLayer
from edge_lstm.lower import lower, named_layers
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import Op
from edge_lstm.program import Program, constant_bytes
from edge_lstm.runtime import execute
from edge_lstm.timeline import timeline


def describe(model: IntegerModel) -> dict[str, Any]:
    """Layers, formats, sizes and table errors as plain values."""
    lowered = lower(model)
    sizes = {k: constant_bytes(p, k) for p in lowered.programs for k in p.constants}
    layers = [layer for _, layer in named_layers(model)]
    return {
        "name": model.signature.name,
        "sha256": digest(model),
        "channels": list(model.signature.channels),
        "classes": list(model.signature.classes),
        "rate_hz": model.signature.rate_hz,
        "steps": model.signature.steps,
        "variable": model.signature.variable,
        "task": model.signature.task,
        "outputs": list(lowered.outputs),
        "streams": lowered.streams,
        "layers": [_layer(layer) for layer in layers],
        "model_bytes": sum(sizes.values()),
        "provenance": dict(model.provenance),
        **(_of_graph(model) if isinstance(model, QuantizedGraph) else _of_layers(model)),
    }


def _of_layers(model: IntegerModel) -> dict[str, Any]:
    assert isinstance(model, QuantizedModel)
    parameters = sum(map(_parameters, model.all_layers)) + sum(k.weights.size + k.bias.size for k in model.relu_layers)
    return {
        "pooling": model.pooling,
        "decoder_steps": model.decoder.steps if model.decoder else None,
        "parameters": parameters + model.dense_weights.size + model.dense_bias.size,
        "multiply_accumulates_per_step": sum(map(_weights, model.all_layers)),
    }


def _of_graph(model: QuantizedGraph) -> dict[str, Any]:
    """Products are counted over a window, whose stages have different numbers of steps, and its head."""
    affine = [node for node in model.nodes if isinstance(node, Affine)]
    window = model.signature.steps
    counts = [(p, s.steps or window) for s, p in zip(model.lowered.stages, model.lowered.programs, strict=False)]
    products = sum(_products(p) * steps for p, steps in [*counts, (model.lowered.head, 1)])
    return {
        "nodes": [
            {"kind": type(node).__name__.lower(), "width": len(unit)}
            for node, unit in zip(model.nodes, model.units, strict=True)
        ],
        "pooling": None,
        "decoder_steps": None,
        "parameters": sum(map(_parameters, model.all_layers)) + sum(k.weights.size + k.bias.size for k in affine),
        "multiply_accumulates_per_step": round(products / window),
    }


def _products(program: Program) -> int:
    """Multiplications of a Program's matrix products."""
    weights = [str(i.attributes["weights"]) for i in program.instructions if i.op is Op.MATVEC]
    return sum(program.constants[name].size for name in weights)


def _weights(layer: QuantizedLayer) -> int:
    """Weights of the matrix products, each of which is multiplied once in a step."""
    projection = 0 if layer.projection is None else layer.projection.weights.size
    return projection + sum(block.weights.size for block in layer.blocks.values())


def _parameters(layer: QuantizedLayer) -> int:
    vectors = [v for b in layer.blocks.values() for v in (b.bias, b.recurrent_bias) if v is not None]
    peepholes = [b.peephole.multiplier for b in layer.blocks.values() if b.peephole is not None]
    return _weights(layer) + sum(v.size for v in (*vectors, *peepholes))


def _layer(layer: QuantizedLayer) -> dict[str, Any]:
    blocks = {name: b.activation for name, b in layer.blocks.items() if not isinstance(b.activation, Steps)}
    functions = {**blocks, **layer.squash}
    return {
        "cell": layer.cell,
        "direction": "reverse" if layer.reverse else "forward",
        "inputs": layer.inputs,
        "hidden": layer.hidden,
        "outputs": layer.outputs,
        "gates": format_gates(layer.modes),
        "weight_bits": next(iter(layer.blocks.values())).weight_bits,
        "activation_bits": layer.h.bits,
        "formats": {name: str(f) for name, f in (("h", layer.h), ("c", layer.c)) if f is not None},
        "tables": {name: _function(f) for name, f in functions.items()},
    }


def _function(activation: Table | Linear) -> dict[str, Any]:
    interpolated = isinstance(activation, Table) and activation.between_bits > 0
    form = "linear" if isinstance(activation, Linear) else "interpolated" if interpolated else "nearest"
    return {
        "function": activation.function,
        "form": form,
        "format": str(activation.output),
        "largest_error": luts.largest_error(activation),
        "mean_error": luts.mean_error(activation),
    }


def gate_statistics(model: IntegerModel, x: Any, *, lengths: Any = None) -> list[dict[str, Any]]:
    """What the gates did, for each layer.

    Args:
        model: The model.
        x: (windows, steps, channels) samples in the channels' units.
        lengths: (windows,) steps of each window, of a model for windows of several lengths.

    Returns:
        Per layer: ``gates``: name to ``open`` (mean value, 0 to 1) and ``changes`` (share of the steps at which it
        opens or closes, rounding a soft gate); ``h_zero`` and ``h_unchanged``: shares of the hidden values;
        ``c_saturated``: share of the cell states at a limit of their format.
    """
    integers = model.quantize_input(x)
    trace = execute(model, integers, trace="all", lengths=lengths).trace
    when = timeline(model.signature, len(integers), integers.shape[1], lengths)
    result = []
    for k, (name, layer) in enumerate(named_layers(model)):
        decoded = isinstance(model, QuantizedModel) and k >= len(model.layers)
        steps = _Steps(None if decoded or when.lengths is None else when.valid)
        h, c, f = trace[f"{name}.h"], trace.get(f"{name}.c"), layer.c
        gates = {}
        for gate, mode in layer.modes.items():
            values = trace[f"{name}.{gate}"] * gate_scale(mode)
            gates[gate] = {"open": float(steps.of(values).mean()), "changes": steps.changes(values > 0.5)}
        result.append(
            {
                "layer": name,
                "gates": gates,
                "h_zero": float((steps.of(h) == 0).mean()),
                "h_unchanged": 1.0 - steps.changes(h),
                "c_saturated": 0.0 if c is None or f is None else float(np.isin(steps.of(c), (f.min, f.max)).mean()),
            }
        )
    return result


def gate_scale(mode: GateMode) -> float:
    """Real value of one unit of a gate's integer."""
    return 1.0 / len(STEPS[mode]) if mode in STEPS else GATE.scale


class _Steps:
    """The steps that windows have.

    Args:
        valid: (windows, steps), or None where all are.
    """

    def __init__(self, valid: Any) -> None:
        self._valid = valid

    def of(self, values: Any) -> Any:
        """Values (windows, steps, ...) of these steps, (..., length)."""
        return values if self._valid is None else values[self._valid]

    def changes(self, values: Any) -> float:
        """Share of the steps after the first at which a value differs from the step before."""
        differs = values[:, 1:] != values[:, :-1]
        found = differs if self._valid is None else differs[self._valid[:, 1:]]
        return float(np.mean(found)) if found.size else 0.0
