"""Execute a model's Programs in PyTorch: what the forward pass of quantization-aware training computes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edge_lstm.execution import Execution, States, Trace, checked_input, initial_state, traced, traced_at_each
from edge_lstm.fixedpoint import Integers
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.nn import kernel_integers
from edge_lstm.nn.steps import Steps
from edge_lstm.nn.torch_ops import TORCH, tensor
from edge_lstm.ops import Op
from edge_lstm.program import Executor, Program
from edge_lstm.stages import Lowered, Tap
from edge_lstm.timeline import Timeline, timeline

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Found:
    """Integers of windows, int32; what is beyond a window's end is 0.

    Attributes:
        every: Each recorded value by name, (steps, windows, length), in the order of time.
        real: Values in real units, float32 (steps, windows, length), in the order in which their stage takes the steps.
        final: Each state after the last step that its stage took, (windows, length).
        head: Each value computed in the head: (windows, length), or (steps, windows, length) where there are outputs
            for each step.
    """

    every: Mapping[str, Tensor]
    real: Mapping[str, Tensor]
    final: Mapping[str, Tensor]
    head: Mapping[str, Tensor]


def integers(
    lowered: Lowered,
    x: Integers,
    recorded: Collection[str],
    when: Timeline,
    *,
    units: Mapping[str, Tensor] | None = None,
    state: States | None = None,
    compiled: bool = False,
) -> Found:
    """Run windows in lockstep.

    Args:
        lowered: The model's Programs.
        x: (windows, steps, channels) input integers.
        recorded: Values of the stages to record at each step.
        when: Of the windows.
        units: Values to record in real units: name to the real value of one unit of each element (length,), float32.
        state: Where to go on from, of a model that streams; as after a reset where None.
        compiled: By a kernel, where there is one.
    """
    kept, units = {*recorded, *lowered.kept}, units or {}
    start = {name: torch.from_numpy(value) for name, value in initial_state(lowered, len(x), state).items()}
    every: Values = {"x": torch.from_numpy(x).transpose(0, 1)}
    final: Values = {}
    real: Values = {}
    for stage in lowered.stages:
        steps = Steps(when if stage.steps is None else Timeline(stage.steps))
        inputs = {p.name: _tapped(stage.tap(p.name), every, final, steps.when.steps) for p in stage.program.inputs}
        if stage.reverse:
            inputs = {name: steps.backwards(values) for name, values in inputs.items()}
        names = [p.name for p in stage.states]
        states = {name: final[stage.starts[name]] if name in stage.starts else start[name] for name in names}
        made = {*names, *(i.out for i in stage.program.instructions)}
        wanted = {name: units[name] for name in units if name in made}
        run = _by_kernel if compiled else _run
        values, in_units, last = run(stage.program, inputs, states, steps, kept & made, wanted)
        every |= {name: steps.backwards(v) if stage.reverse else v for name, v in values.items()}
        real |= in_units
        final |= last
    head = Executor(lowered.head, TORCH, tensor)(dict(every if lowered.each else final))
    if lowered.each:
        head = {i.out: steps.inside(head[i.out]) for i in lowered.head.instructions if i.op is not Op.CONST}
    return Found(every, real, final, head)


def _tapped(tap: Tap, every: Values, final: Values, steps: int) -> Any:
    """What an input of a stage is at each step, (steps, windows, length); as ``runtime.tapped``."""
    if tap.last:
        return final[tap.source].expand(steps, *final[tap.source].shape)
    values = every[tap.source]
    if tap.plain and len(values) == steps:
        return values
    at = torch.tensor(tap.steps(steps))
    outside = (at < 0) | (at >= len(values))
    found = values[at.clamp(0, len(values) - 1)]
    found[outside] = torch.tensor(tap.fill or 0, dtype=found.dtype)
    return found


def _run(
    program: Program, inputs: Values, states: Values, steps: Steps, kept: Collection[str], units: Values
) -> tuple[Values, Values, Values]:
    """One stage, in its order: each kept value of each step in integers, others in units; and each last state."""
    step = Executor(program, TORCH, tensor)
    every: dict[str, list[Tensor]] = {name: [] for name in {*kept, *units}}
    final = {name: value.clone() for name, value in states.items()}
    for t in range(steps.when.steps):
        values = step({**states, **{name: value[t] for name, value in inputs.items()}})
        states = {s.port.name: values[s.next] for s in program.states}
        values.update(states)
        for name, of_steps in every.items():
            of_steps.append(values[name])
        ends = steps.when.ends(t)
        for name, value in states.items():
            final[name][ends] = value[ends]
    stacked = {name: steps.inside(torch.stack(values)) for name, values in every.items()}
    real = {name: stacked[name].float() * unit for name, unit in units.items()}
    return {name: stacked[name] for name in kept}, real, final


def _by_kernel(
    program: Program, inputs: Values, states: Values, steps: Steps, kept: Collection[str], units: Values
) -> tuple[Values, Values, Values]:
    """``_run`` compiled, where it can be."""
    found = kernel_integers.run(program, inputs, states, sorted(kept), units, steps.when.steps, steps.lengths)
    if found is None:
        return _run(program, inputs, states, steps, kept, units)
    every, real, final = found
    return {n: steps.inside(v) for n, v in every.items()}, {n: steps.inside(v) for n, v in real.items()}, final


def execute(
    model: IntegerModel,
    x: Integers,
    *,
    state: States | None = None,
    trace: Trace = "none",
    lengths: Any = None,
) -> Execution:
    """Run in PyTorch; see ``execution.Backend``."""
    x = checked_input(model, x)
    lowered = lower(model)
    when = timeline(model.signature, len(x), x.shape[1], lengths)
    of_stages, of_head = traced(lowered, trace)
    names = [name for stage in of_stages for name in stage]
    at_each = bool(of_head) and traced_at_each(lowered)
    read = {port.name for port in lowered.head.inputs} if at_each else set[str]()
    found = integers(lowered, x, {*names, *read}, when, state=state)
    recorded = {name: found.every[name] for name in names}
    head = found.head
    if at_each and not lowered.each:
        steps = Steps(when)
        values = Executor(lowered.head, TORCH, tensor)(dict(found.every))
        head = {name: steps.inside(values[name]) for name in of_head}
    recorded |= {name: head[name] if at_each else head[name][None] for name in of_head}
    return Execution(
        outputs={name: _by_window(found.head[name], steps=lowered.each) for name in lowered.outputs},
        state={name: value.numpy() for name, value in found.final.items()},
        trace={name: _by_window(value, steps=True) for name, value in recorded.items()},
    )


def _by_window(value: Tensor, *, steps: bool) -> Integers:
    """As an array, of which the windows are the first axis."""
    array: Integers = (value.transpose(0, 1) if steps else value).contiguous().numpy()
    return array
