"""``QuantizedGraph``: a model of strangers in integers, where it is more than a ``QuantizedModel`` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from edge_lstm.arrays import Float64Tensor
from edge_lstm.errors import EdgeLstmError
from edge_lstm.heads import Softmax
from edge_lstm.integer_graph.nodes import Layers, QuantizedNode, Samples, sources
from edge_lstm.integer_model import IntegerModel, check_input
from edge_lstm.layers import QuantizedLayer
from edge_lstm.signature import Signature
from edge_lstm.stages import Lowered

MAX_NODES = 1024


@dataclass(frozen=True)
class QuantizedGraph(IntegerModel):
    """Integers for windows of exactly the signature's steps, or for a stream of samples.

    Args:
        signature: Inputs and classes.
        input_offset, input_scale, score_scale, input_bits, softmax, provenance: See ``IntegerModel``.
        nodes: In the order of computation; the first is ``Samples``, the last has the scores, in one unit.
        units: Of each node the (width,) real value of one unit of each feature; not used by the integer arithmetic.
        rounding: Of every rounding shift.

    Raises:
        EdgeLstmError: A node reads what comes later. What else does not fit, lowering finds.
    """

    signature: Signature
    input_offset: Float64Tensor
    input_scale: Float64Tensor
    nodes: tuple[QuantizedNode, ...]
    units: tuple[Float64Tensor, ...]
    score_scale: float
    input_bits: int = 8
    rounding: Literal["half_up"] = "half_up"
    softmax: Softmax | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_input(self)
        if not 2 <= len(self.nodes) <= MAX_NODES or len(self.units) != len(self.nodes):
            raise EdgeLstmError(
                f"a graph has {len(self.nodes)} nodes and {len(self.units)} units; accepted are 2 to {MAX_NODES}, "
                "equally many"
            )
        for k, node in enumerate(self.nodes):
            if isinstance(node, Samples) != (k == 0) or not all(0 <= source < k for source in sources(node)):
                raise EdgeLstmError(f"node {k} of a graph reads {sources(node)}; accepted are nodes before it")
        if self.signature.variable:
            raise EdgeLstmError("a graph takes windows of one length")
        samples, channels = self.nodes[0], len(self.signature.channels)
        if isinstance(samples, Samples) and samples.channels != channels:
            raise EdgeLstmError(
                f"the samples of a graph have {samples.channels} channels, and its signature {channels}"
            )
        object.__setattr__(self, "score_scale", float(self.score_scale))

    @property
    def all_layers(self) -> tuple[QuantizedLayer, ...]:
        """The recurrent layers."""
        return tuple(layer for node in self.nodes if isinstance(node, Layers) for layer in node.layers)

    @property
    def named_layers(self) -> Iterator[tuple[str, QuantizedLayer]]:
        """The recurrent layers, with their names in the Programs."""
        for k, node in enumerate(self.nodes):
            if isinstance(node, Layers):
                yield from ((layer_name(k, j, node), layer) for j, layer in enumerate(node.layers))

    @cached_property
    def lowered(self) -> Lowered:
        """Its Programs."""
        from edge_lstm.integer_graph.lowering import lower_graph

        return lower_graph(self)

    @property
    def looks_ahead(self) -> bool:
        """See ``IntegerModel``."""
        return not self.lowered.streams

    @property
    def each(self) -> bool:
        """See ``IntegerModel``."""
        return self.lowered.each

    @property
    def fixed_mean(self) -> bool:
        """See ``IntegerModel``: sums over time are divided by the steps of the signature."""
        return not self.looks_ahead and any(getattr(node, "over_time", "") == "sum" for node in self.nodes)

    @property
    def exact_windows(self) -> bool:
        """See ``IntegerModel``."""
        return self.looks_ahead

    @property
    def title(self) -> str:
        """See ``IntegerModel``."""
        text = ", ".join(_kind(node) for node in self.nodes[1:] if _kind(node))
        return text if len(text) < 160 else f"{text[:160]}..., {len(self.nodes)} nodes"


def layer_name(k: int, j: int, node: Layers) -> str:
    """Name of layer j of node k in the Programs, such as ``lstm3``, or ``lstm3_0`` where there are several."""
    name = f"{node.layers[j].cell.replace('-', '_')}{k}"
    return f"{name}_{j}" if len(node.layers) > 1 else name


def _kind(node: QuantizedNode) -> str:
    if isinstance(node, Layers):
        return " beside ".join(f"{'reversed ' if k.reverse else ''}{k.cell} of {k.hidden} units" for k in node.layers)
    return type(node).__name__.lower() if type(node).__name__ not in ("Pick", "Join", "Moved", "At") else ""
