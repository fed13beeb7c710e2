"""Contracts of a batch: given the labels of the split, what it holds and what chance would have
given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binom, hypergeom, multivariate_hypergeom

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.batch.contracts import B01, B02, B05, B06, B13
from quadlib.diagnosis.checks.views import Views, declared_views, stepped_views, views_of
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.facts import model_of
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import power_of_ten, sizes_of
from quadlib.loss import bounds

Composition = tuple[np.ndarray, str]


def train_sizes(x: Examination) -> np.ndarray:
    """Training samples of each class, in the order of `x.classes`."""
    return np.array([int((x.train_labels == name).sum()) for name in x.classes])


def request_of(x: Examination) -> Any:
    """What a sampler of ours, or one inside it, was asked for; None of another's."""
    inner = getattr(x.batch_sampler, "sampler", None)
    return getattr(x.batch_sampler, "request", None) or getattr(inner, "request", None)


def one_class_log10(sizes: np.ndarray, batch: int) -> float:
    """log10 of P(all of a random batch are of one class) = sum_c C(n_c, B) / C(N, B)."""
    logs = hypergeom.logpmf(batch, int(sizes.sum()), sizes, batch)
    return float(logsumexp(logs) / math.log(10))


def lone_share(sizes: np.ndarray, batch: int) -> float:
    """Expected share of anchors without a positive in a random batch:
    sum_c (n_c / N) C(N - n_c, B - 1) / C(N - 1, B - 1).
    """
    total = int(sizes.sum())
    if batch > total or total < 2:
        return float("nan")
    alone = hypergeom.pmf(0, total - 1, sizes - 1, batch - 1)
    return float((sizes / total * alone).sum())


def is_sequential(batches: list[np.ndarray]) -> bool:
    """Whether rows come in ascending or descending order, cut into equal batches: a loader that
    does not shuffle.
    """
    sizes = [len(batch) for batch in batches]
    if len(batches) < 2 or len(set(sizes[:-1])) != 1 or sizes[-1] > sizes[0] or sum(sizes) < 8:
        return False
    steps = np.diff(np.concatenate(batches))
    return bool((steps > 0).all() or (steps < 0).all())


def sampled(x: Examination) -> Composition:
    """Class counts of every batch (n_batches, n_classes) that the sampler draws, and where they
    are from.
    """
    return x.batch_counts, f"{len(x.drawn)} batches drawn from the sampler"


def loaded(x: Examination) -> Composition:
    """The same of the loader's first batches; Unavailable where the sampler has told already."""
    try:
        sampled(x)
    except Unavailable:
        pass
    else:
        raise Unavailable("the sampler tells the batches")
    labels = [x.labels_in(batch) for batch in x.batches]
    found = np.unique(np.concatenate(labels))
    counts = np.array([[int((own == name).sum()) for name in found] for own in labels])
    if len(found) > len(x.classes):
        raise Unavailable("the batches hold more classes than the labels")
    return np.pad(
        counts, ((0, 0), (0, len(x.classes) - len(found)))
    ), f"the loader's first {len(labels)} batches"


@check(B01, "batches mix classes as the split allows")
def one_class_batches(x: Examination) -> Iterator[Finding]:
    yield from _one_class_batches(x, *sampled(x))


@check(B01, "batches that no sampler tells mix classes as the split allows", "batch")
def one_class_batches_loaded(x: Examination) -> Iterator[Finding]:
    yield from _one_class_batches(x, *loaded(x))


def _one_class_batches(x: Examination, counts: np.ndarray, source: str) -> Iterator[Finding]:
    sizes, held = train_sizes(x), counts.sum(axis=1)
    judged = np.flatnonzero(held >= 2)
    if (sizes > 0).sum() < 2 or not len(judged):
        return
    single = judged[(counts[judged] > 0).sum(axis=1) == 1]
    size = int(np.median(held[judged]))
    one_class = one_class_log10(sizes, size)
    if (
        not len(single)
        or binom.sf(len(single) - 1, len(judged), min(10**one_class, 1.0)) > x.limits.impossible
    ):
        return
    try:
        if is_sequential(x.drawn):
            return  # the order of the rows explains it: an unshuffled loader
    except Unavailable:
        pass
    classes = int((sizes > 0).sum())
    example = counts[single[0]]
    likelihood = multivariate_hypergeom.logpmf(
        np.sort(example)[::-1], np.sort(sizes)[::-1], int(example.sum())
    ) / math.log(10)
    plateau = bounds.collapse_value(size)
    yield B01.broken(
        "error",
        f"{len(single)} of {len(judged)} batches hold one class, although train has {classes}",
        where=f"batch sampler: {source}; batch {single[0]} holds {int(example.max())} samples "
        "of one class",
        evidence=(
            f"P(one-class batch of {size} | {classes} classes of {sizes_of(sizes[sizes > 0])}) = "
            f"{power_of_ten(one_class)}; log10 P of this composition = {likelihood:.0f}",
            f"floor of such a batch = plateau = ln {size - 1} = {plateau:.4f}: no network can "
            "lower it",
        ),
        ruled_out=(
            f"split (train has {classes} classes)",
            "unshuffled data (the rows are not in order)",
            "batch size",
            "learning rate",
            "temperature",
            f"too few positives ({size - 1} per anchor)",
        ),
        help="draw batches with StratifiedBatchSampler(labels, batch_size, min_classes=2)   "
        "[changes the batches; retrain]",
    )


