"""Contracts of the optimiser that a few trial steps show: that weights move, and not too far."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.optimiser.contracts import O01, O02, O04, O11
from quadlib.diagnosis.checks.optimiser.decay import decay_of, several_classes
from quadlib.diagnosis.checks.optimiser.groups import groups_of, rate_in, trainable
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.plateau import classes_in_batches
from quadlib.diagnosis.evidence.schedule import highest_rate
from quadlib.diagnosis.finding import Finding, Severity
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.registry import check


@check(O01, "the first steps leave the embeddings apart", "steps")
def rate_too_high(x: Examination) -> Iterator[Finding]:
    several_classes(x)
    decay = decay_of(x)
    if decay is not None and decay.dominates:
        return  # the weights shrink away, and their updates are large beside what is left of them
    spreads, ratios = np.array(x.trajectory.spreads), _ratios_after_warmup(x)
    if not np.isfinite(ratios).any():
        raise Unavailable("the trial steps gave weights that are not finite")
    collapse = _collapse(spreads, x.limits)
    severity: Severity
    before = ratios if collapse is None else ratios[: collapse + 1]
    finite = before[np.isfinite(before)]
    largest = float(finite.max()) if len(finite) else math.inf
    rate = highest_rate(x.subject.optimizer)
    if collapse is not None and largest >= x.limits.large_update:
        step, severity = collapse, "error"
        what = f"the embeddings collapse after {step} steps"
    elif largest >= x.limits.whole_update:
        step, severity = int(np.nanargmax(ratios)), "warning"
        what = f"the weights change by {largest:.2g} of their size in one step"
    else:
        return
    losses = x.trajectory.losses
    yield O01.broken(
        severity,
        f"at learning rate {rate:g} {what}",
        where=f"first {len(spreads)} steps of {x.subject.name}",
        evidence=(
            f"standard deviation of the cosines: {spreads[0]:.3g} at step 0, {spreads[step]:.2g} "
            f"at step {step}",
            f"largest update relative to the weights before that: {largest:.3g}; usual are 1e-4 to "
            "3e-2",
            f"loss {losses[0]:.4f} at step 0, {losses[-1]:.4f} at step {len(losses) - 1}",
        ),
        ruled_out=(
            "one-class batches: these hold several",
            "a constant encoder: its output was spread at step 0",
        ),
        step=step,
        help=f"learning_rate={_lowered(rate, largest):g}, or warm-up   [changes the optimiser; "
        "retrain]",
    )


def _lowered(rate: float, largest: float) -> float:
    """A quarter of the rate, or less where even that would move the weights far beyond the usual
    3e-2 of their size in a step.
    """
    return rate * min(0.25, max(0.01, 3e-2 / largest))


def _ratios_after_warmup(x: Examination) -> np.ndarray:
    """Sizes of the trial updates relative to the weights.

    The trial takes steps at the rate that the groups hold now: a warm-up that the loop itself
    applies is not in them and is multiplied in.
    """
    ratios = np.array(x.trajectory.update_ratios)
    steps = x.subject.setting(*conventions.WARMUP_STEPS, default=0) or 0
    if steps and x.subject.train_step is not None and x.subject.history is None:
        ratios = ratios * np.minimum(1.0, (np.arange(len(ratios)) + 1) / steps)
    return ratios


def _collapse(spreads: np.ndarray, limits: Limits) -> int | None:
    """The step at which embeddings that were spread became one point and stayed it, or None."""
    gone = np.flatnonzero(spreads < limits.collapsed)
    near = 3 * limits.collapsed
    if not len(gone) or gone[0] == 0 or spreads[0] <= near:
        return None
    stays = bool((spreads[-min(limits.plateau_values, len(spreads)) :] < near).all())
    return int(gone[0]) if stays else None


@check(O01, "a run that left the plateau does not fall back on it", "epoch")
def collapsed_in_training(x: Examination) -> Iterator[Finding]:
    plateau = x.pinned
    if plateau is None or plateau.start == 0 or plateau.how != "batch":
        return
    if (classes_in_batches(x) or 0) < 2:
        raise Unavailable(
            "it is not known that the batches hold several classes, so the plateau may be their "
            "floor"
        )
    groups = getattr(x.subject.optimizer, "param_groups", None) or [{}]
    declared = float(x.subject.setting(*conventions.LEARNING_RATE, default=0.0))
    rate = max(_highest_in_history(x), declared)
    decay = max(
        float(x.subject.setting("weight_decay", default=0.0)),
        *(float(group.get("weight_decay") or 0.0) for group in groups),
    )
    if rate == 0:
        raise Unavailable("no learning rate is declared")
    momentum = max(float(group.get("momentum") or 0.0) for group in groups)
    left = (1 - min(rate * decay / max(1 - momentum, 1e-3), 1.0)) ** plateau.start
    if left < x.limits.decay_left:
        return  # the decay alone may have taken the weights: the set of candidates stays open
    yield O01.broken(
        "error",
        f"at learning rate {rate:g} the run collapsed after {plateau.start} steps",
        where=f"history of {x.subject.name}",
        evidence=(
            f"loss {x.losses[0]:.4f} at first, {plateau.value:.4f} from value {plateau.start + 1} "
            f"on: {plateau.text}",
            f"weight decay alone would have left (1 - {rate:g} x {decay:g})^{plateau.start} = "
            f"{left:.3f} of the weights",
        ),
        ruled_out=(
            "one-class batches: these hold several",
            "a constant encoder: the loss was off the plateau at first",
            "weight decay",
        ),
        step=plateau.start,
        help=f"learning_rate={rate / 4:g}, or warm-up   [changes the optimiser; retrain]",
    )


@dataclass(frozen=True)
class Movement:
    """What the trial steps moved: the largest update relative to the weights at the highest rate of
    the schedule, beside what drove it.
    """

    largest: float
    steps: int
    rate: float
    peak: float
    gradient: float


@check(O02, "the weights move in the first steps", "steps")
def nothing_moves(x: Examination) -> Iterator[Finding]:
    movement = _movement(x)
    if movement is None:
        return
    groups = groups_of(x)
    # decoupled decay moves the weights also where no gradient does
    decay = max(float(group.get("weight_decay") or 0.0) for group in groups)
    if movement.largest >= max(x.limits.crawling_update, 1.05 * movement.peak * decay):
        return
    clip = x.subject.setting(*conventions.CLIP_NORM)
    if isinstance(clip, (int, float)) and 0 < clip < x.limits.clip_share * movement.gradient:
        yield _clipped(x, movement, clip)
    elif movement.largest == 0:
        yield _never_stepped(x, movement)
    elif movement.largest < x.limits.frozen_update:
        yield _rate_too_small(x, movement)


def _movement(x: Examination) -> Movement | None:
    """None where the optimiser is another model's, where the gradients are 0 or not finite, or the
    rate is 0: each is judged by a contract of its own.
    """
    groups, own = groups_of(x), trainable(x)
    if not any(id(p) in own for group in groups for p in group["params"]):
        return None
    gradients = [value for value in x.probe.gradients.values() if value is not None]
    if not all(map(math.isfinite, gradients)) or not any(gradients):
        return None
    ratios = [value for value in x.trajectory.update_ratios if math.isfinite(value)]
    rate = highest_rate(x.subject.optimizer)
    scheduled = x.schedule.peak if x.subject.scheduler is not None else 0.0
    peak = max(rate, scheduled, _highest_in_history(x))
    if not ratios or rate < x.limits.vanished_rate:
        return None
    return Movement(max(ratios) * peak / rate, len(ratios), rate, peak, math.hypot(*gradients))


def _clipped(x: Examination, movement: Movement, clip: float) -> Finding:
    return O11.broken(
        "error",
        f"gradients are clipped to a norm of {clip:g}, so the weights do not move",
        where=f"training step of {x.subject.name}",
        evidence=(
            f"gradient norm {movement.gradient:.3g}, cut by a factor of "
            f"{movement.gradient / clip:.3g}",
            f"largest update relative to the weights: {movement.largest:.2g}; float32 resolves "
            f"{x.limits.frozen_update:g}",
        ),
        ruled_out=(
            f"learning rate: {movement.rate:g}",
            "missing gradients",
            "optimiser membership",
        ),
        help="clip_norm=1.0   [changes the updates; retrain]",
    )


def _never_stepped(x: Examination, movement: Movement) -> Finding:
    return O04.broken(
        "error",
        f"{movement.steps} training steps at learning rate {movement.rate:g} changed no weight, "
        "though gradients arrive",
        where=f"training step of {x.subject.name}",
        evidence=(
            f"gradient norm {movement.gradient:.3g}; update exactly 0 in every step; the optimiser "
            "holds the model's tensors",
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
        help="loss.backward(); optimizer.step(); optimizer.zero_grad()   [changes the training "
        "step; retrain]",
    )


def _rate_too_small(x: Examination, movement: Movement) -> Finding:
    return O02.broken(
        "error",
        f"the learning rate {movement.peak:g} is so small that the weights do not move",
        where=f"training step of {x.subject.name}",
        evidence=(
            f"largest update relative to the weights at that rate: {movement.largest:.2g}; float32 "
            f"resolves {x.limits.frozen_update:g}",
            f"gradient norm {movement.gradient:.3g}",
        ),
        ruled_out=(
            "frozen parameters",
            "missing gradients",
            "warm-up: the highest rate of the schedule is counted",
        ),
        help="learning_rate=1e-3   [changes the optimiser; retrain]",
    )


def _highest_in_history(x: Examination) -> float:
    if x.subject.history is None and x.subject.run is None:
        return 0.0
    return max((rate_in(item) or 0.0 for item in x.history), default=0.0)
