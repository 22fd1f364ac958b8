"""Graphs of ours from what tests/golden/make_graph_vectors.py wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
from golden_models import Json, Maker, requantize, rows

from edge_lstm.heads import Softmax
from edge_lstm.integer_graph import nodes as n
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.signature import Signature


class GraphMaker(Maker):
    """Makes graphs.

    Args:
        vectors: The whole file.
    """

    def graph(self, case: Json) -> QuantizedGraph:
        steps, channels = len(case["x"][0]), len(case["x"][0][0])
        widths = [len(value[0]) for value in case["expected"][0]["values"]]
        names = tuple(f"channel{k}" for k in range(channels))
        classes = tuple(f"class{k}" for k in range(widths[-1]))
        softmax = case["softmax"]
        return QuantizedGraph(
            signature=Signature(
                "golden", names, ("",) * channels, None, steps, classes, case["task"], False, softmax is not None
            ),
            input_offset=np.zeros(channels),
            input_scale=np.ones(channels),
            nodes=(n.Samples(channels), *(self.node(given) for given in case["nodes"])),
            units=tuple(np.ones(width) for width in (channels, *widths)),
            score_scale=1.0,
            input_bits=case["input_bits"],
            softmax=Softmax(requantize(softmax), self._exp) if softmax else None,
        )

    def node(self, given: Json) -> n.QuantizedNode:
        fields: dict[str, Any] = {key: value for key, value in given.items() if key != "kind"}
        kind: type[Any] = getattr(n, given["kind"].capitalize())
        if "finish" in fields:
            fields["finish"] = self.finish(given["finish"])
        for key in ("factor", "left_factor", "right_factor"):
            if fields.get(key) is not None:
                fields[key] = np.array(given[key], np.int32)
        for key in ("pads", "columns", "parts"):
            if key in fields:
                fields[key] = tuple(given[key])
        if kind is n.Affine:
            fields |= rows(given)
        elif kind is n.Gain or kind is n.Normalized:
            fields["bias"] = np.array(given["bias"], np.int32)
        elif kind is n.Combine:
            fields["kind"] = fields.pop("operation")
        elif kind is n.Rows:
            fields["table"] = np.array(given["table"], np.int16)
        elif kind is n.Exponentials:
            fields |= {"requantize": requantize(given["requantize"]), "table": self._exp}
        elif kind is n.Differs:
            fields["value"] = np.array(given["value"], np.int32)
        elif kind is n.Layers:
            fields["layers"] = tuple(self.layer(layer) for layer in given["layers"])
        made: n.QuantizedNode = kind(**fields)
        return made

    def finish(self, given: Json | None) -> n.Finish | None:
        if given is None:
            return None
        table = None if given["table"] is None else np.array(given["table"], np.int16)
        return n.Finish(requantize(given["requantize"]), given["lo"], given["hi"], table, given["between_bits"])
