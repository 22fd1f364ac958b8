"""The recurrent cells: each one's equations, written once.

A cell's ``step`` is generic in the kind of value. Evaluated on arrays it is the float model (``float_run``,
``nn``), on symbols it is the ONNX graph (``export.onnx_symbols``), on fixed-point symbols it is the integer Program
(``symbols``), and on values with errors it is the bound of the comparison with float (``step_error``).

Blocks are rows of weights; they are referred to by name, never by position (ONNX packs i, o, f, c;
PyTorch i, f, g, o; Keras i, f, c, o). docs/add-a-cell.md adds a cell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from edge_lstm.errors import EdgeLstmError

Function = Literal["tanh", "squash1", "squash2", "relu"]
"""``squash1`` is 2 s(v) - 1 and ``squash2`` is 4 s(v) - 2, with s the logistic sigmoid."""


class Machine(Protocol):
    """What a step needs beside ``+``, ``*`` and ``1 -``. Values are vectors of one layer."""

    def affine(self, block: str, operand: Any = None) -> Any:
        """W x + R v + b of a block, where v is ``operand``, by default the last h."""

    def inputs(self, block: str) -> Any:
        """W x + b of a split block."""

    def recurrent(self, block: str) -> Any:
        """R h + rb of a split block."""

    def peephole(self, block: str, c: Any) -> Any:
        """p c of a block, element by element."""

    def gate(self, name: str, z: Any) -> Any:
        """Value of gate ``name``, in [0, 1]."""

    def squash(self, name: str, v: Any) -> Any:
        """The cell's function of that name on a pre-activation or a state."""

    def state(self, name: str, v: Any) -> Any:
        """The next value of a state: where integers round and saturate."""

    def project(self, v: Any) -> Any:
        """P v, of a projected cell."""


States = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A recurrent cell.

    Attributes:
        name: As on the command line.
        blocks: Names of the blocks of weight rows, each (hidden, inputs + outputs).
        gates: The blocks that are gates.
        states: Names of the state vectors; ``h`` is the output and comes first.
        functions: Name of each squashing function's result to the function, and the state in whose format it is.
        step: One time step: the last states to the next, by name.
        peepholes: Blocks that have a peephole.
        split: Blocks whose W x and R h are used apart; these have a bias of their own for R h.
        projected: h is P times what the cell computes.
        unit_cell: c can't leave [-1, 1].
        unit_hidden: h can't leave [-1, 1].
        keeps: Gates that keep the old state where they are open; training begins with these open.
        shares: Block to the one whose weights it uses: W and R are the same, and b is its own. The integer Program
            computes the product once.

    Raises:
        EdgeLstmError: The parts don't fit together.
    """

    name: str
    blocks: tuple[str, ...]
    gates: tuple[str, ...]
    states: tuple[str, ...]
    functions: Mapping[str, tuple[Function, Literal["c", "h"]]]
    step: Callable[[Any, States], dict[str, Any]]
    peepholes: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    projected: bool = False
    unit_cell: bool = False
    unit_hidden: bool = True
    keeps: tuple[str, ...] = ()
    shares: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.name, *self.blocks, *self.functions):
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name):
                raise EdgeLstmError(f"cell name {name!r}: accepted are small letters, digits and -, first a letter")
        if self.states not in (("h",), ("h", "c")):
            raise EdgeLstmError(f"cell {self.name!r} has states {', '.join(self.states)}; accepted are h, and h and c")
        among = {"gates": self.gates, "peepholes": self.peepholes, "split blocks": self.split}
        for what, names in among.items():
            if not set(names) <= set(self.blocks):
                raise EdgeLstmError(f"{what} of cell {self.name!r} are {', '.join(names)}; they must be blocks")
        if not set(self.keeps) <= set(self.gates):
            raise EdgeLstmError(f"cell {self.name!r} keeps by {', '.join(self.keeps)}; these must be gates")
        for name, (function, state) in self.functions.items():
            if function not in get_args(Function) or state not in self.states:
                raise EdgeLstmError(f"cell {self.name!r}: {name} is {function!r} in the format of {state!r}")
        alone = set(self.matrices) - set(self.split)
        for block, owner in self.shares.items():
            if block not in self.blocks[1:] or block in self.split or owner not in alone:
                raise EdgeLstmError(f"cell {self.name!r}: {block} can't share the weights of {owner}")

    @property
    def matrices(self) -> tuple[str, ...]:
        """The blocks that have weights of their own."""
        return tuple(block for block in self.blocks if block not in self.shares)

    def owner(self, block: str) -> str:
        """The block whose weights a block uses."""
        return self.shares.get(block, block)


def _lstm(m: Machine, last: States) -> dict[str, Any]:
    """i = s(W x + R h + b), f and o alike; g = tanh(...); c' = f c + i g; h' = o tanh(c')."""
    i, f = m.gate("i", m.affine("i")), m.gate("f", m.affine("f"))
    g = m.squash("g", m.affine("g"))
    o = m.gate("o", m.affine("o"))
    c = m.state("c", f * last["c"] + i * g)
    return {"c": c, "h": m.state("h", o * m.squash("t", c))}


def _lstm_1997(m: Machine, last: States) -> dict[str, Any]:
    """c' = c + i (4 s(z_g) - 2); h' = o (2 s(c') - 1). Nothing is forgotten."""
    i = m.gate("i", m.affine("i"))
    g = m.squash("g", m.affine("g"))
    o = m.gate("o", m.affine("o"))
    c = m.state("c", last["c"] + i * g)
    return {"c": c, "h": m.state("h", o * m.squash("t", c))}


def _peephole(m: Machine, last: States) -> dict[str, Any]:
    """i = s(W x + R h + p c + b), f alike; c' as ``lstm``; o = s(W x + R h + p c' + b)."""
    i = m.gate("i", m.affine("i") + m.peephole("i", last["c"]))
    f = m.gate("f", m.affine("f") + m.peephole("f", last["c"]))
    g = m.squash("g", m.affine("g"))
    c = m.state("c", f * last["c"] + i * g)
    o = m.gate("o", m.affine("o") + m.peephole("o", c))
    return {"c": c, "h": m.state("h", o * m.squash("t", c))}


def _cifg(m: Machine, last: States) -> dict[str, Any]:
    """c' = f c + (1 - f) g: where f is hard, a choice between old and new."""
    f = m.gate("f", m.affine("f"))
    g = m.squash("g", m.affine("g"))
    o = m.gate("o", m.affine("o"))
    c = m.state("c", f * last["c"] + (1 - f) * g)
    return {"c": c, "h": m.state("h", o * m.squash("t", c))}


def _lstmp(m: Machine, last: States) -> dict[str, Any]:
    """As ``lstm``, with h' = P (o tanh(c'))."""
    i, f = m.gate("i", m.affine("i")), m.gate("f", m.affine("f"))
    g = m.squash("g", m.affine("g"))
    o = m.gate("o", m.affine("o"))
    c = m.state("c", f * last["c"] + i * g)
    return {"c": c, "h": m.state("h", m.project(o * m.squash("t", c)))}


def _gru(m: Machine, last: States) -> dict[str, Any]:
    """n = tanh(W x + R (r h) + b); c' = z c + (1 - z) n; h' = c'. c is h with more bits."""
    z, r = m.gate("z", m.affine("z")), m.gate("r", m.affine("r"))
    n = m.squash("n", m.affine("n", r * last["h"]))
    c = m.state("c", z * last["c"] + (1 - z) * n)
    return {"c": c, "h": m.state("h", c)}


def _gru_after(m: Machine, last: States) -> dict[str, Any]:
    """n = tanh(W x + b + r (R h + rb)); else as ``gru``."""
    z, r = m.gate("z", m.affine("z")), m.gate("r", m.affine("r"))
    n = m.squash("n", m.inputs("n") + r * m.recurrent("n"))
    c = m.state("c", z * last["c"] + (1 - z) * n)
    return {"c": c, "h": m.state("h", c)}


def _fastgrnn(m: Machine, last: States) -> dict[str, Any]:
    """n = tanh(W x + R h + b_n); z = s(W x + R h + b_z); c' = z c + (1 - z) n; h' = c'. c is h with more bits."""
    n = m.squash("n", m.affine("n"))
    z = m.gate("z", m.affine("z"))
    c = m.state("c", z * last["c"] + (1 - z) * n)
    return {"c": c, "h": m.state("h", c)}


def _rnn(m: Machine, last: States) -> dict[str, Any]:  # noqa: ARG001
    """h' = tanh(W x + R h + b), or relu."""
    return {"h": m.state("h", m.squash("t", m.affine("t")))}


_TANHS: Mapping[str, tuple[Function, Literal["c", "h"]]] = {"g": ("tanh", "c"), "t": ("tanh", "h")}
CELLS: dict[str, Cell] = {}


def register(cell: Cell) -> Cell:
    """Make a cell known by its name, to training, quantization and every backend.

    Raises:
        EdgeLstmError: The name is taken by another cell.
    """
    if CELLS.setdefault(cell.name, cell) is not cell:
        raise EdgeLstmError(f"there is a cell {cell.name!r} already")
    return cell


LSTM = register(Cell("lstm", ("i", "f", "g", "o"), ("i", "f", "o"), ("h", "c"), _TANHS, _lstm, keeps=("f",)))
"""Gers, Schmidhuber and Cummins, "Learning to forget: continual prediction with LSTM", 1999, equations 3 to 8."""
LSTM_1997 = register(
    Cell(
        "lstm-1997",
        ("i", "g", "o"),
        ("i", "o"),
        ("h", "c"),
        {"g": ("squash2", "c"), "t": ("squash1", "h")},
        _lstm_1997,
    )
)
"""Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, appendix A.1."""
PEEPHOLE = register(
    Cell(
        "peephole",
        ("i", "f", "g", "o"),
        ("i", "f", "o"),
        ("h", "c"),
        _TANHS,
        _peephole,
        peepholes=("i", "f", "o"),
        keeps=("f",),
    )
)
"""Gers and Schmidhuber, "Recurrent nets that time and count", IJCNN 2000, equations 3 to 8."""
CIFG = register(Cell("cifg", ("f", "g", "o"), ("f", "o"), ("h", "c"), _TANHS, _cifg, keeps=("f",)))
"""Greff et al., "LSTM: a search space odyssey", IEEE TNNLS 28(10), 2017, variant CIFG."""
LSTMP = register(
    Cell(
        "lstmp",
        ("i", "f", "g", "o"),
        ("i", "f", "o"),
        ("h", "c"),
        _TANHS,
        _lstmp,
        projected=True,
        unit_hidden=False,
        keeps=("f",),
    )
)
"""Sak, Senior and Beaufays, "Long short-term memory based recurrent neural network architectures", 2014, equation 7."""
_TANH_N: Mapping[str, tuple[Function, Literal["c", "h"]]] = {"n": ("tanh", "c")}
GRU = register(Cell("gru", ("z", "r", "n"), ("z", "r"), ("h", "c"), _TANH_N, _gru, unit_cell=True, keeps=("z",)))
"""Chung et al., "Empirical evaluation of gated recurrent neural networks on sequence modeling", 2014, equations 4 to 8,
with the update gate's sense as ONNX and PyTorch have it (z keeps). ONNX: ``linear_before_reset`` 0."""
GRU_AFTER = register(
    Cell(
        "gru-after",
        ("z", "r", "n"),
        ("z", "r"),
        ("h", "c"),
        _TANH_N,
        _gru_after,
        split=("n",),
        unit_cell=True,
        keeps=("z",),
    )
)
"""The form of cuDNN and PyTorch. ONNX: ``linear_before_reset`` 1."""
FASTGRNN = register(
    Cell(
        "fastgrnn",
        ("n", "z"),
        ("z",),
        ("h", "c"),
        _TANH_N,
        _fastgrnn,
        unit_cell=True,
        keeps=("z",),
        shares={"z": "n"},
    )
)
"""Kusupati et al., "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated recurrent neural network", NeurIPS
2018, arXiv:1901.02358, with the scalars zeta and nu of the paper, which weigh n by zeta (1 - z) + nu, fixed at 1
and 0."""
RNN = register(Cell("rnn", ("t",), (), ("h",), {"t": ("tanh", "h")}, _rnn))
"""Elman, "Finding structure in time", Cognitive Science 14, 1990."""
RNN_RELU = register(Cell("rnn-relu", ("t",), (), ("h",), {"t": ("relu", "h")}, _rnn, unit_hidden=False))
"""Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified linear units", 2015."""


def projected() -> str:
    """Names of the cells that have a projection."""
    return ", ".join(c.name for c in CELLS.values() if c.projected)


def cell(name: str) -> Cell:
    """The cell of that name.

    Raises:
        EdgeLstmError: There is none.
    """
    if name not in CELLS:
        raise EdgeLstmError(f"no cell {name!r}; accepted are {', '.join(CELLS)}")
    return CELLS[name]
