"""``QuantizedModel`` to Programs: the algorithm, written once, that every backend derives from.

A layer's time step is its cell's equations (``edge_lstm.cells``), evaluated on integers (``edge_lstm.symbols``).
v >> n rounds half_up (docs/ARITHMETIC.md, R4), a >> s of an accumulator floor, sat is ``SATURATE``:

One time step of a layer:

(1)  v    = [gain x; h]                              or [gain x; the operand of the block]; gain is 1 if not given
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

Pooling, from each h (n counts steps; e = exp[sat(requantize(u h' + b))] in Q1.14 is the weight of attention):

(10) p' = sat(p + h'), n' = sat(n + 1)               for the mean over a window; n where windows differ in length
     p' = max(p, h' - h_min)                         for the maximum: p is never negative, and 0 at first
     p' = sat(p + (e h' >> k)), d' = sat(d + e)      for attention
     p' = h' in a layer's first step, then p         for the newest h of a reversed layer

Dense layers, from the state:

(11) q    = sat(requantize(p)), sat(p/n), sat(p/d),  what is pooled
            p + h_min, p, or h'
(12) q'   = min(max(requantize(D q + d), 0), max)    of each dense layer with relu
(13) s    = D q + d                                  scores
(14) v/w  = ((v << k) >> a) r >> b                   k the largest with w << k <= 2^B; r = reciprocal[w << k]
(15) P_j  = sat(e_j / sum e)                         probabilities; e = exp[sat(requantize(s - max s))]
(16) x'   = sat(requantize(s))                       what a decoder is given in its next step; 0 in its first
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edge_lstm import lower_heads as heads
from edge_lstm.cells import cell
from edge_lstm.heads import Decoder
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.integer_model import IntegerModel
from edge_lstm.layers import QuantizedLayer
from edge_lstm.model import QuantizedModel
from edge_lstm.ops import Op
from edge_lstm.program import Port, Program, ProgramBuilder, State
from edge_lstm.stages import SAMPLES, Lowered, Stage
from edge_lstm.symbols import IntegerLayer
from edge_lstm.wiring import levels


def lower(model: IntegerModel) -> Lowered:
    """The Programs of a model.

    Raises:
        RangeError: It can't be proved that nothing overflows; names the layer, the value and the range (R6).
    """
    if isinstance(model, QuantizedModel):
        return _Lowering(model).lowered()
    assert isinstance(model, QuantizedGraph)
    return model.lowered


def layer_name(model: QuantizedModel, k: int) -> str:
    """Name of a layer in the Programs, such as ``lstm0``; those of a decoder come last."""
    return f"{model.all_layers[k].cell.replace('-', '_')}{k}"


def named_layers(model: IntegerModel) -> Iterator[tuple[str, QuantizedLayer]]:
    """All recurrent layers with their names."""
    if isinstance(model, QuantizedGraph):
        yield from model.named_layers
        return
    assert isinstance(model, QuantizedModel)
    for k, layer in enumerate(model.all_layers):
        yield layer_name(model, k), layer


@dataclass
class _Writer:
    """A stage while it is written.

    Attributes:
        builder: Collects its Program.
        reverse, states: As of the stage.
        inputs: By name.
        made: Layer to the name of its next h.
    """

    builder: ProgramBuilder
    reverse: bool
    states: list[State] = field(default_factory=list)
    inputs: dict[str, Port] = field(default_factory=dict)
    made: dict[int, str] = field(default_factory=dict)

    def read(self, port: Port) -> str:
        """An input's name."""
        self.inputs.setdefault(port.name, self.builder.port(port))
        return port.name

    def stage(self, steps: int | None = None, starts: Mapping[str, str] | None = None) -> Stage:
        """The finished stage."""
        b = self.builder
        inputs, states = tuple(self.inputs.values()), tuple(self.states)
        program = Program(b.name, inputs, states, (), b.constants, tuple(b.instructions))
        return Stage(program, self.reverse, steps, starts or {})


