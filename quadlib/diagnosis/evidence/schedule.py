"""The learning rates that a scheduler will give, tried out on the subject and undone; and how often
the training step calls it.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.subject import Unavailable

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination


@dataclass(frozen=True)
class Schedule:
    """rates: the highest learning rate of all groups after 0, 1, 2 ... calls of
    scheduler.step().
    """

    rates: np.ndarray

    @property
    def peak(self) -> float:
        return float(self.rates.max())

    def exhausted_at(self, share: float) -> int | None:
        """The first call after the peak from which the rate stays at or below a share of the peak;
        None where it does not.
        """
        low = self.rates <= share * self.peak
        if not low[-1] or self.peak <= 0:
            return None
        above = np.flatnonzero(~low)
        return int(above[-1]) + 1


def schedule_of(x: Examination) -> Schedule:
    """Steps the scheduler as long as training will, or 5000 times; the subject is put back. Raises
    Unavailable.
    """
    scheduler, optimiser = x.subject.scheduler, x.subject.optimizer
    if scheduler is None or optimiser is None:
        raise Unavailable("no scheduler" if scheduler is None else "no optimiser")
    if "metrics" in inspect.signature(scheduler.step).parameters:
        raise Unavailable("the scheduler follows a metric, so its rates are not known beforehand")
    rates = [highest_rate(optimiser)]
    try:
        with warnings.catch_warnings():
            # stepping a scheduler without its optimiser warns; both are put back below
            warnings.simplefilter("ignore")
            for _ in range(planned_calls(x)):
                try:
                    scheduler.step()
                except ValueError:  # OneCycleLR ends its schedule so
                    break
                rates.append(highest_rate(optimiser))
    finally:
        x.restore()
    return Schedule(np.array(rates))


def planned_calls(x: Examination) -> int:
    """Optimiser steps of the declared training: epochs x batches, at most 5000; 5000 where not
    declared.
    """
    epochs = x.subject.setting(*conventions.EPOCHS)
    try:
        steps = int(epochs) * len(x.batch_sampler)
    except (TypeError, ValueError, Unavailable):
        return x.limits.schedule_calls
    return min(max(steps, 2), x.limits.schedule_calls)


def calls_per_step(x: Examination) -> int:
    """How often one training step calls scheduler.step(), observed once and undone. Raises
    Unavailable.
    """
    subject = x.subject
    if subject.train_step is None:
        raise Unavailable("no train_step, so where the scheduler is called is not known")
    before = getattr(subject.scheduler, "last_epoch", None)
    if before is None:
        raise Unavailable("the scheduler does not count its calls (last_epoch)")
    batch = x.batches[0]
    try:
        subject.train_step(batch)
        return int(subject.scheduler.last_epoch) - int(before)
    finally:
        x.restore()


def highest_rate(optimiser: Any) -> float:
    return max((float(group.get("lr", 0.0)) for group in optimiser.param_groups), default=0.0)
