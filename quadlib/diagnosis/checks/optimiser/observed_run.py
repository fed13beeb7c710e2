"""Contracts of the rates over the epochs of a watched run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.optim.lr_scheduler import ReduceLROnPlateau

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.optimiser.contracts import O05, O15
from quadlib.diagnosis.checks.optimiser.observed_rates import CYCLIC
from quadlib.diagnosis.checks.optimiser.watched_contracts import O16, O17, O18
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import has_part

FEWEST_STEPS = 4  # of an epoch whose rates are compared
FEWEST_EPOCHS, MANY_EPOCHS = 2, 10  # of a run that ended, and of one that goes on
LATE = ("SWALR",)  # begins when most of the run is over, by design
FEWEST_OF_A_RUN, LAST_PART, RISEN = 20, 0.7, 3.0  # steps, share of them, times the first rate
GONE, MOST_OF_A_RUN = 0.01, 0.5  # of the highest rate; of the steps
CHANGE = 1.5  # of the rate within an epoch


def _epochs(x: Examination) -> list[tuple[int, int]]:
    """First step and end of each whole epoch of the dataset that most epochs go through."""
    starts: dict[int, list[int]] = {}
    for start in x.record.log.epochs:
        starts.setdefault(id(start.dataset), []).append(start.step)
    steps = max(starts.values(), key=len, default=[])
    return [(a, b) for a, b in zip(steps, steps[1:], strict=False) if b > a]


@check(O16, "the rates of an epoch are not those of the epoch before", phase="later")
def sawtooth(x: Examination) -> Iterator[Finding]:
    epochs, rates = _epochs(x), x.record.log.rates
    whole = [rates[a:b] for a, b in epochs if b - a >= FEWEST_STEPS]
    if len(whole) < 2:
        raise Unavailable("fewer than two whole epochs of several steps were seen")
    if any(type(item).__name__ in CYCLIC for item in x.record.schedulers):
        return  # it comes back by design
    first, second = (np.array([rates[0] for _, rates in epoch]) for epoch in whole[-2:])
    places = {place for epoch in whole[-2:] for place, _ in epoch}
    if (
        len(places) > 1
        or len(first) != len(second)
        or not np.allclose(first, second, rtol=1e-6, atol=0)
    ):
        return
    if first.max() < CHANGE * first.min() or first.max() == first.min():
        return
    yield O16.broken(
        "warning",
        "the learning rate goes through the same course in every epoch",
        f"{len(first)} steps an epoch",
        (
            f"from {first[0]:.3g} to {first[-1]:.3g} in an epoch, and from {second[0]:.3g} to "
            f"{second[-1]:.3g} in the next, equal step by step",
        ),
        ruled_out=("a cyclic schedule: no such scheduler drives the optimiser",),
    )


@check(O17, "a scheduler that waits for a plateau is told figures of its sense", phase="later")
def wrong_sense(x: Examination) -> Iterator[Finding]:
    told = x.record.log.told
    if not told:
        raise Unavailable("no scheduler was told a figure")
    for item in told:
        higher, lower = (
            sorted(word for word in item.words if has_part(word, names))
            for names in (conventions.HIGHER_IS_BETTER, conventions.LOWER_IS_BETTER)
        )
        mode = item.scheduler.mode
        wrong = higher if mode == "min" else lower
        if not wrong or (lower if mode == "min" else higher):
            continue
        figures = [one.figure for one in told if one.scheduler is item.scheduler]
        yield O17.broken(
            "warning",
            f"ReduceLROnPlateau(mode={mode!r}) is told {wrong[0]}, of which "
            f"{'the highest' if mode == 'min' else 'the lowest'} is best",
            f"scheduler.step({wrong[0]})",
            (
                f"figures so far: {', '.join(f'{figure:.4g}' for figure in figures[:6])}",
                f"epochs that it counts as bad: {item.scheduler.num_bad_epochs}; "
                f"rate now {item.scheduler.optimizer.param_groups[0]['lr']:.3g}",
            ),
            f"give it mode={'max' if mode == 'min' else 'min'}",
        )
        return


@check(O18, "the schedulers of the watched optimisers are called", phase="later")
def never_called(x: Examination) -> Iterator[Finding]:
    if not x.record.schedulers:
        raise Unavailable("no scheduler was seen")
    epochs, finished = _epochs(x), x.record.later is not None and x.record.later.ended == "finished"
    if len(epochs) < (FEWEST_EPOCHS if finished else MANY_EPOCHS):
        raise Unavailable("too few whole epochs were seen: some schedulers wait for a few")
    driven = {id(item.optimizer) for item in x.record.schedulers if _calls(item)}
    for item in x.record.schedulers:  # one that another one calls in its turn is driven too
        if id(item.optimizer) in driven or type(item).__name__ in LATE:
            continue
        kind = type(item).__name__
        yield O18.broken(
            "note",  # some keep a constant rate so, on purpose
            f"{kind} was made and is never called",
            kind,
            (
                f"{epochs[-1][1]} steps and {len(epochs)} whole epochs were seen; "
                f"the rate is {item.optimizer.param_groups[0]['lr']:.3g} as at the start",
            ),
            "call step() on it",
        )
        return


def _calls(scheduler: object) -> int:
    """How often it was called, or what an earlier run's state says of it."""
    last = int(getattr(scheduler, "last_epoch", 0))
    if isinstance(scheduler, ReduceLROnPlateau):
        return last
    return max(last, int(getattr(scheduler, "_step_count", 1)) - 1)


