"""What a loop's variables say is evaluated was not trained on: by row, content, group, stretch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from torch import nn

from quadlib.diagnosis.checks.split.contracts import S03, S04, S05, S06, S10
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.contents_of_parts import (
    MOST_SIBLINGS,
    copies,
    equal_rows,
    near_copies,
    overlaps,
)
from quadlib.diagnosis.evidence.observed.labels import labels
from quadlib.diagnosis.evidence.observed.parts import Parts, groups, row_numbers
from quadlib.diagnosis.evidence.observed.parts_by_use import samples
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some

OVERLAPPING = 0.1  # share of the windows; fewer lie at the borders of one cut in time
SPARE_ROWS = 2  # of a table of embeddings: for padding, and for who is not known
NEAR = 0.5  # share of the samples; a third by chance where they lie on a line


@check(S10, "the row numbers at hand put no row into two parts", phase="variables")
def rows_in_both(x: Examination) -> Iterator[Finding]:
    for part in row_numbers(x.record):
        for (own, rows), (name, others) in part.named:
            shared = np.intersect1d(rows, others)
            if len(shared) and not len(shared) == len(rows) == len(others):
                yield S10.broken(
                    "error",
                    f"{len(shared)} rows are in {own} and in {name}",
                    f"the variables {own} and {name}",
                    (
                        f"{own} holds {len(rows)} row numbers, {name} {len(others)}; "
                        f"{len(shared)} are in both, for example {some(shared.tolist())}",
                    ),
                    "split the rows once, and take every part from that split",
                    explains=("scores that are too good",),
                )
                return


@check(S03, "no content at hand is trained on and evaluated", phase="variables")
def copies_at_hand(x: Examination) -> Iterator[Finding]:
    found = samples(x.record)
    for part in found:
        for (own, rows), (name, others) in part.named:
            if np.array_equal(rows, others):
                continue  # what both parts are prepared with, or one part under two names
            equal = copies(rows, others)
            if equal.any():
                equal &= _equal_beside(found, part, rows, others)
            share = float(equal.mean())
            if equal.any() and not (part.gallery and equal.all()):
                yield S03.broken(
                    "error" if share > x.limits.few_copies else "note",
                    f"{equal.sum()} of {len(others)} samples of {name} are copies of samples of "
                    f"{own}",
                    f"the variables {own} and {name}",
                    (
                        f"equal value for value, for example row "
                        f"{some(np.flatnonzero(equal).tolist())} of {name}",
                    ),
                    "divide first; repeat, resample or augment the samples of train afterwards",
                    ruled_out=("easy data: the contents are equal, not alike",),
                    explains=("scores that are too good",),
                )
                return


def _equal_beside(
    found: list[Parts], part: Parts, rows: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """(m,) which samples are copies in the other arrays of the same samples too: many pictures may
    have one caption.
    """
    equal = np.ones(len(others), bool)
    for beside in found:
        if beside is not part and len(beside.trained.values) == len(rows):
            for other in beside.evaluated:
                if len(other.values) == len(others):
                    equal &= equal_rows(beside.trained.values, other.values)
    return equal


@check(S05, "no stretch of a series at hand is trained on and evaluated", phase="variables")
def windows_at_hand(x: Examination) -> Iterator[Finding]:
    for part in samples(x.record):
        for (own, rows), (name, others) in part.named:
            share = 0.0 if np.array_equal(rows, others) else overlaps(rows, others)
            if share > OVERLAPPING:
                yield S05.broken(
                    "error",
                    f"{share:.0%} of the windows of {name} overlap windows of {own}",
                    f"the variables {own} and {name}",
                    (
                        "stretches of eight samples and more have one course in both, up to the "
                        "scale of their windows, which are not equal as a whole",
                    ),
                    "divide whole recordings first, and cut each part into windows afterwards",
                    ruled_out=("copies: these windows are not equal as a whole",),
                    explains=("scores that are too good",),
                )
                return


@check(S06, "no near copy of what is evaluated is trained on", phase="variables")
def near_copies_at_hand(x: Examination) -> Iterator[Finding]:
    for part in samples(x.record):
        for (own, rows), (name, others) in part.named:
            if _class_size(x, len(rows)) <= 2 * MOST_SIBLINGS:
                raise Unavailable("a class has so few samples that it could be one of near copies")
            share = near_copies(rows, others)
            among_themselves = near_copies(rows[::2], rows[1::2])
            if share > NEAR and among_themselves > NEAR / 2:
                yield S06.broken(
                    "warning",
                    f"{share:.0%} of the samples of {name} have near copies in {own}",
                    f"the variables {own} and {name}",
                    (
                        "one to five samples of the one lie near a sample of the other, and the "
                        "next ones four times as far and farther, though neither are equal",
                        f"so do {among_themselves:.0%} of {own} among themselves: what both were "
                        "divided from held each sample several times, changed a little",
                    ),
                    "divide first, and change copies of the samples of train afterwards; all that "
                    "comes of one recording belongs to one part",
                    ruled_out=(
                        "copies: these samples are not equal",
                        "easy data: samples of a class fill the space between them evenly",
                    ),
                    explains=("scores that are too good",),
                )
                return


def _class_size(x: Examination, n_rows: int) -> float:
    """Samples a class has among so many on average; all where the loss is given no labels."""
    try:
        classes = np.unique(np.concatenate(labels(x.record).values))
    except Unavailable:
        return n_rows
    return n_rows / len(classes)


@check(S04, "no group at hand is trained on and evaluated", phase="variables")
def groups_at_hand(x: Examination) -> Iterator[Finding]:
    for part in groups(x.record):
        for (own, members), (name, others) in part.named:
            shared = np.intersect1d(pd.unique(members), pd.unique(others))
            if not len(shared) or len(np.unique(members)) == len(members):
                continue
            if _looked_up(x, len(pd.unique(members))):
                continue
            touched = int(np.isin(others, shared).sum())
            yield S04.broken(
                "warning",
                f"{len(shared)} groups of {own} are in {name} too",
                f"the variables {own} and {name}",
                (
                    f"{touched} of {len(others)} samples that evaluate have samples of their own "
                    f"group among those that are trained on, for example {some(shared.tolist())}",
                ),
                "divide whole groups: sklearn's GroupShuffleSplit or StratifiedGroupKFold; where "
                "the score is meant for these very subjects, say so beside it",
                explains=("scores that a new subject would not give",),
            )
            return


def _looked_up(x: Examination, n_groups: int) -> bool:
    """Whether a module has a row for each group, as those who recommend to known users have."""
    tables = [m for m in x.record.modules.values() if isinstance(m, nn.Embedding)]
    return any(0 <= table.num_embeddings - n_groups <= SPARE_ROWS for table in tables)
