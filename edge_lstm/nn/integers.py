"""Execute a model's Programs in PyTorch: what the forward pass of quantization-aware training computes."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from edge_lstm.execution import Execution, States, Trace, checked_input, initial_state, traced
from edge_lstm.fixedpoint import Integers
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.nn.torch_ops import TORCH, tensor
from edge_lstm.program import Executor

Values = dict[str, Tensor]


def integers(
    model: QuantizedModel, x: Integers, recorded: Collection[str], *, state: States | None = None
) -> tuple[Values, Values, Values]:
    """Run windows in lockstep.

    Args:
        model: The model.
        x: (windows, steps, channels) input integers.
        recorded: Values of either Program to record at each step.
        state: Where to go on from; zero where None.

    Returns:
        Each recorded value by name, (steps, windows, length); each output after the last step, (windows, length);
        each state after the last step; int32.
    """
    lowered = lower(model)
    step, head = (Executor(p, TORCH, tensor) for p in (lowered.step, lowered.head))
    of_head = {i.out for i in lowered.head.instructions} & set(recorded)
    states = {n: torch.from_numpy(v) for n, v in initial_state(lowered, len(x), state).items()}
    trace: dict[str, list[Tensor]] = {name: [] for name in recorded}
    for sample in torch.from_numpy(x).unbind(1):
        values = step({**states, "x": sample})
        states = {s.port.name: values[s.next] for s in lowered.step.states}
        values.update(states)
        if of_head:
            values.update(head(dict(states)))
        for name, steps in trace.items():
            steps.append(values[name])
    outputs = head(dict(states))
    stacked = {name: torch.stack(steps) for name, steps in trace.items()}
    return stacked, {n: outputs[n] for n in lowered.outputs}, states


def execute(model: QuantizedModel, x: Integers, *, state: States | None = None, trace: Trace = "none") -> Execution:
    """Run in PyTorch; see ``execution.Backend``."""
    names = [name for group in traced(lower(model), trace) for name in group]
    recorded, outputs, states = integers(model, checked_input(model, x), names, state=state)
    return Execution(
        outputs={name: value.numpy() for name, value in outputs.items()},
        state={name: value.numpy() for name, value in states.items()},
        trace={name: value.transpose(0, 1).numpy() for name, value in recorded.items()},
    )
