"""Contracts of the gradients of a watched loop: each is cleared, used once, and followed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.optimiser.contracts import O04, O06, O07, O11, O14, O20, O21, O22
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import passes
from quadlib.diagnosis.evidence.observed.roles import parts, roles, steps
from quadlib.diagnosis.evidence.observed.rows import compared
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.record import (
    Backward,
    Clip,
    Record,
    ScalerStep,
    Unscale,
    ZeroGrad,
)
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(O04, "the watched optimiser steps on gradients", phase="observed")
def stale_optimiser(x: Examination) -> Iterator[Finding]:
    taken = steps(x.record)
    part = roles(x.record)
    if len(taken) < 2 or not part.gradient:
        raise Unavailable("no gradient, or a single step, was seen")
    without = [s for s in taken if not any(p.gradient for p in s.parameters.values())]
    if len(without) < max(2, len(taken) - 1):
        return
    order = x.record.order.split()
    if part.held & part.gradient:
        what = "gradients are cleared between backward() and step()"
        fix = "zero_grad(), backward(), step(): in this order"
    else:
        what = "the optimiser holds none of the tensors that receive gradient"
        fix = "make the optimiser last, from the parameters of the model that is trained"
    yield O04.broken(
        "error",
        f"the optimiser moves nothing: {what}",
        ", ".join(sorted({type(o).__name__ for o in x.record.optimisers})),
        (
            f"{len(part.gradient)} tensors receive gradient, {len(part.held & part.gradient)} of "
            f"them are in the optimiser; {len(without)} of {len(taken)} steps had no gradient",
            f"order: {' '.join(order[:6])}",
        ),
        fix,
        ruled_out=("the rate: there is nothing to multiply it with",),
    )


@check(O20, "gradients are cleared after every watched step", phase="observed")
def never_cleared(x: Examination) -> Iterator[Finding]:
    for place, optimiser in enumerate(x.record.optimisers):
        later = [step for step in steps(x.record) if step.optimiser == place][1:]
        again = [step for step in later if step.carried]
        if len(again) < max(2, 0.5 * len(later)):
            continue
        names = frozenset().union(*(step.carried for step in again))
        every = {n for n, p in later[-1].parameters.items() if p.gradient}
        part = "" if names >= every else f" of {parts(names)}"
        yield O20.broken(
            "error",
            f"gradients{part} of earlier steps are still there at the next backward pass",
            f"between step() and backward(), {type(optimiser).__name__}",
            (
                f"{len(again)} of {len(later)} steps after the first follow a gradient again that "
                f"an earlier step has followed, in {len(names)} of {len(every)} tensors",
                f"{sum(1 for _ in x.record.of(ZeroGrad))} zero_grad() in {x.record.n_steps} steps; "
                f"order: {' '.join(x.record.order.split()[:8])}",
            ),
            "call zero_grad() of every optimiser once a step, before backward() or after step(); "
            "model.zero_grad() leaves the parameters of a loss as they are",
            ruled_out=("accumulation: it adds before a step, not across one",),
        )


@check(O21, "every watched gradient is used by a step", phase="observed")
def thrown_away(x: Examination) -> Iterator[Finding]:
    every = list(x.record.of(Backward))
    lost = [b for b in every if b.discarded]
    if len(lost) < 2 or len(lost) < 0.2 * len(every):
        return
    held = max(len(roles(x.record).held & roles(x.record).gradient), 1)
    if np.median([b.discarded for b in lost]) < 0.3 * held:
        return
    yield O21.broken(
        "error",
        "gradients are cleared before a step uses them",
        "between backward() and step()",
        (
            f"{len(lost)} of {len(every)} passes come after gradients that were cleared unused; "
            f"{x.record.n_steps} steps for {len(every)} passes",
            f"order: {' '.join(x.record.order.split()[:8])}",
        ),
        "to accumulate, call zero_grad() after step() only; else step after every backward()",
        ruled_out=("a step skipped by a gradient scaler: none of these",),
    )


@check(O07, "the watched gradient scaler lets steps through", phase="observed")
def every_step_skipped(x: Examination) -> Iterator[Finding]:
    tried = list(x.record.of(ScalerStep))
    if not tried:
        raise Unavailable("no gradient scaler was seen")
    if len(tried) < 6 or not all(event.skipped for event in tried[3:]):
        return
    yield O07.broken(
        "error",
        f"mixed precision skips every step: {sum(e.skipped for e in tried)} of {len(tried)}",
        "GradScaler.step",
        (
            f"scale {tried[0].scale:.3g} at first, {tried[-1].scale:.3g} at last: some gradient is "
            "not finite at any scale",
        ),
        "look for the first value that is not finite; compute the loss in float32",
        ruled_out=("a first step or two that the scaler skips to find its scale",),
    )


@check(O22, "scaled gradients are unscaled before they are used", phase="observed")
def still_scaled(x: Examination) -> Iterator[Finding]:
    scaled = [b for b in x.record.of(Backward) if b.scale > 1]
    if not scaled:
        raise Unavailable("no loss was scaled")
    unscaled = sum(1 for _ in x.record.of(Unscale))
    through = sum(1 for _ in x.record.of(ScalerStep))
    clips = [event.norm for event in x.record.of(Clip)]
    if not through and x.record.n_steps and not unscaled:
        what = "optimizer.step() is called instead of scaler.step(optimizer)"
        fix = "scaler.step(optimizer); scaler.update()"
    elif clips and _clipped_first(x.record):
        what = "gradients are clipped while they are still scaled"
        fix = "scaler.unscale_(optimizer) before clip_grad_norm_"
    else:
        return
    yield O22.broken(
        "error",
        what,
        "between backward() and step()",
        (
            f"the loss was multiplied by {scaled[0].scale:.4g}; nothing divides the gradients by "
            "it before they are used",
            *((f"norm at clipping: {clips[0]:.4g}",) if clips else ()),
        ),
        fix,
    )


def _clipped_first(record: Record) -> bool:
    """Whether a clipping of this step's gradients comes before they are unscaled."""
    scaled = False
    for event in record.events:
        if isinstance(event, Backward):
            scaled = event.scale > 1
        elif isinstance(event, (Unscale, ScalerStep)):
            scaled = False
        elif isinstance(event, Clip) and scaled:
            return True
    return False


