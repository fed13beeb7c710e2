"""Contracts of the optimiser that are seen in its groups, its schedule and the history, before or
after training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.optimiser.contracts import O02, O04, O12
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.schedule import highest_rate
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


def groups_of(x: Examination) -> list[dict[str, Any]]:
    """The optimiser's groups; raises Unavailable where there are none."""
    groups = getattr(x.subject.optimizer, "param_groups", None)
    if not groups:
        raise Unavailable("no optimiser")
    return list(groups)


def trainable(x: Examination) -> dict[int, tuple[str, nn.Parameter]]:
    """The model's trainable parameters by identity; raises Unavailable where there are none."""
    if not isinstance(x.subject.model, nn.Module):
        raise Unavailable("no model")
    found = {id(p): (name, p) for name, p in x.subject.model.named_parameters() if p.requires_grad}
    if not found:
        raise Unavailable("the model has no trainable parameter")
    return found


def rate_in(record: dict[str, Any]) -> float | None:
    """The learning rate that a record of the history holds, or None."""
    value = next((record[name] for name in conventions.HISTORY_RATE if name in record), None)
    return float(value) if isinstance(value, (int, float)) else None


@check(O02, "the learning rate is above 0 at some time")
def rate_of_zero(x: Examination) -> Iterator[Finding]:
    rate = (
        highest_rate(x.subject.optimizer)
        if x.subject.optimizer is not None and groups_of(x)
        else None
    )
    setting = x.subject.setting(*conventions.LEARNING_RATE)
    if rate is None and not isinstance(setting, (int, float)):
        raise Unavailable("no optimiser")
    if rate != 0 and not (rate is None and setting == 0):
        return
    told = (
        [rate_in(item) for item in x.history]
        if x.subject.history is not None or x.subject.run is not None
        else []
    )
    if any(told):
        return  # the schedule has ended
    rested = sum(value == 0 for value in told)
    scheduled = "no scheduler raises it"
    if x.subject.scheduler is not None:
        # called once an epoch or once a step: a warm-up from 0 has left it after the first few
        # calls either way
        epochs = x.subject.setting(*conventions.EPOCHS)
        rates = (
            x.schedule.rates[: max(int(epochs), 4)] if isinstance(epochs, int) else x.schedule.rates
        )
        resting = int((rates == 0).sum())
        if resting <= len(rates) / 2 and rested < x.limits.resting_steps:
            return
        scheduled = (
            "the scheduler keeps it at 0 throughout"
            if x.schedule.peak == 0
            else f"the scheduler gives 0 in {resting} of its next {len(rates)} calls"
            + (f" and did in all {rested} so far" if rested else "")
        )
    yield O02.broken(
        "error",
        "the learning rate is 0 in every group, so no weight can move",
        where=f"optimiser of {x.subject.name}",
        evidence=(
            f"update = learning rate x direction = 0; declared learning rate: {setting}",
            scheduled,
        ),
        ruled_out=("warm-up: the rate stays 0", "frozen parameters", "gradients"),
        help="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)   [changes the optimiser; "
        "retrain]",
    )


@check(O04, "the optimiser holds parameters of this model")
def stale_optimiser(x: Examination) -> Iterator[Finding]:
    held = [p for group in groups_of(x) for p in group["params"]]
    own = trainable(x)
    identities = {id(p) for p in held}
    missing = {name: p for key, (name, p) in own.items() if key not in identities}
    strange = Counter(
        tuple(p.shape) for p in held if id(p) not in {id(p) for p in x.subject.model.parameters()}
    )
    same = sum((strange & Counter(tuple(p.shape) for p in missing.values())).values())
    if len(missing) < len(own) and (not missing or same < len(missing)):
        return  # what is merely left out is judged by the model's own contract
    what = (
        f"none of the model's {len(own)}"
        if len(missing) == len(own)
        else f"former copies of {len(missing)} of the model's {len(own)}"
    )
    yield O04.broken(
        "error",
        f"the optimiser holds {what} trainable tensors, so they never change",
        where=f"optimiser of {x.subject.name}, {len(held)} tensors in {len(groups_of(x))} groups",
        evidence=(
            f"in no group: {len(missing)} of {len(own)}, for example {next(iter(missing))}; "
            f"tensors of the same shapes that are not the model's: {same}",
            "same shapes, other objects: made for an earlier copy of the model"
            if same
            else "they belong to something else",
        ),
        ruled_out=("learning rate", "frozen parameters: these are trainable"),
        help="make the optimiser from the final model: torch.optim.AdamW(model.parameters(), "
        "lr=...)   [changes the optimiser]",
    )


@check(O12, "no parameter is in the optimiser twice")
def duplicated_parameters(x: Examination) -> Iterator[Finding]:
    counts = Counter(id(p) for group in groups_of(x) for p in group["params"])
    twice = sum(count > 1 for count in counts.values())
    if twice:
        names = {key: name for key, (name, _) in trainable(x).items()}
        first = next(
            (names[key] for key, count in counts.items() if count > 1 and key in names),
            "an unnamed tensor",
        )
        yield O12.broken(
            "error",
            f"{twice} tensors are in the optimiser more than once and move twice a step",
            where=f"optimiser of {x.subject.name}",
            evidence=(
                f"{sum(counts.values())} entries, {len(counts)} distinct tensors; first: {first}",
            ),
            help="give each tensor to one group   [changes the optimiser; retrain]",
        )
