"""Float nodes that look at several steps of a sequence, in integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_lstm.bits import near_inputs
from edge_lstm.calibrate import CELL_BITS
from edge_lstm.errors import EdgeLstmError
from edge_lstm.graph import over_time
from edge_lstm.graph.masks import Differs
from edge_lstm.integer_graph import nodes as n
from edge_lstm.integer_graph.making import Maker, Quantized
from edge_lstm.layers import QuantizedLayer
from edge_lstm.to_integers import quantize_layer


def recurrent(m: Maker, k: int, node: over_time.Recurrent) -> Quantized:
    if node.lengths is not None:
        raise EdgeLstmError("it depends on lengths of windows, which a graph in integers does not take")
    source = m.made[node.source]
    narrow = 2 ** (m.bits.activations - 1)
    if source.limit.max() >= narrow:  # finer than h, with whose weights its own share a scale
        source = m.uniform(node.source, source, m.bits.activations)
    bits = near_inputs(m.bits, float(source.unit.max()))
    layers: list[QuantizedLayer] = []
    for j, layer in enumerate(replace(k, beside=False) for k in node.layers):
        cell_max = m.ranges[k, f"{j}.c"].largest if (k, f"{j}.c") in m.ranges else 0.0
        hidden_max = m.ranges[k, f"{j}.h"].largest
        layers.append(
            quantize_layer(layer, source.unit, int(source.limit.max()), cell_max, hidden_max, bits, k=j, gains=True)
        )
    begins = {}
    for (j, state), begin in node.begins.items():
        form = layers[j].h if state == "h" else layers[j].c
        assert form is not None
        value = m.made[begin]
        width = len(value.unit)
        begins[f"{j}.{state}"] = m.gain(begin, value, np.ones(width), np.zeros(width), form=form).at
    units, limits = [], []
    for (j, state), columns in node.columns.items():
        form = layers[j].h if state == "h" else layers[j].c
        assert form is not None
        assert form.bits <= CELL_BITS
        units.append(np.full(len(columns), form.scale))
        limits.append(np.full(len(columns), -form.min))
    mask = None if node.mask is None else mask_of(m, node.mask)
    made = n.Layers(source.at, tuple(layers), begins, mask)
    return m.add(made, np.concatenate(units), np.concatenate(limits), source.steps)


def mask_of(m: Maker, at: int) -> int:
    """The node in integers that is a mask of steps."""
    node = m.graph.nodes[at]
    while isinstance(node, over_time.Steps | over_time.Pad):
        node = m.graph.nodes[node.source]
    if not isinstance(node, Differs):
        raise EdgeLstmError("its mask is more than a comparison with the value of padding")
    return m.made[at].at


def differs(m: Maker, k: int, node: Differs) -> Quantized:  # noqa: ARG001
    source = m.made[node.source]
    value = np.clip(np.rint(np.array(node.values) / source.unit), -source.limit, source.limit)
    one = np.ones(1)
    return m.add(n.Differs(source.at, value.astype(np.int32)), one, one, source.steps)


def conv(m: Maker, k: int, node: over_time.Conv) -> Quantized:
    source = m.made[node.source]
    outputs, inputs, taps = node.weights.shape
    assert source.steps is not None
    steps = (source.steps + sum(node.pads) - (taps - 1) * node.dilation - 1) // node.stride + 1
    filters = {"taps": taps, "stride": node.stride, "dilation": node.dilation, "pads": node.pads}
    if inputs == 1 and outputs == node.groups > 1:
        weights = node.weights[:, 0] * source.unit[:, None]
        unit, limit = np.ones(taps), np.full(taps, source.limit.max())
        filters["depthwise"] = True
    else:
        weights = np.zeros((outputs, taps, len(source.unit)))
        for group in range(node.groups):
            rows = slice(group * outputs // node.groups, (group + 1) * outputs // node.groups)
            columns = slice(group * inputs, (group + 1) * inputs)
            weights[rows, :, columns] = node.weights[rows].transpose(0, 2, 1)
        weights = weights.reshape(outputs, -1)
        unit, limit = np.tile(source.unit, taps), np.tile(source.limit, taps)
    return m.rows(k, source, weights, node.bias, column_unit=unit, column_limit=limit, steps=steps, filter=filters)


def pool(m: Maker, k: int, node: over_time.Pool) -> Quantized:
    source = m.made[node.source]
    assert source.steps is not None
    steps = (source.steps + sum(node.pads) - node.size) // node.stride + 1
    if node.kind == "max":
        pooled = n.Largest(source.at, node.size, node.stride, node.pads)
        return m.add(pooled, source.unit, source.limit, steps)
    if any(node.pads) and not node.counts_pads:
        raise EdgeLstmError("a mean of neighbours whose steps at the ends are fewer (count_include_pad is 0)")
    width = len(source.unit)
    weights = np.repeat(source.unit[:, None] / node.size, node.size, axis=1)
    filters = {"taps": node.size, "stride": node.stride, "pads": node.pads, "depthwise": True}
    limit = np.full(node.size, source.limit.max())
    return m.rows(
        k,
        source,
        weights,
        np.zeros(width),
        column_unit=np.ones(node.size),
        column_limit=limit,
        steps=steps,
        filter=filters,
    )


def moved(m: Maker, k: int, node: over_time.Steps) -> Quantized:  # noqa: ARG001
    source = m.made[node.source]
    assert source.steps is not None
    taken = range(source.steps)[node.start : node.stop : node.step]
    if not taken:
        raise EdgeLstmError(f"it takes none of {source.steps} steps")
    made = n.Moved(source.at, node.step, taken[0], len(taken))
    return m.add(made, source.unit, source.limit, len(taken))


def pad(m: Maker, k: int, node: over_time.Pad) -> Quantized:  # noqa: ARG001
    source = m.made[node.source]
    assert source.steps is not None
    steps = source.steps + node.before + node.behind
    return m.add(n.Moved(source.at, 1, -node.before, steps), source.unit, source.limit, steps)


def reduce(m: Maker, k: int, node: over_time.Reduce) -> Quantized:
    source = m.made[node.source]
    width = len(source.unit)
    if node.over == "features":
        if node.kind not in ("mean", "sum"):
            raise EdgeLstmError(f"the {node.kind} over features is taken")
        weights = np.full((1, width), 1.0 if node.kind == "sum" else 1.0 / width)
        return m.rows(
            k,
            source,
            weights,
            np.zeros(1),
            column_unit=source.unit,
            column_limit=source.limit,
            steps=source.steps,
        )
    assert source.steps is not None
    if node.kind in ("max", "min"):
        return m.add(n.Reduced(source.at, node.kind), source.unit, source.limit, None)
    scale = source.unit / (source.steps if node.kind == "mean" else 1)
    reach = int(source.limit.max()) * source.steps
    finish, unit, limit = m.finish(k, scale, reach, vector=True)
    made = n.Reduced(source.at, "sum", finish)
    return m.add(made, np.full(width, unit), np.full(width, limit), None)


def repeat(m: Maker, k: int, node: over_time.Repeat) -> Quantized:  # noqa: ARG001
    source = m.made[node.source]
    return m.add(n.Repeated(source.at, node.steps), source.unit, source.limit, node.steps)
