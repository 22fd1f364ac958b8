"""A Program compiled for NumPy: calls over buffers that are made once, for a fixed number of windows.

A plan computes the integers of ``Executor(program, NUMPY)``, which stays the meaning. It is quicker because

- vectors are (length, windows), so that inner loops run over windows, and every buffer is made once;
- ``MATVEC`` is a float32 product where ``exact_float`` proves it exact, with the bias as one more column;
- tables are as long as what they are asked for (``numpy_lookup``), so that nothing is limited to an index before;
- a result overwrites an argument that nothing reads again, so that a step stays in the cache;
- what neither a state nor an output needs is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.fixedpoint import Integers, half
from edge_lstm.numpy_lookup import lookups
from edge_lstm.ops import Interval, Op
from edge_lstm.program import Instruction, Program

Array = NDArray[Any]
Call = Callable[[], object]
INT32 = np.dtype(np.int32)
FLOAT32_EXACT = 2**24
"""float32 holds every integer up to this magnitude."""


def exact_float(v: Interval, weights: Integers, bias: Integers) -> np.dtype[Any]:
    """The float in which ``MATVEC`` is exact in any order of summation, with fused products or without.

    Every partial sum, and every product, is an integer of magnitude ``|b| + sum |w| max|v|`` at most. float32 holds
    those up to 2**24; float64 all others, which the Program's proof keeps below 2**31.
    """
    largest = np.maximum(np.abs(v.lo), np.abs(v.hi))
    reach = np.abs(bias.astype(np.int64)) + np.abs(weights.astype(np.int64)) @ largest
    return np.dtype(np.float32 if reach.max(initial=0) <= FLOAT32_EXACT else np.float64)


class Plan:
    """A Program for a number of windows.

    Args:
        program: Any.
        windows: How many at a time.

    Attributes:
        ports: Inputs, to be written before each step, and states; int32 (length, windows).
    """

    def __init__(self, program: Program, windows: int) -> None:
        compiled = _Compiler(program, windows)
        self.ports: Mapping[str, Array] = compiled.ports
        self._calls, self._values = compiled.calls, {name: compiled.read(name) for name in program.outputs}
        following = [(self.ports[s.port.name], compiled.read(s.next)) for s in program.states]
        self._calls += [partial(np.copyto, state, value) for state, value in following if state is not value]

    def step(self) -> None:
        """Compute the outputs, and replace the states by the next ones."""
        for call in self._calls:
            call()

    def output(self, name: str) -> Array:
        """An output of the last step, int32 (length, windows); the next step overwrites it."""
        return self._values[name]


class _Compiler:
    """Calls and buffers of a Program.

    Attributes:
        calls: In order of execution.
        ports: Inputs and states by name.
    """

    def __init__(self, program: Program, windows: int) -> None:
        self.calls: list[Call] = []
        self._program, self._windows = program, windows
        self._made_by = {i.out: i for i in program.instructions}
        self._lookups = lookups(program)
        self._last_read = self._liveness()
        ports = [*program.inputs, *(s.port for s in program.states)]
        self.ports = {p.name: np.zeros((p.length, windows), np.int32) for p in ports}
        self._held: dict[str, dict[np.dtype[Any], Array]] = {k: {INT32: v} for k, v in self.ports.items()}
        self._free: dict[tuple[int, np.dtype[Any]], list[Array]] = {}
        self._pooled: set[int] = set()
        self._replaces = {s.next: s.port.name for s in program.states}
        self._constants: dict[tuple[int, int], Array] = {}
        self._augmented: dict[tuple[str, np.dtype[Any]], Array] = {}
        self._at = 0
        for self._at, instruction in enumerate(program.instructions):
            if instruction.out in self._last_read:
                self._emit(instruction)
            for name in [n for n, last in self._last_read.items() if last == self._at]:
                self._release(name)

    # --- what is needed, and until when ---------------------------------------------------------------

    def _sources(self, instruction: Instruction) -> tuple[str, ...]:
        lookup = self._lookups.get(instruction.out)
        return (lookup.source,) if lookup else instruction.args

    def _liveness(self) -> dict[str, int]:
        """Last instruction that reads a value, for all that are needed; the Program's length where it is a result."""
        end = len(self._program.instructions)
        last = dict.fromkeys((*self._program.outputs, *(s.next for s in self._program.states)), end)
        for k in reversed(range(end)):
            instruction = self._program.instructions[k]
            if instruction.out in last:
                # The parts of a concatenation are read when it is.
                until = last[instruction.out] if instruction.op is Op.CONCAT else k
                for name in self._sources(instruction):
                    last[name] = max(last.get(name, 0), until)
        return last

    # --- buffers --------------------------------------------------------------------------------------

    def _buffer(self, length: int, dtype: np.dtype[Any] = INT32) -> Array:
        free = self._free.get((length, dtype))
        if free:
            return free.pop()
        buffer = np.zeros((length, self._windows), dtype)
        self._pooled.add(id(buffer))
        return buffer

    def _give_back(self, buffer: Array) -> None:
        self._free.setdefault((len(buffer), buffer.dtype), []).append(buffer)

    def _release(self, name: str) -> None:
        """Values are released once nothing reads them. Ports and rows of products stay."""
        for buffer in self._held.pop(name, {}).values():
            if id(buffer) in self._pooled:
                self._give_back(buffer)

    def _result(self, instruction: Instruction) -> Array:
        """A buffer for an operation on elements: perhaps that of an argument that is read for the last time."""
        for name in self._sources(instruction):
            if self._last_read[name] == self._at:
                self._release(name)
        # The next value of a state goes where the state is, once nothing reads that.
        state = self._replaces.get(instruction.out)
        if state is not None and self._last_read.get(state, -1) <= self._at:
            buffer = self.ports[state]
        else:
            buffer = self._buffer(self._program.length(instruction.out))
        self._held[instruction.out] = {INT32: buffer}
        return buffer

    def _full(self, value: int, length: int) -> Array:
        """A constant of a number: minimum and maximum are several times quicker with an array than with a scalar."""
        key = (value, length)
        if key not in self._constants:
            self._constants[key] = np.full((length, self._windows), value, np.int32)
        return self._constants[key]

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        self.calls.append(partial(function, *arguments))

    def _stored(self, name: str) -> Array:
        """A value in whatever type it has."""
        return next(iter(self._held[name].values())) if name in self._held else self.read(name)

    def read(self, name: str) -> Array:
        """A value as int32."""
        held = self._held.setdefault(name, {})
        if INT32 not in held:
            buffer = self._buffer(self._program.length(name))
            self._fill(name, buffer)
            held[INT32] = buffer
        return held[INT32]

    def _fill(self, name: str, rows: Array) -> None:
        """Copy a value, of a concatenation its parts, into rows of any type that holds it."""
        made_by, first = self._made_by.get(name), 0
        if made_by is None or made_by.op is not Op.CONCAT:
            self.calls.append(partial(np.copyto, rows, self._stored(name), casting="unsafe"))
            return
        for part in made_by.args:
            self._fill(part, rows[first : first + self._program.length(part)])
            first += self._program.length(part)

    # --- operations -----------------------------------------------------------------------------------

    def _emit(self, instruction: Instruction) -> None:
        if instruction.op is not Op.CONCAT:  # which whoever reads it copies together
            _EMIT[instruction.op](self, instruction, **instruction.bind(self._program.constants))

    def _matvec(self, instruction: Instruction, *, weights: Any, bias: Any, **_storage: int) -> None:
        name = instruction.args[0]
        dtype = exact_float(self._program.intervals[name], weights, bias)
        vector = self._augmented.get((name, dtype))
        if vector is None:
            vector = np.ones((self._program.length(name) + 1, self._windows), dtype)
            self._augmented[name, dtype] = vector
            self._fill(name, vector[:-1])
        product = self._buffer(len(bias), dtype)
        self._held[instruction.out] = {dtype: product}
        self._call(np.matmul, np.column_stack([weights, bias]).astype(dtype), vector, product)

    def _const(self, instruction: Instruction, *, value: Any) -> None:
        spread = np.ascontiguousarray(np.broadcast_to(value[:, None], (len(value), self._windows)), np.int32)
        self._held[instruction.out] = {INT32: spread}

    def _binary(self, function: Callable[..., object], instruction: Instruction) -> None:
        v, w = (self.read(name) for name in instruction.args)
        self._call(function, v, w, self._result(instruction))

    def _shift(self, instruction: Instruction, *, n: int, add: int) -> None:
        v = self.read(instruction.args[0])
        out = self._result(instruction)
        self._shifted(v, add, n, out)

    def _shifted(self, v: Array, add: int, n: int, out: Array) -> None:
        """``(v + add) >> n``."""
        if add:
            self._call(np.add, v, np.int32(add), out)
        if n or not add:
            self._call(np.right_shift, out if add else v, np.int32(n), out)

    def _saturate(self, instruction: Instruction, *, lo: int, hi: int) -> None:
        v = self.read(instruction.args[0])
        out = self._result(instruction)
        self._call(np.maximum, v, self._full(lo, len(out)), out)
        self._call(np.minimum, out, self._full(hi, len(out)), out)

    def _threshold(self, instruction: Instruction) -> None:
        v = self._stored(instruction.args[0])
        mask, out = self._buffer(len(v), np.dtype(bool)), self._result(instruction)
        self._call(np.greater, v, v.dtype.type(0), mask)
        self._call(np.copyto, out, mask)
        self._give_back(mask)

    def _select(self, instruction: Instruction) -> None:
        v, w = (self.read(name) for name in instruction.args)
        choice = self._program.intervals[instruction.args[0]]
        if choice.lo.min() >= 0 and choice.hi.max() <= 1:
            self._call(np.multiply, v, w, self._result(instruction))
            return
        mask, out = self._buffer(len(v), np.dtype(bool)), self._result(instruction)
        self._call(np.not_equal, v, np.int32(0), mask)
        self._call(np.multiply, mask, w, out)
        self._give_back(mask)

    def _take(self, instruction: Instruction, **_: Any) -> None:
        lookup = self._lookups[instruction.out]
        v = self.read(lookup.source)
        index, out = self._buffer(len(v), np.dtype(np.intp)), self._result(instruction)
        self._shifted(v, lookup.offset, lookup.shift, out)
        self._call(np.copyto, index, out)
        self._call(lookup.table.take, index, None, out, "wrap")
        self._give_back(index)

    def _max_element(self, instruction: Instruction) -> None:
        v = self.read(instruction.args[0])
        out = self._buffer(1)
        self._held[instruction.out] = {INT32: out}
        self._call(np.max, v, 0, out, True)

    def _argmax(self, instruction: Instruction) -> None:
        v, index = self.read(instruction.args[0]), np.zeros(self._windows, np.intp)
        out = self._buffer(1)
        self._held[instruction.out] = {INT32: out}
        self._call(np.argmax, v, 0, index)
        self.calls.append(partial(np.copyto, out[0], index, casting="unsafe"))


_EMIT: Mapping[Op, Callable[..., None]] = {
    Op.CONST: _Compiler._const,
    Op.MATVEC: _Compiler._matvec,
    Op.ADD: lambda c, i: c._binary(np.add, i),
    Op.SUB: lambda c, i: c._binary(np.subtract, i),
    Op.MAX: lambda c, i: c._binary(np.maximum, i),
    Op.MUL: lambda c, i: c._binary(np.multiply, i),
    Op.SHIFT_RIGHT_FLOOR: lambda c, i, *, n: c._shift(i, n=n, add=0),
    Op.SHIFT_RIGHT_HALF_UP: lambda c, i, *, n: c._shift(i, n=n, add=half(n)),
    Op.SATURATE: _Compiler._saturate,
    Op.THRESHOLD: _Compiler._threshold,
    Op.SELECT: _Compiler._select,
    Op.LUT: _Compiler._take,
    Op.LUT_INTERP: _Compiler._take,
    Op.MAX_ELEMENT: _Compiler._max_element,
    Op.ARGMAX: _Compiler._argmax,
}
