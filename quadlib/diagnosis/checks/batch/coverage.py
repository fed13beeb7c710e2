"""Contracts of an epoch: it has batches, of training rows alone, as many as it says, and over a few
epochs all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.batch.composition import request_of
from quadlib.diagnosis.checks.batch.contracts import B03, B10, B11, B12, B14
from quadlib.diagnosis.evidence.contents import sample_ids
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import some

EPOCHS = (101, 102, 103)
SCHEDULE_LENGTHS = ("total_steps", "T_max", "total_iters")  # as torch names them


@check(B03, "every training row is drawn sooner or later")
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
    if any(rows.max(initial=-1) >= len(x.labels) for rows in drawn):
        raise Unavailable("the sampler draws indices beyond the labels")
    if not all(len(rows) for rows in drawn):
        return
    wanted = _wanted(x)
    undrawn = np.setdiff1d(wanted, np.concatenate(drawn))
    expected, most = _chance(x, wanted, drawn)
    if len(undrawn) <= most:
        return
    held_out = (
        np.setdiff1d(undrawn, x.rows_of_subset) if x.rows_of_subset is not None else undrawn[:0]
    )
    undivided = x.subject.splits is None and (x.subject.table is None or "split" not in x.frame)
    dropped_batch = len(undrawn) < max(len(batch) for epoch in epochs for batch in epoch)
    # what may explain that rows are left out
    reasons = {
        ": the short last batch that is dropped from an order that never changes": dropped_batch,
        f"; {len(held_out)} of them are not in the loader's Subset": len(held_out) > 0,
        "; no split is given, so they may be held out": undivided,
    }
    chosen = len(held_out) > 0 and len(undrawn) - len(held_out) <= most
    yield B03.broken(
        "note" if dropped_batch or undivided or chosen else "error",
        f"{len(undrawn)} of {len(wanted)} {'samples' if undivided else 'training samples'} are "
        "never drawn",
        where=f"batch sampler, {len(EPOCHS)} epochs drawn: {some(sample_ids(x, undrawn[:5]))}",
        evidence=(
            f"{int(np.mean([len(rows) for rows in drawn]))} distinct rows an epoch; if each epoch "
            f"chose anew, n (1 - m/n)^{len(EPOCHS)} = {expected:.1f} would never be drawn, "
            f"observed {len(undrawn)}",
            "the same rows are left out every time"
            + "".join(text for text, applies in reasons.items() if applies),
        ),
        ruled_out=("drop_last with shuffling (what it leaves out changes every epoch)",),
        help="shuffle every epoch and draw the whole split: check the sampler's length and its "
        "set_epoch   [changes the batches; retrain]",
    )


def _wanted(x: Examination) -> np.ndarray:
    """Training rows that an epoch should draw: all but those of classes that the sampler declares
    to drop.
    """
    request = request_of(x)
    if getattr(request, "rare", "") != "drop":
        return x.train_rows
    _, codes, sizes = np.unique(x.train_labels, return_inverse=True, return_counts=True)
    least = getattr(request, "min_per_class", getattr(request, "samples_per_class", 0))
    return x.train_rows[sizes[codes.reshape(-1)] >= least]


def _chance(x: Examination, wanted: np.ndarray, drawn: list[np.ndarray]) -> tuple[float, float]:
    """How many of the wanted rows chance leaves out of all epochs, and how many it may: of a class
    of n rows of which an epoch draws m, n times the product of (1 - m/n).
    """
    names, codes = np.unique(np.asarray(x.labels)[wanted], return_inverse=True)
    sizes = np.bincount(codes.reshape(-1), minlength=len(names))
    shares = [
        np.bincount(codes.reshape(-1)[np.isin(wanted, rows)], minlength=len(names)) / sizes
        for rows in drawn
    ]
    missed = np.prod(1 - np.array(shares), axis=0)
    expected = float((sizes * missed).sum())
    deviation = float(np.sqrt((sizes * missed * (1 - missed)).sum()))
    return expected, expected + x.limits.coverage_sigmas * deviation + 2


@check(B10, "an epoch holds batches")
def some_batches(x: Examination) -> Iterator[Finding]:
    empty = [number for number, batch in enumerate(x.drawn_positions) if not len(batch)]
    if x.drawn_positions and not empty:
        return
    nothing = not x.drawn_positions
    yield B10.broken(
        "error",
        "the batch sampler yields no batch"
        if nothing
        else f"{len(empty)} of {len(x.drawn_positions)} batches are empty",
        where="batch sampler",
        evidence=(
            "0 batches in an epoch" if nothing else f"batches without a row: {some(empty)}",
            f"{len(x.train_rows)} training rows are there to draw",
        ),
        help="a generator can be iterated once: give an object whose __iter__ starts again; "
        "drop_last drops all when batch_size > rows   "
        "[changes the batches]",
    )


@check(B11, "batches hold training rows alone")
def foreign_rows(x: Examination) -> Iterator[Finding]:
    if not x.drawn:
        return
    indices = np.unique(np.concatenate(x.drawn))
    beyond = indices[(indices < 0) | (indices >= len(x.labels))]
    if len(beyond):
        yield B11.broken(
            "error",
            f"the sampler draws index {beyond[-1]}, but there are {len(x.labels)} samples",
            where="batch sampler",
            evidence=(f"{len(beyond)} distinct indices lie outside 0 to {len(x.labels) - 1}",),
            help="make the sampler from the labels of the dataset that it indexes   [changes "
            "the batches]",
        )
        return
    foreign = np.setdiff1d(indices, x.train_rows)
    if len(foreign):
        where = {name: int(np.isin(foreign, rows).sum()) for name, rows in x.splits.items()}
        belong = ", ".join(f"{count} of {name}" for name, count in where.items() if count)
        yield B11.broken(
            "error",
            f"training batches hold {len(foreign)} samples that are not in train",
            where=f"batch sampler: {belong or 'rows of no split'}",
            evidence=(
                f"{len(indices)} distinct rows are drawn, {len(x.train_rows)} are in train; for "
                f"example {some(sample_ids(x, foreign[:3]))}",
            ),
            ruled_out=("split (no row is in two splits)",),
            help='give the sampler table.rows("train") and map its numbers to these rows   '
            "[changes the batches; retrain]",
        )


@check(B12, "len of the sampler is what it yields")
def declared_length(x: Examination) -> Iterator[Finding]:
    try:
        declared = len(x.batch_sampler)
    except (TypeError, NotImplementedError):
        raise Unavailable("the sampler has no length") from None
    epochs, ended = x.draw(EPOCHS[:1])
    if not ended or not epochs[0] or declared == len(epochs[0]):
        return
    # torch lets a length be an estimate, and samplers of P x K do so: it is wrong for who counts
    # on it
    share = len(epochs[0]) / max(declared, 1)
    total = _counted_on(x, declared)
    wrong = abs(share - 1) > x.limits.length_off and total is not None
    yield B12.broken(
        "error" if wrong else "note",
        f"the sampler says {declared} batches and yields {len(epochs[0])}",
        where="batch sampler: len against iteration",
        evidence=(
            f"the schedule ends after {total} steps = {total // declared} x {declared}"
            if total is not None
            else f"a schedule of len x epochs steps would be off by a factor of {share:.3g}",
        ),
        help="return the number of batches from __len__   [changes the schedule]",
    )


def _counted_on(x: Examination, declared: int) -> int | None:
    """The length of a schedule that is a multiple of the declared number of batches."""
    known = [x.subject.scheduler] if x.subject.record is None else x.record.schedulers
    totals = [getattr(item, name, None) for item in known for name in SCHEDULE_LENGTHS]
    multiples = (n for n in totals if isinstance(n, int) and n > 0 and n % declared == 0)
    return next(multiples, None) if declared > 1 else None


@check(B14, "a batch holds distinct rows")
def repeats(x: Examination) -> Iterator[Finding]:
    twice = [len(batch) - len(np.unique(batch)) for batch in x.drawn]
    declared = getattr(request_of(x), "rare", "") == "oversample"
    if not sum(twice) or declared:
        return
    yield B14.broken(
        "note",
        f"{sum(twice)} places in {sum(map(bool, twice))} of {len(twice)} batches repeat a row of "
        "the same batch",
        where="batch sampler",
        evidence=("a copy of the anchor is a positive that is found without learning anything",),
        help="draw without replacement inside a batch, or see that augmentation tells the copies "
        "apart   [changes the batches]",
    )
