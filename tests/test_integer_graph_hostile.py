"""Mutated files of every operator become integers or are refused, and nothing else happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph_models import Nodes
from test_importing_hostile import changed, taken_or_refused
from test_importing_operators import CASES, T, model

from edge_lstm.errors import EdgeLstmError
from edge_lstm.importing.graph_model import graph_model
from edge_lstm.importing.interpreter import interpret
from edge_lstm.integer_graph.quantize import quantize_graph
from edge_lstm.ptq_options import PtqOptions

WITH_CONSTANTS = [case for case in CASES.values() if case.constants]


def becomes_integers(case: int, rng: np.random.Generator) -> bool:
    def quantized() -> None:
        proto = changed(model(WITH_CONSTANTS[case % len(WITH_CONSTANTS)]), rng)
        graph = graph_model(interpret(proto), name="g", steps=T)
        x = rng.standard_normal((2, graph.signature.steps, len(graph.signature.channels)))
        quantize_graph(graph, PtqOptions(), x)

    return taken_or_refused(quantized)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a mutated function may overflow before it is refused
def test_mutated_operators_become_integers_or_are_refused() -> None:
    rng = np.random.default_rng(0)
    made = sum(becomes_integers(k, rng) for k in range(1500))
    assert 100 < made < 1400


@pytest.mark.parametrize(
    ("field", "value"), [("dilation", 0), ("stride", -1), ("pads", (-1, 0)), ("bias", np.zeros(3))]
)
def test_a_convolution_that_can_not_be_is_refused(field: str, value: object) -> None:
    """What mutations found: these once raised other errors."""
    nodes = Nodes(0)
    conv = nodes.conv(nodes.x, 4, 3)
    nodes.nodes[conv] = replace(nodes.nodes[conv], **{field: value})
    with pytest.raises(EdgeLstmError, match=r"^node 1 \(conv\): (a filter|bias)"):
        _ = nodes.graph
