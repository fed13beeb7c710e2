"""A few training steps of the subject's own, seen by the recorder: loss, embeddings, gradients,
updates.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from quadlib.diagnosis.evidence.observed.labels import labels
from quadlib.diagnosis.observe.leaving import AlreadyObserving
from quadlib.diagnosis.observe.names import Names
from quadlib.diagnosis.observe.record import (
    Backward,
    Event,
    Gradients,
    OptimiserStep,
    ParameterStep,
    Record,
)
from quadlib.diagnosis.observe.steps import NO_STEP, LossPass, StepRecorder
from quadlib.diagnosis.observe.variation import cosine_spread
from quadlib.diagnosis.subject import Subject, Unavailable


@dataclass
class Probe:
    """The first training step as it was seen.

    embeddings: (N, D), several views stacked view by view, as the loss got them; None where that
    was not seen. gradients: norm by
    parameter name, None where no gradient arrived. updates and weights: norm of the step's change
    and of the weights before it. modes: training flag of each layer during the forward pass.
    loss_rows: samples given to the loss in each of its calls, where the loss is a module.
    """

    loss: float
    embeddings: Tensor | None
    gradients: dict[str, float | None]
    updates: dict[str, float]
    weights: dict[str, float]
    modes: dict[str, bool]
    loss_rows: tuple[int, ...] = ()


@dataclass
class Trajectory:
    """The first steps: the first one in full, of each the loss, the spread of embeddings, the size
    of its update and the norm of the weights before it.

    label: path of the batch's leaf that reaches the loss as labels, "" where none was seen.
    reaching: paths of the leaves that reach the loss, or may do so unseen. names: of all parts.
    """

    first: Probe
    label: str
    reaching: frozenset[str]
    names: Names
    losses: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    update_ratios: list[float] = field(default_factory=list)
    weight_norms: list[float] = field(default_factory=list)


@dataclass
class _Step:
    """What one call of train_step gave, did and showed."""

    value: Any
    passes: list[LossPass]
    events: list[Event]

    @property
    def loss(self) -> float:
        """What the step returns, else what its backward passes started from."""
        try:
            return float(self.value)
        except (TypeError, ValueError, RuntimeError) as error:
            if self.passes:
                return float(np.mean([item.loss for item in self.passes]))
            raise Unavailable(
                f"train_step gives {type(self.value).__name__}, not the loss as a number, and "
                "calls no backward()"
            ) from error

    @property
    def rows(self) -> Tensor | None:
        return self.passes[0].rows if self.passes else None

    def parameters(self, own: Mapping[str, str]) -> dict[str, ParameterStep]:
        """What the optimisers did to the model's parameters."""
        return {
            own[name]: taken
            for event in self.events
            if isinstance(event, OptimiserStep)
            for name, taken in event.parameters.items()
            if name in own
        }


def take_steps(
    subject: Subject, batches: list[Any], *, most_steps: int, most_seconds: float
) -> Trajectory:
    """Takes up to `most_steps` of the subject's own training steps over the batches in turn; the
    caller puts the subject back afterwards.

    Raises Unavailable where there is no model or no step.
    """
    model = subject.model
    if not isinstance(model, nn.Module):
        raise Unavailable("no model")
    if subject.train_step is None:
        raise Unavailable(NO_STEP)
    for parameter in model.parameters():
        parameter.grad = None  # of an earlier step
    weights = {name: float(p.detach().norm()) for name, p in model.named_parameters()}
    deadline = math.inf
    recorder, steps = StepRecorder(subject.loss, most_steps + 1), list[_Step]()
    try:
        with recorder:
            for batch in itertools.islice(itertools.cycle(batches), most_steps):
                if time.monotonic() > deadline:
                    break
                passes, events = len(recorder.passes), len(recorder.record.events)
                value = recorder.take(subject, batch)
                new = recorder.record.events[events:]
                steps.append(_Step(value, recorder.passes[passes:], new))
                if len(steps) == 1:  # the first step also warms up and is traced
                    deadline = time.monotonic() + most_seconds
    except AlreadyObserving as error:
        raise Unavailable(f"no trial steps: {error}") from error
    if recorder.record.faults:
        raise RuntimeError(recorder.record.faults[0])
    return _trajectory(model, weights, steps, recorder)


def _trajectory(
    model: nn.Module, weights: dict[str, float], steps: list[_Step], recorder: StepRecorder
) -> Trajectory:
    record, first = recorder.record, steps[0]
    parts = {id(p): name for name, p in model.named_parameters()}
    own = {name: parts[id(p)] for name, p in record.parameters.items() if id(p) in parts}
    taken = first.parameters(own)
    backward = [event for event in first.events if isinstance(event, Backward)]
    probe = Probe(
        first.loss,
        first.rows,
        dict.fromkeys(parts.values()) | _gradients(first, own),
        {name: taken[name].update if name in taken else 0.0 for name in parts.values()},
        weights,
        _modes(model, backward, record),
        tuple(size for item in first.passes for size in item.sizes),
    )
    label = next((item.labels for item in first.passes if item.labels), "") or _label(record)
    reaching = frozenset(
        mark for event in backward for mark in (event.reaches or frozenset()) | event.hidden
    )
    trajectory = Trajectory(probe, label, reaching, recorder.names)
    before = dict(weights)
    for step in steps:
        parameters = step.parameters(own)
        before |= {name: taken.weight for name, taken in parameters.items()}
        moved, weight = (
            (taken.update for taken in parameters.values()),
            math.hypot(*before.values()),
        )
        trajectory.losses.append(step.loss)
        trajectory.spreads.append(math.nan if step.rows is None else cosine_spread(step.rows))
        trajectory.update_ratios.append(math.hypot(*moved) / max(weight, 1e-12))
        trajectory.weight_norms.append(weight)
    return trajectory


def _modes(model: nn.Module, backward: list[Backward], record: Record) -> dict[str, bool]:
    """The training flag of each of the model's layers in the last call before the loss."""
    names = {id(module): name for name, module in model.named_modules()}
    layers = {
        call.module: (id(record.modules[call.module]), call.training)
        for event in backward
        for call in event.layers
    }
    return {names[key]: training for key, training in layers.values() if key in names}


def _gradients(step: _Step, own: Mapping[str, str]) -> dict[str, float | None]:
    """The norms after the step's last backward pass, without a scaler's factor."""
    norms: dict[str, float | None] = {}
    scale = 1.0
    for event in step.events:
        if isinstance(event, Backward):
            scale = event.scale
        elif isinstance(event, Gradients):
            norms |= {
                own[name]: None if norm is None else norm / scale
                for name, norm in event.norms.items()
                if name in own
            }
    return norms


def _label(record: Record) -> str:
    try:
        return labels(record).mark
    except Unavailable:
        return ""
