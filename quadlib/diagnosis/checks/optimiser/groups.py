"""Contracts of the optimiser that are seen in its groups, its schedule and the history, before or
after training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.plateau import declared
from quadlib.diagnosis.evidence.schedule import calls_per_step, highest_rate
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

# a mature schedule may end at any rate; "used up" means this far below the peak
USED_UP = 1e-3
FLAT = ("QL-O02", "QL-E10", "QL-P10", "QL-C03", "QL-E03")


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


LONG_REST = 20  # steps at a rate of 0, after which a warm-up from 0 has long begun


def rate_in(record: dict[str, Any]) -> float | None:
    """The learning rate that a record of the history holds, or None."""
    value = record.get("learning_rate", record.get("lr"))
    return float(value) if isinstance(value, (int, float)) else None


@check("O02", "the learning rate is above 0 at some time")
def rate_of_zero(x: Examination) -> Iterator[Finding]:
    rate = (
        highest_rate(x.subject.optimizer)
        if x.subject.optimizer is not None and groups_of(x)
        else None
    )
    setting = x.subject.setting("learning_rate", "lr")
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
        epochs = x.subject.setting("epochs", "n_epochs", "num_epochs", "max_epochs")
        rates = (
            x.schedule.rates[: max(int(epochs), 4)] if isinstance(epochs, int) else x.schedule.rates
        )
        resting = int((rates == 0).sum())
        if resting <= len(rates) / 2 and rested < LONG_REST:
            return
        scheduled = (
            "the scheduler keeps it at 0 throughout"
            if x.schedule.peak == 0
            else f"the scheduler gives 0 in {resting} of its next {len(rates)} calls"
            + (f" and did in all {rested} so far" if rested else "")
        )
    yield Finding(
        "QL-O02",
        "error",
        "the learning rate is 0 in every group, so no weight can move",
        where=f"optimiser of {x.subject.name}",
        evidence=(
            f"update = learning rate x direction = 0; declared learning rate: {setting}",
            scheduled,
        ),
        ruled_out=("warm-up: the rate stays 0", "frozen parameters", "gradients"),
        consequences=("QL-E10", "QL-P10", "QL-N02", "QL-O05"),
        help="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)   [changes the optimiser; "
        "retrain]",
    )


@check("O04", "the optimiser holds parameters of this model")
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
    yield Finding(
        "QL-O04",
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
        consequences=(*FLAT, "QL-O11", "QL-O01", "QL-O13"),
        help="make the optimiser from the final model: torch.optim.AdamW(model.parameters(), "
        "lr=...)   [changes the optimiser]",
    )


@check("O12", "no parameter is in the optimiser twice")
def duplicated_parameters(x: Examination) -> Iterator[Finding]:
    counts = Counter(id(p) for group in groups_of(x) for p in group["params"])
    twice = sum(count > 1 for count in counts.values())
    if twice:
        names = {key: name for key, (name, _) in trainable(x).items()}
        first = next(
            (names[key] for key, count in counts.items() if count > 1 and key in names),
            "an unnamed tensor",
        )
        yield Finding(
            "QL-O12",
            "error",
            f"{twice} tensors are in the optimiser more than once and move twice a step",
            where=f"optimiser of {x.subject.name}",
            evidence=(
                f"{sum(counts.values())} entries, {len(counts)} distinct tensors; first: {first}",
            ),
            help="give each tensor to one group   [changes the optimiser; retrain]",
        )


@check("O13", "the scheduler drives this optimiser")
def scheduler_of_another(x: Examination) -> Iterator[Finding]:
    if x.subject.scheduler is None:
        raise Unavailable("no scheduler")
    driven = getattr(x.subject.scheduler, "optimizer", None)
    if driven is None:
        raise Unavailable("the scheduler does not say which optimiser it drives")
    mine = {id(group) for group in groups_of(x)}
    if driven is x.subject.optimizer or mine & {id(group) for group in driven.param_groups}:
        return
    yield Finding(
        "QL-O13",
        "error",
        "the scheduler drives another optimiser, so its rates never reach this one",
        where=f"scheduler of {x.subject.name}",
        evidence=(
            f"groups that both hold: 0 of {len(mine)}; this optimiser stays at "
            f"{highest_rate(x.subject.optimizer):g}",
        ),
        consequences=("QL-O05",),
        help="make the scheduler from this optimiser, after it   [changes the learning rates; "
        "retrain]",
    )


@check("O05", "the schedule lasts as long as training", "steps")
def schedule_too_short(x: Examination) -> Iterator[Finding]:
    epochs, batches = (
        x.subject.setting("epochs", "n_epochs", "num_epochs", "max_epochs"),
        len(x.batch_sampler),
    )
    if not isinstance(epochs, int):
        raise Unavailable("the number of epochs is not declared")
    schedule = x.schedule
    calls = calls_per_step(x)
    if calls == 0 or batches < 2 or epochs < 2:
        return
    planned = epochs * batches * calls
    spans = [
        getattr(x.subject.scheduler, name, None) for name in ("T_max", "total_steps", "total_iters")
    ]
    span = next((value for value in spans if isinstance(value, int)), None)
    used = schedule.exhausted_at(USED_UP)
    if span is not None and abs(span - epochs) <= max(2, 0.1 * epochs) and planned > 2 * span:
        what = f"it spans {span} calls, the number of epochs, and is called {calls} time a batch"
        ended = span
    elif used is not None and planned > 2 * used:
        what, ended = (
            f"from call {used} on the rate is below {USED_UP:g} of its peak {schedule.peak:g}",
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


@check("O05", "the learning rates of the history last as long as training", "epoch")
def history_too_short(x: Examination) -> Iterator[Finding]:
    epochs = x.subject.setting("epochs", "n_epochs", "num_epochs", "max_epochs")
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
    return Finding(
        "QL-O05",
        "error",
        f"the learning rate is used up after {ended:.2g} of {epochs} epochs: the scheduler counts "
        "batches as epochs",
        where=f"scheduler of {x.subject.name}",
        evidence=evidence,
        ruled_out=("convergence: the rate falls whatever the loss", "warm-up"),
        consequences=("QL-O05", "QL-E10", "QL-O02"),
        help="call scheduler.step() once an epoch, or give it epochs x batches steps   [changes "
        "the learning rates; retrain]",
    )


@check("O09", "the loss sees the declared batch", "batch")
def accumulation_for_batch(x: Examination) -> Iterator[Finding]:
    sizes = declared(x)
    if sizes.accumulation < 2 and sizes.micro_batch is None and sizes.world_size < 2:
        raise Unavailable("no gradient accumulation is declared")
    seen = len(x.batch_labels)
    if (
        not sizes.batch_size
        or seen >= sizes.batch_size
        or seen not in (sizes.micro_batch, sizes.batch_size // sizes.accumulation)
    ):
        return
    if sizes.accumulation < 2 and sizes.micro_batch is None:
        return
    yield _micro(
        x,
        seen,
        sizes.batch_size,
        f"the first batch holds {seen} samples, batch_size declares {sizes.batch_size}",
    )


@check("O09", "the loss is given whole batches", "steps")
def loss_given_parts(x: Examination) -> Iterator[Finding]:
    given, held, sizes = x.probe.loss_rows, len(x.batch_labels), declared(x)
    if not given:
        raise Unavailable(
            "the loss is no module that the training step calls, so its inputs are not seen"
        )
    # a term over some of the rows beside one over all of them is a choice
    if len(given) < 2 or max(given) > held / 2 or sum(given) < 0.9 * held:
        return
    evidence = (
        f"in one training step the loss was called {len(given)} times with {max(given)} samples at "
        f"most; the batch holds {held}"
    )
    yield (
        _shard(x, max(given), held, evidence)
        if sizes.world_size > 1
        else _micro(x, max(given), held, evidence)
    )


@check("O09", "the plateau is that of the declared batch, not of a micro-batch", "epoch")
def plateau_of_micro_batch(x: Examination) -> Iterator[Finding]:
    found = x.pinned
    if found is not None and found.how == "micro-batch":
        yield _micro(x, found.size, declared(x).batch_size or 0, found.text)


def _micro(x: Examination, seen: int, batch_size: int, evidence: str) -> Finding:
    return Finding(
        "QL-O09",
        "warning",
        f"the loss sees micro-batches of {seen}, not the batch of {batch_size}: accumulation "
        "shares no negatives",
        where=f"training step of {x.subject.name}",
        evidence=(
            evidence,
            f"plateau ln {seen - 1} = {np.log(seen - 1):.4f} instead of ln {batch_size - 1} = "
            f"{np.log(batch_size - 1):.4f}"
            if seen > 2
            else f"{max(seen - 1, 0)} other samples to compare an anchor with",
        ),
        ruled_out=("the sampler: it gives what it was asked for",),
        consequences=("QL-O09", "QL-B02"),
        help="embed all micro-batches, then one loss over the whole batch (gradient caching)   "
        "[changes the loss; retrain]",
    )


@check("O10", "the plateau is that of the whole batch, not of one process", "epoch")
def plateau_of_a_shard(x: Examination) -> Iterator[Finding]:
    found = x.pinned
    if found is None or found.how != "share of a process":
        return
    yield _shard(x, found.size, declared(x).batch_size or 0, found.text)


def _shard(x: Examination, seen: int, batch_size: int, evidence: str) -> Finding:
    sizes = declared(x)
    return Finding(
        "QL-O10",
        "warning",
        f"the loss sees the {seen} samples of one process, not the batch of {batch_size}",
        where=f"training step of {x.subject.name}, {sizes.world_size} processes",
        evidence=(evidence,),
        ruled_out=(f"the batch size: its own plateau would be ln {batch_size * sizes.views - 1}",),
        consequences=("QL-O10", "QL-B02"),
        help="gather embeddings and labels of all processes before the loss   [changes the loss; "
        "retrain]",
    )