@check(B05, "rows are shuffled, or in an order that mixes classes")
def unshuffled(x: Examination) -> Iterator[Finding]:
    if not x.drawn or not is_sequential(x.drawn):
        return
    order = np.concatenate(x.drawn)
    labels = np.unique(x.labels[order], return_inverse=True)[1].reshape(-1)
    share = np.bincount(labels) / len(labels)
    q = 1 - float((share**2).sum())
    if q <= 0:
        return
    changes, expected = int((np.diff(labels) != 0).sum()), (len(labels) - 1) * q
    z = (changes - expected) / np.sqrt((len(labels) - 1) * q * (1 - q) + 1e-9)
    counts = x.batch_counts
    single = int(((counts > 0).sum(axis=1) == 1).sum())
    size = len(x.drawn[0])
    if z < x.limits.sorted_z and changes < expected / 2:
        yield B05.broken(
            "error",
            f"the loader does not shuffle, and the rows are sorted by class: {single} of "
            f"{len(counts)} batches hold one class",
            where=f"batch sampler: rows {order[0]}, {order[1]}, {order[2]} ... in order",
            evidence=(
                f"the {len(order)} drawn rows are monotone; P of that under shuffling = 1 / "
                f"{len(order)}!",
                f"the class changes {changes} times along them, {expected:.0f} times when "
                f"shuffled (z = {z:.0f})",
                f"P(one-class batch of {size} | shuffled) = "
                f"{power_of_ten(one_class_log10(train_sizes(x), size))}",
            ),
            ruled_out=(
                f"split (train has {len(share)} classes)",
                "a sampler that groups by class (its batches would end where classes end)",
                "learning rate",
                "temperature",
            ),
            help="shuffle=True, or StratifiedBatchSampler   [changes the batches; retrain]",
        )
    else:
        yield B05.broken(
            "note",
            "the loader gives the rows in the same order every epoch",
            where=f"batch sampler: rows {order[0]}, {order[1]}, {order[2]} ... in order",
            evidence=(
                f"the rows are monotone, but classes are mixed along them: {changes} changes, "
                f"{expected:.0f} when shuffled",
                "negatives of an anchor are the same in every epoch",
            ),
            help="shuffle=True, or StratifiedBatchSampler   [changes the batches]",
        )


@check(B02, "anchors find a positive in their batch")
def lone_anchors(x: Examination) -> Iterator[Finding]:
    yield from _lone_anchors(x, *sampled(x), declared_views)


@check(B02, "anchors find a positive in their batch, by what the loader and a step give", "batch")
def lone_anchors_by_step(x: Examination) -> Iterator[Finding]:
    try:
        batches = sampled(x)
    except Unavailable:
        yield from _lone_anchors(x, *loaded(x), views_of)
    else:
        yield from _lone_anchors(x, *batches, stepped_views)


