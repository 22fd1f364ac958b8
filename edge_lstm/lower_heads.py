"""What follows the recurrent layers, in integers: pooling, dense layers, probabilities and what a decoder is fed.

The equation numbers are those of ``edge_lstm.lower``.
"""

from __future__ import annotations

import numpy as np

from edge_lstm.fixedpoint import QFormat, shift_right_half_up
from edge_lstm.heads import EXP_BETWEEN_BITS, EXP_OUTPUT, PROBABILITY, Attention, Decoder
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import Op
from edge_lstm.program import Port, ProgramBuilder, State
from edge_lstm.ratio import ratio
from edge_lstm.requantize import Requantize
from edge_lstm.symbols import emit_requantize

SCORES = "decoder.scores"


def pool_states(builder: ProgramBuilder, model: QuantizedModel, part: str, h: str, *, first: bool) -> list[State]:
    """(10): what is kept for pooling, from the h of a part of the last level. The first of these is as long as h.

    Args:
        builder: Of the stage.
        model: The model.
        part: ``pool``, or a name of its own where the last level has several parts; prefixes the values.
        h: The next h.
        first: The part that also keeps the number of steps.
    """
    f, length, steps = model.layers[-1].h, builder.length(h), model.signature.steps
    if model.pooling == "max":
        port = builder.port(Port(f"{part}.p", length, 0, f.max - f.min))
        lifted = builder.emit(Op.ADD, f"{part}.lifted", h, _lift(builder, model, part, length))
        return [State(port, builder.emit(Op.MAX, f"{part}.p_next", port.name, lifted))]
    if model.pooling == "newest":
        return _first(builder, part, h, f)
    if model.pooling == "mean":
        states = [_sum(builder, part, "p", h, f.max * steps)]  # what a whole window can reach
        if model.signature.variable and first:
            states.append(_sum(builder, part, "n", builder.full("one", 1, 1), steps, least=0))
        return states
    if model.attention is not None:
        narrow = model.attention.narrow
        weight = _attention_weight(builder, model.attention, h)
        weighted = builder.emit(Op.MUL, f"{part}.weighted", spread(builder, f"{part}.weight", weight, length), h)
        if narrow:
            weighted = builder.emit(Op.SHIFT_RIGHT_HALF_UP, f"{part}.narrow", weighted, n=narrow)
        largest = shift_right_half_up(f.max << EXP_OUTPUT.fraction_bits, narrow)
        most = steps << EXP_OUTPUT.fraction_bits
        return [
            _sum(builder, part, "p", weighted, largest * steps),
            _sum(builder, part, "d", weight, most, least=0),
        ]
    return []


def _first(builder: ProgramBuilder, part: str, h: str, form: QFormat) -> list[State]:
    """What h is after the first step, and whether there was one."""
    length = builder.length(h)
    kept = builder.port(Port(f"{part}.p", length, form.min, form.max))
    known = builder.port(Port(f"{part}.known", 1, 0, 1))
    one = builder.full("one", 1, 1)
    new = builder.emit(Op.SUB, f"{part}.new", one, known.name)
    old = builder.emit(Op.SELECT, f"{part}.old", spread(builder, f"{part}.has", known.name, length), kept.name)
    taken = builder.emit(Op.SELECT, f"{part}.taken", spread(builder, f"{part}.takes", new, length), h)
    both = builder.emit(Op.ADD, f"{part}.both", old, taken)  # one of them is 0
    states = [State(kept, builder.emit(Op.SATURATE, f"{part}.p_next", both, lo=form.min, hi=form.max))]
    return [*states, State(known, builder.emit(Op.MAX, f"{part}.known_next", known.name, new))]


def _sum(builder: ProgramBuilder, part: str, name: str, term: str, bound: int, *, least: int | None = None) -> State:
    """A sum over the window: only a stream without resets saturates."""
    least = -bound if least is None else least
    port = builder.port(Port(f"{part}.{name}", builder.length(term), least, bound))
    total = builder.emit(Op.ADD, f"{part}.sum" if name == "p" else f"{part}.{name}_sum", port.name, term)
    return State(port, builder.emit(Op.SATURATE, f"{part}.{name}_next", total, lo=least, hi=bound))


def _attention_weight(builder: ProgramBuilder, attention: Attention, h: str) -> str:
    constants = {
        "weights": builder.constant("pool.u", attention.weights),
        "bias": builder.constant("pool.b", attention.bias),
    }
    score = builder.emit(Op.MATVEC, "pool.score", h, **constants)
    return exp(builder, "pool.e", score, attention.requantize, attention.table)


def exp(builder: ProgramBuilder, name: str, v: str, requantize: Requantize, table: np.ndarray) -> str:
    """exp of a value that is limited to [-8, 0]."""
    wide = emit_requantize(builder, name, v, requantize)
    index = builder.emit(Op.SATURATE, f"{name}_index", wide, lo=-128 << EXP_BETWEEN_BITS, hi=-1)
    values = builder.constant(f"{name}_exp", table)
    return builder.emit(Op.LUT_INTERP, name, index, table=values, lo=-128, n=EXP_BETWEEN_BITS)


