"""Models of ours from what the scripts of tests/golden wrote."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm.blocks import Block, Linear, Peephole, Projection, Steps, Table
from edge_lstm.fixedpoint import QFormat
from edge_lstm.heads import Attention, Decoder, Softmax
from edge_lstm.layers import QuantizedDense, QuantizedLayer
from edge_lstm.model import QuantizedModel
from edge_lstm.requantize import Requantize
from edge_lstm.signature import Signature

Json = dict[str, Any]


def output_format(given: list[Any]) -> QFormat:
    bits, fraction_bits, symmetric = given
    return QFormat(bits, fraction_bits, symmetric)


def rows(given: Json) -> dict[str, np.ndarray]:
    """Weights and bias of a dense layer or of attention."""
    return {"weights": np.array(given["weights"], np.int8), "bias": np.array(given["bias"], np.int32)}


def requantize(given: Json) -> Requantize:
    return Requantize(given["pre_shift"], np.array(given["multiplier"], np.int32), given["post_shift"])


class Maker:
    """Makes models.

    Args:
        vectors: The whole file.
    """

    def __init__(self, vectors: Json) -> None:
        self._tables = vectors["tables"]
        self._exp = np.array(vectors.get("exp", []), np.int16)

    def model(self, case: Json) -> QuantizedModel:
        channels = len(case["x"][0]) if "lengths" not in case else len(case["x"][0][0])
        names = tuple(f"channel{k}" for k in range(channels))
        classes = tuple(f"class{k}" for k in range(len(case["dense"]["bias"])))
        variable, softmax = case.get("variable", False), case.get("softmax")
        task = case.get("task", "classify")
        dense = rows(case["dense"])
        return QuantizedModel(
            signature=Signature(
                "golden", names, ("",) * channels, None, case["steps"], classes, task, variable, softmax is not None
            ),
            input_offset=np.zeros(channels),
            input_scale=np.ones(channels),
            layers=tuple(self.layer(k) for k in case["layers"]),
            pooling=case["pooling"],
            pool=requantize(case["pool"]) if case["pool"] else None,
            pooled=output_format(case["pooled"]),
            dense_weights=dense["weights"],
            dense_bias=dense["bias"],
            score_scale=1.0,
            input_bits=case["input_bits"],
            relu_layers=tuple(
                QuantizedDense(**rows(k), requantize=requantize(k["requantize"]), output=output_format(k["output"]))
                for k in case.get("relu", ())
            ),
            attention=self.attention(case["attention"]) if case.get("attention") else None,
            decoder=self.decoder(case["decoder"]) if case.get("decoder") else None,
            softmax=Softmax(requantize(softmax), self._exp) if softmax else None,
        )

    def layer(self, given: Json) -> QuantizedLayer:
        return QuantizedLayer(
            cell=given["cell"],
            modes=given["modes"],
            blocks={name: self.block(k) for name, k in given["blocks"].items()},
            h=output_format(given["h"]),
            c=None if given["c"] is None else output_format(given["c"]),
            squash={name: self.activation(k) for name, k in given["squash"].items()},
            projection=self.projection(given["projection"]) if given["projection"] else None,
            reverse=given.get("reverse", False),
            beside=given.get("beside", False),
            initial={state: np.array(v, np.int32) for state, v in given.get("initial", {}).items()},
            input_gain=np.array(given["gain"], np.int32) if "gain" in given else None,
        )

    def block(self, given: Json) -> Block:
        peephole = given.get("peephole")
        return Block(
            weights=np.array(given["weights"], np.int8),
            bias=np.array(given["bias"], np.int32),
            scale=np.ones(len(given["bias"])),
            activation=self.activation(given["activation"]),
            requantize=requantize(given["requantize"]) if given["requantize"] else None,
            gated_shift=given.get("narrow", 0),
            recurrent_bias=np.array(given["recurrent_bias"], np.int32) if "recurrent_bias" in given else None,
            peephole=Peephole(np.array(peephole["multiplier"], np.int32), peephole["shift"]) if peephole else None,
            weight_bits=given["weight_bits"],
        )

    def activation(self, given: Json) -> Table | Linear | Steps:
        if given["kind"] == "steps":
            return Steps(np.array(given["at"], np.int32))
        if given["kind"] == "linear":
            form = output_format(given["output"])
            return Linear(given["function"], given["slope_bits"], form, given["offset"], given["lo"], given["hi"])
        table = self._tables[given["table"]]
        values, form = np.array(table["values"], np.int16), output_format(table["output"])
        return Table(table["function"], table["index_bits"], form, values, between_bits=given["between_bits"])

    def projection(self, given: Json) -> Projection:
        weights, operand = np.array(given["weights"], np.int8), output_format(given["operand"])
        return Projection(weights, requantize(given["requantize"]), operand, weight_bits=given["weight_bits"])

    def attention(self, given: Json) -> Attention:
        narrowed = requantize(given["requantize"])
        return Attention(**rows(given), requantize=narrowed, table=self._exp, narrow=given["narrow"])

    def decoder(self, given: Json) -> Decoder:
        layers = tuple(self.layer(k) for k in given["layers"])
        return Decoder(layers, given["steps"], requantize(given["feedback"]), output_format(given["fed"]))
