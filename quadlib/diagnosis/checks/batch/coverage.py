"""Contracts of an epoch: it has batches, of training rows alone, as many as it says, and over a few
epochs all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.batch.composition import request_of
from quadlib.diagnosis.evidence.contents import sample_ids, some
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

EPOCHS = (101, 102, 103)
SIGMAS = 6.0


@check("B03", "every training row is drawn sooner or later")
def coverage(x: Examination) -> Iterator[Finding]:
    epochs, ended = x.draw(EPOCHS)
    if not ended:
        raise Unavailable(
            "the sampler did not end within the bound on batches and time, so an epoch is not known"
        )
    drawn = [
        np.unique(np.concatenate(x.as_rows(batches))) if batches else np.zeros(0, dtype=np.int64)
        for batches in epochs
    ]
    rows, labels = x.train_rows, np.asarray(x.labels)
    if any(batch.max(initial=-1) >= len(labels) for batch in drawn):
        raise Unavailable("the sampler draws indices beyond the labels")
    if not all(len(batch) for batch in drawn):
        return
    names, codes = np.unique(labels[rows], return_inverse=True)
    # a class that the sampler declares to drop is not expected
    request = request_of(x)
    sizes = np.bincount(codes.reshape(-1))
    dropped = (
        sizes < getattr(request, "min_per_class", 0)
        if getattr(request, "rare", "") == "drop"
        else np.zeros(len(sizes), dtype=bool)
    )
    wanted = rows[~dropped[codes.reshape(-1)]]
    unseen = np.setdiff1d(wanted, np.concatenate(drawn))
    code_of = np.zeros(len(labels), dtype=np.int64)
    code_of[rows] = codes.reshape(-1)
    m = np.array([np.bincount(code_of[b[np.isin(b, rows)]], minlength=len(names)) for b in drawn])
    chance = np.prod(1 - m / sizes, axis=0)[~dropped]
    expected = float((sizes[~dropped] * chance).sum())
    spread = float(np.sqrt((sizes[~dropped] * chance * (1 - chance)).sum()))
    size = max(len(batch) for epoch in epochs for batch in epoch)
    if len(unseen) <= expected + SIGMAS * spread + 2:
        return
    per_epoch = int(np.mean([len(batch) for batch in drawn]))
    benign = len(unseen) < size
    left_out = (
        np.setdiff1d(unseen, x.rows_of_subset) if x.rows_of_subset is not None else unseen[:0]
    )
    chosen = len(left_out) > 0 and len(unseen) - len(left_out) <= expected + SIGMAS * spread + 2
    undivided = x.subject.splits is None and (x.subject.table is None or "split" not in x.frame)
    yield Finding(
        "QL-B03",
        "note" if benign or undivided or chosen else "error",
        f"{len(unseen)} of {len(wanted)} {'recordings' if undivided else 'training recordings'} "
        "are never drawn",
        where=f"batch sampler, {len(EPOCHS)} epochs drawn: {some(sample_ids(x, unseen[:5]))}",
        evidence=(
            f"{per_epoch} distinct rows an epoch; if each epoch chose anew, n (1 - "
            f"m/n)^{len(EPOCHS)} = {expected:.1f} would be unseen, observed {len(unseen)}",
            "the same rows are left out every time"
            + (
                ": the short last batch that is dropped from an order that never changes"
                if benign
                else ""
            )
            + (f"; {len(left_out)} of them are not in the loader's Subset" if len(left_out) else "")
            + ("; no split is given, so they may be those that are held out" if undivided else ""),
        ),
        ruled_out=("drop_last with shuffling (its left-over changes every epoch)",),
        consequences=("QL-E10", "QL-B12"),
        help="shuffle every epoch and draw the whole split: check the sampler's length and its "
        "set_epoch   [changes the batches; retrain]",
    )


@check("B10", "an epoch holds batches")
def some_batches(x: Examination) -> Iterator[Finding]:
    empty = [number for number, batch in enumerate(x.drawn_positions) if not len(batch)]
    if x.drawn_positions and not empty:
        return
    nothing = not x.drawn_positions
    yield Finding(
        "QL-B10",
        "error",
        "the batch sampler yields no batch"
        if nothing
        else f"{len(empty)} of {len(x.drawn_positions)} batches are empty",
        where="batch sampler",
        evidence=(
            "0 batches in an epoch" if nothing else f"batches without a row: {some(empty)}",
            f"{len(x.train_rows)} training rows are there to draw",
        ),
        consequences=("QL-B12", "QL-B13", "QL-P*", "QL-E*", "QL-O*"),
        help="a generator can be iterated once: give an object whose __iter__ starts anew; "
        "drop_last drops all when batch_size > rows   "
        "[changes the batches]",
    )


@check("B11", "batches hold training rows alone")
def foreign_rows(x: Examination) -> Iterator[Finding]:
    if not x.drawn:
        return
    indices = np.unique(np.concatenate(x.drawn))
    beyond = indices[(indices < 0) | (indices >= len(x.labels))]
    if len(beyond):
        yield Finding(
            "QL-B11",
            "error",
            f"the sampler draws index {beyond[-1]}, but there are {len(x.labels)} recordings",
            where="batch sampler",
            evidence=(f"{len(beyond)} distinct indices lie outside 0 to {len(x.labels) - 1}",),
            consequences=("QL-B12", "QL-P*", "QL-E*"),
            help="make the sampler from the labels of the very dataset that it indexes   [changes "
            "the batches]",
        )
        return
    foreign = np.setdiff1d(indices, x.train_rows)
    if len(foreign):
        where = {name: int(np.isin(foreign, rows).sum()) for name, rows in x.splits.items()}
        belong = ", ".join(f"{count} of {name}" for name, count in where.items() if count)
        yield Finding(
            "QL-B11",
            "error",
            f"training batches hold {len(foreign)} recordings that are not in train",
            where=f"batch sampler: {belong or 'rows of no split'}",
            evidence=(
                f"{len(indices)} distinct rows are drawn, {len(x.train_rows)} are in train; for "
                f"example {some(sample_ids(x, foreign[:3]))}",
            ),
            ruled_out=("split (no row is in two splits)",),
            consequences=("QL-E*",),
            help='give the sampler table.rows("train") and map its numbers to these rows   '
            "[changes the batches; retrain]",
        )


@check("B12", "len of the sampler is what it yields")
def declared_length(x: Examination) -> Iterator[Finding]:
    try:
        declared = len(x.batch_sampler)
    except (TypeError, NotImplementedError):
        raise Unavailable("the sampler has no length") from None
    epochs, ended = x.draw(EPOCHS[:1])
    if ended and epochs[0] and declared != len(epochs[0]):
        yield Finding(
            "QL-B12",
            "error",
            f"the sampler says {declared} batches and yields {len(epochs[0])}",
            where="batch sampler: len against iteration",
            evidence=(
                "a schedule of len x epochs steps is off by a factor of "
                f"{len(epochs[0]) / max(declared, 1):.3g}",
            ),
            consequences=("QL-O05",),
            help="return the number of batches from __len__   [changes the schedule]",
        )


@check("B14", "a batch holds distinct rows")
def repeats(x: Examination) -> Iterator[Finding]:
    twice = [len(batch) - len(np.unique(batch)) for batch in x.drawn]
    declared = getattr(request_of(x), "rare", "") == "oversample"
    if not sum(twice) or declared:
        return
    yield Finding(
        "QL-B14",
        "note",
        f"{sum(twice)} places in {sum(map(bool, twice))} of {len(twice)} batches repeat a row of "
        "the same batch",
        where="batch sampler",
        evidence=("a copy of the anchor is a positive that is found without learning anything",),
        help="draw without replacement inside a batch, or see that augmentation tells the copies "
        "apart   [changes the batches]",
    )
