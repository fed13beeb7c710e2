"""What a loop's variables say is evaluated was not trained on: by row, content, group, stretch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from quadlib.diagnosis.checks.split.contracts import S03, S04, S05, S10
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.contents_of_parts import copies, overlaps
from quadlib.diagnosis.evidence.observed.parts import groups, row_numbers, tables
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import some

OVERLAPPING = 0.1  # share of the windows; fewer lie at the borders of one cut in time


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
    for part in tables(x.record):
        for (own, rows), (name, others) in part.named:
            if np.array_equal(rows, others):
                continue  # what both parts are prepared with, or one part under two names
            equal = copies(rows, others)
            share = float(equal.mean())
            if equal.any():
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


@check(S05, "no stretch of a series at hand is trained on and evaluated", phase="variables")
def windows_at_hand(x: Examination) -> Iterator[Finding]:
    for part in tables(x.record):
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


@check(S04, "no group at hand is trained on and evaluated", phase="variables")
def groups_at_hand(x: Examination) -> Iterator[Finding]:
    for part in groups(x.record):
        for (own, members), (name, others) in part.named:
            shared = np.intersect1d(pd.unique(members), pd.unique(others))
            if not len(shared) or len(np.unique(members)) == len(members):
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
