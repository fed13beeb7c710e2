"""Contracts of the rates of a watched loop: steps move the weights, and not too far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.optimiser.contracts import O01, O02, O05, O15
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.roles import parts, roles, steps
from quadlib.diagnosis.evidence.observed.rows import spreads
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.record import (
    OptimiserStep,
    Record,
)
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST_STEPS = 4
COLLAPSED = 0.02
TINY = 1e-7  # of a weight in one step: float32 resolves 6e-8
BURST = 0.5  # of all weights in one step
FALLEN = 0.5  # share of the first loss: less than that is left of one that truly falls
LARGE = 0.1  # of all weights in one step: ten times what training usually does
CYCLIC = ("CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR")  # they come back by design
STARTED = 5e-3  # root mean square of a matrix that was not initialised with 0


def _ratios(step: OptimiserStep) -> dict[str, float]:
    return {
        name: p.update / p.weight
        for name, p in step.parameters.items()
        if p.weight > 1e-3 and p.gradient
    }


@check(O01, "the watched steps leave the rows apart and the weights whole", phase="observed")
def rate_too_high(x: Examination) -> Iterator[Finding]:
    taken = steps(x.record)
    rate = max(max(step.rates, default=0.0) for step in taken)
    apart = [spread for _, spread in spreads(x.record)]
    largest = _relative_updates(x.record)
    evidence = []
    # rows may also draw together for a while at an ordinary rate, and part again
    drawn_together = len(apart) > 1 and apart[0] >= 2 * COLLAPSED and apart[-1] < COLLAPSED
    if drawn_together and max(largest) >= LARGE:
        evidence.append(
            f"deviation of the compared rows' cosines: {apart[0]:.3f} at first, {apart[-1]:.1e} "
            f"after {spreads(x.record)[-1][0]} steps: all rows became one"
        )
    losses = x.record.losses
    finite = losses[np.isfinite(losses)]
    burst = max(largest) > 4 * BURST or sum(ratio > BURST for ratio in largest) >= 3
    # small weights may be replaced in a few steps, of a scaled softmax too, while the loss falls
    if burst and (len(finite) < len(losses) or _no_lower(finite)):
        evidence.append(f"the loss went from {finite[0]:.4g} to {losses[-1]:.4g}")
    if not evidence:
        return
    evidence.append(
        f"rate {rate:.3g}: the largest relative change of the weights in one step is "
        f"{max(largest):.2g} (usual: 1e-4 to 1e-2)"
    )
    yield O01.broken(
        "error",
        f"the learning rate {rate:.3g} is too high: the first steps destroy the embeddings",
        f"the first {len(taken)} optimiser steps",
        tuple(evidence),
        "lower the rate to a quarter, and again while it collapses, or warm up from a small one",
        ruled_out=("the data and the first weights: the rows were apart before the first step",),
        explains=("a loss that stays on its plateau from then on",),
    )


def _no_lower(losses: np.ndarray) -> bool:
    """Whether a loss has not fallen by half of what it was; of one that is negative, nothing."""
    return len(losses) > 1 and (losses[0] <= 0 or losses[-1] > FALLEN * losses[0])


def _relative_updates(record: Record) -> list[float]:
    """Norm of each step's change over that of the weights before it; of matrices that did not
    start from 0, as an adapter does.
    """
    started = {
        name
        for step in steps(record)[:1]
        for name, p in step.parameters.items()
        if record.parameters[name].ndim >= 2
        and p.weight > STARTED * record.parameters[name].numel() ** 0.5
    }
    ratios = []
    for step in steps(record):
        moved = [p for name, p in step.parameters.items() if name in started]
        weight = float(np.linalg.norm([p.weight for p in moved])) if moved else 0.0
        update = float(np.linalg.norm([p.update for p in moved])) if moved else 0.0
        ratios.append(update / weight if weight else 0.0)
    return ratios


@check(O02, "a rate above 0 moves the weights in the watched steps", phase="observed")
def no_rate(x: Examination) -> Iterator[Finding]:
    taken = steps(x.record)
    if len(taken) < FEWEST_STEPS:
        raise Unavailable(f"{len(taken)} steps were seen; a warm-up may start from 0")
    resting = list(_resting(x, [(step.optimiser, step.rates) for step in taken], rising=True))
    if resting:
        yield resting[0]
        return
    ratios = [r for step in taken[1:] for r in _ratios(step).values()]
    rate = max(max(step.rates, default=0) for step in taken)
    if ratios and rate > 0 and max(ratios) < TINY * 100 and not _warming(taken):
        yield O02.broken(
            "warning",
            f"the weights hardly move: at most {max(ratios):.1e} of a weight in one step",
            f"the first {len(taken)} optimiser steps",
            (f"rate {rate:.3g}; float32 resolves 6e-8 of a number, a usual step is 1e-3",),
            "raise the rate; 1e-3 is usual for Adam, 0.05 for SGD",
            ruled_out=("the gradient: it arrives",),
        )


@check(O02, "a rate that rests at 0 in the watched steps rises later", phase="later")
def rests_on(x: Examination) -> Iterator[Finding]:
    if not x.record.log.rates:
        raise Unavailable("no rates were noted")
    yield from list(_resting(x, x.record.log.rates, rising=False))[:1]


def _resting(
    x: Examination, taken: list[tuple[int, tuple[float, ...]]], *, rising: bool
) -> Iterator[Finding]:
    """The groups whose rate is 0 in all of these steps (place of the optimiser, rates), although
    gradients arrive. rising: those are left to the steps that follow whose rate is seen to be set
    by something, which may raise it yet.
    """
    for place, optimiser in enumerate(x.record.optimisers):
        mine = [rates for number, rates in taken if number == place]
        if len(mine) < FEWEST_STEPS:
            continue
        for group in range(len(mine[0])):
            rates = [each[group] for each in mine if group < len(each)]
            members = {id(p) for p in optimiser.param_groups[group]["params"]}
            names = {n for n, p in x.record.parameters.items() if id(p) in members}
            if max(rates) != 0 or not names & roles(x.record).gradient:
                continue
            if x.record.goes_on and rising == _is_set(x.record, optimiser):
                continue
            whole = len(mine[0]) == 1
            yield O02.broken(
                "error" if whole else "warning",
                f"the learning rate is 0 in every one of {len(rates)} steps"
                if whole
                else f"the learning rate of group {group} never leaves 0",
                f"{type(optimiser).__name__}: {parts(names)}",
                (
                    f"rate 0 in {len(rates)} of {len(rates)} steps; gradients arrive",
                    *_schedulers(x.record, optimiser),
                ),
                "set the rate of this group, or call scheduler.step() after every optimiser step",
                ruled_out=("the gradient: it arrives", "a frozen part: requires_grad is True"),
                scope="" if whole else f"group {group}",
            )


def _is_set(record: Record, optimiser: Any) -> bool:
    """Whether something sets an optimiser's rates: a scheduler, or the loop, where they are not
    those that it was made with.
    """
    made_with = float(getattr(optimiser, "defaults", {}).get("lr", 0.0) or 0.0)
    return made_with > 0 or bool(_schedulers(record, optimiser))


def _warming(taken: list[OptimiserStep]) -> bool:
    return max(taken[-1].rates) > 1.5 * max(taken[0].rates)


def _schedulers(record: Record, optimiser: object) -> list[str]:
    return [
        f"{type(item).__name__} was called {max(int(getattr(item, '_step_count', 1)) - 1, 0)} times"
        for item in record.schedulers
        if getattr(item, "optimizer", None) is optimiser
    ]


@check(O15, "the watched warm-up ends within the run", phase="observed")
def endless_warm_up(x: Examination) -> Iterator[Finding]:
    from quadlib.diagnosis.evidence.observed.schedule import course

    ahead = course(x.record)
    top = ahead.rates.max(axis=1)
    bases = [base for item in x.record.schedulers for base in getattr(item, "base_lrs", ())]
    full = max([*bases, float(top.max())])
    if full <= 0 or not ahead.per_step:
        raise Unavailable("the scheduler is not called with every optimiser step")
    known = _length(x, ahead.epoch)
    calls = min(known or len(top), len(top))
    reached, now = float(top[:calls].max()), float(top[0])
    if (
        reached > 0.5 * full
        or now > 0.1 * full
        or reached <= now
        or (not known and not ahead.epoch)
    ):
        return
    length = (
        f"{known} steps are declared"
        if known
        else (
            f"{calls} steps = {calls / (ahead.epoch or 1):.0f} epochs of {ahead.epoch} batches; "
            "the length of the run itself is not known"
        )
    )
    yield O15.broken(
        "warning",
        f"the warm-up outlasts the run: the rate reaches {reached / full:.1%} of its base value",
        ahead.kind,
        (
            f"rate {now:.3g} now, {reached:.3g} at most in what is ahead, base rate {full:.3g}",
            length,
        ),
        "warm up for 1 to 10 % of the run's steps",
        ruled_out=("the optimiser: it follows its scheduler",),
        explains=("a loss that hardly moves",),
    )


@check(O05, "the watched schedule lasts longer than half an epoch", phase="observed")
def schedule_over(x: Examination) -> Iterator[Finding]:
    from quadlib.diagnosis.evidence.observed.schedule import course

    ahead = course(x.record)
    top = ahead.rates.max(axis=1)
    if not ahead.per_step or not ahead.epoch:
        raise Unavailable("the scheduler is not called with every step, or an epoch has no length")
    first = max(step.rates[0] for step in ahead.taken)
    peak = max(first, float(top.max()))
    low = np.flatnonzero(top <= 0.01 * peak)
    taken = len(ahead.taken)
    if not len(low) or top[0] < 0.01 * peak and taken < FEWEST_STEPS:
        return
    end = int(low[0]) + taken
    known = _length(x, ahead.epoch)
    length = known or ahead.epoch
    # a schedule of one epoch is an ordinary choice; cosine and linear ones reach 1 % at its end
    if end >= (0.5 if known else 0.8) * length or ahead.kind in CYCLIC:
        return
    before = max(first, float(top[: low[0]].max(initial=0.0)))
    if before < 0.1 * peak or max(s.rates[0] for s in ahead.taken[-2:]) > peak * 1.01:
        return  # it has not been up yet: a warm-up
    yield O05.broken(
        "warning",
        f"the schedule is used up after {end} steps, "
        + ("before half of the run" if known else "before the first epoch ends"),
        ahead.kind,
        (
            f"it is called with every optimiser step; the rate falls to 1 % of {peak:.3g} at step "
            f"{end}; an epoch has {ahead.epoch} steps" + (f", the run {known}" if known else ""),
        ),
        "call scheduler.step() once an epoch, or give it epochs x batches steps",
        ruled_out=("convergence: the rate ends, not the learning",),
    )


def _length(x: Examination, epoch: int | None) -> int | None:
    """Optimiser steps of the run as its settings or the loop's variables declare them, else by how
    the loop ended.
    """
    counts = x.record.counts
    epochs = x.subject.setting(*conventions.EPOCHS) or _only(counts, conventions.EPOCHS)
    total = x.subject.setting(*conventions.RUN_STEPS) or _only(counts, conventions.RUN_STEPS)
    if total:
        return int(total)
    if epochs and epoch:
        return int(epochs) * epoch
    return x.record.n_steps if x.record.ended == "finished" else None


def _only(counts: Mapping[str, int], names: Iterable[str]) -> int | None:
    """The one number that these names have; None where they say two."""
    values = {counts[name] for name in names if name in counts}
    return values.pop() if len(values) == 1 else None
