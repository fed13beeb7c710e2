"""Symptoms of the loss: pinned at the collapse plateau, progress undefined, not finite, above its
ceiling; and the temperature's regime.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.loss.contracts import P03, P10, P11, P12, P17
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.plateau import classes_in_batches, declared
from quadlib.diagnosis.evidence.reference import declared_temperatures
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.loss import bounds

ONE_CLASS = (
    "S1: the train split holds one class",
    "B1: the sampler draws one-class batches from several classes",
    "B5: the data are sorted by label and not shuffled",
)
AT_ONCE = ("N4: the encoder's output is constant",)
LATER = (
    "O1: the learning rate is so high that the embeddings collapsed",
    "O6: the weight decay shrinks the weights away",
)
LABELS_OF_A_BATCH = (
    "the labels of one batch: one distinct value leads to S1, B1 or B5, several to N4 (from the "
    "first step) or O1 (later)"
)


@check(P10, "the loss of the history leaves the collapse plateau", "epoch")
def pinned_history(x: Examination) -> Iterator[Finding]:
    found = x.pinned
    if found is None:
        return
    classes = classes_in_batches(x)
    if classes is None:
        candidates, decide = [*ONE_CLASS, *AT_ONCE, *LATER[:1]], LABELS_OF_A_BATCH
    elif classes == 1:
        candidates = [*ONE_CLASS]
        decide = (
            "the labels of the train split: one value is S1; several, with drawn indices in order "
            "B5, otherwise B1"
        )
    elif found.start == 0:
        candidates = [
            *AT_ONCE,
            "the value is not recomputed: detached, cached or logged from elsewhere",
        ]
        decide = (
            "the spread of the embeddings of one batch: about 0 is N4; otherwise the value is not "
            "recomputed"
        )
    else:
        candidates = [*LATER]
        decide = (
            "the size of an update relative to the weights just before: 1 or more is O1; a steady "
            "shrinking by lr x weight_decay is O6"
        )
    shard = {
        "micro-batch": ("O9: accumulated micro-batches do not share negatives",),
        "share of a process": ("O10: the loss sees the share of one process",),
    }.get(found.how, ())
    batches = (
        "labels of the batches are not known"
        if classes is None
        else f"batches hold up to {classes} class" + "es" * (classes > 1)
    )
    yield P10.broken(
        "error",
        f"the loss is pinned at {found.value:.4f}, the collapse plateau of {found.size} samples",
        where=f"history of {x.subject.name}, from value {found.start + 1} of {len(x.losses)}, "
        f"{found.count} values",
        evidence=(found.text, f"{batches}; first value {x.losses[0]:.4f}, last {x.losses[-1]:.4f}"),
        ruled_out=(
            "a healthy end: with 2 classes or more that lies at the floor, below the plateau",
            "too few positives: lone anchors would make the value jitter",
        ),
        candidates=(*candidates, *shard),
        decide=decide,
        symptom=True,
        step=found.start,
        help="look at the labels of one batch: BatchPlan.draw(batch_sampler, labels).summary()   "
        "[changes nothing]",
    )


@check(P10, "the embeddings are not all equal in the first steps", "steps")
def collapsed_trial(x: Examination) -> Iterator[Finding]:
    x.subject.require_bounds()
    seen = x.trajectory
    last = [value for value in seen.spreads[-x.limits.plateau_values :] if math.isfinite(value)]
    if (
        len(last) < x.limits.plateau_values
        or max(last) >= x.limits.collapsed
        or (_has_history(x) and x.pinned is not None)
    ):
        return
    anchors, classes = len(x.embeddings), len(np.unique(x.batch_labels))
    at_once = seen.spreads[0] < x.limits.collapsed
    candidates = ONE_CLASS if classes == 1 else AT_ONCE if at_once else LATER
    if anchors < 2:
        return
    plateau = bounds.collapse_value(anchors)
    yield P10.broken(
        "error",
        f"all embeddings are equal, so the contrastive loss is pinned at ln {anchors - 1} = "
        f"{plateau:.4f}",
        where=f"first {len(seen.spreads)} steps of {x.subject.name}",
        evidence=(
            f"standard deviation of the cosines: {seen.spreads[0]:.2g} at the first step, "
            f"{last[-1]:.2g} at step {len(seen.spreads)}",
            f"labels of the batch: {classes} distinct; loss {seen.losses[0]:.4f}, then "
            f"{seen.losses[-1]:.4f}",
        ),
        candidates=candidates,
        decide=LABELS_OF_A_BATCH,
        symptom=True,
        step=next((i for i, spread in enumerate(seen.spreads) if spread < x.limits.collapsed), 0),
        help="look at the labels of one batch: BatchPlan.draw(batch_sampler, labels).summary()   "
        "[changes nothing]",
    )


def _has_history(x: Examination) -> bool:
    return x.subject.history is not None or x.subject.run is not None


@check(P11, "progress between plateau and floor is defined")
def progress_undefined(x: Examination) -> Iterator[Finding]:
    x.subject.require_bounds()
    try:
        classes = [int(item["classes"]) for item in x.history if "classes" in item]
    except Unavailable:
        classes = []
    if not classes:
        classes = [int(n) for n in (x.batch_counts > 0).sum(axis=1)]
    if not classes or max(classes) > 1:
        return
    yield P11.broken(
        "error",
        f"progress is undefined: all {len(classes)} batches hold one class, where floor and "
        "plateau are the same value",
        where=f"batches of {x.subject.name}",
        evidence=(
            "progress = (ln(N-1) - loss) / (ln(N-1) - floor), and floor = ln(N-1) for one class: "
            "0/0",
        ),
        candidates=ONE_CLASS,
        decide="the labels of the train split",
        symptom=True,
        help="give every batch two classes or more: StratifiedBatchSampler(labels, min_classes=2)  "
        " [changes the batches; retrain]",
    )


@check(P12, "the loss of the history is finite", "epoch")
def not_finite_history(x: Examination) -> Iterator[Finding]:
    bad = np.flatnonzero(~np.isfinite(x.losses))
    recorded = [i for i in bad if _recorded(x, int(i))]
    if not recorded:
        return
    first = int(recorded[0])
    before = x.losses[:first][np.isfinite(x.losses[:first])]
    yield _not_finite(
        x,
        f"history, value {first + 1} of {len(x.losses)}",
        f"{len(recorded)} of {len(x.losses)} values are not finite; before: "
        + (f"{before[-1]:.4f}" if len(before) else "none"),
        first,
    )


@check(P12, "the loss of the first step is finite", "batch")
def not_finite_step(x: Examination) -> Iterator[Finding]:
    if math.isfinite(x.probe.loss):
        return
    bad = int((~torch.isfinite(x.embeddings)).sum())
    evidence = (
        f"loss {x.probe.loss}; {bad} of {x.embeddings.numel()} values of the embeddings are not "
        "finite"
    )
    yield _not_finite(x, "first training step", evidence, 0)


def _recorded(x: Examination, index: int) -> bool:
    steps = [item for item in x.history if item.get("kind", "step") == "step"] or x.history
    return any(steps[index].get(name) is not None for name in conventions.HISTORY_LOSS)


def _not_finite(x: Examination, where: str, evidence: str, step: int) -> Finding:
    return P12.broken(
        "error",
        f"the loss is not finite from value {step + 1} on",
        where=f"{where} of {x.subject.name}",
        evidence=(evidence,),
        candidates=(
            "D6: values that are not finite in the samples",
            "P1: embeddings without unit norm",
            "P9: half precision in the loss",
            "O1: a learning rate that is too high",
        ),
        decide="the first tensor that is not finite, in the order samples, embeddings, loss, "
        "gradients",
        symptom=True,
        step=step,
        help="stop at the first such value: torch.autograd.set_detect_anomaly(True)   [slower; "
        "changes no result]",
    )


@check(P17, "the loss of the history is below its ceiling", "epoch")
def above_ceiling(x: Examination) -> Iterator[Finding]:
    x.subject.require_bounds()
    sizes = declared(x)
    if sizes.batch_size is None or sizes.temperature is None or sizes.batch_size * sizes.views < 2:
        raise Unavailable("the batch size or the temperature is not declared")
    # SupContrast multiplies by T / 0.07 where nobody declares it
    base = sizes.base_temperature or bounds.SUPCONTRAST_BASE_TEMPERATURE
    scale = (
        max(1.0, sizes.temperature / base)
        if sizes.base_temperature is None
        else sizes.temperature / base
    )
    ceiling = scale * bounds.ceiling(sizes.batch_size * sizes.views, sizes.temperature)
    highest = float(np.nanmax(np.where(np.isfinite(x.losses), x.losses, np.nan)))
    if not highest > ceiling * x.limits.above_ceiling:
        return
    yield P17.broken(
        "note",
        f"the loss reached {highest:.4g}, above the ceiling {ceiling:.4f} of unit embeddings",
        where=f"history of {x.subject.name}",
        evidence=(
            f"ceiling = ln(N-1) + 2/T = {ceiling:.4f} for N = {sizes.batch_size * sizes.views}, T "
            f"= {sizes.temperature:g}",
        ),
        candidates=(
            "P1: the embeddings have no unit norm",
            "P8: the value is scaled, or a sum over anchors",
            "the value has other terms too",
        ),
        decide="embeddings.norm(dim=1) of one batch: 1 rules out P1",
        symptom=True,
        help="compare one value with SupConLoss(temperature).detail(embeddings, labels)   [changes "
        "nothing]",
    )


@check(P03, "the temperature lets the loss see several negatives, and distinguish them")
def temperature_regime(x: Examination) -> Iterator[Finding]:
    temperature = next(declared_temperatures(x.subject), None)
    if temperature is None:
        raise Unavailable("no temperature is declared")
    if x.limits.lowest_temperature <= temperature <= x.limits.highest_temperature:
        return
    negatives = 30
    effective = _effective_negatives(negatives, temperature)
    low = temperature < x.limits.lowest_temperature
    what = (
        "only the nearest negative has any weight"
        if low
        else "an anchor hardly distinguishes near negatives from far ones"
    )
    yield P03.broken(
        "warning",
        f"at temperature {temperature:g} {what}",
        where=f"loss of {x.subject.name}",
        evidence=(
            f"effective negatives exp(entropy) of {negatives} in random directions: "
            f"{effective:.1f}",
            "largest possible weight of one negative over another: exp(2/T) = "
            f"{_exp_text(2 / temperature)}",
            "usual temperatures are 0.05 to 0.5; judged outside "
            f"{x.limits.lowest_temperature:g} to {x.limits.highest_temperature:g}",
        ),
        ruled_out=("learning rate: the range of the logits is fixed by T alone",),
        help="SupConLoss(temperature=0.1)   [changes the loss; retrain]",
    )


def _exp_text(power: float) -> str:
    return f"{math.exp(power):.3g}" if power < 700 else f"10^{power / math.log(10):.0f}"


def _effective_negatives(negatives: int, temperature: float) -> float:
    generator = torch.Generator().manual_seed(0)
    unit = nn.functional.normalize(
        torch.randn(negatives + 1, 64, generator=generator, dtype=torch.float64), dim=1
    )
    weights = ((unit[1:] @ unit[0]) / temperature).softmax(dim=0)
    return float(torch.exp(-(weights * weights.clamp_min(1e-300).log()).sum()))
