"""``QuantizedModel`` to Programs: the algorithm, written once, that every backend derives from.

One time step of an LSTM layer; v >> n rounds as design.md, R4 and the model say, sat is ``SATURATE``:

(1)  v    = [x; h]
(2)  a_k  = W_k v + b_k                              for each block k of i, f, g, o; one accumulator (R2)
(3)  k    = (a_k > 0)                                a hard gate (R3); or
     k    = sigmoid[sat8(requantize(a_k))]           a soft gate, in Q0.15
(4)  g    = tanh[sat8(requantize(a_g))]              in the format of c
(5)  c'   = sat16(f c + i g)                         a hard gate selects, a soft one multiplies, then >> 15
(6)  t    = tanh[sat8(c' >> squash_shift)]           in the format of h if o is hard, else in Q0.15
(7)  h'   = o t                                      as in (5); saturated to the format of h if o is soft

Pooling and classifier, from the state:

(8)  p'   = sat(p + h')                              at each step, for the mean over a window
(9)  s    = D requantize(p) + d                      or D h' + d; scores
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_lstm.model import GATE, QuantizedLayer, QuantizedModel, Table
from edge_lstm.ops import Op
from edge_lstm.program import Port, Program, ProgramBuilder, State
from edge_lstm.requantize import Requantize

INDEX_MIN, INDEX_MAX = -128, 127


@dataclass(frozen=True)
class Lowered:
    """A model as two Programs over the same states.

    Attributes:
        step: One time step: input ``x``, states updated.
        head: From the states to the outputs ``scores`` (classes,) and ``class_index`` (1,); keeps nothing.
    """

    step: Program
    head: Program

    @property
    def states(self) -> tuple[Port, ...]:
        """The state vectors, in the order in which they are saved."""
        return tuple(s.port for s in self.step.states)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.head.outputs


def lower(model: QuantizedModel) -> Lowered:
    """The Programs of a model.

    Raises:
        RangeError: It can't be proved that nothing overflows; names the layer, the value and the range (R6).
    """
    builder = ProgramBuilder()
    x = Port("x", len(model.signature.channels), model.input_format.min, model.input_format.max)
    value, states = x.name, list[State]()
    for k, layer in enumerate(model.layers):
        value, added = _LOWERINGS[layer.cell](builder, f"{layer.cell}{k}", layer, value)
        states += added
        output = added[0].port  # h
    if model.pool is not None:
        states.append(_pool(builder, model, value))
        output = states[-1].port
    name = model.signature.name
    step = Program(f"{name}.step", (x,), tuple(states), (), builder.constants, tuple(builder.instructions))
    return Lowered(step, _head(model, output))


def _lstm(builder: ProgramBuilder, name: str, layer: QuantizedLayer, x: str) -> tuple[str, list[State]]:
    emit, constant = builder.emit, builder.constant
    h = Port(f"{name}.h", layer.hidden, layer.h.min, layer.h.max)
    c = Port(f"{name}.c", layer.hidden, layer.c.min, layer.c.max)
    v = emit(Op.CONCAT, f"{name}.v", x, h.name)  # (1)
    values = {}
    for key, block in layer.blocks.items():
        weights = constant(f"{name}.W_{key}", block.weights)
        bias = constant(f"{name}.b_{key}", block.bias)
        acc = emit(Op.MATVEC, f"{name}.a_{key}", v, weights=weights, bias=bias)  # (2)
        if block.table is None or block.requantize is None:
            values[key] = emit(Op.THRESHOLD, f"{name}.{key}", acc)  # (3)
        else:
            index = _requantize(builder, f"{name}.{key}", acc, block.requantize)
            values[key] = _look_up(builder, f"{name}.{key}", index, block.table, f"{name}.{_table_name(key)}")  # (3, 4)
    c_next = _update_cell(builder, name, layer, values, c.name)
    index = emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}.t_shifted", c_next, n=layer.squash_shift)
    t = _look_up(builder, f"{name}.t", index, layer.squash, f"{name}.tanh_c")  # (6)
    if layer.modes["o"] == "hard":
        h_next = emit(Op.SELECT, f"{name}.h_next", values["o"], t)  # (7)
    else:
        product = emit(Op.MUL, f"{name}.ot", values["o"], t)
        shift = GATE.fraction_bits + layer.squash.output.fraction_bits - layer.h.fraction_bits
        rounded = emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}.h_wide", product, n=shift)
        h_next = emit(Op.SATURATE, f"{name}.h_next", rounded, lo=layer.h.min, hi=layer.h.max)
    return h_next, [State(h, h_next), State(c, c_next)]


def _update_cell(builder: ProgramBuilder, name: str, layer: QuantizedLayer, values: dict[str, str], c: str) -> str:
    """Equation (5). Where both gates are soft the products are added before the one rounding shift."""
    emit = builder.emit
    soft = {gate: mode == "soft" for gate, mode in layer.modes.items()}
    terms = {}
    for key, gate, value in (("fc", "f", c), ("ig", "i", values["g"])):
        terms[key] = emit(Op.MUL if soft[gate] else Op.SELECT, f"{name}.{key}", values[gate], value)
        if soft[gate] and not (soft["f"] and soft["i"]):
            terms[key] = emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}.{key}_c", terms[key], n=GATE.fraction_bits)
    total = emit(Op.ADD, f"{name}.c_sum", terms["fc"], terms["ig"])
    if soft["f"] and soft["i"]:
        total = emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}.c_wide", total, n=GATE.fraction_bits)
    return emit(Op.SATURATE, f"{name}.c_next", total, lo=layer.c.min, hi=layer.c.max)


def _requantize(builder: ProgramBuilder, name: str, acc: str, requantize: Requantize) -> str:
    """R4: ``((acc >> pre_shift) * multiplier + half) >> post_shift``."""
    if requantize.pre_shift:
        acc = builder.emit(Op.SHIFT_RIGHT_FLOOR, f"{name}_narrow", acc, n=requantize.pre_shift)
    multiplier = builder.constant(f"{name}_multiplier", requantize.multiplier)
    constant = builder.emit(Op.CONST, f"{name}_m", value=multiplier)
    product = builder.emit(Op.MUL, f"{name}_scaled", acc, constant)
    return builder.emit(Op.SHIFT_RIGHT_HALF_UP, f"{name}_shifted", product, n=requantize.post_shift)


def _look_up(builder: ProgramBuilder, name: str, wide: str, table: Table, constant: str) -> str:
    index = builder.emit(Op.SATURATE, f"{name}_index", wide, lo=INDEX_MIN, hi=INDEX_MAX)
    return builder.emit(Op.LUT, name, index, table=builder.constant(constant, table.values), lo=INDEX_MIN)


def _table_name(block: str) -> str:
    return "tanh_g" if block == "g" else "sigmoid"


def _pool(builder: ProgramBuilder, model: QuantizedModel, h_next: str) -> State:
    """Equation (8): the bound is what a whole window can reach, so only a stream without resets saturates."""
    bound = model.layers[-1].h.max * model.signature.steps
    port = Port("pool.p", model.layers[-1].hidden, -bound, bound)
    total = builder.emit(Op.ADD, "pool.sum", port.name, h_next)
    return State(port, builder.emit(Op.SATURATE, "pool.p_next", total, lo=-bound, hi=bound))


def _head(model: QuantizedModel, state: Port) -> Program:
    """Equation (9)."""
    builder = ProgramBuilder()
    value = state.name
    if model.pool is not None:
        wide = _requantize(builder, "pool.mean", value, model.pool)
        value = builder.emit(Op.SATURATE, "pool.mean", wide, lo=model.pooled.min, hi=model.pooled.max)
    weights, bias = builder.constant("dense.D", model.dense_weights), builder.constant("dense.d", model.dense_bias)
    scores = builder.emit(Op.MATVEC, "scores", value, weights=weights, bias=bias)
    builder.emit(Op.ARGMAX, "class_index", scores)
    name = f"{model.signature.name}.head"
    return Program(name, (state,), (), ("scores", "class_index"), builder.constants, tuple(builder.instructions))


_LOWERINGS = {"lstm": _lstm}
