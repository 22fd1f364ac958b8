"""Float nodes that compute each step by itself, in integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixedpoint import QFormat
from edge_lstm.graph import by_step
from edge_lstm.graph.by_step import Function
from edge_lstm.graph.over_time import Step
from edge_lstm.heads import EXP_BETWEEN_BITS, EXP_INDEX_BITS, PROBABILITY, exp_table
from edge_lstm.integer_graph import nodes as n
from edge_lstm.integer_graph.making import TABLED_HEADROOM, VECTOR_BITS, Maker, Quantized
from edge_lstm.integer_graph.roots import OUTPUT_BITS
from edge_lstm.luts import BETWEEN_BITS
from edge_lstm.requantize import Requantize
from edge_lstm.to_integers import calibrated_format

MUCH = 4.0
"""Units differ so much, at most, of what is read together."""
SQUARES_BITS = 29
"""Of the sum of squares of a normalization."""


def samples(m: Maker, k: int, node: by_step.Input) -> Quantized:
    largest = 2 ** (m.input_bits - 1) - 1
    named = _row_numbers(m)
    reach = np.array([m.ranges[k, str(j)].largest for j in range(node.width)])
    unit = np.where(named, 1.0, np.maximum(reach, 1e-12) / largest)
    return m.add(n.Samples(node.width), unit, np.full(node.width, largest), m.steps)


def _row_numbers(m: Maker) -> NDArray[np.bool_]:
    """Channels that name rows of a table: their unit is 1."""
    (at,) = (k for k in m.needed if isinstance(m.graph.nodes[k], by_step.Input))
    found = np.zeros(m.graph.shapes[at].width, bool)
    for k in m.needed:
        node: Any = m.graph.nodes[k]
        if isinstance(node, by_step.Embedding):
            source: Any = m.graph.nodes[node.source]
            if node.source == at:
                found[:] = True
            elif isinstance(source, by_step.Features) and source.source == at:
                found[list(source.columns)] = True
            else:
                raise EdgeLstmError("rows of a table are named by what is computed")
    return found


def linear(m: Maker, k: int, node: by_step.Linear) -> Quantized:
    source = m.made[node.source]
    return m.rows(
        k,
        source,
        node.weights,
        node.bias,
        column_unit=source.unit,
        column_limit=source.limit,
        steps=source.steps,
        scored=k == m.scores,
    )


def is_picked(m: Maker, k: int) -> bool:
    """Whether a step of a sequence is read by choices of its features only: these are then chosen first."""
    readers = [m.graph.nodes[j] for j in m.readers.get(k, [])]
    of_features = bool(readers) and all(isinstance(node, by_step.Features) for node in readers)
    return isinstance(m.graph.nodes[k], Step) and of_features


def features(m: Maker, k: int, node: by_step.Features) -> Quantized:  # noqa: ARG001
    step = m.graph.nodes[node.source]
    source = m.made[step.source] if isinstance(step, Step) else m.made[node.source]
    columns = list(node.columns)
    picked = m.add(n.Pick(source.at, tuple(node.columns)), source.unit[columns], source.limit[columns], source.steps)
    return step_of(m, picked, step) if isinstance(step, Step) else picked


def step_of(m: Maker, source: Quantized, node: Step) -> Quantized:
    """A step of a sequence."""
    assert source.steps is not None
    if not -source.steps <= node.at < source.steps:
        raise EdgeLstmError(f"it is step {node.at} of {source.steps}")
    return m.add(n.At(source.at, node.at % source.steps), source.unit, source.limit, None)


def concat(m: Maker, k: int, node: by_step.Concat) -> Quantized:  # noqa: ARG001
    read = _alike(m, node.parts)
    unit, limit = np.concatenate([v.unit for v in read]), np.concatenate([v.limit for v in read])
    steps = next((v.steps for v in read if not v.vector), None)
    return m.add(n.Join(tuple(v.at for v in read)), unit, limit, steps)


def function(m: Maker, k: int, node: Function) -> Quantized:
    source = m.made[node.source]
    width = len(source.unit)
    if node.name == "leaky-relu":
        return _leaky(m, k, source, node.alpha)
    ones, zeros = np.ones(width), np.zeros(width)
    if node.name == "hard-sigmoid":
        ones, zeros = ones * node.alpha, zeros + node.beta
    integers, bias, scale, reach = m.factors(source, ones, zeros - m.middle(node))
    finish, unit, limit = m.finish(k, scale, reach, vector=source.vector, function=node)
    made = n.Gain(source.at, integers, bias, finish)
    return m.add(made, np.full(width, unit), np.full(width, limit), source.steps)


def _leaky(m: Maker, k: int, source: Quantized, alpha: float) -> Quantized:
    """max(v, alpha v), for a slope up to 1; min for one beyond."""
    width = len(source.unit)
    kind = "max" if alpha <= 1 else "min"
    return m.pair(k, source, source, kind, np.ones(width), np.full(width, alpha))


def binary(m: Maker, k: int, node: by_step.Binary) -> Quantized:
    left, right = m.made[node.left], m.made[node.right]
    width = max(len(left.unit), len(right.unit))
    if node.name == "div":
        right = _reciprocal(m, k, node.right)
    if node.name in ("mul", "div"):
        scale = left.unit * right.unit
        reach = int((left.limit * right.limit).max())
        vector = left.vector and right.vector
        finish, unit, limit = m.finish(k, scale, reach, vector=vector)
        steps = left.steps if right.vector else right.steps
        made = n.Combine(left.at, right.at, "mul", finish)
        return m.add(made, np.full(width, unit), np.full(width, limit), steps)
    ones = np.ones(width)
    kind = {"add": "add", "sub": "add", "max": "max", "min": "min"}[node.name]
    return m.pair(k, left, right, kind, ones, -ones if node.name == "sub" else ones)


def _reciprocal(m: Maker, k: int, at: int) -> Quantized:
    """1 / v of a value of one sign; in 16 bits, since it spans much."""
    source = m.made[at]
    width = len(source.unit)
    function = Function(at, "reciprocal")
    integers, bias, scale, reach = m.factors(source, np.ones(width), np.full(width, -m.middle(function)))
    finish, unit, limit = m.table(k, function, scale, reach, VECTOR_BITS, BETWEEN_BITS)
    made = n.Gain(source.at, integers, bias, finish)
    return m.add(made, np.full(width, unit), np.full(width, limit), source.steps)


def _alike(m: Maker, parts: Sequence[int]) -> list[Quantized]:
    """Values whose units are much alike: what reads them has one scale for all weights of a row."""
    read = [m.made[part] for part in parts]
    finest = min(float(v.unit.min()) for v in read)
    if max(float(v.unit.max()) for v in read) <= MUCH * finest:
        return read
    reach = max(float((v.unit * v.limit).max()) for v in read)
    fraction = min(math.floor(-math.log2(finest)), VECTOR_BITS - 1 - math.ceil(math.log2(reach)))
    form = QFormat(VECTOR_BITS, fraction, symmetric=True)
    found = []
    for part, v in zip(parts, read, strict=True):
        near = form.scale / MUCH < float(v.unit.min()) and float(v.unit.max()) < form.scale * MUCH
        width = len(v.unit)
        found.append(v if near else m.gain(part, v, np.ones(width), np.zeros(width), form=form))
    return found


def softmax(m: Maker, k: int, node: by_step.Softmax) -> Quantized:  # noqa: ARG001
    if node.log:
        raise EdgeLstmError("a logarithm of a softmax that is not the output")
    source = m.one_unit(node.source)
    width, limit = len(source.unit), int(source.limit.max())
    if node.over == "time" and width > 1:
        raise EdgeLstmError(f"softmax over time of {width} features at once; accepted is one")
    factor = np.full(width, source.unit[0] * 2.0 ** (EXP_INDEX_BITS + EXP_BETWEEN_BITS))
    requantize = Requantize.from_real(factor, 2 * limit)
    made = n.Exponentials(source.at, requantize, exp_table().astype(np.int16), node.over)
    return m.add(made, np.full(width, PROBABILITY.scale), np.full(width, PROBABILITY.max), source.steps)


def normalize(m: Maker, k: int, node: by_step.Normalize) -> Quantized:
    source = m.one_unit(node.source)
    width, unit = len(source.unit), float(source.unit[0])
    largest = 2 * (width - 1) * int(source.limit.max())
    most = math.isqrt(2**SQUARES_BITS // width)
    shift = max(0, largest.bit_length() - most.bit_length() + 1)
    epsilon = width * node.epsilon * (width / (unit * 2.0**shift)) ** 2
    if not epsilon < 2**SQUARES_BITS:
        raise EdgeLstmError(f"its epsilon of {node.epsilon} is more than any variance that the calibration has")
    root = 2.0**-OUTPUT_BITS
    normal = Quantized(source.at, np.full(width, root), np.full(width, 2**OUTPUT_BITS), source.steps)
    integers, bias, scale, reach = m.factors(normal, node.gain * math.sqrt(width), node.bias)
    finish, made_unit, limit = m.finish(k, scale, reach, vector=source.vector)
    made = n.Normalized(source.at, shift, max(1, round(epsilon)), integers, bias, finish)
    return m.add(made, np.full(width, made_unit), np.full(width, limit), source.steps)


def embedding(m: Maker, k: int, node: by_step.Embedding) -> Quantized:  # noqa: ARG001
    source = m.made[node.source]
    bits = VECTOR_BITS if source.vector else m.bits.activations
    form = calibrated_format(bits, float(np.abs(node.table).max(initial=0.0)) / TABLED_HEADROOM, symmetric=True)
    made = n.Rows(source.at, form.quantize(node.table).astype(np.int16))
    width = node.table.shape[1]
    return m.add(made, np.full(width, form.scale), np.full(width, form.max), source.steps)