@check(O11, "clipping leaves the watched gradients something", phase="observed")
def clipped_away(x: Examination) -> Iterator[Finding]:
    clips = list(x.record.of(Clip))
    if not clips:
        raise Unavailable("no clipping was seen")
    finite = [c for c in clips if np.isfinite(c.norm)]
    none = finite and all(c.norm == 0 for c in finite[1:]) and len(finite) > 2
    gradients = any(n for item in passes(x.record) for n in item.gradients.values())
    small = [c for c in finite if c.limit <= 0 or c.norm > 1e4 * c.limit]
    if none and gradients:
        text = f"the norm was 0 in {len(finite)} clippings: they come before backward()"
    elif len(small) > 0.8 * len(clips) and clips:
        text = f"norms of {small[0].norm:.3g} are cut to {small[0].limit:.3g}"
    else:
        return
    yield O11.broken(
        "warning",
        "clipping takes the gradients away" if not none else "clipping comes before the gradients",
        "clip_grad_norm_",
        (text, f"order: {' '.join(x.record.order.split()[:8])}"),
        "clip between backward() and step(), to a norm of about 1",
    )


@check(O06, "the watched weights follow the gradient more than their decay", phase="observed")
def decay(x: Examination) -> Iterator[Finding]:
    last = steps(x.record)[-1]
    optimiser = x.record.optimisers[last.optimiser]
    for group, (rate, amount) in enumerate(zip(last.rates, last.decays, strict=True)):
        if not amount:
            continue
        members = {id(p) for p in optimiser.param_groups[group]["params"]}
        norms = [
            (p.gradient, p.weight)
            for n, p in last.parameters.items()
            if id(x.record.parameters[n]) in members and p.gradient
        ]
        if not norms:
            continue
        gradient, weight = (float(np.linalg.norm(column)) for column in zip(*norms, strict=True))
        decoupled = "AdamW" in type(optimiser).__name__
        heavy = rate * amount > 2e-3 if decoupled else amount * weight > 3 * gradient
        if not heavy or amount < 1e-2:
            continue
        yield O06.broken(
            "warning",
            f"weight decay of {amount:.3g} outweighs the gradient",
            f"{type(optimiser).__name__}, group {group}",
            (
                f"every step takes rate x decay = {rate * amount:.1e} of a weight; half is left "
                f"after {np.log(2) / max(rate * amount, 1e-12):.0f} steps",
                f"decay x weight = {amount * weight:.3g}, gradient {gradient:.3g}",
            ),
            "a decay of 1e-4 (SGD) or 0.01 to 0.05 (AdamW)",
        )
        return


@check(O14, "the watched optimiser descends", phase="observed")
def climbs(x: Examination) -> Iterator[Finding]:
    for optimiser in x.record.optimisers:
        if not any(group.get("maximize") for group in optimiser.param_groups):
            continue
        compared(x.record)
        yield O14.broken(
            "error",
            "the optimiser maximises the loss",
            type(optimiser).__name__,
            (f"maximize=True; losses {x.record.losses[0]:.4g} to {x.record.losses[-1]:.4g}",),
            "leave maximize out",
        )
