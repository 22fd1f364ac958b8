"""Masked windows in integers: padding is left out, wherever it stands; and masks that can't be are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graph_models import CHANNELS, STEPS, Nodes, model_of

import edge_lstm as el
from edge_lstm.errors import EdgeLstmError
from edge_lstm.graph.by_step import Scale
from edge_lstm.graph.masks import Compare, Differs
from edge_lstm.graph.over_time import Reduce, Step
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.integer_graph import nodes as n
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.integer_graph.quantize import quantize_graph
from edge_lstm.lower import lower
from edge_lstm.ptq_options import PtqOptions
from edge_lstm.runtime import execute
from edge_lstm.verification import verify

INSIDE = 9
"""Steps of a window that are no padding."""


def samples(windows: int = 8, steps: int = STEPS) -> Any:
    return np.random.default_rng(0).normal(1, 1, (windows, steps, CHANNELS))


def padded(x: Any, places: Any, value: float) -> Any:
    """Windows of ``STEPS`` steps with samples at these places, and padding elsewhere."""
    found = np.full((len(x), STEPS, CHANNELS), value)
    found[:, places] = x
    return found


def graph(value: float = 0.0, mask: Any = None) -> Nodes:
    """The last h of an LSTM with a mask; ``mask`` makes another one of the node that compares."""
    nodes = Nodes(0)
    made = nodes.add(Differs(nodes.x, (value,) * CHANNELS))
    made = mask(nodes, made) if mask else made
    nodes.linear(nodes.add(Step(nodes.h(nodes.recurrent(nodes.x, 4, mask=made)), -1)), 3)
    return nodes


def quantized(value: float = 0.0, options: PtqOptions | None = None, mask: Any = None) -> QuantizedGraph:
    x = padded(samples(steps=INSIDE), slice(0, INSIDE), value)
    return quantize_graph(model_of(graph(value, mask)), options or PtqOptions(), x)


@pytest.mark.parametrize("value", [0.0, -1.0, 999.0])
def test_it_makes_no_difference_where_padding_stands(value: float) -> None:
    model, x = quantized(value), samples(steps=INSIDE)
    rng = np.random.default_rng(1)
    places = [slice(0, INSIDE), slice(STEPS - INSIDE, STEPS), *(sorted(rng.permutation(STEPS)[:INSIDE]) for _ in "abc")]
    found = [execute(model, model.quantize_input(padded(x, at, value))).outputs["scores"] for at in places]
    for scores in found[1:]:
        np.testing.assert_array_equal(scores, found[0])
    assert (execute(model, model.quantize_input(samples())).outputs["scores"] != found[0]).any()


def test_a_window_of_padding_keeps_the_states_that_it_began_with() -> None:
    model = quantized()
    result = execute(model, np.zeros((1, STEPS, CHANNELS), np.int32), trace="states")
    for state in ("lstm2.h", "lstm2.c"):
        assert not result.trace[state].any()


def test_padding_does_not_count_as_a_sample_in_calibration() -> None:
    np.testing.assert_array_equal(quantized(-999.0).input_scale, quantized(0.0).input_scale)
    nodes = graph(-999.0)
    nodes.linear(nodes.add(Reduce(nodes.x, "max")), 3)  # reads padding too
    x = padded(samples(steps=INSIDE), slice(0, INSIDE), -999.0)
    assert quantize_graph(model_of(nodes), PtqOptions(), x).input_scale.min() == 999 / 127


def test_a_sample_that_rounds_to_the_padding_is_padding() -> None:
    model, integers = quantized(), np.full((2, STEPS, CHANNELS), 9, np.int32)
    near = 0.4 * model.input_scale
    integers[0, 5] = model.quantize_input(near)
    integers[1] = np.concatenate([integers[0, :5], integers[0, 6:], integers[0, 5:6]])
    first, second = execute(model, integers).outputs["scores"]
    np.testing.assert_array_equal(first, second)
    finer = quantized(options=PtqOptions(activation_bits=16, activations="lut-interp"))
    assert finer.quantize_input(near).all()


def test_samples_are_taken_one_by_one() -> None:
    model = quantized()
    assert lower(model).streams
    integers = model.quantize_input(padded(samples(1, INSIDE), slice(2, 2 + INSIDE), 0.0))
    stream = el.Stream(model)
    found = [stream.step_raw(sample)["scores"] for sample in integers[0]]
    np.testing.assert_array_equal(found[-1], execute(model, integers).outputs["scores"][0])
    np.testing.assert_array_equal(found[1 + INSIDE], found[-1])


def test_each_step_is_within_its_bound() -> None:
    """Of those that the mask does not leave out: the others compute nothing."""
    model = quantized()
    found = verify(model, padded(samples(steps=INSIDE), slice(3, 3 + INSIDE), 0.0), backends=("numpy", "onnxruntime"))
    assert found.equal
    assert found.within_bound


def changed(**fields: Any) -> QuantizedGraph:
    """With another layer node."""
    model = quantized()
    at = next(k for k, node in enumerate(model.nodes) if isinstance(node, n.Layers))
    return replace(model, nodes=(*model.nodes[:at], replace(model.nodes[at], **fields), *model.nodes[at + 1 :]))


def of_mask(model: QuantizedGraph, node: n.QuantizedNode, width: int) -> QuantizedGraph:
    """With another node in the place of the mask."""
    at = next(k for k, node in enumerate(model.nodes) if isinstance(node, n.Differs))
    units = (*model.units[:at], np.ones(width), *model.units[at + 1 :])
    return replace(model, nodes=(*model.nodes[:at], node, *model.nodes[at + 1 :]), units=units)


def test_masks_that_can_not_be_are_refused() -> None:
    for model, message in (
        (changed(mask=0), r"^node 2 \(layers\): the mask of 16 steps is 3 features at 16 steps, which a graph for g "),
        (of_mask(quantized(), n.At(0, 3), 3), r"^node 2 \(layers\): the mask of 16 steps is a vector, which"),
        (of_mask(quantized(), n.Pick(0, (1,)), 1), r"^node 2 \(layers\): a mask reaches from -127 to 127, which"),
        (of_mask(quantized(), n.Moved(0, 1, 0, 9), 3), r"^node 2 \(layers\): the mask of 16 steps is 3 features at 9 "),
        (
            of_mask(quantized(), n.Differs(0, np.zeros(2, np.int32)), 1),
            r"^node 1 \(differs\): 3 features are compared with 2$",
        ),
    ):
        with pytest.raises(EdgeLstmError, match=message):
            _ = model.lowered
    with pytest.raises(EdgeLstmError, match=r"^node 2 of a graph reads \(0, 7\); accepted are nodes before it$"):
        changed(mask=7)
    with pytest.raises(EdgeLstmError, match=r"^a mask compares with \(0,\); accepted are 1 to 4096 integers$"):
        n.Differs(0, np.zeros(0, np.int32))


def test_comparisons_without_an_integer_form_are_named() -> None:
    with pytest.raises(UnsupportedError) as error:
        quantized(mask=lambda nodes, mask: nodes.add(Scale(mask, -np.ones(1), np.ones(1))))
    assert str(error.value) == (
        "node 3 (recurrent) of the imported graph has no integer form: "
        "its mask is more than a comparison with the value of padding"
    )
    nodes = Nodes(0)
    nodes.linear(nodes.add(Reduce(nodes.add(Compare(nodes.x, "above", (0.0,) * CHANNELS)), "mean")), 3)
    with pytest.raises(UnsupportedError) as error:
        quantize_graph(model_of(nodes), PtqOptions(), samples())
    assert str(error.value) == (
        "node 1 (compare) of the imported graph has no integer form: "
        "it compares; accepted is the mask of steps, in which some feature is not that of padding"
    )