def spread(builder: ProgramBuilder, name: str, scalar: str, length: int) -> str:
    """A vector of one value."""
    ones = builder.constant(f"{name}_ones", np.ones((length, 1), np.int32))
    zeros = builder.constant(f"{name}_zeros", np.zeros(length, np.int32))
    return builder.emit(Op.MATVEC, name, scalar, weights=ones, bias=zeros)


def _lift(builder: ProgramBuilder, model: QuantizedModel, part: str, length: int) -> str:
    """What makes every h not negative, as a vector."""
    return builder.full(f"{part}.lift", -model.layers[-1].h.min, length)


def pooled(builder: ProgramBuilder, model: QuantizedModel, value: str, divisor: str | None) -> str:
    """(11): what the dense layers read.

    Args:
        builder: Of the head.
        model: The model.
        value: What is kept for pooling, of all parts; or h.
        divisor: The number of steps or the sum of the weights, where one is kept.
    """
    h, steps = model.layers[-1].h, model.signature.steps
    if model.pooling == "max":
        return builder.emit(Op.SUB, "pool.max", value, _lift(builder, model, "pool", builder.length(value)))
    shift = model.pooled.fraction_bits - h.fraction_bits
    if model.pool is not None:
        wide = emit_requantize(builder, "pool.mean", value, model.pool)
    elif model.attention is not None:
        assert divisor is not None
        narrow = model.attention.narrow
        limits = {"least": max(int(model.attention.table[0]), 1), "most": steps << EXP_OUTPUT.fraction_bits}
        wide = ratio(builder, "pool", value, divisor, **limits, bound=(h.max >> narrow) + 1, shift=shift + narrow)
    elif model.pooling == "mean":
        assert divisor is not None
        wide = ratio(builder, "pool", value, divisor, least=1, most=steps, bound=h.max, shift=shift)
    else:
        return value
    return builder.emit(Op.SATURATE, "pool.mean", wide, lo=model.pooled.min, hi=model.pooled.max)


def dense(builder: ProgramBuilder, model: QuantizedModel, value: str, scores: str = "scores") -> str:
    """(12) and (13): from what the dense layers read to the scores."""
    for k, layer in enumerate(model.relu_layers):
        weights, bias = builder.constant(f"relu{k}.D", layer.weights), builder.constant(f"relu{k}.d", layer.bias)
        acc = builder.emit(Op.MATVEC, f"relu{k}.a", value, weights=weights, bias=bias)
        wide = emit_requantize(builder, f"relu{k}", acc, layer.requantize)
        value = builder.emit(Op.SATURATE, f"relu{k}.v", wide, lo=0, hi=layer.output.max)
    weights, bias = builder.constant("dense.D", model.dense_weights), builder.constant("dense.d", model.dense_bias)
    return builder.emit(Op.MATVEC, scores, value, weights=weights, bias=bias)


def outputs(builder: ProgramBuilder, model: IntegerModel, scores: str) -> tuple[str, ...]:
    """Names of a model's outputs, from its scores."""
    if model.signature.task != "classify":
        return (scores,)
    found = (scores, builder.emit(Op.ARGMAX, "class_index", scores))
    if model.softmax is None:
        return found
    requantize, table = model.softmax.requantize, model.softmax.table
    return (*found, softmax(builder, "softmax", "probabilities", scores, requantize, table))


def softmax(builder: ProgramBuilder, name: str, out: str, v: str, requantize: Requantize, table: np.ndarray) -> str:
    """(15): softmax over the elements of a value, in Q0.15."""
    length = builder.length(v)
    largest = spread(builder, f"{name}.largest", builder.emit(Op.MAX_ELEMENT, f"{name}.max", v), length)
    below = builder.emit(Op.SUB, f"{name}.below", v, largest)
    e = exp(builder, f"{name}.e", below, requantize, table)
    constants = {
        "weights": builder.constant(f"{name}.ones", np.ones((1, length), np.int32)),
        "bias": builder.constant(f"{name}.zero", np.zeros(1, np.int32)),
    }
    total = builder.emit(Op.MATVEC, f"{name}.sum", e, **constants)
    _, most = builder.interval(total)
    least = max(1, int(table[-1]) // 2)
    share = ratio(builder, f"{name}.share", e, total, least=least, most=most, bound=1, shift=PROBABILITY.fraction_bits)
    return builder.emit(Op.SATURATE, out, share, lo=0, hi=PROBABILITY.max)


def fed_back(builder: ProgramBuilder, decoder: Decoder, scores: str) -> str:
    """(16): what a decoder is given in its next step."""
    wide = emit_requantize(builder, "decoder.fed", scores, decoder.feedback)
    return builder.emit(Op.SATURATE, "decoder.x_next", wide, lo=decoder.fed.min, hi=decoder.fed.max)
