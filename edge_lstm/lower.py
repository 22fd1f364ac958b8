"""``QuantizedModel`` to Programs: the algorithm, written once, that every backend derives from.

A layer's time step is its cell's equations (``edge_lstm.cells``), evaluated on integers (``edge_lstm.symbols``).
v >> n rounds half_up (docs/ARITHMETIC.md, R4), a >> s of an accumulator floor, sat is ``SATURATE``:

One time step of a layer:

(1)  v    = [x; h]                                   or [x; the operand of the block]
(2)  a_k  = W_k v + b_k                              for each block k; one accumulator (R2)
(3)  a_k += (c p_k) >> n                             where block k has a peephole
(4)  k    = (a_k > 0)                                a hard gate (R3): a choice;
     k    = (a_k > t_k0) + (a_k > t_k1)              a three-level gate, in halves;
     k    = sigmoid[sat8(requantize(a_k))]           a soft gate, in Q0.15, of the table's nearest entry; or with n more
                                                     bits, limited to [-128 << n, (127 << n) - 1], between two entries;
     k    = sat(requantize(a_k) + 1/2)               a hard sigmoid, in Q0.15
(5)  g    = tanh[...]                                as (4), for the other functions, of an accumulator or a state
(6)  k v  = v where k else 0                         for a choice; else a product, whose fraction bits add; of an
                                                     accumulator (k (a >> s)) >> (fraction bits of k - s)
(7)  v + w                                           the finer term is rounded to the coarser one's fraction bits
(8)  c'   = sat(v >> n)                              a state: rounded to its format, and saturated; h likewise
(9)  h'   = sat(requantize(P m))                     of a projected cell

Pooling and classifier, from the state:

(10) p'   = sat(p + h')                              at each step, for the mean over a window;
     p'   = max(p, h' + h_max)                       for the maximum: p is never negative, and 0 at first
(11) q    = requantize(p), p - h_max or h'           what is pooled
(12) q'   = min(max(requantize(D q + d), 0), max)    of each dense layer with relu
(13) s    = D q + d                                  scores
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lstm.cells import cell
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import Op
from edge_lstm.program import Port, Program, ProgramBuilder, State
from edge_lstm.symbols import IntegerLayer, emit_requantize


@dataclass(frozen=True)
class Lowered:
    """A model as two Programs over the same states.

    Attributes:
        step: One time step: input ``x``, states updated.
        head: From the states to the outputs ``scores`` (classes,) and, of a classifier,
            ``class_index`` (1,); keeps nothing.
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
    builder = ProgramBuilder(f"{model.signature.name}.step")
    x = builder.port(Port("x", len(model.signature.channels), model.input_format.min, model.input_format.max))
    value, states = x.name, list[State]()
    for k, layer in enumerate(model.layers):
        machine = IntegerLayer(builder, layer_name(model, k), layer, value)
        following = cell(layer.cell).step(machine, machine.last())
        states += [State(machine.ports[s], following[s].name) for s in cell(layer.cell).states]
        value, output = following["h"].name, machine.ports["h"]
    if model.pooling != "last":
        states.append(_pool(builder, model, value))
        output = states[-1].port
    step = Program(builder.name, (x,), tuple(states), (), builder.constants, tuple(builder.instructions))
    return Lowered(step, _head(model, output))


def layer_name(model: QuantizedModel, k: int) -> str:
    """Name of a layer in the Programs, such as ``lstm0``."""
    return f"{model.layers[k].cell.replace('-', '_')}{k}"


def _pool(builder: ProgramBuilder, model: QuantizedModel, h_next: str) -> State:
    """Equation (10)."""
    last = model.layers[-1]
    if model.pooling == "max":
        port = builder.port(Port("pool.p", last.outputs, 0, last.h.max - last.h.min))
        lifted = builder.emit(Op.ADD, "pool.lifted", h_next, _lift(builder, model))
        return State(port, builder.emit(Op.MAX, "pool.p_next", port.name, lifted))
    bound = last.h.max * model.signature.steps  # what a whole window can reach: only a stream without resets saturates
    port = builder.port(Port("pool.p", last.outputs, -bound, bound))
    total = builder.emit(Op.ADD, "pool.sum", port.name, h_next)
    return State(port, builder.emit(Op.SATURATE, "pool.p_next", total, lo=-bound, hi=bound))


def _lift(builder: ProgramBuilder, model: QuantizedModel) -> str:
    """What makes every h not negative, as a vector."""
    last = model.layers[-1]
    value = builder.constant("pool.lift", np.full(last.outputs, -last.h.min, np.int32))
    return builder.emit(Op.CONST, "pool.lift_v", value=value)


def _head(model: QuantizedModel, state: Port) -> Program:
    """Equations (11) to (13)."""
    builder = ProgramBuilder(f"{model.signature.name}.head")
    value = state.name
    if model.pool is not None:
        wide = emit_requantize(builder, "pool.mean", value, model.pool)
        value = builder.emit(Op.SATURATE, "pool.mean", wide, lo=model.pooled.min, hi=model.pooled.max)
    elif model.pooling == "max":
        value = builder.emit(Op.SUB, "pool.max", value, _lift(builder, model))
    for k, layer in enumerate(model.relu_layers):
        weights, bias = builder.constant(f"relu{k}.D", layer.weights), builder.constant(f"relu{k}.d", layer.bias)
        acc = builder.emit(Op.MATVEC, f"relu{k}.a", value, weights=weights, bias=bias)
        wide = emit_requantize(builder, f"relu{k}", acc, layer.requantize)
        value = builder.emit(Op.SATURATE, f"relu{k}.v", wide, lo=0, hi=layer.output.max)
    weights, bias = builder.constant("dense.D", model.dense_weights), builder.constant("dense.d", model.dense_bias)
    outputs = [builder.emit(Op.MATVEC, "scores", value, weights=weights, bias=bias)]
    if model.signature.task == "classify":
        outputs.append(builder.emit(Op.ARGMAX, "class_index", outputs[0]))
    return Program(builder.name, (state,), (), tuple(outputs), builder.constants, tuple(builder.instructions))