def _lone_anchors(
    x: Examination, counts: np.ndarray, source: str, views: Views
) -> Iterator[Finding]:
    sizes, held = train_sizes(x), counts.sum(axis=1)
    # anchors of a class of one sample can have no positive: that is the split's contract
    possible = counts[:, sizes >= 2] if counts.shape[1] == len(sizes) else counts
    anchors = int(possible[held >= 2].sum())
    alone = int((possible[held >= 2] == 1).sum())
    if not anchors or alone / anchors < x.limits.lone_note or views(x) > 1:
        return
    observed, size = alone / anchors, int(np.median(held[held >= 2]))
    predicted = lone_share(sizes[sizes >= 2], size)
    chance = bool(
        abs(observed - predicted) < 0.05 + 4 * np.sqrt(predicted * (1 - predicted) / anchors)
    )
    warn = observed >= x.limits.lone_warning
    plateau = bounds.collapse_value(max(size, 2))
    yield B02.broken(
        "warning" if warn else "note",
        f"{observed:.0%} of the anchors have no positive in their batch",
        where=f"batch sampler: {source}, {anchors} anchors",
        evidence=(
            f"random batches of {size} from {int((sizes > 0).sum())} classes predict "
            f"{predicted:.0%} (hypergeometric); observed {observed:.0%}"
            + (
                ": the sampler does what it says, the choice is poor"
                if chance
                else ": the sampler itself keeps positives apart"
            ),
            "these anchors contribute no gradient of their own; a loss that counts them as 0 would "
            f"collapse to {(1 - observed) * plateau:.4f} instead of ln {size - 1} = {plateau:.4f}",
        ),
        ruled_out=("split (every class counted has two samples or more)",)
        + (("a fault of the sampler",) if chance else ()),
        help=f"StratifiedBatchSampler(labels, {size}, min_per_class=2) gives every anchor a "
        "positive; a larger batch does so by chance   "
        "[changes the batches; retrain]",
    )


@check(B06, "no batch holds one sample alone")
def batches_of_one(x: Examination) -> Iterator[Finding]:
    sizes = np.array([len(batch) for batch in x.drawn])
    ones = np.flatnonzero(sizes == 1)
    if not len(ones):
        return
    last = len(ones) == 1 and ones[0] == len(sizes) - 1
    try:
        norms = [
            name
            for name, module in model_of(x).named_modules()
            if "BatchNorm" in type(module).__name__
        ]
    except Unavailable:
        norms = []
    usual = int(np.median(sizes))
    total = int(sizes.sum())
    arithmetic = (
        f"{total} samples mod {usual} = {total % usual}"
        if last and usual > 1
        else f"batch sizes: {usual}"
    )
    yield B06.broken(
        "error",
        f"the last batch of every epoch holds one sample ({arithmetic})"
        if last
        else f"{len(ones)} of {len(sizes)} batches hold one sample",
        where=f"batch sampler: batch {ones[0]} of {len(sizes)}",
        evidence=(
            arithmetic,
            "a batch of one has no positive and no negative: ln(N - 1) = ln 0, a loss of NaN or 0"
            + (f"; {norms[0]} raises on it in training mode" if norms else ""),
        ),
        help="drop_last=True, or StratifiedBatchSampler, whose batches are equal within one   "
        "[changes the batches]",
    )


@check(B13, "the sampler keeps the rules it declares")
def declared_law(x: Examination) -> Iterator[Finding]:
    law = _law(x)
    counts, rows = x.batch_counts, x.drawn
    problems = []
    if law.get("batch_size") and max(map(len, rows), default=0) > law["batch_size"]:
        problems.append(
            f"{sum(len(batch) > law['batch_size'] for batch in rows)} batches are larger than "
            f"batch_size={law['batch_size']}"
        )
    classes = (counts > 0).sum(axis=1)
    few = classes < law.get("min_classes", 1)
    if few.any():
        problems.append(
            f"{int(few.sum())} of {len(few)} batches hold fewer classes than "
            f"min_classes={law['min_classes']} (fewest {classes.min()})"
        )
    least = law.get("min_per_class", 1)
    thin = (counts > 0) & (counts < least)
    if thin.any():
        problems.append(
            f"in {int(thin.any(axis=1).sum())} of {len(counts)} batches a class has fewer than "
            f"min_per_class={least}"
        )
    if problems:
        yield B13.broken(
            "error",
            f"the sampler breaks the rules it declares: {problems[0]}",
            where=f"batch sampler, {len(rows)} batches drawn",
            evidence=tuple(problems),
            help="use a sampler that keeps it: StratifiedBatchSampler raises where it cannot   "
            "[changes the batches; retrain]",
        )


def _law(x: Examination) -> dict[str, int]:
    """What the sampler itself declares, else a mapping of settings that was given; raises
    Unavailable where neither says.
    """
    names = conventions.SAMPLER_LAW
    for holder in (
        request_of(x),
        x.batch_sampler,
        x.subject.settings if isinstance(x.subject.settings, Mapping) else None,
    ):
        law: dict[str, Any] = {
            name: holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
            for name in names
        }
        law = {
            name: value
            for name, value in law.items()
            if isinstance(value, int) and not isinstance(value, bool)
        }
        if "min_classes" in law or "min_per_class" in law:
            return law
    raise Unavailable("neither the sampler nor the settings declare min_classes or min_per_class")
