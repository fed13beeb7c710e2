"""Contracts of the optimiser that a few trial steps show: that weights move, and not too far."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from quadlib.diagnosis.checks.optimiser.groups import groups_of, rate_in, trainable
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.plateau import COLLAPSED, FEWEST, classes_in_batches
from quadlib.diagnosis.evidence.schedule import highest_rate
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

FROZEN = 1e-7  # relative size of an update below which float32 weights do not move
CRAWLING = 1e-6  # below it, a clipped gradient is all but no gradient
WHOLE = 1.0
FIRST_FEW = 5
VANISHED = 1e-12
HEAVY = 0.05  # of a coupled decay, where 1e-5 to 1e-3 are usual
DECAYED = 3.0  # exponents of decay over a run from which it may have taken the weights
MOST_LEFT = 0.1  # of a usual size
MOST_SKIPS = 18  # a gradient scaler at 65536 that halves this often is below 1


def several_classes(x: Examination) -> None:
    """Raises Unavailable where the trial batches hold one class, for which collapse is the
    optimum.
    """
    if min(len(np.unique(x.subject.batch_labels(batch))) for batch in x.batches) < 2:
        raise Unavailable("the batches hold one class, for which equal embeddings are the optimum")


@check("O01", "the first steps leave the embeddings apart", "steps")
def rate_too_high(x: Examination) -> Iterator[Finding]:
    several_classes(x)
    decay = decay_of(x)
    if decay is not None and decay.dominates:
        return  # the weights shrink away, and their updates are large beside what is left of them
    seen = x.trajectory
    spreads, ratios = np.array(seen.spreads), np.array(seen.update_ratios)
    warmup = x.subject.setting("warmup_steps", "num_warmup_steps", default=0) or 0
    if warmup and x.subject.train_step is not None and not _history_began(x):
        # the trial takes steps at the rate the groups hold now; a warm-up that the loop applies is
        # not in them
        share = np.minimum(1.0, (np.arange(len(ratios)) + 1) / warmup)
        ratios = ratios * share
    gone = np.flatnonzero(spreads < COLLAPSED)
    fell = (
        len(gone) > 0
        and gone[0] > 0
        and spreads[0] > 3 * COLLAPSED
        and (spreads[-min(FEWEST, len(spreads)) :] < 3 * COLLAPSED).all()
    )
    if not np.isfinite(ratios).any():
        raise Unavailable("the trial steps gave weights that are not finite")
    before = ratios[: gone[0] + 1] if fell else ratios
    finite = before[np.isfinite(before)]
    largest = float(finite.max()) if len(finite) else math.inf
    if fell and largest >= 0.1 or largest >= WHOLE:
        rate = highest_rate(x.subject.optimizer)
        step = int(gone[0]) if fell else int(np.nanargmax(ratios))
        what = (
            f"collapse after {step} steps"
            if fell
            else f"change by {largest:.2g} of their size in one step"
        )
        subject = "the embeddings" if fell else "the weights"
        yield Finding(
            "QL-O01",
            "error" if fell else "warning",
            f"at learning rate {rate:g} {subject} {what}",
            where=f"first {len(spreads)} steps of {x.subject.name}",
            evidence=(
                f"standard deviation of the cosines: {spreads[0]:.3g} at step 0, "
                f"{spreads[step]:.2g} at step {step}",
                f"largest update relative to the weights before that: {largest:.3g}; usual are "
                "1e-4 to 3e-2",
                f"loss {seen.losses[0]:.4f} at step 0, {seen.losses[-1]:.4f} at step "
                f"{len(seen.losses) - 1}",
            ),
            ruled_out=(
                "one-class batches: these hold several",
                "a constant encoder: its output was spread at step 0",
            ),
            step=step,
            consequences=("QL-P10", "QL-P12", "QL-P17", "QL-E10", "QL-E05", "QL-C02", "QL-O06"),
            help=f"learning_rate={rate / 100:g}, or warm-up   [changes the optimiser; retrain]",
        )


@check("O01", "a run that left the plateau does not fall back on it", "epoch")
def collapsed_in_training(x: Examination) -> Iterator[Finding]:
    found = x.pinned
    if found is None or found.start == 0 or found.how != "batch":
        return
    if (classes_in_batches(x) or 0) < 2:
        raise Unavailable(
            "it is not known that the batches hold several classes, so the plateau may be their "
            "floor"
        )
    groups = getattr(x.subject.optimizer, "param_groups", None) or [{}]
    rate = max(_highest_in_history(x), float(x.subject.setting("learning_rate", "lr", default=0.0)))
    decay = max(
        float(x.subject.setting("weight_decay", default=0.0)),
        *(float(g.get("weight_decay") or 0.0) for g in groups),
    )
    if rate == 0:
        raise Unavailable("no learning rate is declared")
    momentum = max(float(g.get("momentum") or 0.0) for g in groups)
    left = (1 - min(rate * decay / max(1 - momentum, 1e-3), 1.0)) ** found.start
    if left < 0.5:
        return  # the decay alone may have taken the weights: the set of candidates stays open
    yield Finding(
        "QL-O01",
        "error",
        f"at learning rate {rate:g} the run collapsed after {found.start} steps",
        where=f"history of {x.subject.name}",
        evidence=(
            f"loss {x.losses[0]:.4f} at first, {found.value:.4f} from value {found.start + 1} on: "
            f"{found.text}",
            f"weight decay alone would have left (1 - {rate:g} x {decay:g})^{found.start} = "
            f"{left:.3f} of the weights",
        ),
        ruled_out=(
            "one-class batches: these hold several",
            "a constant encoder: the loss was off the plateau at first",
            "weight decay",
        ),
        step=found.start,
        consequences=("QL-P10", "QL-E10", "QL-E05", "QL-O06"),
        help=f"learning_rate={rate / 100:g}, or warm-up   [changes the optimiser; retrain]",
    )


def _history_began(x: Examination) -> bool:
    return x.subject.history is not None


@check("O02", "the weights move in the first steps", "steps")
def nothing_moves(x: Examination) -> Iterator[Finding]:
    groups, own = groups_of(x), trainable(x)
    probe, seen = x.probe, x.trajectory
    if not any(id(p) in own for group in groups for p in group["params"]):
        return  # an optimiser of other parameters: judged by O04
    gradients = [value for value in probe.gradients.values() if value is not None]
    if not gradients or not all(map(math.isfinite, gradients)) or not any(gradients):
        return
    ratios = [value for value in seen.update_ratios if math.isfinite(value)]
    rate = highest_rate(x.subject.optimizer)
    peak = max(
        rate, x.schedule.peak if x.subject.scheduler is not None else 0.0, _highest_in_history(x)
    )
    if not ratios or rate < VANISHED:
        # a rate of 0, or one that a schedule has used up, is judged from the groups and the
        # schedule
        return
    largest = max(ratios) * peak / rate
    # decoupled decay moves the weights also where no gradient does
    decayed = 1.05 * peak * max(float(group.get("weight_decay") or 0.0) for group in groups)
    if largest >= max(CRAWLING, decayed):
        return
    norm = float(np.sqrt(sum(value**2 for value in gradients)))
    clip = x.subject.setting("clip_norm", "max_grad_norm", "gradient_clip_val", "grad_clip")
    where = f"training step of {x.subject.name}"
    if isinstance(clip, (int, float)) and 0 < clip < 1e-3 * norm:
        yield Finding(
            "QL-O11",
            "error",
            f"gradients are clipped to a norm of {clip:g}, so the weights do not move",
            where=where,
            evidence=(
                f"gradient norm {norm:.3g}, cut by a factor of {norm / clip:.3g}",
                f"largest update relative to the weights: {largest:.2g}; float32 resolves "
                f"{FROZEN:g}",
            ),
            ruled_out=(f"learning rate: {rate:g}", "missing gradients", "optimiser membership"),
            consequences=("QL-E10", "QL-P10"),
            help="clip_norm=1.0   [changes the updates; retrain]",
        )
    elif largest >= FROZEN:
        return
    elif largest == 0:
        yield Finding(
            "QL-O04",
            "error",
            f"{len(ratios)} training steps at learning rate {rate:g} changed no weight, though "
            "gradients arrive",
            where=where,
            evidence=(
                f"gradient norm {norm:.3g}; update exactly 0 in every step; the optimiser holds "
                "the model's tensors",
            ),
            ruled_out=(
                "learning rate",
                "frozen parameters",
                "optimiser membership",
                "missing gradients",
            ),
            candidates=(
                "optimizer.step() is never called",
                "a gradient scaler skips every step",
                "gradients are cleared before the step",
            ),
            decide="whether optimizer.step() runs between backward() and zero_grad()",
            consequences=("QL-O07", "QL-E10", "QL-P10", "QL-C03"),
            help="loss.backward(); optimizer.step(); optimizer.zero_grad()   [changes the training "
            "step; retrain]",
        )
    else:
        yield Finding(
            "QL-O02",
            "error",
            f"the learning rate {peak:g} is so small that the weights do not move",
            where=where,
            evidence=(
                f"largest update relative to the weights at that rate: {largest:.2g}; float32 "
                f"resolves {FROZEN:g}",
                f"gradient norm {norm:.3g}",
            ),
            ruled_out=(
                "frozen parameters",
                "missing gradients",
                "warm-up: the highest rate of the schedule is counted",
            ),
            consequences=("QL-E10", "QL-P10"),
            help="learning_rate=1e-3   [changes the optimiser; retrain]",
        )


def _highest_in_history(x: Examination) -> float:
    if x.subject.history is None and x.subject.run is None:
        return 0.0
    return max((rate_in(item) or 0.0 for item in x.history), default=0.0)


@dataclass(frozen=True)
class Decay:
    """The pull of weight decay beside the push of the gradient in the first step, and how the
    weights shrink in the first few.
    """

    rate: float
    decay: float
    decoupled: bool
    pull: float
    push: float
    shrink: float
    norms: tuple[float, float]
    collapsed: bool

    @property
    def dominates(self) -> bool:
        # coupled decay passes through Adam's scaling, so only decoupled decay shrinks by a known
        # factor a step
        least = max(1e-3, 0.5 * self.rate * self.decay) if self.decoupled else 1e-3
        # collapsed embeddings have no gradient, beside which a usual decay is large too
        return (
            (not self.collapsed or self.decay >= HEAVY)
            and self.pull > self.push
            and self.shrink < 1 - least
        )


def decay_of(x: Examination) -> Decay | None:
    """The decay against the gradient; None where there is no decay."""
    groups, probe, norms = groups_of(x), x.probe, x.trajectory.weight_norms[:FIRST_FEW]
    rate, decay = max(
        ((float(g.get("lr", 0)), float(g.get("weight_decay", 0) or 0)) for g in groups),
        key=lambda pair: pair[0] * pair[1],
    )
    if rate * decay == 0 or len(norms) < FEWEST or norms[0] == 0:
        return None
    decoupled = "adamw" in type(x.subject.optimizer).__name__.lower() or any(
        g.get("decoupled_weight_decay") for g in groups
    )
    weight, gradient, change = (
        float(np.sqrt(sum(value**2 for value in found if value is not None)))
        for found in (probe.weights.values(), probe.gradients.values(), probe.updates.values())
    )
    pull = rate * decay * weight if decoupled else decay * weight
    push = max(change - pull, 0.0) if decoupled else gradient
    shrink = float(norms[-1] / norms[0]) ** (1 / (len(norms) - 1))
    return Decay(
        rate,
        decay,
        decoupled,
        pull,
        push,
        shrink,
        (norms[0], norms[-1]),
        x.trajectory.spreads[0] < COLLAPSED,
    )


@check("O06", "training has left weights of a usual size", "steps")
def weights_decayed_away(x: Examination) -> Iterator[Finding]:
    """Where training is over and the embeddings are one point: whether decay had the time to take
    the weights, and did.
    """
    several_classes(x)
    if x.trajectory.spreads[0] >= COLLAPSED:
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
    if lost < DECAYED or left > MOST_LEFT:
        return
    yield Finding(
        "QL-O06",
        "error",
        f"weight decay {decay:g} has taken the weights: {left:.2g} of a usual size is left of them",
        where=f"optimiser of {x.subject.name}, after {len(rates)} steps",
        evidence=(
            f"sum of learning rate x weight_decay / (1 - momentum) over the history: {lost:.3g}, "
            f"so without gradients exp(-{lost:.3g}) of the weights is left",
            f"median of rms(weight) x sqrt(inputs) over {len(sizes)} matrices: {left:.2g}; "
            "initialisation gives 0.5 to 1.5",
        ),
        ruled_out=("a learning rate that is too high: it leaves large weights",),
        consequences=("QL-P10", "QL-O01", "QL-E10", "QL-E05", "QL-N04"),
        help="weight_decay=0.01   [changes the optimiser; retrain]",
    )


@check("O06", "the weights follow the gradient more than their decay", "steps")
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
        yield Finding(
            "QL-O06",
            "error",
            f"weight decay {found.decay:g} shrinks the weights by {100 * (1 - found.shrink):.2g} "
            "% a step, against the gradient",
            where=f"optimiser of {x.subject.name}, first {FIRST_FEW} steps",
            evidence=(
                f"{what}: {found.pull:.3g} / {found.push:.3g}",
                f"norm of the weights {found.norms[0]:.4g}, then {found.norms[1]:.4g}: a factor "
                f"of {found.shrink:.4f} a step; 1 - lr x weight_decay = "
                f"{1 - found.rate * found.decay:.4f}",
            ),
            ruled_out=("learning rate alone: the weights shrink, they do not jump",),
            consequences=("QL-P10", "QL-E10", "QL-E05"),
            help="weight_decay=0.01   [changes the optimiser; retrain]",
        )
    elif found.decay >= 0.5 and found.decoupled:
        yield Finding(
            "QL-O06",
            "note",
            f"weight decay {found.decay:g} is far above the usual 0.01 to 0.1",
            where=f"optimiser of {x.subject.name}",
            evidence=(
                "without gradients the weights halve in "
                f"{math.log(2) / (found.rate * found.decay):.0f} steps",
            ),
            help="weight_decay=0.01   [changes the optimiser; retrain]",
        )


@check("O07", "the gradient scaler lets steps through", "steps")
def every_step_skipped(x: Examination) -> Iterator[Finding]:
    scale = _scale(x)
    seen, probe = x.trajectory, x.probe
    gradients = [value for value in probe.gradients.values() if value is not None]
    broken = sum(not math.isfinite(value) for value in gradients)
    still = [value == 0 for value in seen.update_ratios]
    skipped = len(still) >= MOST_SKIPS and all(still) and broken > 0
    vanished = scale is not None and scale < 2.0**-6
    if not skipped and not vanished:
        return
    what = (
        f"all {len(still)} trial steps were skipped"
        if skipped
        else f"the loss scale has fallen to {scale:.3g}"
    )
    evidence = [
        f"{broken} of {len(gradients)} gradients are not finite; updates that are exactly 0: "
        f"{sum(still)} of {len(still)}"
    ]
    if scale is not None:
        evidence.append(
            f"loss scale now {scale:.3g}; it starts at 65536 and halves at every skip, so a few "
            "first skips are healthy"
        )
    yield Finding(
        "QL-O07",
        "error",
        f"mixed precision skips its steps: {what}, since the gradients are not finite",
        where=f"training step of {x.subject.name}",
        evidence=tuple(evidence),
        ruled_out=(
            "learning rate",
            "frozen parameters",
            "the first skips of a scaler: these do not end",
        ),
        consequences=("QL-O04", "QL-O02", "QL-P10", "QL-P12", "QL-E10", "QL-C02", "QL-C03"),
        help="find the first tensor that is not finite; compute the loss in float32, or use "
        "bfloat16   [changes the precision; retrain]",
    )


def _scale(x: Examination) -> float | None:
    """The scaler's loss scale: its own, or the checkpoint's; None where there is none."""
    scaler = x.subject.scaler
    if scaler is not None and hasattr(scaler, "get_scale"):
        return (
            float(scaler.get_scale())
            if not hasattr(scaler, "is_enabled") or scaler.is_enabled()
            else None
        )
    if x.subject.checkpoint is None:
        return None
    state = x.checkpoint.get("scaler") or x.checkpoint.get("grad_scaler") or {}
    return (
        float(state["scale"])
        if isinstance(state, dict) and isinstance(state.get("scale"), (int, float))
        else None
    )
