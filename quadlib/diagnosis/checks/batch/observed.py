"""The composition of the batches that were seen: classes, order, positives, copies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch

from quadlib.diagnosis.checks.batch.contracts import B01, B02, B03, B05, B06, B14
from quadlib.diagnosis.checks.batch.watched_contracts import B20
from quadlib.diagnosis.checks.labels.contracts import L04, L13
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import (
    rows_read_twice,
    training_items,
    training_loader,
)
from quadlib.diagnosis.evidence.observed.labels import labels
from quadlib.diagnosis.evidence.observed.passes import batches, lost_losses, passes
from quadlib.diagnosis.evidence.observed.rows import compared, cosines, views
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some

FEWEST_BATCHES = 4
LEFT_OUT = -1e4  # log odds of a column that was masked out of the softmax
LARGEST_EXPONENT = 88  # exp of more overflows in float32


def _all_labels(x: Examination) -> np.ndarray:
    """Labels of the whole dataset where it can be read, else of the batches."""
    if x.subject.labels is not None:
        return np.asarray(x.labels)
    try:
        return training_items(x.record).labels
    except Unavailable:
        return labels(x.record).all


@check(B01, "the watched batches mix classes as the data allow", phase="observed")
def one_class(x: Examination) -> Iterator[Finding]:
    own = labels(x.record)
    full = [values for values in own.values if len(values) > 3]
    single = [len(np.unique(values)) == 1 for values in full]
    if len(full) < 2 or np.mean(single) < 0.5:
        return
    every, counts = np.unique(_all_labels(x), return_counts=True)
    if len(every) == 1:
        yield L13.broken(
            "error",
            f"every label is {every[0]}: there is nothing to tell apart",
            "the labels of the training loader's dataset",
            (
                f"{int(counts.sum())} labels were read, one value among them",
                f"floor of every possible batch of {len(full[0])} = plateau = "
                f"ln {len(full[0]) - 1} = {np.log(max(len(full[0]) - 1, 1)):.4f}",
            ),
            "look at how the training rows were chosen: a filter or a slice of a sorted table",
            ruled_out=("the sampler: given these rows, every batch has one class (P = 1)",),
            explains=("one class in every batch; a loss that cannot fall",),
        )
        return
    share = (counts / counts.sum()) ** len(full[0])
    runs = np.concatenate(full)
    ordered = _in_order(full, [rows for rows in own.rows if rows is not None and len(rows) > 3])
    evidence = (
        f"{sum(single)} of {len(full)} batches hold one class; the data have {len(every)}",
        f"P(one class | {len(full[0])} rows at random) = {share.sum():.1e} a batch",
        f"the class changes {np.count_nonzero(np.diff(runs))} times in {len(runs)} rows",
    )
    out = ("the labels and the split: they hold several classes", "the learning rate")
    if ordered:
        yield B05.broken(
            "error",
            "the rows come class by class, so a batch holds one class",
            "the training loader",
            evidence,
            "shuffle: DataLoader(..., shuffle=True); of a stream, shuffle its files and a buffer",
            ruled_out=out,
        )
    else:
        yield B01.broken(
            "error",
            "batches hold one class, although the data have several",
            "the batch sampler",
            evidence,
            "draw several classes into every batch",
            ruled_out=(*out, "the order of the rows: classes alternate from batch to batch"),
        )


def _in_order(batches: list[np.ndarray], rows: list[tuple[int, ...]]) -> bool:
    """Whether the classes come one after the other because the rows do, rather than because a
    sampler picks one for each batch.
    """
    if rows:
        return bool((np.diff(np.concatenate(rows)) > 0).all())
    return _in_blocks(batches)


def _in_blocks(batches: list[np.ndarray]) -> bool:
    """Whether each class is one block of rows, and blocks go on from batch to batch."""
    values = np.concatenate(batches)
    blocks = np.count_nonzero(np.diff(values)) + 1 == len(np.unique(values))
    return blocks and bool(np.mean([a[-1] == b[0] for a, b in itertools.pairwise(batches)]) >= 0.5)


@check(B05, "the watched rows do not come sorted by class", phase="observed")
def sorted_rows(x: Examination) -> Iterator[Finding]:
    own = labels(x.record)
    full = [values for values in own.values if len(values) > 3]
    if len(full) < 3:
        raise Unavailable(f"{len(full)} batches with labels were seen; three are needed")
    values = np.concatenate(full)
    classes, counts = np.unique(values, return_counts=True)
    changes = int(np.count_nonzero(np.diff(values)))
    numbered = [rows for rows in own.rows if rows is not None]
    row_after_row = bool(numbered) and (np.diff(np.concatenate(numbered)) == 1).all()
    in_blocks = changes + 1 == len(classes) if row_after_row else _in_blocks(full)
    if len(classes) < 2 or counts.max() < 4 or not in_blocks:
        return
    distinct = np.mean([len(np.unique(batch)) for batch in full])
    expected = float((1 - (1 - counts / counts.sum()) ** len(full[0])).sum())
    order = "the batches come in the stream's own order"
    if numbered:
        order = f"the rows count up from {numbered[0][0]} to {numbered[-1][-1]}"
    yield B05.broken(
        "error" if distinct <= 2.5 else "warning",
        f"the rows come class by class, so a batch holds {distinct:.1f} classes",
        "the training loader",
        (
            f"in {len(values)} rows of {len(full)} batches the class changes {changes} times: each "
            f"of {len(classes)} classes in one block, across batches",
            f"classes a batch: {distinct:.1f}; of shuffled rows {expected:.1f} = "
            f"sum of 1 - (1 - share)^{len(full[0])}",
            order,
        ),
        "shuffle: DataLoader(..., shuffle=True); of a stream, shuffle its files and a buffer",
        ruled_out=("the labels and the split: they hold several classes", "the learning rate"),
    )


@check(B02, "anchors of the watched batches find a positive", phase="observed")
def lone_anchors(x: Examination) -> Iterator[Finding]:
    own = labels(x.record)
    comparison = compared(x.record)[0]
    if comparison.targets is not None or views(x.record) > 1:
        return
    full = [values for values in own.values if len(values) > 3]
    if not full:
        return
    alone = np.array([(np.unique(v, return_counts=True)[1] == 1).sum() / len(v) for v in full])
    lost = _divided_by_none(x, alone)
    if alone.mean() < 0.5 and not (lost and alone.max() > 0):
        return
    every = _all_labels(x)
    if len(np.unique(every)) > 0.9 * len(every):
        yield L04.broken(
            "error",
            "almost every sample has a label of its own",
            f"batch{own.mark}",
            (
                f"{len(np.unique(every))} different labels in {len(every)} samples",
                f"{alone.mean():.0%} of the anchors have no positive in their batch",
            ),
            "give the class as the label, not the sample's number",
            ruled_out=("the sampler: hardly two samples share a label",),
        )
        return
    yield B02.broken(
        "error" if lost else "warning",
        f"{alone.mean():.0%} of the anchors have no positive in their batch"
        + (", and the loss divides by their number" if lost else ""),
        f"the watched batches of {len(full[0])}, labels batch{own.mark}",
        (
            f"anchors alone in their class: {alone.min():.0%} to {alone.max():.0%} a batch",
            f"{len(np.unique(every))} classes for batches of {len(full[0])}",
            *(("mean over 0 positives = 0 / 0 = NaN",) if lost else ()),
        ),
        "draw K >= 2 samples of P classes into a batch, and leave lone anchors out of the mean",
        ruled_out=("the learning rate",),
    )


def _divided_by_none(x: Examination, alone: np.ndarray) -> bool:
    """Whether a loss is not finite in the passes with lone anchors alone, of finite rows."""
    lost = [passes(x.record)[k] for k in lost_losses(x.record)]
    rows = [item.backward.comparison for item in lost if item.backward.comparison is not None]
    if not lost or any(fetch.not_finite for item in lost for fetch in item.fetches):
        return False
    first = rows[0] if rows else compared(x.record)[0]
    logits = (first.left @ first.right.T * first.scale).abs().max()
    return bool(logits < LARGEST_EXPONENT) and bool(alone.max() > 0)


@check(B14, "a watched batch holds distinct rows", phase="observed")
def repeated_rows(x: Examination) -> Iterator[Finding]:
    fetched = [fetch for fetch in batches(x.record) if fetch.rows is not None]
    rows = rows_read_twice(fetched)
    total = sum(len(fetch.rows or ()) for fetch in fetched)
    comparison = compared(x.record)[0]
    if not total or len(rows) < 0.1 * total or comparison.targets is None:
        return
    yield B14.broken(
        "warning",
        f"{len(rows)} rows stand twice in a batch, as each other's negatives",
        "the training loader's sampler",
        (f"{len(rows)} of {total} rows are repeated within their batch: {some(rows)}",),
        "draw without replacement",
        ruled_out=("the dataset: it is the row number that is repeated",),
    )


@check(B20, "no copy of a row is its negative", phase="observed")
def copies_as_negatives(x: Examination) -> Iterator[Finding]:
    comparison = compared(x.record)[0]
    if comparison.targets is None or comparison.by != "product" or comparison.mask is not None:
        return
    table = cosines(comparison)
    n, m = table.shape
    if n != m or n < 4 or len(comparison.targets) != n:
        return
    off = ~torch.eye(n, dtype=torch.bool)
    off[torch.arange(n), comparison.targets.clamp(0, m - 1)] = False
    if comparison.log_odds is not None and comparison.log_odds.shape == off.shape:
        off &= comparison.log_odds > LEFT_OUT
    equal = (torch.cdist(comparison.right, comparison.right) < 1e-6) & ~torch.eye(n).bool()
    share = float((equal & off).any(1).float().mean())
    if share < 0.1 or float((equal | torch.eye(n).bool()).float().mean()) > 0.9:
        return
    yield B20.broken(
        "warning",
        f"{share:.0%} of the anchors have a copy of their positive among their negatives",
        f"a batch of {n} that an in-batch softmax compares",
        (f"{int(equal.any(1).sum())} of {n} columns equal another column, value for value",),
        "draw batches without duplicates, or mask equal columns out of the softmax",
    )


@check(B03, "the watched batches go on through the data", phase="observed")
def same_batch(x: Examination) -> Iterator[Finding]:
    drawn = [fetch.rows for fetch in batches(x.record) if fetch.rows is not None]
    if len(drawn) < FEWEST_BATCHES:
        raise Unavailable(f"{len(drawn)} batches said which rows they hold")
    distinct = len({row for rows in drawn for row in rows})
    items = len(training_loader(x.record).dataset)
    if distinct > max(map(len, drawn)) or items < 2 * distinct:
        return
    yield B03.broken(
        "error",
        f"every step gets the same {distinct} rows",
        "the training loader",
        (
            f"{len(drawn)} batches hold {distinct} different rows; the dataset has {items}",
            f"for example rows {some(list(drawn[0]))} at the first step and "
            f"{some(list(drawn[-1]))} at the last",
        ),
        "make the iterator once an epoch: for batch in loader; next(iter(loader)) starts anew each "
        "time",
        ruled_out=("the dataset: it has more rows than are ever drawn",),
        explains=("a loss that falls to its floor on these rows, and poor scores",),
    )


@check(B06, "the watched batches hold more than one row", phase="observed")
def single_rows(x: Examination) -> Iterator[Finding]:
    sizes = [
        max((leaf.shape[0] for leaf in f.leaves if leaf.shape), default=0)
        for f in batches(x.record)
    ]
    if not sizes or np.median(sizes) != 1:
        return
    if getattr(training_loader(x.record), "batch_size", None) is None:
        return
    yield B06.broken(
        "warning",
        "every batch holds one row, which has nothing to be compared with",
        "the training loader",
        (f"sizes of the watched batches: {some(sizes)}",),
        "DataLoader(..., batch_size=32)",
    )