def _whole_runs(x: Examination) -> Iterator[tuple[Any, np.ndarray]]:
    """Each optimiser that took enough steps, and its highest rate at each of them; raises
    Unavailable where the loop was left before its end.
    """
    if x.record.later is None or x.record.later.ended != "finished":
        raise Unavailable("the end of the run was not seen")
    for place, optimiser in enumerate(x.record.optimisers):
        rates = np.array([max(r, default=0.0) for n, r in x.record.log.rates if n == place])
        if len(rates) >= FEWEST_OF_A_RUN:
            yield optimiser, rates


@check(O15, "the rate has reached its height when the run ends", phase="later")
def rises_to_the_end(x: Examination) -> Iterator[Finding]:
    for optimiser, rates in _whole_runs(x):
        if (np.diff(rates) < 0).any():
            continue
        rises = np.flatnonzero(np.diff(rates) > 0)
        if len(rises) < 2 or rises[-1] < LAST_PART * len(rates) or rates[-1] < RISEN * rates[0]:
            continue
        height = max(
            (base for s in x.record.schedulers for base in getattr(s, "base_lrs", ())),
            default=float(rates[-1]),
        )
        yield O15.broken(
            "warning",
            "the learning rate still rises when the run ends",
            f"{type(optimiser).__name__}, {len(rates)} steps",
            (
                f"from {rates[0]:.3g} to {rates[-1]:.3g} in {len(rises)} rises, the last one at "
                f"step {rises[-1] + 1}; its height would be {max(height, rates[-1]):.3g}",
            ),
            "count the warm-up in the steps of this run, and call scheduler.step() where its "
            "numbers mean it: after every step, or after every epoch",
            ruled_out=("a rate that comes back: it never fell",),
        )
        return


@check(O05, "the rate is not gone for most of the run", phase="later")
def gone_early(x: Examination) -> Iterator[Finding]:
    for optimiser, rates in _whole_runs(x):
        if rates.max() <= 0:
            continue
        gone = rates < GONE * rates.max()
        if gone.mean() < MOST_OF_A_RUN or not gone[-1]:
            continue
        first = int(len(rates) - np.argmax(~gone[::-1]))
        yield O05.broken(
            "warning",
            f"the learning rate is gone after {first} of {len(rates)} steps",
            f"{type(optimiser).__name__}",
            (
                f"it was {rates.max():.3g} at its height, and is below {GONE:.0%} of that in "
                f"{gone.mean():.0%} of the steps; {rates[-1]:.3g} at the end",
            ),
            "count the schedule in what it is called with: epochs where step() is called once an "
            "epoch, steps where it is called in every one",
            ruled_out=("a rate that comes back: it stays there to the end",),
        )
        return
