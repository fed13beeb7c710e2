"""Contracts of weight decay: the weights follow the gradient, and training leaves some of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from quadlib.diagnosis.checks.optimiser.contracts import O06
from quadlib.diagnosis.checks.optimiser.groups import groups_of, rate_in, trainable
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


def several_classes(x: Examination) -> None:
    """Raises Unavailable where the trial batches hold one class, for which collapse is the
    optimum.
    """
    if min(len(np.unique(x.labels_in(batch))) for batch in x.batches) < 2:
        raise Unavailable("the batches hold one class, for which equal embeddings are the optimum")


@dataclass(frozen=True)
class Decay:
    """The pull of weight decay beside the push of the gradient in the first step, how the weights
    shrink in the first few, and whether the decay is what shrinks them.
    """

    rate: float
    decay: float
    decoupled: bool
    pull: float
    push: float
    shrink: float
    norms: tuple[float, float]
    dominates: bool


def decay_of(x: Examination) -> Decay | None:
    """The decay against the gradient; None where there is no decay."""
    groups, probe, norms = groups_of(x), x.probe, x.trajectory.weight_norms[: x.limits.decay_steps]
    rate, decay = max(
        ((float(g.get("lr", 0)), float(g.get("weight_decay", 0) or 0)) for g in groups),
        key=lambda pair: pair[0] * pair[1],
    )
    if rate * decay == 0 or len(norms) < x.limits.plateau_values or norms[0] == 0:
        return None
    decoupled = "adamw" in type(x.subject.optimizer).__name__.lower() or any(
        g.get("decoupled_weight_decay") for g in groups
    )
    weight, change = math.hypot(*probe.weights.values()), math.hypot(*probe.updates.values())
    gradient = math.hypot(*(value for value in probe.gradients.values() if value is not None))
    pull = rate * decay * weight if decoupled else decay * weight
    push = max(change - pull, 0.0) if decoupled else gradient
    shrink = float(norms[-1] / norms[0]) ** (1 / (len(norms) - 1))
    # coupled decay passes through Adam's scaling, so only decoupled decay shrinks by a known factor
    least = x.limits.least_shrink
    if decoupled:
        least = max(least, 0.5 * rate * decay)
    # collapsed embeddings have no gradient, beside which a usual decay is large too
    collapsed = x.trajectory.spreads[0] < x.limits.collapsed
    dominates = (
        (not collapsed or decay >= x.limits.heavy_decay) and pull > push and shrink < 1 - least
    )
    return Decay(rate, decay, decoupled, pull, push, shrink, (norms[0], norms[-1]), dominates)


@check(O06, "the weights after training have a usual size", "steps")
def weights_decayed_away(x: Examination) -> Iterator[Finding]:
    """Where training is over and the embeddings are one point: whether decay had the time to take
    the weights, and did.
    """
    several_classes(x)
    if x.trajectory.spreads[0] >= x.limits.collapsed:
        return
    rates = [
        rate or 0.0
        for rate in (rate_in(item) for item in x.history if item.get("kind", "step") == "step")
    ]
    group = max(groups_of(x), key=lambda each: float(each.get("weight_decay") or 0.0))
    decay, momentum = float(group.get("weight_decay") or 0.0), float(group.get("momentum") or 0.0)
    lost = sum(rates) * decay / max(1 - momentum, 1e-3)
    sizes = [
        float(p.detach().float().square().mean().sqrt() * math.sqrt(p[0].numel()))
        for _, p in trainable(x).values()
        if p.ndim >= 2
    ]
    left = float(np.median(sizes)) if sizes else 1.0
    if lost < x.limits.decayed or left > x.limits.weights_left:
        return
    yield O06.broken(
        "error",
        f"weight decay {decay:g} has shrunk the weights to {left:.2g} of a usual size",
        where=f"optimiser of {x.subject.name}, after {len(rates)} steps",
        evidence=(
            f"sum of learning rate x weight_decay / (1 - momentum) over the history: {lost:.3g}, "
            f"so without gradients exp(-{lost:.3g}) of the weights is left",
            f"median of rms(weight) x sqrt(inputs) over {len(sizes)} matrices: {left:.2g}; "
            "initialisation gives 0.5 to 1.5",
        ),
        ruled_out=("a learning rate that is too high: it leaves large weights",),
        help="weight_decay=0.01   [changes the optimiser; retrain]",
    )


@check(O06, "the weights follow the gradient more than their decay", "steps")
def decay_dominates(x: Examination) -> Iterator[Finding]:
    several_classes(x)
    found = decay_of(x)
    if found is None:
        return
    if found.dominates:
        what = (
            "shrinking by decay / rest of the update"
            if found.decoupled
            else "norm of weight_decay x weights / norm of the gradient"
        )
        yield O06.broken(
            "error",
            f"weight decay {found.decay:g} shrinks the weights by {100 * (1 - found.shrink):.2g} "
            "% a step, against the gradient",
            where=f"optimiser of {x.subject.name}, first {x.limits.decay_steps} steps",
            evidence=(
                f"{what}: {found.pull:.3g} / {found.push:.3g}",
                f"norm of the weights {found.norms[0]:.4g}, then {found.norms[1]:.4g}: a factor "
                f"of {found.shrink:.4f} a step; 1 - lr x weight_decay = "
                f"{1 - found.rate * found.decay:.4f}",
            ),
            ruled_out=("learning rate alone: the weights shrink, they do not jump",),
            help="weight_decay=0.01   [changes the optimiser; retrain]",
        )
    elif found.decay >= x.limits.large_decay and found.decoupled:
        yield O06.broken(
            "note",
            f"weight decay {found.decay:g} is far above the usual 0.01 to 0.1",
            where=f"optimiser of {x.subject.name}",
            evidence=(
                "without gradients the weights halve in "
                f"{math.log(2) / (found.rate * found.decay):.0f} steps",
            ),
            help="weight_decay=0.01   [changes the optimiser; retrain]",
        )