class _Lowering:
    def __init__(self, model: QuantizedModel) -> None:
        self._model, self._writers = model, list[_Writer]()
        self._h: dict[int, Port] = {}  # layer to its state
        limits = model.input_format
        self._x = Port(SAMPLES, len(model.signature.channels), limits.min, limits.max)
        self._pooled: list[Port] = []
        self._divisors: list[Port] = []

    def lowered(self) -> Lowered:
        model = self._model
        before: Sequence[int] = ()
        for level in levels(model.layers):
            for k in level:
                writer = self._writer(model.layers[k].reverse, before)
                self._layer(writer, k, model.layers[k], self._sources(writer, before))
            before = level
        self._pool(before)
        each = model.pooling == "each" or model.decoder is not None
        if model.decoder is not None:
            head_inputs = self._decode(model.decoder)
            stages = [writer.stage() for writer in self._writers[:-1]]
            starts = {p.name: self._state_before(k, p) for k, p in self._starting(model.decoder)}
            stages.append(self._writers[-1].stage(model.decoder.steps, starts))
        else:
            stages = [writer.stage() for writer in self._writers]
            head_inputs = [*(self._pooled or [self._h[k] for k in before]), *self._divisors]
        return Lowered(tuple(stages), self._head(head_inputs), each)

    def _writer(self, reverse: bool, sources: Sequence[int]) -> _Writer:
        """The last stage of that direction, unless a source is made in a later one; else a new stage."""
        found = [k for k, writer in enumerate(self._writers) if writer.reverse == reverse]
        made_in = [k for k, writer in enumerate(self._writers) for source in sources if source in writer.made]
        if found and all(k <= found[-1] for k in made_in):
            return self._writers[found[-1]]
        name = f"{self._model.signature.name}.step"
        name += str(len(self._writers)) if self._writers else ""
        self._writers.append(_Writer(ProgramBuilder(name), reverse))
        return self._writers[-1]

    def _sources(self, writer: _Writer, sources: Sequence[int]) -> str:
        """What a level reads."""
        if not sources:
            return writer.read(self._x)
        parts = [writer.made[k] if k in writer.made else writer.read(self._h[k]) for k in sources]
        if len(parts) == 1:
            return parts[0]
        out = "level." + ".".join(map(str, sources))
        made = any(i.out == out for i in writer.builder.instructions)
        return out if made else writer.builder.emit(Op.CONCAT, out, *parts)

    def _layer(self, writer: _Writer, k: int, layer: QuantizedLayer, x: str) -> None:
        name, kind = layer_name(self._model, k), cell(layer.cell)
        machine = IntegerLayer(writer.builder, name, layer, x)
        following = kind.step(machine, machine.last())
        for s in kind.states:
            initial = None
            if s in layer.initial:
                initial = writer.builder.constant(f"{name}.{s}_initial", layer.initial[s])
            writer.states.append(State(machine.ports[s], following[s].name, initial))
        writer.made[k], self._h[k] = following["h"].name, machine.ports["h"]

    def _pool(self, last: Sequence[int]) -> None:
        """Pooling goes with the layers; attention needs all of them at a step."""
        model = self._model
        if model.pooling == "newest":
            return self._pool_newest(last)
        if model.pooling not in ("mean", "max", "attention"):
            return None
        parts: Sequence[Sequence[int]] = [[k] for k in last]
        if len(last) == 1 or model.pooling == "attention":
            parts = [last]
        for k, part in enumerate(parts):
            writer = next((w for w in self._writers if all(layer in w.made for layer in part)), None)
            writer = writer or self._writer(False, part)
            h = self._sources(writer, part)
            name = "pool" if len(parts) == 1 else f"pool{k}"
            states = heads.pool_states(writer.builder, model, name, h, first=k == 0)
            writer.states += states
            self._pooled.append(states[0].port)
            self._divisors += [s.port for s in states[1:]]
        return None

    def _pool_newest(self, last: Sequence[int]) -> None:
        """A forward layer's is its last h; of a reversed one it is kept."""
        for k in last:
            writer = next(w for w in self._writers if k in w.made)
            if not writer.reverse:
                self._pooled.append(self._h[k])
                continue
            states = heads.pool_states(writer.builder, self._model, f"pool{k}", writer.made[k], first=False)
            writer.states += states
            self._pooled.append(states[0].port)

    def _decode(self, decoder: Decoder) -> list[Port]:
        """The stage of a decoder; gives what the head reads."""
        model = self._model
        writer = _Writer(ProgramBuilder(f"{model.signature.name}.decode"), reverse=False)
        self._writers.append(writer)
        fed = writer.builder.port(Port("decoder.x", len(model.dense_bias), decoder.fed.min, decoder.fed.max))
        value = fed.name
        for k, layer in enumerate(decoder.layers, len(model.layers)):
            self._layer(writer, k, layer, value)
            value = writer.made[k]
        scores = heads.dense(writer.builder, model, value, "decoder.scores_next")
        least, most = writer.builder.interval(scores)
        kept = writer.builder.port(Port("decoder.scores", len(model.dense_bias), min(least, 0), max(most, 0)))
        writer.states.append(State(kept, scores))
        writer.states.append(State(fed, heads.fed_back(writer.builder, decoder, scores)))
        return [kept]

    def _starting(self, decoder: Decoder) -> Iterator[tuple[int, Port]]:
        """Layers of the decoder, by their number in it, with each of their states."""
        for k in range(len(decoder.layers)):
            prefix = layer_name(self._model, len(self._model.layers) + k) + "."
            yield from ((k, s.port) for s in self._writers[-1].states if s.port.name.startswith(prefix))

    def _state_before(self, k: int, port: Port) -> str:
        return f"{layer_name(self._model, k)}.{port.name.rpartition('.')[2]}"

    def _head(self, inputs: list[Port]) -> Program:
        """Equations (11) to (13), and (15)."""
        model, builder = self._model, ProgramBuilder(f"{self._model.signature.name}.head")
        names = [builder.port(port).name for port in inputs]
        if model.decoder is not None:
            least, most = builder.interval(names[0])
            scores = builder.emit(Op.SATURATE, "scores", names[0], lo=least, hi=most)
        else:
            values = names[: len(names) - len(self._divisors)]
            value = values[0] if len(values) == 1 else builder.emit(Op.CONCAT, "pool.parts", *values)
            divisor = names[-1] if self._divisors else None
            scores = heads.dense(builder, model, heads.pooled(builder, model, value, divisor))
        outputs = heads.outputs(builder, model, scores)
        return Program(builder.name, tuple(inputs), (), outputs, builder.constants, tuple(builder.instructions))
