"""Contracts of the schedule: it drives this optimiser, for as long as training lasts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.optimiser.contracts import O05, O13
from quadlib.diagnosis.checks.optimiser.groups import groups_of, rate_in
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.schedule import calls_per_step, highest_rate
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(O13, "the scheduler drives this optimiser")
def scheduler_of_another(x: Examination) -> Iterator[Finding]:
    if x.subject.scheduler is None:
        raise Unavailable("no scheduler")
    driven = getattr(x.subject.scheduler, "optimizer", None)
    if driven is None:
        raise Unavailable("the scheduler does not say which optimiser it drives")
    mine = {id(group) for group in groups_of(x)}
    if driven is x.subject.optimizer or mine & {id(group) for group in driven.param_groups}:
        return
    yield O13.broken(
        "error",
        "the scheduler drives another optimiser, so its rates never reach this one",
        where=f"scheduler of {x.subject.name}",
        evidence=(
            f"groups that both hold: 0 of {len(mine)}; this optimiser stays at "
            f"{highest_rate(x.subject.optimizer):g}",
        ),
        help="make the scheduler from this optimiser, after it   [changes the learning rates; "
        "retrain]",
    )


@check(O05, "the schedule lasts as long as training", "steps")
def schedule_too_short(x: Examination) -> Iterator[Finding]:
    epochs, batches = x.subject.setting(*conventions.EPOCHS), len(x.batch_sampler)
    if not isinstance(epochs, int):
        raise Unavailable("the number of epochs is not declared")
    schedule = x.schedule
    calls = calls_per_step(x)
    if calls == 0 or batches < 2 or epochs < 2:
        return
    planned = epochs * batches * calls
    spans = [getattr(x.subject.scheduler, name, None) for name in conventions.SCHEDULE_SPAN]
    span = next((value for value in spans if isinstance(value, int)), None)
    used = schedule.exhausted_at(x.limits.used_up)
    if span is not None and abs(span - epochs) <= max(2, 0.1 * epochs) and planned > 2 * span:
        what = f"it spans {span} calls, the number of epochs, and is called {calls} time a batch"
        ended = span
    elif used is not None and planned > 2 * used:
        what, ended = (
            f"from call {used} on the rate is below {x.limits.used_up:g} of its peak "
            f"{schedule.peak:g}",
            used,
        )
    else:
        return
    yield _too_short(
        x,
        ended / (batches * calls),
        epochs,
        (
            what,
            f"one training step calls scheduler.step() {calls} time; {batches} batches x {epochs} "
            f"epochs = {planned} calls",
        ),
    )


@check(O05, "the learning rates of the history last as long as training", "epoch")
def history_too_short(x: Examination) -> Iterator[Finding]:
    epochs = x.subject.setting(*conventions.EPOCHS)
    if not isinstance(epochs, int):
        raise Unavailable("the number of epochs is not declared")
    steps = [
        item
        for item in x.history
        if item.get("kind", "step") == "step"
        and rate_in(item) is not None
        and isinstance(item.get("epoch"), (int, float))
    ]
    if not steps:
        raise Unavailable("the history holds no learning rate and epoch per step")
    rates = np.array([rate_in(item) for item in steps], dtype=float)
    first_epoch = min(item["epoch"] for item in steps)
    per_epoch = sum(item["epoch"] == first_epoch for item in steps)
    peak = int(rates.argmax())
    low = np.flatnonzero(rates[peak:] <= rates[peak:].min() * 1.001 + 1e-12)
    ended = peak + int(low[0])
    planned = epochs * per_epoch
    stays = (
        len(rates) - ended > max(2, per_epoch)
        and (rates[ended:] <= rates[ended] * 1.001 + 1e-12).all()
    )
    if (
        rates[peak] == 0
        or per_epoch < 2
        or rates[ended] > 0.05 * rates[peak]
        or not stays
        or 2 * ended > planned
        or ended > 2 * epochs
    ):
        return
    yield _too_short(
        x,
        ended / per_epoch,
        epochs,
        (
            f"highest {rates[peak]:g} at step {peak + 1}, lowest {rates[ended]:g} from step "
            f"{ended + 1} on",
            f"{ended} steps are {ended / per_epoch:.2g} epochs of {per_epoch} steps; {epochs} "
            "epochs are declared",
        ),
    )


def _too_short(x: Examination, ended: float, epochs: int, evidence: tuple[str, ...]) -> Finding:
    return O05.broken(
        "error",
        f"the learning rate is exhausted after {ended:.2g} of {epochs} epochs: the scheduler "
        "counts batches as epochs",
        where=f"scheduler of {x.subject.name}",
        evidence=evidence,
        ruled_out=("convergence: the rate falls whatever the loss", "warm-up"),
        help="call scheduler.step() once an epoch, or give it epochs x batches steps   [changes "
        "the learning rates; retrain]",
    )
