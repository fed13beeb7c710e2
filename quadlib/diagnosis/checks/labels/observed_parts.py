"""Whether the labels that a loop's variables hold for train still belong to its samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.neighbors import NearestNeighbors

from quadlib.diagnosis.checks.labels.contracts import L12
from quadlib.diagnosis.conventions import BATCH_LABELS, TESTED_WORDS
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.parts import Array, arrays, words_of
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

JUDGED = 1000  # samples, the first of an array
FEWEST_ROWS, FEWEST_OF_A_CLASS = 60, 5
DEPENDS, CHANCE = 8.0, 2.5  # standard deviations above labels in any order
MOST_VALUES = 1 << 22
SHIFTS = (-3, -2, -1, 1, 2, 3)


@check(L12, "the labels at hand of train are those of its samples", phase="variables")
def labels_of_parts(x: Examination) -> Iterator[Finding]:
    pairs = list(_pairs(arrays(x.record)))
    known = [(_agreement(*pair), pair) for pair in pairs if not pair[0].role]
    before, (table, labels) = max(known, key=lambda entry: entry[0], default=(0.0, (None, None)))
    if before < DEPENDS or table is None or labels is None:
        raise Unavailable("no variables hold all samples beside labels that go with them")
    for part, own in (pair for pair in pairs if pair[0].role):
        agreement = _agreement(part, own)
        if agreement <= CHANCE and part.values.shape[1:] == table.values.shape[1:]:
            yield L12.broken(
                "error",
                f"{own.name} holds the labels of other samples than {part.name}",
                f"the variables {part.name} and {own.name}",
                (
                    "a sample and its nearest neighbour have one label as often as labels in any "
                    f"order would ({agreement:+.1f} standard deviations)",
                    f"in {table.name} and {labels.name}, before they were divided, they agree: "
                    f"{before:+.0f} standard deviations",
                ),
                "divide samples and labels in one call, or by one list of rows",
                ruled_out=("features that say nothing of the label: before the split they do",),
            )
            return


@check(L12, "the labels at hand are in the order of their samples", phase="variables")
def shifted_labels(x: Examination) -> Iterator[Finding]:
    pairs = list(_pairs(arrays(x.record)))
    agreements = [_agreements(table, labels, (0, *SHIFTS)) for table, labels in pairs]
    at_home = {
        id(y.values) for (_, y), (own, *_) in zip(pairs, agreements, strict=True) if own > CHANCE
    }
    for (table, labels), (own, *others) in zip(pairs, agreements, strict=True):
        best = int(np.argmax(others))
        astray = own <= CHANCE and others[best] >= DEPENDS
        if not astray or id(labels.values) in at_home:  # else it is the samples that are off
            continue
        yield L12.broken(
            "error",
            f"{labels.name} is {abs(SHIFTS[best])} rows off {table.name}",
            f"the variables {table.name} and {labels.name}",
            (
                "a sample and its nearest neighbour have one label as often as labels in any order "
                f"would ({own:+.1f} standard deviations)",
                f"with the labels moved by {SHIFTS[best]:+d} rows they agree: {others[best]:+.0f}",
            ),
            "drop, sort and shift the rows of both in one table, then take the columns apart",
            ruled_out=("features that say nothing of the label: of the moved ones they do",),
        )
        return
    if all(own != own for own, *_ in agreements):
        raise Unavailable("no variables hold samples of numbers beside their labels")


def _pairs(every: list[Array]) -> Iterator[tuple[Array, Array]]:
    """(samples, labels) of one length and part."""
    columns = [a for a in every if a.values.ndim == 1 and a.has_word(BATCH_LABELS)]
    for table in every:
        values = table.values
        if values.ndim < 2 or values.dtype.kind != "f" or values.size > MOST_VALUES:
            continue
        for labels in columns:
            if len(labels.values) == len(values) and _part(labels) == _part(table):
                yield table, labels


def _part(array: Array) -> tuple[str, bool]:
    """Its role, and of what evaluates whether it is the test: val and test may be of one length."""
    return array.role, not set(words_of(array.name)).isdisjoint(TESTED_WORDS)


def _agreement(table: Array, labels: Array) -> float:
    """That of the labels where they are."""
    return _agreements(table, labels, (0,))[0]


def _agreements(table: Array, labels: Array, shifts: tuple[int, ...]) -> list[float]:
    """By how many standard deviations more samples have the label of their nearest neighbour than
    in any order, with the labels moved on by so many rows; NaN where the labels are no classes or
    the samples too few.
    """
    rows = table.values[:JUDGED].reshape(min(len(table.values), JUDGED), -1)
    rows = (rows - rows.mean(0)) / np.where(rows.std(0) > 0, rows.std(0), 1)
    codes, counts = np.unique(labels.values[:JUDGED], return_inverse=True, return_counts=True)[1:]
    scarce = len(counts) < 2 or len(rows) / len(counts) < FEWEST_OF_A_CLASS
    if len(rows) < FEWEST_ROWS or scarce or not np.isfinite(rows).all():
        return [float("nan")] * len(shifts)
    nearest = NearestNeighbors(n_neighbors=1).fit(rows).kneighbors(return_distance=False)[:, 0]
    expected = float(((counts / counts.sum()) ** 2).sum())
    width = float(np.sqrt(expected * (1 - expected) / len(rows)))
    moved = [np.roll(codes, shift) for shift in shifts]
    return [(float((own[nearest] == own).mean()) - expected) / width for own in moved]
