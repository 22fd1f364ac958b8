"""A graph of strangers as a float model with a signature, where it is no ``FloatModel``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError
from edge_lstm.graph.by_step import Input
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.interpreter import Imported
from edge_lstm.importing.recognise import Final, output_of, signature_of, view_steps
from edge_lstm.signature import Signature, checked_samples


@dataclass(frozen=True)
class GraphModel:
    """A float model that is a graph, for windows of one length.

    Attributes:
        signature: With the channels in the order of the file.
        imported: What the file says.
        graph: What it computes.
        scores: Node of the scores: logits, where a softmax follows.
        input, output: Their names in the file.
        final: What the output is.
    """

    signature: Signature
    imported: Imported
    graph: FloatGraph
    scores: int
    input: str
    output: str
    final: Final

    @property
    def lengths(self) -> None:
        """As of ``Recognised``: no input is lengths of windows."""

    @property
    def begins(self) -> Mapping[str, tuple[str, ...]]:
        """As of ``Recognised``: no input is a state."""
        return {}

    @property
    def ends(self) -> Mapping[str, tuple[str, ...]]:
        """As of ``Recognised``: no output is looked at as a state."""
        return {}

    @property
    def each(self) -> bool:
        """Whether there are scores for each step."""
        return self.graph.shapes[self.scores].steps

    def run(self, x: Any, *, lengths: Any = None) -> dict[str, NDArray[np.float64]]:
        """``scores`` of samples (windows, steps, channels)."""
        if lengths is not None:
            raise EdgeLstmError(f"lengths are given, and {self.signature.name} takes windows of one length")
        real = checked_samples(x, self.signature)
        return {"scores": np.asarray(self.graph.evaluate({self.input: real})[self.scores])}


def graph_model(imported: Imported, *, name: str, steps: int | None = None) -> GraphModel:
    """The model that a graph is.

    Args:
        imported: The graph.
        name: Of the model.
        steps: Of a window, where the file leaves them open.

    Raises:
        UnsupportedError: It has several inputs or outputs, or its steps are not known.
    """
    graph, given = imported.graph, _input(imported)
    output, view, final, scores = output_of(imported)
    fixed = view_steps(imported, given.name)
    if fixed is not None and steps not in (None, fixed):
        raise UnsupportedError(f"windows of {steps} steps; the file takes windows of {fixed}")
    kind = (output, graph.shapes[scores].width, final)
    signature = signature_of(imported, name, given, kind, steps, variable=False)
    only: Mapping[str, int] = {output: view.node}
    return GraphModel(signature, imported, FloatGraph(graph.nodes, only), scores, given.name, output, final)


def _input(imported: Imported) -> Input:
    inputs = [node for node in imported.graph.nodes if isinstance(node, Input)]
    if len(inputs) != 1 or not inputs[0].steps or "B" not in imported.inputs[inputs[0].name].axes:
        raise UnsupportedError(
            "the model has several inputs, or one without windows or steps; accepted is one sequence"
        )
    return inputs[0]
