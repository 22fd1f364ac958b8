"""Whether a model fits on a device, and what would."""

from __future__ import annotations

from edge_lstm.cost import Cost
from edge_lstm.errors import EdgeLstmError
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import Op
from edge_lstm.parts import Target
from edge_lstm.program import constant_bits

NARROWER = (4, 2)


def check_fits(model: IntegerModel, cost: Cost, target: Target) -> None:
    """Raise unless a model fits.

    Args:
        model: The model.
        cost: What it takes on the target's core.
        target: How much there is.

    Raises:
        EdgeLstmError: Naming what it needs, by how much that is too much, and what would fit.
    """
    flash, ram = cost.flash_bytes["total"], cost.ram_bytes["total"]
    lacking = [
        f"{needed:,} bytes of {what}, {needed - most:,} more than the {most:,} there are"
        for what, needed, most in (("flash", flash, target.flash), ("RAM with stack", ram, target.ram))
        if most is not None and needed > most
    ]
    if lacking:
        advice = _advice(model, cost, target)
        raise EdgeLstmError(
            f"{model.signature.name} does not fit on {target.name}: it needs {' and '.join(lacking)}; {advice}"
        )


def _advice(model: IntegerModel, cost: Cost, target: Target) -> str:
    """What would fit; estimates."""
    found = []
    ram_fits = target.ram is None or cost.ram_bytes["total"] <= target.ram
    for bits in NARROWER if ram_fits else ():
        needed = cost.flash_bytes["total"] - _saved(model, bits)
        if needed < cost.flash_bytes["total"] and target.flash is not None and needed <= target.flash:
            found.append(f"weights of {bits} bits (about {needed:,} bytes of flash)")
    if isinstance(model, QuantizedModel):
        units = max(layer.hidden for layer in model.layers)
        fitting = [n for n in range(1, units) if _fits(model, cost, target, n / units)]
        if fitting:
            found.append(f"about {fitting[-1]} hidden units instead of {units}")
    return f"what would fit: {', or '.join(found)}" if found else "nothing smaller of this kind would fit"


def _saved(model: IntegerModel, bits: int) -> int:
    """Bytes by which weights of so many bits are smaller."""
    saved: dict[str, int] = {}
    for program in lower(model).programs:
        for i in program.instructions:
            if i.op is Op.MATVEC:
                name = str(i.attributes["weights"])
                rows, columns = program.constants[name].shape
                now = constant_bits(program, name)
                saved[name] = rows * max(0, -(-columns * now // 8) + (-columns * bits // 8))
    return sum(saved.values())


def _fits(model: QuantizedModel, cost: Cost, target: Target, scale: float) -> bool:
    """Whether the same layers with so many times their units would, by the products of the layers."""
    weights = cost.flash_bytes["weights"]
    flash = cost.flash_bytes["total"] - weights + weights * _products(model, scale) / _products(model, 1.0)
    memory = cost.ram_bytes["state"] + cost.ram_bytes["scratch"]
    ram = cost.ram_bytes["total"] - memory + memory * scale
    return (target.flash is None or flash <= target.flash) and (target.ram is None or ram <= target.ram)


def _products(model: QuantizedModel, scale: float) -> float:
    """Of a step and of the classifier, were all hidden layers scaled."""
    channels = len(model.signature.channels)
    total = model.dense_weights.size * scale
    for layer in model.layers:
        given = channels if layer.inputs == channels else layer.inputs * scale
        total += len(layer.blocks) * layer.hidden * scale * (given + layer.outputs * scale)
    return total
