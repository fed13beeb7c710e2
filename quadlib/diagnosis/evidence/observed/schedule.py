"""Where the observed schedulers take the rates: tried out on copies, optimiser and all."""

from __future__ import annotations

import copy
import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from quadlib.diagnosis.evidence.observed.dataset import training_loader
from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.passes import batches
from quadlib.diagnosis.evidence.observed.roles import steps
from quadlib.diagnosis.observe.names import unwrapped
from quadlib.diagnosis.observe.record import OptimiserStep, Record
from quadlib.diagnosis.subject import Unavailable

FEWEST_CALLS, MOST_CALLS = 1000, 3000
EPOCHS_AHEAD = 100  # a warm-up that lasts longer is hardly meant


@dataclass(frozen=True)
class Course:
    """rates: (calls + 1, groups), from now on. taken: the steps of the optimiser that it drives.
    per_step: it was called with every one of them. epoch: steps in one, None where the loader has
    no length.
    """

    rates: np.ndarray
    taken: list[OptimiserStep]
    per_step: bool
    epoch: int | None
    kind: str


@fact
def course(record: Record) -> Course:
    """What the first observed scheduler will do; raises Unavailable where none can be tried out."""
    usable = [
        item
        for item in record.schedulers
        if "metrics" not in inspect.signature(item.step).parameters
    ]
    if not usable:
        raise Unavailable("no scheduler with a course of its own was seen")
    scheduler = usable[0]
    taken = [
        step
        for step in steps(record)
        if unwrapped(record.optimisers[step.optimiser]) is unwrapped(scheduler.optimizer)
    ]
    try:
        epoch = max(1, len(training_loader(record)) // _batches_a_step(record, len(taken)))
    except (TypeError, Unavailable):
        epoch = None
    calls = MOST_CALLS
    if epoch:
        calls = min(MOST_CALLS, max(FEWEST_CALLS, EPOCHS_AHEAD * epoch))
    rates = [_rates(scheduler.optimizer)]
    twin = _twin(scheduler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stepped without its optimiser
        for _ in range(calls):
            try:
                twin.step()
            except ValueError:  # OneCycleLR ends its schedule so
                break
            rates.append(_rates(twin.optimizer))
    per_step = len(taken) >= 2 and abs(int(scheduler.last_epoch) - len(taken)) <= 1
    return Course(np.array(rates), taken, per_step, epoch, type(scheduler).__name__)


def _batches_a_step(record: Record, n_steps: int) -> int:
    """More than one where gradients are accumulated."""
    loader = training_loader(record)
    fetched = sum(f.loader >= 0 and record.loaders[f.loader] is loader for f in batches(record))
    return max(1, round(fetched / max(n_steps, 1)))


def _rates(optimiser: Any) -> list[float]:
    return [float(group["lr"]) for group in optimiser.param_groups]


def _twin(scheduler: Any) -> Any:
    """A copy that drives an optimiser of one number a group."""
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        | {"params": [torch.nn.Parameter(torch.zeros(1))]}
        for group in scheduler.optimizer.param_groups
    ]
    # through one that passes its calls on, the groups of the loop's own optimiser would be changed
    optimiser = copy.copy(unwrapped(scheduler.optimizer))
    optimiser.param_groups = groups
    twin = copy.copy(scheduler)
    for name, value in vars(scheduler).items():
        if value is scheduler.optimizer:
            setattr(twin, name, optimiser)
        elif isinstance(value, list) and any(hasattr(part, "last_epoch") for part in value):
            setattr(twin, name, [_with(copy.copy(part), optimiser) for part in value])
        elif isinstance(value, (list, dict)):
            setattr(twin, name, copy.copy(value))
    return twin


def _with(scheduler: Any, optimiser: Any) -> Any:
    scheduler.optimizer = optimiser
    return scheduler
